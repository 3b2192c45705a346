"""A model that remembers what it said of a canvas: asked about the same canvas again, it computes nothing.

    denoiser = remembering(load("arith-nap"))

Decoders that are compared on the same problems begin with the same empty canvas, and often go on alike: about half of a
leaderboard's forwards are about a canvas that another setting has shown the model before. An answer is that of
`NativeDenoiser.states`, up to the rounding of a batch of another shape. What was said first is forgotten first.

Remembers plain forwards alone, none with mixes, weights or leave-one-out states; says nothing about time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nap.canvas.visibility import Ints, Layout
from nap.data.trace import OUTSIDE
from nap.models.denoiser import Denoiser, NativeDenoiser

# Bytes of hidden states: those of 16 problems under a hundred settings, for a model of the bundled ones' size.
MOST = 1 << 30


def remembering(denoiser: Denoiser, most: int = MOST) -> Denoiser:
    """The same model with a memory; as it is where a forward costs next to nothing, or runs elsewhere than on a CPU."""
    if not isinstance(denoiser, NativeDenoiser) or denoiser.device.type != "cpu":
        return denoiser
    return Remembering(**{one.name: getattr(denoiser, one.name) for one in fields(NativeDenoiser)}, most=most)


@dataclass(eq=False, kw_only=True, repr=False)
class Remembering(NativeDenoiser):
    """See `remembering`. `computed` counts the canvases that were not known, `held` the bytes of those that are."""

    most: int
    computed: int = 0
    held: int = 0
    known: dict[bytes, Tensor] = field(default_factory=dict)

    def states(self, ids_BL: Tensor, layout: Layout, at: tuple[Tensor, Tensor]) -> Tensor:
        """states_ND that predict the tokens at (rows_N, positions_N), which are remembered where they are in slots."""
        rows_N, positions_N = (one.numpy() for one in at)
        if (layout.region_BL[rows_N, positions_N] < 0).any():
            return super().states(ids_BL, layout, at)
        keys = [_key(ids_L, layout, row) for row, ids_L in enumerate(ids_BL.numpy())]
        found = {key: self.known[key] for key in keys if key in self.known}
        fresh = {key: row for row, key in enumerate(keys) if key not in found}
        if fresh:
            found |= self._compute([*fresh.values()], [*fresh], ids_BL, layout)
        # Of each position, which of its row's slots it is.
        slot_BL = np.cumsum(layout.region_BL >= 0, axis=1) - 1
        parts = [found[key][slot_BL[row, positions_N[rows_N == row]]] for row, key in enumerate(keys)]
        back = np.argsort(np.argsort(rows_N, kind="stable"), kind="stable")
        return torch.cat(parts)[back]

    def _compute(
        self, rows: Sequence[int], keys: Sequence[bytes], ids_BL: Tensor, layout: Layout
    ) -> dict[bytes, Tensor]:
        """What the model says of these rows' slots, which is remembered."""
        part = layout if len(rows) == len(ids_BL) else _rows(layout, rows)
        at = np.nonzero(part.region_BL >= 0)
        wanted = torch.from_numpy(at[0]), torch.from_numpy(at[1])
        states_ND = super().states(ids_BL[rows, : part.region_BL.shape[1]], part, wanted)
        sizes = (part.region_BL >= 0).sum(axis=1).tolist()
        found = {key: states_SD.clone() for key, states_SD in zip(keys, states_ND.split(sizes), strict=True)}
        self.computed += len(rows)
        self.known |= found
        self.held += sum(states_SD.nbytes for states_SD in found.values())
        while self.held > self.most:
            self.held -= self.known.pop(next(iter(self.known))).nbytes
        return found


def _key(ids_L: Ints, layout: Layout, row: int) -> bytes:
    """What tells a row's canvas from every other: its tokens, and who sees whom."""
    own = _rows(layout, [row])
    region_L = own.region_BL[0]
    kinds = repr((own.attention, own.paths, own.positions)).encode()
    return blake2b(b"".join((ids_L[: len(region_L)].tobytes(), region_L.tobytes(), kinds)), digest_size=16).digest()


def _rows(layout: Layout, rows: Sequence[int]) -> Layout:
    """The layout of some of its rows, no longer than the longest of them."""
    region_BL = layout.region_BL[list(rows)]
    length = int((region_BL != OUTSIDE).sum(axis=1).max())
    attention, paths, positions = (_part(of, rows) for of in (layout.attention, layout.paths, layout.positions))
    return replace(layout, region_BL=region_BL[:, :length], attention=attention, paths=paths, positions=positions)


def _part(value: Any, rows: Sequence[int]) -> Any:
    """Of a value for all rows that value, of one for each those of some rows."""
    return tuple(value[row] for row in rows) if isinstance(value, tuple) else value
