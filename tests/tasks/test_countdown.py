"""Every derivation uses each number once and is exact, all of them are found, and any exact expression is right."""

import itertools
import json
import re
from fractions import Fraction

import pytest

from nap.common.files import InputError
from nap.tasks.countdown import Countdown, derivations, expression, forward, moves

TASK = Countdown()
LINE = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)")


def value(left, sign, right):
    a, b = Fraction(left), Fraction(right)
    return {"+": a + b, "-": a - b, "*": a * b, "/": a / b if b else None}[sign]


def test_the_paths_are_exact_and_use_every_number_once():
    for index in range(300):
        sample = TASK.sample(5, index)
        numbers, target = sample.problem.meta["numbers"], sample.problem.meta["target"]
        for path, backwards in zip(sample.paths, (False, True, False), strict=True):
            lines = path.text.split(" ; ")
            if backwards:
                lines = [" = ".join(reversed(line.split(" = "))) for line in reversed(lines)]
            left = list(numbers)
            for line in lines:
                found = LINE.fullmatch(line)
                assert found
                a, sign, b, result = found.groups()
                assert value(a, sign, b) == int(result)
                left.remove(int(a))
                left.remove(int(b))
                left.append(int(result))
            assert left == [target]
        assert TASK.check(sample.problem, sample.summary)


def test_all_derivations_are_found():
    """Against every way to put signs and brackets around the numbers 8, 3, 2."""
    reached = {}
    for a, b, c in itertools.permutations((8, 3, 2)):
        for first, second in itertools.product("+-*/", repeat=2):
            middle = value(a, first, b)
            for last in (value(middle, second, c), value(c, second, middle) if middle else None):
                if middle == int(middle) and middle >= 1 and last is not None and last == int(last) and last >= 1:
                    reached.setdefault(int(last), 0)
    assert reached
    for target in range(1, 60):
        found = derivations((8, 3, 2), target, 999)
        assert bool(found) == (target in reached)
        assert len(set(found)) == len(found)


def test_a_quotient_that_is_no_whole_number_is_no_move():
    assert moves(7, 2, 999) == [(7, "+", 2, 9), (7, "-", 2, 5), (7, "*", 2, 14)]
    assert (6, "/", 2, 3) in moves(2, 6, 999)
    assert moves(5, 5, 9) == [(5, "/", 5, 1)]


def test_an_expression_has_the_brackets_that_it_needs():
    (derivation,) = [d for d in derivations((2, 3, 4), 20, 999) if forward(d) == "2 + 3 = 5 ; 4 * 5 = 20"]
    assert expression((2, 3, 4), derivation) == "4 * ( 2 + 3 )"
    for found in derivations((9, 4, 3), 8, 999):
        if "*" not in forward(found) and "/" not in forward(found):
            assert expression((9, 4, 3), found) == "9 + 3 - 4"


@pytest.mark.parametrize(
    ("text", "right"),
    [("100 - 93 + 30 - 14", False), ("30 - ( 100 - 93 )", True), ("30 + 93 - 100", True), ("23", False), ("", False)],
)
def test_any_exact_expression_that_uses_every_number_once_is_right(text, right):
    problem = TASK.read("x", "Numbers: [30, 100, 93] Target: 23")
    assert TASK.check(problem, text) is right


TINYZERO = (
    "Using the numbers [44, 19, 35], create an equation that equals 98. Return the answer in <answer> </answer> tags, "
    "for example <answer> (1 + 2) / 3 </answer>."
)


@pytest.mark.parametrize(
    ("row", "numbers", "target"),
    [
        ({"input": "30,100,93", "output": "23"}, [30, 100, 93], 23),
        ({"question": TINYZERO, "target": 98}, [44, 19, 35], 98),
        ({"question": TINYZERO}, [44, 19, 35], 98),
        ({"nums": [44, 19, 35], "target": 98}, [44, 19, 35], 98),
        ({"reward_model": {"ground_truth": {"numbers": [44, 19, 36], "target": 99}}}, [44, 19, 36], 99),
        ({"question": "numbers 30 100 93 target 23"}, [30, 100, 93], 23),
        ({"question": "Target: 23. Use 30, 100 and 93."}, [30, 100, 93], 23),
        ({"question": "Combine 30, 100 and 93 to 23", "answer": "30 + 93 - 100"}, [30, 100, 93], 23),
    ],
)  # fmt: skip
def test_the_numbers_and_the_target_are_found_whatever_else_a_question_says(tmp_path, row, numbers, target):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row))
    (problem,) = TASK.load(path=str(path))
    assert (problem.meta["numbers"], problem.meta["target"]) == (numbers, target)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"input": "30,100,93", "output": 23.9}, "a countdown problem looks like"),
        ({"input": "30,100,93", "output": True}, "a countdown problem looks like"),
        ({"question": "Numbers: [30, 100, 93], target 23", "target": 24}, "asks for 23, and its answer says 24"),
        ({"nums": [30, None, 93], "target": 23}, "whole numbers and a target expected"),
        ({"question": "What is it?"}, "no numbers and target"),
    ],
)
def test_a_row_that_contradicts_itself_or_holds_no_problem_is_refused(tmp_path, row, said):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row))
    with pytest.raises(InputError, match=said):
        TASK.load(path=str(path))


def test_no_problem_is_in_both_splits_and_the_same_arguments_give_the_same_problem():
    def content(problem):
        return (*sorted(problem.meta["numbers"]), problem.meta["target"])

    train = {content(TASK.sample(0, index).problem) for index in range(3000)}
    assert not train & {content(problem) for problem in TASK.load(limit=300)}
    assert TASK.sample(1, 2) == Countdown().sample(1, 2) != TASK.sample(1, 3)


def chosen(path, place):
    """The lines of a path, as a set: the derivation without its direction."""
    lines = path.text.split(" ; ")
    return frozenset(" = ".join(reversed(x.split(" = "))) for x in lines) if place == 1 else frozenset(lines)


@pytest.mark.parametrize(("rewrites", "low", "high"), [(0.0, 0.0, 0.5), (0.5, 0.5, 0.8), (1.0, 1.0, 1.0)])
def test_paths_rewrite_the_one_before_them_as_often_as_asked_and_look_the_same_for_themselves(rewrites, low, high):
    samples = [Countdown(rewrites=rewrites).sample(0, index) for index in range(400)]
    same = sum(chosen(s.paths[0], 0) == chosen(s.paths[1], 1) for s in samples) / 400
    assert low <= same <= high
    independent = [Countdown(rewrites=0.0).sample(0, index) for index in range(400)]
    lengths = [sum(len(s.paths[1].text) for s in group) / 400 for group in (samples, independent)]
    assert lengths[0] == pytest.approx(lengths[1], rel=0.02)
    assert [s.problem for s in samples] == [s.problem for s in independent]
