"""The mean of every number over many reports, read one after the other, in constant memory.

Sums are exact and rounded once, as `math.fsum` over everything would be.

Does not measure.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nap.common.records import Json
from nap.order.scores import Counts, Number, OrderReport, Scores, combined

WAITING = 64  # reports that a tally keeps in memory before their numbers are summed


class ExactSum:
    """The sum of numbers that are given one after the other, rounded once; None is skipped."""

    def __init__(self) -> None:
        self.parts: list[float] = []
        self.count = 0

    def add(self, numbers: Sequence[Number]) -> None:
        """Add numbers."""
        known = [number for number in numbers if number is not None]
        self.count += len(known)
        rest, self.parts = [*self.parts, *known], []
        # Subtracts the rounded sum from the exact one again and again, until nothing is left.
        while total := math.fsum(rest):
            self.parts.append(total)
            rest.append(-total)

    @classmethod
    def joined(cls, sums: "Iterable[ExactSum]") -> "ExactSum":
        """One sum of everything that these have summed."""
        found = cls()
        for one in sums:
            found.count += one.count
            found.parts += one.parts
        return found

    @property
    def mean(self) -> Number:
        """The mean; None if there are no values."""
        return math.fsum(self.parts) / self.count if self.count else None


def mean_of_known(numbers: Sequence[Number]) -> Number:
    """The mean of the values that are not None; None if there are none."""
    known = [number for number in numbers if number is not None]
    return math.fsum(known) / len(known) if known else None


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """The mean of every number over one or more scores."""
    if len(scores) == 1:
        return Scores(scores[0].ks, [None if number is None else float(number) for number in scores[0].numbers])
    columns = zip(*(one.numbers for one in scores), strict=True)
    return Scores(scores[0].ks, [mean_of_known(column) for column in columns])


@dataclass(frozen=True, kw_only=True)
class Means:
    """The mean of each number over some reports, and how many reports had it; None without reports."""

    n_traces: int
    mean: OrderReport | None
    counted: OrderReport | None

    def json(self) -> dict[str, Json]:
        """`n_traces`, `mean` and `counted`, the last two in the shape of a report."""
        mean, counted = (one.json() if one else {} for one in (self.mean, self.counted))
        return {"n_traces": self.n_traces, "mean": mean, "counted": counted}


def numbers_of(report: OrderReport) -> dict[str, Sequence[Number]]:
    """The numbers of each part of a report, and its counts."""
    found: dict[str, Sequence[Number]] = {name: scores.numbers for name, scores in report.parts()}
    return found | {"counts": report.counts}


class Tally:
    """Means over reports that are given one after the other."""

    def __init__(self) -> None:
        self.reports = 0
        self.ks: tuple[int, ...] = ()
        self.waiting: dict[str, list[Sequence[Number]]] = {}
        self.sums: dict[str, list[ExactSum]] = {}

    def add(self, report: OrderReport) -> None:
        """Add a report. All reports must have the same ks."""
        self.reports += 1
        self.ks = report.whole.ks
        for name, row in numbers_of(report).items():
            self.waiting.setdefault(name, []).append(row)
        if self.reports % WAITING == 0:
            self._sum()

    @classmethod
    def joined(cls, tallies: "Iterable[Tally]") -> "Tally":
        """One tally of all the reports that these were given."""
        found, parts = cls(), dict[str, list[list[ExactSum]]]()
        for one in tallies:
            one._sum()
            found.reports, found.ks = found.reports + one.reports, one.ks or found.ks
            for name, sums in one.sums.items():
                parts.setdefault(name, []).append(sums)
        for name, sums in parts.items():
            found.sums[name] = [ExactSum.joined(column) for column in zip(*sums, strict=True)]
        return found

    def _sum(self) -> None:
        for name, rows in self.waiting.items():
            sums = self.sums.setdefault(name, [ExactSum() for _ in rows[0]])
            for one, column in zip(sums, zip(*rows, strict=True), strict=True):
                one.add(column)
        self.waiting = {}

    def means(self) -> Means:
        """The means over all reports so far."""
        self._sum()
        if not self.reports:
            return Means(n_traces=0, mean=None, counted=None)
        mean = self._report({name: [one.mean for one in sums] for name, sums in self.sums.items()})
        counted = self._report({name: [one.count for one in sums] for name, sums in self.sums.items()})
        return Means(n_traces=self.reports, mean=mean, counted=counted)

    def _report(self, numbers: dict[str, Sequence[Number]]) -> OrderReport:
        names = sorted((name for name in numbers if name.isdigit()), key=int)
        others = [name for name in numbers if name != "counts" and not name.isdigit()]
        parts = {name: Scores(self.ks, numbers[name]) for name in (*others, *names)}
        return combined(parts, Counts(*numbers["counts"]))


class Aggregate:
    """The means over all traces, and over those with a right and with a wrong answer."""

    def __init__(self) -> None:
        # Each report is in one tally only: sums are exact, so the other means follow from sums of sums.
        self.tallies: dict[bool | None, Tally] = {}

    def add(self, report: OrderReport, correct: bool | None = None) -> None:
        """Add a trace's report; where nobody knows whether its answer is right it counts for `all` only."""
        if correct not in self.tallies:
            self.tallies[correct] = Tally()
        self.tallies[correct].add(report)

    @classmethod
    def joined(cls, aggregates: "Sequence[Aggregate]") -> "Aggregate":
        """One aggregate of all the traces that these were given."""
        found = cls()
        for correct in dict.fromkeys(key for one in aggregates for key in one.tallies):
            known = (one.tallies[correct] for one in aggregates if correct in one.tallies)
            found.tallies[correct] = Tally.joined(known)
        return found

    def means(self) -> dict[str, Means]:
        """`all`, and also `right` and `wrong` if some trace says whether it is right."""
        found = {"all": Tally.joined(self.tallies.values()).means()}
        if self.tallies.keys() <= {None}:
            return found
        sides = {"right": True, "wrong": False}
        return found | {name: self.tallies.get(side, Tally()).means() for name, side in sides.items()}
