"""In which order would an ideal masked denoiser write a text? The anticipation profile of a corpus [ours].

    found = anticipate(sampler, contexts, samples=64, length=16)

An autoregressive model continues a context many times. The continuations give the marginal of each position after the
context: what a perfect denoiser of that law would predict there while everything is masked. If the next position is the
most certain one, a decoder by confidence writes it first and goes left to right; if a later position is more certain,
it does not. After the first commit only the samples that agree with it are kept, and their marginals are what the
denoiser would predict then. The prediction needs only the corpus, before anything is trained.

With several paths each has its own frontier. `canvas` counts how often the frontier of the first path, the leftmost
position of the canvas, is the most certain of all.

Letters: N samples, D distances, K commits. Does not draw (sampling.py), read files or print.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nap.common.files import InputError
from nap.common.stats import bootstrap_mean
from nap.dependence.sampling import Drawn, Sampler
from nap.dependence.scorer import Scorer
from nap.dependence.segments import Ids, Row
from nap.dependence.summary import Estimate

DISTANCES = (1, 2, 4, 8, 16)
# Fewer samples than this say nothing about a marginal; the order is followed while at least this many agree.
AGREEING = 16


class Context(NamedTuple):
    """A text to be continued. Contexts of one row and draw are the frontiers of one canvas. `cut`: its start is not."""

    row: int
    draw: int
    ids: Ids
    cut: bool = False


@dataclass(frozen=True, kw_only=True)
class Anticipation:
    """What is anticipated after one context.

    top_D, entropy_D  largest probability and entropy of the marginals at distance 1, 2, ...
    rank              rank of the next position by certainty; 1 is the most certain, and ties count half
    order             share of the commits of the ideal order that took the leftmost position, as far as samples agree
    """

    context: Context
    top_D: NDArray[np.float64]
    entropy_D: NDArray[np.float64]
    rank: float
    order: float

    @property
    def first(self) -> float:
        """1 if the next position is the most certain, else 0; with ties the share of one among the equals."""
        return _share_of_first(self.top_D)


def contexts_of(rows: Sequence[Row], scorer: Scorer, each: int, most: int, seed: int) -> list[Context]:
    """`each` contexts a row: the prompt and the text up to a random cut; for rows of paths one in every path.

    most  the most tokens of a context, whose start is cut off. Rows without a token are left out
    """
    found = []
    for number, row in enumerate(rows):
        rng = np.random.default_rng([seed, number])
        prompt = scorer.encode(row.prompt.rstrip() + "\n") if row.prompt.strip() else []
        paths = row.content if isinstance(row.content, list) else [row.content]
        encoded = [ids for path in paths if (ids := scorer.encode(path.strip()))]
        for draw in range(each):
            for ids in encoded:
                # A context without a prompt has at least one token of the text.
                least = 0 if prompt or scorer.start else 1
                cut = int(rng.integers(least, max(len(ids), least + 1)))
                whole = [*prompt, *ids[:cut]]
                over = max(0, len(scorer.start) + len(whole) - most)
                found.append(Context(number, draw, (*scorer.start, *whole[over:]), over > 0))
    return found


def anticipate(
    sampler: Sampler, contexts: Sequence[Context], samples: int, length: int, seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Anticipation]:  # fmt: skip
    """What is anticipated after every context. Raises InputError for too few samples, or a length below 2."""
    if samples < AGREEING or length < 2:
        raise InputError(f"a profile needs {AGREEING} samples of 2 tokens at least, got {samples} of {length}")
    found = []
    for number, context in enumerate(contexts):
        drawn = sampler(context.ids, samples, length, seed + number)
        found.append(of_drawn(context, drawn))
        progress(number + 1)
    return found


def of_drawn(context: Context, drawn: Drawn) -> Anticipation:
    """What the samples say about a context."""
    surer, as_sure = (drawn.top_D > drawn.top_D[0]).sum(), (drawn.top_D == drawn.top_D[0]).sum() - 1
    steps = list(ideal_order(drawn))
    return Anticipation(
        context=context,
        top_D=drawn.top_D,
        entropy_D=drawn.entropy_D,
        rank=float(1 + surer + as_sure / 2),
        order=float(np.mean([leftmost for leftmost, _ in steps])),
    )


def ideal_order(drawn: Drawn) -> Iterator[tuple[float, int]]:
    """(1 if it was the leftmost open position, else 0; its distance) of each commit; ties count as a chance."""
    tokens_ND, top_D = drawn.tokens_ND, drawn.top_D
    open_D = np.ones(len(top_D), bool)
    while open_D.any() and len(tokens_ND) >= AGREEING:
        sure = np.flatnonzero(open_D & (top_D >= top_D[open_D].max()))
        leftmost, chosen = int(np.flatnonzero(open_D)[0]), int(sure[0])
        yield (1 / len(sure) if chosen == leftmost else 0.0), chosen + 1
        values, counts = np.unique(tokens_ND[:, chosen], return_counts=True)
        tokens_ND = tokens_ND[tokens_ND[:, chosen] == values[counts.argmax()]]
        open_D[chosen] = False
        top_D = np.array([np.unique(column, return_counts=True)[1].max() / len(column) for column in tokens_ND.T])


# What a corpus says


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Means over rows, with intervals.

    top, entropy  by distance
    first         how often the next position is the most certain: the share of first commits that go left to right
    rank          rank of the next position by certainty
    order         the share of leftmost commits of the ideal order: the prediction of ARness within a path
    canvas        for rows with several paths, how often the leftmost position of all is the most certain of all
    """

    contexts: int
    top: dict[int, Estimate]
    entropy: dict[int, Estimate]
    first: Estimate
    rank: Estimate
    order: Estimate
    canvas: Estimate | None


def profile(found: Sequence[Anticipation]) -> Profile:
    """What anticipations say about their corpus, each row once. Raises InputError without anticipations."""
    if not found:
        raise InputError("there is nothing to continue: no row has a token")
    distances = [d for d in DISTANCES if d <= len(found[0].top_D)]
    canvases = [[*group] for _, group in groupby(found, key=lambda one: one.context[:2])]
    several = [group for group in canvases if len(group) > 1]
    return Profile(
        contexts=len(found),
        top={d: _mean(found, [one.top_D[d - 1] for one in found]) for d in distances},
        entropy={d: _mean(found, [one.entropy_D[d - 1] for one in found]) for d in distances},
        first=_mean(found, [one.first for one in found]),
        rank=_mean(found, [one.rank for one in found]),
        order=_mean(found, [one.order for one in found]),
        canvas=_mean([group[0] for group in several], [*map(_leftmost, several)]) if several else None,
    )


def _leftmost(frontiers: Sequence[Anticipation]) -> float:
    """1 if the first frontier's next position is the most certain of all, else 0; with ties a share."""
    return _share_of_first(np.concatenate([one.top_D for one in frontiers]))


def _share_of_first(top: NDArray[np.float64]) -> float:
    return 1 / float((top == top.max()).sum()) if top[0] == top.max() else 0.0


def _mean(found: Sequence[Anticipation], values: Sequence[float]) -> Estimate:
    """The mean over rows of the means over their contexts, because contexts of one row are not independent."""
    rows: dict[int, list[float]] = {}
    for one, value in zip(found, values, strict=True):
        rows.setdefault(one.context.row, []).append(float(value))
    means = [float(np.mean(row)) for row in rows.values()]
    return Estimate(float(np.mean(means)), bootstrap_mean(means) if len(means) > 1 else None, len(means))
