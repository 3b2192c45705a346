"""What a forward can give beside the states of its canvases: attention weights and leave-one-out states.

Leave-one-out states are those of shadows: masks after the canvas, each at the place of a position that it does not see
(canvas/visibility.py). So one forward predicts every token as if it were not there (WINO 2507.18578). This is
approximate: a shadow sees the shadows of the other positions, and these have seen the token.

Letters: B rows, L canvas length, S shadows, T layers. Does not say which policy needs what (decoding/needs.py).
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nap.canvas.visibility import Ints, Layout, visible_beside
from nap.common.machine import fast_float32
from nap.models.attention import Decoder, Soft, added

if TYPE_CHECKING:
    from nap.models.denoiser import NativeDenoiser


class More(NamedTuple):
    """The results of one forward.

    states_BLD      last hidden states of the canvases
    without_BSD     those of the shadows
    attention_TBLL  attention weights of each layer, mean over heads, query by key; empty where not asked for
    """

    states_BLD: Tensor
    without_BSD: Tensor
    attention_TBLL: list[Tensor]


@torch.no_grad()
@fast_float32()
def more(
    denoiser: "NativeDenoiser",
    ids_BL: Tensor,
    layout: Layout,
    shadow_BS: Ints,
    attention: bool,
    soft: Soft | None = None,
) -> More:
    """One forward of the canvases and of masks at the shadows' places; -1 is no shadow. `soft` are places of them."""
    assert isinstance(denoiser.body, Decoder)
    (rows, length), shadows = layout.region_BL.shape, shadow_BS.shape[1]
    at_BQ = np.concatenate([np.broadcast_to(np.arange(length), (rows, length)), shadow_BS.clip(min=0)], axis=1)
    ids_BQ = torch.cat([ids_BL, ids_BL.new_full((rows, shadows), denoiser.mask_id)], dim=1)
    seen_BQQ = visible_beside(layout, shadow_BS, block_size=denoiser.block_size)
    mask = added(seen_BQQ, denoiser.model.dtype, denoiser.device)
    maps: list[Tensor] = []
    place_BQ = torch.as_tensor(layout.placed(at_BQ), device=denoiser.device)
    states_BQD = denoiser.body(ids_BQ, mask, place_BQ, maps=maps if attention else None, soft=soft)
    return More(states_BQD[:, :length], states_BQD[:, length:], [map_BQQ[:, :length, :length] for map_BQQ in maps])
