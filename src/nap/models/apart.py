"""Attention in parts: positions that look at the same ones are computed together, and what nobody sees is left out.

Where attention separates a canvas, as with independent paths, most of the product of all queries by all keys would be
hidden by its mask: of 16 paths fifteen sixteenths. Parts of one size are one batched product. Shape letters as in
attention.py, and G parts of one size. Does not decide who sees whom (canvas/visibility.py).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nap.canvas.visibility import Ints, Layout, Sight, sight

# Taking a canvas apart costs some copies, which fewer hidden pairs than this do not pay for.
FEWEST_HIDDEN = 1 << 15
# Each is a product of its own; a block-causal canvas has as many as blocks.
MOST_SIZES = 4


class Part(NamedTuple):
    """Parts of one size: where the queries of each are in a forward, query_GQ, and the keys they see, key_GK."""

    query_GQ: Tensor
    key_GK: Tensor


def shared_sight(layout: Layout, block_size: int | None) -> Sight | None:
    """Who sees whom in every row alike; None where rows differ, or where all see all."""
    alike = all((rows == rows[:1]).all() for rows in (layout.region_BL, layout.full_B, layout.summary_B))
    if not alike or (layout.full_B.all() and block_size is None):
        return None
    attention = "full" if layout.full_B[0] else "paths"
    return sight(Layout(layout.region_BL[:1], attention, int(layout.summary_B[0])), block_size=block_size)


def parts(seen: Sight, query_BQ: Ints | None, device: torch.device) -> list[Part] | None:
    """The parts that these positions fall into, all by default; None where rows differ or parts would save little."""
    if query_BQ is not None and (query_BQ != query_BQ[:1]).any():
        return None
    groups, group_Q = np.unique(seen.group_L if query_BQ is None else seen.group_L[query_BQ[0]], return_inverse=True)
    sees_GK, asks_G = seen.sees_GL[groups], np.bincount(group_Q)
    looks_G = sees_GK.sum(axis=1)
    sizes = sorted({*zip(asks_G.tolist(), looks_G.tolist(), strict=True)})
    if len(group_Q) * sees_GK.shape[1] - int(asks_G @ looks_G) < FEWEST_HIDDEN or len(sizes) > MOST_SIZES:
        return None
    found = []
    for asks, looks in sizes:
        same = np.flatnonzero((asks_G == asks) & (looks_G == looks))
        query_GQ = np.stack([np.flatnonzero(group_Q == group) for group in same])
        key_GK = np.stack([np.flatnonzero(sees_GK[group]) for group in same])
        found.append(Part(torch.from_numpy(query_GQ).to(device), torch.from_numpy(key_GK).to(device)))
    return found


def attend_apart(
    attend: Callable[[Tensor, Tensor, Tensor], Tensor], query: Tensor, key: Tensor, value: Tensor, of: list[Part],
    most: int,
) -> Tensor:  # fmt: skip
    """Attention of [B, heads, Q, d] part by part, to [B, Q, heads, d].

    attend  from queries, keys and values of that form, all of which see each other
    most    scores that are computed together at most, if there are several parts
    """
    rows, heads, looking, width = query.shape
    mixed = query.new_empty(rows, looking, heads, width)
    for query_GQ, key_GK in of:
        together = max(1, most // (rows * heads * query_GQ.shape[1] * key_GK.shape[1]))
        for asks, looks in zip(query_GQ.split(together), key_GK.split(together), strict=True):
            found = attend(_taken(query, asks), _taken(key, looks), _taken(value, looks))
            mixed[:, asks.flatten()] = found.reshape(rows, -1, heads, width)
    return mixed


def _taken(tensor: Tensor, at_GN: Tensor) -> Tensor:
    """[B, heads, all, d] at these positions, with the parts as further rows: [B G, heads, N, d]."""
    return tensor[:, :, at_GN.flatten()].unflatten(2, at_GN.shape).transpose(1, 2).flatten(0, 1)
