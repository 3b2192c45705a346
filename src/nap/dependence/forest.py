"""Packs readings into few forwards: trunks and their branches side by side, in parts that fit into memory.

A trunk (prompt and history) is read once for all its branches. Short readings share a forward. A long reading is split
into parts: first its trunk, then its branches, which use the trunk's keys and values.

Letters: T tokens, S of them scored. Pure numpy: canvas/visibility.py decides who sees whom, and causal.py asks the
model.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nap.canvas.visibility import Forest
from nap.dependence.scorer import Reading
from nap.dependence.segments import Ids

# Tokens of one forward: enough to use the machine, few enough that their logits (V floats each) fit into memory.
FORWARD = 512


class Part(NamedTuple):
    """One forward: the tokens from `first` to before `last`, with the keys and values of the first `cached` ones."""

    cached: int
    first: int
    last: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Planted:
    """Readings as one sequence of tokens.

    token_T         their ids
    forest          which text each token belongs to, its position, and what it sees
    predicted_at_S  for each scored token, in the order asked, the token that predicts it
    scored_S        its id
    parts           the forwards
    """

    token_T: NDArray[np.int64]
    forest: Forest
    predicted_at_S: NDArray[np.int64]
    scored_S: NDArray[np.int64]
    parts: list[Part]


def plant(readings: Sequence[Reading]) -> Planted:
    """The readings side by side: as many as fit into one forward, or a single one that does not fit.

    The last token of a trunk or branch is left out unless a branch starts there, because it predicts nothing.
    """
    bed, predicted_at, scored = _Bed(), list[int](), list[int]()
    for trunk, branches, scored_from in readings:
        kept = max([len(trunk) - 1, *(after for after, _ in branches)])
        root, first = len(bed.trunks), bed.add(trunk[:kept])
        # The longest histories first, so that keys which the rest must not see can be cut off the cache on the way.
        order = sorted(range(len(branches)), key=lambda i: -branches[i].after)
        start = {i: bed.add(branches[i].ids[:-1], root, branches[i].after) for i in order}
        predicted_at += range(first + scored_from - 1, first + len(trunk) - 1)
        scored += trunk[scored_from:]
        for i, (after, ids) in enumerate(branches):
            predicted_at += [first + after - 1, *range(start[i], start[i] + len(ids) - 1)]
            scored += ids
    return Planted(
        token_T=_array(bed.tokens), forest=bed.forest(), predicted_at_S=_array(predicted_at), scored_S=_array(scored),
        parts=list(bed.parts()),
    )  # fmt: skip


@dataclass
class _Bed:
    """Collects stems one after the other."""

    tokens: list[int] = field(default_factory=list)
    trunks: list[int] = field(default_factory=list)
    afters: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    def add(self, ids: Ids, trunk: int | None = None, after: int = 0) -> int:
        """Append a trunk, or a branch that leaves `trunk` after so many tokens. Returns where its first token is."""
        self.trunks.append(len(self.trunks) if trunk is None else trunk)
        self.afters.append(after)
        self.sizes.append(len(ids))
        self.tokens += ids
        return len(self.tokens) - len(ids)

    def forest(self) -> Forest:
        position_T = [after + i for after, size in zip(self.afters, self.sizes, strict=True) for i in range(size)]
        return Forest(
            stem_T=np.arange(len(self.sizes)).repeat(self.sizes), position_T=_array(position_T),
            trunk_S=_array(self.trunks), after_S=_array(self.afters),
        )  # fmt: skip

    def parts(self) -> Iterator[Part]:
        """One forward if all fits; otherwise the trunk in parts, then its branches in packs of whole branches."""
        if len(self.tokens) <= FORWARD:
            yield Part(0, 0, len(self.tokens))
            return
        first = self.sizes[0]
        for start in range(0, first, FORWARD):
            yield Part(start, start, min(start + FORWARD, first))
        for pack in _packs(range(1, len(self.sizes)), self.sizes):
            last = first + sum(self.sizes[i] for i in pack)
            yield Part(max(self.afters[i] for i in pack), first, last)
            first = last


def packed(readings: Sequence[Reading]) -> Iterator[list[int]]:
    """The indices of readings that `plant` takes together."""
    sizes = [len(trunk) + sum(len(ids) for _, ids in branches) for trunk, branches, _ in readings]
    # Short ones first, so that no long one separates two that fit into one forward.
    return _packs(sorted(range(len(sizes)), key=lambda i: sizes[i] > FORWARD), sizes)


def _packs(order: Sequence[int], sizes: Sequence[int]) -> Iterator[list[int]]:
    """The indices of `order` in packs of at most FORWARD tokens; a longer one is a pack of its own."""
    pack: list[int] = []
    total = 0
    for index in order:
        if pack and total + sizes[index] > FORWARD:
            yield pack
            pack, total = [], 0
        pack.append(index)
        total += sizes[index]
    if pack:
        yield pack


def _array(values: list[int]) -> NDArray[np.int64]:
    return np.array(values, np.int64)
