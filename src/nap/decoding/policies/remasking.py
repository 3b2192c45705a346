"""Policies that take tokens back and decide about them again."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nap.canvas.canvas import Canvas
from nap.decoding.policies.policy import Based, Edits, Ints, RowView, Said, best
from nap.decoding.policies.ranges import COUNT, NONNEGATIVE, Range


@dataclass
class Loop:
    """How many rounds of the loop a row still has, and whether its next step takes tokens back."""

    left: int
    back: bool = False


@dataclass(frozen=True, kw_only=True)
class Remdm(Based):
    """ReMDM's loop (2503.00307): fill to `ratio`, then `loops` times take `k` tokens back and fill `k`; then the rest.

    Filling commits the most probable candidates. Tokens are taken back where their probability, given all others, is
    now the lowest. The paper draws at random what is remasked; this is the version that the Saber repository publishes.
    """

    reads = ("current",)
    ranges: ClassVar = {"ratio": Range(0, 1, above=True), "loops": NONNEGATIVE, "k": COUNT}
    ratio: float = 0.875
    loops: int = 8
    k: int = 1

    def start(self, canvas: Canvas) -> Loop:
        """The loop is still to come."""
        return Loop(self.loops)

    def ask(self, row: RowView) -> Ints:
        """The written positions if tokens are to be taken back, else the masked ones."""
        writable_N = np.flatnonzero(row.block_L >= 0)
        state: Loop = row.state
        filled = len(writable_N) - len(row.masked_N)
        state.back = not state.back and state.left > 0 and filled >= int(self.ratio * len(writable_N)) > 0
        return np.setdiff1d(writable_N, row.masked_N) if state.back else row.masked_N

    def act(self, row: RowView, said: Said) -> Edits:
        """Take `k` tokens back, or write `k`."""
        state: Loop = row.state
        if state.back:
            state.left -= 1
            chosen = best(-said.current_N, self.k)
            return Edits(said.position_N[chosen], np.full(len(chosen), row.mask_id))
        chosen = best(said.probability_N, self.k)
        return Edits(said.position_N[chosen], said.token_N[chosen])
