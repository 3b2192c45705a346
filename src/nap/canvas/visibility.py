"""Who may see whom in a canvas: decided here and nowhere else, for training, decoding, caches and the page.

Shape letters: B batch, L canvas length (prompt included), Q positions that look, K positions that are looked at.
Pure numpy; makes no tensors (models/attention.py).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nap.data.trace import HEADER, OUTSIDE, PROMPT

Attention = Literal["full", "paths"]
Positions = Literal["canvas", "parallel"]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Layout:
    """The role of every position of a batch. Rows shorter than L end in OUTSIDE positions, which no position sees.

    attention, paths, positions  of all rows, or a tuple with each row's own
    """

    region_BL: Ints
    attention: Attention | tuple[Attention, ...] = "full"
    paths: int | tuple[int, ...] = 1
    positions: Positions | tuple[Positions, ...] = "canvas"

    @cached_property
    def full_B(self) -> Bools:
        """Which rows are under full attention."""
        return np.broadcast_to(np.array(self.attention) == "full", len(self.region_BL))

    @cached_property
    def summary_B(self) -> Ints:
        """The region code of each row's summary, which sees everything."""
        return np.broadcast_to(np.array(self.paths), len(self.region_BL))

    @cached_property
    def owner_BL(self) -> Ints:
        """The region codes with each header given to the slot that it opens."""
        return owners(self.region_BL)

    @cached_property
    def position_BL(self) -> Ints | None:
        """The position number that the model is given; None where that is the place on the canvas.

        With `parallel`, every path starts where the prompt ends and the summary where the longest path ends, so that
        nothing depends on the order of the paths.
        """
        parallel_B = np.broadcast_to(np.array(self.positions) == "parallel", len(self.region_BL))
        if not parallel_B.any():
            return None
        place_BL = np.tile(np.arange(self.region_BL.shape[1]), (len(self.region_BL), 1))
        for row in np.flatnonzero(parallel_B):
            place_BL[row] = _restarted(self.owner_BL[row], int(self.summary_B[row]))
        return place_BL

    def placed(self, at_BQ: Ints) -> Ints:
        """The position numbers that the model is given for these positions of the canvas."""
        return at_BQ if self.position_BL is None else _taken(self.position_BL, at_BQ)

    @cached_property
    def visible_BLL(self) -> Bools | None:
        """[B, L, L], query by key: who sees whom; None where every position sees every other."""
        return visible(self)


def visible(
    layout: Layout, query_BQ: Ints | None = None, key_BK: Ints | None = None, *, block_size: int | None = None
) -> Bools | None:
    """[B, Q, K] whether each query position may look at each key position; None where all may.

    query_BQ, key_BK  canvas positions of each row; all of them by default
    block_size        block length of a model with block-causal attention: a position sees its own block and all earlier
                      blocks, counted from the start of the canvas

    With `full`, a position sees its whole row. With `paths`, a path sees the prompt and itself, the prompt sees itself,
    and the summary sees everything.
    """
    everything = np.broadcast_to(np.arange(layout.region_BL.shape[1]), layout.region_BL.shape)
    query_BQ, key_BK = (everything if at is None else at for at in (query_BQ, key_BK))
    # An outside position sees the row too when it is asked: a softmax over nothing would be nan.
    seen = (_taken(layout.region_BL, key_BK) != OUTSIDE)[:, None, :]
    if layout.full_B.all() and block_size is None and seen.all():
        return None
    if not layout.full_B.all():
        query, key = (_taken(layout.owner_BL, at) for at in (query_BQ, key_BK))
        query, key, summary = query[:, :, None], key[:, None, :], layout.summary_B[:, None, None]
        inside = (key == PROMPT) | (query == key) | (query == summary) | layout.full_B[:, None, None]
        itself = (query_BQ[:, :, None] == key_BK[:, None, :]) & ~layout.full_B[:, None, None]
        seen = inside & seen | itself
    if block_size is not None:
        seen = seen & (query_BQ[:, :, None] // block_size >= key_BK[:, None, :] // block_size)
    return np.broadcast_to(seen, (len(query_BQ), query_BQ.shape[1], key_BK.shape[1]))


class Sight(NamedTuple):
    """Who sees whom in one row, stored once for all positions that see the same ones.

    group_L  the group of each position
    sees_GL  whether the positions of a group may look at each position
    """

    group_L: Ints
    sees_GL: Bools


def sight(layout: Layout, *, block_size: int | None = None) -> Sight:
    """The `Sight` of a layout's only row. What a position sees, the positions that it sees see as well, and no more."""
    length = layout.region_BL.shape[1]
    place = np.zeros(length, np.int64) if block_size is None else np.arange(length) // block_size
    owner = layout.owner_BL[0] if not layout.full_B.all() else np.zeros(length, np.int64)
    _, first_G, group_L = np.unique(np.stack([owner, place]), axis=1, return_index=True, return_inverse=True)
    seen = visible(layout, first_G[None], block_size=block_size)
    return Sight(group_L.reshape(length), np.ones((len(first_G), length), bool) if seen is None else seen[0])


def visible_beside(layout: Layout, shadow_BS: Ints, *, block_size: int | None = None) -> Bools:
    """[B, L + S, L + S]: the canvas followed by S shadows, which no position of the canvas sees.

    A shadow stands at a canvas position. It sees what that position sees except the position itself, and the shadows of
    what it sees, so it predicts the token there without knowing it. Shadows at -1 are unused: nobody sees them.
    """
    rows, length = layout.region_BL.shape
    everything = np.broadcast_to(np.arange(length), (rows, length))
    at_BQ = np.concatenate([everything, shadow_BS.clip(min=0)], axis=1)
    found = visible(layout, at_BQ, at_BQ, block_size=block_size)
    seen = np.ones((rows, at_BQ.shape[1], at_BQ.shape[1]), bool) if found is None else found.copy()
    seen[:, :length, length:] = False
    row_B1, number_S = np.arange(rows)[:, None], np.arange(shadow_BS.shape[1])
    seen[row_B1, length + number_S, shadow_BS.clip(min=0)] = False
    seen[:, :, length:] &= (shadow_BS >= 0)[:, None, :]
    return seen


def _taken(values_BL: Ints, at: Ints) -> Ints:
    return np.take_along_axis(values_BL, at, axis=1)


def owners(region_BL: Ints) -> Ints:
    """The region codes with each header given to the slot that it opens."""
    owner = region_BL.copy()
    # From the right, because a header belongs to the slot that follows it.
    for position in range(owner.shape[1] - 2, -1, -1):
        header = owner[:, position] == HEADER
        owner[header, position] = owner[header, position + 1]
    return owner


def _restarted(owner_L: Ints, summary: int) -> Ints:
    """Position numbers of one row whose paths all start right after the prompt."""
    place_L, prompt = np.arange(len(owner_L)), int((owner_L == PROMPT).sum())
    slots = [np.flatnonzero(owner_L == code) for code in range(summary)]
    for slot in slots:
        place_L[slot] = prompt + np.arange(len(slot))
    after = np.flatnonzero(owner_L == summary)
    place_L[after] = prompt + max(map(len, slots), default=0) + np.arange(len(after))
    return place_L


@dataclass(frozen=True, eq=False, kw_only=True)
class Forest:
    """Texts that share their beginnings, in one sequence: trunks, and branches that leave a trunk at some token.

    There are T tokens in S stems. A stem is a trunk, or a branch without the part that it shares:

    stem_T      the stem that a token belongs to
    position_T  its place in its own text; the text of a branch begins with its trunk
    trunk_S     the stem that a branch leaves; a trunk's is itself
    after_S     after how many tokens of that stem it leaves; 0 for a trunk
    """

    stem_T: NDArray[np.int64]
    position_T: NDArray[np.int64]
    trunk_S: NDArray[np.int64]
    after_S: NDArray[np.int64]

    def visible(self, query_Q: NDArray[np.int64], key_K: NDArray[np.int64]) -> NDArray[np.bool_]:
        """[Q, K] whether each query token sees each key token: those that stand before it in its own text."""
        stem_Q1, stem_K, position_K = self.stem_T[query_Q][:, None], self.stem_T[key_K], self.position_T[key_K]
        own_QK = (stem_Q1 == stem_K) & (position_K <= self.position_T[query_Q][:, None])
        return own_QK | (self.trunk_S[stem_Q1] == stem_K) & (position_K < self.after_S[stem_Q1])
