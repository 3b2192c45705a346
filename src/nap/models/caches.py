"""Caches: the rule for which positions a forward computes keys and values again, and which it reuses.

A cache is one small class with one method. `exact` says whether decoding with it gives the same tokens as without it;
an approximate cache is named in the trace. It is written as `name` or `name:setting=value`, such as `dual:refresh=8`.

Letters: L canvas length, G groups of positions that see the same ones. Does not hold keys (store.py) or know who sees
whom (canvas/visibility.py).
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from nap.common.files import InputError
from nap.common.named import parse_named
from nap.models.kept import Floats, Ints, Kept


class Cache(Protocol):
    """A rule for keys and values. Positions whose states are needed are computed whatever the rule says.

    reads  which measurements of `Kept` the rule uses, each at a cost: `influence` and `drift`
    """

    exact: bool
    reads: ClassVar[tuple[str, ...]]

    def stale(self, row: Kept) -> Ints:
        """The positions, ascending, whose keys must be computed again in this forward."""
        ...


@dataclass(frozen=True)
class NoCache:
    """Everything is computed in every forward: the reference."""

    exact = True
    reads: ClassVar[tuple[str, ...]] = ()

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
    reads: ClassVar[tuple[str, ...]] = ()

    def stale(self, row: Kept) -> Ints:
        """The positions that are seen from where states are read and that see a change themselves."""
        sees_GL, group_L = row.sight.sees_GL, row.sight.group_L
        read_L = sees_GL[np.unique(group_L[row.needed_N])].any(axis=0)
        newest_G = np.where(sees_GL, row.changed_L, 0).max(axis=1)
        return np.flatnonzero(read_L & (newest_G[group_L] > row.computed_L))


@dataclass(frozen=True)
class _Refreshed:
    """A cache that computes everything in the first forward of a block, and again after every `refresh` forwards."""

    reads: ClassVar[tuple[str, ...]] = ()
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


@dataclass(frozen=True)
class D2(_Refreshed):
    """d2Cache's choice of what to refresh (2509.23094): what was just written, and the most influential of the rest.

    Everything is computed in a row's first forward alone, whatever its blocks.
    p  the share of the influence, by attention rollout, of all that is not computed anyway
    """

    exact = False
    reads: ClassVar[tuple[str, ...]] = ("influence",)
    p: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_share("p", self.p)

    def whole(self, row: Kept) -> bool:
        """Whether this forward computes everything."""
        return row.forward == 0 or (self.refresh is not None and row.age % self.refresh == 0)

    def stale(self, row: Kept) -> Ints:
        """All positions, or what is asked, what changed and the fewest others that hold the share."""
        if self.whole(row):
            return np.arange(len(row))
        own, best, weighed = _ranked(row, row.influence_L)
        return np.union1d(own, best[: _holding(self.p, weighed)])


@dataclass(frozen=True)
class Drift(_Refreshed):
    """After a block's first forward what was just written, and in bursts what has moved most under a budget (ours).

    How far a position has moved is by how much the first layer's attention tells it something else than when its keys
    were computed, times the forwards since: what is told in later layers moves as well. Within a block forwards may
    compute `budget` positions on average. What one leaves is saved until it covers the fewest positions that hold
    `share` of all that has moved; refreshed together they see each other's new keys.
    """

    exact = False
    reads: ClassVar[tuple[str, ...]] = ("drift",)
    budget: int = 24
    share: float = 0.8

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_share("share", self.share)
        if self.budget < 1:
            raise InputError(f"a cache's budget is a number of positions of at least 1, got {self.budget}")

    def stale(self, row: Kept) -> Ints:
        """All positions, or what is asked, what changed and where the budget has enough what moved most."""
        if self.whole(row):
            return np.arange(len(row))
        own, best, weighed = _ranked(row, row.drift_L * (row.forward - row.computed_L))
        count = _holding(self.share, weighed)
        saved = self.budget * (row.since + 1) - row.spent - len(own)
        return np.union1d(own, best[:count]) if count <= saved else own


def _ranked(row: Kept, weight_L: Floats) -> tuple[Ints, Ints, Floats]:
    """What is asked or changed, ascending; the others by weight, largest first; what the first n of them weigh."""
    own = np.union1d(row.changed_N, row.needed_N)
    rest = np.setdiff1d(np.arange(len(row)), own)
    best = rest[np.argsort(-weight_L[rest], kind="stable")]
    return own, best, np.cumsum(weight_L[best])


def _holding(share: float, weighed: Floats) -> int:
    """The fewest of the heaviest that hold a share of the weight, of what the first n weigh."""
    if not len(weighed) or not share * weighed[-1]:
        return 0
    return min(int(np.searchsorted(weighed, share * weighed[-1])) + 1, len(weighed))


def _check_share(name: str, share: float) -> None:
    if not 0 <= share <= 1:
        raise InputError(f"a cache's {name} is a share from 0 to 1, got {share}")


CACHES: dict[str, type[Cache]] = {
    "none": NoCache, "exact": Exact, "prefix": Prefix, "dual": Dual, "delayed": Delayed, "d2": D2, "drift": Drift,
}  # fmt: skip


def cache_of(name: str) -> Cache:
    """The cache of that name. Raises InputError for an unknown name or an unknown setting."""
    return parse_named("cache", name, CACHES)
