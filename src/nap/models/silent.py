"""A denoiser that says nothing: every token is equally likely everywhere.

Under it a policy with `within=1,prefer=random` writes in the random order that its own rules allow: blocks, slots,
turns of the paths, the summary last. That is what the order of a real model is to be compared with. Does not know
text."""

from typing import Any

import torch
from torch import Tensor

from nap.canvas.canvas import CanvasSpec
from nap.canvas.visibility import Layout


class Silent:
    """All of `Denoiser`, with the tokens of another model or of none."""

    def __init__(self, mask_id: int, pad_id: int, vocabulary: int, tokenizer: Any = None) -> None:
        self.mask_id, self.pad_id, self.vocabulary, self.tokenizer = mask_id, pad_id, vocabulary, tokenizer
        self.eos_ids: tuple[int, ...] = ()
        self.setting: dict[str, Any] = {"model": "silent"}
        self.max_length: int | None = None
        self.canvas: CanvasSpec | None = None

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")

    def states(self, ids_BL: Tensor, layout: Layout, at: tuple[Tensor, Tensor]) -> Tensor:
        """states_N1, which hold nothing."""
        return torch.zeros(len(at[0]), 1)

    def head(self, states_ND: Tensor) -> Tensor:
        """logits_NV of nothing."""
        return torch.zeros(len(states_ND), self.vocabulary)

    def logits(self, ids_BL: Tensor, layout: Layout, at: tuple[Tensor, Tensor]) -> Tensor:
        """logits_NV, all 0."""
        return self.head(self.states(ids_BL, layout, at))
