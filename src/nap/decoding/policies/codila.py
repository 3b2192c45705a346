"""CoDiLA: a block at a time, which a small autoregressive model writes jointly (2603.20216)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from nap.common.files import InputError
from nap.decoding.policies.policy import Edits, RowView, Said, Selecting
from nap.decoding.policies.ranges import Range

if TYPE_CHECKING:
    from nap.decoding.coherent import Coherent


@dataclass(frozen=True, kw_only=True)
class Codila(Selecting):
    """Writes a whole block in every forward, as the guide reads it from the distributions of its positions.

    It writes the most probable block that it finds, whatever the temperature.

    block  of so many positions, at most what the guide was trained for
    beam   blocks that are looked at together: 1 takes the best token after the other
    """

    paced = False
    reads = ("distribution",)
    ranges: ClassVar = {"beam": Range(1, 4096)}
    guide: "Coherent"
    block: int | None = 4
    beam: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        longest = self.guide.setting.block
        if self.block is None or self.block > longest:
            raise InputError(f"policy 'codila': block must be from 1 to {longest}, as its guide's is, got {self.block}")

    @staticmethod
    def open_guide(name: str) -> "Coherent":
        """The small model of a folder."""
        from nap.decoding.coherent import open_coherent

        return open_coherent(name)

    def act(self, row: RowView, said: Said) -> Edits:
        """The block, from left to right, with what the diffusion model gave each token."""
        chance_NV = said.distribution_NV.clone()
        chance_NV[:, row.mask_id] = 0
        token_N = self.guide.decode(chance_NV, self.beam)
        probability_N = chance_NV[np.arange(len(token_N)), token_N].double().cpu().numpy()
        return Edits(said.position_N, token_N, guide_calls=1, probability_N=probability_N)
