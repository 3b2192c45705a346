"""A model of transformers as two functions, body and head, and the attention mask that it is given.

The body runs the model's layers but not its own `forward`, which may make a causal mask where none is given:
transformers 4.57 does so without a cache, and version 5 under torch.compile.

Shape letters: B batch, L canvas length, Q positions computed, K positions whose keys are there, D hidden size.
Does not decide who sees whom (canvas/visibility.py).
"""

import weakref
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from nap.canvas.visibility import Bools, Ints, Layout, visible
from nap.models.apart import Part, attend_apart
from nap.models.last import Read, last_layer


class Keys(Protocol):
    """Where a forward's keys and values go and which ones attention sees: the used part of transformers' `Cache`."""

    def update(self, key: Tensor, value: Tensor, layer: int, *rest: object, **more: object) -> tuple[Tensor, Tensor]:
        """Take the keys and values [B, heads, Q, d] of a layer; returns those to attend to, [B, heads, K, d]."""
        ...


class Soft(NamedTuple):
    """Positions that are fed a mix of token embeddings in place of one: weight_NV of every token at (rows_N, places_N).

    Each row of weights is a probability distribution over the vocabulary, the mask included.
    """

    rows_N: Tensor
    places_N: Tensor
    weight_NV: Tensor


class Body:
    """What every body of a model has."""

    config: Any
    parts = False  # Whether its mask may be parts.
    skips = False  # Whether its last layer may be computed where it is read alone.

    def room(self, length: int) -> int:
        """How many positions a store needs for a canvas of this length."""
        return length


class Decoder(Body):
    """The body of a Llama, Qwen2 or Qwen3: ids to the last hidden states [B, Q, D]."""

    parts = skips = True

    def __init__(self, model: Any) -> None:
        self.body, self.head, self.config = model.model, model.lm_head, model.config
        self.layers: Sequence[Callable[..., Tensor]] = self.body.layers

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
        """The states of the ids, at positions 0.. or `position_BQ`, attending to `keys` where given.

        mask  numbers to add to scores; or, for a model that attends by `products` and without `maps`, parts
        maps  where given, each layer appends its attention weights, [B, Q, K], the mean over heads, in float32
        soft  what is fed in place of some of the ids
        read  where given, and no `maps`, the states that are read alone: [B, M, D]
        """
        states_BQD = self.body.embed_tokens(ids_BQ)
        if soft is not None:
            table_VD = self.body.embed_tokens.weight
            states_BQD[soft.rows_N, soft.places_N] = soft.weight_NV.to(table_VD) @ table_VD
        if position_BQ is None:
            position_BQ = torch.arange(ids_BQ.shape[1], device=ids_BQ.device)[None]
        kept = {} if keys is None else {"past_key_values": keys, "use_cache": True}
        if maps is not None:
            use_recordable(self.config)
            kept["maps"] = maps
        rotary = self.body.rotary_emb(states_BQD, position_BQ)
        *layers, last = self.layers
        for layer in layers:
            states_BQD = layer(states_BQD, attention_mask=mask, position_embeddings=rotary, **kept)
        if read is not None:
            return self.body.norm(last_layer(last, states_BQD, read, rotary, keys))
        return self.body.norm(last(states_BQD, attention_mask=mask, position_embeddings=rotary, **kept))

    def first(self, ids_BQ: Tensor, position_BQ: Tensor) -> "Looks":
        """What the first layer's attention is given for the ids at these positions: it depends on nothing else."""
        use_recordable(self.config)
        states_BQD = self.body.embed_tokens(ids_BQ)
        rotary, layer, looks = self.body.rotary_emb(states_BQD, position_BQ), self.body.layers[0], list[Looks]()
        given = {"position_embeddings": rotary, "attention_mask": None, "looks": looks}
        layer.self_attn(layer.input_layernorm(states_BQD), **given)
        return looks[0]


class Encoder(Body):
    """The body of a BERT: ids to the last hidden states [B, Q, D]."""

    def __init__(self, model: Any) -> None:
        self.body, self.head, self.config = model.bert, model.cls, model.config

    def __call__(
        self,
        ids_BQ: Tensor,
        mask: Tensor | list[Part] | None,
        position_BQ: Tensor | None = None,
        keys: Keys | None = None,
    ) -> Tensor:
        """The states of the ids, as a `Decoder` gives them; the mask is never parts."""
        states_BQD = self.body.embeddings(ids_BQ, position_ids=position_BQ)
        return self.body.encoder(states_BQD, attention_mask=mask, past_key_values=keys)[0]

    def first(self, ids_BQ: Tensor, position_BQ: Tensor) -> "Looks":
        """What the first layer's attention is given, as a `Decoder` says it."""
        use_recordable(self.config)
        looks = list[Looks]()
        self.body.encoder.layer[0].attention.self(self.body.embeddings(ids_BQ, position_ids=position_BQ), looks=looks)
        return looks[0]


class Looks(NamedTuple):
    """What one layer's attention is given: scaled queries [B, heads, Q, d], keys and values [B, shared, Q, d]."""

    query: Tensor
    key: Tensor
    value: Tensor


def body_of(model: Any) -> Decoder | Encoder:
    """The body and head of a model in one of transformers' own classes."""
    return Encoder(model) if model.config.model_type == "bert" else Decoder(model)


# Up to this many scores of a layer are written out. Beyond, torch's fused kernel is as fast and needs less memory.
MOST_SCORES = 1 << 22


def products(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | list[Part] | None,
    scaling: float | None = None,
    **options: object,
) -> tuple[Tensor, None]:
    """Attention as two batched matrix products, from [B, heads, Q, d] to [B, Q, heads, d], as transformers expects.

    Within `machine.fast_float32` these products go through oneDNN and take half the time of torch's fused kernel, which
    makes many small products there.
    """
    if isinstance(attention_mask, list):

        def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            return products(module, query, key, value, None, scaling)[0]

        return attend_apart(attend, query, key, value, attention_mask, MOST_SCORES), None
    rows, heads, looking, width = query.shape
    shared, seen = key.shape[1:3]
    if query.requires_grad or rows * heads * looking * seen > MOST_SCORES:
        mixed = scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, scale=scaling, enable_gqa=heads != shared
        )
        return mixed.transpose(1, 2), None
    # Heads that share a key are stacked, as if they were further positions.
    query = query.reshape(rows * shared, heads // shared * looking, width)
    key, value = key.reshape(rows * shared, seen, width), value.reshape(rows * shared, seen, width)
    scores = (query @ key.transpose(1, 2)).mul_(width**-0.5 if scaling is None else scaling)
    if attention_mask is not None:
        scores.view(rows, shared, -1, looking, seen).add_(attention_mask[:, :, None])
    mixed = (scores.softmax(-1) @ value).view(rows, heads, looking, width)
    return mixed.transpose(1, 2), None


def _recorded(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float | None, maps: list[Tensor]
) -> tuple[Tensor, None]:
    """Attention that also appends its weights to `maps`."""
    shared = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(shared, dim=1), value.repeat_interleave(shared, dim=1)
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    weights = (scores if mask is None else scores + mask).float().softmax(-1)
    maps.append(weights.mean(dim=1))
    return (weights.to(value.dtype) @ value).transpose(1, 2), None


def use_products(model: Any) -> None:
    """Make a model of transformers attend by `products` from now on, for decoding; training needs the fused kernel."""
    _use(model.config, "nap_products", products)


def use_recordable(config: Any) -> None:
    """Make a model's attention accept `maps` and `looks` from now on. Calls without them are unchanged."""
    if not config._attn_implementation.startswith("nap_"):
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        _use(config, "nap_fused", sdpa_attention_forward)


def _use(config: Any, name: str, attend: Callable[..., tuple[Tensor, None]]) -> None:
    """Make a model attend by this function; with recorded weights where `maps` are given. Where `looks` are given, what
    the function would be given is recorded, and nothing is attended to."""
    from transformers import AttentionInterface

    def attended(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None,
        scaling: float | None = None, maps: list[Tensor] | None = None, looks: list[Looks] | None = None,
        **options: object,
    ) -> tuple[Tensor, None]:  # fmt: skip
        if looks is not None:
            looks.append(Looks(query * (query.shape[-1] ** -0.5 if scaling is None else scaling), key, value))
            return torch.zeros_like(query).transpose(1, 2), None
        if maps is not None:
            return _recorded(query, key, value, mask, scaling, maps)
        return attend(module, query, key, value, mask, scaling=scaling, **options)

    AttentionInterface.register(name, attended)
    config._attn_implementation = name


def takes_parts(body: Body) -> bool:
    """Whether a body attends part by part where its mask is a list of parts."""
    return body.parts and body.config._attn_implementation == "nap_products"


def attention_mask(
    layout: Layout,
    query_BQ: Ints | None = None,
    key_BK: Ints | None = None,
    *,
    dtype: torch.dtype,
    device: torch.device,
    block_size: int | None = None,
) -> Tensor | None:
    """Numbers to add to attention scores, [B, 1, Q, K], or [1, 1, Q, K] for equal rows; None where nothing is hidden.

    The positions and `block_size` are those of `visible`.
    """
    visible_BQK = visible(layout, query_BQ, key_BK, block_size=block_size)
    return None if visible_BQK is None else added(visible_BQK, dtype, device)


def added(visible_BQK: Bools, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Numbers to add to attention scores that hide what must not be seen, [B, 1, Q, K] or [1, 1, Q, K]."""
    if (visible_BQK == visible_BQK[:1]).all():
        visible_BQK = visible_BQK[:1]
    hidden_BQK = torch.from_numpy(~visible_BQK).to(device)
    added_BQK = torch.zeros(hidden_BQK.shape, dtype=dtype, device=device)
    # Not -inf, because a row of padding alone must not become nan.
    return added_BQK.masked_fill_(hidden_BQK, torch.finfo(dtype).min)[:, None]


Value = TypeVar("Value")


class Remembered(Generic[Value]):
    """A function of a Layout that is computed once for each layout: a canvas keeps its layout for many steps."""

    def __init__(self, build: Callable[[Layout], Value]) -> None:
        self.build = build
        self.known: dict[int, Value] = {}

    def __call__(self, layout: Layout) -> Value:
        """The value of the function for this layout."""
        # Looked up by identity: a layout holds arrays, so it has no hash.
        if id(layout) not in self.known:
            self.known[id(layout)] = self.build(layout)
            weakref.finalize(layout, self.known.pop, id(layout))
        return self.known[id(layout)]
