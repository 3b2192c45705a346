"""Policies that set their own pace: they commit as much as a bound on the error allows. Papers: docs/papers.md."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nap.decoding.policies.policy import Floats, Ints, Selecting, View, best
from nap.decoding.policies.ranges import NONNEGATIVE, SHARE, Range


def above(probability_N: Floats, tau: float) -> Ints:
    """Indices of the probabilities of at least `tau`, and in any case of the highest; highest first."""
    return best(probability_N, max(1, int((probability_N >= tau).sum())))


def within(entropy_N: Floats, gamma: float) -> Ints:
    """Indices of the largest set of lowest entropies with sum H - max H <= gamma, lowest first; at least one."""
    order = best(-entropy_N, len(entropy_N))
    sorted_H = entropy_N[order]
    # In rising order the last is the largest, so the sum is over all before it.
    before = np.concatenate([[0.0], np.cumsum(sorted_H)[:-1]])
    return order[: int(np.searchsorted(before, gamma, side="right"))]


@dataclass(frozen=True, kw_only=True)
class Threshold(Selecting):
    """Commits every candidate of probability `tau` or more, and at least one (Fast-dLLM 2505.22618)."""

    paced = False
    ranges: ClassVar = {"tau": SHARE}
    tau: float = 0.9
    block: int | None = None

    def select(self, view: View) -> Ints:
        """All above the threshold."""
        return above(view.probability_N, self.tau)


@dataclass(frozen=True, kw_only=True)
class Factor(Selecting):
    """The largest n with (n+1)(1 - c_(n)) < f, at least one (Fast-dLLM 2505.22618, Theorem 1)."""

    paced = False
    ranges: ClassVar = {"f": NONNEGATIVE}
    f: float = 1.0
    block: int | None = None

    def select(self, view: View) -> Ints:
        """The n most probable."""
        order = best(view.probability_N, len(view.probability_N))
        n = np.arange(1, len(order) + 1)
        allowed = n[(n + 1) * (1 - view.probability_N[order]) < self.f]
        return order[: max(1, allowed.max(initial=1))]


@dataclass(frozen=True, kw_only=True)
class EntropyBound(Selecting):
    """By entropy, the largest set U with sum H - max H <= gamma (EB-Sampler 2505.24857)."""

    paced = False
    reads = ("entropy",)
    ranges: ClassVar = {"gamma": NONNEGATIVE}
    gamma: float = 0.1
    block: int | None = None

    def select(self, view: View) -> Ints:
        """The longest allowed prefix by entropy; a single token is always allowed."""
        return within(view.entropy_N, self.gamma)


@dataclass(frozen=True, kw_only=True)
class Bounded(Selecting):
    """The largest n with L_n - U_n > delta, at least one (Fast-dLLM++ 2606.02955).

    L_n = sum c - (n-1) bounds the probability that all n are right from below (Frechet), U_n = 1 - c_(n) is the chance
    that the least sure of them is wrong.
    """

    paced = False
    ranges: ClassVar = {"delta": Range(-1, 1)}
    delta: float = 0.25
    block: int | None = None

    def select(self, view: View) -> Ints:
        """The n most probable."""
        order = best(view.probability_N, len(view.probability_N))
        c = view.probability_N[order]
        # Both bounds fall with n, so that what is allowed is a prefix.
        allowed = np.cumsum(c) - np.arange(len(c)) - (1 - c) > self.delta
        return order[: max(1, int(allowed.sum()))]
