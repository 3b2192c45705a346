"""Public question sets, checked by their final answers: GSM8K and MultiArith by number, MATH-500 by value.

    Gsm8k().load("test", limit=100)                    # from NAP_DATA, else from the Hugging Face hub
    Math500().load(path="my_problems.jsonl")           # your own rows, by the same check

A file is anything that rows.py reads. The columns with question and answer are known or named by the user (fields.py);
other fields go to the problem's `meta`. A row without a checkable answer is left out, and named.

Contains no data, and has no training split for sets without one.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from nap.common.files import InputError, placed
from nap.common.hub import hub
from nap.common.rows import FileRow, read_rows
from nap.common.text import printable
from nap.data.problems import Problem
from nap.tasks.answers import extract_answer, extract_number, math_equal
from nap.tasks.fields import GOLD, QUESTION, USUAL, Fields, first_of, gold_of, has_gold, missing, prompt_of, question_of
from nap.tasks.marks import STOPS, extract_boxed, own_answer, until
from nap.tasks.numbers import same_number, same_value, to_number
from nap.tasks.registry import Screens, Task, check_split, data_file

# What data sets with proofs or failed extractions (NuminaMath) write in place of an answer.
NO_ANSWERS = ("proof", "notfound", "not found", "unknown", "n/a")


@dataclass(frozen=True)
class Source:
    """Where a data set is: a file under NAP_DATA (`{split}` is filled in), or a name and configuration on the hub."""

    file: str
    hub: tuple[str, ...]
    splits: tuple[str, ...] = ("test",)

    def rows(self, name: str, split: str, path: str | None) -> Iterator[FileRow]:
        """The rows of `path`, else of the split's file, else of the hub. Raises InputError."""
        if path is not None:
            return read_rows(path)
        check_split(name, split, self.splits)
        file = self.file.format(split=split)
        if os.environ.get("NAP_DATA") and data_file(file).exists():
            return read_rows(data_file(file))
        return self._hub_rows(file, split)

    def _hub_rows(self, file: str, split: str) -> Iterator[FileRow]:
        choices = f"give a file with --data, set NAP_DATA to the folder that holds {file}"
        try:
            from datasets import load_dataset  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise InputError(f"no such data; {choices}, or: pip install 'nap-dlm[hub]'") from None
        with hub() as absent:
            try:
                rows: Any = load_dataset(*self.hub, split=split)
            except OSError as error:
                reason = absent or f"{error!s:.80}"
                raise InputError(f"the hub does not give {self.hub[0]} ({reason}); {choices}") from None
        return (FileRow(f"{self.hub[0]}:{number}", number, row) for number, row in enumerate(rows, 1))


class Problems(list[Problem]):
    """Problems of a file, and the rows that were left out: the place of each, and why it cannot be checked."""

    def __init__(self, found: Iterable[Problem] = (), left_out: Iterable[str] = ()) -> None:
        super().__init__(found)
        self.left_out = tuple(left_out)


def left_out_of(problems: Sequence[Problem]) -> Sequence[str]:
    """The rows that were left out of a file of problems; none of problems that are generated."""
    return problems.left_out if isinstance(problems, Problems) else ()


def tell_left_out(rows: Sequence[str], say: Callable[[str], None], strict: str = "; --strict refuses them") -> None:
    """Say how many rows without a checkable answer were left out, and the first; nothing where none was.

    strict  how the caller refuses such rows
    """
    if rows:
        more = f" (the first of {len(rows)})" if len(rows) > 1 else ""
        say(f"{len(rows)} rows left out: {printable(rows[0], 200)}{more}{strict}")


def problems(
    task: Task, rows: Iterable[FileRow], limit: int | None, fields: Fields = USUAL, strict: bool = False
) -> Problems:
    """The first `limit` problems of the rows, their answers as text.

    A row without a question or a checkable answer (null, `proof`) is left out and named. Raises InputError for the
    first one if `strict`, or if there is no other.
    """
    found, left_out = list[Problem](), list[str]()
    for row in rows:
        if limit is not None and len(found) >= limit:
            break
        try:
            found.append(_problem(task, row, fields))
        except InputError as error:
            if strict:
                raise
            left_out.append(str(error))
    if left_out and not found and limit != 0:
        raise InputError(left_out[0] + (f" (and so for all {len(left_out)} rows)" if len(left_out) > 1 else ""))
    return Problems(found, left_out)


def _problem(task: Task, row: FileRow, fields: Fields) -> Problem:
    with placed(row.where):
        question = question_of(row.value, fields)
    if not isinstance(question, str) or not question.strip():
        refusal = missing(row.value, "its question as text", "--prompt-field", fields.prompt, QUESTION)
        raise InputError(f"{row.where}: {refusal}")
    answer = gold_text(task, row, fields)
    with placed(row.where):
        name, asked = first_of(row.value, ("id", "unique_id")), prompt_of(row.value, fields) or question
    used = {*QUESTION, *GOLD, "id", fields.prompt, fields.answer}
    return Problem(
        id=f"{task.name}-{row.number}" if name is None else str(name),
        prompt=asked,
        answer=answer,
        task=task.name,
        meta={key: value for key, value in row.value.items() if key not in used},
    )


def _same(one: object, other: object) -> bool:
    return one == other or same_value(str(one), str(other))


def gold_text(task: Task, row: FileRow, fields: Fields = USUAL) -> str:
    """A row's right answer as text. Raises InputError, naming the row, if the task cannot check against it."""
    with placed(row.where):
        gold = gold_of(row.value, fields)
    if isinstance(gold, list) and gold and all(_same(one, gold[0]) for one in gold):
        gold = gold[0]
    if not has_gold(row.value, fields):
        refusal = missing(row.value, "the right answer", "--answer-field", fields.answer, GOLD)
        raise InputError(f"{row.where}: {refusal}")
    unheld = isinstance(gold, float) and not isfinite(gold)
    if unheld or isinstance(gold, bool) or not isinstance(gold, int | float | str) or not str(gold).strip():
        raise InputError(f"{row.where}: the answer must be text or a number, got {gold!r:.60}")
    text = str(gold).strip()
    why = task.unusable(text) if isinstance(task, Screens) else None
    if why or text.lower() in NO_ANSWERS:
        raise InputError(f"{row.where}: {why or f'its answer {text!r} cannot be checked'}")
    return text


@dataclass(frozen=True, kw_only=True)
class OfFiles:
    """Shared by tasks whose problems are the rows of a file.

    stop    strings at which a text ends, because base models continue with another question
    fields  columns of a file with unusual names
    strict  refuse a file with a row that has no checkable answer, instead of leaving the row out
    """

    name: str = ""
    stop: tuple[str, ...] = STOPS
    fields: Fields = USUAL
    strict: bool = False


@dataclass(frozen=True, kw_only=True)
class Gsm8k(OfFiles):
    """Grade-school mathematics (Cobbe et al. 2021, arXiv 2110.14168): the final number must be equal."""

    name: str = "gsm8k"
    source: Source = Source("gsm8k/{split}.jsonl", ("openai/gsm8k", "main"), ("train", "test"))

    def load(self, split: str = "test", limit: int | None = None, path: str | None = None) -> Problems:
        """The first `limit` problems (all by default); `meta["solution"]` keeps a worked answer (`... #### 18`)."""
        found = problems(self, self.source.rows(self.name, split, path), limit, self.fields, self.strict)
        numbers = [replace(p, answer=_gold_number(p), meta={"solution": p.answer, **p.meta}) for p in found]
        return Problems(numbers, found.left_out)

    def extract(self, problem: Problem, text: str) -> str | None:
        """The number that the text gives as its answer."""
        return extract_number(until(text, self.stop))

    def vote(self, problem: Problem, path: str) -> str | None:
        """The number that a path gives."""
        return self.extract(problem, path)

    def same(self, one: str, other: str) -> bool:
        """Whether two answers are the same number."""
        return one == other or same_value(one, other)

    def unusable(self, gold: str) -> str | None:
        """Why an answer cannot be checked: it has no number."""
        return None if to_number(extract_number(gold) or "") is not None else f"its answer {gold!r:.60} holds no number"

    def check(self, problem: Problem, text: str) -> bool:
        """Whether that number is the problem's. Raises InputError if the problem's own answer holds no number."""
        return same_number(self.extract(problem, text), _gold_number(problem))


def _gold_number(problem: Problem) -> str:
    gold = extract_number(problem.answer)
    if gold is None:
        raise InputError(f"problem {problem.id!r}: its answer {problem.answer!r:.60} holds no number")
    return gold


@dataclass(frozen=True, kw_only=True)
class MultiArith(Gsm8k):
    """Word problems of several steps (Roy and Roth 2015): the final number must be equal."""

    name: str = "multiarith"
    source: Source = Source("mathword/mawps_multiarith.jsonl", ("ChilleD/MultiArith",))


@dataclass(frozen=True, kw_only=True)
class Math500(OfFiles):
    """500 problems of MATH (Lightman et al. 2023, arXiv 2305.20050): the final answer must have the same value."""

    name: str = "math500"
    source: Source = Source("math500/math500_test.json", ("HuggingFaceH4/MATH-500",))

    def load(self, split: str = "test", limit: int | None = None, path: str | None = None) -> Problems:
        """The first `limit` problems (all by default)."""
        return problems(self, self.source.rows(self.name, split, path), limit, self.fields, self.strict)

    def extract(self, problem: Problem, text: str) -> str | None:
        """The LaTeX that the text gives as its answer."""
        return extract_answer(until(text, self.stop))

    def vote(self, problem: Problem, path: str) -> str | None:
        """The LaTeX that a path gives, in a box, as `check` expects it."""
        found = self.extract(problem, path)
        return None if found is None else rf"\boxed{{{found}}}"

    def same(self, one: str, other: str) -> bool:
        """Whether two answers have the same value."""
        one, other = (extract_boxed(text) or text for text in (one, other))
        return math_equal(one, other)

    def check(self, problem: Problem, text: str) -> bool:
        """Whether that has the value of the problem's answer. Raises InputError if math-verify is not installed."""
        return math_equal(self.extract(problem, text), own_answer(problem.answer))
