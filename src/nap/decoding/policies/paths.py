"""Policies that advance every path of a canvas at every step. Papers: docs/papers.md."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np

from nap.common.text import check_known
from nap.decoding.policies.bounded import above, within
from nap.decoding.policies.policy import Floats, Ints, RowView, Selecting, View
from nap.decoding.policies.ranges import NONNEGATIVE, SHARE
from nap.decoding.policies.ties import Prefer, Tied, ranked

Summary = Literal["last", "joint"]


class InPaths(Selecting):
    """A policy that works in every slot at once.

    summary  when the summary is written; a field of subclasses
    agree    also a field of subclasses: once more than this share of the paths has finished with the same answer, the
             others stop; 1: never (decoding/agreement.py)
    """

    summary: Summary
    agree: float
    ranges: ClassVar = {"agree": SHARE}

    @property
    def waits(self) -> bool:
        """Whether the summary waits for the paths."""
        return self.summary == "last"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_known("summary", self.summary, get_args(Summary))

    def ask(self, row: RowView) -> Ints:
        """The paths; the summary when they are done, or always."""
        in_path = row.region_L[row.open_N] < row.paths
        return row.open_N[in_path] if self.waits and in_path.any() else row.open_N


def in_each(region_N: Ints) -> list[Ints]:
    """For every slot, in order, the indices of its positions."""
    return [np.flatnonzero(region_N == slot) for slot in np.unique(region_N)]


@dataclass(frozen=True, kw_only=True)
class ParallelForced(Tied, InPaths):
    """NAP (2602.23225): deals the budget over all unfinished paths; each commits its most confident tokens.

    summary  `last`: the summary starts when no path has a mask left; of a number of steps it gets its share, at least
             one. `joint`: the summary is treated like a path
    agree    such as .5: the others stop once more than this share of the paths has finished with one answer; 1: never
    within, prefer, keep  which of almost equally sure candidates of a path goes first, and which the trace keeps
                          (ties.py)
    """

    ranges: ClassVar = {**Tied.ranges, **InPaths.ranges}
    in_slots = True
    summary: Summary = "last"
    agree: float = 1.0
    within: float = 0.0
    prefer: Prefer = "left"
    keep: float = 0.0

    def score(self, view: View) -> Floats:
        """Probabilities."""
        return view.probability_N

    def select(self, view: View) -> Ints:
        """Deals one token at a time to the slots in turn; the first rotates with the step, so that K < P is fair."""
        slots = in_each(view.region_N)
        best_first = [
            slot[ranked(view.probability_N[slot], view.quota, self.within, self.prefer, view.rng)] for slot in slots
        ]
        rank = np.concatenate([np.arange(len(slot)) for slot in best_first])
        turn = np.repeat((np.arange(len(slots)) - view.step) % len(slots), [len(slot) for slot in best_first])
        return np.concatenate(best_first)[np.lexsort((turn, rank))][: view.quota]


@dataclass(frozen=True, kw_only=True)
class ParallelThreshold(InPaths):
    """Every unfinished path commits its candidates of probability `tau` or more, and always its best (ours).

    With P unfinished paths this is at least P tokens a step, where a threshold over the whole canvas guarantees one. A
    path of which the model is sure finishes in fewer steps than the others.
    summary, agree  as in `ParallelForced`
    """

    paced = False
    ranges: ClassVar = {"tau": SHARE, **InPaths.ranges}
    tau: float = 0.9
    summary: Summary = "last"
    agree: float = 1.0

    def select(self, view: View) -> Ints:
        """What `Threshold` would commit in each path if it were alone."""
        return np.concatenate([slot[above(view.probability_N[slot], self.tau)] for slot in in_each(view.region_N)])


@dataclass(frozen=True, kw_only=True)
class ParallelEntropyBound(InPaths):
    """In every unfinished path the largest set U by entropy with sum H - max H <= gamma (ours, by EB-Sampler's rule).

    summary, agree  as in `ParallelForced`
    """

    paced = False
    reads = ("entropy",)
    ranges: ClassVar = {"gamma": NONNEGATIVE, **InPaths.ranges}
    gamma: float = 0.1
    summary: Summary = "last"
    agree: float = 1.0

    def select(self, view: View) -> Ints:
        """What `EntropyBound` would commit in each path if it were alone."""
        return np.concatenate([slot[within(view.entropy_N[slot], self.gamma)] for slot in in_each(view.region_N)])
