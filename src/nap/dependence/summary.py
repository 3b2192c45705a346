"""What a corpus says: each measure's mean over prompts with its interval, its rise, and its curve over the segments.

Does not measure (seqdep.py) and does not print.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nap.common.stats import bootstrap_mean
from nap.dependence.scorer import Floats
from nap.dependence.segments import Ids, Text
from nap.dependence.seqdep import MEASURES, Dependence

# The curve shows each of these segments alone, and what follows in spans of doubling length.
ALONE = 8


class Estimate(NamedTuple):
    """A mean with its 95 % bootstrap interval over prompts (None for fewer than two), and how many prompts."""

    mean: float
    interval: tuple[float, float] | None
    prompts: int


def summarise(texts: Sequence[Text], measured: Sequence[Dependence]) -> dict[str, Any]:
    """What `measure_corpus` found, as JSON: each of MEASURES per segment, per token, its rise and its curve.

    Per segment it is the mean of Eq. 4 over texts, per token all nats over all tokens. Each text counts once in the
    mean of its prompt, and each prompt once in the mean and its interval, because texts of one prompt are no
    independent draws. A measure that nothing was measured of is None.
    """
    spans = _spans(max(len(own.tokens) for own in measured) + 1)
    counts = {"samples": len(texts), "prompts": len({text.prompt for text in texts})}
    counts |= {
        "segments_a_sample": float(np.mean([len(own.tokens) + 1 for own in measured])),
        "tokens_a_segment": float(np.concatenate([own.tokens for own in measured]).mean()),
    }
    return counts | {name: _summary(texts, measured, name, spans) for name in MEASURES}


def _summary(
    texts: Sequence[Text], measured: Sequence[Dependence], name: str, spans: list[tuple[int, int]]
) -> dict[str, Any] | None:
    point = _point(texts, measured, name)
    if point is None:
        return None
    rise = _mean_of(texts, [own.rise(name) for own in measured])
    parts = {(first, last): [own.part(first, last) for own in measured] for first, last in spans}
    curve = [(span, _point(texts, part, name)) for span, part in parts.items()]
    return point | {
        "rise_per_token": rise and rise._asdict(),
        "curve": [{"segments": list(span), **point} for span, point in curve if point],
    }


def _point(texts: Sequence[Text], measured: Sequence[Dependence], name: str) -> dict[str, Any] | None:
    per_segment = _mean_of(texts, [own.per_segment(name) for own in measured])
    if per_segment is None:
        return None
    per_token = _ratio_of(texts, [own.totals(name) for own in measured])
    return {"per_segment": per_segment._asdict(), "per_token": per_token._asdict()}


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
    """Nats over tokens, both of the whole corpus, each prompt the mean of its texts.

    Not the mean of each text's own ratio, in which a text's length weighs its nats: the excess of independent samples
    would then not be zero, as a history s_<n is part of its text's tokens, and a history s'_<n is not.
    """
    known = [(text, total) for text, total in zip(texts, totals, strict=True) if total[1]]
    nats, tokens = _by_prompt(known).T
    ratio = nats.sum() / tokens.sum()
    # The linearised ratio: these have it as their mean, and to first order its spread.
    return _estimate(ratio + (nats - ratio * tokens) / tokens.mean())


def _by_prompt(known: Sequence[tuple[Text, Any]]) -> Floats:
    """[prompts, ...] the mean of each prompt's values."""
    groups: dict[Ids, list[Any]] = {}
    for text, value in known:
        groups.setdefault(text.prompt, []).append(value)
    return np.array([np.mean(group, axis=0) for group in groups.values()])


def _estimate(values: Floats) -> Estimate:
    interval = bootstrap_mean(values.tolist()) if len(values) > 1 else None
    return Estimate(float(values.mean()), interval, len(values))
