"""The matrix products of a decode and nothing else: what its time would be if all the rest of a forward cost none.

For a random model of LLaDA's shape, as decode.py makes it: an MLP three times as wide, heads of 64. Measures nothing of
the decode itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Of a model, and of a batch of canvases of one length."""

    width: int
    layers: int
    vocab: int
    batch: int
    length: int
    dtype: torch.dtype = torch.float32


class _Given(NamedTuple):
    """What is multiplied, which is made before the clock starts."""

    narrow: torch.Tensor
    wide: torch.Tensor
    query: torch.Tensor
    key: torch.Tensor

    @classmethod
    def of(cls, sizes: Sizes, rows: int) -> "_Given":
        """For so many rows of states."""
        heads, per_row = sizes.batch * sizes.width // 64, rows // sizes.batch
        shapes = (rows, sizes.width), (rows, 3 * sizes.width), (heads, per_row, 64), (heads, sizes.length, 64)
        return cls(*(torch.randn(shape, dtype=sizes.dtype) for shape in shapes))

    def multiply(self, weights: list[torch.Tensor]) -> None:
        """Each weight by what fits it."""
        for weight in weights:
            _ = (self.narrow if len(weight) == self.narrow.shape[1] else self.wide) @ weight

    def attend(self) -> None:
        """Attention's two products."""
        _ = self.query @ self.key.transpose(1, 2) @ self.key


class Products:
    """Their times, each shape of a forward measured as a whole, the best of three.

    Of the last layer, keys and values of what is computed, and the rest of what is asked about.
    """

    def __init__(self, sizes: Sizes, clock: Callable[[], float]) -> None:
        width, wide = sizes.width, 3 * sizes.width
        # Keys and values; queries, attention's output and the MLP.
        weights = [(width, width)] * 4 + [(width, wide)] * 2 + [(wide, width)]
        self.sizes, self.clock, self.known = sizes, clock, dict[tuple[int, int], float]()
        self.layers = [[torch.randn(weight, dtype=sizes.dtype) for weight in weights] for _ in range(sizes.layers)]
        self.head = torch.randn(width, sizes.vocab, dtype=sizes.dtype)

    def seconds(self, each: list[tuple[int, int]]) -> float:
        """Of forwards that compute so many positions and ask for the logits of so many."""
        return sum(self._of(computed, asked) for computed, asked in each)

    def _of(self, computed: int, asked: int) -> float:
        if (computed, asked) not in self.known:
            times, given = [], (_Given.of(self.sizes, computed), _Given.of(self.sizes, asked))
            for _ in range(3):
                started = self.clock()
                self._forward(*given)
                times.append(self.clock() - started)
            self.known[computed, asked] = min(times)
        return self.known[computed, asked]

    def _forward(self, computed: _Given, asked: _Given) -> None:
        *layers, last = self.layers
        for weights in layers:
            computed.multiply(weights)
            computed.attend()
        computed.multiply(last[:2])
        asked.multiply(last[2:])
        asked.attend()
        # Not all at once: a whole canvas's logits would not fit.
        for part in asked.narrow.split(256):
            _ = part @ self.head
