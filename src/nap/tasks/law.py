"""What is known exactly of an answer: all that it may be, and the shape of tasks that know it.

Does not draw problems or check answers (grids.py, agree.py).
"""

from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple, Protocol

from nap.common.files import InputError
from nap.common.rows import read_rows
from nap.data.problems import Problem
from nap.data.samples import Sample
from nap.tasks.fields import GOLD, QUESTION, first_of
from nap.tasks.registry import Generator, Reads


class Law(NamedTuple):
    """Units (from 0) that depend on each other, and every content that they may have together, each as likely.

    A content is a sequence of words, unit after unit.
    """

    units: tuple[int, ...]
    contents: Sequence[Sequence[str]]


class Lawful(Generator, Protocol):
    """A task whose answer is `count` units (grids, sentences) of `cells` words each, under a known law."""

    count: int

    @property
    def cells(self) -> int:
        """Words of one unit."""
        ...

    def sample(self, seed: int, index: int, paths: int | None = None, split: str = "train") -> Sample:
        """A training sample, a path for each unit."""
        ...

    def law(self, problem: Problem) -> list[Law]:
        """All that the units may be: independent ones apart, others together."""
        ...

    def valid(self, problem: Problem, units: Sequence[str]) -> list[bool]:
        """For each unit whether its text is right, by itself and beside the one before it."""
        ...

    def gather(self, paths: Sequence[str], summary: str) -> str:
        """All that a canvas says, as `check` reads it: the answer is in the paths."""
        ...


def read_problems(name: str, task: Reads, path: str, limit: int | None) -> list[Problem]:
    """The first `limit` problems of a file whose questions are prompts of the task. A bad row is named by its place."""
    found = []
    for row in islice(read_rows(path), limit):
        question = first_of(row.value, QUESTION)
        if not isinstance(question, str):
            raise InputError(f"{row.where}: a row needs its prompt in one of {', '.join(QUESTION)}")
        try:
            found.append(task.read(f"{name}-{row.number}", question, first_of(row.value, GOLD)))
        except InputError as error:
            raise InputError(f"{row.where}: {error}") from None
    return found
