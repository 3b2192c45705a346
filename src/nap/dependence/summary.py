"""The results for a corpus: each measure's mean over prompts with its interval, its rise, and its curve.

Does not measure (seqdep.py) and does not print.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nap.common.stats import Interval, bootstrap_mean
from nap.dependence.scorer import Floats
from nap.dependence.segments import Text
from nap.dependence.seqdep import MEASURES, Dependence

# The curve shows the segments up to this one singly, and later ones in spans of doubling length.
ALONE = 8


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % bootstrap interval over prompts (None for fewer than two), and how many prompts."""

    mean: float
    interval: Interval | None
    prompts: int


@dataclass(frozen=True)
class Point:
    """A measure at the segments `first` to `last`, nats."""

    segments: tuple[int, int]
    per_segment: Estimate
    per_token: Estimate


@dataclass(frozen=True)
class Measure:
    """The results of one of MEASURES, in nats."""

    per_segment: Estimate
    per_token: Estimate
    rise_per_token: Estimate | None
    curve: tuple[Point, ...]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The results for a corpus. Each of MEASURES is a field; None where it was not measured."""

    samples: int
    prompts: int
    segments_a_sample: float
    tokens_a_segment: float
    seqdep: Measure | None
    control: Measure | None
    excess: Measure | None

    @property
    def measures(self) -> dict[str, Measure]:
        """Those that were measured."""
        return {name: found for name in MEASURES if (found := getattr(self, name))}


def summarise(texts: Sequence[Text], measured: Sequence[Dependence]) -> Summary:
    """Summarise the results of `measure_corpus`: each of MEASURES per segment, per token, its rise and its curve.

    Per segment is the mean of Eq. 4 over texts, and per token is all nats over all tokens. Each text counts once in the
    mean of its prompt, and each prompt once in the overall mean and its interval, because texts of one prompt are not
    independent.
    """
    spans = _spans(max(len(own.tokens) for own in measured) + 1)
    return Summary(
        samples=len(texts),
        prompts=len({text.group for text in texts}),
        segments_a_sample=float(np.mean([len(own.tokens) + 1 for own in measured])),
        tokens_a_segment=float(np.concatenate([own.tokens for own in measured]).mean()),
        **{name: _measure(texts, measured, name, spans) for name in MEASURES},
    )


def _measure(
    texts: Sequence[Text], measured: Sequence[Dependence], name: str, spans: Sequence[tuple[int, int]]
) -> Measure | None:
    whole = _point(texts, measured, name, (2, spans[-1][1]))
    if whole is None:
        return None
    curve = (_point(texts, [own.part(*span) for own in measured], name, span) for span in spans)
    rise = _mean_of(texts, [own.rise(name) for own in measured])
    return Measure(whole.per_segment, whole.per_token, rise, tuple(point for point in curve if point))


def _point(texts: Sequence[Text], measured: Sequence[Dependence], name: str, segments: tuple[int, int]) -> Point | None:
    per_segment = _mean_of(texts, [own.per_segment(name) for own in measured])
    return per_segment and Point(segments, per_segment, _ratio_of(texts, [own.totals(name) for own in measured]))


def _spans(longest: int) -> list[tuple[int, int]]:
    """(first, last) segment of each point of the curve: 2, 3, .. ALONE, then spans of doubling length."""
    spans = [(n, n) for n in range(2, min(longest, ALONE) + 1)]
    first = ALONE + 1
    while first <= longest:
        spans.append((first, 2 * (first - 1)))
        first = 2 * first - 1
    return spans


def _mean_of(texts: Sequence[Text], values: Sequence[float]) -> Estimate | None:
    """The mean over prompts of the mean over a prompt's texts, nan left out; None if that leaves nothing."""
    known = [(text, value) for text, value in zip(texts, values, strict=True) if np.isfinite(value)]
    return _estimate(_by_prompt(known)) if known else None


def _ratio_of(texts: Sequence[Text], totals: Sequence[tuple[float, int]]) -> Estimate:
    """Nats over tokens, both summed over the corpus, where each prompt contributes the mean of its texts.

    It is not the mean of each text's own ratio, in which the length of a text weights its nats. With that the excess of
    independent samples would not be zero, because the history s_<n is part of its text's tokens and s'_<n is not.
    """
    known = [(text, total) for text, total in zip(texts, totals, strict=True) if total[1]]
    nats, tokens = _by_prompt(known).T
    ratio = nats.sum() / tokens.sum()
    # Values of the linearised ratio: their mean is the ratio, and their spread is its spread to first order.
    return _estimate(ratio + (nats - ratio * tokens) / tokens.mean())


def _by_prompt(known: Sequence[tuple[Text, object]]) -> Floats:
    """[prompts, ...] the mean of each prompt's values."""
    groups: dict[object, list[object]] = {}
    for text, value in known:
        groups.setdefault(text.group, []).append(value)
    return np.array([np.asarray(group, float).mean(axis=0) for group in groups.values()])


def _estimate(values: Floats) -> Estimate:
    interval = bootstrap_mean(values.tolist()) if len(values) > 1 else None
    return Estimate(float(values.mean()), interval, len(values))
