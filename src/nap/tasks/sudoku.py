"""Sudoku of size 4 (boxes 2x2), 6 (2 rows by 3 columns) and 9 (3x3): any completion of the givens is right.

    sudoku 4 3 2 0 / 0 0 4 3 / 3 0 1 0 / 0 0 0 4        # the prompt: row by row, 0 is blank
    4321124334122134                                    # an answer

In an answer only the digits count: spaces, new lines, commas, slashes, bars, brackets and backslashes between them are
ignored, and so are names of rows (`Row 1:`) and remarks on a grid (`(16 cells)`). Files are CSV with the columns
`puzzle` and `solution` (capitals do not matter), or rows of JSONL whose question holds the puzzle (`Solve the following
Sudoku puzzle: 4320004330100004`). Many public 4x4 puzzles have several solutions: the one in a file is kept as an
example, and never compared with.

Does not grade difficulty by technique, and gives no partial credit.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice

from nap.common.files import InputError
from nap.common.text import check_known
from nap.data.problems import Problem
from nap.tasks.drawn import drawn, read_problems
from nap.tasks.marks import marked_answers
from nap.tasks.registry import check_split, split_of

# Rows and columns of a box.
BOXES = {4: (2, 2), 6: (2, 3), 9: (3, 3)}
# The most blanks that can be reached in a few attempts with one solution; a 9x9 with 17 givens takes hours to find.
MOST_BLANKS = {4: 11, 6: 25, 9: 54}
# How many symmetric variants of a puzzle are tried for the wanted split before a new puzzle is made.
VARIANTS = 64

# What is no cell: the name of a row or the number of a line before its cells, and a remark in brackets (`(4x4 grid)`).
_ASIDE = re.compile(
    r"""(?im)\brow[ _-]{0,20}\d[* \t"']{0,20}[:.)|]?|^[ \t*>-]{0,20}r?\d[* \t]{0,20}[:.)]"""
    r"""|\(\d{1,3}(?: ?[x×] ?\d{1,3})? ?[a-z][^()]{0,80}\)"""
)
# Characters that may stand between the digits of a grid.
_RUN = re.compile(r"[\d\s|,;/\\&+\-_()\[\]{}`'\"*]+")


@cache
def units(size: int) -> list[list[int]]:
    """The cells (row by row, from 0) of each row, column and box, which must contain every digit once."""
    height, width = BOXES[size]
    rows = [[row * size + column for column in range(size)] for row in range(size)]
    columns = [list(column) for column in zip(*rows, strict=True)]
    boxes = [
        [rows[top + i][left + j] for i in range(height) for j in range(width)]
        for top in range(0, size, height)
        for left in range(0, size, width)
    ]
    return rows + columns + boxes


@cache
def peers(size: int) -> list[list[int]]:
    """For each cell the other cells that share a unit with it."""
    return [sorted({i for unit in units(size) if cell in unit for i in unit} - {cell}) for cell in range(size * size)]


def is_solution(grid: str, puzzle: str) -> bool:
    """Whether `grid` fills the blanks (0) of `puzzle` so that every row, column and box has every digit once."""
    size = size_of(puzzle)
    digits = {str(digit) for digit in range(1, size + 1)}
    kept = len(grid) == len(puzzle) and all(given in ("0", digit) for given, digit in zip(puzzle, grid, strict=True))
    return kept and all({grid[cell] for cell in unit} == digits for unit in units(size))


def size_of(puzzle: str) -> int:
    """4, 6 or 9. Raises InputError for a puzzle of another length, or with a digit that its size does not have."""
    size = {n * n: n for n in BOXES}.get(len(puzzle))
    if size is None or not all(digit in "0123456789"[: size + 1] for digit in puzzle):
        raise InputError(f"a sudoku has 16, 36 or 81 digits from 0 to its size, got {puzzle[:81]!r}")
    return size


def solutions(puzzle: str, rng: random.Random | None = None) -> Iterator[str]:
    """Every solution, the cell with the fewest candidates first; with `rng` its candidates in a random order."""
    size = size_of(puzzle)
    free = [(2 << size) - 2] * len(puzzle)  # bit d: digit d is free in this cell
    grid = [0] * len(puzzle)
    for cell, digit in enumerate(map(int, puzzle)):
        if digit and not free[cell] >> digit & 1:
            return
        if digit:
            _place(grid, free, cell, digit, size)
    yield from _search(grid, free, size, rng)


def _search(grid: list[int], free: list[int], size: int, rng: random.Random | None) -> Iterator[str]:
    blank = [cell for cell, digit in enumerate(grid) if not digit]
    if not blank:
        yield "".join(map(str, grid))
        return
    cell = min(blank, key=lambda cell: free[cell].bit_count())
    digits = [digit for digit in range(1, size + 1) if free[cell] >> digit & 1]
    for digit in rng.sample(digits, len(digits)) if rng else digits:
        filled, left = grid.copy(), free.copy()
        _place(filled, left, cell, digit, size)
        yield from _search(filled, left, size, rng)


def _place(grid: list[int], free: list[int], cell: int, digit: int, size: int) -> None:
    grid[cell] = digit
    for peer in peers(size)[cell]:
        free[peer] &= ~(1 << digit)


def dig(solution: str, blanks: int, unique: bool, rng: random.Random) -> str:
    """The solution with up to `blanks` random cells blanked; with `unique` only while it stays the only solution."""
    puzzle, left = list(solution), blanks
    for cell in rng.sample(range(len(puzzle)), len(puzzle)):
        if not left:
            break
        puzzle[cell] = "0"
        if unique and len(list(islice(solutions("".join(puzzle)), 2))) > 1:
            puzzle[cell] = solution[cell]
        else:
            left -= 1
    return "".join(puzzle)


def shuffled(puzzle: str, rng: random.Random) -> str:
    """A symmetric variant: rows in their band, bands, columns in their stack, stacks and digits in another order."""
    size = size_of(puzzle)
    height, width = BOXES[size]
    rows, columns = _shuffled_lines(size, height, rng), _shuffled_lines(size, width, rng)
    digits = str.maketrans("123456789"[:size], "".join(rng.sample("123456789"[:size], size)))
    return "".join(puzzle[row * size + column] for row in rows for column in columns).translate(digits)


def _shuffled_lines(size: int, thickness: int, rng: random.Random) -> list[int]:
    bands = rng.sample(range(0, size, thickness), size // thickness)
    return [line for band in bands for line in rng.sample(range(band, band + thickness), thickness)]


def canonical(puzzle: str) -> str:
    """The puzzle with its digits renamed in the order of their appearance, so that renamed puzzles are equal."""
    names = {"0": "0"}
    return "".join(names.setdefault(digit, str(len(names))) for digit in puzzle)


def find_grid(text: str, cells: int) -> str | None:
    """The digits of the last grid with this many cells in a text."""
    for run in reversed(_RUN.findall(_ASIDE.sub(" ", text))):
        digits = "".join(re.findall(r"[0-9]", run))
        if digits and len(digits) % cells == 0:
            return digits[-cells:]
    return None


@dataclass(frozen=True, kw_only=True)
class Sudoku:
    """The task. Puzzles have one solution unless `unique` is off; `blanks` sets their difficulty."""

    name: str = "sudoku"
    size: int = 4
    blanks: int = 8
    unique: bool = True

    def __post_init__(self) -> None:
        check_known("sudoku size", self.size, BOXES)
        most = MOST_BLANKS[self.size]
        if not 1 <= self.blanks <= most:
            raise InputError(f"a {self.size}x{self.size} sudoku may have 1 to {most} blanks, got {self.blanks!r}")

    def generate(self, seed: int, index: int, split: str) -> Problem:
        """Problem `index` of an endless stream: the same for the same arguments, never in both splits.

        The split is by the puzzle, its digits renamed (`canonical`): a rotated one may be in the other split.
        """
        check_split(self.name, split)
        rng = random.Random(f"sudoku/{self.size}/{self.blanks}/{self.unique}/{seed}/{index}/{split}")
        while True:
            solution = next(solutions("0" * self.size**2, rng))
            puzzle = dig(solution, self.blanks, self.unique, rng)
            if puzzle.count("0") < self.blanks:
                continue
            for _ in range(VARIANTS):
                if split_of(f"sudoku {canonical(puzzle)}") == split:
                    return self._problem(f"sudoku-{split}-{seed}-{index}", puzzle, next(solutions(puzzle)))
                puzzle = shuffled(puzzle, rng)

    def load(self, split: str = "test", limit: int | None = None, path: str | None = None) -> list[Problem]:
        """The first `limit` problems of a file (default all), or of a split of the stream of seed 0 (default 200)."""
        return drawn(self, split, limit) if path is None else read_problems(self, path, limit, "puzzle")

    def read(self, id: str, question: str, gold: object = None) -> Problem:
        """The problem of the puzzle in a question, with 0 or . for a blank; `gold` is one of its solutions.

        Without `gold` the puzzle is solved here. Raises InputError if there is no puzzle, or `gold` is not a solution.
        """
        tokens = [token.replace(".", "0") for token in re.findall(r"(?<!\S)[0-9.]+(?!\S)", question)]
        grids = [token for token in tokens if len(token) in (16, 36, 81)] or _grids_of_any_size(question)
        if not grids:
            raise InputError(f"problem {id}: no sudoku of 16, 36 or 81 digits in {question[:100]!r}")
        answer = next(solutions(grids[0]), None) if gold is None else re.sub(r"\s", "", str(gold))
        if answer is None or not is_solution(answer, grids[0]):
            raise InputError(f"problem {id}: {answer or 'nothing'} is not a solution of the sudoku {grids[0]}")
        return self._problem(id, grids[0], answer)

    def extract(self, problem: Problem, text: str) -> str | None:
        """The grid in the marked answer of the text, else its last grid, as digits row by row."""
        return find_grid(next(marked_answers(text), text), len(problem.meta["puzzle"]))

    def check(self, problem: Problem, text: str) -> bool:
        """Whether that grid is a solution of the puzzle."""
        grid = self.extract(problem, text)
        return grid is not None and is_solution(grid, problem.meta["puzzle"])

    def filled(self, problem: Problem) -> str:
        """The digits of a solution."""
        return " ".join(problem.answer)

    def constrained(self, problem: Problem) -> list[int | None]:
        """For each cell, how many digits the givens of its row, column and box leave open; None for a given cell."""
        puzzle = problem.meta["puzzle"]
        size = size_of(puzzle)
        return [
            None if puzzle[cell] != "0" else size - len({puzzle[peer] for peer in near} - {"0"})
            for cell, near in enumerate(peers(size))
        ]

    def _problem(self, id: str, puzzle: str, solution: str) -> Problem:
        size = size_of(puzzle)
        rows = [" ".join(puzzle[start : start + size]) for start in range(0, len(puzzle), size)]
        return Problem(
            id=id,
            prompt=f"sudoku {' / '.join(rows)}",
            answer=solution,
            task=self.name,
            meta={"puzzle": puzzle, "size": size},
        )


@dataclass(frozen=True, kw_only=True)
class Sudoku6(Sudoku):
    """The task in size 6, which a command line asks for by its own name."""

    name: str = "sudoku-6x6"
    size: int = 6
    blanks: int = 18


def _grids_of_any_size(text: str) -> list[str]:
    return [grid for cells in (81, 36, 16) if (grid := find_grid(text, cells))]
