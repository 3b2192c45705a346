"""Classifier-free guidance: the combined logits by hand, its cost, neighbours, drafts and caches."""

import numpy as np
import pytest
from scipy.special import log_softmax
from test_decode import canvas, plain
from test_lookahead import commits

from nap.canvas.canvas import CanvasSpec, layout
from nap.common.files import InputError
from nap.data.trace import PROMPT
from nap.decoding.budget import Budget, Sampling
from nap.decoding.decode import decode_traces
from nap.decoding.engine import Engine
from nap.decoding.policies.registry import parse_policy
from nap.models.any import load as load_any
from nap.models.load import load
from toys import MASK, HashDenoiser, ToyDenoiser

WITH, WITHOUT = np.array([0, 0, 0, 0, 1.0, 2.0, 0]), np.array([0, 0, 0, 0, 0.5, 3.0, 0])


class ReadsThePrompt(ToyDenoiser):
    """Says one thing where the prompt is there and another where it is masked."""

    def scores(self, ids_BL, layout, rows_N, positions_N):
        masked_B = ((layout.region_BL != PROMPT) | (ids_BL == MASK)).all(axis=1)
        return np.where(masked_B[rows_N, None], WITHOUT, WITH)


def decoded(denoiser, canvases, policy="low_confidence", guidance=0.0, **told):
    policy = parse_policy(policy)
    budget = Budget(tokens=1) if policy.paced else None
    return decode_traces(denoiser, canvases, policy, budget=budget, sampling=Sampling(guidance=guidance), **told)


@pytest.mark.parametrize(("scale", "token"), [(0.25, 5), (0.6, 5), (0.7, 4), (3.0, 4)])
def test_the_logits_are_pushed_away_from_those_without_the_prompt(scale, token):
    # 5 leads by 1 with the prompt and by 2.5 without: by 2.5 - 1.5 (s + 1) in all, which is nothing at s = 2/3.
    (trace,) = decoded(ReadsThePrompt(vocabulary=7), [plain(2)], guidance=scale)
    combined = WITHOUT + (scale + 1) * (WITH - WITHOUT)
    combined[MASK] = 0.0
    assert [e.token for e in trace.events] == [token, token]
    assert [e.probability for e in trace.events] == pytest.approx([np.exp(log_softmax(combined))[token]] * 2, abs=1e-6)


def test_it_costs_one_forward_and_the_query_tokens_of_both():
    (trace,) = decoded(HashDenoiser(), [plain(3)], guidance=1.0)
    assert [tuple(cost) for cost in trace.costs] == [(1, 8, 0)] * 3
    assert trace.setting["sampling"]["guidance"] == 1.0
    (without,) = decoded(HashDenoiser(), [plain(3)])
    assert "guidance" not in without.setting["sampling"]


def test_a_guided_row_and_one_that_is_not_do_not_change_each_other():
    engine, policy = Engine(HashDenoiser()), parse_policy("threshold:tau=0.5")
    scales, found = (0.0, 1.5, 0.0, 0.5), {}
    for number, scale in enumerate(scales):
        engine.add(plain(3 + number, "abcd"[number]), policy, sampling=Sampling(guidance=scale))
    while engine.running:
        for step in engine.step():
            found.setdefault(step.row, []).extend(step.events)
    for number, scale in enumerate(scales):
        (alone,) = decoded(HashDenoiser(), [plain(3 + number, "abcd"[number])], "threshold:tau=0.5", scale)
        assert tuple(found[number]) == alone.events
    assert engine.session.canvases == {}


def test_a_guided_row_that_is_cancelled_leaves_nothing_behind():
    engine = Engine(HashDenoiser())
    engine.add(plain(3), parse_policy("threshold"), sampling=Sampling(guidance=1.0))
    engine.step()
    engine.cancel(0)
    assert engine.session.canvases == {}


def test_drafts_are_guided_too():
    rows = [canvas("a"), canvas("b c", paths=1)]
    fast = decoded(HashDenoiser(), rows, "self_speculative", 1.0)
    slow = decoded(HashDenoiser(), rows, "low_confidence", 1.0)
    assert [commits(trace) for trace in fast] == [commits(trace) for trace in slow]


def test_the_exact_cache_is_exact_for_a_guided_row(tiny):
    denoiser = load(str(tiny))
    shape = CanvasSpec(paths=2, path_tokens=4, summary_tokens=2, attention="paths")
    rows = [layout(prompt, shape, denoiser.tokenizer, denoiser.mask_id) for prompt in ([5, 6, 7], [8])]
    kept, fresh = (
        decode_traces(
            denoiser,
            rows,
            parse_policy("parallel_forced"),
            budget=Budget(tokens=2),
            sampling=Sampling(guidance=1.0),
            cache=cache,
        )
        for cache in ("exact", "none")
    )
    assert [[e[:4] for e in trace.events] for trace in kept] == [[e[:4] for e in trace.events] for trace in fresh]
    assert sum(cost.queries for cost in kept[0].costs) < sum(cost.queries for cost in fresh[0].costs)


def test_a_cache_keeps_the_row_without_its_prompt_apart(tiny):
    denoiser = load(str(tiny))
    spec = CanvasSpec(paths=1, path_tokens=6, summary_tokens=0, tags="none")
    one = layout([5, 6, 7], spec, None, denoiser.mask_id)
    kept, fresh = (
        decode_traces(denoiser, [one], parse_policy("threshold:tau=0"), sampling=Sampling(guidance=2.0), cache=cache)[0]
        for cache in ("dual", "none")
    )
    assert len(kept.events) == 6 and [e[:4] for e in kept.events] == [e[:4] for e in fresh.events]


@pytest.mark.parametrize("value", [-0.1, float("inf"), float("nan")])
def test_guidance_out_of_range_names_its_range(value):
    with pytest.raises(InputError, match="guidance must be at least 0"):
        Sampling(guidance=value)


@pytest.mark.parametrize("law", ["exact:grids", "exact:agree"])
def test_a_law_that_reads_its_problem_in_the_prompt_is_not_guided_and_says_so(law):
    with pytest.raises(InputError, match=f"guidance asks without the prompt, where {law} reads its problem; drop the"):
        Engine(load_any(law)).add(plain(4), parse_policy("threshold"), sampling=Sampling(guidance=1.0))
