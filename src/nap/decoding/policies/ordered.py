"""Policies that follow a budget, each in its order: leftmost, random, or by confidence, entropy or margin.

`hierarchy` is here too: it takes one token from every masked run, whatever the budget. Papers: docs/papers.md. Does not
bound the error of parallel commits (bounded.py) or deal the budget over paths (paths.py).
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from nap.decoding.policies.policy import Floats, Ints, RowView, Selecting, View
from nap.decoding.policies.ties import Ranked


@dataclass(frozen=True, kw_only=True)
class AR(Selecting):
    """Leftmost first: the order of an autoregressive model."""

    def ask(self, row: RowView) -> Ints:
        """The leftmost `quota` positions; one if the budget is 0 in this step, which still takes a forward."""
        return row.open_N[: max(row.quota, 1)]

    def select(self, view: View) -> Ints:
        """All that the budget has."""
        return np.arange(min(view.quota, len(view.position_N)))


@dataclass(frozen=True, kw_only=True)
class Random(Selecting):
    """Uniformly drawn positions."""

    block: int | None = None

    def ask(self, row: RowView) -> Ints:
        """`quota` positions, drawn before the model is asked; one if the budget is 0 in this step."""
        return np.sort(row.rng.permutation(row.open_N)[: max(row.quota, 1)])

    def select(self, view: View) -> Ints:
        """All that the budget has."""
        return np.arange(min(view.quota, len(view.position_N)))


@dataclass(frozen=True, kw_only=True)
class LowConfidence(Ranked):
    """The most probable candidates first: low-confidence remasking, arbitrary order (LLaDA 2502.09992, Alg. 5)."""

    def score(self, view: View) -> Floats:
        """Probabilities."""
        return view.probability_N


@dataclass(frozen=True, kw_only=True)
class Entropy(Ranked):
    """The lowest entropies first (Dream 2508.15487)."""

    reads = ("entropy",)

    def score(self, view: View) -> Floats:
        """Minus the entropies, nats."""
        return -view.entropy_N


@dataclass(frozen=True, kw_only=True)
class Margin(Ranked):
    """The largest margins between the two best tokens first (Dream 2508.15487)."""

    reads = ("margin",)

    def score(self, view: View) -> Floats:
        """Margins."""
        return view.margin_N


@dataclass(frozen=True, kw_only=True)
class Hierarchy(Selecting):
    """Commits the most probable token of every contiguous masked segment (dInfer 2510.08666)."""

    paced = False
    block: int | None = None

    def select(self, view: View) -> Ints:
        """One token a segment; segments also end where a slot ends."""
        broken = (np.diff(view.position_N) != 1) | (np.diff(view.region_N) != 0)
        starts = np.concatenate([[0], np.flatnonzero(broken) + 1, [len(view.position_N)]])
        return np.array([a + int(view.probability_N[a:b].argmax()) for a, b in pairwise(starts)])
