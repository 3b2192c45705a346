"""A judge of single steps that is learned: from how sure the model was of a step, and how many chains say it.

    seen = seen_steps(task, chains)                      # of a problem
    judge = fit([features_of(step) for ...], labels)     # on problems of the training split, checked exactly
    judge.chance(step)                                   # that it is right

Logistic regression on four numbers of a step, none of which costs a forward: the least and the mean log-probability of
its tokens when they were written, how many chains say it, and its length. It reads no step, so that it judges any task
whose paths have steps; a published process reward model reads the text (2602.22871). Does not stitch (stitch.py).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nap.canvas.canvas import Canvas
from nap.data.trace import Trace
from nap.models.denoiser import Denoiser
from nap.tasks.registry import Steps

Floats = NDArray[np.float64]
# Probabilities are at least this before their logarithm.
TINY = 1e-6
# How strongly weights are held to 0, and how often they are improved.
RIDGE, ROUNDS = 1e-2, 50


class Step(NamedTuple):
    """A step of a chain: its text, and the probabilities of its tokens when they were written."""

    text: str
    chances: tuple[float, ...]


class Seen(NamedTuple):
    """A step of a problem: as it is surest, and how many chains say it."""

    step: Step
    said: int


def cut(task: Steps, canvas: Canvas, trace: Trace, denoiser: Denoiser, path: int, text: str) -> tuple[Step, ...]:
    """The steps of a path that says this text, each with the probabilities of the tokens that end in it."""
    chance_of = {event.position: event.probability for event in trace.events}
    at = np.flatnonzero(canvas.region == path).tolist()
    ids = [trace.final[position] for position in at]
    ends = [len(" ".join(denoiser.tokenizer.decode(ids[: n + 1]).split())) for n in range(len(ids))]
    found, start, whole = [], 0, " ".join(text.split())
    for step in task.steps(text):
        begin = whole.find(step, start)
        if begin < 0:
            continue
        start = begin + len(step)
        chances = [chance_of.get(p, math.nan) for p, end in zip(at, ends, strict=True) if begin < end <= start]
        found.append(Step(step, tuple(chance for chance in chances if not math.isnan(chance))))
    return tuple(found)


def seen_steps(chains: Sequence[Sequence[Step]]) -> list[Seen]:
    """Each step once, in the order in which the chains say them."""
    found: dict[str, Seen] = {}
    for chain in chains:
        for step in {step.text: step for step in chain}.values():
            before = found.get(step.text, Seen(step, 0))
            surest = max(before.step, step, key=lambda one: min(one.chances, default=0.0))
            found[step.text] = Seen(surest, before.said + 1)
    return list(found.values())


def features_of(seen: Seen) -> list[float]:
    """The four numbers, after a 1."""
    logs = np.log(np.maximum(seen.step.chances, TINY)) if seen.step.chances else np.zeros(1)
    return [1.0, float(logs.min()), float(logs.mean()), math.log(seen.said), math.log(1 + len(seen.step.chances))]


@dataclass(frozen=True)
class StepJudge:
    """The weights of the numbers, and on how many of the steps that it learned from it is right."""

    weight_F: Floats
    right: float

    def chance(self, seen: Seen) -> float:
        """The probability that a step is right."""
        return float(_sigmoid(np.array(features_of(seen)) @ self.weight_F))


def fit(features: Sequence[Sequence[float]], labels: Sequence[bool]) -> StepJudge:
    """The likeliest weights (Newton's method, with a ridge). All steps of one kind give a judge that says so always."""
    x_NF, y_N = np.array(features), np.array(labels, float)
    weight_F = np.zeros(x_NF.shape[1])
    for _ in range(ROUNDS):
        p_N = _sigmoid(x_NF @ weight_F)
        gradient_F = x_NF.T @ (p_N - y_N) + RIDGE * weight_F
        curvature_FF = (x_NF * (p_N * (1 - p_N))[:, None]).T @ x_NF + RIDGE * np.eye(len(weight_F))
        weight_F = weight_F - np.clip(np.linalg.solve(curvature_FF, gradient_F), -5, 5)
    right = float(((_sigmoid(x_NF @ weight_F) > 0.5) == (y_N > 0.5)).mean())
    return StepJudge(weight_F, right)


def _sigmoid(value: Floats) -> Floats:
    return 1 / (1 + np.exp(-np.clip(value, -30, 30)))
