"""A masked diffusion language model as the one function that decoding needs: logits at the positions asked about.

`load` (load.py) opens one. It sees in both directions through an explicit mask, or without one where every position
sees every position.

Shape letters: B batch, L canvas length (prompt included), V vocabulary, N positions asked about, D hidden size.
Does not sample or commit (decoding), and keeps nothing from one forward to the next: this is the reference.
"""

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from nap.canvas.canvas import CanvasSpec
from nap.canvas.visibility import Layout
from nap.common.files import InputError
from nap.models.attention import Remembered, attention_mask, parts
from nap.models.families import FAMILIES

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Denoiser(Protocol):
    """What decoding needs of a model.

    mask_id, pad_id  token ids
    eos_ids          ids that end a text or a turn
    tokenizer        None for a checkpoint that has none
    setting          for traces: model, revision, family, dtype, shift_logits, block_size
    max_length       the longest canvas; None where the model sets no limit
    canvas           the canvas that it was trained on, where its checkpoint says
    device           where its weights are and its inputs must be
    """

    mask_id: int
    pad_id: int
    eos_ids: tuple[int, ...]
    tokenizer: Any
    setting: dict[str, Any]
    max_length: int | None
    canvas: CanvasSpec | None

    @property
    def device(self) -> torch.device:
        """Where inputs must be."""
        ...

    def logits(self, ids_BL: Tensor, layout: Layout, at: tuple[Tensor, Tensor]) -> Tensor:
        """logits_NV in float32 for the tokens at (rows_N, positions_N), in one forward."""
        ...


@dataclass(eq=False, kw_only=True)
class _Loaded:
    """What all loaded models share: everything of `Denoiser` but the forward."""

    model: "PreTrainedModel"
    tokenizer: Any
    mask_id: int
    pad_id: int
    eos_ids: tuple[int, ...]
    shift: bool
    setting: dict[str, Any]
    max_length: int | None
    canvas: CanvasSpec | None

    def __post_init__(self) -> None:
        # Once: the model's own property walks its modules.
        self._device = self.model.device

    @property
    def device(self) -> torch.device:
        """Where the weights are and inputs must be."""
        return self._device

    def _pick(self, states: Tensor, at: tuple[Tensor, Tensor]) -> Tensor:
        """The entries of a [B, L, ...] tensor that predict the tokens at `at`."""
        rows_N, positions_N = at
        return states[rows_N, predicted_from(positions_N, self.shift)]


def predicted_from(positions_N: Tensor, shift: bool) -> Tensor:
    """The positions of the states that predict the tokens at `positions_N`.

    Shifted models predict a token from the state before it; the first token has only its own.
    """
    return (positions_N - 1).clamp(min=0) if shift else positions_N


@dataclass(eq=False, kw_only=True)
class NativeDenoiser(_Loaded):
    """A checkpoint in one of transformers' own classes."""

    block_size: int | None

    def __post_init__(self) -> None:
        super().__post_init__()
        kind = {"dtype": self.model.dtype, "device": self.device, "block_size": self.block_size}
        self._mask = Remembered(functools.partial(attention_mask, **kind))
        self._body, self._head = parts(self.model)

    @torch.no_grad()
    def hidden(self, ids_BL: Tensor, layout: Layout) -> Tensor:
        """The last hidden states, [B, L, D], before any shift and the output head."""
        assert ids_BL.shape == layout.region_BL.shape, f"ids {ids_BL.shape}, layout {layout.region_BL.shape}"
        return self._body(ids_BL, self._mask(layout))

    @torch.no_grad()
    def logits(self, ids_BL: Tensor, layout: Layout, at: tuple[Tensor, Tensor]) -> Tensor:
        """logits_NV in float32 for the tokens at (rows_N, positions_N). Only their states go through the head."""
        return self._head(self._pick(self.hidden(ids_BL, layout), at)).float()


class RemoteDenoiser(_Loaded):
    """A checkpoint that runs its own code, called as `model(ids).logits`: all positions see all, none is padding."""

    @torch.no_grad()
    def logits(self, ids_BL: Tensor, layout: Layout, at: tuple[Tensor, Tensor]) -> Tensor:
        """logits_NV in float32 for the tokens at (rows_N, positions_N). Raises InputError if the layout hides any."""
        if layout.visible_BLL is not None:
            raise InputError(
                f"{self.setting['model']} runs its own code, which is only asked for full attention over rows of one "
                "length; use attention 'full' and a batch of 1, or a natively supported family: " + ", ".join(FAMILIES)
            )
        return self._pick(self.model(ids_BL).logits, at).float()
