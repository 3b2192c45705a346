"""What `nap trace explain` found of a trace, and its files: a line of JSON for each trace.

Does not ask a model (explain.py), and imports none.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from nap.common.files import InputError
from nap.common.records import from_row
from nap.common.rows import read_values
from nap.data.cells import cell_of
from nap.data.trace import COMMIT, Trace


@dataclass(frozen=True, kw_only=True)
class Parallel:
    """The results for one step that committed several tokens, in nats.

    violation    the violation of each token, in the order of `positions`; 0 for the first
    correlation  None where none was asked for
    error        its standard error; 0 where it is exact
    exact        whether it was enumerated
    """

    step: int
    positions: tuple[int, ...]
    violation: tuple[float, ...]
    correlation: float | None
    error: float | None
    exact: bool


@dataclass(frozen=True, kw_only=True)
class About:
    """Which trace; `cell` says its model, policy, pace and cache."""

    cell: str
    problem_id: str
    correct: bool | None


@dataclass(frozen=True, kw_only=True)
class Explained(About):
    """A trace's steps of several commits."""

    steps: tuple[Parallel, ...]

    @property
    def violation(self) -> float:
        """The sum over all steps, nats."""
        return sum(sum(step.violation) for step in self.steps)

    @property
    def correlation(self) -> float | None:
        """The sum over all steps, nats; None where none was asked for."""
        known = [step.correlation for step in self.steps if step.correlation is not None]
        return sum(known) if len(known) == len(self.steps) else None

    def of(self, trace: Trace) -> bool:
        """Whether this is about this trace: of its cell and problem, and of what its steps committed."""
        if (self.cell, self.problem_id) != (cell_of(trace).name, trace.problem_id):
            return False
        commits = (event for event in trace.events if event.kind == COMMIT)
        found = {step: tuple(one.position for one in same) for step, same in groupby(commits, lambda one: one.step)}
        return all(found.get(step.step) == step.positions for step in self.steps)


def read_explained(path: str | Path) -> Iterator[Explained]:
    """What `nap trace explain --out` wrote. Raises InputError, naming the line, for anything else."""
    for where, value in read_values(Path(path)):
        try:
            yield _explained(value)
        except (InputError, KeyError, TypeError, ValueError):
            raise InputError(f"{where}: this is not a line that nap trace explain --out writes") from None


def _explained(row: object) -> Explained:
    """Raises InputError, KeyError, TypeError or ValueError for anything else."""
    if not isinstance(row, Mapping) or not isinstance(row["steps"], list):
        raise TypeError
    return Explained(**vars(from_row(About, row)), steps=tuple(map(_parallel, row["steps"])))


def _parallel(row: object) -> Parallel:
    if not isinstance(row, Mapping):
        raise TypeError
    found = from_row(Parallel, row)
    if len(found.positions) != len(found.violation) or min(found.step, *found.positions, 0) < 0:
        raise ValueError
    return found
