"""The key/value store of a session: a tensor of keys and one of values for each layer, with a place for each row.

A row keeps its place from admission to its end; places of rows that left are used again. Keys are kept after their
rotary positions. Letters: B rows of a forward, Q positions computed, S places, C positions of a place, d head size.
Does not know which keys are out of date (caches.py) or who may look at them (canvas/visibility.py).
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad


class Store:
    """Keys and values of all rows: [S, heads, C + 1, d] for each layer. The last position receives those of padding."""

    def __init__(self) -> None:
        self.places: dict[int, int] = {}
        self.length = 0
        self._size = 0
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}

    def reserve(self, row: int, length: int) -> None:
        """Give a row the first free place, of at least `length` positions."""
        taken = {*self.places.values()}
        self.places[row] = next(place for place in range(len(taken) + 1) if place not in taken)
        size, length = max(self._size, self.places[row] + 1), max(self.length, length)
        if (size, length) != (self._size, self.length):
            for number, (keys, values) in self._layers.items():
                self._layers[number] = (self._grown(keys, size, length), self._grown(values, size, length))
            self._size, self.length = size, length

    def release(self, row: int) -> None:
        """Free the place of a row."""
        del self.places[row]

    def layer(self, number: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of a layer, allocated to match [B, heads, Q, d] at first use."""
        if number not in self._layers:
            shape = (self._size, like.shape[1], self.length + 1, like.shape[3])
            # Zeros and not uninitialised memory: hidden values are still multiplied by 0, which must not give nan.
            self._layers[number] = (like.new_zeros(shape), like.new_zeros(shape))
        return self._layers[number]

    def _grown(self, old: Tensor, size: int, length: int) -> Tensor:
        new = old.new_zeros(size, old.shape[1], length + 1, old.shape[3])
        new[: self._size, :, : self.length] = old[:, :, : self.length]
        return new


class Opened:
    """The store during one forward: the places of its rows, and where in them each computed position is written.

    place_B     places of the rows
    written_BQ  canvas positions that are computed; the store's `length` for padding
    length      K, positions to look at
    """

    def __init__(self, store: Store, place_B: Tensor, written_BQ: Tensor, length: int) -> None:
        self.store, self.place_B, self.written_BQ, self.length = store, place_B, written_BQ, length
        count = len(place_B)
        self.first = bool((place_B == torch.arange(count, device=place_B.device)).all())

    def of(self, layer: int, like: Tensor) -> "OpenedLayer":
        """The part of one layer, allocated to match [B, heads, Q, d] at first use."""
        return OpenedLayer(self.store.layer(layer, like), self.place_B, self.written_BQ, self.length, self.first)

    def update(self, key: Tensor, value: Tensor, layer: int, *rest: object, **more: object) -> tuple[Tensor, Tensor]:
        """Store [B, heads, Q, d] of a layer; returns [B, heads, K, d] to attend to. Called by transformers."""
        return self.of(layer, key).update(key, value)

    def padded(self, rows: int, computed: int, length: int) -> "Opened":
        """The same for so many rows, computed positions and positions to look at; what is added is kept nowhere."""
        more, beside = rows - len(self.place_B), computed - self.written_BQ.shape[1]
        place_B = torch.cat([self.place_B, self.place_B[-1:].expand(more)])
        return Opened(self.store, place_B, pad(self.written_BQ, (0, beside, 0, more), value=self.store.length), length)


class OpenedLayer(NamedTuple):
    """The keys and values of one layer in an `Opened` store, with its places, positions and length.

    first  whether the places are the first ones in order
    """

    kept: tuple[Tensor, Tensor]
    place_B: Tensor
    written_BQ: Tensor
    length: int
    first: bool

    def update(self, key: Tensor, value: Tensor, *rest: object, **more: object) -> tuple[Tensor, Tensor]:
        """Store [B, heads, Q, d]; returns [B, heads, K, d] to attend to."""
        for old, new in zip(self.kept, (key, value), strict=True):
            old[self.place_B[:, None], :, self.written_BQ] = new.transpose(1, 2)
        keys, values = (self._looked_at(tensor) for tensor in self.kept)
        return keys, values

    def _looked_at(self, tensor: Tensor) -> Tensor:
        # The first places in order need no copy.
        rows = tensor[: len(self.place_B)] if self.first else tensor[self.place_B]
        return rows[:, :, : self.length]
