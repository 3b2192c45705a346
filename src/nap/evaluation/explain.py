"""Why a decode may be wrong: what its model says about tokens that were committed together.

    explain(denoiser, trace)            # from the stored trace and its model

A step that commits several tokens draws each from its own distribution given the canvas before the step, as if they
were independent. This is compared with what the model says about them one after the other, in the order of the step's
events:

    violation    sum over j of log p(x_j | ctx) - log p(x_j | ctx, x_<j)   of what was committed (2608.25505). Above 0
                 where the tokens make each other less likely, below 0 where they support each other.
    correlation  the conditional total correlation of the positions: the KL divergence from the joint distribution of
                 the model's conditionals to the product that the step drew from, which is the expectation of minus the
                 violation under the joint. It is never below 0, and 0 where the positions are independent. It is exact,
                 by enumeration of all beginnings, where there are few; else it is a mean over sampled beginnings with
                 its standard error.

Distributions are over what can be committed: all tokens but the mask. Letters: N commits of a step, V vocabulary, S
beginnings. Does not decode, and does not judge answers.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from nap.canvas.canvas import Canvas, CanvasSpec
from nap.common.files import InputError
from nap.data.cells import cell_of
from nap.data.trace import COMMIT, Event, Replay, Trace
from nap.decoding.candidates import in_float64
from nap.decoding.made_by import check_made_by
from nap.evaluation.explained import Explained, Parallel
from nap.models.denoiser import Denoiser
from nap.models.session import Question, Session

# How many canvases one forward has: enough for a small model, few enough for a large one.
ROWS = 32


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much to compute.

    samples    beginnings drawn for each step whose correlation is not enumerated; 0: no correlation is estimated
    enumerate  the most beginnings that are enumerated for a step
    """

    samples: int = 16
    enumerate: int = 512

    def __post_init__(self) -> None:
        if self.samples < 0 or self.samples == 1 or self.enumerate < 0:
            raise InputError(
                "samples must be 0 or at least 2, which a standard error needs, and enumerate at least 0; "
                f"got {self.samples} and {self.enumerate}"
            )


def explain(denoiser: Denoiser, trace: Trace, effort: Effort = Effort(), seed: int = 0) -> Explained:
    """What the model says of each step that committed several tokens.

    Raises InputError for a trace of another model's vocabulary, mask or probabilities, or of a canvas that is not
    known, and for one that was guided, whose distributions a forward does not give.
    """
    asker = _Asker(denoiser, trace)
    rng = np.random.default_rng(seed)
    steps = []
    for before, events in _steps(trace):
        commits = [event for event in events if event.kind == COMMIT]
        if len(commits) > 1:
            steps.append(_explained(asker.at(before), commits, effort, rng))
    return Explained(cell=cell_of(trace).name, problem_id=trace.problem_id, correct=trace.correct, steps=tuple(steps))


def _steps(trace: Trace) -> Iterator[tuple[list[int], list[Event]]]:
    """The canvas before each step, and its events."""
    replay = Replay(trace.initial, trace.mask_id)
    before = list(replay.ids)
    for _, events in replay.steps(trace.events):
        yield before, events
        before = list(replay.ids)


class _Asker:
    """The model, asked about a canvas with some of its masks filled."""

    def __init__(self, denoiser: Denoiser, trace: Trace) -> None:
        self.denoiser, self.session = denoiser, Session(denoiser)
        self.ids_L = np.array(trace.initial, np.int64)
        self.session.admit(0, Canvas(ids=self.ids_L, region=np.array(trace.region, np.int64), spec=_spec(trace)))
        _check(denoiser, trace)

    def at(self, before: Sequence[int]) -> "_Asker":
        """The same asker, for this canvas from now on."""
        self.ids_L = np.array(before, np.int64)
        return self

    def __call__(self, beginnings: np.ndarray, positions: Sequence[int], about: int) -> Tensor:
        """[S, V] log-probabilities at one position, each beginning written at the first of `positions`."""
        ids_SL = np.repeat(self.ids_L[None], len(beginnings), axis=0)
        ids_SL[:, positions[: beginnings.shape[1]]] = beginnings
        return self.logs(ids_SL, np.full((len(ids_SL), 1), about))[:, 0]

    @torch.inference_mode()
    def logs(self, ids_SL: np.ndarray, at_SK: np.ndarray) -> Tensor:
        """[S, K, V] log-probabilities at K positions of each of these canvases."""
        found = []
        for start in range(0, len(ids_SL), ROWS):
            some_SK = at_SK[start : start + ROWS]
            order_SK = some_SK.argsort(axis=1)
            sorted_SK = np.take_along_axis(some_SK, order_SK, axis=1)
            canvases = zip(ids_SL[start : start + ROWS], sorted_SK, strict=True)
            answer = self.session.ask([Question(0, ids_L, at_K, 0, len(ids_L)) for ids_L, at_K in canvases])
            logits_NV = in_float64(answer.logits(slice(0, some_SK.size))).double()
            logits_NV[:, self.denoiser.mask_id] = -math.inf
            logs_SKV = logits_NV.log_softmax(dim=-1).view(*some_SK.shape, -1).cpu()
            back_SK = torch.from_numpy(order_SK.argsort(axis=1))
            found.append(torch.stack([logs_KV[back_K] for logs_KV, back_K in zip(logs_SKV, back_SK, strict=True)]))
        return torch.cat(found)


def _check(denoiser: Denoiser, trace: Trace) -> None:
    if (trace.setting.get("sampling") or {}).get("guidance"):
        raise InputError(f"trace {trace.problem_id!r} was guided; what it drew from is not what the model says")
    check_made_by(denoiser, trace)


def _spec(trace: Trace) -> CanvasSpec:
    told = trace.setting.get("canvas")
    try:
        return CanvasSpec(**told) if isinstance(told, dict) else _unknown(trace)
    except TypeError:
        return _unknown(trace)


def _unknown(trace: Trace) -> CanvasSpec:
    raise InputError(f"trace {trace.problem_id!r} does not say its canvas, and so not which positions see each other")


def _explained(ask: _Asker, commits: Sequence[Event], effort: Effort, rng: np.random.Generator) -> Parallel:
    positions = [event.position for event in commits]
    tokens = np.array([event.token for event in commits])
    count = len(commits)
    alone_NV = ask.logs(ask.ids_L[None], np.array([positions]))[0]
    # Row j has the first j + 1 tokens, and is asked about the one after them.
    ids_NL = np.repeat(ask.ids_L[None], count - 1, axis=0)
    for j in range(count - 1):
        ids_NL[j, positions[: j + 1]] = tokens[: j + 1]
    after_NV = ask.logs(ids_NL, np.array(positions[1:])[:, None])[:, 0]
    later = torch.arange(1, count), torch.from_numpy(tokens[1:])
    change_N = alone_NV[later] - after_NV[later[0] - 1, later[1]]
    violation = (0.0, *change_N.tolist())
    return Parallel(
        step=commits[0].step, positions=tuple(positions), violation=violation,
        **_correlation(ask, positions, alone_NV, effort, rng),
    )  # fmt: skip


class Correlation(TypedDict):
    """Those fields of `Parallel`."""

    correlation: float | None
    error: float | None
    exact: bool


def _correlation(
    ask: _Asker, positions: Sequence[int], alone_NV: Tensor, effort: Effort, rng: np.random.Generator
) -> Correlation:
    """The total correlation, and how it was computed."""
    count, vocabulary = alone_NV.shape
    if sum((vocabulary - 1) ** k for k in range(1, count)) <= effort.enumerate:
        return {"correlation": _enumerated(ask, positions, alone_NV), "error": 0.0, "exact": True}
    if not effort.samples:
        return {"correlation": None, "error": None, "exact": False}
    found_S = _sampled(ask, positions, alone_NV, effort.samples, rng)
    error = float(found_S.std(ddof=1) / math.sqrt(len(found_S)))
    return {"correlation": float(found_S.mean()), "error": error, "exact": False}


def _enumerated(ask: _Asker, positions: Sequence[int], alone_NV: Tensor) -> float:
    """The sum, over all beginnings by their probability, of what the next token's distribution changes."""
    beginnings, log_S, total = np.zeros((1, 0), np.int64), torch.zeros(1, dtype=torch.float64), 0.0
    for j in range(len(positions)):
        after_SV = ask(beginnings, positions, positions[j]) if j else alone_NV[:1]
        total += float((log_S.exp() * _divergence(after_SV, alone_NV[j])).sum())
        joint_SV = log_S[:, None] + after_SV
        kept = torch.nonzero(joint_SV.exp() > 0)
        beginnings = np.concatenate([beginnings[kept[:, 0].numpy()], kept[:, 1:].numpy()], axis=1)
        log_S = joint_SV[kept[:, 0], kept[:, 1]]
    return total


def _sampled(
    ask: _Asker, positions: Sequence[int], alone_NV: Tensor, samples: int, rng: np.random.Generator
) -> np.ndarray:
    """[S] the same along drawn beginnings."""
    beginnings, total_S = np.zeros((samples, 0), np.int64), torch.zeros(samples, dtype=torch.float64)
    for j in range(len(positions)):
        after_SV = ask(beginnings, positions, positions[j]) if j else alone_NV[:1].expand(samples, -1)
        total_S += _divergence(after_SV, alone_NV[j])
        # Gumbel-max, with numpy's generator so that a seed gives the same draws everywhere.
        drawn = (after_SV.numpy() + rng.gumbel(size=after_SV.shape)).argmax(axis=1)
        beginnings = np.concatenate([beginnings, drawn[:, None]], axis=1)
    return total_S.numpy()


def _divergence(after_SV: Tensor, alone_V: Tensor) -> Tensor:
    """[S] KL(after || alone), nats."""
    after = after_SV.exp()
    return torch.where(after > 0, after * (after_SV - alone_V), 0.0).sum(dim=-1).clamp(min=0)
