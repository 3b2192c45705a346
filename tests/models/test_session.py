"""Sessions on small real models: kept keys give what a whole forward gives, and rows keep their places."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_denoiser import make

from nap.canvas.canvas import CanvasSpec, layout
from nap.decoding.budget import Budget
from nap.decoding.decode import decode_traces
from nap.decoding.engine import Engine
from nap.decoding.policies.registry import parse_policy
from nap.models.caches import CACHES, Dual, NoCache, Prefix
from nap.models.load import load
from nap.models.session import Question, Session, StoredSession
from nap.models.store import Store

FAMILIES = {"llama": ("llama", {}), "Dream": ("qwen2", {}), "sdar": ("qwen3", {"block_size": 4})}


@pytest.fixture(scope="module", params=FAMILIES)
def model(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / request.param
    native, config = FAMILIES[request.param]
    make(folder, native, request.param, **config)
    return load(str(folder))


def canvases(denoiser, lengths, attention="full"):
    spec = {"paths": 1, "summary_tokens": 0, "tags": "none", "attention": attention}
    return [
        layout([5 + n, 7], CanvasSpec(path_tokens=length, **spec), None, denoiser.mask_id, problem_id=str(n))
        for n, length in enumerate(lengths)
    ]


def question(row, canvas, ids_L=None, at_N=None):
    free = np.flatnonzero(canvas.region >= 0)
    ids_L, at_N = (canvas.ids if ids_L is None else ids_L), (free if at_N is None else at_N)
    return Question(row, ids_L, at_N, int(free[0]), int(free[-1]) + 1)


def close(one, other):
    return torch.allclose(one, other, atol=1e-5 * float(other.abs().max()))


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.lists(st.integers(0, 4), max_size=6), st.integers(0, 99))
def test_a_store_in_which_everything_is_computed_gives_what_a_whole_forward_gives(model, lengths, leaving, seed):
    """Rows come and go, tokens change, any positions are asked about; the store grows and its places are used again."""
    rng, stored, whole = np.random.default_rng(seed), StoredSession(model, NoCache()), Session(model)
    rows = canvases(model, lengths)
    inside = {}
    for number, canvas in enumerate([*rows, *rows]):
        for session in (stored, whole):
            session.admit(number, canvas)
        inside[number] = canvas
        questions = []
        for row, there in inside.items():
            ids_L = there.ids.copy()
            free = np.flatnonzero(there.region >= 0)
            ids_L[free] = rng.integers(0, 20, len(free))
            at_N = np.sort(rng.permutation(free)[: rng.integers(1, len(free) + 1)])
            questions.append(question(row, there, ids_L, at_N))
        one, other = stored.ask(questions), whole.ask(questions)
        assert close(one.logits(slice(None)), other.logits(slice(None)))
        if leaving and inside and len(inside) > 1:
            gone = [*inside][leaving.pop() % len(inside)]
            del inside[gone]
            stored.drop(gone)
            whole.drop(gone)


@pytest.mark.parametrize("cache", [Prefix, Dual])
def test_after_a_whole_forward_a_cache_computes_its_part_and_reads_the_rest(model, cache):
    session, (canvas,) = StoredSession(model, cache()), canvases(model, [8])
    session.admit(0, canvas)
    asked = Question(0, canvas.ids, np.array([4, 5]), 4, 6)
    assert session.ask([asked]).queries_B == [10]
    again = session.ask([asked])
    first = 3 if model.shift else 4
    assert again.queries_B == [10 - first if cache is Prefix else 6 - first]
    # Nothing has changed, so what was kept is right.
    reference = Session(model)
    reference.admit(0, canvas)
    assert close(again.logits(slice(None)), reference.ask([asked]).logits(slice(None)))
    assert session.ask([asked._replace(start=6, stop=8)]).queries_B == [10], "another block begins with everything"


@pytest.mark.parametrize("session_of", [Session, lambda model: StoredSession(model, Prefix())])
def test_a_row_that_was_dropped_or_never_admitted_is_refused(model, session_of):
    session, (canvas,) = session_of(model), canvases(model, [3])
    with pytest.raises(ValueError, match="row 0 is not in this session"):
        session.ask([question(0, canvas)])
    session.admit(0, canvas)
    session.drop(0)
    for use in (lambda: session.ask([question(0, canvas)]), lambda: session.drop(0)):
        with pytest.raises(ValueError, match="it was never admitted, or it was dropped"):
            use()


def test_a_place_is_kept_until_its_row_goes_and_is_then_used_again():
    store = Store()
    for row in (3, 5, 8):
        store.reserve(row, 4)
    assert store.places == {3: 0, 5: 1, 8: 2}
    store.release(5)
    store.reserve(9, 6)
    assert store.places == {3: 0, 8: 2, 9: 1} and store.length == 6


def test_a_block_causal_model_decodes_the_same_with_the_prefix_cache(tmp_path):
    """Nothing before a block sees it, so what is kept stays right."""
    make(tmp_path, "qwen3", "sdar", block_size=4)
    denoiser, spec = load(str(tmp_path)), CanvasSpec(paths=1, path_tokens=12, summary_tokens=0, tags="none")
    rows = [layout([5, 6, 7, n], spec, None, denoiser.mask_id, problem_id=str(n)) for n in (3, 8)]
    policy, budget = parse_policy("low_confidence:block=4"), Budget(tokens=1)
    without, with_it = (decode_traces(denoiser, rows, policy, budget=budget, cache=c) for c in ("none", "prefix"))
    assert [[e[:4] for e in trace.events] for trace in with_it] == [[e[:4] for e in trace.events] for trace in without]
    queries = [sum(cost.queries for cost in trace.costs) for trace in (without[0], with_it[0])]
    assert queries == [12 * 16, 3 * 16 + 3 * (12 + 8 + 4)]


@pytest.mark.parametrize("cache", [name for name in CACHES if name != "none"])
def test_with_a_cache_a_row_is_what_it_is_alone_and_the_trace_says_so(model, cache):
    rows, policy = canvases(model, [9, 4, 7]), parse_policy("low_confidence:block=3")
    together = decode_traces(model, rows, policy, budget=Budget(tokens=1), cache=cache)
    for row, trace in zip(rows, together, strict=True):
        (alone,) = decode_traces(model, [row], policy, budget=Budget(tokens=1), cache=cache)
        assert [e[:4] for e in trace.events] == [e[:4] for e in alone.events]
        assert trace.costs == alone.costs
        assert trace.setting["cache"] == {"name": cache, "exact": False}


def test_rows_that_join_a_session_with_a_cache_change_nobody(model):
    rows, policy = canvases(model, [6, 9, 3]), parse_policy("low_confidence:block=3")
    engine, found = Engine(model, "prefix"), {}
    for canvas in rows:
        engine.add(canvas, policy, budget=Budget(tokens=1))
        for _ in range(2):
            for step in engine.step():
                found.setdefault(step.row, []).extend(e[:4] for e in step.events)
    while engine.running:
        for step in engine.step():
            found.setdefault(step.row, []).extend(e[:4] for e in step.events)
    for number, canvas in enumerate(rows):
        (alone,) = decode_traces(model, [canvas], policy, budget=Budget(tokens=1), cache="prefix")
        assert found[number] == [e[:4] for e in alone.events]
