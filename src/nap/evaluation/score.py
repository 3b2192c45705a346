"""Score a file of outputs: any JSONL of model texts with the problem or its answer.

    print(score_file("llada8b_instruct_gsm8k.jsonl", "gsm8k", by="gen_length"))

A row names the model's text `generation`, `output`, `completion`, `response` or `text`, the question `question`,
`prompt`, `problem` or `input`, and the right answer `ground_truth`, `gold`, `target`, `answer` or `final_ans`. A row
without an answer is looked up in the task's own test split by its question, or, for tasks whose question says all
(sudoku, countdown), needs none. Accuracies have Wilson's 95 % interval.

Does not run a model, and does not compare groups; `stats` does.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

from nap.common.files import InputError
from nap.common.rows import read_rows
from nap.common.stats import Interval, wilson_interval
from nap.data.problems import Problem
from nap.tasks.numbers import to_number
from nap.tasks.public import gold_text
from nap.tasks.registry import GOLD, QUESTION, Reads, Task, first_of, load_task

TEXT = ("generation", "output", "completion", "response", "text")


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One row of the file: what was found in its text, what is right, and whether they agree."""

    line: int
    group: str
    answer: str | None
    gold: str
    correct: bool


@dataclass(frozen=True, kw_only=True)
class Group:
    """The rows of one value of the field grouped by; `missing` gave no answer at all (and count as wrong)."""

    name: str
    correct: int
    total: int
    missing: int
    interval: Interval

    @property
    def accuracy(self) -> float:
        """The share of right answers, 0 to 1."""
        return self.correct / self.total


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Every row, and the accuracy of each group in the order of their names (numbers by value). Prints as a table."""

    task: str
    by: str | None
    rows: tuple[Scored, ...]
    groups: tuple[Group, ...]

    def __str__(self) -> str:
        head = (self.by or self.task, "accuracy", "95 % interval", "right", "of", "no answer")
        table = [head, *(_cells(group) for group in self.groups)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = ([cell.rjust(width) for cell, width in zip(row, widths, strict=True)] for row in table)
        return "\n".join(map("  ".join, lines))


def _cells(group: Group) -> tuple[str, ...]:
    low, high = group.interval
    interval = f"{low:.1%} - {high:.1%}"
    return group.name, f"{group.accuracy:.1%}", interval, str(group.correct), str(group.total), str(group.missing)


def score_file(path: str | Path, task: str, by: str | None = None) -> Scores:
    """Check every row of a file with a task. `by` is a field of the rows to group by, such as `gen_length`.

    Raises InputError for an unknown task, an empty file, or a row that lacks a field, named by its line.
    """
    score = _Scorer(load_task(task), by)
    rows = tuple(score(row.where, row.number, row.value) for row in read_rows(path))
    if not rows:
        raise InputError(f"{path} holds no rows to score")
    names = sorted({row.group for row in rows}, key=_numbers_first)
    groups = tuple(_group(name, [row for row in rows if row.group == name]) for name in names)
    return Scores(task=task, by=by, rows=rows, groups=groups)


def _group(name: str, rows: list[Scored]) -> Group:
    correct, missing = sum(row.correct for row in rows), sum(row.answer is None for row in rows)
    interval = wilson_interval(correct, len(rows))
    return Group(name=name, correct=correct, total=len(rows), missing=missing, interval=interval)


def _numbers_first(name: str) -> tuple[bool, Fraction, str]:
    value = to_number(name)
    return value is None, value or Fraction(0), name


@dataclass(frozen=True)
class _Scorer:
    """Scores rows with a task; loads the task's own problems only when a row lacks its answer."""

    task: Task
    by: str | None

    def __call__(self, place: str, line: int, row: dict[str, Any]) -> Scored:
        text, problem = first_of(row, TEXT), self._problem(place, line, row)
        if not isinstance(text, str):
            raise InputError(f"{place}: a row needs the model's text in one of {', '.join(TEXT)}; got {', '.join(row)}")
        if self.by is not None and self.by not in row:
            raise InputError(f"{place}: no field {self.by!r} to group by; got {', '.join(row)}")
        return Scored(
            line=line,
            group=self.task.name if self.by is None else str(row[self.by]),
            answer=self.task.extract(problem, text),
            gold=problem.answer,
            correct=self.task.check(problem, text),
        )

    def _problem(self, place: str, line: int, row: dict[str, Any]) -> Problem:
        question, gold, name = str(first_of(row, QUESTION) or ""), first_of(row, GOLD), self.task.name
        if isinstance(self.task, Reads):
            return self.task.read(f"{name}-{line}", question, gold)
        if gold is not None:
            return Problem(id=f"{name}-{line}", prompt=question, answer=gold_text(gold, place), task=name)
        if (known := self._known.get(_spaced(question))) is None:
            raise InputError(f"{place}: no answer in {', '.join(GOLD)}, and no {name} problem asks {question[:60]!r}")
        return known

    @cached_property
    def _known(self) -> dict[str, Problem]:
        return {_spaced(problem.prompt): problem for problem in self.task.load("test")}


def _spaced(text: str) -> str:
    return " ".join(text.split())
