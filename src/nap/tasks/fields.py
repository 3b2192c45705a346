"""Finds the question, the right answer and the model's outputs in rows of files from many sources.

    taken = Taken.of(row)            # taken.question, taken.gold, taken.outputs

It knows our own files and those of lm-evaluation-harness (`--log_samples`), d1, OpenCompass, dLLM-RL, verl, SGLang,
OpenThoughts, OpenR1, s1K, DeepMath, MATH and NuminaMath; the user can name any other column. The first known name in a
row counts; names that state the true answer come first.

Does not judge answers, and does not read files.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from nap.common.files import InputError

QUESTION = ("question", "prompt", "problem", "input", "query", "instruction", "origin_prompt")
GOLD = (
    "ground_truth", "ground_truth_answer", "gold", "target", "answer", "final_ans", "final_answer", "expected_answer",
    "reference_answer", "correct_answer", "answer_key", "answerKey", "gts", "gt", "reference", "references",
)  # fmt: skip
OUTPUT = (
    "generation", "generations", "output", "outputs", "completion", "completions", "response", "responses",
    "prediction", "predictions", "origin_prediction", "full_output", "model_output", "resps", "text",
)  # fmt: skip
# A text that a question is about, and the choices that it leaves.
PASSAGE, CHOICES = ("passage", "context"), ("choices", "options")
CONVERSATION = ("messages", "conversations", "conversation")
# Who speaks in a conversation: the model, and who sets it up; and under which name what is said.
MODEL, SETTERS = ("assistant", "gpt", "model", "bot"), ("system", "developer")
SPEAKER, SAID = ("role", "from"), ("content", "value", "prompt", "text")
# Fields in which replies of servers keep a text: chat completions, batches, the Responses API.
REPLY = ("message", "choices", "body", "output", "response")

LETTERS = "ABCDEFGHIJ"
Row = Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Fields:
    """Columns that the user names; None stands for the usual names."""

    prompt: str | None = None
    answer: str | None = None
    output: str | None = None


USUAL = Fields()


def first_of(row: Row, names: Iterable[str]) -> object:
    """The first value under these names that is not null; None if there is none."""
    return next((row[name] for name in names if row.get(name) is not None), None)


def has_one(row: Row, names: Iterable[str]) -> bool:
    """Whether the row has one of the columns, even if its value is null."""
    return any(name in row for name in names)


def missing(row: Row, what: str, flag: str, named: str | None, names: Sequence[str]) -> InputError:
    """The error for a row without a column: it lists the known names, those in the row, and the flag."""
    there = f"got {', '.join(map(str, row))[:200] or 'none'}; name another with {flag}"
    if named is not None:
        return InputError(f"there is no field {named!r} for {what}; {there}")
    return InputError(f"a row needs {what} in one of {', '.join(names)}; {there}")


def question_of(row: Row, fields: Fields = USUAL) -> str | None:
    """The question itself: a text, or the last turn to the model in a conversation. None where there is none."""
    if (name := _asks(row, fields)) is None:
        return question_of(doc) if not fields.prompt and isinstance(doc := row.get("doc"), dict) else None
    value = row[name]
    if isinstance(value, list):
        asked = [said for speaker, said in turns(value) if said and speaker not in (*MODEL, *SETTERS)]
        return asked[-1] if asked else None
    return value if isinstance(value, str) else None


def prompt_of(row: Row, fields: Fields = USUAL) -> str | None:
    """All that a model is asked. None where there is no question; a column that the user names is taken as it is.

    Before the question stands what belongs to it, in paragraphs: a passage, the instruction of an Alpaca row, the
    earlier turns of a conversation. The choices follow it, a line each, if the answer is one of their letters.
    """
    name, question, doc = _asks(row, fields), question_of(row, fields), row.get("doc")
    if question is None or fields.prompt:
        return question
    if name is None:
        return prompt_of(doc) if isinstance(doc, dict) else None
    if isinstance(value := row[name], list):
        said = [*turns(value)]
        while said[-1][0] in MODEL:
            said.pop()
        return "\n\n".join(filter(None, (text for _, text in said)))
    before = [first_of(row, PASSAGE), row.get("instruction") if name == "input" else None]
    there = [part.strip() for part in before if isinstance(part, str)]
    return "\n\n".join([*filter(None, there), "\n".join([question, *_lettered(row, fields, question)])])


def _asks(row: Row, fields: Fields) -> str | None:
    """The column with the question: the first that is neither null nor empty."""
    names = (fields.prompt,) if fields.prompt else (*QUESTION, *CONVERSATION)
    return next((name for name in names if row.get(name) not in (None, "", [])), None)


def _lettered(row: Row, fields: Fields, question: str) -> list[str]:
    """A line for each choice, with its letter; none where the answer is no letter, or the question has them already."""
    labels, texts = [*LETTERS], first_of(row, CHOICES)
    if isinstance(texts, dict):
        labels, texts = texts.get("label"), texts.get("text")
    if not _are_texts(labels) or not _are_texts(texts) or not 2 <= len(texts) <= len(labels):
        return []
    pairs = [(re.escape(label), label, text) for label, text in zip(labels, texts, strict=False)]
    lines = [text if re.match(rf"\(?{mark}[).:]", text) else f"{label}. {text}" for mark, label, text in pairs]
    known = all(re.search(rf"{mark}\W+{re.escape(text)}", question) for mark, _, text in pairs)
    gold = gold_of(row, fields)
    return [] if known or (gold is not None and str(gold).strip() not in labels[: len(texts)]) else lines


def gold_of(row: Row, fields: Fields = USUAL) -> object:
    """The right answer as it is; for a worked `solution` the content of its box; None where there is none.

    The number of a choice becomes its letter. Raises InputError where it may be the choice itself.
    """
    if fields.answer:
        return _letter(row.get(fields.answer), first_of(row, CHOICES))
    places = [part for part in (row, row.get("reward_model"), row.get("doc")) if isinstance(part, dict)]
    for place in places:
        if has_one(place, GOLD):
            return _letter(first_of(place, GOLD), first_of(place, CHOICES))
    return next((_of_solution(found) for place in places if isinstance(found := place.get("solution"), str)), None)


def _letter(gold: object, choices: object) -> object:
    """The letter of the right choice if its number from 0 is given, as in MMLU; any other answer unchanged."""
    if type(gold) is not int or not _are_texts(choices) or not 0 <= gold < len(choices) <= len(LETTERS):
        return gold
    if str(gold) in choices and choices[gold] != str(gold):
        raise InputError(
            f"the answer {gold} may be choice {LETTERS[gold]} ({choices[gold]!r:.40}), counted from 0, or the choice "
            f"{str(gold)!r}; write its letter"
        )
    return LETTERS[gold]


def _are_texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(part, str) for part in value)


def has_gold(row: Row, fields: Fields = USUAL) -> bool:
    """Whether the row has a column for the right answer."""
    names = (fields.answer,) if fields.answer else (*GOLD, "solution", "reward_model", "doc")
    return has_one(row, names)


def outputs_of(row: Row, fields: Fields = USUAL) -> list[str | None] | None:
    """The model's texts, with None for a missing one; None for a row without a column for them."""
    names = [fields.output] if fields.output else [*OUTPUT, *CONVERSATION]
    there = [name for name in names if name in row]
    if not there and _is_reply(row.get("choices")):
        return [*_texts(row["choices"])]
    name = next((name for name in there if row[name] is not None), next(iter(there), None))
    if name is None:
        return None
    value = row[name]
    if name in CONVERSATION and isinstance(value, list):
        return [*([said for speaker, said in turns(value) if said and speaker in MODEL][-1:] or [None])]
    return [*_texts(value)]


def _is_reply(choices: object) -> bool:
    """Whether these fields are of a server's reply, and not of a question."""
    return isinstance(choices, list) and any(
        isinstance(one, dict) and ("message" in one or "finish_reason" in one) for one in choices
    )


def _texts(value: object) -> Iterable[str | None]:
    """The texts in a value; lists of lists, as lm-evaluation-harness writes them, are flattened."""
    if isinstance(value, list):
        if len(value) == 2 and str(value[1]) in ("True", "False") and re.fullmatch(r"-?[\d.e+-]+|-inf", str(value[0])):
            raise InputError(
                "these are the likelihoods of given choices (a log-likelihood and whether it is greedy), and no texts; "
                "score what a model wrote"
            )
        for part in value:
            yield from _texts(part)
    elif isinstance(value, dict):
        if not has_one(value, (*SAID, *REPLY, "type")):
            raise InputError(f"a model's output should be a text, got an object of {', '.join(map(str, value))[:80]}")
        yield from _texts(first_of(value, (*SAID, *REPLY)))
    elif value is None or isinstance(value, str):
        yield value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)
    else:
        raise InputError(f"a model's output should be a text, got {value!r:.40}")


def turns(conversation: Sequence[object]) -> list[tuple[str, str]]:
    """(speaker in lower case, text or None) of each turn. Raises InputError for a turn that is not text."""
    found = []
    for turn in conversation:
        if isinstance(turn, dict):
            speaker, said = first_of(turn, SPEAKER), first_of(turn, SAID)
            # A turn may consist of parts: {"type": "text", "text": ...}.
            found.append((str(speaker).lower(), "".join(filter(None, _texts(said)))))
    return found


def _of_solution(solution: str) -> str | None:
    """The answer of a worked solution: its last box, or all of it if it is nothing but an answer."""
    from nap.tasks.marks import extract_boxed

    return extract_boxed(solution) or (solution if len(solution) < 60 else None)
