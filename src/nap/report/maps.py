"""Maps of where and when each setting of a run finalises its tokens, over all its traces.

Across are the slots side by side, each as wide as its share of the tokens, with the tokens in their order. Down are the
finalising steps. Padding, and steps that wrote nothing else, are left out, so that they leave no empty area. A token is
spread over the bins that its place and step cover, so that 12 steps leave no stripes in 24 bins.

Does not draw.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nap.order.order import Order, order_of
from nap.report.runs import Recorded, by_cell

BINS = 24  # bins in each direction


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """The map of a setting.

    shares  share of the tokens at a place that became final at a time, in thousandths: BINS x BINS by rows, row 0 first
    slots   where each slot ends, as a share of the width
    """

    model: str
    policy: str
    pace: str
    cell: str
    traces: int
    shares: list[int]
    slots: list[float]


def heat_maps(traces: Sequence[Recorded]) -> list[HeatMap]:
    """A map of each setting whose traces finalised anything."""
    maps = []
    for members in by_cell(traces):
        if orders := [order for one in members if len(order := order_of(one.trace))]:
            one, (shares, slots) = members[0], _mapped(orders)
            names = {"model": one.model, "policy": one.shown_policy, "pace": one.pace, "cell": one.cell}
            maps.append(HeatMap(**names, traces=len(members), shares=shares, slots=slots))
    return maps


def _mapped(orders: Sequence[Order]) -> tuple[list[int], list[float]]:
    codes = sorted({int(code) for order in orders for code in order.region})
    counts = np.array([[np.sum(order.region == code) for code in codes] for order in orders], float)
    ends = np.cumsum(counts.sum(0) / counts.sum())
    total = np.zeros((BINS, BINS))
    for order in orders:
        total += _down(order).T @ _across(order, codes, np.concatenate([[0.0], ends]))
    shares = total / np.maximum(total.sum(0), 1e-12)
    return np.rint(1000 * shares).astype(int).ravel().tolist(), np.round(ends, 4).tolist()


def _across(order: Order, codes: Sequence[int], ends: NDArray[np.float64]) -> NDArray[np.float64]:
    """[n, BINS]: how much of each token is in each bin of places."""
    low, width = np.empty(len(order)), np.empty(len(order))
    for slot, code in enumerate(codes):
        own = np.flatnonzero(order.region == code)
        if len(own):
            width[own] = (ends[slot + 1] - ends[slot]) / len(own)
            low[own] = ends[slot] + width[own] * np.arange(len(own))
    return _spread(low, width)


def _down(order: Order) -> NDArray[np.float64]:
    """[n, BINS]: the same for times."""
    steps, turn = np.unique(order.steps, return_inverse=True)
    return _spread(turn / len(steps), np.full(len(order), 1 / len(steps)))


def _spread(low: NDArray[np.float64], width: NDArray[np.float64]) -> NDArray[np.float64]:
    edges = np.arange(BINS + 1) / BINS
    upper = np.minimum((low + width)[:, None], edges[1:])
    return np.clip(upper - np.maximum(low[:, None], edges[:-1]), 0, None) / width[:, None]
