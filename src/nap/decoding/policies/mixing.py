"""ReMix: what is not sure enough to be written is fed back as a mix of tokens, unless it changed too much (2602.22868).

A masked position whose candidate is not committed is shown to the next forward as (1 - share) E[mask] + share sum p E,
E the embeddings. Where the model's word on such a position changes by more than `back`, the mix was wrong and the
position is a mask again. Keeps V numbers for every masked position of a row. Does not compute embeddings (models).
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from nap.decoding.policies.policy import Edits, Floats, Ints, RowView, Said, Selecting, best
from nap.decoding.policies.ranges import NONNEGATIVE, SHARE, Range

if TYPE_CHECKING:
    from torch import Tensor

    from nap.models.session import Mix


@dataclass
class Fed:
    """The last forward's distributions and where, and which of these positions are fed a mix now."""

    position_N: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    chance_NV: "Tensor | None" = None
    mixed_N: Ints = field(default_factory=lambda: np.empty(0, np.int64))


@dataclass(frozen=True, kw_only=True)
class Remix(Selecting):
    """`Threshold` whose masks are fed what the model said of them, and are masks again where that changed too much.

    tau    commits c > tau, at least one
    share  what the model's word weighs in a mix, beside the mask
    back   a mix whose distribution changed by a Jensen-Shannon divergence above this, nats, is a mask again
    top    a mix is of the most probable tokens, up to this share of the probability
    after  forwards of a row before the first mix
    """

    memory = Fed
    paced = False
    reads = ("distribution",)
    needs = ("mixes",)
    ranges: ClassVar = {
        "tau": SHARE, "share": SHARE, "back": NONNEGATIVE, "top": Range(0, 1, above=True), "after": NONNEGATIVE,
    }  # fmt: skip
    tau: float = 0.8
    share: float = 0.5
    back: float = 0.2
    top: float = 0.9
    after: int = 2
    block: int | None = None

    def mixes(self, row: RowView) -> "Mix | None":
        """What the positions that are mixed, and are masks still, are fed."""
        from nap.models.session import Mix

        state: Fed = row.state
        fed_N = np.isin(state.position_N, state.mixed_N) & (row.ids_L[state.position_N] == row.mask_id)
        if state.chance_NV is None or not fed_N.any():
            return None
        return Mix(state.position_N[fed_N], self._mix(state.chance_NV[fed_N], row.mask_id))

    def act(self, row: RowView, said: Said) -> Edits:
        """What is sure, most probable first; the rest is mixed or not for the next forward."""
        order = best(said.probability_N, len(said.probability_N))
        chosen = order[: max(1, int((said.probability_N > self.tau).sum()))]
        left = np.setdiff1d(np.arange(len(order)), chosen)
        self._remember(row, said, left)
        return Edits(said.position_N[chosen], said.token_N[chosen])

    def _remember(self, row: RowView, said: Said, left: Ints) -> None:
        state: Fed = row.state
        position_N, chance_NV = said.position_N[left], said.distribution_NV[left]
        refused = np.isin(position_N, self._refused(state, position_N, chance_NV))
        state.mixed_N = position_N[~refused] if row.step + 1 >= self.after else position_N[:0]
        state.position_N, state.chance_NV = position_N, chance_NV

    def _refused(self, state: Fed, position_N: Ints, chance_NV: "Tensor") -> Ints:
        """The mixed positions of which the model now says something else."""
        both = np.intersect1d(position_N, state.mixed_N)
        if not len(both) or state.chance_NV is None:
            return both
        now, before = np.searchsorted(position_N, both), np.searchsorted(state.position_N, both)
        return both[divergence(chance_NV[now], state.chance_NV[before]) > self.back]

    def _mix(self, chance_NV: "Tensor", mask_id: int) -> "Tensor":
        """Of each distribution what `top` keeps, scaled to 1, and the mask."""
        falling_NV, order_NV = chance_NV.sort(dim=-1, descending=True)
        kept_NV = falling_NV * (falling_NV.cumsum(dim=-1) - falling_NV < self.top)
        weight_NV = chance_NV.new_zeros(chance_NV.shape).scatter_(1, order_NV, kept_NV)
        weight_NV *= self.share / weight_NV.sum(dim=-1, keepdim=True)
        weight_NV[:, mask_id] += 1 - self.share
        return weight_NV


def divergence(one_NV: "Tensor", other_NV: "Tensor") -> Floats:
    """The Jensen-Shannon divergence of two distributions, nats: between 0 and log 2."""
    import torch

    mean_NV = (one_NV + other_NV) / 2
    entr = torch.special.entr
    found_N = entr(mean_NV).sum(dim=-1) - (entr(one_NV).sum(dim=-1) + entr(other_NV).sum(dim=-1)) / 2
    return found_N.double().cpu().numpy()
