"""The replay opens with the most telling pair, by a rule that does not look at how it turns out otherwise."""

from nap.report.gallery import OPENING, choose
from nap.report.pair import telling_pair
from nap.report.runs import Recorded
from samples import chain, trace_of


def one(problem="p", steps=24, correct: bool | None = True, policy="ar", model="m"):
    trace = chain(length=steps, problem_id=problem, correct=correct)
    return Recorded(trace=trace, model=model, policy=policy, pace=f"{24 // steps}/step")


def test_it_is_the_same_problem_at_the_slowest_and_the_fastest_pace():
    traces = [one(steps=24), one(steps=12), one(steps=3), one("q", 24), one("r", 3)]
    assert telling_pair(traces) == (0, 2)


def test_a_problem_that_is_right_slowly_and_wrong_fast_goes_first():
    traces = [one("a", 24), one("a", 3), one("b", 24), one("b", 3, False), one("c", 24, False), one("c", 3)]
    assert telling_pair(traces) == (2, 3)
    assert telling_pair([*traces[4:], *traces[:2]]) == (2, 3)  # else one that is right


def test_the_proposed_policy_goes_before_the_default_and_the_last_model_before_the_others():
    settings = [("ar", "x"), ("low_confidence", "x"), ("parallel_forced:keep=1", "x"), ("parallel_forced:keep=1", "y")]
    traces = [one(steps=steps, policy=policy, model=model) for policy, model in settings for steps in (24, 3)]
    for left in (8, 6, 4, 2):
        assert telling_pair(traces[:left]) == (left - 2, left - 1)


def test_without_two_paces_it_is_a_wrong_beside_a_right_answer_of_one_problem():
    traces = [one("a"), one("b", policy="ar"), one("c", policy="random"), one("b", correct=False, policy="random")]
    assert telling_pair(traces) == (3, 1)


def test_without_that_it_is_two_of_a_problem_of_two_models_or_policies_or_what_there_is():
    traces = [one(), one(), one(policy="random"), one(policy="random", model="other")]
    assert [telling_pair(traces[:n]) for n in (4, 3, 2, 1, 0)] == [(0, 3), (0, 2), (0, 1), (0,), ()]
    assert telling_pair([one("a", correct=None), one("b")]) == (0,)


def test_a_trace_without_steps_is_no_fast_one_of_itself():
    empty = Recorded(trace=trace_of([]), model="m", policy="ar", pace="own")
    assert telling_pair([empty]) == (0,)


def test_the_pair_is_in_the_gallery_before_all_others():
    traces = [one(f"p{i}", steps) for steps in (24, 3) for i in range(30)]
    first, second, *rest = choose(traces)
    assert [OPENING in choice.why for choice in (first, second, *rest)] == [True, True, *[False] * len(rest)]
    assert first.one.trace.problem_id == second.one.trace.problem_id
