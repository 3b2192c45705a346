"""Rows that join and leave change nobody, whatever they are told; chunks change nothing; a row can be cancelled."""

import itertools
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_decode import POLICY_TEXTS, plain, run
from test_stateful import STATEFUL

import nap.decoding.candidates as candidates
from nap.canvas.canvas import CanvasSpec, layout
from nap.common.files import InputError
from nap.data.trace import check_trace
from nap.decoding.budget import Budget, Sampling
from nap.decoding.candidates import draw
from nap.decoding.engine import Engine
from nap.decoding.policies.policy import Edits, Selecting
from nap.decoding.policies.registry import parse_policy
from nap.decoding.traces import Recording, run_setting
from toys import MASK, WORDS, HashDenoiser


def denoiser():
    toy = HashDenoiser()
    toy.masked_only = False
    return toy


@st.composite
def requests(draw):
    """A canvas of any shape and attention, and all that a row may be told."""
    paths = draw(st.integers(1, 3))
    spec = CanvasSpec(
        paths=paths, path_tokens=draw(st.integers(1, 5)), summary_tokens=draw(st.integers(1, 3)),
        attention=draw(st.sampled_from(["full", "paths"])),
    )  # fmt: skip
    prompt = " ".join(draw(st.lists(st.sampled_from("abcdef"), max_size=4)))
    policy = parse_policy(draw(st.sampled_from([*POLICY_TEXTS, *STATEFUL])))
    told = {
        "budget": Budget(tokens=draw(st.integers(1, 4))) if policy.paced else None,
        "sampling": draw(st.sampled_from([Sampling(), Sampling(temperature=0.8, top_p=0.9)])),
        "eos": draw(st.sampled_from(["count", "suppress", "defer", "stop"])),
        "seed": draw(st.integers(0, 3)),
    }
    canvas = layout(WORDS.encode(prompt), spec, WORDS, MASK, problem_id=f"p{draw(st.integers(0, 9))}")
    return canvas, policy, told


def alone(request):
    engine, events = Engine(denoiser()), []
    engine.add(request[0], request[1], **request[2])
    while engine.running:
        events += engine.step()
    return [(step.index, step.events, step.cost) for step in events]


@settings(max_examples=60)
@given(st.lists(st.tuples(requests(), st.integers(0, 6)), min_size=1, max_size=6))
def test_rows_of_any_kind_that_join_at_any_time_are_what_they_are_alone(arrivals):
    engine, found, waiting = Engine(denoiser()), {}, sorted(enumerate(arrivals), key=lambda pair: pair[1][1])
    rows = {}
    for clock in itertools.count():
        while waiting and waiting[0][1][1] <= clock:
            number, ((canvas, policy, told), _) = waiting.pop(0)
            rows[engine.add(canvas, policy, **told)] = number
        for step in engine.step():
            found.setdefault(rows[step.row], []).append((step.index, step.events, step.cost))
        if not waiting and not engine.running:
            break
    for number, (request, _) in enumerate(arrivals):
        assert repr(found.get(number, [])) == repr(alone(request))


def test_a_row_that_reads_attention_weights_is_the_same_beside_a_longer_one():
    request = plain(6, "a"), parse_policy("dawn:tau=0.5,low=0.2,edge=0.05,sink=1"), {}
    engine, found = Engine(denoiser()), []
    rows = [engine.add(canvas, request[1]) for canvas in (request[0], plain(24, "a b c"))]
    while engine.running:
        found += [(step.index, step.events, step.cost) for step in engine.step() if step.row == rows[0]]
    assert repr(found) == repr(alone(request))


def test_a_cancelled_row_gives_its_trace_so_far_and_leaves_the_others_as_they_are():
    engine, policy = Engine(denoiser()), parse_policy("low_confidence")
    canvases = [plain(4, "a"), plain(6, "b")]
    told: dict[str, Any] = {"budget": Budget(tokens=1)}
    recordings = [Recording(canvas, run_setting(engine.denoiser, policy, **told)) for canvas in canvases]
    for canvas in canvases:
        engine.add(canvas, policy, **told)
    for _ in range(2):
        for step in engine.step():
            recordings[step.row].take(step)
    engine.cancel(0)
    assert engine.running == (1,)
    while engine.running:
        for step in engine.step():
            assert step.row == 1
            recordings[1].take(step)
    cut = check_trace(recordings[0].trace(engine.denoiser, cancelled=True))
    assert cut.setting["cancelled"] is True and cut.final.count(MASK) == 2 and cut.forwards == 2
    (whole,) = run(denoiser(), [canvases[1]], policy, **told)
    assert recordings[1].trace(engine.denoiser).events == whole.events
    with pytest.raises(ValueError, match="row 0 is not running; running: \\[\\]"):
        engine.cancel(0)


@dataclass(frozen=True, kw_only=True)
class Fails(Selecting):
    """Commits the leftmost, and fails in its second step: where it asks, where it acts, or as broken code does."""

    paced = False
    how: str = ""

    def ask(self, row):
        return np.array([0]) if self.how == "asks" and row.step else row.open_N

    def act(self, row, said):
        if self.how == "breaks" and row.step:
            raise KeyError("a bug")
        at = 0 if self.how == "acts" and row.step else said.position_N[0]
        return Edits(np.array([at]), said.token_N[:1])


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(("how", "error"), [("asks", InputError), ("acts", InputError), ("breaks", KeyError)])
def test_a_row_that_fails_leaves_and_its_neighbours_go_on_as_if_it_had_never_been_there(how, error, place):
    policies = [parse_policy("random"), parse_policy("low_confidence")]
    policies.insert(place, Fails(how=how))
    engine, found = Engine(denoiser()), defaultdict(list)
    for number, policy in enumerate(policies):
        engine.add(plain(4, f"{number}"), policy, budget=Budget(tokens=1) if policy.paced else None)
    failures = 0
    while engine.running:
        try:
            steps = engine.step()
        except error:
            failures += 1
            assert place not in engine.running
            continue
        for step in steps:
            found[step.row].append((step.index, step.events, step.cost))
    assert failures == 1 and engine.step() == []
    for number in {0, 1, 2} - {place}:
        request = plain(4, f"{number}"), policies[number], {"budget": Budget(tokens=1)}
        assert repr(found[number]) == repr(alone(request))


def test_an_idle_engine_steps_without_a_forward():
    toy = denoiser()
    assert Engine(toy).step() == [] and toy.calls == []


def test_a_row_is_refused_before_it_is_in():
    engine = Engine(denoiser())
    with pytest.raises(InputError, match="needs a budget"):
        engine.add(plain(4), parse_policy("ar"))
    assert engine.running == ()


def test_a_cache_that_is_not_known_or_cannot_be_had_is_named():
    with pytest.raises(InputError, match="unknown cache 'prefx'; did you mean 'prefix'"):
        Engine(denoiser(), "prefx")
    with pytest.raises(InputError, match="HashDenoiser keeps no keys and values, so it cannot have the cache 'prefix'"):
        Engine(denoiser(), "prefix")


# Chunks


@settings(max_examples=30)
@given(st.lists(requests(), min_size=1, max_size=4), st.integers(1, 200))
def test_the_size_of_a_chunk_changes_nothing(rows, size):
    whole = [repr(alone(request)) for request in rows]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "CHUNK", size)
        assert [repr(alone(request)) for request in rows] == whole


def test_no_more_than_a_chunk_of_logits_is_asked_for_at_once(monkeypatch):
    toy, sizes = denoiser(), []
    monkeypatch.setattr(toy, "head", lambda states: (sizes.append(len(states)), states.clone())[1])
    monkeypatch.setattr(candidates, "CHUNK", 4 * toy.vocabulary * 5)
    run(toy, [plain(9, "a"), plain(8, "b")], "entropy", budget=Budget(steps=1))
    assert sizes == [5, 5, 5, 2], "and each position once, its entropy with its candidate"


def test_a_column_that_nobody_reads_is_not_computed(monkeypatch):
    monkeypatch.setitem(candidates.COLUMNS, "entropy", lambda chunk: pytest.fail("entropy was computed"))
    run(denoiser(), [plain(9)], "margin", budget=Budget(tokens=2))


@given(
    st.integers(0, 2**31),
    st.floats(0.01, 1.0),
    st.sampled_from([0, 1, 3, 20]),
    st.floats(0.2, 3.0),
    st.sampled_from([1, 6]),
)
def test_a_draw_is_the_largest_gumbel_of_what_top_k_and_top_p_keep(seed, top_p, top_k, temperature, spread):
    generator = torch.Generator().manual_seed(seed)
    logits_nV = spread * torch.randn(20, 40, generator=generator)
    told = Sampling(temperature=temperature, top_p=top_p, top_k=top_k)
    found = draw(logits_nV, told, torch.Generator().manual_seed(seed))
    noise = -(-torch.rand(20, 40, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).log()).log()
    for line, token, gumbel in zip(logits_nV.double() / temperature, found.tolist(), noise, strict=True):
        order = line.argsort(descending=True)
        order = order[: top_k or 40]
        mass = line[order].softmax(0)
        kept = order[mass.cumsum(0) - mass < top_p]
        # Where the mass before a token is top_p to the last digit, either is right.
        near = order[(mass.cumsum(0) - mass - top_p).abs() < 1e-6]
        best = {int(kept[(line + gumbel)[kept].argmax()])} | {*near.tolist()}
        assert token in best


def test_a_nucleus_that_is_hard_to_hit_is_sorted():
    logits_nV = torch.zeros(50, 300)
    logits_nV[:, 7] = 0.01
    found = draw(logits_nV, Sampling(temperature=1.0, top_p=1e-6), torch.Generator().manual_seed(0))
    assert (found == 7).all()


def test_blocks_of_the_canvas_are_told_to_the_session():
    engine = Engine(denoiser())
    told = []
    ask = engine.session.ask
    engine.session.ask = lambda questions: (told.extend((q.start, q.stop) for q in questions), ask(questions))[1]
    engine.add(plain(6), parse_policy("threshold:tau=0,block=3"))
    while engine.running:
        engine.step()
    assert told == [(1, 4), (4, 7)]
    assert np.array(told).dtype == int
