"""How sequential a text is to an autoregressive scorer: SeqDep, its control, and excess dependence.

For a prompt x and a text of segments s_1..s_N, in nats, each a mean over n = 2..N (2602.23225 Eq. 4, DEFINITIONS 2):

    seqdep   log p(s_n | x, s_<n) - log p(s_n | x)         what the history tells the scorer, and that there is one
    control  log p(s_n | x, s_<n) - log p(s_n | x, r_<n)   r a text with another prompt: only that there is one [ours]
    excess   log p(s_n | x, s_<n) - log p(s_n | x, s'_<n)  s' another sample of x: what this history tells that
                                                           another of the same problem does not [ours]

The excess of independent samples is zero in expectation under any scorer: s_<n and s'_<n are then drawn alike.
For one text call `measure_sample`; for a corpus `measure_corpus`, and `summarise` of summary.py.

Letters: N segments, M = N - 1 of them scored, L tokens.
Reads no files and holds no model (segments.py, causal.py, server.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nap.common.files import InputError
from nap.dependence.scorer import Branch, Floats, Reading, Scorer, Scores
from nap.dependence.segments import Ids, Row, Text, segment

MEASURES = ("seqdep", "control", "excess")
# How many texts a scorer is given at once, so that short ones can share forwards.
TOGETHER = 32


@dataclass(frozen=True, eq=False, kw_only=True)
class Dependence:
    """How much the segments 2..N of one text gain from what stands before them, in nats.

    tokens        [M] tokens of each segment
    given_history [M] log p(s_n | x, s_<n)
    baseline      [M] for each of MEASURES the log-probability to subtract; nan where it was not measured
    """

    tokens: NDArray[np.int64]
    given_history: Floats
    baseline: dict[str, Floats]

    def difference(self, measure: str = "seqdep") -> Floats:
        """[M] nats that each segment gains; nan where not measured."""
        return self.given_history - self.baseline[measure]

    def per_segment(self, measure: str = "seqdep") -> float:
        """Mean gain of a segment, nats; nan if none was measured. For seqdep: Eq. 4 of 2602.23225."""
        return _mean(self.difference(measure))

    def totals(self, measure: str = "seqdep") -> tuple[float, int]:
        """(gain of all segments that it was measured on, nats; their tokens)."""
        difference = self.difference(measure)
        known = np.isfinite(difference)
        return float(difference[known].sum()), int(self.tokens[known].sum())

    def per_token(self, measure: str = "seqdep") -> float:
        """Gain over the tokens that it was measured on, nats a token; nan if none was."""
        nats, tokens = self.totals(measure)
        return nats / tokens if tokens else np.nan

    def part(self, first: int, last: int) -> "Dependence":
        """The segments `first` to `last` (from 2, which is the first that is scored; ends included)."""
        kept = slice(first - 2, last - 1)
        baseline = {name: values[kept] for name, values in self.baseline.items()}
        return Dependence(tokens=self.tokens[kept], given_history=self.given_history[kept], baseline=baseline)

    def rise(self, measure: str = "seqdep") -> float:
        """Mean gain of the later half of the segments minus that of the earlier half, nats a token; nan below 2."""
        difference = self.difference(measure)
        known = np.flatnonzero(np.isfinite(difference))
        halves = known[: len(known) // 2], known[-(len(known) // 2) :]
        if len(known) < 2:
            return np.nan
        early, late = (difference[half].sum() / self.tokens[half].sum() for half in halves)
        return float(late - early)


def _mean(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else np.nan


# One text


def measure_sample(
    scorer: Scorer, content: str | list[str], *, prompt: str = "", segments: str = "lines"
) -> Dependence | None:
    """SeqDep of one sample: `measure_sample(scorer, "a\\nb\\nc").per_segment()` is nats a segment.

    content   a text, or with `segments="paths"` the list of its paths
    prompt    x; without one the first segment is x
    segments  one of `segments.SEGMENTERS`

    None for fewer than two segments after the prompt, because there is no history. Raises InputError for an unknown
    segmenter, content of the wrong kind, and a text that is longer than the scorer's context.
    """
    text = segment(Row("the text", prompt, content), segments, scorer.encode, scorer.start)
    return measure(scorer, text) if len(text.segments) > 1 else None


def measure(scorer: Scorer, text: Text) -> Dependence:
    """SeqDep of a text of two segments or more. Raises InputError if it is longer than the scorer's context."""
    return measure_corpus(scorer, [text], control=False, excess=False)[0]


def _reading(scorer: Scorer, text: Text, guest: Text | None) -> Reading:
    """The text, its segments 2.. right after the prompt, and those of a guest (another sample of x) on its history."""
    alone = [Branch(len(text.prompt), ids) for ids in text.segments[1:]]
    return Reading(text.ids, [*alone, *(_visits(scorer, text, guest) if guest else [])], text.starts[1])


def _dependence(scorer: Scorer, text: Text, scores: Scores) -> Dependence:
    """The text's SeqDep, from the scores of its reading."""
    if not all(np.isfinite(part).all() for part in scores):
        raise InputError(f"{scorer.name} gives {text.where} a log-probability that is no number; try --dtype float32")
    given = np.add.reduceat(scores.trunk, np.array(text.starts[1:-1]) - text.starts[1])
    tokens = np.array([len(ids) for ids in text.segments[1:]])
    unknown = {name: np.full(len(tokens), np.nan) for name in MEASURES[1:]}
    baseline = {"seqdep": scores.branches[: len(tokens)], **unknown}
    return Dependence(tokens=tokens, given_history=given, baseline=baseline)


def check_length(scorer: Scorer, text: Text) -> None:
    """Raise InputError for a text that is longer than the scorer's context."""
    limit = scorer.max_length
    if limit is None or len(text.ids) <= limit:
        return
    what = f"its prompt alone has {len(text.prompt)}" if len(text.prompt) >= limit else f"it has {len(text.ids)}"
    hint = "shorten the prompt" if len(text.prompt) >= limit else f"use at most --max-tokens {limit}"
    raise InputError(f"{text.where} is too long for {scorer.name}: {what} tokens, the context {limit}; {hint}")


def _visits(scorer: Scorer, host: Text, guest: Text) -> list[Branch]:
    """The guest's segments 2.., each after as many segments of the host, as far as both texts and the context allow."""
    both = min(len(host.segments), len(guest.segments))
    branches = [Branch(host.starts[n], guest.segments[n]) for n in range(1, both)]
    if scorer.max_length is None:
        return branches
    beyond = (i for i, branch in enumerate(branches) if branch.after + len(branch.ids) > scorer.max_length)
    return branches[: next(beyond, None)]


# A corpus


class Corpus(NamedTuple):
    """Rows that can be measured: their texts, their indices among all rows, and how many were cut at `most` tokens."""

    texts: list[Text]
    rows: list[int]
    shortened: int


def cut_rows(scorer: Scorer, rows: Sequence[Row], how: str, most: int | None = None) -> Corpus:
    """The rows of two segments or more after the prompt within `most` tokens (default: the scorer's context).

    Longer rows lose whole segments at their end. Raises InputError if no row is left, and as `segment` does.
    """
    limits = [limit for limit in (most, scorer.max_length) if limit is not None]
    texts = [segment(row, how, scorer.encode, scorer.start) for row in rows]
    kept = [text.shortened(min(limits)) if limits else text for text in texts]
    indices = [number for number, text in enumerate(kept) if len(text.segments) > 1]
    if not indices:
        within = f" within {min(limits)} tokens" if limits else ""
        raise InputError(
            f"no row has two {how} or more after its prompt{within}, so there is no history to measure; "
            "try --segments tokens:16"
        )
    shortened = sum(len(kept[i].segments) < len(texts[i].segments) for i in indices)
    return Corpus([kept[i] for i in indices], indices, shortened)


def measure_corpus(
    scorer: Scorer,
    texts: Sequence[Text],
    report: Callable[[int], None] = lambda done: None,
    *,
    control: bool = True,
    excess: bool = True,
    draws: bool = True,
) -> list[Dependence]:
    """Every text's SeqDep with its control and, where several texts have one prompt, its excess.

    The other sample s' is the next text with the same prompt; for the last text it is the first. A text without a
    prompt of its own has no excess. The stranger r is a text with another prompt and nearly the same number of
    segments. Both count as far as both texts have segments. `report` is told how many texts are done. `excess=False`
    skips the excess, which means nothing where the texts of one prompt are not draws from one source. `draws=False`
    gives none to a text that equals an earlier one of its prompt, for rows of which nobody knows whether they were
    drawn alike or written twice. Raises InputError for a text that is longer than the scorer's context, and for scores
    that are not numbers.
    """
    for text in texts:
        check_length(scorer, text)
    hosts, strangers = _hosts(texts, draws) if excess else {}, _strangers(texts) if control else {}
    guests = {host: guest for guest, host in hosts.items()}
    found: list[Dependence] = []
    visits: dict[int, Floats] = {}
    for first in range(0, len(texts), TOGETHER):
        numbers = range(first, min(first + TOGETHER, len(texts)))
        own = [_reading(scorer, texts[n], texts[guests[n]] if n in guests else None) for n in numbers]
        controls = {n: _control(scorer, texts[n], texts[strangers[n]]) for n in numbers if n in strangers}
        controls = {n: reading for n, reading in controls.items() if reading.branches}
        scores = scorer.score([*own, *controls.values()])
        for number, score in zip(numbers, scores, strict=False):
            found.append(_dependence(scorer, texts[number], score))
            if number in guests:
                visits[guests[number]] = score.branches[len(found[-1].tokens) :]
            report(number + 1)
        for number, score in zip(controls, scores[len(own) :], strict=True):
            _fill(found[number].baseline["control"], score.branches)
    for guest, visit in visits.items():
        _fill(found[guest].baseline["excess"], visit)
    return found


def _fill(baseline: Floats, known: Floats) -> None:
    baseline[: len(known)] = known


def _hosts(texts: Sequence[Text], draws: bool) -> dict[int, int]:
    """For each text, another one of the same prompt, if any, after whose history it is also scored."""
    groups: dict[Ids, dict[object, int]] = {}
    for number, text in enumerate(texts):
        if text.asked:
            groups.setdefault(text.prompt, {}).setdefault(number if draws else text.segments, number)
    rings = [[*samples.values(), next(iter(samples.values()))] for samples in groups.values() if len(samples) > 1]
    return {guest: host for ring in rings for guest, host in pairwise(ring)}


def repeated(texts: Sequence[Text]) -> int:
    """How many texts equal an earlier one of their prompt: with `draws=False` they have no excess."""
    asked = [(text.prompt, text.segments) for text in texts if text.asked]
    return len(asked) - len({*asked})


def _strangers(texts: Sequence[Text]) -> dict[int, int]:
    """For each text, one with another prompt and nearly as many segments; empty where all prompts are the same."""
    by_length = sorted(range(len(texts)), key=lambda number: len(texts[number].segments))
    found: dict[int, int] = {}
    # First towards longer texts, whose history covers all segments; the longest texts get a shorter one afterwards.
    for order in (by_length[::-1], by_length):
        other = before = None
        for number in order:
            if before is not None and texts[number].group != texts[before].group:
                other = before
            if other is not None:
                found.setdefault(number, other)
            before = number
    return found


def _control(scorer: Scorer, text: Text, stranger: Text) -> Reading:
    """The text's segments 2.., each after the prompt and as many segments of the stranger, as far as it has them."""
    host = Text(stranger.where, text.prompt, stranger.segments)
    branches = _visits(scorer, host, text)
    trunk = host.ids[: branches[-1].after] if branches else ()
    return Reading(trunk, branches, len(trunk))
