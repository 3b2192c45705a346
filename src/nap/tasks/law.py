"""Tasks whose possible answers are all known: the law of an answer, and the protocol of such tasks.

Does not draw units or check them (grids.py, agree.py).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from nap.common.files import InputError
from nap.data.problems import Problem
from nap.data.samples import Sample
from nap.tasks.drawn import Drawn, drawn, read_problems
from nap.tasks.registry import check_split


class Law(NamedTuple):
    """Units (from 0) that depend on each other, and all contents that they may have together, equally likely.

    A content is a sequence of words, unit after unit.
    """

    units: tuple[int, ...]
    contents: Sequence[Sequence[str]]


class Units(ABC):
    """A task whose answer is `count` units (grids, sentences) of `cells` words with a known law, one in each path."""

    name: str
    count: int

    @property
    @abstractmethod
    def words(self) -> Sequence[str]:
        """Every word of its questions and answers."""

    @property
    @abstractmethod
    def cells(self) -> int:
        """Words of one unit."""

    @abstractmethod
    def law(self, problem: Problem) -> list[Law]:
        """The possible contents of the units: separate for independent units, else joint."""

    @abstractmethod
    def valid(self, problem: Problem, units: Sequence[str]) -> list[bool]:
        """For each unit, whether its text is right by itself and next to the one before it."""

    @abstractmethod
    def gather(self, paths: Sequence[str], summary: str) -> str:
        """The whole text of a canvas, as `check` reads it, because the answer is in the paths."""

    def generate(self, seed: int, index: int, split: str) -> Problem:
        """Problem `index` of an endless stream: the same for the same arguments, never in both splits."""
        return self.sample(seed, index, split=split).problem

    def sample(self, seed: int, index: int, paths: int | None = None, split: str = "train") -> Sample:
        """A training sample: a path for each unit. `paths` may only repeat `count`."""
        if paths not in (None, self.count):
            raise InputError(f"a sample of {self.name} has a path for each of its {self.count} units, not {paths}")
        check_split(self.name, split)
        return self.drawn(seed, index, split)

    def load(self, split: str = "test", limit: int | None = None, path: str | None = None) -> list[Problem]:
        """Generated problems, or those of a file whose questions are prompts of this task."""
        task: Drawn = self  # pyright: ignore[reportAssignmentType]  # a subclass checks answers
        return drawn(task, split, limit) if path is None else read_problems(task, path, limit)

    @abstractmethod
    def read(self, id: str, question: str, gold: object = None) -> Problem:
        """The problem that a prompt states. Raises InputError if it states none."""

    @abstractmethod
    def drawn(self, seed: int, index: int, split: str) -> Sample:
        """The sample of the problem of `generate`, for a valid split."""
