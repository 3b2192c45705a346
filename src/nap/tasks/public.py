"""Public question sets, checked by their final answers: GSM8K and MultiArith by number, MATH-500 by value.

    Gsm8k().load("test", limit=100)                    # from NAP_DATA, else from the Hugging Face hub
    Math500().load(path="my_problems.jsonl")           # your own rows, by the same check

A file is JSONL, or one JSON list. Its rows name the question `question`, `prompt`, `problem` or `input`, and the answer
`ground_truth`, `gold`, `target`, `answer` or `final_ans`; other fields go to the problem's `meta`.

Does not hold any data itself, and has no training split where the set has none.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from nap.common.files import InputError
from nap.common.rows import FileRow, read_rows
from nap.data.problems import Problem
from nap.tasks.answers import extract_answer, extract_number, math_equal
from nap.tasks.marks import STOPS, until
from nap.tasks.numbers import same_number
from nap.tasks.registry import GOLD, QUESTION, data_file, first_of


@dataclass(frozen=True)
class Source:
    """Where a set is found: a file under NAP_DATA (`{split}` is filled in), or on the hub by name and configuration."""

    file: str
    hub: tuple[str, ...]
    splits: tuple[str, ...] = ("test",)

    def rows(self, name: str, split: str, path: str | None) -> Iterator[FileRow]:
        """The rows of `path`, else of the split's file, else of the hub. Raises InputError."""
        if path is not None:
            return read_rows(path)
        if split not in self.splits:
            raise InputError(f"{name} has no split {split!r}; known: {', '.join(self.splits)}")
        file = data_file(self.file.format(split=split))
        return read_rows(file) if file.exists() else self._hub_rows(file, split)

    def _hub_rows(self, file: Path, split: str) -> Iterator[FileRow]:
        choices = f"give a file with --data, put {file.name} at {file} (the folder is NAP_DATA)"
        try:
            from datasets import load_dataset  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise InputError(f"no such data; {choices}, or: pip install 'nap-dlm[hub]'") from None
        try:
            rows = load_dataset(*self.hub, split=split)
        except OSError as error:
            raise InputError(f"the hub does not give {self.hub[0]} ({error!s:.80}); {choices}") from None
        return (FileRow(f"{self.hub[0]}:{number}", number, row) for number, row in enumerate(rows, 1))


def problems(task: str, rows: Iterable[FileRow], limit: int | None) -> list[Problem]:
    """The first `limit` rows as problems, their answers as text. Raises InputError naming a row that is none."""
    return [_problem(task, *row) for row in islice(rows, limit)]


def _problem(task: str, place: str, number: int, row: dict[str, Any]) -> Problem:
    question, gold = first_of(row, QUESTION), first_of(row, GOLD)
    names = ", ".join(QUESTION)
    if not isinstance(question, str) or not question.strip():
        raise InputError(f"{place}: a row needs its question as text in one of {names}; got {', '.join(row)}")
    name = first_of(row, ("id", "unique_id"))
    rest = {key: value for key, value in row.items() if key not in (*QUESTION, *GOLD, "id")}
    return Problem(
        id=f"{task}-{number}" if name is None else str(name),
        prompt=question,
        answer=gold_text(gold, place),
        task=task,
        meta=rest,
    )


def gold_text(gold: Any, place: str) -> str:
    """A gold answer as text. Raises InputError, naming the place, unless it is a number or text that is not blank."""
    if isinstance(gold, bool) or not isinstance(gold, int | float | str) or not str(gold).strip():
        raise InputError(f"{place}: the answer must be text or a number in one of {', '.join(GOLD)}, got {gold!r:.60}")
    return str(gold).strip()


@dataclass(frozen=True, kw_only=True)
class Gsm8k:
    """Grade-school mathematics (Cobbe et al. 2021, arXiv 2110.14168): the final number must be equal.

    stop  strings behind which nothing is read: base models go on with a next question
    """

    name: str = "gsm8k"
    stop: tuple[str, ...] = STOPS
    source: Source = Source("gsm8k/{split}.jsonl", ("openai/gsm8k", "main"), ("train", "test"))

    def load(self, split: str = "test", limit: int | None = None, path: str | None = None) -> list[Problem]:
        """The first `limit` problems (all by default); `meta["solution"]` keeps a worked answer (`... #### 18`)."""
        found = problems(self.name, self.source.rows(self.name, split, path), limit)
        return [replace(p, answer=_gold_number(p), meta={"solution": p.answer, **p.meta}) for p in found]

    def extract(self, problem: Problem, text: str) -> str | None:
        """The number that the text gives as its answer."""
        return extract_number(until(text, self.stop))

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
class Math500:
    """500 problems of MATH (Lightman et al. 2023, arXiv 2305.20050): the final answer must have the same value."""

    name: str = "math500"
    stop: tuple[str, ...] = STOPS
    source: Source = Source("math500/math500_test.json", ("HuggingFaceH4/MATH-500",))

    def load(self, split: str = "test", limit: int | None = None, path: str | None = None) -> list[Problem]:
        """The first `limit` problems (all by default)."""
        return problems(self.name, self.source.rows(self.name, split, path), limit)

    def extract(self, problem: Problem, text: str) -> str | None:
        """The LaTeX that the text gives as its answer."""
        return extract_answer(until(text, self.stop))

    def check(self, problem: Problem, text: str) -> bool:
        """Whether that has the value of the problem's answer. Raises InputError if math-verify is not installed."""
        return math_equal(self.extract(problem, text), problem.answer)
