"""A masked diffusion language model in the form that decoding needs: logits at given positions.

`load` (load.py) opens one. A forward gives hidden states at these positions (`states`), and the output head turns any
part of them into logits (`head`): with a vocabulary of 126,464 the logits of a whole canvas would take 500 MB.

Shape letters: B batch, L canvas length (prompt included), V vocabulary, N positions asked about, D hidden size. Does
not sample or commit (decoding) and keeps nothing between forwards (session.py does). Tests compare every faster way of
computing with it.
"""

import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from nap.canvas.canvas import CanvasSpec
from nap.canvas.visibility import Ints, Layout
from nap.common.files import InputError
from nap.common.machine import fast_float32
from nap.models.apart import Part, parts, shared_sight
from nap.models.attention import (
    Decoder,
    Keys,
    Looks,
    Remembered,
    Soft,
    attention_mask,
    body_of,
    takes_parts,
)
from nap.models.compiled import compiled_body
from nap.models.families import FAMILIES
from nap.models.last import Read, read_at
from nap.models.more import More, more

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Denoiser(Protocol):
    """What decoding needs from a model.

    mask_id, pad_id  token ids
    eos_ids          ids that end a text or a turn
    vocabulary       V, the tokens that it has logits for
    tokenizer        None for a checkpoint that has none
    setting          for traces: model, revision, family, dtype, shift_logits, block_size
    max_length       the longest canvas; None where the model sets no limit
    canvas           the canvas that it was trained on, if its checkpoint says so
    device           where its weights are and its inputs must be
    """

    mask_id: int
    pad_id: int
    eos_ids: tuple[int, ...]
    vocabulary: int
    tokenizer: Any
    setting: dict[str, Any]
    max_length: int | None
    canvas: CanvasSpec | None

    @property
    def device(self) -> torch.device:
        """Where inputs must be."""
        ...

    def states(self, ids_BL: Tensor, layout: Layout, at: tuple[Tensor, Tensor]) -> Tensor:
        """states_ND that predict the tokens at (rows_N, positions_N), from one forward; the model's shift is undone."""
        ...

    def head(self, states_ND: Tensor) -> Tensor:
        """logits_NV of such states, in float32 and in memory of their own."""
        ...

    def logits(self, ids_BL: Tensor, layout: Layout, at: tuple[Tensor, Tensor]) -> Tensor:
        """logits_NV in float32 for the tokens at (rows_N, positions_N), all at once: `head` of `states`."""
        ...


@runtime_checkable
class Tells(Denoiser, Protocol):
    """A denoiser that gives more than logits: `gives` says which of `states`, `attention` and `without`."""

    shift: bool
    gives: frozenset[str]

    def more(self, ids_BL: Tensor, layout: Layout, shadow_BS: Ints, attention: bool, soft: Soft | None = None) -> More:
        """One forward with leave-one-out states at the shadows (-1: none), and attention weights where wanted."""
        ...


@runtime_checkable
class Mixes(Denoiser, Protocol):
    """A denoiser whose forward takes mixes of embeddings in place of tokens: `mixes` is among what it `gives`."""

    gives: frozenset[str]

    def mixed(self, ids_BL: Tensor, layout: Layout, at: tuple[Tensor, Tensor], soft: Soft) -> Tensor:
        """`states` of canvases some of whose tokens are mixes."""
        ...


@dataclass(eq=False, kw_only=True, repr=False)
class Loaded(ABC):
    """The part of `Denoiser` that all loaded models share: everything but the forward.

    told   the arguments of `load` that overrode what the checkpoint says
    stamp  what files it was opened from (identity.py)
    """

    model: "PreTrainedModel"
    tokenizer: Any
    mask_id: int
    pad_id: int
    eos_ids: tuple[int, ...]
    shift: bool
    setting: dict[str, Any]
    max_length: int | None
    canvas: CanvasSpec | None
    told: Mapping[str, Any] = field(default_factory=dict)
    stamp: object = ()

    def __post_init__(self) -> None:
        # Read once, because the model's own property walks all its modules.
        self._device = self.model.device
        self.vocabulary = int(self.model.config.vocab_size)
        self._weights = glimpse(self.model)

    def __repr__(self) -> str:
        size = sum(weight.numel() for weight in self.model.parameters())
        name, family = self.setting.get("model"), self.setting.get("family")
        number = str(self.model.dtype).removeprefix("torch.")
        return f"{type(self).__name__}({name!r}: {family}, {size:,} parameters, {number} on {self.device})"

    @property
    def is_changed(self) -> bool:
        """Whether its weights were changed in memory since it was opened."""
        return glimpse(self.model) != self._weights

    @property
    def device(self) -> torch.device:
        """Where the weights are and inputs must be."""
        return self._device

    @abstractmethod
    def states(self, ids_BL: Tensor, layout: Layout, at: tuple[Tensor, Tensor]) -> Tensor:
        """See `Denoiser`."""

    @abstractmethod
    def head(self, states_ND: Tensor) -> Tensor:
        """See `Denoiser`."""

    def logits(self, ids_BL: Tensor, layout: Layout, at: tuple[Tensor, Tensor]) -> Tensor:
        """logits_NV in float32 for the tokens at (rows_N, positions_N). Only their states go through the head."""
        return self.head(self.states(ids_BL, layout, at))


def glimpse(model: "PreTrainedModel", most: int = 64) -> list[tuple[object, ...]]:
    """Of each parameter its name, how often it was written in place, and some of its values: enough to see a change."""
    found: list[tuple[object, ...]] = []
    for name, weight in model.named_parameters():
        written = None if weight.is_inference() else weight._version
        # A quantised or a sharded one may not be indexed.
        plain = type(weight.data) is Tensor and weight.numel() and not weight.is_meta
        some = weight.detach().flatten()[:: max(1, weight.numel() // most)].tolist() if plain else []
        found.append((name, written, *some))
    return found


Positions = TypeVar("Positions", Tensor, Ints)


def predicted_from(positions_N: Positions, shift: bool) -> Positions:
    """The positions of the states that predict the tokens at `positions_N`, a tensor or an array.

    Shifted models predict a token from the state before it; the first token is predicted from its own state.
    """
    return (positions_N - 1).clip(min=0) if shift else positions_N


@dataclass(eq=False, kw_only=True, repr=False)
class NativeDenoiser(Loaded):
    """A checkpoint in one of transformers' own classes.

    compiled  its layers are compiled for each shape that they meet (compiled.py)
    """

    block_size: int | None
    compiled: bool = False

    @property
    def gives(self) -> frozenset[str]:
        """What a forward has beside logits: hidden states, attention weights, leave-one-out states, mixes of tokens.

        Shifted models have no leave-one-out states: they predict a token from the state before it, which has no shadow.
        """
        beside = {"attention", "mixes"} | (set() if self.shift else {"without"})
        return frozenset({"states"} | (beside if isinstance(self.body, Decoder) else set()))

    def more(self, ids_BL: Tensor, layout: Layout, shadow_BS: Ints, attention: bool, soft: Soft | None = None) -> More:
        """One forward with what `gives` says."""
        return more(self, ids_BL, layout, shadow_BS, attention, soft)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.body = compiled_body(self.model) if self.compiled else body_of(self.model)
        self.mask = functools.partial(
            attention_mask, dtype=self.model.dtype, device=self.device, block_size=self.block_size
        )
        self.apart = takes_parts(self.body)
        self.sight = Remembered(functools.partial(shared_sight, block_size=self.block_size))
        self.whole_mask = Remembered(self._mask_or_parts)

    def _mask_or_parts(self, layout: Layout, query_BQ: Ints | None = None) -> Tensor | list[Part] | None:
        """What hides what these positions do not see: parts, if the body takes them and they save much."""
        seen = self.sight(layout) if self.apart else None
        return (seen and parts(seen, query_BQ, self.device)) or self.mask(layout, query_BQ)

    @torch.no_grad()
    @fast_float32()
    def hidden(self, ids_BL: Tensor, layout: Layout) -> Tensor:
        """The last hidden states of all positions, [B, L, D], before any shift and the output head."""
        placed, mask = self._whole(ids_BL, layout)
        return self.body(ids_BL, mask, placed)

    def states(self, ids_BL: Tensor, layout: Layout, at: tuple[Tensor, Tensor]) -> Tensor:
        """states_ND that predict the tokens at (rows_N, positions_N)."""
        return self._states(ids_BL, layout, at)

    def mixed(self, ids_BL: Tensor, layout: Layout, at: tuple[Tensor, Tensor], soft: Soft) -> Tensor:
        """states_ND that predict the tokens at (rows_N, positions_N), where some positions are fed a mix of tokens."""
        return self._states(ids_BL, layout, at, soft)

    @torch.no_grad()
    @fast_float32()
    def _states(self, ids_BL: Tensor, layout: Layout, at: tuple[Tensor, Tensor], soft: Soft | None = None) -> Tensor:
        placed, mask = self._whole(ids_BL, layout)
        at = at[0], predicted_from(at[1], self.shift)
        if not isinstance(self.body, Decoder):
            assert soft is None, "`gives` has no mixes for others"
            return self.body(ids_BL, mask, placed)[at]
        read = self._read(at, mask, layout, ids_BL.shape)
        return _picked(self.body(ids_BL, mask, placed, soft=soft, read=read), at, read)

    def _whole(self, ids_BL: Tensor, layout: Layout) -> tuple[Tensor | None, Tensor | list[Part] | None]:
        """Position numbers, unless they count up, and mask of whole canvases."""
        assert ids_BL.shape == layout.region_BL.shape, f"ids {ids_BL.shape}, layout {layout.region_BL.shape}"
        placed = None if layout.position_BL is None else torch.as_tensor(layout.position_BL, device=self.device)
        return placed, self.whole_mask(layout)

    def _read(
        self, at: tuple[Tensor, Tensor], mask: Tensor | list[Part] | None, layout: Layout, shape: tuple[int, ...],
        query_BQ: Ints | None = None,
    ) -> Read | None:  # fmt: skip
        """What the last layer needs to be computed at these places of a forward alone; None where it is everywhere."""
        read = read_at(*at, shape, self.body.config.hidden_size) if self.body.skips else None
        if read is None:
            return None
        if not isinstance(mask, list):
            return read.masked(mask)
        place_BM = read.place_BM.cpu().numpy()
        asked_BM = place_BM if query_BQ is None else np.take_along_axis(query_BQ, place_BM, axis=1)
        return read._replace(mask=self._mask_or_parts(layout, asked_BM))

    @torch.no_grad()
    @fast_float32()
    def part(
        self, ids_BQ: Tensor, layout: Layout, query_BQ: Ints, keys: Keys, at: tuple[Tensor, Tensor],
        maps: list[Tensor] | None = None,
    ) -> Tensor:  # fmt: skip
        """states_ND of a forward of the ids at these canvas positions, which look at `keys` and add their own.

        at    rows_N and, of what is computed, the places whose states are wanted
        maps  where given, each layer adds its attention weights, [B, Q, K], mean over heads; not of a BERT
        """
        mask = self._mask_or_parts(layout, query_BQ) if maps is None else self.mask(layout, query_BQ)
        placed = torch.as_tensor(layout.placed(query_BQ), device=self.device)
        if not isinstance(self.body, Decoder):
            assert maps is None
            return self.body(ids_BQ, mask, placed, keys)[at]
        read = self._read(at, mask, layout, query_BQ.shape, query_BQ) if maps is None else None
        return _picked(self.body(ids_BQ, mask, placed, keys, maps, read=read), at, read)

    @torch.no_grad()
    @fast_float32()
    def first(self, ids_BQ: Tensor, layout: Layout, query_BQ: Ints) -> Looks:
        """What the first layer's attention is given for the ids at these canvas positions."""
        return self.body.first(ids_BQ, torch.as_tensor(layout.placed(query_BQ), device=self.device))

    @torch.no_grad()
    @fast_float32()
    def head(self, states_ND: Tensor) -> Tensor:
        """logits_NV in float32 of such states."""
        return self.body.head(states_ND).float()


def _picked(states: Tensor, at: tuple[Tensor, Tensor], read: Read | None) -> Tensor:
    """What was asked, of a body's states: of all that it computed, or of those that are read."""
    return states[at] if read is None else states[read.wanted_BM]


class RemoteDenoiser(Loaded):
    """A checkpoint that runs its own code, called as `model(ids).logits`, with full attention and without padding."""

    @torch.no_grad()
    def states(self, ids_BL: Tensor, layout: Layout, at: tuple[Tensor, Tensor]) -> Tensor:
        """The logits themselves: such a model returns no states. Raises InputError if the layout hides a position."""
        if layout.visible_BLL is not None or layout.position_BL is not None:
            raise InputError(
                f"{self.setting['model']} runs its own code, which is only asked for full attention over rows of one "
                "length, as they stand; use attention 'full', positions 'canvas' and a batch of 1, or a natively "
                "supported family: " + ", ".join(FAMILIES)
            )
        rows_N, positions_N = at
        return self.model(ids_BL).logits[rows_N, predicted_from(positions_N, self.shift)]

    def head(self, states_ND: Tensor) -> Tensor:
        """The logits in float32, as a copy."""
        return states_ND.to(torch.float32, copy=True)
