"""Reads what an OpenAI-compatible server sends: texts, reasoning, the reason why each ended, and errors.

Servers have many ways of saying that a text is not whole. All reasons to end are listed here: those of `COMPLETE` mean
a whole text, those of `CUT` a text that reached its limit, those of `FILTERED` no text. Any other reason, or none,
means that the server was interrupted, and the request is sent again.

All input is untrusted. Does not ask (teacher.py).
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from nap.common.files import InputError
from nap.common.server import MAX_ERROR, Passing, words
from nap.curation.journal import LENGTH, REFUSED, STOP, Reply
from nap.tasks.marks import MAX_TEXT
from nap.tasks.said import THOUGHTS, said, text_of

# Words of servers for the end of a text, in lower case: OpenAI, Together, TGI, Cohere, and Anthropic's and Google's
# models behind a proxy.
COMPLETE = ("stop", "eos", "eos_token", "end_turn", "stop_sequence", "stop_token", "complete")
CUT = ("length", "max_tokens", "model_length", "max_output_tokens", "max_length")
FILTERED = ("content_filter", "safety", "refusal", "recitation", "blocklist", "prohibited_content", "spii")
# A number of tokens that a server sends as text.
_DIGITS = re.compile("[0-9]{1,10}")


def read_replies(answer: object) -> list[Reply]:
    """The replies in a chat completion, with the usage in the first. Raises Passing for anything else."""
    if not isinstance(answer, dict) or not isinstance(choices := answer.get("choices"), list) or not choices:
        raise Passing(f"not a chat completion: {answer!r:.100}")
    prompt, completion = (_count(answer.get("usage"), name) for name in ("prompt_tokens", "completion_tokens"))
    model = str(answer.get("model") or "")[:MAX_ERROR]
    # No prompt has 0 tokens: a server that says so does not count them.
    uncounted = not prompt or completion is None
    first, *others = (replace(_read_choice(choice), model=model, uncounted=uncounted) for choice in choices)
    return [replace(first, prompt_tokens=prompt or 0, completion_tokens=completion or 0), *others]


def with_usage_of(reply: Reply, other: Reply) -> Reply:
    """The reply with the usage of another one added to its own."""
    return replace(
        reply,
        prompt_tokens=reply.prompt_tokens + other.prompt_tokens,
        completion_tokens=reply.completion_tokens + other.completion_tokens,
        uncounted=reply.uncounted or other.uncounted,
    )


def _read_choice(choice: object) -> Reply:
    if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
        raise Passing(f"not a chat completion: {choice!r:.100}")
    message = choice["message"]
    text, thought = _said(message)
    ended, refusal = choice.get("finish_reason"), message.get("refusal")
    ended = ended.lower() if isinstance(ended, str) else ended
    if ended in FILTERED or (refusal and not text):
        return Reply(finish=REFUSED, error=words(refusal) if refusal else str(ended))
    # A text longer than any that is searched for an answer counts as endless.
    cut = ended in CUT or len(text) > MAX_TEXT or len(thought) > MAX_TEXT
    if not cut and ended not in COMPLETE:
        about = f": {words(choice)}" if choice.get("error") else ""
        raise Passing(f"the text ended by finish_reason {ended!r:.40}, which is not its end{about}")
    if choice.get("error"):
        raise Passing(f"the text ended with an error: {words(choice)}")
    error = "" if text or thought else _instead(message)
    return Reply(text=text[:MAX_TEXT], reasoning=thought[:MAX_TEXT], finish=LENGTH if cut else STOP, error=error)


def _said(message: Mapping[str, object]) -> tuple[str, str]:
    """(text, reasoning before it) of a message, in whichever form the server separates the two."""
    content = message.get("content")
    try:
        if isinstance(content, dict):
            text_of(content)
        found = said({name: message.get(name) for name in ("content", *THOUGHTS)})
    except InputError as error:
        raise Passing(f"not a chat completion: {error}") from None
    return found.text or "", found.thought


def _instead(message: Mapping[str, object]) -> str:
    """What an empty message has in place of a text."""
    others = [f"{name}: {value!r:.60}" for name, value in message.items() if value and name not in ("role", "content")]
    return f"no text; the server sent {'; '.join(others) or 'nothing else'}"[:MAX_ERROR]


def _count(usage: object, name: str) -> int | None:
    """A number of tokens, which some servers send as 10.0 or "10"; None for anything else."""
    value = usage.get(name) if isinstance(usage, dict) else None
    if (isinstance(value, float) and value.is_integer()) or (isinstance(value, str) and _DIGITS.fullmatch(value)):
        value = int(value)
    return value if type(value) is int and 0 <= value < 2**31 else None
