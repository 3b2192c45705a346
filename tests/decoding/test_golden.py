"""Stored traces that a refactoring must not move. A change that is meant to move them says so and regenerates them:

NAP_REGENERATE=1 python -m pytest tests/test_golden.py
"""

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from nap.canvas.canvas import CanvasSpec, layout
from nap.data.trace_files import read_traces, write_traces
from nap.decoding.budget import Budget, Sampling
from nap.decoding.decode import decode_traces
from nap.decoding.policies.policy import Policy
from nap.decoding.policies.registry import parse_policy
from toys import MASK, WORDS, HashDenoiser

STORED = Path(__file__).parents[1] / "golden" / "traces.jsonl"


# The first policies that there were. Those that came later have known orders and published decodes of their own.
FIRST = (
    "ar", "low_confidence", "random", "entropy", "margin", "threshold", "factor", "entropy_bound", "hierarchy",
    "parallel_forced",
)  # fmt: skip


def decoded():
    """Two ragged rows by each of these policies, and one by all that is drawn and filled."""
    shape = CanvasSpec(paths=2, path_tokens=4, summary_tokens=2, attention="paths")
    canvases = [layout(WORDS.encode(prompt), shape, WORDS, MASK, problem_id=prompt) for prompt in ("a b c", "d")]
    policies = [parse_policy(name) for name in FIRST]
    runs: list[tuple[Policy, dict[str, Any]]]
    runs = [(policy, {"budget": Budget(tokens=3) if policy.paced else None}) for policy in policies]
    sampling = Sampling(temperature=1.0, top_p=0.9, top_k=8)
    runs.append((parse_policy("factor:f=2,block=4"), {"sampling": sampling, "eos": "stop", "seed": 1}))
    for policy, settings in runs:
        for trace in decode_traces(HashDenoiser(), canvases, policy, **settings):
            setting = {name: value for name, value in trace.setting.items() if name != "versions"}
            yield dataclasses.replace(trace, seconds=(), costs=(), vocabulary={}, setting=setting)


def test_the_stored_traces_have_not_moved():
    now = list(decoded())
    if os.environ.get("NAP_REGENERATE"):
        write_traces(now, STORED)
    stored = list(read_traces(STORED))
    assert len(now) == len(stored)
    for one, other in zip(now, stored, strict=True):
        name = f"{other.setting['policy']} of {other.problem_id!r}"
        assert [e[:4] for e in one.events] == [e[:4] for e in other.events], name
        probabilities = [[e.probability for e in trace.events] for trace in (one, other)]
        assert probabilities[0] == pytest.approx(probabilities[1], abs=1e-5, nan_ok=True), name
        assert dataclasses.replace(one, events=()) == dataclasses.replace(other, events=()), name
