"""Caches: which positions' keys and values a forward computes again, and which it takes as they are.

A cache is one small class with one method. `exact` says whether decoding with it gives the tokens that decoding without
it gives; an approximate one is named in the trace. Keys live in session.py.

Letters: L canvas length.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nap.common.files import InputError
from nap.common.text import unknown

Ints = NDArray[np.int64]


@dataclass(kw_only=True)
class Kept:
    """What a cache may know of a row before a forward.

    ids_L    the canvas now
    seen_L   the tokens that the kept keys were computed from; -1 where none were
    start    first position of the block that is being decoded
    stop     the position after its last
    fresh    whether this is the block's first forward
    """

    ids_L: Ints
    seen_L: Ints
    start: int = 0
    stop: int = 0
    fresh: bool = True


class Cache(Protocol):
    """A rule for keys and values."""

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
        return np.arange(len(row.ids_L))


@dataclass(frozen=True)
class Prefix:
    """Fast-dLLM's prefix cache (2505.22618): a block's first forward computes everything, the rest from its start.

    Approximate under full attention, where what stands before a block depends on what is written in it.
    """

    exact = False

    def stale(self, row: Kept) -> Ints:
        """All positions at the start of a block, then those from its first on."""
        return np.arange(0 if row.fresh else row.start, len(row.ids_L))


@dataclass(frozen=True)
class Dual:
    """Fast-dLLM's dual cache (2505.22618): after a block's first forward only the block itself is computed.

    Approximate: what follows the block is as it was before the block, too.
    """

    exact = False

    def stale(self, row: Kept) -> Ints:
        """All positions at the start of a block, then its own."""
        return np.arange(len(row.ids_L)) if row.fresh else np.arange(row.start, row.stop)


CACHES: dict[str, type[Cache]] = {"none": NoCache, "prefix": Prefix, "dual": Dual}


def cache_of(name: str) -> Cache:
    """The cache of that name. Raises InputError for one that is not known."""
    if name not in CACHES:
        raise InputError(unknown("cache", name, CACHES))
    return CACHES[name]()
