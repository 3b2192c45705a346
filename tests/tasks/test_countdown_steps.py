"""Steps of countdown: which are right, and what expression follows from those of several chains."""

import pytest

from nap.data.problems import Problem
from nap.evaluation.step_judge import Step
from nap.evaluation.stitch import exact_judge, exact_solver, good_steps
from nap.tasks.countdown import Countdown
from nap.tasks.countdown_steps import MOST, put_together
from nap.tasks.registry import Steps

TASK = Countdown()
PROBLEM = TASK.read("p", "numbers 30 100 93 target 23")


def test_every_step_of_every_written_solution_is_right_and_they_solve_their_problem():
    for index in range(40):
        sample = TASK.sample(0, index)
        for path in sample.paths:
            steps = TASK.steps(path.text)
            assert steps and all(TASK.holds(sample.problem, step) for step in steps), path.text
            said = TASK.solve(sample.problem, steps)
            assert said is not None and TASK.check(sample.problem, said)


@pytest.mark.parametrize(
    ("step", "right"),
    [
        ("100 - 93 = 7", True), ("7 = 100 - 93", True), ("100 - 93 = 8", False), ("93 - 100 = 7", False),
        ("30 * 2 = 60", True), ("60 / 2 = 30", True), ("61 / 2 = 30", False), ("1 / 0 = 0", False),
        ("0 / 0 = 0", False),
        ("100 - 93", False), ("= 7", False), ("", False), ("100 - 93 = 7 = 7", False), ("٣ + 1 = 4", False),
        ("1 + 1 + 1 = 3", False), ("9999999999 + 0 = 9999999999", False),
    ],
)  # fmt: skip
def test_a_step_is_right_where_its_equation_is_true(step, right):
    assert TASK.holds(PROBLEM, step) == right


def test_the_good_steps_of_two_chains_solve_what_neither_solves_alone():
    assert isinstance(TASK, Steps)
    chains = [[Step(text, ()) for text in TASK.steps(path)] for path in ("100 - 93 = 7 ; 30 - 7 = 22", "23 = 30 - 7")]
    solve = exact_solver(TASK)
    assert [solve(PROBLEM, [step.text for step in chain])[0].answer for chain in chains] == [None, None]
    steps = good_steps(PROBLEM, chains, exact_judge(TASK, 0))
    assert steps == ["100 - 93 = 7", "23 = 30 - 7"]
    vote, forwards, queries = solve(PROBLEM, steps)
    assert vote.correct and (forwards, queries) == (0, 0)


def test_a_number_is_used_once_and_all_are_used():
    assert TASK.solve(PROBLEM, ["30 + 30 = 60", "100 - 93 = 7"]) is None
    assert TASK.solve(TASK.read("q", "numbers 5 5 7 target 10"), ["5 + 5 = 10"]) is None
    assert TASK.solve(TASK.read("q", "numbers 5 5 7 target 17"), ["5 + 5 = 10", "10 + 7 = 17"]) == "5 + 5 + 7"


def test_a_wrong_step_that_a_judge_let_through_gives_a_wrong_answer_and_no_right_one():
    problem = TASK.read("q", "numbers 30 100 93 target 40")
    said = TASK.solve(problem, ["100 - 30 = 70", "93 - 70 = 40"])
    assert said is not None and not TASK.check(problem, said)


def test_any_number_of_steps_ends():
    numbers = list(range(1, 25))
    steps = [f"{a} + {b} = {a + b}" for a in numbers for b in numbers]
    assert put_together(numbers, 10**8, steps) is None and MOST == 10_000
    hostile = Problem(id="h", prompt="", answer="", task="countdown", meta={"numbers": numbers, "target": -1})
    assert TASK.solve(hostile, steps) is None
