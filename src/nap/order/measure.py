"""Every metric of orders, many of them at a time.

    report = measure(trace)                      # report.whole.at(1).global_arness
    for report in measure_all(orders): ...       # the same numbers, a hundred times faster for short ones

Does not decode, draw or compare models; intervals are in common/stats.py.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from nap.data.trace import Trace
from nap.order.arness import Floats, Ties, check_settings, global_hits, local_hits, possible_runs, random_hits
from nap.order.means import mean_scores
from nap.order.order import Order, order_of
from nap.order.rates import neighbour_counts, pair_counts, shares_of, taus_of, tokens_per_query, tpf
from nap.order.scores import PLAIN, STAGES, Arness, Counts, Number, OrderReport, Scores
from nap.order.sequences import Ints, Sequences, by_length

KS = (1, 2, 4, 8)
POSITIONS = 1 << 17  # positions that are measured at a time


def measure(source: Order | Trace, ks: Sequence[int] = KS) -> OrderReport:
    """Every metric of one order; a trace is read by `order_of` (padding uncounted). Raises InputError for a k < 1."""
    return next(measure_all([source if isinstance(source, Order) else order_of(source)], ks))


def measure_all(orders: Iterable[Order], ks: Sequence[int] = KS) -> Iterator[OrderReport]:
    """`measure` of each order. Reads POSITIONS positions ahead."""
    for k in ks:
        check_settings(k, "mean")
    ks, block, held = tuple(dict.fromkeys(ks)), list[Order](), 0
    for order in orders:
        block.append(order)
        held += len(order) + 1
        if held >= POSITIONS:
            yield from _measured(block, ks)
            block, held = [], 0
    if block:
        yield from _measured(block, ks)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Slices:
    """Sequences of all lengths, one after the other: each is a slice of `positions` and `steps`.

    stage  which third of its run each position is in
    """

    positions: Ints
    steps: Ints
    stage: Ints
    start: Ints
    length: Ints


def _measured(orders: Sequence[Order], ks: tuple[int, ...]) -> list[OrderReport]:
    slices = _sliced(orders)
    wholes, stages, plain = len(orders), len(STAGES) * len(orders), len(PLAIN)
    numbers = np.full((len(slices.length), plain + len(Arness._fields) * len(ks)), np.nan)
    means = numbers[:, plain:]
    for length, members in by_length(slices.length).items():
        at = slices.start[members][:, None] + np.arange(length)
        sequences = Sequences(positions=slices.positions[at], steps=slices.steps[at])
        numbers[members, :plain] = _plain(sequences)
        scored = np.flatnonzero((members < wholes) | (members >= wholes + stages))
        if not length or not ks or not len(scored):
            continue
        part = Sequences(positions=sequences.positions[scored], steps=sequences.steps[scored])
        hits = _all_hits(part, ks)
        means[members[scored]] = hits.mean(axis=2).T
        _add_stages(means, wholes, members[scored], hits, slices.stage[at[scored]])
    return _reports(orders, [Scores(ks, row) for row in _rows(numbers)])


def _rows(numbers: Floats) -> list[list[Number]]:
    """Each row as Python numbers: nan becomes None, and the two counts that come first become whole numbers."""
    found = numbers.astype(object)
    found[np.isnan(numbers)] = None
    found[:, :2] = numbers[:, :2].astype(int)
    return found.tolist()


def _sliced(orders: Sequence[Order]) -> _Slices:
    """First the whole of each order, then its three stages, then its slots."""
    positions, steps, region = (
        np.concatenate([getattr(order, name) for order in orders]) for name in ("positions", "steps", "region")
    )
    lengths = np.array([len(order) for order in orders])
    owner = np.repeat(np.arange(len(orders)), lengths)
    n_steps = np.array([max(order.n_steps, 1) for order in orders])
    stage = 3 * steps // n_steps[owner]
    slots = [order.paths + 1 if order.paths else 0 for order in orders]
    first_slot = np.array([*accumulate(slots, initial=0)])
    has_slots = np.array(slots, bool)[owner]
    by_stage = np.argsort(owner * 3 + stage, kind="stable")
    slot = np.where(has_slots, first_slot[owner] + region, -1)
    by_slot = np.argsort(slot, kind="stable")[(~has_slots).sum() :]
    order = np.concatenate([np.arange(len(positions)), by_stage, by_slot])
    counts = [
        lengths,
        np.bincount(owner * 3 + stage, minlength=3 * len(orders)),
        np.bincount(slot[has_slots], minlength=first_slot[-1]),
    ]
    length = np.concatenate(counts)
    return _Slices(
        positions=positions[order], steps=steps[order], stage=stage[order], start=np.cumsum(length) - length,
        length=length,
    )  # fmt: skip


def _plain(sequences: Sequences) -> Floats:
    """[S, PLAIN] the numbers of `Scores` other than ARness; nan where there is none."""
    pairs, near = pair_counts(sequences), neighbour_counts(sequences)
    groups = sequences.groups.astype(float)
    n = np.full(len(groups), float(sequences.n))
    afp = np.divide(n, groups, out=np.full(len(n), np.nan), where=groups > 0)
    return np.stack([n, groups, afp, *taus_of(pairs), shares_of(pairs), shares_of(near)], axis=1)


def _all_hits(sequences: Sequences, ks: Sequence[int]) -> Floats:
    """[M, S, n] hits of every ARness, in the order of `Arness`, for each k."""
    hits: list[NDArray[np.float64]] = []
    for k in ks:
        runs = possible_runs(sequences, k) if sequences.n > k else None
        local = local_hits(sequences, k, "set", runs)
        for ties in get_args(Ties):
            hits += [global_hits(sequences, k, ties), local[ties]]
        random = np.empty(sequences.group.shape)
        np.put_along_axis(random, sequences.by_step, random_hits(sequences.n, k)[None], 1)
        hits += [local_hits(sequences, k, "ordered", runs)["mean"], random]
    return np.stack(hits)


def _add_stages(means: Floats, wholes: int, members: Ints, hits: Floats, stage: Ints) -> None:
    """For the whole orders among `members`, the means of hits [M, S, n] over the commits of each stage."""
    whole = np.flatnonzero(members < wholes)
    for number in range(len(STAGES)):
        chosen = stage[whole] == number
        for length, rows in by_length(chosen.sum(axis=1)).items():
            if length:
                # [M, rows, length]: the hits of this stage in each row.
                values = hits[:, whole[rows]][:, chosen[rows]].reshape(len(hits), len(rows), length)
                # Contiguous in memory, so that sums are rounded as those of each stage alone.
                values = np.ascontiguousarray(values)
                means[wholes + len(STAGES) * members[whole[rows]] + number] = values.mean(axis=2).T


def _reports(orders: Sequence[Order], scores: Sequence[Scores]) -> list[OrderReport]:
    found, slots = [], iter(scores[(1 + len(STAGES)) * len(orders) :])
    for i, order in enumerate(orders):
        counts = Counts(
            order.n_steps, order.n_edits, order.n_remasked, order.n_uncounted, order.forwards, tpf(order),
            order.queries, tokens_per_query(order), order.guide_calls,
        )  # fmt: skip
        start = len(orders) + len(STAGES) * i
        own = {"whole": scores[i], "counts": counts, "stages": tuple(scores[start : start + len(STAGES)])}
        if order.paths:
            paths = tuple(next(slots) for _ in range(order.paths))
            own |= {"paths": paths, "path_mean": mean_scores(paths), "summary": next(slots)}
        found.append(OrderReport(**own))
    return found
