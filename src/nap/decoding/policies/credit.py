"""CreditDecoding: a token that has been the likeliest for many steps is trusted more (2510.06133).

Keeps V numbers for every position of the current block.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from nap.decoding.policies.bounded import above
from nap.decoding.policies.policy import Edits, RowView, Said, Selecting
from nap.decoding.policies.ranges import NONNEGATIVE, SHARE

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Earned:
    """The credit that the masks of a block have earned, [places of the block, V], and which block it is."""

    credit_KV: "Tensor | None" = None
    block: int = -1


@dataclass(frozen=True, kw_only=True)
class Credit(Selecting):
    """`Threshold` on logits + alpha log(1 + C), where C <- beta C, then C[top token] += p^gamma.

    Credit is earned at each position from the model's own distribution, and starts again with each block.
    """

    memory = Earned
    paced = False
    reads = ("distribution",)
    ranges: ClassVar = {"tau": SHARE, "alpha": NONNEGATIVE, "beta": SHARE, "gamma": NONNEGATIVE}
    tau: float = 0.9
    alpha: float = 0.7
    beta: float = 0.8
    gamma: float = 0.2
    block: int | None = None

    def act(self, row: RowView, said: Said) -> Edits:
        """All candidates that reach the threshold with their credit."""
        chance_NV = said.distribution_NV
        fused = said.redrawn(chance_NV.log() + self.alpha * self._credit(row, said, chance_NV).log1p())
        chosen = above(fused.probability_N, self.tau)
        return Edits(said.position_N[chosen], fused.token_N[chosen])

    def _credit(self, row: RowView, said: Said, chance_NV: "Tensor") -> "Tensor":
        """[N, V] the credit of the positions asked about, including that of this step."""
        state: Earned = row.state
        number = int(row.block_L[said.position_N[0]])
        block = np.flatnonzero(row.block_L == number)
        if number != state.block or state.credit_KV is None:
            state.block, state.credit_KV = number, chance_NV.new_zeros(len(block), chance_NV.shape[1])
        place_N = np.searchsorted(block, said.position_N)
        top = chance_NV.index_fill(1, _index(chance_NV, row.mask_id), 0).max(dim=-1)
        state.credit_KV *= self.beta
        state.credit_KV[place_N, top.indices] += top.values**self.gamma
        return state.credit_KV[place_N]


def _index(like: "Tensor", number: int) -> "Tensor":
    import torch

    return torch.tensor([number], device=like.device)
