"""Turns steps into traces: everything that a decode did, and what is needed to repeat it.

Does not decode (engine.py), and does not write files (data/trace_files.py).
"""

import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Unpack

import torch

from nap import __version__
from nap.canvas.canvas import Canvas
from nap.data.trace import Cost, Event, RunnerUp, Step, Trace
from nap.decoding.budget import Budget, Sampling, Settings
from nap.decoding.policies.policy import Policy
from nap.decoding.policies.registry import policy_name
from nap.decoding.policies.ties import Tied
from nap.models.caches import cache_of
from nap.models.denoiser import Denoiser

Setting = dict[str, object]


def run_setting(denoiser: Denoiser, policy: Policy, **settings: Unpack[Settings]) -> Setting:
    """What a trace must say so that it can be repeated. A cache says whether it is exact; `none` adds nothing."""
    cache = settings.get("cache", "none")
    setting: Setting = {
        "model": denoiser.setting,
        "policy": policy_name(policy),
        "budget": (settings.get("budget") or Budget()).said(),
        "sampling": (settings.get("sampling") or Sampling()).said(),
        "eos": settings.get("eos", "count"),
        "seed": settings.get("seed", 0),
        "versions": {"nap": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }
    if isinstance(policy, Tied) and policy.keep:
        setting["runners_up"] = {"keep": policy.keep, "in_slots": policy.in_slots}
    return setting if cache == "none" else setting | {"cache": {"name": cache, "exact": cache_of(cache).exact}}


@dataclass
class Recording:
    """The recording of one row so far."""

    canvas: Canvas
    setting: Setting
    events: list[Event] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    runners_up: list[tuple[RunnerUp, ...]] = field(default_factory=list)

    def take(self, step: Step) -> None:
        """Add a step of this row."""
        self.events += step.events
        self.costs.append(step.cost)
        self.seconds.append(step.seconds)
        self.runners_up.append(step.runners_up)

    def trace(self, denoiser: Denoiser, *, cancelled: bool = False) -> Trace:
        """The trace so far. Its setting says where the row was cancelled."""
        initial = self.canvas.ids.tolist()
        return Trace(
            problem_id=self.canvas.problem_id,
            initial=tuple(initial),
            region=tuple(self.canvas.region.tolist()),
            events=tuple(self.events),
            forwards=sum(cost.forwards for cost in self.costs),
            mask_id=denoiser.mask_id,
            seconds=tuple(self.seconds),
            costs=tuple(self.costs),
            runners_up=tuple(self.runners_up) if "runners_up" in self.setting else (),
            uncounted=tuple(sorted({denoiser.pad_id, *denoiser.eos_ids})),
            vocabulary=_vocabulary(denoiser, {*initial, *(event.token for event in self.events)}),
            setting=self.setting | {"canvas": self.canvas.spec.said()} | ({"cancelled": True} if cancelled else {}),
        )


def collect(denoiser: Denoiser, canvases: Sequence[Canvas], steps: Iterable[Step], setting: Setting) -> list[Trace]:
    """The Traces of a decode from its Steps."""
    rows = [Recording(canvas, setting) for canvas in canvases]
    for step in steps:
        rows[step.row].take(step)
    return [row.trace(denoiser) for row in rows]


def _vocabulary(denoiser: Denoiser, tokens: set[int]) -> dict[int, str]:
    if denoiser.tokenizer is None:
        return {}
    return {token: denoiser.tokenizer.decode([token]) for token in sorted(tokens)}
