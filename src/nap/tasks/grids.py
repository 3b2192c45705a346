"""Several small sudokus at once, each with few clues and many solutions: their digits have to agree.

    grid 1 0 0 3 0 0 ... grid 2 0 1 0 0 ...        # the prompt: every grid row by row, 0 is blank
    3 1 2 4 4 2 1 3 ...                            # a path writes one whole grid

Any completion of the clues is right: the cells only have to agree, whether they are written one after the other or all
at once. The grids are independent, or the first `shared` rows of a grid are those of the grid before. Grids are drawn
uniformly, so the law of the open cells is known exactly (`completions`). The clues of a grid decide its split: clues of
the test never occur in training, at any place of a canvas. Each of the 288 grids of size 4 may be in both splits.

Needs no reasoning beyond the rows, columns and boxes. Does not measure anything (recipes/agreement.py).
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

from nap.common.files import InputError
from nap.common.text import check_known
from nap.data.problems import Problem
from nap.data.samples import Path, Sample
from nap.tasks.law import Law, Units
from nap.tasks.registry import split_of
from nap.tasks.sudoku import is_solution, size_of, solutions

Summary = Literal["done", "corners"]
SIZES = (4, 6)
MOST_GRIDS = 9


@cache
def squares(size: int) -> list[str]:
    """Every grid whose first row is 1, 2, ...; a random one with its digits renamed is a uniformly random grid."""
    first = "".join(map(str, range(1, size + 1)))
    return list(solutions(first + "0" * (size * size - size)))


@cache
def _by_first_rows(size: int, cells: int) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for square in squares(size):
        found.setdefault(square[:cells], []).append(square)
    return found


def draw_grid(size: int, rng: random.Random, given: str = "") -> str:
    """A uniformly random grid among those that begin with the rows `given`."""
    digits = "".join(map(str, range(1, size + 1)))
    if not given:
        return rng.choice(squares(size)).translate(str.maketrans(digits, "".join(rng.sample(digits, size))))
    names = str.maketrans(given[:size], digits)
    alike = _by_first_rows(size, len(given))[given.translate(names)]
    return rng.choice(alike).translate(str.maketrans(digits, given[:size]))


@cache
def completions(puzzle: str) -> tuple[str, ...]:
    """Every solution of a puzzle; given the clues all are equally likely."""
    return tuple(solutions(puzzle))


@dataclass(frozen=True, kw_only=True)
class Grids(Units):
    """The task: `count` grids of `size` digits a side, each with `clues` clues.

    shared   how many first rows of a grid repeat those of the grid before it: 0 (independent grids) to `size`
    summary  `done` says nothing; `corners` names the top left digit of every grid, which must be read from the paths
    """

    name: str = "grids"
    size: int = 4
    count: int = 3
    clues: int = 2
    shared: int = 0
    summary: Summary = "done"

    def __post_init__(self) -> None:
        check_known("size of grids", self.size, SIZES)
        check_known("summary of grids", self.summary, get_args(Summary))
        bounds = {"count": (1, MOST_GRIDS), "clues": (1, self.size**2), "shared": (0, self.size)}
        for name, (low, high) in bounds.items():
            if not low <= getattr(self, name) <= high:
                raise InputError(f"grids: {name} must be from {low} to {high}, got {getattr(self, name)!r}")

    def drawn(self, seed: int, index: int, split: str) -> Sample:
        """The grids of a problem, and the problem."""
        rng = random.Random(f"grids/{self.size}/{self.count}/{self.clues}/{self.shared}/{seed}/{index}/{split}")
        grids: list[str] = []
        for _ in range(self.count):
            grids.append(draw_grid(self.size, rng, grids[-1][: self.shared * self.size] if grids else ""))
        puzzles = [self._hide(grid, split, rng) for grid in grids]
        return Sample(
            problem=self._problem(f"grids-{split}-{seed}-{index}", puzzles, grids),
            paths=tuple(Path(text=" ".join(grid), answer=grid, correct=True) for grid in grids),
            summary=self.summarised(grids),
        )

    def summarised(self, grids: Sequence[str]) -> str:
        """The right summary of these grids."""
        return "done" if self.summary == "done" else " ".join(grid[0] for grid in grids)

    def read(self, id: str, question: str, gold: object = None) -> Problem:
        """The problem of a prompt. Raises InputError if a grid is missing or has no solution."""
        puzzles = ["".join(re.findall(r"\d", part)) for part in re.split(r"grid\s+\d", question)[1:]]
        if len(puzzles) != self.count or any(size_of(puzzle) != self.size for puzzle in puzzles):
            raise InputError(f"problem {id}: {self.count} grids of size {self.size} wanted, got {question[:100]!r}")
        problem = self._problem(id, puzzles, [])
        grids = self.split_text(str(gold)) if gold is not None else self._first(problem)
        problem = self._problem(id, puzzles, grids or [])
        if not grids or not self._holds(problem, grids):
            raise InputError(f"problem {id}: {'the answer is no' if gold is not None else 'there is no'} solution")
        return problem

    def gather(self, paths: Sequence[str], summary: str) -> str:
        """The whole text of a canvas: the answer is in the paths, and the summary has to agree with it."""
        return f"{' '.join(paths)} ; {summary}"

    def split_text(self, text: str) -> list[str] | None:
        """The grids in a text before its summary; None if it has too many or too few cells, or other words."""
        cells = text.partition(";")[0].split()
        digits, each = "".join(cells), self.size**2
        if not digits.isascii() or not digits.isdigit() or len(digits) != self.count * each:
            return None
        return [digits[start : start + each] for start in range(0, len(digits), each)]

    def extract(self, problem: Problem, text: str) -> str | None:
        """The grids in the text, as digits, with a space between two grids."""
        grids = self.split_text(text)
        return " ".join(grids) if grids else None

    def check(self, problem: Problem, text: str) -> bool:
        """Whether every grid of the text solves its clues, shares the rows that it should, and the summary fits."""
        grids = self.split_text(text)
        if not grids or not self._holds(problem, grids):
            return False
        return self.summary == "done" or text.partition(";")[2].split() == self.summarised(grids).split()

    def filled(self, problem: Problem) -> str:
        """The digits of all grids."""
        return " ".join(problem.answer.replace(" ", ""))

    def valid(self, problem: Problem, units: Sequence[str]) -> list[bool]:
        """For each grid, whether it solves its clues and repeats the rows of the grid before it that it should."""
        rows, grids = self.shared * self.size, ["".join(grid.split()) for grid in units]
        solved = [is_solution(grid, puzzle) for grid, puzzle in zip(grids, problem.meta["puzzles"], strict=True)]
        return [ok and (not j or grids[j][:rows] == grids[j - 1][:rows]) for j, ok in enumerate(solved)]

    @property
    def words(self) -> Sequence[str]:
        """Every word of its questions and answers."""
        return ("grid", *"0123456789", "done")

    @property
    def cells(self) -> int:
        """Words of one grid."""
        return self.size**2

    def law(self, problem: Problem) -> list[Law]:
        """The possible contents of the grids, all equally likely: separate for independent grids, else joint."""
        alone = [completions(puzzle) for puzzle in problem.meta["puzzles"]]
        if not self.shared:
            return [Law((j,), grids) for j, grids in enumerate(alone)]
        rows, together = self.shared * self.size, list(alone[0])
        for grids in alone[1:]:
            together = [a + b for a in together for b in grids if a[-self.cells :][:rows] == b[:rows]]
        return [Law(tuple(range(self.count)), tuple(together))]

    def _first(self, problem: Problem) -> list[str] | None:
        """Grids that solve the problem; None if there are none."""
        contents = [next(iter(law.contents), "") for law in self.law(problem)]
        return self.split_text("".join(map(str, contents)))

    def _holds(self, problem: Problem, grids: Sequence[str]) -> bool:
        return all(self.valid(problem, grids))

    def _hide(self, grid: str, split: str, rng: random.Random) -> str:
        """The grid with only its clues, which are drawn until they belong to the split."""
        while True:
            shown = set(rng.sample(range(len(grid)), self.clues))
            puzzle = "".join(digit if cell in shown else "0" for cell, digit in enumerate(grid))
            if split_of(f"grids {puzzle}") == split:
                return puzzle

    def _problem(self, id: str, puzzles: Sequence[str], grids: Sequence[str]) -> Problem:
        return Problem(
            id=id,
            prompt=" ".join(f"grid {j} {' '.join(puzzle)}" for j, puzzle in enumerate(puzzles, 1)),
            answer=" ".join(grids),
            task=self.name,
            meta={"puzzles": list(puzzles), "shared": self.shared},
        )
