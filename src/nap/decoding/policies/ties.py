"""Which of almost equally sure candidates goes first.

    low_confidence:within=.01,prefer=right     of all that are within .01 of the best, the rightmost

A model that is sure of most of a canvas orders it by differences in the fifth digit of a probability. `within` says how
far a score may be below the best one and still be as good, `prefer` which of these is taken. Decoded once with `left`
and once with `right`, a metric of order shows how much of it is the model's: docs/ties.md.

Does not score candidates (the policies do) and measures nothing (order/ties.py).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np

from nap.common.files import InputError
from nap.common.text import unknown
from nap.decoding.policies.policy import Floats, Ints, Selecting, View, best
from nap.decoding.policies.ranges import NONNEGATIVE

Prefer = Literal["left", "right", "random"]


def ranked(score_N: Floats, count: int, within: float, prefer: Prefer, rng: np.random.Generator) -> Ints:
    """Indices of `count` candidates, one after the other: of those within `within` of the best left, the preferred.

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


def check_prefer(prefer: str) -> None:
    """Raise InputError for an unknown preference."""
    if prefer not in get_args(Prefer):
        raise InputError(unknown("prefer", prefer, get_args(Prefer)))


@dataclass(frozen=True, kw_only=True)
class Ranked(Selecting):
    """A policy that commits the `quota` candidates of the best score.

    within  how far a score may be below the best and still be as good: in the score's own unit
    prefer  which of these goes first: `left`, `right` or `random`
    """

    ranges: ClassVar = {"within": NONNEGATIVE}
    block: int | None = None
    within: float = 0.0
    prefer: Prefer = "left"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_prefer(self.prefer)

    def score(self, view: View) -> Floats:
        """[N] how good each candidate is."""
        raise NotImplementedError(f"{type(self).__name__} has no score")

    def select(self, view: View) -> Ints:
        """The `quota` best."""
        return ranked(self.score(view), view.quota, self.within, self.prefer, view.rng)
