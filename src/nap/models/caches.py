"""Caches: the rule for which positions a forward computes keys and values again, and which it reuses.

A cache is one small class with one method. `exact` says whether decoding with it gives the same tokens as without it;
an approximate cache is named in the trace. It is written as `name` or `name:setting=value`, such as `dual:refresh=8`.

Letters: L canvas length, G groups of positions that see the same ones. Does not hold keys (store.py) or know who sees
whom (canvas/visibility.py).
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nap.canvas.visibility import Sight
from nap.common.files import InputError
from nap.common.named import parse_named

Ints = NDArray[np.int64]


class Kept:
    """What a cache may know about a row before a forward.

    ids_L       the current canvas
    mask_id     the token that stands for "not written yet"
    sight       who sees whom
    changed_L   the number of the forward before which each token last changed; 0 where it never did
    computed_L  the number of the forward that computed each position's keys; -1 where none did
    needed_N    the positions whose states will be read, ascending
    start, stop the block that is being decoded: its first position, and the one after its last
    age         forwards since that block began; 0 in the first
    """

    def __init__(self, ids_L: Ints, mask_id: int, sight: Sight) -> None:
        self.ids_L, self.mask_id, self.sight = ids_L, mask_id, sight
        self.changed_L, self.computed_L = np.zeros(len(ids_L), np.int64), np.full(len(ids_L), -1)
        self.needed_N, self.start, self.stop, self.age, self._forward = ids_L[:0], -1, -1, 0, 0

    def ask(self, ids_L: Ints, needed_N: Ints, start: int, stop: int) -> None:
        """Record what the next forward is asked."""
        self.changed_L[ids_L != self.ids_L] = self._forward
        self.age = self.age + 1 if start == self.start else 0
        self.ids_L, self.needed_N, self.start, self.stop = ids_L, needed_N, start, stop

    def compute(self, position_Q: Ints) -> None:
        """Record what it computes."""
        self.computed_L[position_Q] = self._forward
        self._forward += 1

    def __len__(self) -> int:
        return len(self.ids_L)


class Cache(Protocol):
    """A rule for keys and values. Positions whose states are needed are computed whatever the rule says."""

    exact: bool

    def stale(self, row: Kept) -> Ints:
        """The positions, ascending, whose keys must be computed again in this forward."""
        ...


@dataclass(frozen=True)
class NoCache:
    """Everything is computed in every forward: the reference."""

    exact = True

    def stale(self, row: Kept) -> Ints:
        """All positions."""
        return np.arange(len(row))


@dataclass(frozen=True)
class Exact:
    """Computes needed positions, and those they see, if these see a change. The rest would come out the same.

    Useful where attention separates parts of a canvas: for independent paths (`--attention paths`), where the prompt is
    computed once and a finished path once more, and for block-causal models. With full attention every position sees
    every change, so this computes as much as no cache.
    """

    exact = True

    def stale(self, row: Kept) -> Ints:
        """The positions that are seen from where states are read and that see a change themselves."""
        sees_GL, group_L = row.sight.sees_GL, row.sight.group_L
        read_L = sees_GL[np.unique(group_L[row.needed_N])].any(axis=0)
        newest_G = np.where(sees_GL, row.changed_L, 0).max(axis=1)
        return np.flatnonzero(read_L & (newest_G[group_L] > row.computed_L))


@dataclass(frozen=True)
class _Refreshed:
    """A cache that computes everything in the first forward of a block, and again after every `refresh` forwards."""

    refresh: int | None = None

    def __post_init__(self) -> None:
        if self.refresh is not None and self.refresh < 1:
            raise InputError(f"a cache's refresh is a number of forwards of at least 1, got {self.refresh}")

    def whole(self, row: Kept) -> bool:
        """Whether this forward computes everything."""
        return row.age == 0 or (self.refresh is not None and row.age % self.refresh == 0)


@dataclass(frozen=True)
class Prefix(_Refreshed):
    """Fast-dLLM's prefix cache (2505.22618): everything in a block's first forward, later all from the block's start.

    Approximate with full attention, where positions before a block depend on what is written in it.
    """

    exact = False

    def stale(self, row: Kept) -> Ints:
        """All positions at the start of a block, then those from its first on."""
        return np.arange(0 if self.whole(row) else row.start, len(row))


@dataclass(frozen=True)
class Dual(_Refreshed):
    """Fast-dLLM's dual cache (2505.22618): after a block's first forward only the block itself is computed.

    Approximate: the positions after the block also keep their old keys and values.
    """

    exact = False

    def stale(self, row: Kept) -> Ints:
        """All positions at the start of a block, then its own."""
        return np.arange(len(row)) if self.whole(row) else np.arange(row.start, row.stop)


@dataclass(frozen=True)
class Delayed(_Refreshed):
    """dKV-Cache's decode (2505.15781): computes masks, and a written token once more, one forward later.

    Everything is computed in the first two forwards of a block and in every `refresh`th, as in the published loop.
    """

    exact = False
    refresh: int | None = 8

    def stale(self, row: Kept) -> Ints:
        """All positions, or the masks and what changed since its keys were computed."""
        if row.age == 1 or self.whole(row):
            return np.arange(len(row))
        return np.flatnonzero((row.ids_L == row.mask_id) | (row.changed_L > row.computed_L))


CACHES: dict[str, type[Cache]] = {
    "none": NoCache, "exact": Exact, "prefix": Prefix, "dual": Dual, "delayed": Delayed,
}  # fmt: skip


def cache_of(name: str) -> Cache:
    """The cache of that name. Raises InputError for an unknown name or an unknown setting."""
    return parse_named("cache", name, CACHES)
