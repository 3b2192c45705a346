"""Every metric of one order in one report, and the means of many reports.

Does not decode, draw or compare models; `stats` has the intervals.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nap.common.files import InputError
from nap.data.trace import Trace
from nap.order.arness import Ties, check_settings, global_hits, local_hits, mean_of, random_hits
from nap.order.order import Order, order_of
from nap.order.rates import afp, kendall_tau_b, pairwise_arness, tpf

Report = dict[str, Any]

KS = (1, 2, 4, 8)
STAGES = ("first", "middle", "last")
SUFFIX: dict[Ties, str] = {"mean": "", "optimistic": "_optimistic", "pessimistic": "_pessimistic"}


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
        check_settings(k, "mean")
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
            hits[f"global_arness@{k}{suffix}"] = global_hits(order, k, ties)
            hits[f"local_arness@{k}{suffix}"] = local_hits(order, k, "set", ties)
        hits[f"local_arness_ordered@{k}"] = local_hits(order, k, "ordered", "mean")
        hits[f"global_arness@{k}_random"] = random = np.empty(len(order))
        random[order.by_step] = random_hits(len(order), k)
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
        **{name: mean_of(values[chosen]) for name, values in hits.items()},
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
