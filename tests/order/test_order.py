"""What the order metrics must be: closed forms against brute force over every order, and known answers."""

import itertools
import json
import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from nap.common.files import InputError
from nap.data.trace import COMMIT, EDIT, FILL, HEADER, OUTSIDE, PROMPT, REMASK, Event, Trace, check_trace
from nap.order.arness import Ties, global_arness, local_arness, random_baseline
from nap.order.means import Aggregate, ExactSum
from nap.order.measure import KS, measure, measure_all
from nap.order.order import Order, bare_order, order_of, read_orders
from nap.order.rates import afp, aup, kendall_tau_b, pairwise_arness, tpf

MASK, PAD, TEXT = 0, 9, 5


# Brute force, written from the definitions alone


def global_by_definition(sequence, k):
    hits, masked = 0, set(sequence)
    for p in sequence:
        hits += p in sorted(masked)[:k]
        masked.remove(p)
    return hits / len(sequence)


def local_by_definition(sequence, k, variant):
    hits = 0
    for c in range(k, len(sequence)):
        before, wanted = sequence[c - k : c], [sequence[c] - i for i in range(k, 0, -1)]
        hits += list(before) == wanted if variant == "ordered" else set(before) == set(wanted)
    return hits / len(sequence)


def pairs_by_definition(sequence, neighbours):
    pairs = [(a, b) for a, b in itertools.combinations(sorted(sequence), 2) if b - a == 1 or not neighbours]
    return np.mean([sequence.index(a) < sequence.index(b) for a, b in pairs])


@cache
def tie_groups(positions):
    """{steps by position: all sequences that differ inside steps only}, over all ordered set partitions."""
    groups = defaultdict(list)
    n = len(positions)
    for sequence in itertools.permutations(positions):
        for cuts in itertools.product((0, 1), repeat=n - 1):
            step = dict(zip(sequence, itertools.accumulate(cuts, initial=0), strict=True))
            groups[tuple(step[p] for p in positions)].append(sequence)
    return groups


LAYOUTS = [(0,), (3, 4), (0, 1, 2), (0, 1, 2, 3), (0, 1, 3, 4), (0, 1, 2, 3, 4), (5, 6, 7, 9, 10)]


@cache
def every_tied_order():
    """(order, all sequences that it leaves open) of every ordered set partition of every layout."""
    return [
        (bare_order(list(zip(positions, steps, strict=True))), sequences)
        for positions in LAYOUTS
        for steps, sequences in tie_groups(positions).items()
    ]


def order_at(steps):
    return bare_order(list(enumerate(steps)))


def left_to_right(n):
    return order_at(range(n))


def known(values: Iterable[float | None]) -> list[float]:
    """Numbers that must all be there."""
    found = list(values)
    assert None not in found
    return [value for value in found if value is not None]


def scipys_tau(first, second) -> float:
    found: Any = tuple(kendalltau(first, second))
    return float(found[0])


def streams(paths, length):
    """Paths laid side by side, one token a step, served in turn."""
    return bare_order([(j * length + i, i * paths + j) for j in range(paths) for i in range(length)])


random_steps = st.lists(st.integers(0, 12), min_size=1, max_size=40)
random_pairs = st.dictionaries(st.integers(0, 60), st.integers(0, 30), min_size=1, max_size=40).map(
    lambda steps: [list(item) for item in steps.items()]
)


def test_brute_force_covers_every_ordered_set_partition_and_every_order():
    groups = tie_groups((0, 1, 2, 3))
    assert len(groups) == 75  # Fubini number
    assert sum(map(len, groups.values())) == 24 * 8
    assert all(len(s) == math.prod(map(math.factorial, Counter(steps).values())) for steps, s in groups.items())


@pytest.mark.parametrize("k", range(1, 6))
def test_global_arness_is_the_mean_over_orders_and_its_bounds_are_the_extremes(k):
    for order, sequences in every_tied_order():
        values = [global_by_definition(sequence, k) for sequence in sequences]
        assert global_arness(order, k) == pytest.approx(np.mean(values))
        assert global_arness(order, k, "optimistic") == pytest.approx(max(values))
        assert global_arness(order, k, "pessimistic") == pytest.approx(min(values))


@pytest.mark.parametrize("variant", ["set", "ordered"])
@pytest.mark.parametrize("k", range(1, 5))
def test_local_arness_is_the_mean_over_orders_and_its_bounds_hold(k, variant):
    attained = 0
    for order, sequences in every_tied_order():
        if len(order) <= k:
            assert local_arness(order, k, variant) is None
            continue
        values = [local_by_definition(sequence, k, variant) for sequence in sequences]
        low, high = (local_arness(order, k, variant, ties) for ties in ("pessimistic", "optimistic"))
        assert local_arness(order, k, variant) == pytest.approx(np.mean(values))
        assert low is not None and high is not None
        assert low <= min(values) + 1e-12
        assert high >= max(values) - 1e-12
        attained += low == pytest.approx(min(values)) and high == pytest.approx(max(values))
        if len(sequences) == 1:
            assert low == pytest.approx(high)
    # Not always attained, as documented, but a bound that is rarely attained would be of no use.
    assert attained > 0.9 * sum(len(order) > k for order, _ in every_tied_order())


def test_closed_forms_hold_for_six_positions_in_steps_of_several():
    for steps, sequences in list(tie_groups((0, 1, 2, 3, 4, 5)).items())[::29]:
        order = order_at(steps)
        for k in (1, 2, 3):
            assert global_arness(order, k) == pytest.approx(np.mean([global_by_definition(s, k) for s in sequences]))
            for variant in ("set", "ordered"):
                mean = np.mean([local_by_definition(s, k, variant) for s in sequences])
                assert local_arness(order, k, variant) == pytest.approx(mean)


def test_local_set_and_ordered_agree_at_one_and_not_at_two():
    assert all(local_arness(o, 1, "set") == local_arness(o, 1, "ordered") for o, _ in every_tied_order() if len(o) > 1)
    order = order_at([1, 0, 2])  # commits 1, 0, 2
    assert local_arness(order, 2, "set") == pytest.approx(1 / 3)
    assert local_arness(order, 2, "ordered") == 0


def test_local_set_may_rise_with_k():
    order = order_at([1, 0, 2])
    assert local_arness(order, 1) == 0
    assert local_arness(order, 2) == pytest.approx(1 / 3)


def test_ascending_order_is_no_bound_of_local_arness():
    order = bare_order(
        [(j * 10 + i, i) for j in range(3) for i in range(10)]
    )  # three streams, one token of each a step
    ascending = bare_order([(p, i) for i, p in enumerate(p for s in range(10) for p in (s, 10 + s, 20 + s))])
    assert local_arness(ascending) == 0
    assert local_arness(order) == pytest.approx(9 * 3 * (1 / 9) / 30)
    assert local_arness(order, ties="optimistic") == pytest.approx(9 / 30)  # one link between steps, not three


@pytest.mark.parametrize("scope", ["global", "local"])
def test_pairwise_arness_is_the_mean_over_orders_and_its_bounds_are_the_extremes(scope):
    for order, sequences in every_tied_order()[1:]:  # the first has one position and no pair
        values = [pairs_by_definition(sequence, scope == "local") for sequence in sequences]
        assert pairwise_arness(order, scope) == pytest.approx(np.mean(values))
        assert pairwise_arness(order, scope, "optimistic") == pytest.approx(max(values))
        assert pairwise_arness(order, scope, "pessimistic") == pytest.approx(min(values))


def test_pairwise_arness_of_random_orders_averages_one_half():
    for scope in ("global", "local"):
        values = [pairwise_arness(order_at(steps), scope) for steps in itertools.permutations(range(5))]
        assert np.mean(known(values)) == pytest.approx(0.5)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("k", [1, 2, 3, 7])
def test_random_baseline_is_the_mean_over_all_orders(n, k):
    values = [global_by_definition(sequence, k) for sequence in itertools.permutations(range(n))]
    assert random_baseline(n, k) == pytest.approx(np.mean(values))


def test_random_baseline_at_one_is_the_harmonic_number_over_the_length():
    assert random_baseline(1024) == pytest.approx(sum(1 / m for m in range(1, 1025)) / 1024)
    assert round(random_baseline(1024), 4) == 0.0073


def test_everything_in_one_step_scores_the_random_baseline():
    assert global_arness(order_at([0] * 50), 3) == pytest.approx(random_baseline(50, 3))


# Known answers


@pytest.mark.parametrize("k", [1, 2, 8])
def test_left_to_right_scores_one_and_right_to_left_almost_nothing(k):
    n = 64
    assert global_arness(left_to_right(n), k) == 1
    assert local_arness(left_to_right(n), k) == (n - k) / n
    assert global_arness(order_at(range(n)[::-1]), k) == k / n
    assert local_arness(order_at(range(n)[::-1]), k) == 0


def test_three_streams_of_330_served_in_turn_score_a_third_and_each_stream_one():
    order = streams(3, 330)
    assert global_arness(order) == pytest.approx(332 / 990)
    (share,) = known([global_arness(order)])
    assert round(share, 3) == 0.335
    assert local_arness(order) == 0
    assert all(global_arness(order.where(order.positions // 330 == j)) == 1 for j in range(3))


@given(random_pairs)
def test_global_rises_and_ordered_local_falls_with_k(pairs):
    order = bare_order(pairs)
    rising = known(global_arness(order, k) for k in range(1, len(order) + 1))
    falling = known(local_arness(order, k, "ordered") for k in range(1, len(order)))
    assert all(b >= a - 1e-12 for a, b in itertools.pairwise(rising))
    assert all(b <= a + 1e-12 for a, b in itertools.pairwise(falling))
    assert rising[-1] == 1


@given(random_pairs, st.integers(1, 6), st.sampled_from(["set", "ordered"]))
def test_the_mean_lies_between_the_bounds(pairs, k, variant):
    order = bare_order(pairs)
    metrics = [lambda ties: global_arness(order, k, ties), lambda ties: pairwise_arness(order, "global", ties)]
    metrics.append(lambda ties: local_arness(order, k, variant, ties))
    for metric in metrics:
        low, mean, high = metric("pessimistic"), metric("mean"), metric("optimistic")
        if mean is not None:
            assert low is not None and high is not None and low - 1e-12 <= mean <= high + 1e-12


@given(random_pairs, st.integers(1, 9))
def test_only_the_ranks_of_steps_matter_and_a_shift_of_the_positions_does_not(pairs, stretch):
    moved = bare_order([(position + 7, step * stretch + 3) for position, step in pairs])
    order = bare_order(pairs[::-1])
    for metric in (global_arness, local_arness, afp, kendall_tau_b, pairwise_arness):
        assert metric(moved) == metric(order)


@given(random_steps)
def test_tau_b_and_tied_share_match_scipy_and_the_count_of_pairs(steps):
    tau, tied = kendall_tau_b(order_at(steps))
    expected = scipys_tau(range(len(steps)), steps) if len(set(steps)) > 1 else math.nan
    assert tau is None if math.isnan(expected) else tau == pytest.approx(expected)
    pairs = list(itertools.combinations(steps, 2))
    assert tied == (pytest.approx(np.mean([a == b for a, b in pairs])) if pairs else None)


def test_tau_b_of_a_long_order_matches_scipy():
    steps = np.random.default_rng(0).integers(0, 300, 3001)
    assert kendall_tau_b(order_at(steps.tolist())).tau_b == pytest.approx(scipys_tau(range(3001), steps))


def test_afp_is_one_left_to_right_and_n_in_one_step_and_skips_empty_steps():
    assert afp(left_to_right(10)) == 1
    assert afp(order_at([4] * 10)) == 10
    assert afp(order_at([0, 0, 7, 7])) == 2


def test_aup_of_one_point_is_its_rectangle_and_of_two_adds_the_weighted_trapezoid():
    assert aup([(2.0, 80.0)], 80) == 160
    # W(76) = exp(-3 (1 - 76/80)) = exp(-.15), W(80) = 1
    assert aup([(3.0, 76.0), (1.0, 80.0)], 80) == pytest.approx(80 + 0.5 * 2 * (76 * math.exp(-0.15) + 80))


def test_aup_drops_points_more_than_five_points_below_the_slowest_wherever_they_stand():
    w75, w79 = 75 * math.exp(-3 * 5 / 80), 79 * math.exp(-3 / 80)
    kept = 80 + 0.5 * 2 * (80 + w75) + 0.5 * 1 * (w75 + w79)
    assert aup([(1, 80), (2, 74.9), (3, 75), (4, 79), (9, 10)], 80) == pytest.approx(kept)


def test_aup_never_rewards_beating_the_best_accuracy():
    assert aup([(1, 60), (2, 60)], 50) == pytest.approx(120)


def test_aup_takes_the_best_of_equal_speeds_first():
    assert aup([(1, 74), (1, 80)], 80) == 80


@pytest.mark.parametrize(
    ("points", "y_max", "message"),
    [
        ([], 80, "at least one"),
        ([(0, 50)], 80, "above 0"),
        ([(1, -2)], 80, "percentage"),
        ([(1, 101)], 80, "percentage"),
        ([(math.nan, 50)], 80, "above 0"),
        ([(1, math.nan)], 80, "percentage"),
        ([(1, 0.7)], 0.8, "fraction"),
        ([(1, 70)], math.nan, "percentage"),
    ],
)
def test_aup_refuses_what_is_not_tpf_and_per_cent(points, y_max, message):
    with pytest.raises(InputError, match=message):
        aup(points, y_max)


@pytest.mark.parametrize("k", [3, 2**63, 2**64])
def test_a_k_of_any_size_beyond_the_length_counts_every_commit_as_a_hit(k):
    order = left_to_right(3)
    assert measure(order, ks=(k,))[f"global_arness@{k}"] == global_arness(order, k) == random_baseline(3, k) == 1


def test_unmeasured_is_none_and_never_zero():
    one, empty = order_at([3]), left_to_right(3).where(np.zeros(3, bool))
    assert kendall_tau_b(one) == (None, None)
    assert kendall_tau_b(order_at([2, 2])) == (None, 1)
    assert local_arness(one) is None
    assert local_arness(left_to_right(4), 4) is None
    assert pairwise_arness(one) is None
    assert pairwise_arness(bare_order([(0, 0), (2, 1)]), "local") is None
    assert global_arness(one) == 1
    assert [global_arness(empty), local_arness(empty), afp(empty), tpf(empty)] == [None] * 4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda order: global_arness(order, 0), "k must be"),
        (lambda order: local_arness(order, 1.5), "k must be"),  # pyright: ignore[reportArgumentType]
        (
            lambda order: global_arness(order, ties="best"),  # pyright: ignore[reportArgumentType]
            "unknown ties 'best'; known: mean, optimistic, pessimistic",
        ),
        (
            lambda order: local_arness(order, variant="sorted"),  # pyright: ignore[reportArgumentType]
            "unknown variant 'sorted'; did you mean 'ordered'. known: set, ordered",
        ),
        (
            lambda order: pairwise_arness(order, "all"),  # pyright: ignore[reportArgumentType]
            "unknown scope 'all'; known: global, local",
        ),
        (lambda order: measure(order, ks=(0,)), "k must be"),
        (lambda order: random_baseline(0), "length"),
    ],
)
def test_a_wrong_argument_is_named_with_what_is_allowed(call, message):
    with pytest.raises(InputError, match=message):
        call(left_to_right(3))


# Traces


def report_of(source: Order | Trace, ks: Sequence[int] = KS) -> dict[str, Any]:
    return measure(source, ks).json()


def event(step, position, kind=COMMIT, token=TEXT):
    return Event(step, kind, position, token, math.nan)


def trace_of(region, *events, forwards=4):
    initial = tuple(1 if code < 0 else MASK for code in region)
    return check_trace(
        Trace(
            problem_id="p", initial=initial, region=tuple(region), events=events, forwards=forwards, mask_id=MASK,
            uncounted=(PAD,),
        )
    )  # fmt: skip


def pairs_of(order):
    return list(zip(order.positions.tolist(), order.steps.tolist(), strict=True))


def test_a_trace_counts_only_slot_positions_that_the_model_finalised():
    region = [PROMPT, HEADER, 0, 0, HEADER, 1, 1, HEADER, 2, 2, OUTSIDE]
    trace = trace_of(region, event(0, 2), event(0, 6), event(1, 5), event(2, 3, FILL), event(3, 8))
    order = order_of(trace)
    assert pairs_of(order) == [(2, 0), (5, 1), (6, 0), (8, 3)]
    assert order.region.tolist() == [0, 1, 1, 2]
    assert (order.paths, order.n_steps, order.n_uncounted) == (2, 4, 1)
    assert order_of(trace, count_padding=True).n_uncounted == 1  # a fill asked no model


def test_padding_is_left_out_unless_asked_for():
    trace = trace_of([0, 0, 0], event(0, 2, token=PAD), event(1, 0), event(2, 1))
    assert pairs_of(order_of(trace)) == [(0, 1), (1, 2)]
    assert order_of(trace).n_uncounted == 1
    assert pairs_of(order_of(trace, count_padding=True)) == [(0, 1), (1, 2), (2, 0)]
    assert global_arness(order_of(trace)) == 1
    assert global_arness(order_of(trace, count_padding=True)) == pytest.approx(2 / 3)


def test_a_remasked_position_counts_at_its_last_commit_and_only_if_it_has_one():
    trace = trace_of(
        [0, 0, 0], event(0, 0), event(0, 1), event(1, 0, REMASK), event(1, 1, REMASK), event(2, 1), event(3, 2)
    )
    order = order_of(trace)
    assert pairs_of(order) == [(1, 2), (2, 3)]
    assert (order.n_remasked, order.n_uncounted) == (2, 0)
    filled = trace_of([0, 0], event(0, 0), event(1, 0, REMASK), event(2, 0, FILL), event(2, 1))
    assert pairs_of(order_of(filled)) == [(1, 2)]
    refilled = trace_of([0], event(0, 0, FILL), event(1, 0, REMASK), event(2, 0))
    assert pairs_of(order_of(refilled)) == [(0, 2)]
    assert order_of(refilled).n_uncounted == 0


def test_a_header_that_an_imported_trace_generates_does_not_count():
    trace = Trace(
        problem_id="p", initial=(MASK, MASK), region=(HEADER, 0), events=(event(0, 1), event(1, 0)), forwards=2,
        mask_id=MASK,
    )  # fmt: skip
    assert pairs_of(order_of(check_trace(trace))) == [(1, 0)]


def test_an_edit_does_not_move_a_position_and_decides_whether_it_is_padding():
    trace = trace_of(
        [0, 0, 0], event(0, 0), event(0, 1, token=PAD), event(1, 2), event(2, 0, EDIT, 6), event(3, 1, EDIT, 6),
        event(4, 2, EDIT, PAD),
    )  # fmt: skip
    order = order_of(trace)
    assert pairs_of(order) == [(0, 0), (1, 0)]
    assert (order.n_edits, order.n_uncounted, order.n_steps) == (3, 1, 5)


def test_a_canvas_without_a_summary_has_one_path():
    report = report_of(trace_of([PROMPT, 0, 0], event(0, 1), event(1, 2)))
    assert list(report["per_path"]) == ["1"]
    assert report["per_path"]["1"]["global_arness@1"] == 1
    assert report["summary"]["n_tokens"] == 0


def test_afp_is_never_below_tpf_when_every_step_costs_a_forward():
    trace = trace_of([0, 0, 0, 0], event(0, 3, token=PAD), event(1, 0), event(1, 1), event(2, 2), forwards=3)
    assert tpf(order_of(trace)) == 1
    assert afp(order_of(trace)) == 1.5


def three_paths():
    """Paths of 8 tokens, left to right and served in turn; then a summary of 4 from right to left."""
    region = [PROMPT, HEADER, *[0] * 8, HEADER, *[1] * 8, HEADER, *[2] * 8, HEADER, *[3] * 4]
    slots = [[p for p, code in enumerate(region) if code == j] for j in range(4)]
    sequence = [slots[j][i] for i in range(8) for j in range(3)] + slots[3][::-1]
    return trace_of(region, *(event(s, p) for s, p in enumerate(sequence)), forwards=len(sequence))


def test_the_report_keeps_paths_and_summary_apart():
    report = report_of(three_paths())
    assert report["n_tokens"] == 28
    assert list(report["per_path"]) == ["1", "2", "3"]
    assert [scores["global_arness@1"] for scores in report["per_path"].values()] == [1, 1, 1]
    assert report["path_mean"]["global_arness@1"] == 1
    assert report["path_mean"]["local_arness@2"] == 6 / 8
    assert report["summary"]["global_arness@1"] == 1 / 4
    assert report["summary"]["tau_b"] == -1
    assert report["global_arness@1"] == pytest.approx((8 + 2 + 1) / 28)
    assert report["tpf"] == report["afp"] == 1


@given(random_pairs)
@settings(max_examples=30)
def test_stages_average_to_the_whole(pairs):
    report = report_of(bare_order(pairs), ks=(1, 3))
    stages = [stage for stage in report["per_stage"].values() if stage["n_tokens"]]
    assert sum(stage["n_tokens"] for stage in stages) == report["n_tokens"]
    for name in ("global_arness@1", "global_arness@3_random", "local_arness@3", "local_arness@1_optimistic"):
        if report[name] is not None:
            mean = sum(stage["n_tokens"] * stage[name] for stage in stages) / report["n_tokens"]
            assert mean == pytest.approx(report[name])


def test_stages_are_thirds_of_the_run_by_step():
    trace = trace_of([0] * 6, *(event(s, p) for s, p in ((0, 0), (0, 1), (1, 5), (2, 2), (2, 3), (5, 4))))
    stages = report_of(trace, ks=(1,))["per_stage"]
    assert [stage["n_tokens"] for stage in stages.values()] == [3, 2, 1]
    assert stages["first"]["tau_b"] == pytest.approx(scipys_tau([0, 1, 5], [0, 0, 1]))
    assert stages["last"]["tau_b"] is None
    baselines = [stage["global_arness@1_random"] for stage in stages.values()]
    assert baselines == pytest.approx([(1 / 6 + 1 / 5 + 1 / 4) / 3, (1 / 3 + 1 / 2) / 2, 1])
    assert stages["last"]["global_arness@1"] == 1


TIES: dict[str, Ties] = {"": "mean", "_optimistic": "optimistic", "_pessimistic": "pessimistic"}


def test_a_report_is_the_functions_it_is_made_of_and_plain_json():
    order = bare_order([(0, 3), (1, 1), (2, 1), (5, 0), (6, 0), (7, 2)])
    report = json.loads(json.dumps(report_of(order, ks=(1, 2)), allow_nan=False))
    for k in (1, 2):
        for suffix, ties in TIES.items():
            assert report[f"global_arness@{k}{suffix}"] == pytest.approx(global_arness(order, k, ties))
            assert report[f"local_arness@{k}{suffix}"] == pytest.approx(local_arness(order, k, "set", ties))
        assert report[f"local_arness_ordered@{k}"] == pytest.approx(local_arness(order, k, "ordered"))
        assert report[f"global_arness@{k}_random"] == pytest.approx(random_baseline(6, k))
    assert report["n_finalising_steps"] == report["n_steps"] == 4
    assert report["tpf"] is None
    assert report["pairwise_local"] == pairwise_arness(order, "local")
    assert "per_path" not in report


def test_measuring_an_empty_trace_gives_none_not_zero():
    report = report_of(trace_of([PROMPT, 0, 1]))
    assert report["n_tokens"] == report["n_steps"] == 0
    assert report["global_arness@1"] is report["afp"] is report["tau_b"] is report["tied_share"] is None
    assert report["per_stage"]["last"]["local_arness@1_pessimistic"] is None


def test_a_trace_of_1024_tokens_is_measured_in_under_50_ms():
    steps = np.random.default_rng(0).permutation(1024) // 4
    order = sorted(enumerate(steps.tolist()), key=lambda item: item[1])
    trace = trace_of([0] * 1024, *(event(step, position) for position, step in order))
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        measure(trace)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.05


# Many traces


@given(st.lists(random_pairs, min_size=1, max_size=6), st.sampled_from([3, 50, 10_000]))
@settings(max_examples=30)
def test_many_orders_are_measured_as_each_alone_whatever_they_are_measured_with(all_pairs, block):
    orders = [bare_order(pairs) for pairs in all_pairs] + [order_of(three_paths())]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nap.order.measure.POSITIONS", block)
        assert list(measure_all(orders, (1, 3))) == [measure(order, (1, 3)) for order in orders]


def test_an_order_that_is_merged_is_measured_as_one_that_is_compared(monkeypatch):
    steps = np.random.default_rng(0).integers(0, 90, 250)
    order = order_at(steps.tolist())
    compared = measure(order)
    monkeypatch.setattr("nap.order.sequences.COMPARED", 1)
    assert measure(order) == compared


def test_orders_are_read_no_further_ahead_than_a_block(monkeypatch):
    monkeypatch.setattr("nap.order.measure.POSITIONS", 20)
    read = []

    def orders():
        for number in range(100):
            read.append(number)
            yield left_to_right(9)

    next(measure_all(orders()))
    assert len(read) == 2


@given(st.lists(st.none() | st.floats(-1e6, 1e6), max_size=40), st.integers(1, 7))
def test_a_mean_over_blocks_is_rounded_once_as_over_all(numbers, block):
    one = ExactSum()
    for start in range(0, len(numbers), block):
        one.add(numbers[start : start + block])
    known = [number for number in numbers if number is not None]
    assert one.mean == (math.fsum(known) / len(known) if known else None)


def test_the_means_of_many_traces_do_not_depend_on_when_they_are_summed(monkeypatch):
    reports = [measure(left_to_right(n)) for n in range(1, 12)]
    known = means_of(reports, [None, *[True, False] * 5])
    monkeypatch.setattr("nap.order.means.WAITING", 3)
    assert means_of(reports, [None, *[True, False] * 5]) == known


def test_means_of_means_are_those_of_all_their_traces():
    reports, correct = [measure(left_to_right(n)) for n in range(1, 12)], [None, *[True, False] * 5]
    parts = [Aggregate() for _ in range(3)]
    for place, (report, was) in enumerate(zip(reports, correct, strict=True)):
        parts[place % 3].add(report, was)
    found = {name: part.json() for name, part in Aggregate.joined(parts).means().items()}
    assert found == means_of(reports, correct)


def means_of(reports, correct=None) -> dict[str, dict[str, Any]]:
    found = Aggregate()
    for report, right in zip(reports, correct or [None] * len(reports), strict=True):
        found.add(report, right)
    return {name: part.json() for name, part in found.means().items()}


def test_aggregate_splits_right_from_wrong_and_counts_who_contributed():
    reports = [measure(left_to_right(n)) for n in (1, 2, 4)]
    result = means_of(reports, [True, False, None])
    assert {name: part["n_traces"] for name, part in result.items()} == {"all": 3, "right": 1, "wrong": 1}
    everyone = result["all"]
    assert everyone["mean"]["n_tokens"] == pytest.approx(7 / 3)
    assert (everyone["mean"]["tau_b"], everyone["counted"]["tau_b"]) == (1, 2)
    assert (everyone["mean"]["tpf"], everyone["counted"]["tpf"]) == (None, 0)
    assert everyone["mean"]["local_arness@1"] == pytest.approx((1 / 2 + 3 / 4) / 2)
    assert everyone["mean"]["per_stage"]["first"]["n_tokens"] == pytest.approx((1 + 1 + 2) / 3)
    assert (result["right"]["mean"]["tau_b"], result["right"]["counted"]["tau_b"]) == (None, 0)
    assert result["wrong"]["mean"]["tau_b"] == 1
    json.dumps(result, allow_nan=False)


def test_aggregate_averages_per_path_over_the_traces_that_have_the_path():
    result = means_of([measure(three_paths()), measure(trace_of([0, 0], event(0, 1), event(1, 0)))])["all"]
    assert result["mean"]["per_path"]["1"]["global_arness@1"] == pytest.approx((1 + 1 / 2) / 2)
    assert result["counted"]["per_path"]["2"]["global_arness@1"] == 1


def test_aggregate_of_nothing_is_no_number():
    assert means_of([]) == {"all": {"n_traces": 0, "mean": {}, "counted": {}}}


# Files


def test_orders_are_read_from_a_file_a_line_each(tmp_path):
    path = tmp_path / "orders.jsonl"
    path.write_text("[[1, 5], [0, 2]]\n\n[[7, 0]]\n")
    assert [pairs_of(found.order) for found in read_orders(path)] == [[(0, 2), (1, 5)], [(7, 0)]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[]", "one or more"),
        ("{}", "a list of"),
        ('"text"', "a list of"),
        ("[1, 2]", "1 is not a .position, step. pair"),
        ("[[1, 2, 3]]", "is not a"),
        ("[[1]]", "is not a"),
        ("[[1, -1]]", "integers from 0"),
        ("[[1.0, 2]]", "integers from 0"),
        ("[[true, 2]]", "integers from 0"),
        ("[[null, 2]]", "integers from 0"),
        ("[[1, NaN]]", "integers from 0"),
        ("[[1, 99999999999999999999999]]", "2147483647"),
        ("[[4, 0], [5, 1], [4, 2]]", "position 4 occurs more than once"),
        ("[[1, 2]", "not JSON"),
    ],
)
def test_a_bad_order_is_named_with_its_file_and_line(tmp_path, line, message):
    path = tmp_path / "orders.jsonl"
    path.write_text(f"[[0, 0]]\n{line}\n")
    with pytest.raises(InputError, match=rf"orders\.jsonl:2: .*{message}"):
        list(read_orders(path))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"pairs": [[0, 1], [1, 0]]}', [[(0, 1), (1, 0)]]),
        ('{"question": "q", "step_map": [0, 0, 2, 1]}', [[(0, 0), (1, 0), (2, 2), (3, 1)]]),
        ('[{"step_map": [[0, 1], [1, -1]], "full_output": ["a", "b"]}]', [[(0, 0), (1, 1)], [(0, 1)]]),
        ('{"text": "a", "meta_info": {"step_map": [1, null, 0]}}', [[(0, 1), (2, 0)]]),
        ('{"step_maps": [[2, 0]]}', [[(0, 2), (1, 0)]]),
    ],
)
def test_orders_of_other_systems_are_read_as_they_write_them(tmp_path, text, found):
    """dLLM-RL's outputs (a list of rows with a step map an output) and SGLang's replies."""
    path = tmp_path / "rows.json"
    path.write_text(text)
    assert [pairs_of(one.order) for one in read_orders(path)] == found


def test_what_holds_canvases_names_the_command_that_takes_them(tmp_path):
    path = tmp_path / "run.json"
    path.write_text('{"histories": [[[5, 99]], [[5, 7]]]}')
    with pytest.raises(InputError, match=r"nap trace import FILE OUT.jsonl --source dllm"):
        list(read_orders(path))
    path.write_text("[0, 2, 1]")
    with pytest.raises(InputError, match=r"goes under its name, ..step_map.: .0, 2, 1"):
        list(read_orders(path))


def test_a_file_without_orders_is_refused(tmp_path):
    path = tmp_path / "empty.jsonl"
    path.write_text("\n \n")
    with pytest.raises(InputError, match="holds no order"):
        list(read_orders(path))


def test_pairs_may_mix_lists_tuples_and_numpy_integers():
    order = bare_order([(np.int64(3), 1), [0, np.int32(2)]])
    assert pairs_of(order) == [(0, 2), (3, 1)]


def test_a_step_map_in_which_nothing_was_written_is_left_out_and_a_rows_own_id_names_its_orders(tmp_path, caplog):
    path = tmp_path / "maps.jsonl"
    rows = [
        {"id": "a", "step_map": [0, 1]}, {"id": "b", "step_map": [-1, -1, -1]}, {"step_map": []},
        {"id": 7, "step_map": [[0, 1], [], [1, 0]]}, {"step_map": [None, 2]},
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = [(one.label, pairs_of(one.order)) for one in read_orders(path)]
    assert found[:2] == [("a", [(0, 0), (1, 1)]), ("7/1", [(0, 0), (1, 1)])]
    assert found[2:] == [("7/3", [(0, 1), (1, 0)]), ("4", [(1, 2)])]
    assert caplog.messages == [f"{path}: 3 without an order (null, or nothing was written) left out"]


def test_steps_are_counted_from_1_where_no_step_map_of_the_file_has_a_lower_one(tmp_path):
    path = tmp_path / "maps.jsonl"
    rows = [{"step_map": [1, 2, 4, 3]}, {"step_map": None}, {"step_map": [-1, 2, 2]}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, second = (one.order for one in read_orders(path))
    assert first.steps.tolist() == [0, 1, 3, 2] and first.n_steps == 4 and second.steps.tolist() == [1, 1]
    path.write_text(path.read_text() + '{"step_map": [0, 1]}\n')
    assert [one.order.n_steps for one in read_orders(path)] == [5, 3, 2]
    path.write_text("[[0, 1], [1, 2]]\n")
    assert [one.order.n_steps for one in read_orders(path)] == [3], "pairs say their steps as they are"


def test_a_row_without_an_order_is_left_out_and_counted(tmp_path, caplog):
    path = tmp_path / "orders.jsonl"
    path.write_text('{"step_map": [0, 1]}\n{"step_map": null}\n{"pairs": null, "id": 3}\n{"step_map": [1, 0]}\n')
    assert [pairs_of(found.order) for found in read_orders(path)] == [[(0, 0), (1, 1)], [(0, 1), (1, 0)]]
    assert caplog.messages == [f"{path}: 2 without an order (null, or nothing was written) left out"]
    path.write_text('{"step_map": null}\n')
    with pytest.raises(InputError, match=r"holds no order \(its 1 rows are null, or nothing was written in them\)"):
        list(read_orders(path))
