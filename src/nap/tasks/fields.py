"""Finds the question, the right answer and the model's outputs in rows of files from many sources.

    taken = Taken.of(row)            # taken.question, taken.gold, taken.outputs

It knows our own files and those of lm-evaluation-harness (`--log_samples`), d1, OpenCompass, dLLM-RL, verl, SGLang,
OpenThoughts, OpenR1, s1K, DeepMath, MATH and NuminaMath; the user can name any other column. The first known name in a
row counts; names that state the true answer come first.

Does not judge answers, and does not read files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

from nap.common.files import InputError
from nap.tasks.choices import check_numbered, choices_of, is_reply, label_of, lines_of, number_of
from nap.tasks.said import Row, Said, first_of, has_one, last_reply, opened, replies, text_of, turns, written

QUESTION = ("question", "prompt", "problem", "input", "query", "instruction", "origin_prompt")
GOLD = (
    "ground_truth", "ground_truth_answer", "gold", "target", "answer", "final_ans", "final_answer", "expected_answer",
    "reference_answer", "correct_answer", "answer_key", "answerKey", "gts", "gt", "reference", "references",
)  # fmt: skip
OUTPUT = (
    "generation", "generations", "output", "outputs", "completion", "completions", "response", "responses",
    "prediction", "predictions", "origin_prediction", "full_output", "model_output", "resps", "text",
)  # fmt: skip
# A text that a question is about, and what else a model is shown.
PASSAGE = ("passage", "context", "article", "story", "document", "documents", "paragraphs")
SHOWN = ("image", "images", "image_1")
CONVERSATION = ("messages", "conversations", "conversation")


@dataclass(frozen=True, kw_only=True)
class Fields:
    """Columns that the user names; None stands for the usual names."""

    prompt: str | None = None
    answer: str | None = None
    output: str | None = None


USUAL = Fields()


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
    value = opened(row[name])
    if isinstance(value, list):
        asked = [turn.said.text for turn in turns(value) if turn.speaker == "user" and turn.said.text]
        return asked[-1] if asked else None
    return text_of(value, f"{name!r}") if isinstance(value, str) else None


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
    if isinstance(value := opened(row[name]), list):
        said = [*turns(value)]
        while said[-1].speaker == "model":
            said.pop()
        choices = "\n".join(lines_of(row, gold_of(row, fields), question))
        return "\n".join(filter(None, ("\n\n".join(filter(None, (turn.said.text for turn in said))), choices)))
    if shown := next((name for name in SHOWN if row.get(name) not in (None, "", [])), None):
        raise InputError(f"the question has {shown!r}, which a model of text is not shown; drop the row or the column")
    passage, instruction = _passage(first_of(row, PASSAGE)), row.get("instruction") if name == "input" else None
    before = ["" if passage in question else passage, instruction]
    there = [part.strip() for part in before if isinstance(part, str)]
    return "\n\n".join([*filter(None, there), "\n".join([question, *lines_of(row, gold_of(row, fields), question)])])


def _passage(value: object) -> str:
    """What a question is about, in paragraphs: a text, texts, or titles with their sentences, as HotpotQA has them.

    Raises InputError for anything else.
    """
    if isinstance(value, dict) and isinstance(titles := value.get("title"), list):
        sentences = value.get("sentences")
        value = [[*pair] for pair in zip(titles, sentences if isinstance(sentences, list) else (), strict=False)]
    if value is None or isinstance(value, str):
        return (value or "").strip()
    if isinstance(value, dict) and (text := first_of(value, ("text", "content", "paragraph_text"))) is not None:
        return "\n".join(filter(None, (_passage(value.get("title")), _passage(text))))
    if isinstance(value, list):
        titled = len(value) == 2 and isinstance(value[0], str) and _are_texts(value[1])
        parts = [value[0], "".join(value[1])] if titled else value
        return ("\n" if titled else "\n\n").join(filter(None, map(_passage, parts)))
    raise InputError(f"what the question is about ({', '.join(PASSAGE)}) should be text, got {value!r:.60}")


def _asks(row: Row, fields: Fields) -> str | None:
    """The column with the question: the first that is neither null nor empty."""
    names = (fields.prompt,) if fields.prompt else (*QUESTION, *CONVERSATION)
    return next((name for name in names if row.get(name) not in (None, "", [])), None)


def gold_of(row: Row, fields: Fields = USUAL) -> object:
    """The right answer as it is; for a worked `solution` the content of its box; None where there is none.

    The number of a choice becomes its letter. Raises InputError where it may be the choice itself, or of unread ones.
    """
    if fields.answer:
        check_numbered(row, gold := first_of(row, [fields.answer]))
        return label_of(gold, choices_of(row))
    places = [part for part in (row, row.get("reward_model"), row.get("doc")) if isinstance(part, dict)]
    if (place := next((part for part in places if has_one(part, GOLD)), None)) is None:
        return next((_of_solution(found) for part in places if isinstance(found := part.get("solution"), str)), None)
    gold, choices = first_of(place, GOLD), choices_of(place)
    if not choices and place is row and isinstance(doc := row.get("doc"), dict):
        # The target of a harness is the number of a choice of the document, whose own answer may be the label itself.
        choices, own = choices_of(doc), first_of(doc, GOLD)
        gold = own if isinstance(own, str) and own in choices and number_of(gold) is not None else gold
    check_numbered(place, gold)
    return label_of(gold, choices)


def _are_texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(part, str) for part in value)


def has_gold(row: Row, fields: Fields = USUAL) -> bool:
    """Whether the row has a column for the right answer."""
    names = (fields.answer,) if fields.answer else (*GOLD, "solution", "reward_model", "doc")
    return has_one(row, names)


def outputs_of(row: Row, fields: Fields = USUAL) -> list[str | None] | None:
    """The model's texts, with None for a missing one; None for a row without a column for them."""
    found = replies_of(row, fields)
    return None if found is None else [reply.text for reply in found]


def replies_of(row: Row, fields: Fields = USUAL) -> list[Said] | None:
    """The model's texts with their reasoning; None for a row without a column for them."""
    names = [fields.output] if fields.output else [*OUTPUT, *CONVERSATION]
    there = [name for name in names if name in row]
    if not there and is_reply(row.get("choices")):
        return replies(row["choices"])
    name = next((name for name in there if row[name] is not None), next(iter(there), None))
    if name is None:
        return None
    other = next((other for other in there if row[other] and other in OUTPUT), None)
    if row[name] in ("", []) and other:
        raise InputError(f"{name!r} is empty and {other!r} is not; name the model's text with --output-field")
    value = opened(row[name])
    if isinstance(value, str) and name.endswith("s") and _are_texts(listed := written(value)):
        value = listed  # several outputs in a cell of CSV
    return [last_reply(value)] if name in CONVERSATION and isinstance(value, list) else replies(value)


def _of_solution(solution: str) -> str | None:
    """The answer of a worked solution: its last box, or all of it if it is nothing but an answer."""
    from nap.tasks.marks import extract_boxed

    return extract_boxed(solution) or (solution if len(solution) < 60 else None)
