"""The denoising loop: ask the model about the masked positions that may be committed now, commit some, repeat.

`decode` is a generator of Steps and the only loop in NAP; `decode_traces` collects its Steps as Traces. Rows of any
length share a batch, leave it when they are done, and never influence each other: each has its own generators.

Shape letters: B batch, L canvas length, V vocabulary, N positions asked about.
Does not choose (policies.py), load (denoiser.py) or measure (order.py).
"""

import dataclasses
import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from nap import __version__
from nap.canvas.canvas import Canvas, collate, encode_tag
from nap.common.files import InputError
from nap.data.trace import COMMIT, FILL, REMASK, Event, Step, Trace
from nap.decoding.policies import Frontier, Ints, Policy, StepView, policy_name
from nap.decoding.prompt import check_length
from nap.models.denoiser import Denoiser

# count: end of text is a token like any other. suppress: it is never predicted. defer: it is predicted, but ranked
# after everything else. stop: once a slot has ended and has no gap before its end, padding fills the rest for free.
Eos = Literal["count", "suppress", "defer", "stop"]

# A policy that remasks could go round for ever; no published one needs more steps a token than this.
MOST_STEPS_PER_TOKEN = 16


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How fast to commit: `tokens` a step, or everything in `steps` steps. Neither: the policy sets its own pace."""

    tokens: int | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        if self.tokens is not None and self.steps is not None:
            raise InputError(f"a budget is tokens per step or steps, not both; got {self.tokens} and {self.steps}")
        for name, value in (("tokens per step", self.tokens), ("steps", self.steps)):
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, got {value}")

    def check(self, policy: Policy) -> None:
        """Raise InputError where the policy needs a budget and has none, or would silently ignore the one it has."""
        given = self.tokens is not None or self.steps is not None
        if given and not policy.paced:
            raise InputError(f"policy {policy_name(policy)!r} sets its own pace; drop tokens per step and steps")
        if policy.paced and not given:
            raise InputError(f"policy {policy_name(policy)!r} needs a budget: tokens per step, or steps")

    def quota(self, total: int, masked: int, step: int) -> int:
        """Commits for step `step` of a stretch of `total` positions of which `masked` are left.

        As in LLaDA's loop a number of steps is spread evenly and the first steps take the remainder; what an earlier
        step could not commit is made up for. What early stopping filled shortens the run and does not slow it.
        """
        if self.tokens is not None:
            return self.tokens
        if self.steps is None:
            return masked
        base, extra = divmod(total, self.steps)
        planned_left = total - base * (step + 1) - min(step + 1, extra)
        return max(masked - max(planned_left, 0), base, 1)


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a candidate is drawn: the likeliest token at temperature 0, else Gumbel-max over the tokens kept.

    Noise is drawn in float64: in float32 it truncates the tail, which raises quality and lowers diversity unasked
    (2409.02908). Confidence is always the untempered probability, as in LLaDA's loop.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.temperature < float("inf") and 0 < self.top_p <= 1 and self.top_k >= 0):
            raise InputError(f"temperature must be >= 0, top_p in (0, 1], top_k >= 0 (0 is off); got {self}")


def decode(
    denoiser: Denoiser,
    canvases: Sequence[Canvas],
    policy: Policy,
    *,
    budget: Budget | None = None,
    sampling: Sampling | None = None,
    eos: Eos = "count",
    seed: int = 0,
) -> Iterator[Step]:
    """Fill the canvases. Yields one Step a row for every forward that the row took part in.

    Raises InputError for a budget that the policy lacks or would ignore, for a canvas that the model cannot hold, and
    for a policy that would never end.
    """
    budget, sampling = budget or Budget(), sampling or Sampling()
    budget.check(policy)
    if eos not in get_args(Eos):
        raise InputError(f"unknown eos setting {eos!r}; known: {', '.join(get_args(Eos))}")
    check_length(denoiser, max(map(len, canvases), default=0))
    rows = [_Row(i, canvas, denoiser, policy, budget, eos, seed) for i, canvas in enumerate(canvases)]
    rows = [row for row in rows if row.unfinished]
    index, batch = 0, _Batch(rows, denoiser)
    while rows:
        started = time.perf_counter()
        frontiers = [row.frontier(index) for row in rows]
        eligible = [policy.eligible(frontier) for frontier in frontiers]
        logits = batch.logits([f.position_N[kept] for f, kept in zip(frontiers, eligible, strict=True)])
        views = propose(logits, frontiers, eligible, denoiser, policy.needs, sampling, eos, [row.noise for row in rows])
        changes = [row.apply(view, policy) for row, view in zip(rows, views, strict=True)]
        seconds = time.perf_counter() - started
        for row, events in zip(rows, changes, strict=True):
            yield Step(row=row.number, index=index, events=events, seconds=seconds)
        index += 1
        if not all(row.unfinished for row in rows):
            rows = [row for row in rows if row.unfinished]
            batch = _Batch(rows, denoiser)


@torch.inference_mode()
def propose(
    logits_NV: Tensor,
    frontiers: Sequence[Frontier],
    eligible: Sequence[Ints],
    denoiser: Denoiser,
    needs: Sequence[str],
    sampling: Sampling,
    eos: Eos,
    noise: Sequence[torch.Generator],
) -> list[StepView]:
    """One view a row, of the positions asked about: the candidates, and what the model thinks of them."""
    if logits_NV.device.type == "mps":  # It has no float64.
        logits_NV = logits_NV.cpu()
    ending = list(denoiser.eos_ids)
    if eos == "suppress":
        logits_NV[:, ending] = -torch.inf
    # The mask is no candidate, but it keeps its share of the probability, as in the published loops.
    top_N1 = logits_NV.amax(dim=-1, keepdim=True)
    weight_NV = (logits_NV - top_N1).exp_()
    total_N = weight_NV.sum(dim=-1, dtype=torch.float64)
    logits_NV[:, denoiser.mask_id] = -torch.inf
    if sampling.temperature:
        counts = [len(kept) for kept in eligible]
        token_N = torch.cat([_draw(rows, sampling, g) for rows, g in zip(logits_NV.split(counts), noise, strict=True)])
    else:
        token_N = logits_NV.argmax(dim=-1)
    probability = (weight_NV.gather(1, token_N[:, None])[:, 0] / total_N).cpu().numpy()
    token = token_N.cpu().numpy()
    entropy = margin = np.empty(0)
    if "margin" in needs:
        two_N2 = (logits_NV.topk(2, dim=-1).values - top_N1).exp_() / total_N[:, None]
        margin = (two_N2[:, 0] - two_N2[:, 1]).cpu().numpy()
    if "entropy" in needs:
        entropy = torch.special.entr(weight_NV / total_N[:, None]).sum(dim=-1).cpu().numpy()
    views, end = [], 0
    for frontier, kept in zip(frontiers, eligible, strict=True):
        here = slice(end, end := end + len(kept))
        views.append(
            StepView(
                frontier.position_N[kept],
                frontier.region_N[kept],
                frontier.paths,
                frontier.step,
                frontier.quota,
                frontier.rng,
                token[here],
                probability[here],
                entropy[here],
                margin[here],
            )
        )
    return views


def _draw(logits_NV: Tensor, sampling: Sampling, noise: torch.Generator) -> Tensor:
    """Candidates of one row by Gumbel-max in float64."""
    scaled_NV = logits_NV.double() / sampling.temperature
    if 0 < sampling.top_k < scaled_NV.shape[-1]:
        least_N1 = scaled_NV.topk(sampling.top_k, dim=-1).values[:, -1:]
        scaled_NV = scaled_NV.masked_fill(scaled_NV < least_N1, -torch.inf)
    if sampling.top_p < 1:
        sorted_NV, order_NV = scaled_NV.sort(dim=-1, descending=True)
        mass_NV = sorted_NV.softmax(dim=-1)
        # A token is dropped when those before it already hold top_p: the likeliest always stays.
        dropped_NV = mass_NV.cumsum(dim=-1) - mass_NV >= sampling.top_p
        scaled_NV = scaled_NV.masked_fill(dropped_NV.scatter(1, order_NV, dropped_NV), -torch.inf)
    uniform_NV = torch.rand(scaled_NV.shape, generator=noise, dtype=torch.float64).to(scaled_NV.device)
    return (scaled_NV - (-uniform_NV.log()).log()).argmax(dim=-1)


class _Batch:
    """The rows of one forward: their ids as one array that the rows write through, and the layout."""

    def __init__(self, rows: "Sequence[_Row]", denoiser: Denoiser) -> None:
        if not rows:
            return
        self.denoiser = denoiser
        self.ids_BL, self.layout = collate([row.canvas for row in rows], denoiser.pad_id)
        for view, row in zip(self.ids_BL, rows, strict=True):
            view[: len(row.ids)] = row.ids
            row.ids = view[: len(row.ids)]

    def logits(self, positions: Sequence[Ints]) -> Tensor:
        """logits_NV at the rows' positions, one row after the other: one forward."""
        row_N = np.repeat(np.arange(len(positions)), [len(p) for p in positions])
        to = self.denoiser.device
        at = (torch.as_tensor(row_N, device=to), torch.as_tensor(np.concatenate(positions), device=to))
        with torch.inference_mode():
            return self.denoiser.logits(torch.as_tensor(self.ids_BL, device=to), self.layout, at)


class _Row:
    """One canvas being filled: its tokens, its own generators, and where it stands in its budget."""

    def __init__(
        self, number: int, canvas: Canvas, denoiser: Denoiser, policy: Policy, budget: Budget, eos: Eos, seed: int
    ) -> None:
        self.number, self.canvas, self.ids, self.mask_id, self.pad_id = (
            number,
            canvas,
            canvas.ids,
            denoiser.mask_id,
            denoiser.pad_id,
        )
        # Not the row's number: the same problem gets the same noise in any batch.
        key = blake2b(f"{seed}/{canvas.problem_id or number}".encode(), digest_size=8).digest()
        self.rng = np.random.default_rng(int.from_bytes(key))
        self.noise = torch.Generator().manual_seed(int.from_bytes(key) >> 1)
        self.free = np.flatnonzero((canvas.region >= 0) & (canvas.ids == denoiser.mask_id))
        self.block_of = np.zeros(len(canvas), np.int64)
        if policy.block:
            self.block_of[self.free] = np.arange(len(self.free)) // policy.block
        self.budget = _per_block(budget, int(self.block_of.max(initial=0)) + 1) if policy.block else budget
        self.block, self.total, self.began = -1, 0, 0
        self.steps_left = MOST_STEPS_PER_TOKEN * len(self.free)
        self.endings = _endings(canvas, denoiser) if eos == "stop" else []
        self.deferred = denoiser.eos_ids if eos == "defer" else ()
        self.masked = self.free

    @property
    def unfinished(self) -> bool:
        """Whether anything is masked."""
        return len(self.masked) > 0

    def frontier(self, step: int) -> Frontier:
        """The masked positions of the current block, and how many of them the budget asks for."""
        blocks = self.block_of[self.masked]
        position_N = self.masked[blocks == blocks[0]]
        if blocks[0] != self.block:
            self.block, self.total, self.began = blocks[0], len(position_N), step
        quota = self.budget.quota(self.total, len(position_N), step - self.began)
        region = self.canvas.region[position_N]
        return Frontier(position_N, region, self.canvas.spec.paths, step, quota, self.rng)

    def apply(self, view: StepView, policy: Policy) -> tuple[Event, ...]:
        """Do what the policy chooses; the events, in its order."""
        choice = policy.select(_deferred(view, self.deferred) if self.deferred else view)
        if not len(choice.commit) or not self.steps_left:
            reason = "committed nothing" if self.steps_left else "remasks for ever"
            raise InputError(f"policy {policy_name(policy)!r} {reason} at step {view.step}; it would never end")
        self.steps_left -= 1
        columns = (view.position_N[choice.commit], view.token_N[choice.commit], view.probability_N[choice.commit])
        events = [Event(view.step, COMMIT, *commit) for commit in zip(*(c.tolist() for c in columns), strict=True)]
        self.ids[columns[0]] = columns[1]
        for position in choice.remask.tolist():
            events.append(Event(view.step, REMASK, position, self.mask_id, float("nan")))
            self.ids[position] = self.mask_id
        for position in self._after_the_end():
            events.append(Event(view.step, FILL, position, self.pad_id, float("nan")))
            self.ids[position] = self.pad_id
        self.masked = self.free[self.ids[self.free] == self.mask_id]
        return tuple(events)

    def _after_the_end(self) -> list[int]:
        """The masked positions of the slots that have ended without a gap before their end."""
        found: list[int] = []
        for slot, endings in self.endings:
            ids = self.ids[slot]
            gaps = np.flatnonzero(ids == self.mask_id)
            if len(gaps) and any(_holds(ids[: gaps[0]], ending) for ending in endings):
                found += slot[gaps].tolist()
        return found


def _deferred(view: StepView, ending: Sequence[int]) -> StepView:
    """The view in which candidates that end a text are the worst of all. The trace keeps what the model said."""
    late = np.isin(view.token_N, ending)
    probability, entropy, margin = (
        np.where(late, worst, column) if len(column) else column
        for worst, column in ((0.0, view.probability_N), (np.inf, view.entropy_N), (-1.0, view.margin_N))
    )
    return dataclasses.replace(view, probability_N=probability, entropy_N=entropy, margin_N=margin)


def _per_block(budget: Budget, blocks: int) -> Budget:
    if budget.steps is None:
        return budget
    if budget.steps % blocks:
        raise InputError(f"{budget.steps} steps do not divide into {blocks} blocks; give a multiple of {blocks}")
    return Budget(steps=budget.steps // blocks)


def _endings(canvas: Canvas, denoiser: Denoiser) -> list[tuple[Ints, list[list[int]]]]:
    """(positions, token sequences that end its text) of each slot."""
    tags = [encode_tag(closing, denoiser.tokenizer) if closing else [] for *_, closing in canvas.spec.slots]
    ends = [[token] for token in denoiser.eos_ids]
    return [(np.flatnonzero(canvas.region == code), ends + [tag] * bool(tag)) for code, tag in enumerate(tags)]


def _holds(ids: Ints, sequence: list[int]) -> bool:
    windows = (
        np.lib.stride_tricks.sliding_window_view(ids, len(sequence)) if len(ids) >= len(sequence) else ids[:0, None]
    )
    return bool((windows == sequence).all(axis=1).any())


def decode_traces(denoiser: Denoiser, canvases: Sequence[Canvas], policy: Policy, **settings: Any) -> list[Trace]:
    """`decode` to the end, with its settings and errors: one Trace a canvas, in order."""
    steps = decode(denoiser, canvases, policy, **settings)
    return collect(denoiser, canvases, steps, run_setting(denoiser, policy, **settings))


def run_setting(
    denoiser: Denoiser,
    policy: Policy,
    *,
    budget: Budget | None = None,
    sampling: Sampling | None = None,
    eos: Eos = "count",
    seed: int = 0,
) -> dict[str, Any]:
    """What a trace must say so that it can be made again."""
    return {
        "model": denoiser.setting,
        "policy": policy_name(policy),
        "budget": dataclasses.asdict(budget or Budget()),
        "sampling": dataclasses.asdict(sampling or Sampling()),
        "eos": eos,
        "seed": seed,
        "versions": {"nap": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }


def collect(
    denoiser: Denoiser, canvases: Sequence[Canvas], steps: Iterable[Step], setting: dict[str, Any]
) -> list[Trace]:
    """The Traces of a decode from its Steps."""
    events: list[list[Event]] = [[] for _ in canvases]
    seconds: list[list[float]] = [[] for _ in canvases]
    for step in steps:
        events[step.row] += step.events
        seconds[step.row].append(step.seconds)
    return [
        Trace(
            problem_id=canvas.problem_id,
            initial=tuple(canvas.ids.tolist()),
            region=tuple(canvas.region.tolist()),
            events=tuple(events[row]),
            forwards=len(seconds[row]),
            mask_id=denoiser.mask_id,
            seconds=tuple(seconds[row]),
            uncounted=tuple(sorted({denoiser.pad_id, *denoiser.eos_ids})),
            vocabulary=_vocabulary(denoiser, {*canvas.ids.tolist(), *(event.token for event in events[row])}),
            setting=setting | {"canvas": dataclasses.asdict(canvas.spec)},
        )
        for row, canvas in enumerate(canvases)
    ]


def _vocabulary(denoiser: Denoiser, tokens: set[int]) -> dict[int, str]:
    if denoiser.tokenizer is None:
        return {}
    return {token: denoiser.tokenizer.decode([token]) for token in sorted(tokens)}
