"""Who may see whom in a canvas: decided here and nowhere else, for training, decoding, caches and the page.

Shape letters: B batch, L canvas length (prompt included), P paths. Pure numpy; makes no tensors (models/attention.py).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nap.data.trace import HEADER, OUTSIDE, PROMPT

Attention = Literal["full", "paths"]


@dataclass(frozen=True)
class Layout:
    """Who may see whom in a batch. Rows shorter than L end in OUTSIDE positions, which nobody sees."""

    region_BL: NDArray[np.int64]
    attention: Attention = "full"
    paths: int = 1

    @cached_property
    def visible_BLL(self) -> NDArray[np.bool_] | None:
        """[B, L, L], query by key; None where every position sees every position."""
        region = self.region_BL
        inside = region != OUTSIDE
        if self.attention == "full" and inside.all():
            return None
        if self.attention == "full":
            # An outside query sees the row too: a softmax over nothing would be nan.
            return np.broadcast_to(inside[:, None, :], (*region.shape, region.shape[1]))
        owner = owners(region)
        query, key = owner[:, :, None], owner[:, None, :]
        visible = (key == PROMPT) | (query == key) | (query == self.paths)
        return visible & inside[:, None, :] | np.eye(region.shape[1], dtype=bool)


def owners(region_BL: NDArray[np.int64]) -> NDArray[np.int64]:
    """The region codes with each header given to the slot that it opens."""
    owner = region_BL.copy()
    # From the right: a header belongs to what follows it.
    for position in range(owner.shape[1] - 2, -1, -1):
        header = owner[:, position] == HEADER
        owner[header, position] = owner[header, position + 1]
    return owner


@dataclass(frozen=True, eq=False, kw_only=True)
class Forest:
    """Texts that share beginnings, side by side in one sequence: trunks, and branches that leave a trunk somewhere.

    T tokens of S stems, a stem being a trunk or a branch without what stands before it:

    stem_T      the stem that a token belongs to
    position_T  its place in its own text; a branch's text begins with its trunk
    trunk_S     the stem that a branch leaves; a trunk's is itself
    after_S     after how many tokens of that stem; 0 for a trunk
    """

    stem_T: NDArray[np.int64]
    position_T: NDArray[np.int64]
    trunk_S: NDArray[np.int64]
    after_S: NDArray[np.int64]

    def visible(self, query_Q: NDArray[np.int64], key_K: NDArray[np.int64]) -> NDArray[np.bool_]:
        """[Q, K] whether the token at a query's index sees that at a key's: what stands before it in its own text."""
        stem_Q1, stem_K, position_K = self.stem_T[query_Q][:, None], self.stem_T[key_K], self.position_T[key_K]
        own_QK = (stem_Q1 == stem_K) & (position_K <= self.position_T[query_Q][:, None])
        return own_QK | (self.trunk_S[stem_Q1] == stem_K) & (position_K < self.after_S[stem_Q1])
