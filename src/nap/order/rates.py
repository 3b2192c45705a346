"""Pairs and rates of an order: pairwise ARness, Kendall's tau-b, AFP, TPF and AUP.

A metric that nothing was measured for is None, never 0. Does not measure ARness (arness.py).
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np

from nap.common.files import InputError
from nap.common.text import check_known
from nap.order.arness import Floats, Ties, check_settings
from nap.order.order import Order
from nap.order.sequences import Ints, Sequences

Scope = Literal["global", "local"]


def pairwise_arness(order: Order, scope: Scope = "global", ties: Ties = "mean") -> float | None:
    """Share of pairs of positions whose left one is finalised first (0 to 1); a random order gives .5.

    dQwen3.5 (2609.20751) calls this ARness; it cannot be compared with `global_arness` and `local_arness`. `global`
    counts all pairs, `local` those of canvas neighbours p, p+1. A pair inside one step counts .5 ("mean"), 1
    ("optimistic") or 0 ("pessimistic"). None where there is no pair. Raises InputError for unknown `scope` or `ties`.
    """
    check_settings(1, ties)
    check_known("scope", scope, get_args(Scope))
    orders = Sequences.of(order)
    counts = pair_counts(orders) if scope == "global" else neighbour_counts(orders)
    return _known(shares_of(counts, ties)[0])


def shares_of(pairs: "Pairs", ties: Ties = "mean") -> Floats:
    """[S] share of pairs whose left position comes first; tied pairs count as `ties` says. nan without pairs."""
    weight = {"mean": 0.5, "optimistic": 1.0, "pessimistic": 0.0}[ties]
    return _shares(pairs.all - pairs.discordant - pairs.tied + weight * pairs.tied, pairs.all)


def _shares(parts: Ints | Floats, wholes: Ints | Floats) -> Floats:
    return np.divide(parts, wholes, out=np.full(len(wholes), math.nan), where=wholes > 0)


def _known(number: float) -> float | None:
    return None if math.isnan(number) else float(number)


class Kendall(NamedTuple):
    """Kendall's tau-b (-1 to 1) between position and finalising step, and the share of tied pairs (0 to 1)."""

    tau_b: float | None
    tied_share: float | None


def kendall_tau_b(order: Order) -> Kendall:
    """Kendall's tau of 2601.15593, which does not say its variant. [ours] tau-b, with the share of tied pairs.

    With C concordant, D discordant and T tied of N pairs: (C - D) / sqrt(N (N - T)). Both are None for n < 2; tau-b is
    also None where one step finalised everything.
    """
    tau_b, tied = taus_of(pair_counts(Sequences.of(order)))
    return Kendall(_known(tau_b[0]), _known(tied[0]))


def taus_of(pairs: "Pairs") -> tuple[Floats, Floats]:
    """[S] Kendall's tau-b, and the share of tied pairs, from the numbers of pairs; nan where there is none."""
    untied = pairs.all - pairs.tied
    # As floats, because the product of two numbers of pairs can exceed 64 bits.
    tau_b = _shares(untied - 2 * pairs.discordant, np.sqrt(pairs.all.astype(float) * untied))
    return tau_b, _shares(pairs.tied, pairs.all)


class Pairs(NamedTuple):
    """[S] each: all pairs of positions, discordant ones (the left comes later) and tied ones (in one step)."""

    all: Ints
    discordant: Ints
    tied: Ints


def pair_counts(orders: Sequences) -> Pairs:
    """All pairs of positions."""
    discordant, tied = orders.overtaken.sum(axis=1), orders.together.sum(axis=1)
    return Pairs(np.full_like(discordant, orders.n * (orders.n - 1) // 2), discordant, tied)


def neighbour_counts(orders: Sequences) -> Pairs:
    """The pairs of canvas neighbours p, p+1."""
    near, later = np.diff(orders.positions) == 1, np.diff(orders.group)
    return Pairs(near.sum(axis=1), (near & (later < 0)).sum(axis=1), (near & (later == 0)).sum(axis=1))


def afp(order: Order) -> float | None:
    """Average finalisation parallelism (2601.15593): n / number of distinct finalising steps, in tokens a step.

    It is 1 for one token a step and n for all tokens in one step. Steps that finalise nothing do not count, so AFP >=
    TPF. None if n = 0.
    """
    return len(order) / len(np.unique(order.steps)) if len(order) else None


def tpf(order: Order) -> float | None:
    """Tokens per forward: n / forwards. None where the forwards are unknown, or there were none."""
    return len(order) / order.forwards if order.forwards else None


def tokens_per_query(order: Order) -> float | None:
    """Tokens per query: n / positions computed in all forwards [ours]. None where nobody counted them.

    Without a cache a forward computes the whole canvas of L positions, so this is TPF / L; with a cache it is higher.
    """
    return len(order) / order.queries if order.queries else None


def aup(points: Sequence[tuple[float, float]], y_max: float) -> float:
    """Accuracy under parallelism (2601.07568) of (TPF rho, accuracy y in %) points of one method on one task.

    Points are sorted by rho, and all with y < y_1 - 5 are dropped (as in the authors' code; it does not stop at the
    first such point): rho_1 y_1 + 1/2 sum (rho_i - rho_{i-1}) (y_i W(y_i) + y_{i-1} W(y_{i-1})), W(y) = min(exp(-3 (1 -
    y/y_max)), 1). `y_max` is the best accuracy of any method on the task, in %. [ours] Of points that share a rho the
    most accurate comes first. Raises InputError for no points, rho <= 0, y outside 0..100, or a y_max that looks like a
    fraction.
    """
    for rho, y in points:
        if not (0 < rho < math.inf and 0 <= y <= 100):
            raise InputError(f"AUP point ({rho}, {y}): TPF must be above 0 and accuracy a percentage from 0 to 100")
    if not points:
        raise InputError("AUP needs at least one (TPF, accuracy in %) point, got none")
    if not 1 < y_max <= 100:
        raise InputError(f"AUP y_max must be a percentage above 1 and up to 100, got {y_max}; is it a fraction?")
    rho, y = np.array(sorted(points, key=lambda point: (point[0], -point[1]))).T
    kept = y >= y[0] - 5
    rho, y = rho[kept], y[kept]
    weighted = y * np.minimum(np.exp(-3 * (1 - y / y_max)), 1)
    return float(rho[0] * y[0] + np.sum(np.diff(rho) * (weighted[1:] + weighted[:-1])) / 2)
