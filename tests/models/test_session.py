"""Sessions on small real models: kept keys give what a whole forward gives, and rows keep their places."""

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_denoiser import make

from nap.canvas.canvas import Canvas, CanvasSpec, layout
from nap.canvas.visibility import Attention
from nap.common.files import InputError
from nap.data.trace import HEADER, PROMPT
from nap.decoding.budget import Budget, Sampling
from nap.decoding.decode import decode_traces
from nap.decoding.engine import Engine
from nap.decoding.policies.registry import POLICIES, parse_policy
from nap.models.attention import Decoder
from nap.models.caches import CACHES, Dual, Exact, NoCache, Prefix, cache_of
from nap.models.load import load
from nap.models.session import Question, Session, StoredSession
from nap.models.store import Store

FAMILIES = {"llama": ("llama", {}), "Dream": ("qwen2", {}), "sdar": ("qwen3", {"block_size": 4}), "bert": ("bert", {})}


@pytest.fixture(scope="module", params=FAMILIES)
def model(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / request.param
    native, config = FAMILIES[request.param]
    torch.manual_seed(0)
    make(folder, native, *([] if native == "bert" else [request.param]), **config)
    return load(str(folder))


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "one"
    torch.manual_seed(0)
    make(folder, "llama", "llama")
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
    if cache == "d2" and not isinstance(model.body, Decoder):
        pytest.skip("a BERT gives no attention weights, and is refused (test_choosing.py)")
    rows, policy = canvases(model, [9, 4, 7]), parse_policy("low_confidence:block=3")
    together = decode_traces(model, rows, policy, budget=Budget(tokens=1), cache=cache)
    for row, trace in zip(rows, together, strict=True):
        (alone,) = decode_traces(model, [row], policy, budget=Budget(tokens=1), cache=cache)
        assert [e[:4] for e in trace.events] == [e[:4] for e in alone.events]
        assert trace.costs == alone.costs
        assert trace.setting["cache"] == {"name": cache, "exact": cache == "exact"}


SLOTS = (PROMPT, PROMPT, HEADER, 0, 0, HEADER, 1, 1, HEADER, 2)


def three_slots(denoiser, regions=SLOTS, attention: Attention = "paths"):
    """Two independent paths and a summary, all masked."""
    region = np.array(regions)
    spec = CanvasSpec(paths=2, path_tokens=2, summary_tokens=1, attention=attention)
    return Canvas(ids=np.where(region >= 0, denoiser.mask_id, region % 7 + 3), region=region, spec=spec)


@pytest.mark.parametrize("attention", ["paths", "full"])
def test_after_any_edits_the_exact_cache_gives_what_a_whole_forward_gives(model, attention):
    """Every way to ask a slot, and then twice to write (or take back, or let be) one position and ask a slot."""
    canvas = three_slots(model, attention=attention)
    free, slots = np.flatnonzero(canvas.region >= 0).tolist(), [np.flatnonzero(canvas.region == n) for n in (0, 1, 2)]
    choices = [*itertools.product([None, *free], slots)]
    histories = [*itertools.product(choices[:3], choices, choices)]
    kept, whole = StoredSession(model, Exact()), Session(model)
    boards = np.tile(canvas.ids, (len(histories), 1))
    for row in range(len(histories)):
        for session in (kept, whole):
            session.admit(row, canvas)
    queries = 0
    for moment in range(3):
        boards, questions = boards.copy(), []
        for row, history in enumerate(histories):
            position, at = history[moment]
            if position is not None:
                # What was written by then is taken back, another time written over.
                boards[row, position] = model.mask_id if boards[row, position] == 5 else 4 + moment
            questions.append(Question(row, boards[row], at, int(free[0]), len(canvas)))
        one, other = kept.ask(questions), whole.ask(questions)
        assert close(one.logits(slice(None)), other.logits(slice(None)))
        queries += sum(one.queries_B)
    everything = 3 * len(histories) * len(canvas)
    assert queries < everything if attention == "paths" else queries <= everything


def test_under_parallel_positions_no_path_is_the_first(model):
    """With the paths in another order each says the same, with the exact cache too; as they stand it does not."""
    rng, said = np.random.default_rng(0), {}
    texts = rng.integers(8, 20, (2, 3))
    sessions = (Session, lambda model: StoredSession(model, Exact()))
    for positions, session_of in itertools.product(("parallel", "canvas"), sessions):
        for order in ((0, 1), (1, 0)):
            # A header is the same token for all paths: its number would tell them apart.
            region = np.array((PROMPT, PROMPT, HEADER, 0, 0, 0, HEADER, 1, 1, 1, HEADER, 2))
            ids = np.where(region == PROMPT, 5, np.where(region == HEADER, 6, model.mask_id))
            ids[3:6], ids[7:10] = texts[order[0]], texts[order[1]]
            ids[[4, 8]] = model.mask_id
            spec = CanvasSpec(paths=2, path_tokens=3, summary_tokens=1, attention="paths", positions=positions)
            canvas, session = Canvas(ids=ids, region=region, spec=spec), session_of(model)
            session.admit(0, canvas)
            logits = session.ask([Question(0, ids, np.array([4, 8, 11]), 3, 12)]).logits(slice(None))
            said[order] = logits[[*order, 2]]
        # Blocks of a block-causal model are counted on the canvas.
        if model.block_size is None:
            assert close(said[0, 1], said[1, 0]) is (positions == "parallel")


ALIKE = ("parallel_forced", "parallel_threshold:tau=.1", "parallel_entropy_bound:gamma=2", "threshold:tau=.1")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_in_whatever_order_paths_stand_each_is_written_the_same_and_so_is_the_summary(model, data):
    """Any number of paths of any tokens given and masked, any order, with and without the cache, by any policy."""
    if model.block_size is not None:
        return  # Its blocks are counted on the canvas.
    paths, length = data.draw(st.integers(2, 4)), data.draw(st.integers(1, 4))
    token, policy = st.integers(7, 19) | st.none(), parse_policy(data.draw(st.sampled_from(ALIKE)))
    if policy.paced:
        # Tokens that cannot be dealt equally go to the first paths, so that here all are open.
        token = st.none()
    texts = data.draw(st.lists(st.lists(token, min_size=length, max_size=length), min_size=paths, max_size=paths))
    order, cache = data.draw(st.permutations(range(paths))), data.draw(st.sampled_from(["none", "exact"]))
    budget = Budget(tokens=paths) if policy.paced else None
    spec = CanvasSpec(paths=paths, path_tokens=length, summary_tokens=2, attention="paths", positions="parallel")
    found = []
    for places in (range(paths), order):
        # A header is the same token for all paths: its number would tell them apart.
        slots = [code for slot in range(paths + 1) for code in (HEADER, *[slot] * (length if slot < paths else 2))]
        ids = [id for place in places for id in (6, *(model.mask_id if t is None else t for t in texts[place]))]
        ids = np.array([5, 8, *ids, 6, model.mask_id, model.mask_id])
        canvas = Canvas(ids=ids, region=np.array([PROMPT, PROMPT, *slots]), spec=spec)
        (trace,) = decode_traces(model, [canvas], policy, budget=budget, cache=cache)
        written = np.array(trace.final[2:-3]).reshape(paths, length + 1)
        found.append(([*written[np.argsort(places)].ravel()], trace.final[-2:], trace.forwards))
    assert found[0] == found[1]


@pytest.mark.parametrize("policy", ["parallel_forced", "low_confidence", "parallel_threshold:tau=.02", "remdm:k=1"])
def test_independent_paths_decode_the_same_with_the_exact_cache(model, policy):
    regions = [SLOTS, (PROMPT,) * 9 + SLOTS[2:], SLOTS]
    rows = [dataclasses.replace(three_slots(model, r), problem_id=str(n)) for n, r in enumerate(regions)]
    budget = Budget(tokens=2) if parse_policy(policy).paced else None
    hot = Sampling(temperature=0.5)
    without, with_it = (
        decode_traces(model, rows, parse_policy(policy), budget=budget, sampling=hot, cache=cache)
        for cache in ("none", "exact")
    )
    assert [[e[:4] for e in trace.events] for trace in with_it] == [[e[:4] for e in trace.events] for trace in without]


@pytest.mark.parametrize("name", [name for name, kind in POLICIES.items() if not hasattr(kind, "open_guide")])
@pytest.mark.parametrize("positions", ["canvas", "parallel"])
def test_every_policy_decodes_the_same_with_the_exact_cache_or_is_refused_before_the_first_forward(
    llama, name, positions
):
    """Ragged rows that end at different times, tokens drawn, written, taken back and edited."""
    policy = parse_policy(name)
    regions = [SLOTS, (PROMPT,) * 9 + SLOTS[2:], (PROMPT, HEADER, 0, HEADER, 1, HEADER, 2, 2, 2)]
    rows = [dataclasses.replace(three_slots(llama, region), problem_id=str(n)) for n, region in enumerate(regions)]
    rows = [dataclasses.replace(row, spec=dataclasses.replace(row.spec, positions=positions)) for row in rows]
    told: Any = {"budget": Budget(tokens=2) if policy.paced else None, "sampling": Sampling(temperature=0.7)}
    needs = {*policy.needs, *policy.reads} & {"drafts", "attention", "without", "mixes"}
    if needs:
        with pytest.raises(InputError, match=r"which (a forward with )?the cache 'exact' does not"):
            decode_traces(llama, rows, policy, cache="exact", **told)
        return
    without, with_it = (decode_traces(llama, rows, policy, cache=cache, **told) for cache in ("none", "exact"))
    assert [[e[:4] for e in trace.events] for trace in with_it] == [[e[:4] for e in trace.events] for trace in without]
    spent, all_of_it = (sum(cost.queries for trace in found for cost in trace.costs) for found in (with_it, without))
    assert spent < all_of_it


def test_under_independent_paths_the_prompt_and_a_finished_path_are_computed_once(tmp_path):
    make(tmp_path, "llama", "llama")
    denoiser = load(str(tmp_path))
    canvas = three_slots(denoiser, (PROMPT,) * 20 + SLOTS[2:])
    (trace,) = decode_traces(
        denoiser, [canvas], parse_policy("parallel_forced"), budget=Budget(tokens=2), cache="exact"
    )
    # The prompt with both paths and their headers, the paths again, and at last these with the summary.
    assert [cost.queries for cost in trace.costs] == [20 + 6, 6, 6 + 2]


def test_a_cache_that_is_refreshed_computes_everything_every_so_often(model):
    (canvas,) = canvases(model, [6])
    session = StoredSession(model, cache_of("dual:refresh=3"))
    session.admit(0, canvas)
    first = 1 if model.shift else 0
    computed = [session.ask([Question(0, canvas.ids, np.array([4, 5]), 4, 6)]).queries_B[0] for _ in range(7)]
    assert computed == [8, 2 + first, 2 + first, 8, 2 + first, 2 + first, 8]
    for name, message in (
        ("dual:refresh=0", "at least 1, got 0"),
        ("dual:refres=3", "it has: refresh"),
        ("dul", "dual"),
    ):
        with pytest.raises(InputError, match=message):
            cache_of(name)


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


@pytest.mark.parametrize("cache", [*CACHES])
@pytest.mark.parametrize("policy", ["low_confidence", "threshold:tau=0.5,block=4"])
def test_a_forward_that_failed_can_be_asked_again_and_changes_nothing(llama, monkeypatch, cache, policy):
    """Out of memory, or Ctrl-C: the books of a cache say what was computed, and not what was asked for."""

    def written(fails: int) -> list[tuple[Any, ...]]:
        engine = Engine(llama, cache)
        for canvas in canvases(llama, (9, 12)):
            engine.add(canvas, parse_policy(policy), budget=Budget(tokens=1) if policy == "low_confidence" else None)
        found, forwards = [], 0
        while engine.running:
            forwards += 1
            with monkeypatch.context() as patched:
                if forwards == fails:
                    name = "states" if cache == "none" else "part"
                    patched.setattr(llama, name, lambda *_: (_ for _ in ()).throw(MemoryError()))
                    with pytest.raises(MemoryError):
                        engine.step()
                    continue
                found += [(step.row, *(event[:4] for event in step.events)) for step in engine.step()]
        return found

    whole = written(0)
    assert all(written(fails) == whole for fails in range(1, 7))
