"""Policies that ask about several canvases in a forward: lossless where they say so, counted, refused with a cache."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_decode import SURE, canvas, oracle, plain
from test_stateful import run

from nap.canvas.canvas import CanvasSpec, layout
from nap.common.files import InputError
from nap.data.trace import COMMIT, FILL
from nap.decoding.budget import Budget
from nap.decoding.decode import decode_traces
from nap.decoding.needs import check_needs
from nap.decoding.policies.policy import Draft, Selecting, best
from nap.decoding.policies.registry import parse_policy
from nap.models.load import load
from toys import HashDenoiser


def commits(trace):
    return [(e.position, e.token, e.probability) for e in trace.events if e.kind == COMMIT]


def one_token(canvases, block, **told):
    denoiser, policy = HashDenoiser(), parse_policy(f"low_confidence{block}")
    return decode_traces(denoiser, canvases, policy, budget=Budget(tokens=1), **told)


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.integers(1, 6), st.sampled_from(["full", "paths"])), min_size=1, max_size=3
    ),
    st.integers(1, 6),
    st.sampled_from(["", ":block=1", ":block=3", ":block=7"]),
    st.sampled_from(["count", "suppress", "defer", "stop"]),
)
def test_self_speculative_commits_what_one_token_a_step_commits_in_its_order(shapes, ahead, block, eos):
    rows = [
        canvas("abc"[n], paths=paths, path_tokens=tokens, attention=attention)
        for n, (paths, tokens, attention) in enumerate(shapes)
    ]
    policy = f"self_speculative{block or ':'}{',' * bool(block)}ahead={ahead}"
    for fast, slow in zip(run(HashDenoiser(), rows, policy, eos=eos), one_token(rows, block, eos=eos), strict=True):
        assert commits(fast) == commits(slow)
        assert fast.final == slow.final
        assert {e.position for e in fast.events if e.kind == FILL} == {
            e.position for e in slow.events if e.kind == FILL
        }
        assert fast.forwards <= slow.forwards


def test_self_speculative_is_lossless_on_a_real_model(tiny):
    denoiser = load(str(tiny))
    spec = CanvasSpec(paths=1, path_tokens=14, summary_tokens=0, tags="none")
    rows = [layout([5, n], spec, None, denoiser.mask_id) for n in (6, 7, 8)]
    fast = decode_traces(denoiser, rows, parse_policy("self_speculative:ahead=6"))
    slow = decode_traces(denoiser, rows, parse_policy("low_confidence"), budget=Budget(tokens=1))
    for one, other in zip(fast, slow, strict=True):
        assert [commit[:2] for commit in commits(one)] == [commit[:2] for commit in commits(other)]
        assert one.forwards < other.forwards == 14


def test_self_speculative_saves_forwards_on_a_model_that_guesses_itself_well():
    one = canvas()
    (trace,) = run(oracle(one, ["a b", "c d", "e"], SURE), [one], "self_speculative:ahead=8")
    assert trace.forwards == 2


def test_every_canvas_of_a_forward_is_counted():
    one = canvas()
    (trace,) = run(oracle(one, ["a b", "c d", "e"], SURE), [one], "self_speculative")
    assert [cost.queries for cost in trace.costs] == [13, 4 * 13, 3 * 13]
    assert [cost.forwards for cost in trace.costs] == [1, 1, 1]


@settings(max_examples=20)
@given(st.integers(1, 9), st.sampled_from(["", "block=3,"]))
def test_lopa_without_branches_is_a_threshold(length, block):
    told = f"{block}tau=0.3"
    (lopa,) = run(HashDenoiser(), [plain(length)], f"lopa:branches=1,{told}")
    (threshold,) = run(HashDenoiser(), [plain(length)], f"threshold:{told}")
    assert [e[:4] for e in lopa.events] == [e[:4] for e in threshold.events]


def test_lopa_records_what_the_model_gave_the_token_that_was_tried():
    one = canvas()
    (trace,) = run(oracle(one, ["a b", "c d", "e"], SURE), [one], "lopa:weight=0")
    assert {e.position: e.probability for e in trace.events} == pytest.approx(SURE, abs=1e-6)


@pytest.mark.parametrize("policy", ["lopa", "self_speculative"])
def test_a_policy_of_several_canvases_is_refused_with_a_cache_before_the_first_forward(policy, tiny):
    denoiser = load(str(tiny))
    with pytest.raises(
        InputError, match=f"policy '{policy}' needs several canvases in one forward, which the cache 'dual'"
    ):
        decode_traces(denoiser, [plain(4)], parse_policy(policy), cache="dual")


@dataclass(frozen=True, kw_only=True)
class Drafting(Selecting):
    """Drafts over a position that is not masked."""

    paced = False

    def drafts(self, row):
        return [Draft(np.array([0]), np.array([5]))]

    def select(self, view):
        return best(view.probability_N, 1)


def test_a_draft_over_what_is_not_masked_is_named():
    with pytest.raises(InputError, match="step 0: it drafts over what is not masked"):
        run(HashDenoiser(), [plain(4)], Drafting())


@dataclass(frozen=True, kw_only=True)
class Inside(Selecting):
    """Reads hidden states."""

    paced = False
    reads = ("states",)


def test_a_policy_that_reads_hidden_states_is_refused_by_a_model_without():
    with pytest.raises(InputError, match="needs the model's hidden states, which HashDenoiser does not give"):
        check_needs(Inside(), HashDenoiser(), "none", 0.0)
