"""One request over several processes: each writes some of its independent paths, and the summary is written here.

    with one spawned process a worker:    prompt ids ->  [paths 0, 2] [path 1]  -> tokens and steps, once

Each worker opens the model itself. Only the prompt is sent to it; it sends back the id (4 bytes) and step (2) of each
token and the query tokens (2) of each step. That is at most 8 bytes a path token, because every step commits at least
one. With Ray a worker is an actor, which keeps the model open. In a worker's canvas the paths of other workers are
padding, which nothing sees under `paths` attention, and keys and values are kept exactly. A worker that dies or does
not answer in time is replaced, and its paths are written again with the same tokens, because nothing is drawn.

Letters: P paths, N workers. Does not stop paths on agreement, which needs all of them, and shares nothing between
requests but the open model.
"""

import logging
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from multiprocessing import parent_process
from typing import Any

import numpy as np

from nap.canvas.canvas import Canvas, CanvasSpec, layout
from nap.common.bounds import WORKERS, check
from nap.common.files import InputError
from nap.common.ray_workers import map_on_actors
from nap.common.workers import Backend, map_rows
from nap.data.trace import COMMIT, FILL, PROMPT, Cost, Event, Step, Trace
from nap.decoding.agreement import share_of
from nap.decoding.budget import Budget, Eos, Sampling
from nap.decoding.decode import decode
from nap.decoding.policies.paths import ParallelEntropyBound, ParallelForced, ParallelThreshold
from nap.decoding.policies.policy import Ints, Policy
from nap.decoding.policies.registry import parse_policy, policy_name
from nap.decoding.traces import Recording, run_setting
from nap.models.any import load
from nap.models.denoiser import Denoiser

# The policies that decide about a path without looking at the others.
SEPARATE = (ParallelForced, ParallelThreshold, ParallelEntropyBound)
# The highest bit of a step's two bytes says that the token was filled in.
FILLED = 1 << 15
# A worker that is silent for this long is taken for dead.
PATIENCE = 600.0


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """A canvas written by several workers: its trace, and the bytes that went to them and came back."""

    trace: Trace
    sent: int
    received: int


def decode_over_workers(
    denoiser: Denoiser,
    opening: Mapping[str, Any],
    canvases: Sequence[Canvas],
    policy: Policy,
    *,
    workers: int,
    budget: Budget | None = None,
    sampling: Sampling | None = None,
    eos: Eos = "count",
    backend: Backend = "processes",
    patience: float = PATIENCE,
) -> Iterator[Gathered]:
    """Decode each canvas in turn: its paths by the workers, its summary by `denoiser`.

    opening   the arguments of `load` for the denoiser's model, its name included; workers use the same
    patience  seconds after which a worker that has not answered is replaced

    A canvas without a summary ends with its paths. Raises InputError for a canvas, policy, budget or sampling whose
    paths cannot be written apart, and where workers die or do not answer again and again.
    """
    budget = budget or Budget()
    check("workers", workers, WORKERS)
    budget.check(policy)
    _check_separate(canvases, policy, budget, sampling or Sampling(), eos)
    fewest = min((canvas.spec.paths for canvas in canvases), default=workers)
    if workers > fewest:
        logging.getLogger(__name__).warning("%d workers for %d paths: the others have nothing to do", workers, fewest)
    shares = [_shares(canvas.spec.paths, workers) for canvas in canvases]
    prompts = [canvas.ids[canvas.region == PROMPT] for canvas in canvases]
    requests = [[request_of(prompt, own) for own in groups] for prompt, groups in zip(prompts, shares, strict=True)]
    known = tuple(opening.items())
    work = PathWork(opening=known, spec=canvases[0].spec, policy=policy_name(policy), budget=budget, eos=eos)
    # One worker is this process, which has the model already.
    _models[known] = denoiser
    started = time.perf_counter()
    every = chain.from_iterable(requests)
    if backend == "ray":
        gpus, several = float(str(opening.get("device")).startswith("cuda")), max(map(len, requests), default=1)
        replies = map_on_actors(work, every, workers=several, patience=patience, gpus=gpus)
    else:
        replies = map_rows(work, every, backend=backend, workers=workers, chunk=1, patience=patience)
    for canvas, asked, groups in zip(canvases, requests, shares, strict=True):
        found = [next(replies) for _ in groups]
        seconds, started = time.perf_counter() - started, time.perf_counter()
        paths = _merged(canvas, groups, found, denoiser.pad_id, seconds)
        setting = run_setting(denoiser, policy, budget=budget, sampling=sampling, eos=eos, cache="exact")
        recording = Recording(canvas, setting | {"workers": workers})
        for step in (*paths, *_summary(denoiser, canvas, paths, policy, budget, eos)):
            recording.take(step)
        yield Gathered(trace=recording.trace(denoiser), sent=sum(map(len, asked)), received=sum(map(len, found)))


def _check_separate(canvases: Sequence[Canvas], policy: Policy, budget: Budget, sampling: Sampling, eos: Eos) -> None:
    """Raise InputError, one line, where what one path writes would depend on another."""
    name = policy_name(policy)
    paths = {canvas.spec.paths for canvas in canvases}
    if any(canvas.spec.attention != "paths" for canvas in canvases):
        raise InputError("under full attention paths see each other, and workers would have to talk in every layer; "
                         "give --attention paths, or one worker")  # fmt: skip
    if type(policy) not in SEPARATE or getattr(policy, "summary", "last") != "last" or share_of(policy) < 1:
        raise InputError(
            f"policy {name!r} decides over several paths at once, so they cannot be written apart; use "
            "parallel_threshold, parallel_entropy_bound or parallel_forced, without agree and with the summary last"
        )
    if getattr(policy, "keep", 0.0):
        raise InputError(f"policy {name!r} keeps runners-up, which workers do not send; drop keep, or use one worker")
    if budget.steps is not None:
        raise InputError("steps are spread over all slots of a canvas; workers need tokens per step")
    if sampling != Sampling():
        raise InputError("workers write the likeliest tokens; drop temperature, top_p, top_k and guidance")
    if budget.tokens is not None and (eos == "stop" or any(budget.tokens % count for count in paths)):
        raise InputError(
            f"policy {name!r} deals {budget.tokens} tokens a step over {max(paths)} paths that end together; give a "
            "multiple of the paths and another --eos than stop, or use parallel_threshold"
        )


def _shares(paths: int, workers: int) -> list[tuple[int, ...]]:
    """Which paths each worker writes: dealt in turn; workers without a path are left out."""
    return [tuple(range(first, paths, workers)) for first in range(min(paths, workers))]


def request_of(prompt: Sequence[int] | Ints, paths: Sequence[int]) -> bytes:
    """The paths to write and the prompt, 4 bytes a token."""
    return struct.pack("<H", len(paths)) + np.array(paths, "<u2").tobytes() + np.array(prompt, "<u4").tobytes()


def _read_request(request: bytes) -> tuple[list[int], list[int]]:
    (count,) = struct.unpack_from("<H", request)
    paths = np.frombuffer(request, "<u2", count, 2)
    return paths.tolist(), np.frombuffer(request, "<u4", -1, 2 + 2 * count).tolist()


@dataclass(frozen=True, kw_only=True)
class PathWork:
    """What a worker does with a request. It is sent with every request and does not grow with the canvas."""

    opening: tuple[tuple[str, Any], ...]
    spec: CanvasSpec
    policy: str
    budget: Budget
    eos: Eos

    def __call__(self, request: bytes) -> bytes:
        """Tokens and steps of the paths asked for, in their order, and the query tokens of each step."""
        if parent_process() is not None:
            import torch

            torch.set_num_threads(1)
        paths, prompt = _read_request(request)
        denoiser = _opened(self.opening)
        canvas = layout(prompt, self.spec, denoiser.tokenizer, denoiser.mask_id)
        mine = np.isin(canvas.region, paths)
        apart = replace(canvas, ids=np.where((canvas.region >= 0) & ~mine, denoiser.pad_id, canvas.ids))
        return _reply(apart, paths, self._steps(denoiser, apart, len(paths)))

    def _steps(self, denoiser: Denoiser, canvas: Canvas, paths: int) -> list[Step]:
        budget = self.budget
        if budget.tokens is not None:
            budget = replace(budget, tokens=budget.tokens // self.spec.paths * paths)
        policy = parse_policy(self.policy)
        return [*decode(denoiser, [canvas], policy, budget=budget, eos=self.eos, cache="exact")]


_models: dict[tuple[tuple[str, Any], ...], Denoiser] = {}


def _opened(opening: tuple[tuple[str, Any], ...]) -> Denoiser:
    if opening not in _models:
        _models[opening] = load(**dict(opening))
    return _models[opening]


def _reply(canvas: Canvas, paths: Sequence[int], steps: Sequence[Step]) -> bytes:
    token_L, step_L = canvas.ids.astype("<u4"), np.zeros(len(canvas), "<u2")
    for step in steps:
        for event in step.events:
            token_L[event.position] = event.token
            step_L[event.position] = step.index | (FILLED if event.kind == FILL else 0)
    places = _places(canvas, paths)
    queries = np.array([step.cost.queries for step in steps], "<u2")
    return token_L[places].tobytes() + step_L[places].tobytes() + queries.tobytes()


def _places(canvas: Canvas, paths: Sequence[int]) -> Ints:
    return np.flatnonzero(np.isin(canvas.region, paths))


def _merged(
    canvas: Canvas, groups: Sequence[Sequence[int]], replies: Sequence[bytes], pad_id: int, seconds: float
) -> list[Step]:
    """The steps of all workers as one: their nth forwards become step n. The time is spread evenly."""
    events: dict[int, list[Event]] = {}
    queries: dict[int, int] = {}
    for paths, reply in zip(groups, replies, strict=True):
        places = _places(canvas, paths)
        tokens = np.frombuffer(reply, "<u4", len(places)).tolist()
        marks = np.frombuffer(reply, "<u2", len(places), 4 * len(places)).tolist()
        for place, token, mark in zip(places.tolist(), tokens, marks, strict=True):
            kind = FILL if mark & FILLED else COMMIT
            step = mark & (FILLED - 1)
            events.setdefault(step, []).append(Event(step, kind, place, token, float("nan")))
        for step, count in enumerate(np.frombuffer(reply, "<u2", -1, 6 * len(places)).tolist()):
            queries[step] = queries.get(step, 0) + count
    return [
        Step(
            row=0, index=step, events=tuple(sorted(events.get(step, []), key=lambda event: event.position)),
            seconds=seconds / len(queries), cost=Cost(forwards=1, queries=queries[step]),
        )
        for step in sorted(queries)
    ]  # fmt: skip


def _summary(
    denoiser: Denoiser, canvas: Canvas, paths: Sequence[Step], policy: Policy, budget: Budget, eos: Eos
) -> Iterator[Step]:
    """Writes the rest of a canvas whose paths are done, as steps after theirs."""
    ids = canvas.ids.copy()
    for event in (event for step in paths for event in step.events):
        ids[event.position] = event.token
    for step in decode(denoiser, [replace(canvas, ids=ids)], policy, budget=budget, eos=eos, cache="exact"):
        index = step.index + len(paths)
        yield replace(step, index=index, events=tuple(event._replace(step=index) for event in step.events))
