"""Shared by tasks that generate their problems: the first problems of their stream, or those of a file.

Each task generates its own problems.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Protocol

from nap.common.files import InputError, placed
from nap.common.rows import FileRow, read_rows
from nap.data.problems import Problem
from nap.tasks.fields import GOLD, QUESTION, first_of
from nap.tasks.registry import Generator, Reads

PROBLEMS = 200


class Drawn(Generator, Reads, Protocol):
    """A task that generates its problems, and can read those of other sources."""


def drawn(task: Generator, split: str, limit: int | None) -> list[Problem]:
    """The first problems of a split of the stream of seed 0."""
    return [*stream(task, split, limit)]


def stream(task: Generator, split: str, limit: int | None) -> Iterator[Problem]:
    """The same, each as it is generated."""
    return (task.generate(0, index, split) for index in range(PROBLEMS if limit is None else limit))


def read_problems(task: Drawn, path: str, limit: int | None, asked: str = "prompt") -> list[Problem]:
    """The first `limit` problems of a file whose questions are prompts of the task, or stand under the name `asked`.

    Raises InputError that names the row.
    """
    return [_problem(task, row, asked) for row in islice(read_rows(path), limit)]


def _problem(task: Drawn, row: FileRow, asked: str) -> Problem:
    names = QUESTION if asked in QUESTION else (asked, *QUESTION)
    values = {name.lower(): value for name, value in row.value.items()}
    with placed(row.where):
        question = first_of(values, names)
    if not isinstance(question, str):
        got = ", ".join(values)
        raise InputError(f"{row.where}: a row needs its {asked} in one of {', '.join(names)}; got {got}")
    with placed(row.where):
        return task.read(f"{task.name}-{row.number}", question, first_of(values, ("solution", *GOLD)))
