"""Reads what was said in other people's rows: texts in parts, replies of servers and conversations.

    replies(row["output"])[0].text
    turns(row["messages"])[-1].text

A text may be a string, parts of several types, a message, or what a server sent around it: chat completions, batches,
the Responses API, Anthropic's and Google's. Its reasoning is told apart under every name that is known here.

Does not know columns (fields.py), and does not judge answers.
"""

import ast
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeGuard

from nap.common.files import InputError
from nap.common.parquet import Bytes

Row = Mapping[str, object]
Speaker = Literal["model", "user", "system", "tool"]

# Who speaks in a conversation, in the words of its writers, without a version (`gpt-4`).
SPEAKERS: dict[str, Speaker] = {
    **dict.fromkeys(
        ("assistant", "gpt", "model", "bot", "ai", "chatgpt", "chatbot", "bing", "bard", "claude", "gemini", "llm",
         "function_call", "tool_call"), "model"),
    **dict.fromkeys(("user", "human", "prompter", "person", "customer", "student"), "user"),
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("tool", "function", "observation", "ipython", "environment", "function_response",
                     "tool_response", "tool_result"), "tool"),
}  # fmt: skip
# Under which name is who speaks, and what is said.
SPEAKER, SAID = ("role", "from", "speaker"), ("content", "value", "prompt", "text", "parts", "generated_text")
# Fields in which replies of servers keep a text, and the reason why it ended.
REPLY = ("message", "choices", "candidates", "body", "output", "response")
ENDED = ("finish_reason", "finishReason", "stop_reason", "done_reason")
# Fields with the reasoning before a text: that of DeepSeek and vLLM, two of OpenRouter, that of Ollama; and where the
# words are in it.
THOUGHTS = ("reasoning_content", "reasoning", "thinking", "reasoning_details")
THOUGHT = ("thinking", "reasoning", "text", "content", "summary")
# Types of parts: of a text, of reasoning; of what a model is shown beside a text; of calls, which are no text.
_TEXT, _THOUGHT = ("text", "output_text", "input_text", "message"), re.compile(r"reasoning|(?:redacted_)?thinking")
_SHOWN = re.compile(r"(?:input_)?(?:image|audio|video|file|document)")
_CALL = re.compile(r"(?:server_)?(?:tool|function|web_search|code|computer|mcp)")
# A list of turns written into a text, as a cell of CSV has it. Longer ones are not read as Python.
_WRITTEN = re.compile(rf"\s*\[\s*\{{\s*['\"](?:{'|'.join((*SPEAKER, *SAID))})['\"]\s*:")
MOST = 1 << 20


class Said(NamedTuple):
    """A text (None: there is none), the reasoning before it, and a server's reason for its end, where that is said."""

    text: str | None
    thought: str = ""
    ended: object = None

    @property
    def whole(self) -> str:
        """The text after its reasoning."""
        return "\n\n".join(filter(None, (self.thought, self.text)))


class Turn(NamedTuple):
    """One turn of a conversation."""

    speaker: Speaker
    said: Said


def first_of(row: Row, names: Iterable[str]) -> object:
    """The first value under these names that is not null; None if there is none. Raises InputError for bytes."""
    name = next((name for name in names if row.get(name) is not None), None)
    if name is None:
        return None
    return text_of(row[name], repr(name)) if isinstance(row[name], Bytes) else row[name]


def has_one(row: Row, names: Iterable[str]) -> bool:
    """Whether the row has one of the columns, even if its value is null."""
    return any(name in row for name in names)


def text_of(value: object, what: str = "a text") -> str:
    """The value, which must be a text. Raises InputError for another one, and for bytes that are none."""
    if isinstance(value, Bytes):
        raise InputError(f"{what} should be a text, got {value[1:-1]} that are not UTF-8; write it as text")
    if not isinstance(value, str):
        raise InputError(f"{what} should be a text, got {value!r:.40}")
    return value


# Texts


def replies(value: object) -> list[Said]:
    """The replies of a model in a value: one, or those of a list. Of a conversation the model's last turn.

    Lists of lists, as lm-evaluation-harness writes them, are flattened. Raises InputError for what is no reply.
    """
    value = opened(value)
    if isinstance(value, list):
        _check_no_likelihoods(value)
        if is_conversation(value) and any(turn.speaker != "model" for turn in turns(value)):
            return [last_reply(value)]
        return [said(value)] if _are_parts(value) else [one for part in value for one in replies(part)]
    if isinstance(value, dict):
        return _of_object(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return [Said(str(value))]
    return [said(value)]


def _of_object(value: Row) -> list[Said]:
    """The replies in an object: in its message, its choices, its body; none of a request that failed."""
    status = value.get("status_code")
    if (isinstance(status, int) and status >= 300) or "error" in (value.get("object"), value.get("type")):
        return [Said(None)]
    if first_of(value, SAID) is None:
        if (inner := first_of(value, REPLY)) is not None:
            ended = _end_of(value)
            return [one if ended is None else one._replace(ended=ended) for one in replies(inner)]
        if value.get("error"):
            return [Said(None)]
    return [said(value)]


def said(value: object) -> Said:
    """One text: a string, the parts of one, or a message with them. Raises InputError for anything else."""
    if value is None:
        return Said(None)
    if isinstance(value, list):
        if is_conversation(value):
            return last_reply(value)
        parts = [said(part) for part in value]
        return Said("".join(part.text or "" for part in parts), "".join(part.thought for part in parts))
    if not isinstance(value, dict):
        return Said(text_of(value, "a model's output"))
    kind = str(value.get("type"))
    if _THOUGHT.match(kind) or value.get("thought") is True:
        return Said("", thought_of(value))
    if _CALL.match(kind) or _SHOWN.match(kind):
        return Said("")
    if not has_one(value, (*SAID, *REPLY, *SPEAKER, *THOUGHTS, "type")):
        raise InputError(f"a model's output should be a text, got an object of {', '.join(map(str, value))[:80]}")
    inner = said(first_of(value, SAID))
    beside = next((found for name in THOUGHTS if (found := value.get(name))), None)
    return Said(inner.text, thought_of(beside) or inner.thought, _end_of(value))


def _end_of(value: Row) -> object:
    """Why a server says that its text ended."""
    return "length" if value.get("status") == "incomplete" else first_of(value, ENDED)


def thought_of(value: object) -> str:
    """The words of a reasoning: a text, parts, or an object with them; "" for what a server keeps to itself."""
    if isinstance(value, list):
        return "".join(map(thought_of, value))
    if isinstance(value, dict):
        return next((found for name in THOUGHT if (found := thought_of(value.get(name)))), "")
    return "" if value is None else text_of(value, "reasoning")


def _are_parts(value: Sequence[object]) -> bool:
    """Whether a list holds the parts of one text, each with its type, and not several texts."""
    kinds = [str(part.get("type")) for part in value if isinstance(part, dict)]
    typed = [kind in _TEXT or any(known.match(kind) for known in (_THOUGHT, _CALL, _SHOWN)) for kind in kinds]
    return bool(typed) and all(typed) and all(isinstance(part, str | dict) for part in value)


def _check_no_likelihoods(value: Sequence[object]) -> None:
    if len(value) == 2 and str(value[1]) in ("True", "False") and re.fullmatch(r"-?[\d.e+-]+|-inf", str(value[0])):
        raise InputError(
            "these are the likelihoods of given choices (a log-likelihood and whether it is greedy), and no texts; "
            "score what a model wrote"
        )


# Conversations


def is_conversation(value: object) -> TypeGuard[list[Row]]:
    """Whether this is a list of turns, each with its speaker."""
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) and _speaks(one) for one in value)


def _speaks(turn: Row) -> bool:
    return isinstance(first_of(turn, SPEAKER), str)


def opened(value: object) -> object:
    """The conversation in a text of JSON or of Python, as CSV has it; any other value unchanged.

    Raises InputError for a text that begins like one and cannot be read.
    """
    if not isinstance(value, str) or not _WRITTEN.match(value):
        return value
    if (found := written(value)) is None:
        raise InputError(f"these turns of a conversation cannot be read ({value[:60]!r}); write them as JSON")
    return found if is_conversation(found) else value


def written(text: str) -> object:
    """The list or the object that a text is in JSON or in Python, as CSV has them; None for any other text."""
    if text.lstrip()[:1] not in ("[", "{"):
        return None
    for read in (json.loads, ast.literal_eval)[: 1 if len(text) > MOST else 2]:
        try:
            return read(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    return None


def turns(conversation: Sequence[object]) -> list[Turn]:
    """Each turn; parts of a text without a speaker are the user's.

    Raises InputError for a speaker that is not known, a turn that is no text, and one that shows more."""
    if _are_parts(conversation) and not is_conversation(conversation):
        return [_turn({"role": "user", "content": conversation})]
    return [_turn(turn) for turn in conversation if isinstance(turn, dict)]


def _turn(turn: Row) -> Turn:
    name = str(first_of(turn, SPEAKER))
    if not _speaks(turn):
        raise InputError(f"a turn of a conversation has no speaker ({', '.join(SPEAKER)}); got {turn!r:.60}")
    if (speaker := SPEAKERS.get(re.sub(r"[-_ .]?v?\d[\w.-]*$", "", name.strip().lower()))) is None:
        raise InputError(f"unknown speaker {name!r:.40} in a conversation; known: {', '.join(SPEAKERS)}; rename it")
    parts = first_of(turn, SAID)
    for part in parts if isinstance(parts, list) and speaker != "model" else ():
        if isinstance(part, dict) and _SHOWN.match(kind := str(part.get("type"))):
            raise InputError(f"a turn of {name!r} holds more than text ({kind}), which cannot be asked; drop the row")
    return Turn(speaker, said(turn))


def last_reply(conversation: Sequence[object]) -> Said:
    """The last turn of the model that says anything; no text where there is none."""
    found = [turn.said for turn in turns(conversation) if turn.speaker == "model" and turn.said.whole]
    return found[-1] if found else Said(None)
