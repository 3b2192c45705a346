"""What the intervals and tests must be: scipy's answers, the literature's, and honest ends."""

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, ttest_1samp

from nap.common.files import InputError
from nap.common.stats import (
    Interval,
    bootstrap_mean,
    bootstrap_means,
    crossed_bootstrap,
    holm,
    mcnemar,
    mean_interval,
    paired_bootstrap,
    prediction_interval,
    wilson_interval,
)  # fmt: skip


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (1, 1), (0, 50), (50, 50), (7, 50), (1103, 1319)])
def test_wilson_matches_scipy(successes, trials, confidence):
    expected = binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    assert wilson_interval(successes, trials, confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_stays_inside_zero_and_one(counts):
    low, high = wilson_interval(*counts)
    assert 0 <= low <= counts[0] / counts[1] <= high <= 1


def test_wilson_knows_nothing_without_trials_and_is_exact_at_the_ends():
    assert wilson_interval(0, 0) == Interval(0, 1)
    assert wilson_interval(0, 20).low == 0
    assert 0 < wilson_interval(0, 20).high < 0.2
    assert wilson_interval(20, 20).high == 1


@pytest.mark.parametrize(("successes", "trials"), [(-1, 5), (6, 5), (1, 0), (0, -1), (math.nan, 5)])
def test_wilson_refuses_impossible_counts(successes, trials):
    with pytest.raises(InputError, match=f"got {successes} of {trials}"):
        wilson_interval(successes, trials)


@pytest.mark.parametrize("confidence", [0, 1, 95, -0.5, math.nan])
def test_confidence_is_a_share_and_not_a_percentage(confidence):
    with pytest.raises(InputError, match="confidence"):
        wilson_interval(1, 2, confidence)
    with pytest.raises(InputError, match="confidence"):
        bootstrap_mean([1.0, 2.0], confidence)


def outcomes(both, only_first, only_second, neither):
    first = [True] * (both + only_first) + [False] * (only_second + neither)
    second = [True] * both + [False] * only_first + [True] * only_second + [False] * neither
    return first, second


@pytest.mark.parametrize(("b", "c"), list(product([0, 1, 5, 12], [0, 1, 6, 30])))
def test_mcnemar_is_the_binomial_test_of_the_discordant_problems(b, c):
    expected = binomtest(b, b + c).pvalue if b + c else 1.0
    result = mcnemar(*outcomes(9, b, c, 4))
    assert (result.only_first, result.only_second) == (b, c)
    assert result.p_value == pytest.approx(expected)
    assert result.p_value == mcnemar(*reversed(outcomes(9, b, c, 4))).p_value


def test_mcnemar_finds_nothing_where_nothing_differs():
    assert mcnemar([], []).p_value == 1
    assert mcnemar([True, False], [True, False]).p_value == 1
    ones: Any = [1, 0, 1], [0, 1, 1]
    assert mcnemar(*ones).p_value == 1


def test_mcnemar_refuses_what_is_not_paired_outcomes():
    with pytest.raises(InputError, match="got 1 and 2"):
        mcnemar([True], [True, False])
    for outcome in (None, 0.5, "yes", math.nan):
        with pytest.raises(InputError, match="True or False"):
            mcnemar([True], [outcome])  # pyright: ignore[reportArgumentType]


def test_bootstrap_of_a_mean_is_close_to_the_normal_interval_and_repeats():
    data = np.random.default_rng(1).normal(3, 2, 400)
    low, high = bootstrap_mean(data.tolist(), resamples=4000)
    half = 1.96 * data.std() / 20
    assert low == pytest.approx(data.mean() - half, abs=0.03)
    assert high == pytest.approx(data.mean() + half, abs=0.03)
    assert bootstrap_mean(data.tolist(), resamples=4000) == (low, high)
    assert bootstrap_mean(data.tolist(), resamples=4000, seed=1) != (low, high)


def test_bootstrap_intervals_nest_with_confidence():
    data = [0.0, 1.0, 1.0, 0.0, 5.0, 2.0]
    wide, narrow = (bootstrap_mean(data, confidence, resamples=2000) for confidence in (0.99, 0.5))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_bootstrap_of_two_values_matches_its_exact_distribution():
    # The mean of two draws from 0, 1 is 0, .5 or 1 with chance 1/4, 1/2, 1/4.
    assert bootstrap_mean([0, 1], 0.95, resamples=2000) == (0, 1)
    assert bootstrap_mean([0, 1], 0.4, resamples=2000) == (0.5, 0.5)


def test_equal_values_give_an_interval_of_no_width():
    assert bootstrap_mean([2.0] * 5, resamples=50) == (2, 2)


def test_columns_that_share_their_draws_have_the_intervals_of_each_alone():
    draw = np.random.default_rng(1)
    columns = [draw.random(n).tolist() for n in (7, 40, 7, 2000, 40)] + [[0.1] * 40, [3.0, 3.0]]
    assert bootstrap_means(columns, resamples=600) == [bootstrap_mean(one, resamples=600) for one in columns]
    data, drawn = np.array(columns[1]), np.random.default_rng(0).integers(40, size=(600, 40))
    low, high = np.quantile(data[drawn].mean(axis=1), [0.025, 0.975])
    assert bootstrap_means(columns, resamples=600)[1] == pytest.approx((low, high))


@given(
    st.lists(
        st.lists(st.integers(-(2**49), 2**49) | st.integers(0, 1), min_size=9, max_size=9), min_size=1, max_size=4
    ),
    st.integers(0, 5),
)
def test_whole_numbers_have_to_the_bit_the_interval_that_drawing_them_one_by_one_gives(columns, seed):
    drawn, tail = np.random.default_rng(seed).integers(9, size=(300, 9)), (1 - 0.95) / 2
    for column, found in zip(columns, bootstrap_means(columns, resamples=300, seed=seed), strict=True):
        data = np.asarray(column, float)
        means = np.full(300, data.mean()) if len(set(column)) == 1 else data.take(drawn).mean(axis=1)
        assert found == tuple(np.quantile(means, [tail, 1 - tail]).tolist())


@pytest.mark.parametrize(
    ("values", "message"),
    [([], "at least 2"), ([1.0], "at least 2"), ([1.0, math.nan], "finite"), ([1, None], "finite")],
)
def test_bootstrap_refuses_too_few_and_unmeasured_values(values, message):
    with pytest.raises(InputError, match=message):
        bootstrap_mean(values)


def test_bootstrap_refuses_no_resamples():
    with pytest.raises(InputError, match="resamples"):
        bootstrap_mean([1, 2], resamples=0)


def test_pairing_removes_what_the_problems_share():
    generator = np.random.default_rng(2)
    hardness = generator.normal(0, 10, 200)
    first, second = (hardness + generator.normal(mean, 1, 200) for mean in (0, 1))
    low, high = paired_bootstrap(first.tolist(), second.tolist(), resamples=2000)
    assert 0.5 < low < 1 < high < 1.5  # unpaired, its width would be 4
    mirrored = paired_bootstrap(second.tolist(), first.tolist(), resamples=2000)
    assert mirrored == pytest.approx((-high, -low))


def test_paired_bootstrap_takes_outcomes_and_refuses_unequal_lengths():
    low, high = paired_bootstrap([False] * 30 + [True] * 10, [True] * 20 + [False] * 10 + [True] * 10, resamples=2000)
    assert 0.3 < low < 0.5 < high < 0.7
    with pytest.raises(InputError, match="got 2 and 3"):
        paired_bootstrap([1, 2], [1, 2, 3])


def test_holm_matches_a_worked_example_in_the_given_sequence():
    # Smallest first: .005 x 4, .01 x 3, .03 x 2, .04 x 1, each at least the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_never_exceeds_one_and_keeps_ties_equal():
    assert holm([0.6, 0.9]) == [1, 1]
    assert holm([0.02, 0.02, 0.02]) == pytest.approx([0.06] * 3)
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_lies_between_the_raw_values_and_bonferroni_and_keeps_their_order(ps):
    adjusted = holm(ps)
    assert all(p <= q <= min(1.0, len(ps) * p) + 1e-12 for p, q in zip(ps, adjusted, strict=True))
    assert sorted(adjusted) == [adjusted[i] for i in np.argsort(ps, kind="stable")]


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_holm_refuses_what_is_no_p_value(p):
    with pytest.raises(InputError, match="p-value"):
        holm([0.5, p])


def test_one_seed_is_a_bootstrap_over_problems():
    values = np.random.default_rng(3).random(60)
    crossed = crossed_bootstrap(values[None])
    assert crossed == pytest.approx(bootstrap_mean(values.tolist()), abs=0.01)


def test_seeds_that_disagree_widen_the_interval_and_seeds_that_agree_do_not_narrow_it_to_nothing():
    problems = (np.arange(200) < 100).astype(float)
    agree = np.tile(problems, (3, 1))
    one = crossed_bootstrap(agree[:1])
    assert crossed_bootstrap(agree) == pytest.approx(one, abs=0.01)
    differ = np.stack([np.zeros(200), problems, np.ones(200)])
    low, high = crossed_bootstrap(differ)
    assert low < one.low - 0.2 and high > one.high + 0.2


def test_a_crossed_interval_covers_another_draw_of_seeds_and_problems():
    """Outcomes of 5 seeds x 80 problems with an effect of each, around a mean of 0."""
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        values = generator.normal(0, 0.3, (5, 1)) + generator.normal(0, 1, 80) + generator.normal(0, 1, (5, 80))
        low, high = crossed_bootstrap(values, resamples=500)
        covered += low <= 0 <= high
    # Five seeds are few: a percentile interval is a little short of its 95 %.
    assert 0.85 < covered / 200 < 0.99


@pytest.mark.parametrize("values", [np.zeros((0, 5)), np.zeros((3, 1)), np.zeros(4)])
def test_a_crossed_bootstrap_needs_a_seed_and_two_problems(values):
    with pytest.raises(InputError, match=r"needs values of \[seeds, problems >= 2\], got shape"):
        crossed_bootstrap(values)


def test_a_prediction_interval_holds_one_more_value_as_often_as_it_says():
    assert prediction_interval([0.0, 2.0]) == pytest.approx((1 - 12.7062 * 3**0.5, 1 + 12.7062 * 3**0.5), abs=1e-3)
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(2000, 4))
    found = [prediction_interval(row[:3].tolist()) for row in draws]
    held = np.mean([low <= row[3] <= high for (low, high), row in zip(found, draws, strict=True)])
    assert abs(held - 0.95) < 0.015
    with pytest.raises(InputError, match="at least 2 finite values"):
        prediction_interval([0.5])


def test_students_interval_of_a_mean_is_scipys():
    values = [0.1, 0.5, 0.6]
    expected = ttest_1samp(values, 0).confidence_interval(0.9)
    assert mean_interval(values, 0.9) == pytest.approx((expected.low, expected.high), abs=1e-12)
    with pytest.raises(InputError, match="at least 2 finite values"):
        mean_interval([0.5, float("nan")])
