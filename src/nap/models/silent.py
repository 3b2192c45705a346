"""The base of denoisers without weights, and one of them for which every token is equally likely everywhere.

With that one, a policy with `within=1,prefer=random` writes in a random order under its own rules (blocks, slots, turns
of the paths, the summary last), which is the order to compare a real model with. Does not know text.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from nap.canvas.canvas import CanvasSpec
from nap.canvas.visibility import Layout


class Computed(ABC):
    """A `Denoiser` on the CPU without its predictions; it may use the tokens of another model.

    It has no head: its states are the logits.
    """

    def __init__(self, mask_id: int, pad_id: int, vocabulary: int, tokenizer: Any = None) -> None:
        self.mask_id, self.pad_id, self.vocabulary, self.tokenizer = mask_id, pad_id, vocabulary, tokenizer
        self.setting: dict[str, Any] = {"model": "silent"}
        self.eos_ids: tuple[int, ...] = ()
        self.max_length: int | None = None
        self.canvas: CanvasSpec | None = None
        # What files it was opened from (identity.py).
        self.stamp: object = ()

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")

    def states(self, ids_BL: Tensor, layout: Layout, at: tuple[Tensor, Tensor]) -> Tensor:
        """What the head is given: the logits themselves."""
        return self.logits(ids_BL, layout, at)

    def head(self, states_ND: Tensor) -> Tensor:
        """The logits, in memory of their own."""
        return states_ND.clone()

    @abstractmethod
    def logits(self, ids_BL: Tensor, layout: Layout, at: tuple[Tensor, Tensor]) -> Tensor:
        """See `Denoiser`."""


class Silent(Computed):
    """Equally sure of every token."""

    def logits(self, ids_BL: Tensor, layout: Layout, at: tuple[Tensor, Tensor]) -> Tensor:
        """logits_NV, all 0."""
        return torch.zeros(len(at[0]), self.vocabulary)
