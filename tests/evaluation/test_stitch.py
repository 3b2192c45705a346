"""Stitching: which steps are good, what follows from them, what it costs, and what the command says."""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nap.common.files import InputError
from nap.data.problems import Problem
from nap.data.trace import COMMIT, Event
from nap.decoding.policies.registry import parse_policy
from nap.decoding.prompt import canvas_of
from nap.evaluation.step_judge import Seen, Step, cut, features_of, fit, seen_steps
from nap.evaluation.stitch import (
    check_stitching,
    exact_judge,
    exact_solver,
    good_steps,
    model_solver,
    stitch_tallies,
    trained_judge,
    written,
)
from nap.evaluation.vote import Vote, Voter, ballots
from nap.models.load import load
from nap.tasks.arith import Arith
from nap.tasks.arith_steps import solved, steps_of, values_of
from nap.tasks.registry import load_task
from tiny import QUESTION, SPEC, nap

PROMPT = "Ann has 2 pears . Cat has Ann and Bob together . Bob has 3 more than Ann . How many has Cat ?"
PROBLEM = Problem(id="p", prompt=PROMPT, answer="7")
ARITH = Arith()
CHAIN = "Ann 2 ; Bob 2 + 3 = 5 ; Cat 2 + 4 = 6"


def chain(text, chance=0.9):
    return tuple(Step(step, (chance, chance)) for step in ARITH.steps(text))


OTHER = "Cat Ann + Bob ; Bob Ann + 3 ; Ann 1 ; Bob 4 ; Cat 7"


def test_everybody_has_what_the_sentences_say():
    assert values_of(PROMPT) == {"Ann": 2, "Bob": 5, "Cat": 7}
    assert values_of("Eve has 4 figs . Fay has 1 fewer than Eve . How many has Fay ?") == {"Eve": 4, "Fay": 3}
    assert values_of("Fay has 1 fewer than Eve . How many has Fay ?") == {}


def test_every_step_of_every_written_solution_is_right_and_they_solve_their_problem():
    for index in range(40):
        sample = ARITH.sample(0, index)
        for path in sample.paths:
            steps = ARITH.steps(path.text)
            assert all(ARITH.holds(sample.problem, step) for step in steps), path.text
            assert ARITH.solve(sample.problem, steps) == sample.problem.answer


@pytest.mark.parametrize(
    ("step", "right"),
    [
        ("Ann 2", True), ("Ann 3", False), ("Bob 2 + 3 = 5", True), ("Bob 2 + 3 = 6", False), ("Bob 2 + 4 = 6", False),
        ("Cat Ann + Bob", True), ("Cat Ann + Ann + 3", True), ("Cat Bob - Ann", False), ("Cat 2 + 5 = 7", True),
        ("Dan 2", False), ("Cat", False), ("Cat + 7", False), ("Cat 7 = 7", True), ("Cat 7 =", False), ("", False),
        ("Cat Ann + Dan", False), ("= 7", False), ("Cat 9999999999999999999 + 1", False), ("Cat ٧", False),
    ],
)  # fmt: skip
def test_a_step_is_right_where_it_says_what_is_so(step, right):
    assert ARITH.holds(PROBLEM, step) == right


def test_the_good_steps_of_all_chains_are_kept_once_and_solve_what_no_chain_solves_alone():
    assert steps_of(CHAIN) == ["Ann 2", "Bob 2 + 3 = 5", "Cat 2 + 4 = 6"]
    steps = good_steps(PROBLEM, [chain(CHAIN), chain(OTHER), chain(CHAIN)], exact_judge(ARITH, 0))
    assert steps == ["Ann 2", "Bob 2 + 3 = 5", "Cat Ann + Bob", "Bob Ann + 3", "Cat 7"]
    # Without its last step the other chain has the plan, and the first the numbers.
    planned = good_steps(PROBLEM, [chain(CHAIN), chain("Cat Ann + Bob")], exact_judge(ARITH, 0))
    assert solved(PROMPT, planned) == "7" and solved(PROMPT, planned[:2]) is None
    assert solved(PROMPT, ["Cat Ann + Bob", "Ann 2", "Bob 4", "Bob 4", "Bob 5"]) == "6", "most count"


def test_a_judge_that_is_always_wrong_keeps_the_bad_ones_and_one_in_between_is_wrong_that_often():
    both = [chain(CHAIN), chain(OTHER)]
    assert good_steps(PROBLEM, both, exact_judge(ARITH, 1)) == ["Cat 2 + 4 = 6", "Ann 1", "Bob 4"]
    many = [chain(" ; ".join(f"Ann 2 + {n} - {n}" for n in range(1000)))]
    kept = good_steps(PROBLEM, many, exact_judge(ARITH, 0.3))
    assert len(kept) == pytest.approx(700, abs=60)
    assert good_steps(PROBLEM, many, exact_judge(ARITH, 0.3, seed=1)) != kept


def test_a_line_counts_what_all_its_chains_cost_and_what_solving_did():
    voters = [[Voter(Vote("6", False), (), 4, 40, (chain(CHAIN),)), Voter(Vote("7", True), (), 6, 60, (chain(OTHER),))]]
    judge = exact_judge(ARITH, 0)
    lines = stitch_tallies(voters, [PROBLEM], [1, 2], "way", judge, exact_solver(ARITH))
    assert [(t.way, t.canvases, t.right, t.forwards, t.queries) for t in lines] == [
        ("way", 1, 0, 4.0, 40.0), ("way", 2, 1, 10.0, 100.0),
    ]  # fmt: skip
    dear = stitch_tallies(voters, [PROBLEM], [2], "way", judge, lambda problem, steps: (Vote("7", True), 3, 30))
    assert (dear[0].forwards, dear[0].queries) == (13.0, 130.0)


def test_the_model_reads_the_steps_in_the_paths_and_writes_the_summary_alone(tiny):
    denoiser = load(str(tiny))
    problem = Problem(id="q", prompt=QUESTION, answer="8")
    canvas = canvas_of(denoiser, problem, SPEC)
    steps = ["Ann 5", "<mask> 1", "Bob 5 + 3 = 8", "Ann 5 + 3 + 3 + 3", "Bob 8"]
    done = written(canvas, steps, denoiser)
    open_L = done.ids == denoiser.mask_id
    assert np.array_equal(open_L, (canvas.region == SPEC.paths) & (canvas.ids == denoiser.mask_id))
    texts = [denoiser.tokenizer.decode(done.ids[done.region == path]) for path in range(SPEC.paths)]
    # Five tokens of a path and its end: a step that fits no path is left out.
    assert "Ann 5" in texts[0] and "Bob 5" not in texts[0] and "Bob 8" in " ".join(texts)
    vote, forwards, queries = model_solver(denoiser, ARITH, SPEC, parse_policy("threshold:tau=0"))(problem, steps)
    assert forwards == 1 and queries == len(canvas) and isinstance(vote, Vote)


def test_steps_carry_the_probabilities_of_their_tokens(tiny):
    denoiser = load(str(tiny))
    (voter,), *_ = ballots(denoiser, ARITH, ARITH.load("test", 1, None), 1, SPEC, parse_policy("threshold:tau=0"))
    assert len(voter.chains) == SPEC.paths
    for one in (step for steps in voter.chains for step in steps):
        assert one.chances and all(0 <= chance <= 1 for chance in one.chances)
    canvas = canvas_of(denoiser, Problem(id="q", prompt=QUESTION, answer="8"), SPEC)
    final = canvas.ids.copy()
    at = np.flatnonzero(canvas.region == 0)
    ids = denoiser.tokenizer.encode("Ann 5 ; Bob 8", add_special_tokens=False)
    final[at[: len(ids)]] = ids
    events = tuple(Event(0, COMMIT, int(p), int(final[p]), 0.1 * (n + 1)) for n, p in enumerate(at))
    trace: Any = SimpleNamespace(final=final.tolist(), events=events)
    first, second = cut(ARITH, canvas, trace, denoiser, 0, "Ann 5 ; Bob 8")
    assert (first.text, second.text) == ("Ann 5", "Bob 8")
    assert first.chances == pytest.approx((0.1, 0.2)) and second.chances == pytest.approx((0.4, 0.5))


def test_a_judge_learns_that_sure_steps_which_many_say_are_right():
    one, other = Step("Ann 2", (0.9, 0.8)), Step("Ann 2", (0.95, 0.85))
    assert seen_steps([(one, one), (other,), (Step("Bob 4", (0.5,)),)]) == [
        Seen(other, 2),
        Seen(Step("Bob 4", (0.5,)), 1),
    ]
    assert features_of(Seen(one, 2)) == pytest.approx([1, np.log(0.8), np.log(0.72) / 2, np.log(2), np.log(3)])
    rng = np.random.default_rng(0)
    labels = [bool(n % 2) for n in range(200)]
    chances = [rng.uniform(0.6, 1) if right else rng.uniform(0.2, 0.7) for right in labels]
    judge = fit([features_of(Seen(Step("", (chance,)), 1)) for chance in chances], labels)
    assert judge.right > 0.85
    assert judge.chance(Seen(Step("", (0.99,)), 1)) > 0.9 > 0.1 > judge.chance(Seen(Step("", (0.2,)), 1))


def test_a_trained_judge_learns_from_the_exact_check_and_needs_steps():
    voters = [[Voter(Vote("7", True), (), 1, 1, (chain("Ann 2 ; Bob 5", 0.9), chain("Ann 1 ; Bob 4 ; Cat 9", 0.3)))]]
    judge, learned = trained_judge(ARITH, [PROBLEM], voters)
    assert learned.right == 1
    assert good_steps(PROBLEM, [chain("Cat 7", 0.9), chain("Cat 8", 0.3)], judge) == ["Cat 7"]
    with pytest.raises(InputError, match="there is no step to learn a judge from"):
        trained_judge(ARITH, [PROBLEM], [[Voter(Vote(None, False), (), 1, 1)]])


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (("grids", [0.0], "exact", None), "task 'grids' cannot check a single step"),
        (("arith", [0.0, 1.5], "exact", None), r"noise of a judge must be from 0 to 1, got 1\.5"),
        (("arith", [], "model", None), "give --stitch 0"), (("arith", [], "exact", 5), "give --stitch 0"),
        (("arith", [0.0], "exact", 0), "judge problems must be at least 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_stitched_is_refused(told, said):
    name, *rest = told
    with pytest.raises(InputError, match=said):
        check_stitching(load_task(name), *rest)


def test_the_command_adds_a_line_for_each_judge(tiny):
    asked = ("vote", "--models", tiny, "--task", "arith", "--canvases", 1, "--problems", 2, "--json")
    done = nap(*asked, "--stitch", 0, 0.5, "--solver", "model", "--judge-problems", 2)
    assert done.returncode == 0, done.stderr
    ways = [json.loads(line)["way"] for line in done.stdout.splitlines()]
    assert ways[:4] == ["own", "paths", "stitched, model, noise 0", "stitched, model, noise 0.5"]
    assert len(ways) == 5 and ways[4].startswith("stitched, model, trained, right on ")
    refused = nap(*asked, "--solver", "model")
    assert refused.returncode == 2 and "give --stitch 0" in refused.stderr and refused.stderr.count("\n") == 1
