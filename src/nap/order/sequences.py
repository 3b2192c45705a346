"""Many orders of one length side by side, and what the metrics need: ranks of steps, ties, who overtook whom.

All metrics are computed on these arrays. A single order is a stack of one; a file of short traces becomes a few large
stacks, which takes a hundredth of the time.

Letters: S orders, n positions of each, G steps of an order that finalise something ("groups", numbered from 0).

Does not measure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nap.order.order import Order

Ints = NDArray[np.int64]

# Up to this length all pairs of positions are compared; longer orders use merge counting, which needs less memory than
# n^2.
COMPARED = 256
CELLS = 1 << 23  # comparisons that are in memory at a time


@dataclass(frozen=True, kw_only=True, eq=False)
class Sequences:
    """S orders of n positions.

    positions  [S, n] canvas positions, rising
    steps      [S, n] finalising step of each
    """

    positions: Ints
    steps: Ints

    @classmethod
    def of(cls, *orders: Order) -> "Sequences":
        """Orders of one length, stacked."""
        return cls(
            positions=np.stack([order.positions for order in orders]), steps=np.stack([order.steps for order in orders])
        )

    @property
    def n(self) -> int:
        """Positions of each order."""
        return self.positions.shape[1]

    @cached_property
    def by_step(self) -> Ints:
        """[S, n] indices in the order of commitment, left to right inside a step."""
        return np.argsort(self.steps, axis=1, kind="stable")

    @cached_property
    def group(self) -> Ints:
        """[S, n] steps renumbered 0..G-1; steps that finalised nothing are skipped."""
        sorted_steps = np.take_along_axis(self.steps, self.by_step, 1)
        rank = np.zeros_like(sorted_steps)
        np.cumsum(np.diff(sorted_steps, axis=1) > 0, axis=1, out=rank[:, 1:])
        group = np.empty_like(rank)
        np.put_along_axis(group, self.by_step, rank, 1)
        return group

    @cached_property
    def size(self) -> Ints:
        """[S, n] positions that each group finalised; 0 from G on."""
        rows = np.arange(len(self.group))[:, None] * self.n
        return np.bincount((rows + self.group).ravel(), minlength=self.group.size).reshape(self.group.shape)

    @cached_property
    def committed(self) -> Ints:
        """[S, n + 1] positions that all groups before each finalised."""
        committed = np.zeros((len(self.size), self.n + 1), np.int64)
        np.cumsum(self.size, axis=1, out=committed[:, 1:])
        return committed

    @cached_property
    def groups(self) -> Ints:
        """[S] G of each order."""
        return (self.size > 0).sum(axis=1)

    @cached_property
    def overtaken(self) -> Ints:
        """[S, n] positions to the left of each that a later step finalised."""
        if self.n > COMPARED:
            return np.stack([_merged(ranks) for ranks in self.group])
        stack = max(1, CELLS // max(self.n**2, 1))
        parts = range(0, max(len(self.group), 1), stack)
        return np.concatenate([_compared(self.group[start : start + stack]) for start in parts])

    @cached_property
    def together(self) -> Ints:
        """[S, n] positions to the left of each that its own step finalised."""
        starts = np.take_along_axis(self.committed, np.take_along_axis(self.group, self.by_step, 1), 1)
        together = np.empty_like(self.group)
        np.put_along_axis(together, self.by_step, np.arange(self.n) - starts, 1)
        return together


def _compared(ranks: Ints) -> Ints:
    """[S, n] how many earlier entries are greater, each compared with each."""
    small = ranks.astype(np.int16)
    earlier = np.tri(ranks.shape[1], k=-1, dtype=bool)
    return ((small[:, None, :] > small[:, :, None]) & earlier).sum(axis=2, dtype=np.int64)


def _merged(ranks: Ints) -> Ints:
    """[n] how many earlier entries are greater, for ranks in 0..n-1. Merge counting, O(n log^2 n)."""
    n, index = len(ranks), np.arange(len(ranks))
    counts = np.zeros(n, np.int64)
    width = 1
    while width < n:
        pair, in_right = index // (2 * width), index // width % 2 == 1
        keys = pair * n + ranks
        left, right = np.sort(keys[~in_right]), keys[in_right]
        up_to_pair_end = np.searchsorted(left, (pair[in_right] + 1) * n)
        counts[in_right] += up_to_pair_end - np.searchsorted(left, right, side="right")
        width *= 2
    return counts


def by_length(lengths: Sequence[int] | Ints) -> dict[int, Ints]:
    """The indices of each length that occurs."""
    lengths = np.asarray(lengths, np.int64)
    order = np.argsort(lengths, kind="stable")
    cuts = np.flatnonzero(np.diff(lengths[order])) + 1
    return {int(lengths[part[0]]): part for part in np.split(order, cuts) if len(part)}
