"""Layers compiled by torch.compile, for few enough shapes that compiling them is worth it.

A decode meets many shapes: rows leave, and a cache computes other positions in each forward. Each is enlarged to the
next size of a coarse scale, and the additions are hidden, so that code is compiled once for each pair of sizes and not
once a forward. All layers of a model share it. Attention weights are recorded by layers that are not compiled.

Letters: B rows, Q positions computed, K positions whose keys are there, D hidden size. Does not compile the head, which
is one product.
"""

import os
import shutil
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from nap.common.files import InputError
from nap.models.apart import Part
from nap.models.attention import Decoder, Keys, Soft
from nap.models.last import Read
from nap.models.sizes import rows_for, size_for
from nap.models.store import Opened

# What one process may compile, far more than a decode meets; torch's own limit of 8 is for code that should not vary.
MOST_SHAPES = 512


class Compiled(Decoder):
    """The body of a Llama, Qwen2 or Qwen3 whose layers are compiled."""

    parts = skips = False

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.plain, self.layers = Decoder(model), [_Layer(*each) for each in enumerate(self.body.layers)]

    def room(self, length: int) -> int:
        """How many positions a store needs for a canvas of this length."""
        return size_for(length)

    def __call__(
        self,
        ids_BQ: Tensor,
        mask: Tensor | list[Part] | None,
        position_BQ: Tensor | None = None,
        keys: Keys | None = None,
        maps: list[Tensor] | None = None,
        soft: Soft | None = None,
        read: Read | None = None,
    ) -> Tensor:
        """The states of the ids, as a `Decoder` gives them."""
        assert not isinstance(mask, list) and read is None, "`parts` and `skips` say that it takes none"
        if maps is not None:
            return self.plain(ids_BQ, mask, position_BQ, keys, maps, soft)
        rows, computed = ids_BQ.shape
        more, beside = rows_for(rows) - rows, size_for(computed) - computed
        seen = keys.length if isinstance(keys, Opened) else computed
        hidden = size_for(seen) - seen
        if isinstance(keys, Opened):
            keys = keys.padded(rows + more, computed + beside, seen + hidden)
        if mask is None and hidden:
            nothing: Tensor = self.body.embed_tokens.weight.new_zeros(1, 1, computed, seen)
            mask = nothing
        if mask is not None:
            added = (0, hidden, 0, beside, 0, 0, 0, more if len(mask) > 1 else 0)
            mask = pad(mask, added, value=torch.finfo(mask.dtype).min)
        if position_BQ is not None:
            position_BQ = pad(position_BQ, (0, beside, 0, more if len(position_BQ) > 1 else 0))
        ids_BQ = pad(ids_BQ, (0, beside, 0, more))
        with torch._dynamo.config.patch(recompile_limit=MOST_SHAPES, accumulated_recompile_limit=MOST_SHAPES):
            return super().__call__(ids_BQ, mask, position_BQ, keys, soft=soft)[:rows, :computed]


class _Layer:
    """One layer, which opens its own part of the store before its compiled code runs.

    The code then knows nothing of its layer's number, so that one is enough for all.
    """

    def __init__(self, number: int, layer: Any) -> None:
        self.number, self.attention = number, layer.self_attn
        self.run = torch.compile(layer, dynamic=False)

    def __call__(self, states_BQD: Tensor, past_key_values: Opened | None = None, **more: Any) -> Tensor:
        if past_key_values is not None:
            width = self.attention.head_dim
            heads = self.attention.k_proj.out_features // width
            more["past_key_values"] = past_key_values.of(self.number, states_BQD.new_empty(1, heads, 1, width))
        return self.run(states_BQD, **more)


def compiled_body(model: Any) -> Compiled:
    """The body with compiled layers. Raises InputError where the model or the machine cannot have it."""
    if model.config.model_type == "bert":
        raise InputError(
            "compiled layers are for models in a Llama, Qwen2 or Qwen3 class, and this is a BERT; do without compile"
        )
    check_compiler(model.device)
    return Compiled(model)


def check_compiler(device: torch.device) -> None:
    """Raise InputError where torch.compile lacks what it compiles with."""
    # On a GPU it is a C compiler that triton needs.
    names, own = (("g++", "clang++"), "CXX") if device.type == "cpu" else (("gcc", "clang"), "CC")
    if not any(shutil.which(name) for name in (*names, os.environ.get(own, "")) if name):
        raise InputError(
            f"torch.compile needs a compiler, and neither {names[0]} nor {names[1]} is found here; install one, or do "
            "without compile"
        )
    if device.type == "cuda" and find_spec("triton") is None:
        raise InputError("torch.compile needs triton on a GPU; try: pip install triton, or do without compile")
