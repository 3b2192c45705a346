"""Policies that keep several blocks open at once."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nap.decoding.policies.policy import Based, Edits, Floats, Ints, RowView, Said, best
from nap.decoding.policies.ranges import COUNT, NONNEGATIVE, SHARE


@dataclass
class Opened:
    """How many blocks are open, from the left."""

    count: int = 0


@dataclass(frozen=True, kw_only=True)
class MultiBlock(Based):
    """Commits every sure mask of all open blocks (d3LLM's multi-block decoding).

    At most one block a step opens: the next one, when the share `add` of the last open block is written, and those
    after it while no open one has a mask (an end of text fills whole blocks). A mask is sure when its entropy is at
    most `entropy` nats, and the surest mask of all is always committed. The first block with masks whose predecessor is
    written to the share `ready` commits its surest mask even if none of its masks is sure. A block has `size` writable
    positions.
    """

    memory = Opened
    reads = ("entropy",)
    ranges: ClassVar = {"entropy": NONNEGATIVE, "add": SHARE, "ready": SHARE, "size": COUNT}
    entropy: float = 0.5
    add: float = 0.5
    ready: float = 0.5
    size: int = 32

    def ask(self, row: RowView) -> Ints:
        """The masks of all open blocks, after opening one more where it is time."""
        state: Opened = row.state
        written, block_N = self._written(row), self._block(row, row.masked_N)
        while state.count < len(written) and (not state.count or written[state.count - 1] >= self.add):
            state.count += 1
            if (block_N < state.count).any():
                break
        return row.masked_N[block_N < state.count]

    def act(self, row: RowView, said: Said) -> Edits:
        """The sure masks, surest first, and those that must be committed in any case."""
        entropy_N, block_N = said.entropy_N, self._block(row, said.position_N)
        order = best(-entropy_N, len(entropy_N))
        chosen = order[(entropy_N <= self.entropy)[order] | (order == order[0])]
        forced = self._forced(row, block_N)
        if forced is not None and forced not in block_N[chosen]:
            chosen = np.append(chosen, order[block_N[order] == forced][0])
        return Edits(said.position_N[chosen], said.token_N[chosen])

    def _forced(self, row: RowView, block_N: Ints) -> int | None:
        """The first block that has masks and is active."""
        written, masks = self._written(row), {*block_N.tolist()}
        active = (n for n in sorted(masks) if n == 0 or written[n - 1] >= self.ready)
        return next(active, None)

    def _block(self, row: RowView, position_N: Ints) -> Ints:
        return np.searchsorted(np.flatnonzero(row.block_L >= 0), position_N) // self.size

    def _written(self, row: RowView) -> Floats:
        """The share of each block that is written."""
        writable_N = np.flatnonzero(row.block_L >= 0)
        block_N = np.arange(len(writable_N)) // self.size
        return 1 - np.bincount(block_N, row.ids_L[writable_N] == row.mask_id) / np.bincount(block_N)
