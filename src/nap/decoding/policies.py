"""Policies: which masked positions to commit next. One small frozen dataclass each, pure, without a model.

To add one: write a dataclass with `select`, and register it under the entry point group `nap.policies` or in POLICIES.
`eligible` may narrow where logits are computed at all; what a policy cannot commit costs no time in the output head.

Shape letter: N, the positions a view speaks of, in canvas order. Papers: docs/papers.md.
Does not decide what the tokens are (decode.py draws the candidates) or how many steps there are (Budget).
"""

import dataclasses
from dataclasses import dataclass
from importlib.metadata import entry_points
from itertools import pairwise
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from nap.common.files import InputError
from nap.common.text import unknown

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Frontier:
    """What is known of a row before the model is asked: its masked positions inside the current block.

    position_N  canvas positions, ascending
    region_N    which path each belongs to; `paths` for the summary
    paths       P
    step        steps done so far
    quota       how many commits the budget asks for now; all of them for a policy that sets its own pace
    rng         this row's own generator
    """

    position_N: Ints
    region_N: Ints
    paths: int
    step: int
    quota: int
    rng: np.random.Generator


@dataclass(frozen=True)
class StepView(Frontier):
    """The frontier narrowed to the eligible positions, with the model's word on each.

    token_N        candidate token
    probability_N  its probability
    entropy_N      of the predicted distribution, nats; empty unless the policy `needs` it
    margin_N       top probability less the second; likewise
    """

    token_N: Ints
    probability_N: Floats
    entropy_N: Floats
    margin_N: Floats


class Choice(NamedTuple):
    """Indices into the view to commit, and canvas positions (not among them) to turn back into masks."""

    commit: Ints
    remask: Ints = np.empty(0, np.int64)


class Policy(Protocol):
    """`paced`: follows a budget. `needs`: optional columns of the view. `block`: decode in blocks of this length."""

    paced: bool
    needs: tuple[str, ...]
    block: int | None

    def eligible(self, frontier: Frontier) -> Ints:
        """Indices into the frontier: where the model is asked."""
        ...

    def select(self, view: StepView) -> Choice:
        """What to commit, and what to mask again."""
        ...


class _Base:
    """Everything masked is eligible, the budget sets the pace."""

    paced = True
    needs: tuple[str, ...] = ()
    block: int | None = None

    def __post_init__(self) -> None:
        if self.block is not None and self.block < 1:
            name = policy_name(self).partition(":")[0]
            raise InputError(f"policy {name!r}: block must be at least 1, got {self.block}")

    def eligible(self, frontier: Frontier) -> Ints:
        """Indices into the frontier."""
        return np.arange(len(frontier.position_N))


def best(score_N: Floats, count: int) -> Ints:
    """Indices of the `count` highest scores, highest first; the leftmost of equals first."""
    return np.argsort(-score_N, kind="stable")[:count]


@dataclass(frozen=True, kw_only=True)
class AR(_Base):
    """Leftmost first: the order of an autoregressive model."""

    def eligible(self, frontier: Frontier) -> Ints:
        """The leftmost `quota`."""
        return np.arange(min(frontier.quota, len(frontier.position_N)))

    def select(self, view: StepView) -> Choice:
        """All that is eligible."""
        return Choice(np.arange(len(view.position_N)))


@dataclass(frozen=True, kw_only=True)
class Random(_Base):
    """Uniformly drawn positions."""

    block: int | None = None

    def eligible(self, frontier: Frontier) -> Ints:
        """`quota` positions, drawn before the model is asked."""
        return np.sort(frontier.rng.permutation(len(frontier.position_N))[: frontier.quota])

    def select(self, view: StepView) -> Choice:
        """All that is eligible."""
        return Choice(np.arange(len(view.position_N)))


@dataclass(frozen=True, kw_only=True)
class LowConfidence(_Base):
    """The most probable candidates first: low-confidence remasking, arbitrary order (LLaDA 2502.09992, Alg. 5)."""

    block: int | None = None

    def select(self, view: StepView) -> Choice:
        """The `quota` highest probabilities."""
        return Choice(best(view.probability_N, view.quota))


@dataclass(frozen=True, kw_only=True)
class Entropy(_Base):
    """The lowest entropies first (Dream 2508.15487)."""

    needs = ("entropy",)
    block: int | None = None

    def select(self, view: StepView) -> Choice:
        """The `quota` lowest entropies."""
        return Choice(best(-view.entropy_N, view.quota))


@dataclass(frozen=True, kw_only=True)
class Margin(_Base):
    """The largest margins between the two best tokens first (Dream 2508.15487)."""

    needs = ("margin",)
    block: int | None = None

    def select(self, view: StepView) -> Choice:
        """The `quota` largest margins."""
        return Choice(best(view.margin_N, view.quota))


@dataclass(frozen=True, kw_only=True)
class Threshold(_Base):
    """Every candidate of probability `tau` or more, at least one (Fast-dLLM 2505.22618)."""

    paced = False
    tau: float = 0.9
    block: int | None = None

    def select(self, view: StepView) -> Choice:
        """All above the threshold."""
        return Choice(above(view.probability_N, self.tau))


def above(probability_N: Floats, tau: float) -> Ints:
    """Indices of all at or above `tau`, the best one at least, highest first."""
    return best(probability_N, max(1, int((probability_N >= tau).sum())))


@dataclass(frozen=True, kw_only=True)
class Factor(_Base):
    """The largest n with (n+1)(1 - c_(n)) < f, at least one (Fast-dLLM 2505.22618, Theorem 1)."""

    paced = False
    f: float = 1.0
    block: int | None = None

    def select(self, view: StepView) -> Choice:
        """The n most probable."""
        order = best(view.probability_N, len(view.probability_N))
        n = np.arange(1, len(order) + 1)
        allowed = n[(n + 1) * (1 - view.probability_N[order]) < self.f]
        return Choice(order[: max(1, allowed.max(initial=1))])


@dataclass(frozen=True, kw_only=True)
class EntropyBound(_Base):
    """By entropy, the largest set U with sum H - max H <= gamma (EB-Sampler 2505.24857)."""

    paced = False
    needs = ("entropy",)
    gamma: float = 0.1
    block: int | None = None

    def select(self, view: StepView) -> Choice:
        """The longest allowed prefix by entropy; a single token always is."""
        return Choice(bounded(view.entropy_N, self.gamma))


def bounded(entropy_N: Floats, gamma: float) -> Ints:
    """Indices of the longest prefix by entropy with sum H - max H <= gamma, at least one."""
    order = best(-entropy_N, len(entropy_N))
    # In rising order the last is the largest, so what is summed is everything before it.
    before = np.concatenate([[0.0], np.cumsum(entropy_N[order])[:-1]])
    return order[: int(np.searchsorted(before, gamma, side="right"))]


@dataclass(frozen=True, kw_only=True)
class Hierarchy(_Base):
    """The most probable token of every contiguous masked segment (dInfer 2510.08666)."""

    paced = False
    block: int | None = None

    def select(self, view: StepView) -> Choice:
        """One a segment; segments also end where a slot ends."""
        broken = (np.diff(view.position_N) != 1) | (np.diff(view.region_N) != 0)
        starts = np.concatenate([[0], np.flatnonzero(broken) + 1, [len(view.position_N)]])
        return Choice(np.array([a + int(view.probability_N[a:b].argmax()) for a, b in pairwise(starts)]))


class _InPaths(_Base):
    """Works in every path at once; `summary` says when the summary is written (a subclass has the field)."""

    summary: Literal["last", "joint"]

    def __post_init__(self) -> None:
        if self.summary not in ("last", "joint"):
            name = policy_name(self).partition(":")[0]
            raise InputError(f"{name}: unknown summary {self.summary!r}; known: last, joint")

    def eligible(self, frontier: Frontier) -> Ints:
        """The paths; the summary when they are done, or always."""
        in_path = frontier.region_N < frontier.paths
        return np.flatnonzero(in_path) if self.summary == "last" and in_path.any() else np.arange(len(in_path))


def _in_each(region_N: Ints) -> list[Ints]:
    """For every slot, in order, the indices of its positions."""
    return [np.flatnonzero(region_N == slot) for slot in np.unique(region_N)]


@dataclass(frozen=True, kw_only=True)
class ParallelForced(_InPaths):
    """NAP (2602.23225): the budget is dealt over all unfinished paths, each commits its most confident tokens.

    summary  `last`: the summary starts when no path has a mask left. `joint`: it is dealt to like a path
    """

    summary: Literal["last", "joint"] = "last"

    def select(self, view: StepView) -> Choice:
        """Deal one token at a time round the slots, from one that rotates with the step, so that K < P is fair."""
        by_slot = np.lexsort((-view.probability_N, view.region_N))
        slots, start, slot = np.unique(view.region_N[by_slot], return_index=True, return_inverse=True)
        rank = np.arange(len(slot)) - start[slot]
        turn = (slot - view.step) % len(slots)
        return Choice(by_slot[np.lexsort((turn, rank))][: view.quota])


@dataclass(frozen=True, kw_only=True)
class ParallelThreshold(_InPaths):
    """Every unfinished path commits all its candidates of probability `tau` or more, and its best always (ours).

    With P paths at least P tokens a step, where a threshold over the whole canvas promises one.
    summary  as in `ParallelForced`
    """

    paced = False
    tau: float = 0.9
    summary: Literal["last", "joint"] = "last"

    def select(self, view: StepView) -> Choice:
        """Path by path what `Threshold` would commit if the path were alone."""
        slots = _in_each(view.region_N)
        return Choice(np.concatenate([slot[above(view.probability_N[slot], self.tau)] for slot in slots]))


@dataclass(frozen=True, kw_only=True)
class ParallelEntropyBound(_InPaths):
    """In every unfinished path by entropy the largest set U with sum H - max H <= gamma (ours, of EB-Sampler's rule).

    summary  as in `ParallelForced`
    """

    paced = False
    needs = ("entropy",)
    gamma: float = 0.1
    summary: Literal["last", "joint"] = "last"

    def select(self, view: StepView) -> Choice:
        """Path by path what `EntropyBound` would commit if the path were alone."""
        slots = _in_each(view.region_N)
        return Choice(np.concatenate([slot[bounded(view.entropy_N[slot], self.gamma)] for slot in slots]))


POLICIES: dict[str, type] = {
    "ar": AR,
    "low_confidence": LowConfidence,
    "random": Random,
    "entropy": Entropy,
    "margin": Margin,
    "threshold": Threshold,
    "factor": Factor,
    "entropy_bound": EntropyBound,
    "hierarchy": Hierarchy,
    "parallel_forced": ParallelForced,
    "parallel_threshold": ParallelThreshold,
    "parallel_entropy_bound": ParallelEntropyBound,
}


def parse_policy(text: str) -> Policy:
    """A policy from `name` or `name:setting=value,...`, such as `threshold:tau=0.8,block=32`."""
    name, _, rest = text.partition(":")
    found = POLICIES.get(name) or _plugin(name)
    if found is None:
        raise InputError(unknown("policy", name, POLICIES))
    settings = [part.partition("=") for part in rest.split(",") if part]
    return found(**{key: _value(name, found, key, value) for key, _, value in settings})


def policy_name(policy: Any) -> str:
    """The text that `parse_policy` reads back, with only the settings that differ from their defaults."""
    name = next((name for name, kind in POLICIES.items() if type(policy) is kind), type(policy).__name__)
    fields = [f for f in dataclasses.fields(policy) if getattr(policy, f.name) != f.default]
    return name + ":" * bool(fields) + ",".join(f"{f.name}={getattr(policy, f.name)}" for f in fields)


def _plugin(name: str) -> type | None:
    return next((point.load() for point in entry_points(group="nap.policies") if point.name == name), None)


def _value(name: str, kind: type, key: str, value: str) -> Any:
    default = {f.name: f.default for f in dataclasses.fields(kind)}
    if key not in default:
        raise InputError(f"policy {name!r} has no setting {key!r}; it has: {', '.join(default) or 'none'}")
    wanted: Any = int if key == "block" else type(default[key])
    try:
        number = wanted(value)
    except ValueError:
        raise InputError(f"policy {name!r}: {key} must be {wanted.__name__}, got {value!r}") from None
    return number
