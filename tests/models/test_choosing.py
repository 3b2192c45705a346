"""Caches that choose what to refresh, and what a session measures for them."""

import numpy as np
import pytest
import torch
from test_denoiser import make

from nap.canvas.canvas import CanvasSpec, collate, layout
from nap.canvas.visibility import Layout, sight
from nap.common.files import InputError
from nap.decoding import needs
from nap.decoding.budget import Budget
from nap.decoding.decode import decode_traces
from nap.decoding.engine import Engine
from nap.decoding.policies.registry import parse_policy
from nap.models.caches import D2, Drift, cache_of
from nap.models.kept import Kept
from nap.models.load import load
from nap.models.more import more
from nap.models.session import Question, StoredSession, open_session
from nap.models.watching import Heard

FAMILIES = {"llama": ("llama", {}), "Dream": ("qwen2", {}), "sdar": ("qwen3", {"block_size": 4})}


@pytest.fixture(scope="module", params=FAMILIES)
def model(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / request.param
    native, config = FAMILIES[request.param]
    torch.manual_seed(0)
    make(folder, native, request.param, **config)
    return load(str(folder))


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "bert"
    make(folder, "bert")
    return load(str(folder))


def canvas_of(denoiser, tokens=8, prompt=(5, 7)):
    spec = CanvasSpec(paths=1, path_tokens=tokens, summary_tokens=0, tags="none")
    return layout([*prompt], spec, None, denoiser.mask_id)


def kept_of(length=10, needed=(8, 9)):
    """A row of which everything was computed in its first forward, and then position 2 was written."""
    ids_L = np.arange(length)
    row = Kept(ids_L, 63, sight(Layout(np.zeros((1, length), np.int64))))
    row.ask(ids_L, np.array(needed), 8, length)
    row.compute(np.arange(length))
    row.ask(np.where(ids_L == 2, 50, ids_L), np.array(needed), 8, length)
    return row


def queries(trace):
    return [cost.queries for cost in trace.costs]


# What is measured


def rollout(maps, rows):
    """d2Cache's rollout by its formula: (A + I) / 2 layer after layer, A the identity where nothing was computed."""
    length = maps[0].shape[-1]
    found = np.eye(length)
    for weights in maps:
        effective = np.eye(length)
        effective[rows] = weights[rows]
        found = (effective + np.eye(length)) / 2 @ found
    return found.sum(0)


def test_influence_is_the_attention_rollout_of_what_was_computed(model):
    canvas = canvas_of(model)
    _, whole = collate([canvas], model.pad_id)
    ids_BL, nobody = torch.tensor(canvas.ids[None]), np.zeros((1, 0), np.int64)
    maps = [found[0].double().numpy() for found in more(model, ids_BL, whole, nobody, True).attention_TBLL]
    session = StoredSession(model, D2(p=0))
    session.admit(0, canvas)
    session.ask([Question(0, canvas.ids, np.array([4, 5]), 4, 6)])
    assert np.allclose(session.kept[0].influence_L, rollout(maps, np.arange(len(canvas))), atol=1e-5)
    assert session.kept[0].influence_L.sum() == pytest.approx(len(canvas), abs=1e-4)
    session.ask([Question(0, canvas.ids, np.array([4, 5]), 4, 6)])
    computed = [3, 4] if model.shift else [4, 5]
    assert np.allclose(session.kept[0].influence_L, rollout(maps, computed), atol=1e-5), "nothing has changed"


def test_what_each_position_is_told_is_the_first_layers_attention_whatever_came_bit_by_bit(model):
    canvas, rng = canvas_of(model), np.random.default_rng(0)
    _, whole = collate([canvas], model.pad_id)
    seen, told = sight(whole, block_size=model.block_size), []
    heard = Heard(seen.sees_GL[seen.group_L])
    hook = model.body.body.layers[0].self_attn.o_proj.register_forward_pre_hook(lambda _, given: told.append(given[0]))
    ids_L, position_Q = canvas.ids.copy(), np.arange(len(canvas))
    for _ in range(3):
        heard.take(model.first(torch.tensor(ids_L[position_Q][None]), whole, position_Q[None]), position_Q)
        model.hidden(torch.tensor(ids_L[None]), whole)
        assert torch.allclose(heard.told_LD, told[-1][0], atol=1e-5)
        position_Q = np.sort(rng.permutation(len(canvas))[:2])
        ids_L[position_Q] = rng.integers(0, 20, 2)
    hook.remove()


def test_a_position_has_drifted_since_it_was_computed_and_only_where_it_sees_a_change(model):
    canvas = canvas_of(model)
    session = StoredSession(model, Drift(budget=1))
    session.admit(0, canvas)
    asked = Question(0, canvas.ids, np.array([9]), 9, 10)
    session.ask([asked])
    assert not session.kept[0].drift_L.any()
    ids_L = canvas.ids.copy()
    ids_L[5] = 9
    session.ask([asked._replace(ids_L=ids_L)])
    moved = session.kept[0].drift_L.copy()
    sees = np.ones(10, bool) if model.block_size is None else np.arange(10) // model.block_size >= 1
    assert (moved > 0).tolist() == sees.tolist()
    session.ask([asked._replace(ids_L=ids_L)])
    computed = np.isin(np.arange(10), [5, 8 if model.shift else 9])
    again = session.kept[0].drift_L
    assert not again[computed].any() and np.allclose(again[~computed], moved[~computed])


# What is chosen


def test_d2_refreshes_what_changed_and_the_fewest_others_that_hold_the_share():
    row = kept_of()
    row.influence_L = np.array([1, 1, 9, 3, 1, 1, 2, 1, 9, 9.0])
    assert D2(p=0).stale(row).tolist() == [2, 8, 9]
    assert D2(p=0.3).stale(row).tolist() == [2, 3, 8, 9], "3 of 10 is a third"
    assert D2(p=0.31).stale(row).tolist() == [2, 3, 6, 8, 9]
    assert D2(p=1).stale(row).tolist() == [*range(10)]


def test_drift_saves_its_budget_until_it_covers_what_moved_most():
    row = kept_of()
    row.drift_L = np.array([0.1, 4, 9, 4, 0.1, 4, 0.1, 0.1, 9, 9])
    assert Drift(budget=5).stale(row).tolist() == [2, 8, 9], "it has 2 left and needs 3"
    row.compute(np.array([2, 8, 9]))
    row.ask(row.ids_L, np.array([8, 9]), 8, 10)
    row.drift_L[2] = 0
    assert Drift(budget=5).stale(row).tolist() == [1, 3, 5, 8, 9], "with what was saved it has 5 left"
    assert Drift(budget=3).stale(row).tolist() == [8, 9]
    assert Drift(budget=5, share=1).stale(row).tolist() == [8, 9], "7 have moved, and 5 are left"
    assert Drift(budget=6, share=1).stale(row).tolist() == [0, 1, 3, 4, 5, 6, 7, 8, 9]


def test_what_moved_as_far_a_longer_time_ago_goes_first():
    row = kept_of()
    row.compute(np.array([2, 3, 8, 9]))
    row.ask(row.ids_L, np.array([8, 9]), 8, 10)
    row.drift_L = np.array([0, 0, 0, 4, 0, 4, 0, 0, 0, 0.0])
    assert Drift(budget=4, share=0.6).stale(row).tolist() == [5, 8, 9]


def test_nothing_is_refreshed_where_nothing_has_moved():
    assert Drift(budget=100).stale(kept_of()).tolist() == [2, 8, 9]


@pytest.mark.parametrize("cache", ["d2:p=0", "drift"])
def test_everything_is_computed_at_first_and_with_a_refresh_every_so_often(model, cache):
    canvas = canvas_of(model)
    asked = Question(0, canvas.ids, np.array([8, 9]), 8, 10)
    for refresh, expected in (("", [10, 2, 2]), ("refresh=2", [10, 2, 10])):
        session = open_session(model, f"{cache}{',' if ':' in cache else ':'}{refresh}")
        session.admit(0, canvas)
        assert [session.ask([asked]).queries_B[0] for _ in range(3)] == expected
        other = asked._replace(at_N=np.array([6, 7]), start=6, stop=8)
        assert (session.ask([other]).queries_B[0] == 10) is (cache == "drift" or bool(refresh)), "another block"


def test_drift_keeps_to_its_budget_and_one_without_bound_is_no_cache(model):
    canvas, policy = canvas_of(model, tokens=24), parse_policy("low_confidence:block=12")
    traces = {
        cache: decode_traces(model, [canvas], policy, budget=Budget(tokens=1), cache=cache)[0]
        for cache in ("none", "drift:budget=15", "drift:budget=1000,share=1", "d2:p=1")
    }
    events = {cache: [event[:4] for event in trace.events] for cache, trace in traces.items()}
    assert events["drift:budget=1000,share=1"] == events["none"] == events["d2:p=1"]
    computed = queries(traces["drift:budget=15"])
    first, rest = [computed[at] for at in (0, 12)], [*computed[1:12], *computed[13:]]
    assert first == [26, 26] and sum(rest) <= 15 * len(rest) and max(rest) > 15, "it saves, and spends at once"


def test_under_paths_nothing_that_sees_no_change_is_refreshed(model):
    region = np.array((-2, -2, -1, 0, 0, -1, 1, 1, -1, 2))
    canvas = canvas_of(model)
    spec = CanvasSpec(paths=2, path_tokens=2, summary_tokens=1, attention="paths")
    canvas = type(canvas)(ids=np.where(region >= 0, model.mask_id, region % 7 + 3), region=region, spec=spec)
    session = StoredSession(model, Drift(budget=100, share=1))
    session.admit(0, canvas)
    ids_L, asked = canvas.ids.copy(), Question(0, canvas.ids, np.array([3]), 3, 10)
    session.ask([asked])
    ids_L[6] = 9
    (computed,) = session.ask([asked._replace(ids_L=ids_L)]).queries_B
    sees = sight(collate([canvas], 0)[1], block_size=model.block_size)
    expected = {6, 2 if model.shift else 3} | set(np.flatnonzero(sees.sees_GL[sees.group_L][:, 6]))
    assert computed == len(expected) < 10


# What is refused, and BERT


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("d2:p=2", "p is a share from 0 to 1, got 2.0"),
        ("drift:budget=0", "budget is a number of positions of at least 1, got 0"),
        ("drift:share=-1", "share is a share from 0 to 1, got -1.0"),
        ("drift:refresh=0", "refresh is a number of forwards of at least 1, got 0"),
        ("drift:p=1", "it has: refresh, budget, share"),
    ],
)
def test_a_setting_out_of_range_is_one_line(name, said):
    with pytest.raises(InputError, match=said) as caught:
        cache_of(name)
    assert "\n" not in str(caught.value)


def test_a_bert_has_no_attention_weights_to_go_by_and_says_what_to_use(bert):
    with pytest.raises(InputError, match=r"'d2' goes by attention weights, which .* does not give; use drift"):
        open_session(bert, "d2")


def test_a_bert_drifts_too(bert):
    canvas, policy = canvas_of(bert, tokens=16), parse_policy("low_confidence:block=8")
    none, bounded, unbounded = (
        decode_traces(bert, [canvas], policy, budget=Budget(tokens=1), cache=cache)[0]
        for cache in ("none", "drift:budget=6", "drift:budget=1000,share=1")
    )
    assert unbounded.final == none.final
    assert sum(queries(bounded)) < sum(queries(none)) / 2


def test_a_cache_that_saves_little_says_so_in_one_line_before_the_first_forward(model, caplog):
    canvas = canvas_of(model)

    def said(policy, cache):
        caplog.clear()
        needs._warn.cache_clear()
        for _ in range(2):
            Engine(model, cache).add(canvas, parse_policy(policy), budget=Budget(tokens=1))
        return caplog.messages

    (line,) = said("entropy", "dual:refresh=4")
    assert "policy 'entropy' does not go block by block" in line and "\n" not in line
    assert not said("entropy:block=4", "dual") and not said("entropy", "delayed") and not said("entropy", "none")
    assert len(said("entropy", "exact")) == (model.block_size is None), "of a block-causal model it saves the blocks"
