"""The loop: known orders on an oracle, what must always hold on anything, the ends of text, and the published loop."""

import itertools
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from nap.canvas.canvas import Canvas, CanvasSpec, fill, layout, parse
from nap.common.files import InputError
from nap.data.trace import COMMIT, FILL, REMASK, check_trace
from nap.decoding.budget import Budget, Sampling
from nap.decoding.candidates import draw
from nap.decoding.decode import decode, decode_traces
from nap.decoding.policies.ordered import LowConfidence
from nap.decoding.policies.policy import Edits, Selecting
from nap.decoding.policies.registry import POLICIES, parse_policy
from toys import (
    EOS,
    LETTERS,
    MASK,
    PAD,
    PIECES,
    WORDS,
    HashDenoiser,
    OracleDenoiser,
    TableDenoiser,
    UniformDenoiser,
)

ONE, ALL = Budget(tokens=1), Budget(tokens=99)
# Those that remember, take back, edit or look ahead: test_stateful.py.
STATEFUL_NAMES = {"klass", "multi_block", "remdm", "token_edit", "credit", "saber", "prophet", "p2"}
STATEFUL_NAMES |= {"lopa", "self_speculative", "wino", "dawn", "learned", "remix", "refusion"}
STATEFUL_NAMES |= {"draft_edit", "draft_redo", "draft_revise", "demask", "codila"}
# All that take exactly what their budget has.
PACED = [name for name, kind in POLICIES.items() if kind.paced and name not in STATEFUL_NAMES]
PLAIN: dict[str, Any] = {"paths": 1, "summary_tokens": 0, "tags": "none"}


def canvas(prompt="a b", *, tokenizer=WORDS, problem_id="", **shape: Any) -> Canvas:
    known: dict[str, Any] = {"paths": 2, "path_tokens": 3, "summary_tokens": 2}
    spec = CanvasSpec(**known | shape)
    return layout(tokenizer.encode(prompt), spec, tokenizer, MASK, problem_id=problem_id)


def plain(length, prompt="a"):
    return canvas(prompt, path_tokens=length, problem_id=f"{prompt}/{length}", **PLAIN)


def run(denoiser, canvases, policy, **settings):
    return decode_traces(denoiser, canvases, parse_policy(policy) if isinstance(policy, str) else policy, **settings)


def order(trace, kind=COMMIT):
    """The positions of each step, in the order of their events."""
    return [[e.position for e in trace.events if e.step == step and e.kind == kind] for step in range(trace.steps)]


def table(*chances, vocabulary=8):
    """Logits that give tokens these probabilities, line by line as {token: probability}; the rest is shared."""
    lines = np.zeros((len(chances), vocabulary))
    for line, known in zip(lines, chances, strict=True):
        line[:] = (1 - sum(known.values())) / (vocabulary - len(known))
        line[list(known)] = list(known.values())
    return np.log(lines)


# Known orders. Positions: 0-1 prompt, 2 header, 3-5 path 1, 6 header, 7-9 path 2, 10 header, 11-12 summary.
SURE = {3: 0.5, 4: 0.91, 5: 0.95, 7: 0.6, 8: 0.97, 9: 0.3, 11: 0.99, 12: 0.8}
BY_CONFIDENCE = [11, 8, 5, 4, 12, 7, 3, 9]

KNOWN = [
    ("ar", Budget(tokens=2), [[3, 4], [5, 7], [8, 9], [11, 12]]),
    ("ar", Budget(tokens=3), [[3, 4, 5], [7, 8, 9], [11, 12]]),
    ("low_confidence", ONE, [[p] for p in BY_CONFIDENCE]),
    ("low_confidence", Budget(tokens=3), [[11, 8, 5], [4, 12, 7], [3, 9]]),
    ("low_confidence", Budget(steps=3), [[11, 8, 5], [4, 12, 7], [3, 9]]),
    ("low_confidence", Budget(steps=5), [[11, 8], [5, 4], [12, 7], [3], [9]]),
    ("low_confidence", Budget(steps=1), [BY_CONFIDENCE]),
    ("low_confidence", Budget(steps=50), [[p] for p in BY_CONFIDENCE]),
    ("low_confidence", ALL, [BY_CONFIDENCE]),
    ("low_confidence:block=4", Budget(tokens=2), [[5, 4], [7, 3], [11, 8], [12, 9]]),
    ("low_confidence:block=4", Budget(tokens=3), [[5, 4, 7], [3], [11, 8, 12], [9]]),
    ("low_confidence:block=4", Budget(steps=2), [[5, 4, 7, 3], [11, 8, 12, 9]]),
    ("low_confidence:block=3", Budget(steps=6), [[5, 4], [3], [8, 7], [9], [11], [12]]),
    ("entropy", Budget(tokens=3), [[11, 8, 5], [4, 12, 7], [3, 9]]),
    ("margin", Budget(tokens=3), [[11, 8, 5], [4, 12, 7], [3, 9]]),
    ("threshold", None, [[11, 8, 5, 4], [12], [7], [3], [9]]),
    ("threshold:tau=0.55", None, [[11, 8, 5, 4, 12, 7], [3], [9]]),
    ("threshold:block=4", None, [[5, 4], [7], [3], [11, 8], [12], [9]]),
    ("factor", None, [[11, 8, 5, 4], [12], [7], [3], [9]]),
    ("factor:f=0.1", None, [[11, 8], [5], [4], [12], [7], [3], [9]]),
    ("entropy_bound:gamma=0", None, [[p] for p in BY_CONFIDENCE]),
    ("entropy_bound:gamma=100", None, [BY_CONFIDENCE]),
    ("bounded", None, [[11, 8, 5, 4, 12], [7], [3], [9]]),
    ("bounded:delta=0.8", None, [[11, 8, 5], [4], [12], [7], [3], [9]]),
    ("bounded:block=4", None, [[5, 4], [7], [3], [11, 8, 12], [9]]),
    # 12 is near 11, and 7 near 8 and 5.
    ("localleap", None, [[11, 8, 5, 4, 12], [7], [3], [9]]),
    ("localleap:relaxed=0.55", None, [[11, 8, 5, 4, 12, 7], [3], [9]]),
    ("localleap:relaxed=0.55,radius=1", None, [[11, 8, 5, 4, 12, 7], [3], [9]]),
    ("localleap:relaxed=0.55,radius=0", None, [[11, 8, 5, 4], [12], [7], [3], [9]]),
    ("localleap:relaxed=0.55,block=4", None, [[5, 4, 7], [3], [11, 8, 12], [9]]),
    # Places 0 to 7 in the block: those that divide by 4, then by 2, then the rest.
    ("dilated", None, [[8, 3], [11, 5], [4, 12, 7, 9]]),
    ("dilated:base=3", None, [[11, 8, 5, 3], [4, 12, 7, 9]]),
    ("dilated:block=3", None, [[5, 4, 3], [8, 7, 9], [11, 12]]),
    ("hierarchy", None, [[5, 8, 11], [4, 7, 9, 12], [3]]),
    ("hierarchy:block=4", None, [[5, 7], [4], [3], [8, 11], [9, 12]]),
    ("parallel_forced", ONE, [[5], [8], [4], [7], [3], [9], [11], [12]]),
    ("parallel_forced", Budget(tokens=2), [[5, 8], [7, 4], [3, 9], [11, 12]]),
    ("parallel_forced", Budget(tokens=4), [[5, 8, 4, 7], [9, 3], [11, 12]]),
    # The summary's share of the steps is at least one.
    ("parallel_forced", Budget(steps=2), [[5, 8, 4, 7, 3, 9], [11, 12]]),
    ("parallel_forced", Budget(steps=1), [[5, 8, 4, 7, 3, 9], [11, 12]]),
    ("parallel_forced", Budget(steps=3), [[5, 8, 4], [7, 3, 9], [11, 12]]),
    ("parallel_forced", Budget(steps=4), [[5, 8], [7, 4], [3, 9], [11, 12]]),
    ("parallel_forced:summary=joint", Budget(tokens=3), [[5, 8, 11], [7, 12, 4], [3, 9]]),
    ("parallel_forced:summary=joint", Budget(steps=2), [[5, 8, 11, 4], [7, 12, 3, 9]]),
    ("parallel_threshold", None, [[5, 4, 8], [3, 7], [9], [11], [12]]),
    ("parallel_threshold:tau=0.55", None, [[5, 4, 8, 7], [3, 9], [11, 12]]),
    ("parallel_threshold:summary=joint", None, [[5, 4, 8, 11], [3, 7, 12], [9]]),
    ("parallel_entropy_bound:gamma=0", None, [[5, 8], [4, 7], [3, 9], [11], [12]]),
    ("parallel_entropy_bound:gamma=100", None, [[5, 4, 3, 8, 7, 9], [11, 12]]),
    ("parallel_entropy_bound:gamma=0,summary=joint", None, [[5, 8, 11], [4, 7, 12], [3, 9]]),
]


def oracle(the_canvas, texts, sure, tokenizer=WORDS):
    confidence = np.full(len(the_canvas), 0.5)
    confidence[list(sure)] = list(sure.values())
    return OracleDenoiser([the_canvas], [fill(the_canvas, texts, tokenizer, PAD)], [confidence], tokenizer=tokenizer)


@pytest.mark.parametrize(("policy", "budget", "expected"), KNOWN, ids=[f"{p}-{b}" for p, b, _ in KNOWN])
def test_an_oracle_is_decoded_in_exactly_the_known_order_to_the_known_text(policy, budget, expected):
    one = canvas()
    (trace,) = run(oracle(one, ["a b", "c d", "e"], SURE), [one], policy, budget=budget)
    assert order(trace) == expected
    assert trace.forwards == len(expected)
    completion = parse(one, trace.final, WORDS, trace.uncounted)
    assert (completion.paths, completion.summary, completion.closed) == (("a b", "c d"), "e", (True,) * 3)
    assert {e.position: e.probability for e in trace.events} == pytest.approx(SURE, abs=1e-6)


def test_every_policy_has_a_known_order():
    assert {policy.partition(":")[0] for policy, *_ in KNOWN} == set(POLICIES) - STATEFUL_NAMES - {"random"}


def test_random_commits_the_known_text_at_the_known_pace():
    one = canvas()
    (trace,) = run(oracle(one, ["a b", "c d", "e"], SURE), [one], "random", budget=Budget(tokens=3))
    assert [len(step) for step in order(trace)] == [3, 3, 2]
    assert parse(one, trace.final, WORDS).paths == ("a b", "c d")


# Confidence, entropy and margin each rank these three positions in another order.
APART = table({4: 0.5, 5: 0.45}, {4: 0.42}, {4: 0.4, 5: 0.15, 6: 0.15, 7: 0.15, 1: 0.147})


@pytest.mark.parametrize("policy", ["low_confidence", "entropy", "margin"])
def test_confidence_entropy_and_margin_are_those_of_the_models_whole_distribution(policy):
    chance = np.exp(APART)
    ranked = {
        "low_confidence": np.argsort(-chance.max(axis=1)),
        "entropy": np.argsort(-(chance * np.log(chance)).sum(axis=1)),
        "margin": np.argsort(-np.diff(np.sort(chance, axis=1)[:, -2:], axis=1)[:, 0]),
    }
    (trace,) = run(TableDenoiser(APART), [plain(3, "")], policy, budget=ONE)
    assert order(trace) == [[p] for p in ranked[policy]]


def test_confidence_entropy_and_margin_can_be_told_apart():
    orders = {name: tuple(map(tuple, order(run(TableDenoiser(APART), [plain(3, "")], name, budget=ONE)[0])))
              for name in ("low_confidence", "entropy", "margin")}  # fmt: skip
    assert len(set(orders.values())) == 3


# What always holds


@dataclass
class Case:
    canvases: list[Canvas]
    policy: str
    settings: dict[str, Any] = field(default_factory=dict)

    def run(self, denoiser, rows=None, **others):
        chosen = [self.canvases[row] for row in rows] if rows is not None else self.canvases
        return run(denoiser, chosen, self.policy, **self.settings | others)


POLICY_TEXTS = [
    *PACED,
    *("low_confidence:block=3", "random:block=2", "entropy:block=4", "margin:block=1", "parallel_forced:summary=joint"),
    *("threshold:tau=0.5", "threshold:tau=0.3,block=3", "factor", "factor:f=3,block=2", "entropy_bound:gamma=2"),
    *("entropy_bound:gamma=1,block=4", "hierarchy", "hierarchy:block=5", "bounded:delta=0", "dilated:block=4"),
    *("localleap:tau=0.4,relaxed=0.1", "localleap:tau=0.2,radius=1,block=5"),
]
SAMPLINGS = [
    Sampling(),
    Sampling(temperature=0.7),
    Sampling(temperature=2.0, top_k=3),
    Sampling(temperature=1.0, top_p=0.8),
]


@st.composite
def cases(draw, policies=POLICY_TEXTS, samplings=SAMPLINGS, eos=("count", "suppress", "defer", "stop")):
    """A ragged batch, some positions of it already filled, and everything that `decode` may be told."""
    paths = draw(st.integers(0, 3))
    attention = draw(st.sampled_from(["full", "paths"]))
    rows = []
    for number in range(draw(st.integers(1, 4))):
        shape = {"paths": paths} if paths else PLAIN
        shape = shape | {"path_tokens": draw(st.integers(1, 5)), "attention": attention}
        if paths:
            shape["summary_tokens"] = draw(st.integers(1, 3))
        prompt = " ".join(draw(st.lists(st.sampled_from(LETTERS), max_size=4)))
        row = canvas(prompt, problem_id=f"p{number}", **shape)
        for position in draw(st.sets(st.sampled_from(np.flatnonzero(row.region >= 0).tolist()))):
            row.ids[position] = draw(st.integers(1, len(WORDS) - 1))
        if prompt and draw(st.booleans()):
            row.ids[0] = MASK  # A prompt may hold the mask token: it is clamped like any other.
        rows.append(row)
    policy = draw(st.sampled_from(policies))
    budgets = [st.builds(Budget, tokens=st.integers(1, 6))]
    if parse_policy(policy).block is None:
        budgets.append(st.builds(Budget, steps=st.integers(1, 12)))
    return Case(rows, policy, {
        "budget": draw(st.one_of(budgets)) if parse_policy(policy).paced else None,
        "sampling": draw(st.sampled_from(samplings)),
        "eos": draw(st.sampled_from(eos)),
        "seed": draw(st.integers(0, 3)),
    })  # fmt: skip


@settings(max_examples=100)
@given(cases())
def test_invariants_of_a_decode(case):
    denoiser, policy = HashDenoiser(), parse_policy(case.policy)
    initial = [row.ids.copy() for row in case.canvases]
    traces = case.run(denoiser)
    assert max((trace.steps for trace in traces), default=0) == len(denoiser.calls)
    for row, trace, before in zip(case.canvases, traces, initial, strict=True):
        check_trace(trace)  # Commits and fills hit masked positions only.
        assert (row.ids == before).all() and trace.initial == tuple(before.tolist())
        final = np.array(trace.final)
        free = np.flatnonzero((row.region >= 0) & (before == MASK))
        assert (final[free] != MASK).all(), "it ends when nothing is masked"
        assert (np.delete(final, free) == np.delete(before, free)).all(), "clamped tokens never change"
        assert all(order(trace)), "at least one commit a step"
        assert trace.forwards == trace.steps == len(trace.seconds)
        assert {e.kind for e in trace.events} <= ({COMMIT, FILL} if case.settings["eos"] == "stop" else {COMMIT})
        if case.settings["eos"] == "suppress":
            assert EOS not in final[free]
    for step, call in enumerate(denoiser.calls):
        running = [number for number, trace in enumerate(traces) if trace.steps > step]
        assert len(call.ids_BL) == len(running), "rows leave the batch when they are done"
        for place, number in enumerate(running):
            row, trace = case.canvases[number], traces[number]
            now = trace.canvas_at(step)
            assert call.ids_BL[place].tolist() == now + [PAD] * (call.ids_BL.shape[1] - len(now)), "it sees its canvas"
            masked = [p for p in range(len(row)) if now[p] == MASK and row.region[p] >= 0]
            if policy.block:
                free = np.flatnonzero((row.region >= 0) & (initial[number] == MASK)).tolist()
                current = free.index(masked[0]) // policy.block
                masked = [p for p in masked if free.index(p) // policy.block == current]
            asked = call.asked(place)
            commits = [e.position for e in trace.events if e.step == step and e.kind == COMMIT]
            assert set(commits) <= set(asked) <= set(masked), "only the current block is asked about"
            budget = case.settings["budget"]
            if budget and budget.tokens:
                assert len(commits) == min(budget.tokens, len(asked)), "tokens=K commits K"
            if case.policy in ("ar", "random"):
                assert len(asked) == len(commits), "what cannot be committed costs nothing"
            if case.policy == "parallel_forced" and len({row.region[p] for p in masked}) > 1:
                assert row.spec.paths not in {row.region[p] for p in asked}, "the summary waits"


@settings(max_examples=50)
@given(cases(), st.randoms(use_true_random=False))
def test_a_row_gives_the_same_events_alone_and_in_any_batch_in_any_order(case, random):
    together = case.run(HashDenoiser())
    shuffled = random.sample(range(len(together)), len(together))
    again = case.run(HashDenoiser(), shuffled)
    for place, row in enumerate(shuffled):
        for other in (again[place], *case.run(HashDenoiser(), [row])):
            assert [e[:4] for e in other.events] == [e[:4] for e in together[row].events]
            assert [e.probability for e in other.events] == pytest.approx(
                [e.probability for e in together[row].events], abs=1e-6, nan_ok=True
            )


@settings(max_examples=40)
@given(cases())
def test_the_same_seed_gives_the_same_trace(case):
    one, other = case.run(HashDenoiser()), case.run(HashDenoiser())
    assert [repr(t.events) for t in one] == [repr(t.events) for t in other]


@pytest.mark.parametrize(
    ("policy", "sampling", "differ"),
    [
        ("random", Sampling(), True),
        ("low_confidence", Sampling(temperature=1.0), True),
        ("low_confidence", Sampling(), False),
        ("parallel_forced", Sampling(), False),
    ],
)
def test_another_seed_gives_another_trace_where_anything_is_drawn(policy, sampling, differ):
    traces = [run(HashDenoiser(), [plain(20)], policy, budget=ONE, sampling=sampling, seed=s)[0] for s in (0, 1)]
    assert (traces[0].events != traces[1].events) == differ


def test_rows_draw_independently_of_each_other():
    rows = [plain(20, prompt) for prompt in ("a", "b")]
    one, two = run(UniformDenoiser(), rows, "random", budget=ONE, sampling=Sampling(temperature=1.0))
    assert order(one) != order(two) and one.final[1:] != two.final[1:]


@settings(max_examples=60)
@given(cases(policies=[p for p in PACED if p != "parallel_forced"], eos=["count", "suppress", "defer"]), st.data())
def test_steps_s_takes_exactly_s_steps_spread_evenly_where_the_length_allows(case, data):
    steps = data.draw(st.integers(1, 20))
    for trace in case.run(HashDenoiser(), budget=Budget(steps=steps)):
        assert trace.steps == min(steps, len(trace.events))
        counts = [len(step) for step in order(trace)]
        assert counts == sorted(counts, reverse=True) and max(counts, default=0) - min(counts, default=0) <= 1


@settings(max_examples=100)
@given(cases(policies=["parallel_forced", "klass"]), st.data())
def test_a_policy_in_stages_takes_no_more_steps_than_its_budget_has(case, data):
    """A summary that waits needs one of its own: there a single step is two."""
    steps = data.draw(st.integers(1, 20))
    for trace in case.run(HashDenoiser(), budget=Budget(steps=steps)):
        assert trace.forwards <= max(steps, 2 * (case.policy == "parallel_forced"))


@settings(max_examples=60)
@given(cases(policies=["parallel_forced", "parallel_forced:summary=joint"], eos=["count"]), st.data())
def test_parallel_forced_takes_s_steps_or_one_more_for_a_summary_that_waits(case, data):
    steps = data.draw(st.integers(1, 20))
    for row, trace in zip(case.canvases, case.run(HashDenoiser(), budget=Budget(steps=steps)), strict=True):
        wanted = min(steps, len(trace.events))
        regions = [{row.region[p] for p in positions} for positions in order(trace)]
        if "joint" in case.policy:
            assert trace.steps == wanted
        else:
            assert trace.steps in (wanted, wanted + 1)
            # One more only where the last planned step still had a path to finish.
            assert trace.steps <= wanted or row.spec.paths not in regions[wanted - 1]
            assert not any(row.spec.paths in codes and len(codes) > 1 for codes in regions)


def test_blocks_are_finished_from_left_to_right():
    (trace,) = run(HashDenoiser(), [plain(12, "")], "low_confidence:block=4", budget=Budget(tokens=3))
    assert [p // 4 for step in order(trace) for p in step] == [0] * 4 + [1] * 4 + [2] * 4


def test_blocks_divide_the_masked_positions_and_not_the_canvas():
    (trace,) = run(HashDenoiser(), [canvas()], "ar", budget=ONE)
    (blocked,) = run(HashDenoiser(), [canvas()], "low_confidence:block=1", budget=ONE)
    assert order(blocked) == order(trace)


def test_a_block_that_is_cut_short_by_the_end_is_a_block():
    (trace,) = run(HashDenoiser(), [plain(10, "")], "low_confidence:block=4", budget=Budget(steps=3))
    assert [sorted(step) for step in order(trace)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_the_mask_is_never_predicted_though_the_model_prefers_it():
    (trace,) = run(TableDenoiser(table({MASK: 0.9, 5: 0.06})), [plain(4)], "low_confidence", budget=ONE)
    assert trace.final[1:] == [5] * 4
    assert [e.probability for e in trace.events] == pytest.approx([0.06] * 4)


@pytest.mark.parametrize("temperature", [0.5, 5.0])
def test_the_mask_is_never_drawn(temperature):
    one = plain(300)
    (trace,) = run(
        TableDenoiser(table({MASK: 0.9})),
        [one],
        "low_confidence",
        budget=ALL,
        sampling=Sampling(temperature=temperature),
    )
    assert MASK not in trace.final


def test_nothing_to_decode_is_no_steps():
    assert list(decode(HashDenoiser(), [], LowConfidence(), budget=ONE)) == []
    assert decode_traces(HashDenoiser(), [], LowConfidence(), budget=ONE) == []


@pytest.mark.parametrize("policy", ["low_confidence", "low_confidence:block=2"])
@pytest.mark.parametrize("budget", [ONE, Budget(steps=2)])
def test_a_canvas_without_masks_costs_no_forward_and_disturbs_nobody(policy, budget):
    full, denoiser = plain(4, "a"), HashDenoiser()
    full.ids[:] = 7
    done, other = run(denoiser, [full, plain(4, "b")], policy, budget=budget)
    assert (done.events, done.forwards, done.final) == ((), 0, [7] * 5)
    assert other.forwards == len(denoiser.calls) and all(len(call.ids_BL) == 1 for call in denoiser.calls)


def test_steps_come_as_they_are_made_one_a_row_and_forward():
    denoiser = HashDenoiser()
    steps = decode(denoiser, [plain(2, "a"), plain(1, "b")], LowConfidence(), budget=ONE)
    first = next(steps)
    assert len(denoiser.calls) == 1 and (first.row, first.index, len(first.events)) == (0, 0, 1)
    assert [(step.row, step.index) for step in steps] == [(1, 0), (0, 1)]
    assert first.seconds > 0


def test_a_trace_says_how_to_run_it_again():
    (trace,) = run(
        HashDenoiser(), [canvas(problem_id="p")], "threshold:tau=0.5", sampling=Sampling(temperature=1.0), seed=3
    )
    said = json.loads(json.dumps(trace.setting))
    assert (said["policy"], said["seed"], said["eos"], said["model"]) == (
        "threshold:tau=0.5", 3, "count", {"model": "HashDenoiser"})  # fmt: skip
    assert CanvasSpec(**said["canvas"]) == canvas().spec
    assert Budget(**said["budget"]) == Budget() and Sampling(**said["sampling"]) == Sampling(temperature=1.0)
    assert trace.problem_id == "p" and set(trace.uncounted) == {PAD, EOS}
    assert {trace.vocabulary[token] for token in trace.initial} >= {"a", "b", "<mask>", "<think 1>"}
    assert set(trace.vocabulary) == {*trace.initial, *trace.final}


# Ends of text. One path of ten tokens: a b < / think 1 > and three of padding, and what is sure of it left to right.
FALLING = [0.99, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55]


def ending(eos, sure=FALLING, slot="a b < / think 1 >", paths=1, budget=ONE, policy="low_confidence", **shape: Any):
    """(trace, first position of path 1) of an oracle whose paths all hold the tokens of `slot`, then padding."""
    summary = 0 if paths == 1 else 5
    known: dict[str, Any] = {"paths": paths, "path_tokens": 10, "summary_tokens": summary}
    one = canvas("a", tokenizer=PIECES, **known | shape)
    target, confidence = one.ids.copy(), np.full(len(one), 0.5)
    content = [EOS if word == "<eos>" else PIECES.id_of[word] for word in slot.split()]
    for code in range(paths):
        target[one.region == code] = content + [PAD] * (10 - len(content))
        confidence[one.region == code] = sure
    target[one.region == paths] = PIECES.id_of["a"]
    denoiser = OracleDenoiser([one], [target], [confidence], tokenizer=PIECES)
    (trace,) = run(denoiser, [one], policy, budget=budget, eos=eos)
    assert trace.forwards == len(denoiser.calls)
    return trace, int(np.flatnonzero(one.region == 0)[0])


def fills(trace, first):
    return {e.position - first: e.step for e in trace.events if e.kind == FILL}


def test_count_commits_padding_like_any_token():
    trace, _ = ending("count")
    assert (trace.forwards, fills(trace, 0)) == (10, {})


def test_stop_fills_the_rest_of_a_slot_for_free_once_its_tag_is_whole():
    trace, first = ending("stop")
    assert trace.forwards == 7 and fills(trace, first) == {7: 6, 8: 6, 9: 6}
    assert trace.final == ending("count")[0].final
    assert all(np.isnan(e.probability) and e.token == PAD for e in trace.events if e.kind == FILL)


@pytest.mark.parametrize("slot", ["a b <eos>", "<eos>", "a b c d e f g h i <eos>"])
def test_stop_also_ends_at_the_end_of_text_token(slot):
    trace, first = ending("stop", slot=slot)
    end = slot.split().index("<eos>")
    assert trace.forwards == end + 1 and set(fills(trace, first)) == set(range(end + 1, 10))


def test_stop_waits_while_there_is_a_gap_before_the_end():
    trace, first = ending("stop", sure=[0.5, 0.6, *[0.9] * 5, *[0.4] * 3])
    assert [p - first for step in order(trace) for p in step] == [2, 3, 4, 5, 6, 1, 0]
    assert set(fills(trace, first).values()) == {6}


@pytest.mark.parametrize("slot", ["a b < / think 2 >", "a < / think 1 b c d e f", "< / summary > a b c d e f"])
def test_stop_is_not_fooled_by_another_tag_or_a_part_of_one(slot):
    trace, first = ending("stop", slot=slot)
    assert trace.forwards == 10 and not fills(trace, first)


def test_stop_ends_each_path_by_its_own_tag():
    trace, first = ending("stop", paths=2, budget=Budget(tokens=2), policy="parallel_forced")
    # Both hold </think 1>: it ends path 1, and path 2 goes on to its last token.
    assert set(fills(trace, first)) == {7, 8, 9}


def test_stop_leaves_the_other_slots_to_be_decoded():
    trace, first = ending("stop", slot="a b <eos>", paths=2, budget=Budget(tokens=2), policy="parallel_forced")
    assert len(fills(trace, first)) == 14
    assert [len(step) for step in order(trace)] == [2, 2, 2, 2, 2, 1]


def test_stop_without_tags_knows_the_end_of_text_only():
    trace, _ = ending("stop", tags="none", summary_tokens=0)
    assert trace.forwards == 10
    trace, _ = ending("stop", slot="a <eos>", tags="none", summary_tokens=0)
    assert trace.forwards == 2


def test_stop_shortens_a_run_in_s_steps_and_does_not_slow_it():
    # 25 tokens in 5 steps. After 2 steps both paths have ended, and the 5 of the summary are left: one step, not five.
    trace, first = ending("stop", slot="a b c <eos>", paths=2, budget=Budget(steps=5))
    assert [len(step) for step in order(trace)] == [5, 5, 5] and len(fills(trace, first)) == 10


def test_suppress_never_predicts_the_end_of_text():
    trace, _ = ending("suppress", slot="a <eos> <eos> b <eos>")
    assert EOS not in trace.final and PAD in trace.final


@pytest.mark.parametrize(
    "policy",
    [
        *("low_confidence", "entropy", "margin", "parallel_forced"),
        *("threshold:tau=0.9", "factor", "entropy_bound:gamma=0.01"),
    ],
)
def test_defer_ranks_the_end_of_text_behind_everything_else_and_records_what_the_model_said(policy):
    said = table({EOS: 0.99}, {4: 0.5}, {EOS: 0.98}, {5: 0.4})
    (trace,) = run(TableDenoiser(said), [plain(4, "")], policy, budget=ONE if policy in PACED else None, eos="defer")
    assert [p for step in order(trace) for p in step] == [1, 3, 0, 2]
    assert trace.final == [EOS, 4, EOS, 5]
    assert [e.probability for e in trace.events] == pytest.approx([0.5, 0.4, 0.99, 0.98])


def test_defer_changes_nothing_where_no_text_ends():
    one, other = (run(HashDenoiserWithoutEnds(), [plain(9)], "factor", eos=eos)[0] for eos in ("count", "defer"))
    assert one.events == other.events


class HashDenoiserWithoutEnds(HashDenoiser):
    eos_ids = ()


def test_an_unknown_eos_setting_is_not_ignored():
    with pytest.raises(InputError, match=r"unknown eos setting 'sotp'; did you mean 'stop'\? known: count, suppress"):
        run(HashDenoiser(), [plain(4)], "ar", budget=ONE, eos="sotp")


# Policies that take back


@dataclass(frozen=True, kw_only=True)
class TakesOneBack(Selecting):
    """Commits two a step; in step 1 it takes position `back` back."""

    paced = False
    back: int = 1

    def act(self, row, said):
        commits = Edits(said.position_N[:2], said.token_N[:2])
        if row.step != 1:
            return commits
        return Edits(np.append(commits.position_N, self.back), np.append(commits.token_N, row.mask_id))


def test_a_remasking_policy_decodes_to_the_end_and_its_trace_replays():
    (trace,) = run(HashDenoiser(), [plain(4)], TakesOneBack())
    check_trace(trace)
    assert order(trace) == [[1, 2], [3, 4], [1]] and order(trace, REMASK) == [[], [1], []]
    assert trace.canvas_at(2)[1] == MASK and MASK not in trace.final
    assert trace.setting["policy"] == "TakesOneBack"


@dataclass(frozen=True, kw_only=True)
class Endless(Selecting):
    """Commits the first masked position and takes its neighbour back."""

    paced = False

    def act(self, row, said):
        here, token = said.position_N[0], said.token_N[0]
        return Edits(np.array([here, 3 - here][: row.step + 1]), np.array([token, row.mask_id][: row.step + 1]))


def test_an_endless_policy_is_stopped_in_one_clear_line():
    steps = decode(HashDenoiser(), [plain(3)], Endless())
    with pytest.raises(InputError, match="policy 'Endless', step 96: it goes round for ever") as caught:
        list(itertools.islice(steps, 100))
    assert "\n" not in str(caught.value)


@dataclass(frozen=True, kw_only=True)
class Idle(Selecting):
    paced = False

    def select(self, view):
        return np.empty(0, np.int64)


def test_a_policy_that_commits_nothing_is_stopped_at_once():
    with pytest.raises(InputError, match="policy 'Idle', step 0: it committed nothing"):
        run(HashDenoiser(), [plain(3)], Idle())


# Sampling. Logits 0..5 on tokens 2..7; the mask and padding get nothing.
LOGITS = np.array([-1e9, -1e9, *np.arange(6) * 0.7])


def drawn(sampling, rows=10, length=200, seed=0):
    """How often each token was drawn, all at once and from the same distribution."""
    canvases = [plain(length, " ".join(LETTERS[: row + 1])) for row in range(rows)]
    traces = run(
        TableDenoiser(LOGITS), canvases, "low_confidence", budget=Budget(steps=1), sampling=sampling, seed=seed
    )
    return np.bincount([e.token for trace in traces for e in trace.events], minlength=8), traces


def softmax(logits):
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


@pytest.mark.parametrize(
    ("sampling", "kept"),
    [
        (Sampling(temperature=1.0), 6),
        (Sampling(temperature=0.5), 6),
        (Sampling(temperature=3.0), 6),
        (Sampling(temperature=1.0, top_k=3), 3),
        (Sampling(temperature=3.0, top_k=1), 1),
        (Sampling(temperature=1.0, top_k=99), 6),
        # The likeliest hold 0.51, 0.25, 0.13, 0.06, 0.03, 0.02: the smallest set that reaches p.
        (Sampling(temperature=1.0, top_p=0.5), 1),
        (Sampling(temperature=1.0, top_p=0.6), 2),
        (Sampling(temperature=1.0, top_p=0.8), 3),
        (Sampling(temperature=3.0, top_p=0.8), 4),
        (Sampling(temperature=1.0, top_p=0.8, top_k=2), 2),
    ],
)
def test_tokens_are_drawn_from_the_tempered_softmax_of_what_top_k_and_top_p_keep(sampling, kept):
    counts, _ = drawn(sampling)
    expected = softmax(np.where(np.arange(8) >= 8 - kept, LOGITS / sampling.temperature, -np.inf))
    assert set(np.flatnonzero(counts)) == set(range(8 - kept, 8))
    if kept > 1:
        assert chisquare(counts[-kept:], expected[-kept:] * counts.sum()).pvalue > 1e-3


def test_each_row_draws_from_that_distribution_too():
    _, traces = drawn(Sampling(temperature=1.0), rows=26, length=1)
    assert len({trace.final[-1] for trace in traces}) > 2


def test_confidence_is_the_untempered_probability_of_the_drawn_token():
    _, traces = drawn(Sampling(temperature=3.0, top_k=4))
    chance = softmax(LOGITS)
    assert all(e.probability == pytest.approx(chance[e.token]) for trace in traces for e in trace.events)


def test_temperature_zero_takes_the_likeliest():
    assert np.flatnonzero(drawn(Sampling())[0]).tolist() == [7]


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-40])
def test_the_smallest_temperatures_take_the_likeliest(temperature):
    assert np.flatnonzero(drawn(Sampling(temperature=temperature))[0]).tolist() == [7]


@pytest.mark.parametrize("temperature", [1e40, 1e300])
@pytest.mark.parametrize(("top_k", "kept"), [(0, 7), (2, 2)])
def test_under_the_largest_temperatures_all_that_is_kept_is_alike_but_the_mask(temperature, top_k, kept):
    counts, _ = drawn(Sampling(temperature=temperature, top_k=top_k))
    assert set(np.flatnonzero(counts)) == set(range(8 - kept, 8))
    assert chisquare(counts[-kept:]).pvalue > 1e-3


def test_noise_is_gumbel_in_float64():
    logits_NV = torch.from_numpy(np.random.default_rng(0).normal(size=(500, 9))).float()
    token_N = draw(logits_NV, Sampling(temperature=0.8), torch.Generator().manual_seed(5))
    uniform_NV = torch.rand(500, 9, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    assert (token_N == (logits_NV.double() / 0.8 - (-uniform_NV.log()).log()).argmax(dim=-1)).all()


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1.0}, {"temperature": float("inf")}, {"temperature": float("nan")},
              {"top_p": 0.0}, {"top_p": 1.5}, {"top_k": -1}]
)  # fmt: skip
def test_a_sampling_that_cannot_be_is_refused(wrong):
    with pytest.raises(InputError, match="temperature must be >= 0"):
        Sampling(**wrong)


# Budgets


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"tokens": 2, "steps": 3}, "not both; got 2 and 3"),
        ({"tokens": 0}, "tokens per step must be at least 1, got 0"),
        ({"steps": -1}, "steps must be at least 1, got -1"),
    ],
)
def test_a_budget_that_cannot_be_is_refused(wrong, said):
    with pytest.raises(InputError, match=said):
        Budget(**wrong)


# What has a guide cannot be named without it.
@pytest.mark.parametrize("policy", [name for name, kind in POLICIES.items() if not hasattr(kind, "open_guide")])
def test_a_budget_is_neither_missing_nor_silently_ignored(policy):
    paced = POLICIES[policy].paced
    with pytest.raises(InputError, match="needs a budget" if paced else "sets its own pace"):
        run(HashDenoiser(), [plain(4)], policy, budget=None if paced else ONE)


def test_steps_that_do_not_divide_into_the_blocks_are_refused():
    with pytest.raises(InputError, match="5 steps do not divide into 3 blocks; give a multiple of 3"):
        run(HashDenoiser(), [plain(12)], "low_confidence:block=4", budget=Budget(steps=5))


def test_a_canvas_that_the_model_cannot_hold_is_refused_before_any_forward():
    denoiser = HashDenoiser()
    denoiser.max_length = 8
    with pytest.raises(InputError, match="canvas of 9 tokens is too long"):
        run(denoiser, [plain(4), plain(8, "b")], "ar", budget=ONE)
    assert not denoiser.calls


def transfer_tokens(masked, steps):
    """LLaDA's get_num_transfer_tokens, from its description: an even share, and one more in the first steps."""
    return [masked // steps + (step < masked % steps) for step in range(steps)]


@given(st.integers(1, 200), st.integers(1, 64))
def test_a_number_of_steps_is_spread_as_in_lladas_loop(total, steps):
    budget, left, counts = Budget(steps=steps), total, []
    while left:
        counts.append(min(budget.quota(total, left, len(counts)), left))
        left -= counts[-1]
    assert counts == [count for count in transfer_tokens(total, steps) if count]


@given(st.integers(1, 200), st.integers(1, 64), st.data())
def test_what_a_step_could_not_commit_is_made_up_for(total, steps, data):
    budget, left, step = Budget(steps=steps), total, 0
    while left and step < steps:
        quota = budget.quota(total, left, step)
        # Any step but the last may be held back.
        left -= min(left, data.draw(st.integers(1, quota)) if step < steps - 1 else quota)
        step += 1
    assert left == 0


# The neighbours' defects (see PEERS.md in the project's notes), each as what must hold here


def test_a_batch_with_blocks_and_one_step_a_block_works():
    rows = [plain(8, "a"), plain(8, "b"), plain(8, "c")]
    for trace in run(HashDenoiser(), rows, "low_confidence:block=4", budget=Budget(steps=2)):
        assert [sorted(step) for step in order(trace)] == [[1, 2, 3, 4], [5, 6, 7, 8]]


def test_a_block_of_certain_tokens_costs_one_forward():
    sure = TableDenoiser(table({5: 0.99}))
    (trace,) = run(sure, [plain(8)], "threshold:block=4")
    assert trace.forwards == len(sure.calls) == 2


def test_the_number_of_commits_is_each_rows_own_and_not_the_batchs_mean():
    short, long = run(HashDenoiser(), [plain(4, "a"), plain(12, "b")], "low_confidence", budget=Budget(steps=4))
    assert [len(step) for step in order(short)] == [1] * 4
    assert [len(step) for step in order(long)] == [3] * 4


def test_ragged_masks_never_overwrite_what_is_committed():
    rows = [plain(6, "a"), plain(6, "b")]
    rows[0].ids[3:] = 9
    traces = run(HashDenoiser(), rows, "low_confidence", budget=Budget(steps=3))
    assert traces[0].final[3:] == [9] * 4 and MASK not in traces[0].final + traces[1].final
    for trace in traces:
        positions = [p for step in order(trace) for p in step]
        assert len(positions) == len(set(positions))


@pytest.mark.parametrize("policy", ["entropy_bound:gamma=0.5", "threshold:tau=0.6", "factor:f=2"])
def test_an_uncertain_neighbour_does_not_change_how_much_a_row_commits(policy):
    sure, unsure = plain(4, "a"), plain(4, "b")
    denoiser = OracleDenoiser([sure, unsure], [[5] * 5] * 2, [[0.9] * 5, [0.3] * 5])
    alone, _ = run(denoiser, [sure], policy)[0], denoiser.calls.clear()
    assert order(run(denoiser, [unsure, sure], policy)[1]) == order(alone)


# The published loop


@pytest.fixture(scope="module")
def llada(nap_data):
    from nap.models.load import load

    folder = nap_data / "reference" / "llada"
    return load(str(folder)), json.loads((folder / "cases.json").read_text())["cases"]


@pytest.mark.parametrize("number", range(7))
def test_low_confidence_commits_what_lladas_published_loop_commits(llada, number):
    denoiser, published = llada
    assert len(published) == 7
    case = published[number]
    spec = CanvasSpec(path_tokens=case["gen_length"], **PLAIN)
    canvases = [layout(prompt, spec, None, denoiser.mask_id) for prompt in case["prompt"]]
    traces = run(denoiser, canvases, LowConfidence(block=case["block_length"]), budget=Budget(steps=case["steps"]))
    for row, trace in enumerate(traces):
        start = len(case["prompt"][row])
        step_of = {event.position: event.step for event in trace.events}
        assert trace.final[start:] == case["tokens"][row]
        assert [step_of[start + i] for i in range(case["gen_length"])] == case["commit_step"][row]
        assert trace.forwards == case["forwards"]
