"""Scores a file of outputs: any file of model texts with the problem or its answer.

    print(score_file("llada8b_instruct_gsm8k.jsonl", "gsm8k", by="gen_length"))

The column names of the usual files are known; others can be given (tasks/fields.py). A row with several outputs counts
once for each; a null output and an empty list count as no answer. A document that lm-evaluation-harness logs once for
each of its filters counts once (`_Repeats`). The answer of a row without one is looked up in the task's test split by
its question; tasks whose question is enough (sudoku, countdown) need none. A row without a checkable answer (null, or
`proof`) is left out and named. Accuracies have Wilson's 95 % interval.

Does not run a model, and does not compare groups (common/stats.py).
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

from nap.common.files import InputError, placed, write_jsonl
from nap.common.parquet import write_parquet
from nap.common.rows import FileRow, read_rows
from nap.common.stats import Interval, wilson_interval
from nap.data.problems import Problem
from nap.tasks.fields import GOLD, OUTPUT, USUAL, Fields, Row, gold_of, missing, outputs_of, question_of
from nap.tasks.marks import until
from nap.tasks.numbers import to_number
from nap.tasks.public import gold_text
from nap.tasks.registry import Reads, Task, load_task


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One output of the file: the answer in its text, the right answer, and whether they agree.

    line    line of its row, or its number from 1 in a list or in Parquet
    output  its number among the outputs of its row, from 1
    """

    line: int
    output: int
    group: str
    question: str
    answer: str | None
    gold: str
    correct: bool


@dataclass(frozen=True, kw_only=True)
class Group:
    """The rows with one value of the grouping field; `missing` counts those without an answer, which are wrong."""

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
    """Every output, and the accuracy of each group, sorted by name (numbers by value). Prints as a table.

    left_out  each row without a checkable answer: its place, and why
    repeats   how many rows lm-evaluation-harness logged of a document again, for another filter; they do not count
    """

    task: str
    by: str | None
    rows: tuple[Scored, ...]
    groups: tuple[Group, ...]
    left_out: tuple[str, ...] = ()
    repeats: int = 0

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


def score_file(
    path: str | Path,
    task: str,
    by: str | None = None,
    *,
    columns: Fields = USUAL,
    stop: tuple[str, ...] | None = None,
    strict: bool = False,
) -> Scores:
    """Check every output of a file with a task.

    by       a field of the rows to group by, such as `gen_length`
    columns  names of the columns, where they are not the usual ones
    stop     strings at which a text ends; None: those of the task
    strict   refuse a file with a row that has no checkable answer, instead of leaving the row out

    Raises InputError for an unknown task, an empty file, or a row that lacks a column, named by its place.
    """
    found, left_out, repeats = load_task(task), list[str](), _Repeats(by)
    if stop is not None and hasattr(found, "stop"):
        found = load_task(task, stop=stop)
    once = (row for row in read_rows(path) if not repeats.has(row.value))
    rows = tuple(_Scorer(found, by, columns, stop or ()).all(once, None if strict else left_out))
    if not rows:
        raise InputError(left_out[0] if left_out else f"{path} holds no rows to score")
    names = sorted({row.group for row in rows}, key=_numbers_first)
    groups = tuple(_group(name, [row for row in rows if row.group == name]) for name in names)
    return Scores(task=task, by=by, rows=rows, groups=groups, left_out=tuple(left_out), repeats=repeats.count)


def write_scored(rows: Iterable[Scored], path: str | Path) -> None:
    """Write each verdict and the extracted answer as JSONL or, for a name that ends in .parquet, Parquet."""
    found = [{name: _clean(value) for name, value in asdict(row).items()} for row in rows]
    if Path(path).suffix != ".parquet":
        write_jsonl(path, found)
        return
    import pyarrow as pa

    kinds = {"line": pa.int64(), "output": pa.int64(), "correct": pa.bool_()}
    schema = pa.schema([(field.name, kinds.get(field.name, pa.string())) for field in fields(Scored)])
    write_parquet(path, pa.Table.from_pylist(found, schema))


def _clean(value: object) -> object:
    # JSON can escape half of a surrogate pair, which no text file can hold.
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _group(name: str, rows: list[Scored]) -> Group:
    correct, missing = sum(row.correct for row in rows), sum(row.answer is None for row in rows)
    interval = wilson_interval(correct, len(rows))
    return Group(name=name, correct=correct, total=len(rows), missing=missing, interval=interval)


def _numbers_first(name: str) -> tuple[bool, Fraction, str]:
    value = to_number(name)
    return value is None, value or Fraction(0), name


class _Repeats:
    """Tells and counts the rows in which lm-evaluation-harness logs a document again, for another of its filters.

    Such a row has the `doc_id` and all other fields of one before it, except the filter, what it left and its metrics;
    the field to group by counts too. A row with the same filter is another row, as of two logs in one file.
    """

    def __init__(self, by: str | None) -> None:
        self.by, self.count = by, 0
        self._filters: dict[bytes, Counter[str]] = {}

    def has(self, row: Row) -> bool:
        """Whether the row is one. To be asked about every row, in order."""
        if row.get("doc_id") is None or "resps" not in row or not row.keys() & {"filter", "filtered_resps"}:
            return False
        rest = {name: row[name] for name in row if name == self.by or name not in _of_filter(row)}
        key = blake2b(json.dumps(rest, sort_keys=True, default=str).encode(), digest_size=16).digest()
        filters = self._filters.setdefault(key, Counter())
        before, name = max(filters.values(), default=0), str(row.get("filter"))
        filters[name] += 1
        # Versions before 0.4.3 do not name the filter.
        again = before > 0 and ("filter" not in row or filters[name] <= before)
        self.count += again
        return again


def _of_filter(row: Row) -> set[str]:
    """The fields that depend on the filter. Where a log does not list its metrics, all numbers from 0 to 1 count."""
    listed = row.get("metrics")
    if not isinstance(listed, list):
        numbers = {name for name, value in row.items() if isinstance(value, int | float) and 0 <= value <= 1}
        listed = numbers - {"doc_id"}
    return {"filter", "filtered_resps", "metrics", *map(str, listed)}


@dataclass(frozen=True)
class _Scorer:
    """Scores rows with a task; loads the task's own problems only when a row lacks its answer."""

    task: Task
    by: str | None
    columns: Fields
    stop: tuple[str, ...]

    def all(self, rows: Iterable[FileRow], left_out: list[str] | None) -> Iterator[Scored]:
        """The outputs of all rows. Rows that are left out go to the list; without a list they are refused."""
        for row in rows:
            outputs = self._outputs(row)
            try:
                problem = self._problem(row)
            except InputError as error:
                if left_out is None:
                    raise
                left_out.append(str(error))
                continue
            yield from (self._scored(row, problem, *one) for one in enumerate(outputs, 1))

    def _outputs(self, row: FileRow) -> list[str | None]:
        with placed(row.where):
            outputs = outputs_of(row.value, self.columns)
            if outputs is None:
                raise missing(row.value, "the model's text", "--output-field", self.columns.output, OUTPUT)
        if self.by is not None and self.by not in row.value:
            raise InputError(f"{row.where}: no field {self.by!r} to group by; got {', '.join(row.value)}")
        return outputs or [None]

    def _scored(self, row: FileRow, problem: Problem, number: int, output: str | None) -> Scored:
        text = until(output or "", self.stop)
        return Scored(
            line=row.number,
            output=number,
            group=self.task.name if self.by is None else str(row.value[self.by]),
            question=problem.prompt,
            answer=self.task.extract(problem, text) if text else None,
            gold=problem.answer,
            correct=bool(text) and self.task.check(problem, text),
        )

    def _problem(self, row: FileRow) -> Problem:
        name = self.task.name
        with placed(row.where):
            question = question_of(row.value, self.columns) or ""
            gold = gold_of(row.value, self.columns)
            if isinstance(self.task, Reads):
                return self.task.read(f"{name}-{row.number}", question, gold)
        if gold is None and not self.columns.answer:
            return self._asked(row, question)
        answer = gold_text(self.task, row, self.columns)
        return Problem(id=f"{name}-{row.number}", prompt=question, answer=answer, task=name)

    def _asked(self, row: FileRow, question: str) -> Problem:
        """The task's own problem that asks this. Raises InputError where there is none, or they are not here."""
        # Without a question nothing is looked up, as that may wait for a network.
        known, absent = self._known if question.strip() else ({}, None)
        if found := known.get(_spaced(question)):
            return found
        why = f"no {self.task.name} problem asks {question[:60]!r}"
        if absent and hasattr(self.task, "source"):
            why = f"the problems of {self.task.name} that may have it are not here: {absent.partition(';')[0]}"
        elif not question.strip():
            why = "no question by which a problem could be found"
        raise InputError(f"{row.where}: no answer in {', '.join(GOLD)} (name another with --answer-field), and {why}")

    @cached_property
    def _known(self) -> tuple[dict[str, Problem], str | None]:
        """The task's own problems by their question, and why there are none."""
        try:
            return {_spaced(problem.prompt): problem for problem in self.task.load("test")}, None
        except InputError as error:
            return {}, str(error)


def _spaced(text: str) -> str:
    return " ".join(text.split())
