"""How a native model is asked: which positions its attention sees, and its body and head as two functions.

Shape letters: B batch, L canvas length, D hidden size. Who may see whom is canvas/visibility.py's.
"""

import functools
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nap.canvas.visibility import Layout


def parts(model: Any) -> tuple[Callable[[Tensor, Tensor | None], Tensor], Callable[[Tensor], Tensor]]:
    """(body, output head): ids_BL and a mask to states [B, L, D], and states to logits.

    The body is the model's own layers but not its own `forward`, which may make a causal mask where none is given:
    transformers 4.57 does whenever it keeps no cache, and 5 does under torch.compile.
    """
    if model.config.model_type == "bert":
        return functools.partial(_encode, model.bert), model.cls
    return functools.partial(_decode, model.model), model.lm_head


def _decode(body: Any, ids_BL: Tensor, mask: Tensor | None) -> Tensor:
    states_BLD = body.embed_tokens(ids_BL)
    rotary = body.rotary_emb(states_BLD, torch.arange(ids_BL.shape[1], device=ids_BL.device)[None])
    for layer in body.layers:
        states_BLD = layer(states_BLD, attention_mask=mask, position_embeddings=rotary)
    return body.norm(states_BLD)


def _encode(body: Any, ids_BL: Tensor, mask: Tensor | None) -> Tensor:
    return body.encoder(body.embeddings(ids_BL), attention_mask=mask)[0]


def attention_mask(
    layout: Layout, *, dtype: torch.dtype, device: torch.device, block_size: int | None = None
) -> Tensor | None:
    """What to add to attention scores, [B, 1, L, L] or [1, 1, L, L] where the rows agree; None where nothing is hidden.

    With `block_size` a position also sees only its own block of that many positions and earlier ones.
    """
    visible_BLL = layout.visible_BLL
    if block_size is not None:
        block_L = np.arange(layout.region_BL.shape[1]) // block_size
        earlier_LL = block_L[:, None] >= block_L
        visible_BLL = earlier_LL[None] if visible_BLL is None else visible_BLL & earlier_LL
    if visible_BLL is None:
        return None
    if (visible_BLL == visible_BLL[:1]).all():
        visible_BLL = visible_BLL[:1]
    hidden_BLL = torch.from_numpy(~visible_BLL).to(device)
    added_BLL = torch.zeros(hidden_BLL.shape, dtype=dtype, device=device)
    # Not -inf: a row that is all padding must come out as numbers.
    return added_BLL.masked_fill_(hidden_BLL, torch.finfo(dtype).min)[:, None]


class Remembered:
    """A function of a Layout, computed once for each as long as it lives: a canvas keeps its layout for many steps."""

    def __init__(self, build: Callable[[Layout], Tensor | None]) -> None:
        self.build = build
        self.known: dict[int, Tensor | None] = {}

    def __call__(self, layout: Layout) -> Tensor | None:
        """What the function gives for this layout."""
        # By identity: a layout holds arrays, so it has no hash.
        if id(layout) not in self.known:
            self.known[id(layout)] = self.build(layout)
            weakref.finalize(layout, self.known.pop, id(layout))
        return self.known[id(layout)]
