"""Pairs and rates of an order: pairwise ARness, Kendall's tau-b, AFP, TPF and AUP.

A metric that nothing was measured for is None, never 0. Does not measure ARness (arness.py).
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from nap.common.files import InputError
from nap.order.arness import Ties, check_known, check_settings
from nap.order.order import Order

Scope = Literal["global", "local"]


def pairwise_arness(order: Order, scope: Scope = "global", ties: Ties = "mean") -> float | None:
    """Share of pairs of positions whose left one is finalised first (0 to 1); a random order gives .5.

    What dQwen3.5 (2609.20751) calls ARness; not comparable to `global_arness` and `local_arness`. `global` takes all
    pairs, `local` those of canvas neighbours p, p+1. A pair inside one step counts .5 ("mean"), 1 or 0. None where
    there is no pair. Raises InputError for unknown `scope` or `ties`.
    """
    check_settings(1, ties)
    check_known("scope", scope, Scope)
    if scope == "global":
        pairs, discordant, tied = _pair_counts(order)
    else:
        later = np.diff(order.group)[np.diff(order.positions) == 1]
        pairs, discordant, tied = len(later), int((later < 0).sum()), int((later == 0).sum())
    weight = {"mean": 0.5, "optimistic": 1.0, "pessimistic": 0.0}[ties]
    return (pairs - discordant - tied + weight * tied) / pairs if pairs else None


class Kendall(NamedTuple):
    """Kendall's tau-b (-1 to 1) between position and finalising step, and the share of tied pairs (0 to 1)."""

    tau_b: float | None
    tied_share: float | None


def kendall_tau_b(order: Order) -> Kendall:
    """Kendall's tau of 2601.15593, which does not say its variant. [ours] tau-b, with the share of tied pairs.

    With C concordant, D discordant and T tied of N pairs: (C - D) / sqrt(N (N - T)). None for n < 2, and tau-b also
    where one step finalised everything.
    """
    pairs, discordant, tied = _pair_counts(order)
    if not pairs:
        return Kendall(None, None)
    tau = (pairs - tied - 2 * discordant) / math.sqrt(pairs * (pairs - tied)) if pairs > tied else None
    return Kendall(tau, tied / pairs)


def _pair_counts(order: Order) -> tuple[int, int, int]:
    """(all, discordant, tied) pairs of positions."""
    n = len(order)
    return n * (n - 1) // 2, int(order.overtaken.sum()), int(order.together.sum())


def afp(order: Order) -> float | None:
    """Average finalisation parallelism (2601.15593): n / number of distinct finalising steps, in tokens a step.

    1 for one token a step, n for all in one. Steps that finalise nothing do not count, so AFP >= TPF. None if n = 0.
    """
    return len(order) / len(order.size) if len(order) else None


def tpf(order: Order) -> float | None:
    """Tokens per forward: n / forwards. None where the forwards are unknown, or there were none."""
    return len(order) / order.forwards if order.forwards else None


def aup(points: Sequence[tuple[float, float]], y_max: float) -> float:
    """Accuracy under parallelism (2601.07568) of (TPF rho, accuracy y in %) points of one method on one task.

    Sorted by rho, without the points with y < y_1 - 5 (a filter, as in the authors' code, not a cut at the first):
    rho_1 y_1 + 1/2 sum (rho_i - rho_{i-1}) (y_i W(y_i) + y_{i-1} W(y_{i-1})), W(y) = min(exp(-3 (1 - y/y_max)), 1).
    `y_max` is the best accuracy of any method on the task, in %. [ours] Of points that share a rho the most accurate
    comes first. Raises InputError for no points, rho <= 0, y outside 0..100, or a y_max that looks like a fraction.
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
