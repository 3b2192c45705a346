r"""How a question becomes a prompt: a template of words, worked examples, a system prompt, a chat template.

    Prompting(examples="gsm8k-cot", raw=True).text("What is 6 times 7?")     # "Q: There are 15 trees ... \nA:"

Worked examples are a file of `assets/examples` or the user's own: an object with `examples` (each a `problem` and its
`answer`) and the forms of a `question`, of an `answer`, and of what stands `between` two of them; or rows with a
question and its worked answer. In a chat template each is a turn of the user and one of the assistant, as
lm-evaluation-harness's `fewshot_as_multiturn` has it; without one, or `examples_as="text"`, all of it is one text.

Does not encode (prompt.py).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from nap.common.files import InputError
from nap.common.records import Json
from nap.common.rows import read_values
from nap.common.templates import bundled, fill, form_of
from nap.common.text import check_known, unknown

FOLDER = Path(__file__).parents[1] / "assets" / "examples"
FORM = {"question": "Question: {problem}\nAnswer:", "answer": " {answer}", "between": "\n\n"}
# Column names of a file of worked examples.
PROBLEM, ANSWER = ("problem", "question", "prompt"), ("solution", "answer", "completion", "text")
MOST = 1000
Shown = Literal["turns", "text"]


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Worked examples, and the words around them."""

    shots: tuple[tuple[str, str], ...]
    question: str
    answer: str
    between: str


@dataclass(frozen=True, kw_only=True)
class Prompting:
    """The settings of a prompt.

    raw       use the text unchanged, without the model's chat template
    system    a system prompt: a turn of its own in a chat template, else a paragraph before the text
    template  the template of a question: a text with {problem}, a bundled template, or a file
    examples  bundled worked examples or a file of them; `shots` limits their number
    examples_as  how they enter a chat template: as `turns` of user and assistant, or as one `text` with the question
    keywords  (name, value) for the chat template, such as ("enable_thinking", False)
    """

    raw: bool = False
    system: str | None = None
    template: str | None = None
    examples: str | None = None
    shots: int | None = None
    keywords: tuple[tuple[str, Json], ...] = ()
    examples_as: Shown | None = None

    def __post_init__(self) -> None:
        if self.raw and self.keywords:
            raise InputError(f"{self.keywords[0][0]} is for the chat template, which raw prompts do not use; drop one")
        if self.shots is not None and self.examples is None:
            raise InputError("shots say how many examples are used; name examples too (--examples gsm8k-cot)")
        if self.examples_as is not None:
            check_known("examples_as", self.examples_as, get_args(Shown))
            if self.examples is None:
                raise InputError("turns and text are forms of examples; name examples too (--examples gsm8k-cot)")
        if self.raw and self.examples_as == "turns":
            raise InputError("turns need a chat template, which raw prompts do not use; drop one")
        self.text("")

    def text(self, problem: str) -> str:
        """The prompt of a problem as one text, without the system prompt."""
        asks, shots, between = self._said()
        return between.join([*(question + answer for question, answer in shots), fill(asks, problem=problem)])

    def turns(self, problem: str) -> list[tuple[str, str]]:
        """The same as (role, text) of each turn of a chat template."""
        asks, shots, _ = self._said()
        if self.examples_as == "text":
            return [("user", self.text(problem))]
        worked = [(role, said) for shot in shots for role, said in zip(("user", "assistant"), shot, strict=True)]
        return [*((role, said.strip()) for role, said in worked), ("user", fill(asks, problem=problem))]

    def _said(self) -> tuple[str, list[tuple[str, str]], str]:
        """The template of a question, each example with its question and answer, and what separates two of them."""
        form = form_of(self.template, "problem") if self.template else None
        if self.examples is None:
            return form or "{problem}", [], ""
        found = load_examples(self.examples)
        if self.shots is not None and not 0 < self.shots <= len(found.shots):
            raise InputError(f"{self.examples} has {len(found.shots)} examples; shots must be from 1 to that many")
        asks = form or found.question
        worked = found.shots[: self.shots]
        shots = [(fill(asks, problem=question), fill(found.answer, answer=answer)) for question, answer in worked]
        return asks, shots, found.between


PLAIN = Prompting()
PYTHON = {"True": True, "False": False, "None": None}


def parse_keywords(texts: Sequence[str]) -> tuple[tuple[str, Json], ...]:
    """Keywords for a chat template from `name=value`, or from one JSON object of them.

    A value is JSON or Python's True, False or None; anything else is text. Raises InputError for another form.
    """
    found: dict[str, Json] = {}
    for text in texts:
        if text.lstrip().startswith("{"):
            found |= _object(text)
            continue
        name, sign, value = text.partition("=")
        if not sign or not name.isidentifier():
            raise InputError(f"keywords for a chat template are name=value or a JSON object, got {text!r:.60}")
        found[name] = _value(value)
    return tuple(found.items())


def _object(text: str) -> dict[str, Json]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"keywords for a chat template: {text!r:.60} is not JSON ({error!s:.60})") from None
    return found  # A text that starts with a brace is an object.


def _value(text: str) -> Json:
    try:
        return PYTHON[text] if text in PYTHON else json.loads(text)
    except (ValueError, RecursionError):
        return text


@cache
def load_examples(name: str) -> Examples:
    """Bundled worked examples, or those of a file. Raises InputError if it is absent or holds something else."""
    path, known = bundled(name, FOLDER, ".json")
    if not path.exists():
        raise InputError(f"{unknown('examples', name, known)}, or a file of your own")
    values = [value for _, value in zip(range(MOST + 1), (value for _, value in read_values(path)), strict=False)]
    if len(values) == 1 and isinstance(values[0], dict) and isinstance(values[0].get("examples"), list):
        return _examples(path, values[0]["examples"], {name: values[0].get(name, form) for name, form in FORM.items()})
    return _examples(path, values[0] if len(values) == 1 and isinstance(values[0], list) else values, FORM)


def _examples(path: Path, rows: Sequence[object], form: Mapping[str, Any]) -> Examples:
    if not 0 < len(rows) <= MOST:
        raise InputError(f"{path} should hold 1 to {MOST} worked examples, got {len(rows)}")
    if strange := [name for name, text in form.items() if not isinstance(text, str)]:
        raise InputError(f"{path}: {strange[0]!r} should be a text, got {form[strange[0]]!r:.40}")
    shots = tuple((_column(path, row, PROBLEM), _column(path, row, ANSWER)) for row in rows)
    question, answer = form_of(form["question"], "problem"), form_of(form["answer"], "answer")
    return Examples(shots=shots, question=question, answer=answer, between=form["between"])


def _column(path: Path, row: object, names: Sequence[str]) -> str:
    if not isinstance(row, dict):
        raise InputError(f"{path}: a worked example is an object with a problem and its answer, got {row!r:.40}")
    found = next((row[name] for name in names if isinstance(row.get(name), str)), None)
    if found is None:
        raise InputError(
            f"{path}: a worked example needs a text under one of {', '.join(names)}; got {', '.join(map(str, row))}"
        )
    return found
