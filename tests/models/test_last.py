"""The last layer where its states are read gives what it gives everywhere, and computes little else than that."""

from typing import get_args

import numpy as np
import pytest
import torch
from test_denoiser import make
from test_session import canvases, close

import nap.models.apart as apart
import nap.models.last as last
from nap.canvas.visibility import Attention
from nap.decoding.budget import Budget
from nap.decoding.decode import decode_traces
from nap.decoding.policies.registry import parse_policy
from nap.models.caches import CACHES
from nap.models.last import read_at
from nap.models.load import load
from nap.models.session import Question, open_session

NATIVE = {"llama": {}, "qwen2": {"num_key_value_heads": 2}, "qwen3": {"block_size": 4}}
RAGGED = (24, 30, 17)


@pytest.fixture(scope="module", params=NATIVE)
def model(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / request.param
    torch.manual_seed(0)
    make(folder, request.param, *["Dream"] * (request.param == "qwen2"), **NATIVE[request.param])
    return load(str(folder))


@pytest.fixture
def rows_of_mlp(model):
    """The shapes [rows, positions] that the last layer's MLP is given."""
    met: list[tuple[int, int]] = []
    hook = model.body.body.layers[-1].mlp.register_forward_pre_hook(lambda _, given: met.append(given[0].shape[:2]))
    yield met
    hook.remove()


def everywhere(monkeypatch, yes: bool):
    """Every layer is computed at all positions, or the last one always where it is read."""
    monkeypatch.setattr(last, "LEAST_SAVED", 1 << 60 if yes else -(1 << 60))


@pytest.mark.parametrize("attention", get_args(Attention))
@pytest.mark.parametrize("cache", ["none", "exact", "prefix"])
def test_the_logits_are_those_of_a_layer_that_is_computed_everywhere(model, monkeypatch, cache, attention):
    """Ragged rows of which each asks about other positions and more or fewer of them, tokens that change in between."""
    rng, rows, said = np.random.default_rng(0), canvases(model, RAGGED, attention), []
    asked = [
        [Question(row, np.where(canvas.region < 0, canvas.ids, rng.integers(0, 20, len(canvas))), at_N, 2, len(canvas))
         for row, canvas in enumerate(rows)
         for at_N in [np.sort(rng.choice(np.arange(2, len(canvas)), 2 + 3 * row, replace=False))]]
        for _ in range(3)
    ]  # fmt: skip
    for yes in (True, False):
        everywhere(monkeypatch, yes)
        session = open_session(model, cache)
        for row, canvas in enumerate(rows):
            session.admit(row, canvas)
        said.append([session.ask(questions).logits(slice(None)) for questions in asked])
    assert all(map(close, *said))


@pytest.mark.parametrize("cache", CACHES)
def test_every_cache_writes_the_same_tokens(model, monkeypatch, cache):
    finals = []
    for yes in (True, False):
        everywhere(monkeypatch, yes)
        policy, budget = parse_policy("low_confidence:block=8"), Budget(tokens=2)
        traces = decode_traces(model, canvases(model, RAGGED), policy, budget=budget, cache=cache)
        finals.append([trace.final for trace in traces])
    assert finals[0] == finals[1]


@pytest.mark.parametrize("policy", ["parallel_forced", "remix:block=8", "wino:block=8"])
def test_paths_in_parts_mixes_and_leave_one_out_states_are_the_same(model, monkeypatch, policy):
    if policy.startswith("wino") and model.shift:
        pytest.skip("a shifted model has no leave-one-out states")
    monkeypatch.setattr(apart, "FEWEST_HIDDEN", 1)
    finals = []
    for yes in (True, False):
        everywhere(monkeypatch, yes)
        chosen = parse_policy(policy)
        attention = "paths" if policy == "parallel_forced" else "full"
        budget = Budget(tokens=2) if chosen.paced else None
        traces = decode_traces(model, canvases(model, RAGGED, attention), chosen, budget=budget)
        finals.append([trace.final for trace in traces])
    assert finals[0] == finals[1]


def test_its_mlp_is_given_the_positions_asked_about_and_few_others(model, monkeypatch, rows_of_mlp):
    monkeypatch.setattr(last, "LEAST_SAVED", 1)
    session = open_session(model)
    rows = canvases(model, (40, 40))
    for row, canvas in enumerate(rows):
        session.admit(row, canvas)
    few, many = np.array([3, 9]), np.arange(1, 42)
    for at_N in (few, many):
        session.ask([Question(row, canvas.ids, at_N, 2, 42) for row, canvas in enumerate(rows)])
    assert rows_of_mlp == [(2, 8), (2, 42)], "a multiple of 8, and all where that saves nothing"


def test_what_would_save_little_or_comes_out_of_order_is_computed_everywhere():
    ordered, at = torch.tensor([0, 0, 1]), torch.tensor([3, 1, 2])
    found = read_at(ordered, at, (2, 512), 64)
    assert found and found.place_BM[found.wanted_BM].tolist() == at.tolist() and found.place_BM.shape == (2, 8)
    assert read_at(ordered, at, (2, 40), 64) is None
    assert read_at(torch.tensor([0, 1, 0]), at, (2, 512), 64) is None
