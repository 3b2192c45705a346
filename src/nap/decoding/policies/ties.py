"""Which of almost equally sure candidates goes first.

    low_confidence:within=.01,prefer=right     of all that are within .01 of the best, the rightmost

A model that is sure of most of a canvas orders it by differences in the fifth digit of a probability. `within` says how
far below the best a score may be and still count as equal, and `prefer` which of the equal ones is taken. Decoding once
with `left` and once with `right` shows how much of an order metric comes from such choices. `keep=.01` stores what is
needed for that in the trace, without decoding again (docs/ties.md).

Does not score candidates (the policies do) and measures nothing (order/ties.py).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np

from nap.common.text import check_known
from nap.data.trace import RunnerUp
from nap.decoding.policies.policy import Edits, Floats, Ints, RowView, Said, Selecting, View, best
from nap.decoding.policies.ranges import NONNEGATIVE

Prefer = Literal["left", "right", "random"]


def ranked(score_N: Floats, count: int, within: float, prefer: Prefer, rng: np.random.Generator) -> Ints:
    """Indices of `count` candidates, one after the other: of those within `within` of the best one left, the preferred.

    Candidates stand from left to right. `within` 0 and `left` is `best`.
    """
    if prefer == "left" and not within:
        return best(score_N, count)
    left = np.arange(len(score_N))
    chosen = np.empty(min(count, len(score_N)), np.int64)
    for place in range(len(chosen)):
        score = score_N[left]
        band = np.flatnonzero(score >= score.max() - within)
        at = band[{"left": 0, "right": -1}[prefer]] if prefer != "random" else rng.choice(band)
        chosen[place] = left[at]
        left = np.delete(left, at)
    return chosen


def runners_up(score_N: Floats, chosen: Ints, scope_N: Ints, position_N: Ints, keep: float) -> tuple[RunnerUp, ...]:
    """The candidates that were not chosen but score at most `keep` below the lowest chosen one of their scope.

    scope_N  candidates compete only with those of the same number
    """
    found = []
    for scope in np.unique(scope_N[chosen]):
        least = score_N[chosen[scope_N[chosen] == scope]].min()
        near = (scope_N == scope) & (score_N >= least - keep)
        near[chosen] = False
        gaps = np.maximum(least - score_N[near], 0.0).tolist()
        found += [RunnerUp(*each) for each in zip(position_N[near].tolist(), gaps, strict=True)]
    return tuple(sorted(found))


class Tied(Selecting):
    """A policy that ranks candidates by a score, with a rule for almost equal scores.

    within  how far below the best a score may be and still count as equal, in the unit of the score
    prefer  which of these goes first: `left`, `right` or `random`
    keep    if above 0, the trace keeps for every step the candidates that score at most this far below the committed
            ones
    """

    ranges: ClassVar = {"within": NONNEGATIVE, "keep": NONNEGATIVE}
    within: float
    prefer: Prefer
    keep: float
    # Whether candidates compete only within their own slot.
    in_slots: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_known("prefer", self.prefer, get_args(Prefer))

    def score(self, view: View) -> Floats:
        """[N] how good each candidate is."""
        raise NotImplementedError(f"{type(self).__name__} has no score")

    def act(self, row: RowView, said: Said) -> Edits:
        """The candidates at the selected positions, and as runners-up those that were about as good."""
        view = View(row, said)
        chosen, near = self.select(view), ()
        if self.keep and len(chosen):
            scope_N = view.region_N if self.in_slots else np.zeros_like(view.region_N)
            near = runners_up(self.score(view), chosen, scope_N, said.position_N, self.keep)
        return Edits(said.position_N[chosen], said.token_N[chosen], runners_up=near)


@dataclass(frozen=True, kw_only=True)
class Ranked(Tied):
    """A policy that commits the `quota` candidates of the best score; its settings are those of `Tied`."""

    block: int | None = None
    within: float = 0.0
    prefer: Prefer = "left"
    keep: float = 0.0

    def select(self, view: View) -> Ints:
        """The `quota` best."""
        return ranked(self.score(view), view.quota, self.within, self.prefer, view.rng)
