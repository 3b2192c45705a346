"""Candidates that are equally sure: which goes first, and what that is for."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nap.canvas.canvas import CanvasSpec, collate, layout
from nap.common.files import InputError
from nap.decoding.budget import Budget
from nap.decoding.decode import decode_traces
from nap.decoding.policies.ordered import Entropy, LowConfidence
from nap.decoding.policies.paths import ParallelForced
from nap.decoding.policies.policy import best
from nap.decoding.policies.registry import parse_policy, policy_name
from nap.decoding.policies.ties import ranked
from nap.models.silent import Silent
from toys import MASK, PAD, WORDS

RNG = np.random.default_rng(0)


def test_of_the_candidates_within_reach_of_the_best_the_preferred_goes_first():
    score = np.array([0.5, 0.991, 0.999, 0.995, 0.2])
    assert ranked(score, 3, 0.01, "left", RNG).tolist() == [1, 2, 3]
    assert ranked(score, 3, 0.01, "right", RNG).tolist() == [3, 2, 1]
    # .991 is not within .005 of .999, but is once that and .995 are gone.
    assert ranked(score, 4, 0.005, "left", RNG).tolist() == [2, 1, 3, 0]


@given(
    scores=st.lists(st.integers(0, 9), min_size=1, max_size=9), count=st.integers(1, 10),
    within=st.integers(0, 3), prefer=st.sampled_from(["left", "right", "random"]),
)  # fmt: skip
def test_every_pick_is_within_reach_of_the_best_that_is_left(scores, count, within, prefer):
    picked = ranked(np.array(scores, float), count, within, prefer, np.random.default_rng(1)).tolist()
    assert len(set(picked)) == len(picked) == min(count, len(scores))
    left = dict(enumerate(scores))
    for pick in picked:
        band = [i for i, score in left.items() if score >= max(left.values()) - within]
        assert pick == {"left": band[0], "right": band[-1], "random": pick}[prefer] and pick in band
        del left[pick]


@given(scores=st.lists(st.floats(0, 1), min_size=1, max_size=9), count=st.integers(1, 10))
def test_without_a_reach_the_leftmost_of_equals_goes_first_as_before(scores, count):
    assert ranked(np.array(scores), count, 0.0, "left", RNG).tolist() == best(np.array(scores), count).tolist()


def test_what_ends_a_text_is_still_last_where_it_is_deferred():
    assert ranked(np.array([-np.inf, 0.5, -np.inf]), 3, 0.1, "right", RNG).tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    "policy",
    [
        LowConfidence(within=0.01, prefer="right"), Entropy(block=4, within=0.5, prefer="random"),
        ParallelForced(summary="joint", within=0.01, prefer="right"),
    ],
)  # fmt: skip
def test_the_setting_is_part_of_a_policys_name(policy):
    assert parse_policy(policy_name(policy)) == policy and "within" in policy_name(policy)


@pytest.mark.parametrize("name", ["low_confidence", "entropy", "margin", "parallel_forced"])
def test_a_wrong_reach_or_preference_is_refused(name):
    for value in ("-1", "nan"):
        with pytest.raises(InputError, match="within must be at least 0, got"):
            parse_policy(f"{name}:within={value}")
    with pytest.raises(InputError, match="unknown prefer 'middle'; known: left, right, random"):
        parse_policy(f"{name}:prefer=middle")


def orders(policy, spec, prompts=40):
    """Positions in the order that a model which knows nothing writes them, of several canvases."""
    canvases = [layout([5, 6], spec, WORDS, MASK, problem_id=str(number)) for number in range(prompts)]
    silent = Silent(MASK, PAD, len(WORDS), WORDS)
    traces = decode_traces(silent, canvases, parse_policy(policy), budget=Budget(tokens=1))
    return [[event.position for event in trace.events] for trace in traces]


def test_a_model_that_knows_nothing_writes_in_the_random_order_of_the_policys_rules():
    spec = CanvasSpec(paths=1, path_tokens=3, summary_tokens=0, tags="none")
    found = Counter(map(tuple, orders("low_confidence:within=1,prefer=random", spec, 600)))
    assert len(found) == 6 and min(found.values()) > 60
    assert all(order == sorted(order) for order in orders("low_confidence:within=1", spec, 3))
    wide = CanvasSpec(paths=2, path_tokens=2, summary_tokens=2)
    region = layout([5, 6], wide, WORDS, MASK).region
    for order in orders("parallel_forced:within=1,prefer=random", wide):
        slots = region[order].tolist()
        assert slots[4:] == [2, 2] and sorted(slots[:2]) == sorted(slots[2:4]) == [0, 1]


def test_a_model_that_knows_nothing_gives_every_token_the_same_chance():
    silent = Silent(MASK, PAD, 7)
    at = (torch.zeros(3, dtype=torch.long), torch.arange(3))
    canvas = layout([5], CanvasSpec(paths=1, path_tokens=2, summary_tokens=0, tags="none"), WORDS, MASK)
    ids, seen = collate([canvas], PAD)
    assert silent.logits(torch.from_numpy(ids), seen, at).softmax(1).numpy() == pytest.approx(1 / 7)
