"""Decode the prompts of traces once more with other settings of their policy, such as another choice among ties.

    changed = decode_again(denoiser, traces, within=0.01, prefer="left")

A trace holds its canvas, policy, budget, sampling, cache and seed. Decoding it again with the same model gives the same
trace, up to the rounding of another batch. Does not measure differences (order/ties.py), and does not check that the
model is the same (made_by.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

import numpy as np

from nap.canvas.canvas import Canvas, CanvasSpec
from nap.canvas.infill import gaps_of
from nap.common.files import InputError
from nap.data.trace import Trace
from nap.decoding.budget import Budget, Sampling, Settings
from nap.decoding.decode import decode_traces
from nap.decoding.policies.policy import Policy
from nap.decoding.policies.registry import parse_policy
from nap.models.denoiser import Denoiser
from nap.models.silent import Silent

Kind = TypeVar("Kind")


def decode_again(denoiser: Denoiser, traces: Sequence[Trace], **changes: object) -> list[Trace]:
    """The traces of the same decodes with these policy settings changed; rows of one setting share forwards.

    Raises InputError for a trace that does not say how it was made, and a policy that lacks one of the settings.
    """
    found: dict[int, Trace] = {}
    for chosen in _by_setting(traces):
        canvases = [canvas_again(traces[i]) for i in chosen]
        policy, settings = settings_again(traces[chosen[0]])
        found |= zip(chosen, decode_traces(denoiser, canvases, _changed(policy, changes), **settings), strict=True)
    return [found[i] for i in range(len(traces))]


def knowing_nothing(trace: Trace, draws: int) -> list[Trace]:
    """Random orders under the rules of the trace's policy: its blocks, slots, turns of the paths, the summary last.

    Each of the `draws` is the same decode by a model that is equally sure everywhere. Raises InputError as
    `decode_again` does.
    """
    canvas, (policy, settings) = canvas_again(trace), settings_again(trace)
    masked = canvas.ids == trace.mask_id
    blank = replace(canvas, ids=np.where(masked, _MASK, _TOKEN))
    guessing = _changed(policy, {"within": 1.0, "prefer": "random", "keep": 0.0})
    silent = Silent(_MASK, _TOKEN, vocabulary=2)
    return [
        decode_traces(silent, [blank], guessing, budget=settings.get("budget"), seed=draw)[0] for draw in range(draws)
    ]


# The two tokens that such a model needs.
_MASK, _TOKEN = 0, 1


def _by_setting(traces: Sequence[Trace]) -> list[list[int]]:
    groups: dict[str, list[int]] = {}
    for i, trace in enumerate(traces):
        groups.setdefault(repr(sorted(trace.setting.items(), key=lambda item: item[0])), []).append(i)
    return list(groups.values())


def canvas_again(trace: Trace) -> Canvas:
    """The canvas that a trace started from. Raises InputError where it does not say its own."""
    region, ids = np.array(trace.region, np.int64), np.array(trace.initial, np.int64)
    spec = _read(trace, "canvas", CanvasSpec)
    gaps = gaps_of(ids, region == 0, trace.mask_id) if trace.given else ()
    return Canvas(ids=ids, region=region, spec=spec, problem_id=trace.problem_id, gaps=gaps)


def settings_again(trace: Trace) -> tuple[Policy, Settings]:
    """The policy of a trace and the settings beside it. Raises InputError where it does not say them."""
    said = trace.setting
    settings: Settings = {
        "budget": _read(trace, "budget", Budget), "sampling": _read(trace, "sampling", Sampling),
        "eos": said.get("eos", "count"), "seed": said.get("seed", 0),
    }  # fmt: skip
    cache = said.get("cache")
    policy = said.get("policy")
    if not isinstance(policy, str) or not isinstance(said.get("seed", 0), int):
        raise _untold(trace, "policy" if not isinstance(policy, str) else "seed")
    if isinstance(cache, dict):
        settings["cache"] = cache["name"]
    return parse_policy(policy), settings


def _read(trace: Trace, name: str, kind: Callable[..., Kind]) -> Kind:
    try:
        return kind(**trace.setting[name])
    except (KeyError, TypeError):
        raise _untold(trace, name) from None


def _untold(trace: Trace, name: str) -> InputError:
    return InputError(
        f"trace {trace.problem_id!r:.60} does not say its {name}, so it cannot be decoded again; use one of this NAP"
    )


def _changed(policy: Any, changes: Mapping[str, object]) -> Policy:
    known = {field.name for field in fields(policy)}
    if lacking := [name for name in changes if name not in known]:
        raise InputError(
            f"policy {type(policy).__name__} does not rank candidates by a score: it has no setting {lacking[0]!r}; "
            "low_confidence, entropy, margin and parallel_forced have"
        )
    return replace(policy, **changes)
