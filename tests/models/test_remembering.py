"""A model that remembers says the same as one that does not, and computes a canvas once."""

import numpy as np
import pytest
import torch

from nap.canvas.canvas import CanvasSpec, collate, layout
from nap.canvas.visibility import Attention, Positions
from nap.data.trace import Trace
from nap.decoding.budget import Budget
from nap.decoding.decode import decode_traces
from nap.decoding.policies.registry import parse_policy
from nap.models.any import load
from nap.models.denoiser import NativeDenoiser
from nap.models.remembering import Remembering, remembering


def opened(name: str, most: int = 1 << 20) -> tuple[NativeDenoiser, Remembering]:
    plain = load(name)
    memory = remembering(plain, most)
    assert isinstance(plain, NativeDenoiser) and isinstance(memory, Remembering)
    return plain, memory


def canvases(denoiser: NativeDenoiser, attention: Attention = "full", positions: Positions = "canvas"):
    spec = CanvasSpec(paths=2, path_tokens=6, summary_tokens=3, attention=attention, positions=positions)
    prompts = ([9, 10, 11], [9, 10], [12])
    return [layout(ids, spec, denoiser.tokenizer, denoiser.mask_id) for ids in prompts]


def written(trace: Trace) -> list[tuple[int, int, int, int]]:
    return [(event.step, event.kind, event.position, event.token) for event in trace.events]


@pytest.mark.parametrize(("attention", "positions"), [("full", "canvas"), ("paths", "canvas"), ("full", "parallel")])
@pytest.mark.parametrize("policy", ["low_confidence", "threshold:tau=0.5", "lopa:branches=2", "saber", "dawn", "wino"])
def test_every_decoder_writes_the_same_with_a_memory_and_the_second_time_at_no_forward(
    tiny, policy, attention, positions
):
    plain, memory = opened(str(tiny))
    rows, chosen = canvases(plain, attention, positions), parse_policy(policy)
    budget = Budget(tokens=2) if chosen.paced else Budget()
    wanted = decode_traces(plain, rows, chosen, budget=budget)
    computed = 0
    for _ in range(2):
        found = decode_traces(memory, rows, chosen, budget=budget)
        assert [written(trace) for trace in found] == [written(trace) for trace in wanted]
        assert [trace.forwards for trace in found] == [trace.forwards for trace in wanted]
        computed = memory.computed
    decode_traces(memory, rows, chosen, budget=budget)
    assert memory.computed == computed


def test_a_canvas_is_known_by_its_tokens_and_by_who_sees_whom(tiny):
    plain, memory = opened(str(tiny))
    for attention in ("full", "paths"):
        for positions in ("canvas", "parallel"):
            ids, where = collate(canvases(plain, attention, positions), plain.pad_id)
            rows, at = np.nonzero(where.region_BL >= 0)
            # Not in the order of the rows.
            order = np.random.default_rng(0).permutation(len(rows))
            asked = torch.from_numpy(rows[order]), torch.from_numpy(at[order])
            for _ in range(2):
                said = memory.states(torch.from_numpy(ids), where, asked)
                torch.testing.assert_close(said, plain.states(torch.from_numpy(ids), where, asked))
    assert memory.computed == 12


def test_what_is_asked_outside_of_slots_is_answered_and_not_remembered(tiny):
    plain, memory = opened(str(tiny))
    ids, where = collate(canvases(plain), plain.pad_id)
    asked = torch.tensor([0, 1]), torch.tensor([0, 1])
    said = memory.states(torch.from_numpy(ids), where, asked)
    torch.testing.assert_close(said, plain.states(torch.from_numpy(ids), where, asked))
    assert not memory.known


def test_a_memory_holds_no_more_than_it_may_and_forgets_the_first(tiny):
    plain, memory = opened(str(tiny), most=20_000)
    for policy in ("low_confidence", "random", "ar"):
        decode_traces(memory, canvases(plain), parse_policy(policy), budget=Budget(tokens=1))
        assert memory.held == sum(states.nbytes for states in memory.known.values()) <= 20_000
    assert 0 < len(memory.known) < memory.computed


def test_an_exact_law_needs_no_memory():
    law = load("exact:grids")
    assert remembering(law) is law
