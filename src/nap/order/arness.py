"""ARness: how far an order goes from left to right, globally (over the whole sequence) and locally (from run to run).

- Steps that commit several tokens leave the order inside them open. `ties="mean"` is the expectation over a uniformly
  random order inside each step, in closed form for every metric (nothing is sampled); "optimistic" and "pessimistic"
  bound what any order inside the steps could give.
- A metric that nothing was measured for is None, never 0.

Letters: S orders, n counted positions of each, m runs of k + 1 of them, G steps that finalise something ("groups").

Does not count pairs or rates (rates.py), and does not report all at once (measure.py).
"""

import math
from functools import reduce
from itertools import pairwise
from numbers import Integral
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from nap.common.files import InputError
from nap.common.text import check_known
from nap.order.order import Order
from nap.order.sequences import Ints, Sequences

Ties = Literal["mean", "optimistic", "pessimistic"]
Variant = Literal["set", "ordered"]
Floats = NDArray[np.float64]


def global_arness(order: Order, k: int = 1, ties: Ties = "mean") -> float | None:
    """Global-ARness@k: the share of commits that take one of the k leftmost positions still masked (0 to 1).

    2506.20639 App. A.2, 2602.23225 Eq. 2-3. Strict left to right gives 1 at k=1. The value never falls as k grows. Both
    bounds are attained, by the ascending and by the descending order inside every step. None for an empty order. Raises
    InputError for k < 1 or unknown `ties`. Compare with `random_baseline`.
    """
    check_settings(k, ties)
    return mean_of(global_hits(Sequences.of(order), k, ties)[0])


def local_arness(order: Order, k: int = 1, variant: Variant = "set", ties: Ties = "mean") -> float | None:
    """Local-ARness@k: the share of commits at some p right after the commits of p-k..p-1 (0 to 1).

    With `set` (2506.20639 App. A.2) these k may come in any order; with `ordered` (its Fig. 3) they must come left to
    right. Both are the same at k=1. `ordered` never rises with k, `set` may: 2, 1, 3 scores 0 at k=1 and 1/3 at k=2.
    The first k commits are misses. None where there are no other commits (n <= k).

    [ours] The bounds hold for every order inside the steps but need not be attained. Pessimistic counts the commits
    that are hits in every order, optimistic those that are hits in some order; where two of these would need the same
    place in their step, only one counts. (Ascending order gives no bound here: for streams served in turn it scores 0.)
    Raises InputError for k < 1, unknown `variant` or `ties`.
    """
    check_settings(k, ties)
    check_known("variant", variant, get_args(Variant))
    return mean_of(local_hits(Sequences.of(order), k, variant)[ties][0])


def random_baseline(length: int, k: int = 1) -> float:
    """Expected Global-ARness@k of a uniformly random order of `length` positions: mean of min(k, m) / m, m = 1..L.

    H_L / L at k=1 (H the harmonic number): .0073 at L=1024. Raises InputError for length < 1 or k < 1.
    """
    if length < 1:
        raise InputError(f"the random baseline needs a length of at least 1, got {length}")
    check_settings(k, "mean")
    return float(random_hits(length, k).mean())


def check_settings(k: int, ties: str) -> None:
    """Raise InputError for a k below 1 or unknown `ties`."""
    if not isinstance(k, Integral) or k < 1:
        raise InputError(f"k must be an integer of at least 1, got {k!r}")
    check_known("ties", ties, get_args(Ties))


# Hits: [S, n] how far each commit counts as a hit; a stage's value is the mean over its commits


def mean_of(hits: Floats) -> float | None:
    """The mean; None if there are no values, or if it is not a number."""
    mean = float(hits.mean()) if len(hits) else math.nan
    return None if math.isnan(mean) else mean


def global_hits(orders: Sequences, k: int, ties: Ties) -> Floats:
    """[S, n] chance that a position is among the k leftmost masked ones when it is committed.

    Masked to its left at that time are the A positions that it overtakes, and those of the B positions in its step that
    come after it. In a random order inside the step the latter are 0..B with equal chance, which gives clip(k - A, 0, B
    + 1) / (B + 1). Ascending order makes them 0 for all positions at once and descending order B, so both bounds are
    attained.
    """
    # A k beyond the length changes nothing, and may be too large for NumPy.
    room, together = min(k, orders.n) - orders.overtaken, orders.together
    if ties == "optimistic":
        return (room > 0).astype(float)
    if ties == "pessimistic":
        return (room > together).astype(float)
    return np.clip(room, 0, together + 1) / (together + 1)


def random_hits(length: int, k: int) -> Floats:
    """[length] chance of a Global@k hit at each commit of a random order."""
    masked = np.arange(length, 0, -1)
    return np.minimum(min(k, length), masked) / masked


def local_hits(orders: Sequences, k: int, variant: Variant, runs: "Runs | None" = None) -> dict[Ties, Floats]:
    """[S, n] chance (0 or 1 under a bound) of a Local@k hit at each position; nan where n <= k.

    runs  `possible_runs` of the same k, where they are known
    """
    if orders.n <= k:
        return dict.fromkeys(get_args(Ties), np.full(orders.group.shape, math.nan))
    runs = possible_runs(orders, k) if runs is None else runs
    if variant == "ordered":
        runs = runs.where(runs.rising)
    chances = _chances(orders, k, variant, runs)
    first = np.unique(_places(orders, k, runs), return_index=True)[1]
    possible = np.zeros(len(chances))
    possible[first] = 1
    hits = {"mean": chances, "optimistic": possible, "pessimistic": (chances == 1).astype(float)}
    return {ties: _at_the_ends(orders, runs, values) for ties, values in hits.items()}  # pyright: ignore


def _at_the_ends(orders: Sequences, runs: "Runs", values: Floats) -> Floats:
    hits = np.zeros(orders.group.shape)
    hits[runs.order, runs.end] = values
    return hits


class Runs(NamedTuple):
    """[m] each: runs p-k..p that some order inside the steps commits one after the other, with p last.

    `order` is which of the S it is in, `end` the index of p there, `first` and `last` the groups that the run begins
    and ends in, `a` and `b` how many of the run these two finalise, `rising` whether some order commits it from left to
    right.
    """

    order: Ints
    end: Ints
    first: Ints
    last: Ints
    a: Ints
    b: Ints
    rising: NDArray[np.bool_]

    def where(self, chosen: NDArray[np.bool_]) -> "Runs":
        """The chosen ones."""
        order, end, first, last, a, b, rising = self
        return Runs(
            order[chosen], end[chosen], first[chosen], last[chosen], a[chosen], b[chosen], rising[chosen]
        )  # fmt: skip


def possible_runs(orders: Sequences, k: int) -> Runs:
    """The runs whose p is in their last step and that contain the whole of every step between their first and last."""
    # [S, n - k] the groups of p-k, ..., p
    members = [orders.group[:, start : orders.n - k + start] for start in range(k + 1)]
    first, last = reduce(np.minimum, members), reduce(np.maximum, members)
    possible = (members[-1] == last) & (orders.positions[:, k:] - orders.positions[:, :-k] == k)
    order, start = np.nonzero(possible)
    # Most orders leave few runs, and only these need the expensive counts.
    first, last, *members = (values[order, start] for values in (first, last, *members))
    a, b = (np.sum([member == group for member in members], axis=0) for group in (first, last))
    whole = (first == last) | (a + b + orders.committed[order, last] - orders.committed[order, first + 1] == k + 1)
    rising = reduce(np.logical_and, (left <= right for left, right in pairwise(members)))
    found = Runs(order, start + k, first, last, a, b, rising)
    return found.where(whole)


def _chances(orders: Sequences, k: int, variant: Variant, runs: Runs) -> Floats:
    """[m] chance of each run in a random order inside the steps; exactly 1 where every order contains it.

    In one step of g: k! arrangements of p-k..p-1 and (g-k)! of this block and the rest, of g!. Over several steps:
    the last a of the first step (a! (g-a)! / g!), all of the steps between, and the first b of the last step, p being
    the b-th ((b-1)! (g-b)! / g!). `ordered` wants one of the arrangements of p-k..p-1.
    """
    order, _, first, last, a, b, _ = runs
    single = first == last
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, orders.n + 1)))])
    g, h = orders.size[order, first], orders.size[order, last]
    single_chance = log_factorial[k] + log_factorial[np.maximum(g - k, 0)] - log_factorial[g]
    head = log_factorial[a] + log_factorial[g - a] - log_factorial[g]
    tail = log_factorial[b - 1] + log_factorial[h - b] - log_factorial[h]
    log_chance = np.where(single, single_chance, head + tail)
    if variant == "ordered":
        arrangements = np.pad(np.cumsum(log_factorial[orders.size], axis=1), ((0, 0), (1, 0)))
        between = arrangements[order, last] - arrangements[order, first + 1]
        log_chance -= np.where(single, log_factorial[k], log_factorial[a] + between + log_factorial[b - 1])
    return np.exp(log_chance)


def _places(orders: Sequences, k: int, runs: Runs) -> Ints:
    """[m] a code for the place in its step that p must take; of the runs with the same code only one can happen.

    A run over several steps needs p at place b; a run inside one step can take several places.
    """
    inside = orders.n * (k + 1) + runs.end
    code = np.where(runs.first == runs.last, inside, runs.last * (k + 1) + runs.b)
    return code + runs.order * (orders.n * (k + 3))
