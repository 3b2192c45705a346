"""Policies that use the distance between positions. Papers: docs/papers.md."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nap.decoding.policies.policy import Ints, RowView, Selecting, View, best
from nap.decoding.policies.ranges import NONNEGATIVE, SHARE, Range


@dataclass(frozen=True, kw_only=True)
class LocalLeap(Selecting):
    """Every candidate of probability `tau` or more, of `relaxed` or more near such a one, at least one (LocalLeap).

    radius  how many positions away still counts as near
    """

    paced = False
    ranges: ClassVar = {"tau": SHARE, "relaxed": SHARE, "radius": NONNEGATIVE}
    tau: float = 0.9
    relaxed: float = 0.75
    radius: int = 4
    block: int | None = None

    def select(self, view: View) -> Ints:
        """The sure ones and their neighbours, most probable first."""
        sure = view.probability_N >= self.tau
        anchor_A = view.position_N[sure]
        near = (np.abs(view.position_N[:, None] - anchor_A) <= self.radius).any(axis=1)
        order = best(view.probability_N, len(sure))
        chosen = order[(sure | near & (view.probability_N >= self.relaxed))[order]]
        return chosen if len(chosen) else order[:1]


@dataclass(frozen=True, kw_only=True)
class Dilated(Selecting):
    """Writes a block of B in ceil(log_base B) passes; a pass takes the places divisible by B / base^pass (DUS).

    Tokens that are committed together are far apart at first; later passes write between earlier ones. The schedule is
    fixed in advance, so the model is only asked about the positions that are committed.
    """

    paced = False
    ranges: ClassVar = {"base": Range(2)}
    base: int = 2
    block: int | None = None

    def ask(self, row: RowView) -> Ints:
        """The masks of the first pass that has any."""
        block = np.flatnonzero(row.block_L == row.block_L[row.open_N].max(initial=-2))
        place_N, spacing, due = np.searchsorted(block, row.open_N), len(block), row.open_N[:0]
        while spacing and not len(due):
            spacing //= self.base
            due = row.open_N[place_N % max(1, spacing) == 0]
        return due

    def select(self, view: View) -> Ints:
        """All of them, most probable first."""
        return best(view.probability_N, len(view.probability_N))
