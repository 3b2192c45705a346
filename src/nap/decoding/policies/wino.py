"""WINO: commits many tokens, and takes back those that the model would not write again (2507.18578)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nap.decoding.policies.policy import Based, Edits, Ints, RowView, Said, best
from nap.decoding.policies.ranges import SHARE

# Of a step's commits: at most this share of the masks, but this many may be in any case, and never more than those.
MOST_OF_MASKS, LEAST_CAP, MOST_CAP = 0.7, 5, 20
# The first step of a block takes back fewer than this many.
FIRST = 30


@dataclass
class Accepted:
    """How many tokens the step before committed, and in which block."""

    count: int = FIRST
    block: int = -1


@dataclass(frozen=True, kw_only=True)
class Wino(Based):
    """Commits c > tau, and where that is more than one token, takes back what has p < back without itself.

    Here p is the probability of a token of the block when the model does not see it (`said.without_N`). Fewer tokens
    are taken back than the step before committed, the least probable first, so every block ends.
    """

    memory = Accepted
    reads = ("without",)
    ranges: ClassVar = {"tau": SHARE, "back": SHARE}
    tau: float = 0.6
    back: float = 0.9
    block: int | None = None

    def ask(self, row: RowView) -> Ints:
        """The whole block, masked or not."""
        return np.flatnonzero(row.block_L == row.block_L[row.open_N[0]]) if len(row.open_N) else row.open_N

    def act(self, row: RowView, said: Said) -> Edits:
        """Commits, most probable first, then the tokens that are taken back."""
        state: Accepted = row.state
        if (block := int(row.block_L[said.position_N[0]])) != state.block:
            state.block, state.count = block, FIRST
        masked_N = row.ids_L[said.position_N] == row.mask_id
        commits = self._sure(said, np.flatnonzero(masked_N))
        back = self._refuted(said, np.flatnonzero(~masked_N), state.count) if len(commits) > 1 else commits[:0]
        state.count = len(commits)
        tokens = [said.token_N[commits], np.full(len(back), row.mask_id)]
        return Edits(said.position_N[np.concatenate([commits, back])], np.concatenate(tokens))

    def _sure(self, said: Said, masked: Ints) -> Ints:
        order = masked[best(said.probability_N[masked], len(masked))]
        cap = min(max(int(len(masked) * MOST_OF_MASKS), LEAST_CAP), MOST_CAP)
        return order[: min(cap, max(1, int((said.probability_N[masked] > self.tau).sum())))]

    def _refuted(self, said: Said, written: Ints, before: int) -> Ints:
        order = written[best(-said.without_N[written], len(written))]
        return order[: min(before - 1, int((said.without_N[written] < self.back).sum()))]
