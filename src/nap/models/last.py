"""The last layer at the positions whose states are read: its keys and values are needed of all, and nothing else is.

A decode reads the states of the masks of its block, often a tenth of what it computes; the last layer's queries, its
MLP and its output are then products of as few rows. The states are the same up to the rounding of such a product.
It is written out here for transformers' Llama, Qwen2 and Qwen3, whose layers have the same parts.

Shape letters: B batch, Q positions computed, K positions whose keys are there, N positions read in all, M the most that
one row reads, D hidden size, d head size. Other bodies compute every layer everywhere (`Body.skips`).
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from nap.models.apart import Part
from nap.models.sizes import size_for

if TYPE_CHECKING:
    from nap.models.attention import Keys

# Numbers in the states of a forward that need not be computed further. Taking out fewer costs what it saves.
LEAST_SAVED = 1 << 15


class Read(NamedTuple):
    """Where the last layer's states are read, as indices of what a forward computes.

    row_B1     all rows
    place_BM   row by row, and place 0 for what is added to the rows that read fewer than M
    wanted_BM  what was not added
    mask       what hides what these do not see, as a body takes it
    """

    row_B1: Tensor
    place_BM: Tensor
    wanted_BM: Tensor
    mask: Tensor | list[Part] | None = None

    def of(self, states_BQD: Tensor) -> Tensor:
        """[B, M, D] of [B, Q, D], or of [1, Q, D] that all rows share."""
        return states_BQD.expand(len(self.row_B1), -1, -1)[self.row_B1, self.place_BM]

    def masked(self, mask: Tensor | None) -> "Read":
        """The same with these rows of a mask [B or 1, 1, Q, K]."""
        return self if mask is None else self._replace(mask=self.of(mask[:, 0])[:, None])


def read_at(row_N: Tensor, place_N: Tensor, shape: tuple[int, ...], width: int) -> Read | None:
    """What is read of a forward [B, Q] of this width, without a mask yet.

    None where that saves little, or where the rows do not come in order.
    """
    rows, computed = shape
    each_B = torch.bincount(row_N, minlength=rows)
    most = size_for(int(each_B.max()))
    if rows * (computed - most) * width < LEAST_SAVED or bool((row_N[1:] < row_N[:-1]).any()):
        return None
    wanted_BM = torch.arange(most, device=row_N.device) < each_B[:, None]
    place_BM = place_N.new_zeros(rows, most)
    place_BM[wanted_BM] = place_N
    return Read(torch.arange(rows, device=row_N.device)[:, None], place_BM, wanted_BM)


def last_layer(
    layer: Any, states_BQD: Tensor, read: Read, rotary: tuple[Tensor, Tensor], keys: "Keys | None"
) -> Tensor:
    """The states [B, M, D] of the layer where they are read, from those before it; `keys` takes the keys of all."""
    from transformers import AttentionInterface

    attention, normed_BQD = layer.self_attn, layer.input_layernorm(states_BQD)
    key, value = _heads(attention, "k", normed_BQD, rotary), _heads(attention, "v", normed_BQD)
    if keys is not None:
        key, value = keys.update(key, value, attention.layer_idx)
    query = _heads(attention, "q", read.of(normed_BQD), (read.of(rotary[0]), read.of(rotary[1])))
    attend = AttentionInterface()[attention.config._attn_implementation]
    mixed = attend(attention, query, key, value, read.mask, scaling=attention.scaling)[0]
    states_BMD = read.of(states_BQD) + attention.o_proj(mixed.flatten(2))
    return states_BMD + layer.mlp(layer.post_attention_layernorm(states_BMD))


def _heads(attention: Any, kind: str, states_BQD: Tensor, rotary: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Queries, keys or values by heads, [B, heads, Q, d], normalised where the model does and turned by position."""
    from transformers.models.llama.modeling_llama import rotate_half

    heads = getattr(attention, f"{kind}_proj")(states_BQD).unflatten(-1, (-1, attention.head_dim))
    normalise = getattr(attention, f"{kind}_norm", None)
    heads = (heads if normalise is None else normalise(heads)).transpose(1, 2)
    if rotary is None:
        return heads
    cos, sin = (part[:, None] for part in rotary)
    return heads * cos + rotate_half(heads) * sin
