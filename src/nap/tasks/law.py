"""What is known exactly of an answer: all that it may be, and the shape of tasks that know it.

Does not draw problems or check answers (grids.py, agree.py).
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from nap.data.problems import Problem
from nap.data.samples import Sample
from nap.tasks.registry import Generator, Reads


class Law(NamedTuple):
    """Units (from 0) that depend on each other, and every content that they may have together, each as likely.

    A content is a sequence of words, unit after unit.
    """

    units: tuple[int, ...]
    contents: Sequence[Sequence[str]]


class Lawful(Generator, Reads, Protocol):
    """A task whose answer is `count` units (grids, sentences) of `cells` words each, under a known law."""

    count: int

    @property
    def words(self) -> Sequence[str]:
        """Every word of its questions and answers."""
        ...

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
