"""Error bars and tests for accuracies and paired comparisons: Wilson, McNemar, bootstrap, Holm.

Comparisons of two methods are over the same problems, in the same sequence. The bootstrap has a fixed seed, so the same
input gives the same interval.

Does not pick a test for you, and corrects for several comparisons only where you call `holm`.
"""

import functools
import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nap.common.bounds import check_least
from nap.common.files import InputError

RESAMPLES = 10_000
BLOCK = 1_000_000  # draws that are in memory at a time
TOGETHER = 200  # columns whose means are in memory at a time


class Interval(NamedTuple):
    """A confidence interval, ends included, in the unit of the data."""

    low: float
    high: float


class McNemar(NamedTuple):
    """How many problems only the first and only the second method solved, and the two-sided exact p-value."""

    only_first: int
    only_second: int
    p_value: float


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion, inside [0, 1] (Wilson 1927; no continuity correction).

    Without trials the interval is (0, 1). Without successes its low end is exactly 0; with successes only, its high end
    is exactly 1. Raises InputError unless 0 <= successes <= trials and 0 < confidence < 1.
    """
    if not 0 <= successes <= trials:
        raise InputError(f"an accuracy needs 0 <= successes <= trials, got {successes} of {trials}")
    _check_confidence(confidence)
    if trials == 0:
        return Interval(0.0, 1.0)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / trials
    centre = share + z * z / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2)
    scale = 1 + z * z / trials
    # Rounding would otherwise leave 1e-17 at the ends.
    low = (centre - half) / scale if successes else 0.0
    high = (centre + half) / scale if successes < trials else 1.0
    return Interval(low, high)


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> McNemar:
    """McNemar's exact two-sided test that two methods solve the same share of the same problems (McNemar 1947).

    Only problems that exactly one of the two solved count; without any the p-value is 1. Binomial, not mid-p. Raises
    InputError for unequal lengths or outcomes that are not True or False (1 or 0).
    """
    from scipy.special import bdtr

    _check_paired(first, second)
    for outcome in (*first, *second):
        if outcome not in (0, 1):
            raise InputError(f"McNemar's test needs True or False for every problem, got {outcome!r}")
    only_first = sum(bool(a) and not b for a, b in zip(first, second, strict=True))
    only_second = sum(bool(b) and not a for a, b in zip(first, second, strict=True))
    tail = float(bdtr(min(only_first, only_second), only_first + only_second, 0.5))
    return McNemar(only_first, only_second, min(1.0, 2 * tail))


def bootstrap_mean(
    values: Sequence[float], confidence: float = 0.95, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Percentile bootstrap interval of a mean (Efron 1979). Values that are all equal give an interval of no width.

    For an accuracy use `wilson_interval`, which does not collapse at 0 and 1. Raises InputError for fewer than two
    values (one says nothing about its spread), values that are not finite, or resamples < 1.
    """
    return bootstrap_means([values], confidence, resamples=resamples, seed=seed)[0]


def bootstrap_means(
    columns: Sequence[Sequence[float]], confidence: float = 0.95, *, resamples: int = RESAMPLES, seed: int = 0
) -> list[Interval]:
    """`bootstrap_mean` of each column, to the bit. Columns of one length share their draws, which cost the most."""
    check_least({"resamples": resamples})
    _check_confidence(confidence)
    tail, found, lengths = (1 - confidence) / 2, dict[int, Interval](), dict[int, list[int]]()
    data = [_checked_values(column) for column in columns]
    for place, values in enumerate(data):
        lengths.setdefault(len(values), []).append(place)
    for places in lengths.values():
        for start in range(0, len(places), TOGETHER):
            part = places[start : start + TOGETHER]
            means = _resampled_means([data[place] for place in part], resamples, seed)
            ends = np.quantile(means, [tail, 1 - tail], axis=1).T.tolist()
            found |= {place: Interval(low, high) for place, (low, high) in zip(part, ends, strict=True)}
    return [found[place] for place in range(len(data))]


def _checked_values(values: Sequence[float]) -> NDArray[np.float64]:
    data = np.asarray(values, float)
    if data.ndim != 1 or len(data) < 2:
        raise InputError(f"a bootstrap interval needs a list of at least 2 values, got {data.size}")
    if not np.isfinite(data).all():
        raise InputError("a bootstrap interval needs finite values, got nan or infinity; leave unmeasured values out")
    return data


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Student's interval of the mean of a normal distribution: mean +- t s / sqrt(n), t of n - 1 degrees.

    For the accuracy of a recipe over training seeds, where a bootstrap of two or three values is too narrow. Two values
    say little about their spread: t is 12.7 for two and 4.3 for three. Raises InputError for fewer than two values, or
    values that are not finite.
    """
    return _t_interval(values, confidence, of_another=False)


def prediction_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """The interval for one more value of the same normal distribution: mean +- t s sqrt(1 + 1 / n), n - 1 degrees.

    For the accuracy that another training seed may give. Raises InputError as `mean_interval` does.
    """
    return _t_interval(values, confidence, of_another=True)


def _t_interval(values: Sequence[float], confidence: float, *, of_another: bool) -> Interval:
    from scipy.special import stdtrit

    data = np.asarray(values, float)
    if data.ndim != 1 or len(data) < 2 or not np.isfinite(data).all():
        raise InputError(f"an interval by Student's t needs a list of at least 2 finite values, got {values!r:.80}")
    _check_confidence(confidence)
    t = float(stdtrit(len(data) - 1, (1 + confidence) / 2))
    half = t * float(data.std(ddof=1)) * math.sqrt(of_another + 1 / len(data))
    return Interval(float(data.mean()) - half, float(data.mean()) + half)


def _resampled_means(columns: Sequence[NDArray[np.float64]], resamples: int, seed: int) -> NDArray[np.float64]:
    """[columns, resamples] means of draws with replacement, a block of them at a time to bound the memory.

    Only how often each value was drawn is needed, which all columns share: sums of whole numbers are exact in any
    sequence. Other values are written as two whole numbers each, in a larger and a smaller unit, and their sums are
    rounded once.
    """
    generator, length = np.random.default_rng(seed), len(columns[0])
    block, means = max(1, BLOCK // length), np.empty((len(columns), resamples))
    # Values that are all equal have the same mean in every draw.
    equal = [row for row, data in enumerate(columns) if (data == data[0]).all()]
    split = {row: found for row, data in enumerate(columns) if row not in equal and (found := _in_units(data))}
    others = [row for row in range(len(columns)) if row not in equal and row not in split]
    larger, smaller = (np.array([found.larger for found in split.values()]), [f.smaller for f in split.values()])
    fine = [place for place, values in enumerate(smaller) if values.any()]
    finer = np.array([smaller[place] for place in fine])
    units = np.array([found.unit for found in split.values()])[:, None]
    for start in range(0, resamples, block):
        drawn = generator.integers(length, size=(min(block, resamples - start), length))
        part = slice(start, start + block)
        for row in equal:
            means[row, part] = columns[row].mean()
        for row in others:
            means[row, part] = columns[row].take(drawn).mean(axis=1)
        if split:
            counts = _counts(drawn, length)
            sums = larger @ counts.T * units
            if fine:
                sums[fine] += finer @ counts.T * (units[fine] * _share(length))
            means[[*split], part] = sums / length
    return means


class _Units(NamedTuple):
    """Values as whole numbers of a large unit plus whole numbers of a small one, whose sums are exact."""

    larger: NDArray[np.float64]
    smaller: NDArray[np.float64]
    unit: float


def _share(length: int) -> float:
    """The smallest unit, relative to the largest of so many values, whose sums a float holds exactly."""
    return 2.0 ** -(52 - length.bit_length())


def _in_units(data: NDArray[np.float64]) -> _Units | None:
    """The values in units; None where some are too small, or all too large or too small, for exact sums."""
    exponent = int(np.frexp(np.abs(data).max())[1])
    if abs(exponent) > 500:
        return None
    unit = 2.0**exponent * _share(len(data))
    larger = np.rint(data / unit)
    left = (data - larger * unit) / (unit * _share(len(data)))
    smaller = np.rint(left)
    return _Units(larger, smaller, unit) if (smaller == left).all() else None


def _counts(drawn: NDArray[np.int64], length: int) -> NDArray[np.float64]:
    """[draws, length]: how often each of `length` places is in each row of `drawn`."""
    places = drawn + length * np.arange(len(drawn))[:, None]
    return np.bincount(places.ravel(), minlength=len(drawn) * length).reshape(len(drawn), length).astype(np.float64)


def paired_bootstrap(
    first: Sequence[float],
    second: Sequence[float],
    confidence: float = 0.95,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of mean(second - first), problems resampled as pairs.

    An interval above 0 says that the second is better. Raises InputError for unequal lengths and as `bootstrap_mean`
    does.
    """
    _check_paired(first, second)
    differences = np.asarray(second, float) - np.asarray(first, float)
    return bootstrap_mean(differences.tolist(), confidence, resamples=resamples, seed=seed)


def paired_interval(first: Sequence[bool], second: Sequence[bool], confidence: float = 0.95) -> Interval:
    """Interval of the share of problems that the second solves less that of the first (Bonett and Price 2012).

    It is Wald's interval with one problem added to each of the two kinds of disagreement. Unlike a bootstrap it keeps a
    width where the two agree on every problem, so that few problems never look like proof. Inside [-1, 1]. Raises
    InputError as `mcnemar`, and for no problems.
    """
    found, total = mcnemar(first, second), len(first) + 2
    _check_confidence(confidence)
    if total == 2:
        raise InputError("an interval of a difference needs at least one problem")
    lost, won = (found.only_first + 1) / total, (found.only_second + 1) / total
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    half = z * math.sqrt((lost + won - (won - lost) ** 2) / total)
    return Interval(max(-1.0, won - lost - half), min(1.0, won - lost + half))


def crossed_bootstrap(
    values_SN: NDArray[np.float64], confidence: float = 0.95, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Percentile bootstrap interval of the mean over S training seeds and N problems, both drawn anew each time.

    For outcomes, or paired differences of them, of several trained models on the same problems: the interval holds for
    another training run as for other problems. One seed gives an interval over problems alone. Raises InputError for no
    seed or fewer than two problems, or values that are not finite.
    """
    data = np.asarray(values_SN, float)
    if data.ndim != 2 or len(data) < 1 or data.shape[1] < 2:
        raise InputError(f"a crossed bootstrap needs values of [seeds, problems >= 2], got shape {data.shape}")
    if not np.isfinite(data).all():
        raise InputError("a bootstrap interval needs finite values, got nan or infinity; leave unmeasured values out")
    _check_confidence(confidence)
    seeds, problems = data.shape
    drawn_seeds, drawn_problems = _crossed_draws(seeds, problems, resamples, seed)
    means = np.einsum("rs,sn,rn->r", drawn_seeds, data, drawn_problems, optimize=True)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(low), float(high))


@functools.lru_cache(maxsize=1)
def _crossed_draws(
    seeds: int, problems: int, resamples: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """[resamples, S], [resamples, N]: the weight of each seed and problem in a resample, for means as products."""
    generator = np.random.default_rng(seed)
    drawn_seeds = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds
    return drawn_seeds, generator.multinomial(problems, np.full(problems, 1 / problems), size=resamples) / problems


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number, in the given sequence (Holm 1979): each is compared with the level itself.

    The j-th smallest of m (j from 0) is multiplied by m - j, then never below a smaller one's, nor above 1. Raises
    InputError for a p-value outside 0..1.
    """
    for p in p_values:
        if not 0 <= p <= 1:
            raise InputError(f"a p-value lies between 0 and 1, got {p}")
    adjusted, floor = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        floor = max(floor, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = floor
    return adjusted


def _check_paired(first: Sequence[object], second: Sequence[object]) -> None:
    if len(first) != len(second):
        raise InputError(f"a paired comparison needs the same problems twice, got {len(first)} and {len(second)}")


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise InputError(f"confidence must be above 0 and below 1 (such as .95), got {confidence}")
