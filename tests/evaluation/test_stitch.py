"""Stitching: which steps are good, what follows from them, what it costs, and what the command says."""

import json

import numpy as np
import pytest

from nap.common.files import InputError
from nap.data.problems import Problem
from nap.decoding.policies.registry import parse_policy
from nap.decoding.prompt import canvas_of
from nap.evaluation.stitch import Stitch, exact_solver, good_steps, model_solver, steps_task, stitch_tallies, written
from nap.evaluation.vote import Vote, Voter
from nap.models.load import load
from nap.tasks.arith_steps import solved, steps_of, values_of
from nap.tasks.registry import load_task
from tiny import QUESTION, SPEC, nap

PROMPT = "Ann has 2 pears . Cat has Ann and Bob together . Bob has 3 more than Ann . How many has Cat ?"
PROBLEM = Problem(id="p", prompt=PROMPT, answer="7")
ARITH = load_task("arith")
CHAIN = "Ann 2 ; Bob 2 + 3 = 5 ; Cat 2 + 4 = 6"
OTHER = "Cat Ann + Bob ; Bob Ann + 3 ; Ann 1 ; Bob 4 ; Cat 7"


def test_everybody_has_what_the_sentences_say():
    assert values_of(PROMPT) == {"Ann": 2, "Bob": 5, "Cat": 7}
    assert values_of("Eve has 4 figs . Fay has 1 fewer than Eve . How many has Fay ?") == {"Eve": 4, "Fay": 3}
    assert values_of("Fay has 1 fewer than Eve . How many has Fay ?") == {}


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
    steps = good_steps(ARITH, PROBLEM, [CHAIN, OTHER, CHAIN], noise=0)
    assert steps == ["Ann 2", "Bob 2 + 3 = 5", "Cat Ann + Bob", "Bob Ann + 3", "Cat 7"]
    # Without its last step the other chain has the plan, and the first the numbers.
    planned = good_steps(ARITH, PROBLEM, [CHAIN, "Cat Ann + Bob"], noise=0)
    assert solved(PROMPT, planned) == "7" and solved(PROMPT, planned[:2]) is None
    assert solved(PROMPT, ["Cat Ann + Bob", "Ann 2", "Bob 4", "Bob 4", "Bob 5"]) == "6", "most count"


def test_a_judge_that_is_always_wrong_keeps_the_bad_ones_and_one_in_between_is_wrong_that_often():
    assert good_steps(ARITH, PROBLEM, [CHAIN, OTHER], noise=1) == ["Cat 2 + 4 = 6", "Ann 1", "Bob 4"]
    texts = [" ; ".join(f"Ann 2 + {n} - {n}" for n in range(1000))]
    kept = len(good_steps(ARITH, PROBLEM, texts, noise=0.3))
    assert kept == pytest.approx(700, abs=60)
    assert good_steps(ARITH, PROBLEM, texts, noise=0.3, seed=1) != good_steps(ARITH, PROBLEM, texts, noise=0.3)


def test_a_line_counts_what_all_its_chains_cost_and_what_solving_did():
    voters = [[Voter(Vote("6", False), (), 4, 40, (CHAIN,)), Voter(Vote("7", True), (), 6, 60, (OTHER,))]]
    stitch = Stitch(noise=0)
    lines = stitch_tallies(voters, [PROBLEM], [1, 2], ARITH, stitch, exact_solver(ARITH))
    assert [(t.way, t.canvases, t.right, t.forwards, t.queries) for t in lines] == [
        ("stitched, exact, noise 0", 1, 0, 4.0, 40.0), ("stitched, exact, noise 0", 2, 1, 10.0, 100.0),
    ]  # fmt: skip
    dear = stitch_tallies(voters, [PROBLEM], [2], ARITH, stitch, lambda problem, steps: (Vote("7", True), 3, 30))
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


def test_what_cannot_be_stitched_is_refused():
    with pytest.raises(InputError, match="task 'grids' cannot check a single step"):
        steps_task(load_task("grids"))
    with pytest.raises(InputError, match=r"noise of a judge must be from 0 to 1, got 1\.5"):
        Stitch(noise=1.5)
    with pytest.raises(InputError, match="unknown solver 'maybe'"):
        Stitch(solver="maybe")  # pyright: ignore[reportArgumentType]


def test_the_command_adds_a_line_for_each_judge(tiny):
    asked = ("vote", "--models", tiny, "--task", "arith", "--canvases", 1, "--problems", 2, "--json")
    done = nap(*asked, "--stitch", 0, 0.5, "--solver", "model")
    assert done.returncode == 0, done.stderr
    ways = [json.loads(line)["way"] for line in done.stdout.splitlines()]
    assert ways == ["own", "paths", "stitched, model, noise 0", "stitched, model, noise 0.5"]
    for wrong, said in ((("--solver", "model"), "give --stitch 0"), (("--stitch", 2), "from 0 to 1, got 2.0")):
        refused = nap(*asked, *wrong)
        assert refused.returncode == 2 and said in refused.stderr and refused.stderr.count("\n") == 1
