"""The metrics of an order: ARness, Kendall's tau-b, AFP, TPF and AUP, and one report of them all.

- Steps that commit several tokens leave the order inside them open. `ties="mean"` is the expectation over a uniformly
  random order inside each step, in closed form for every metric (nothing is sampled); "optimistic" and "pessimistic"
  bound what any order inside the steps could give.
- A metric that nothing was measured for is None, never 0.

Letters: n counted positions, m runs of k + 1 of them, G steps that finalise something ("groups", numbered from 0).

Does not decode, draw or compare models; `stats` has the intervals.
"""

import math
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from nap.common.files import InputError
from nap.data.trace import Trace
from nap.order.order import Order, order_of

Ties = Literal["mean", "optimistic", "pessimistic"]
Variant = Literal["set", "ordered"]
Scope = Literal["global", "local"]
Report = dict[str, Any]

KS = (1, 2, 4, 8)
STAGES = ("first", "middle", "last")
SUFFIX: dict[Ties, str] = {"mean": "", "optimistic": "_optimistic", "pessimistic": "_pessimistic"}


def global_arness(order: Order, k: int = 1, ties: Ties = "mean") -> float | None:
    """Global-ARness@k: the share of commits that take one of the k leftmost positions still masked (0 to 1).

    2506.20639 App. A.2, 2602.23225 Eq. 2-3. Strict left to right gives 1 at k=1; never falls as k grows. Both bounds
    are attained: by the ascending and by the descending order inside every step. None for an empty order.
    Raises InputError for k < 1 or unknown `ties`. Compare with `random_baseline`.
    """
    _check(k, ties)
    return _mean(_global_hits(order, k, ties))


def local_arness(order: Order, k: int = 1, variant: Variant = "set", ties: Ties = "mean") -> float | None:
    """Local-ARness@k: the share of commits at some p right after the commits of p-k..p-1 (0 to 1).

    `set` (2506.20639 App. A.2) lets these k come in any order, `ordered` (its Fig. 3) wants them left to right. Both
    are the same at k=1. `ordered` never rises with k; `set` may: 2, 1, 3 scores 0 at k=1 and 1/3 at k=2. The first k
    commits are misses; None where there is nothing else (n <= k).

    [ours] The bounds hold for every order inside the steps but need not be attained. Pessimistic counts the commits
    that every order makes a hit, optimistic those that some order does, where of two that would both have to be the
    same one of their step only one counts. (Ascending order is no bound here: for streams served in turn it scores 0.)
    Raises InputError for k < 1, unknown `variant` or `ties`.
    """
    _check(k, ties)
    _check_known("variant", variant, Variant)
    return _mean(_local_hits(order, k, variant, ties))


def random_baseline(length: int, k: int = 1) -> float:
    """Expected Global-ARness@k of a uniformly random order of `length` positions: mean of min(k, m) / m, m = 1..L.

    H_L / L at k=1 (H the harmonic number): .0073 at L=1024. Raises InputError for length < 1 or k < 1.
    """
    if length < 1:
        raise InputError(f"the random baseline needs a length of at least 1, got {length}")
    _check(k, "mean")
    return float(_random_hits(length, k).mean())


def pairwise_arness(order: Order, scope: Scope = "global", ties: Ties = "mean") -> float | None:
    """Share of pairs of positions whose left one is finalised first (0 to 1); a random order gives .5.

    What dQwen3.5 (2609.20751) calls ARness; not comparable to `global_arness` and `local_arness`. `global` takes all
    pairs, `local` those of canvas neighbours p, p+1. A pair inside one step counts .5 ("mean"), 1 or 0. None where
    there is no pair. Raises InputError for unknown `scope` or `ties`.
    """
    _check(1, ties)
    _check_known("scope", scope, Scope)
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


def _check(k: int, ties: str) -> None:
    if not isinstance(k, Integral) or k < 1:
        raise InputError(f"k must be an integer of at least 1, got {k!r}")
    _check_known("ties", ties, Ties)


def _check_known(name: str, value: str, kind: Any) -> None:
    if value not in get_args(kind):
        raise InputError(f"unknown {name} {value!r}; known: {', '.join(get_args(kind))}")


# Hits: [n] how far each commit counts, so that a stage's value is a mean over its commits


def _mean(hits: NDArray[np.float64]) -> float | None:
    """The mean; None of nothing and of nan."""
    mean = float(hits.mean()) if len(hits) else math.nan
    return None if math.isnan(mean) else mean


def _global_hits(order: Order, k: int, ties: Ties) -> NDArray[np.float64]:
    """[n] chance that a position is among the k leftmost masked ones when it is committed.

    Masked to its left are then all A that it overtakes, and of the B that share its step those that come after it. In
    a random order these are 0..B with equal chance: clip(k - A, 0, B + 1) / (B + 1). Ascending order makes them 0 for
    all positions at once, descending B, so both bounds are attained.
    """
    room, together = k - order.overtaken, order.together
    if ties == "optimistic":
        return (room > 0).astype(float)
    if ties == "pessimistic":
        return (room > together).astype(float)
    return np.clip(room, 0, together + 1) / (together + 1)


def _random_hits(length: int, k: int) -> NDArray[np.float64]:
    """[length] chance of a Global@k hit at each commit of a random order."""
    masked = np.arange(length, 0, -1)
    return np.minimum(k, masked) / masked


def _local_hits(order: Order, k: int, variant: Variant, ties: Ties) -> NDArray[np.float64]:
    """[n] chance, or under a bound 0 or 1, of a Local@k hit at each position; nan if there are no more than k."""
    if len(order) <= k:
        return np.full(len(order), math.nan)
    hits = np.zeros(len(order))
    runs = _possible_runs(order, k, variant)
    if ties == "optimistic":
        hits[runs.end[np.unique(_places(order, k, runs), return_index=True)[1]]] = 1
    else:
        chances = _chances(order, k, variant, runs)
        hits[runs.end] = chances if ties == "mean" else chances == 1
    return hits


class _Runs(NamedTuple):
    """[m] each: runs p-k..p that some order inside the steps commits one after the other, p last.

    `end` is the index of p in the order, `first` and `last` the groups that the run begins and ends in, `a` and `b`
    how many of the run these two finalise.
    """

    end: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    a: NDArray[np.int64]
    b: NDArray[np.int64]


def _possible_runs(order: Order, k: int, variant: Variant) -> _Runs:
    """The runs whose p is in their last step and that leave nothing out of the steps between their first and last."""
    windows = np.lib.stride_tricks.sliding_window_view(order.group, k + 1)
    first, last = windows.min(axis=1), windows.max(axis=1)
    a, b = (windows == first[:, None]).sum(axis=1), (windows == last[:, None]).sum(axis=1)
    committed = np.concatenate([[0], np.cumsum(order.size)])
    whole = (first == last) | (a + b + committed[last] - committed[first + 1] == k + 1)
    possible = whole & (windows[:, -1] == last) & (order.positions[k:] - order.positions[:-k] == k)
    if variant == "ordered":
        possible &= (np.diff(windows, axis=1) >= 0).all(axis=1)
    start = np.flatnonzero(possible)
    return _Runs(start + k, first[start], last[start], a[start], b[start])


def _chances(order: Order, k: int, variant: Variant, runs: _Runs) -> NDArray[np.float64]:
    """[m] chance of each run in a random order inside the steps; exactly 1 where every order has it.

    In one step of g: k! arrangements of p-k..p-1 and (g-k)! of this block and the rest, of g!. Over several steps:
    the last a of the first step (a! (g-a)! / g!), all of the steps between, and the first b of the last step, p being
    the b-th ((b-1)! (g-b)! / g!). `ordered` wants one of the arrangements of p-k..p-1.
    """
    _, first, last, a, b = runs
    single = first == last
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, len(order) + 1)))])
    g, h = order.size[first], order.size[last]
    single_chance = log_factorial[k] + log_factorial[np.maximum(g - k, 0)] - log_factorial[g]
    head = log_factorial[a] + log_factorial[g - a] - log_factorial[g]
    tail = log_factorial[b - 1] + log_factorial[h - b] - log_factorial[h]
    log_chance = np.where(single, single_chance, head + tail)
    if variant == "ordered":
        arrangements = np.concatenate([[0.0], np.cumsum(log_factorial[order.size])])
        between = arrangements[last] - arrangements[first + 1]
        log_chance -= np.where(single, log_factorial[k], log_factorial[a] + between + log_factorial[b - 1])
    return np.exp(log_chance)


def _places(order: Order, k: int, runs: _Runs) -> NDArray[np.int64]:
    """[m] codes of which one of its step p must be; of the runs with one code only one can come true.

    A run over several steps needs p at b; inside one step every run has places to choose from.
    """
    inside = len(order.size) * (k + 1) + runs.end
    return np.where(runs.first == runs.last, inside, runs.last * (k + 1) + runs.b)


# Reports


def measure(source: Order | Trace, ks: Sequence[int] = KS) -> Report:
    """Every metric of one order as JSON-ready nested dicts; a trace is read by `order_of` (padding uncounted).

    Top level: n_tokens, n_steps (of the run), n_edits, n_remasked, n_uncounted, tpf, and the scores of the whole order:
    n_finalising_steps, afp, tau_b, tied_share, pairwise_global, pairwise_local, and for each k global_arness@k and
    local_arness@k, each with _optimistic and _pessimistic beside it, global_arness@k_random, local_arness_ordered@k.

    per_stage   first, middle, last: the scores of thirds of the run by step index (step s of S is in third 3s // S).
                [ours] ARness and its baseline average the whole order's hits over a stage's commits (so stages average
                to the whole); the others take the stage's positions as a sequence of their own
    per_path    "1".."P": the scores of each path as a sequence of its own, numbered as the canvas headers are
    path_mean   the mean of these over the paths that have a value
    summary     likewise the summary's. A bare order has none of these three

    Raises InputError for a k below 1.
    """
    for k in ks:
        _check(k, "mean")
    order = source if isinstance(source, Order) else order_of(source)
    counts = {name: getattr(order, name) for name in ("n_steps", "n_edits", "n_remasked", "n_uncounted", "forwards")}
    hits = _all_hits(order, ks)
    third = 3 * order.steps // max(order.n_steps, 1)
    stages = {name: _scores(order, hits, third == number) for number, name in enumerate(STAGES)}
    report = {**_scores(order, hits, third >= 0), **counts, "tpf": tpf(order), "per_stage": stages}
    if order.paths:
        slots = [order.where(order.region == code) for code in range(order.paths + 1)]
        *paths, summary = [_scores(slot, _all_hits(slot, ks), slot.steps >= 0) for slot in slots]
        per_path = {str(number): scores for number, scores in enumerate(paths, 1)}
        report |= {"per_path": per_path, "path_mean": _average(paths)[0], "summary": summary}
    return report


def _all_hits(order: Order, ks: Sequence[int]) -> dict[str, NDArray[np.float64]]:
    """[n] hits of every ARness by the name it has in a report."""
    hits = {}
    for k in ks:
        for ties, suffix in SUFFIX.items():
            hits[f"global_arness@{k}{suffix}"] = _global_hits(order, k, ties)
            hits[f"local_arness@{k}{suffix}"] = _local_hits(order, k, "set", ties)
        hits[f"local_arness_ordered@{k}"] = _local_hits(order, k, "ordered", "mean")
        hits[f"global_arness@{k}_random"] = random = np.empty(len(order))
        random[order.by_step] = _random_hits(len(order), k)
    return hits


def _scores(order: Order, hits: Mapping[str, NDArray[np.float64]], chosen: NDArray[np.bool_]) -> Report:
    """The scores of the chosen commits ([n] bool)."""
    part = order.where(chosen)
    return {
        "n_tokens": len(part),
        "n_finalising_steps": len(part.size),
        "afp": afp(part),
        **kendall_tau_b(part)._asdict(),
        "pairwise_global": pairwise_arness(part, "global"),
        "pairwise_local": pairwise_arness(part, "local"),
        **{name: _mean(values[chosen]) for name, values in hits.items()},
    }


def aggregate(reports: Sequence[Report], correct: Sequence[bool | None] | None = None) -> Report:
    """The mean over traces of every number in their reports, of all and, given `correct`, of right and wrong answers.

    Each of `all`, `right`, `wrong` has `n_traces`, `mean` (shaped as a report) and `counted` (same shape: how many
    traces had the number; None and nan do not count, and a mean of none is None). A trace whose `correct` is None is
    in `all` only. Raises InputError if `correct` is not as long as `reports`.
    """
    if correct is None:
        return {"all": _summary(reports)}
    if len(correct) != len(reports):
        raise InputError(f"aggregate got {len(reports)} reports but {len(correct)} answers' correctness")
    split = {
        name: [report for report, was in zip(reports, correct, strict=True) if was is not None and bool(was) == wanted]
        for name, wanted in (("right", True), ("wrong", False))
    }
    return {"all": _summary(reports), **{name: _summary(chosen) for name, chosen in split.items()}}


def _summary(reports: Sequence[Report]) -> Report:
    mean, counted = _average(reports)
    return {"n_traces": len(reports), "mean": mean, "counted": counted}


def _average(reports: Sequence[Report]) -> tuple[Report, Report]:
    """(mean, how many had a value) of every number, in the reports' shape; texts and truth values are dropped."""
    mean, counted = {}, {}
    for key in dict.fromkeys(key for report in reports for key in report):
        values = [report[key] for report in reports if report.get(key) is not None]
        if values and isinstance(values[0], dict):
            mean[key], counted[key] = _average(values)
        elif not values or not isinstance(values[0], (str, bool)):
            numbers = [value for value in values if not math.isnan(value)]
            mean[key] = math.fsum(numbers) / len(numbers) if numbers else None
            counted[key] = len(numbers)
    return mean, counted
