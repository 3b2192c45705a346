"""How many problems to decode together: as many as fit in memory, estimated from the model's shape.

    fit = fitting_batch(denoiser, longest_canvas)     # fit.rows, and str(fit) says why

A forward keeps some states of every position of every row, including those of the widest layer, and an attention mask.
The logits are made in chunks, so they do not grow with the number of rows (candidates.py). The estimate adds up what
torch allocates at the same time in transformers' classes; tests compare it with measurements. Packed copies of weights
(models/packed.py), which a model makes in its first forward, are kept free.

Does not know what a cache keeps, and does not measure anything.
"""

from dataclasses import dataclass
from typing import Any

from nap.common.machine import free_memory
from nap.decoding.candidates import CHUNK
from nap.models.attention import MOST_SCORES
from nap.models.denoiser import Denoiser
from nap.models.packed import copies

# Problems decoded together where there is room; on a CPU larger batches are not faster.
USUAL = 16
# Of the memory that is free: what other processes take meanwhile, and what an allocator loses between its blocks.
SHARE = 0.7
# How many states of a layer exist at once: narrow ones (input, normed, queries, keys, values, mixed, output, sums) and
# wide ones.
STATES, WIDE = 9, 5
# Chunks that candidates need: logits, their exponentials, noise in float64, and a copy of each.
CHUNKS = 6


@dataclass(frozen=True, kw_only=True)
class Fit:
    """rows to decode together; bytes that one takes, None where the model's shape is not known; bytes that are free."""

    rows: int
    row: int | None
    free: int | None

    def __str__(self) -> str:
        if self.row is None or self.free is None:
            return f"batches of {self.rows}"
        room = "" if self.row <= self.free * SHARE else "; even one may not fit: shorten the canvas, or free memory"
        return f"batches of {self.rows}: a row takes about {_size(self.row)}, and {_size(self.free)} are free{room}"


def fitting_batch(denoiser: Denoiser, length: int, *, most: int = USUAL, processes: int = 1) -> Fit:
    """At most `most` rows of canvases of `length` tokens, fewer where the memory of the model's device is short.

    processes  that decode at once with this model, each with its own weights
    """
    row, free = row_bytes(denoiser, length), free_memory(denoiser.device)
    if row is None or free is None:
        return Fit(rows=most, row=row, free=free)
    made, coming = copies(getattr(denoiser, "model", None))
    if processes > 1:
        # The model of this process makes room for theirs.
        weights = _weights(denoiser) + made
        free = (free + weights) // processes - weights
    free -= coming
    room = free * SHARE - CHUNKS * CHUNK - 8 * MOST_SCORES
    return Fit(rows=max(1, min(most, int(room // row))), row=row, free=max(0, free))


def row_bytes(denoiser: Denoiser, length: int) -> int | None:
    """Rough bytes that a forward takes for a canvas of `length` tokens; None where the model's shape is unknown."""
    model: Any = getattr(denoiser, "model", None)
    config = getattr(model, "config", None)
    if model is None or config is None or not isinstance(getattr(config, "hidden_size", None), int):
        return None
    said: dict[str, Any] = config.to_dict()
    hidden, size = config.hidden_size, model.dtype.itemsize
    heads = said.get("num_attention_heads") or 1
    attention = heads * (said.get("head_dim") or hidden // heads)
    experts = (said.get("moe_intermediate_size") or 0) * (said.get("num_experts_per_tok") or 1)
    wide = max(said.get("intermediate_size") or 4 * hidden, experts)
    position = STATES * max(hidden, attention) + WIDE * wide
    # The attention mask, as truth values (two copies) and as numbers added to the scores.
    mask = length * (2 + size)
    return length * (position * size + mask)


def _weights(denoiser: Any) -> int:
    return sum(p.numel() * p.element_size() for p in denoiser.model.parameters())


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
