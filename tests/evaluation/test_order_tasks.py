"""The order of a model by task: thirds, right and wrong, and whether easy cells of a sudoku are written first."""

import json

import pytest

from nap.data.trace import COMMIT
from nap.evaluation.order_tasks import easy_first
from nap.tasks.registry import Constrains, load_task
from nap.tasks.sudoku import Sudoku
from samples import trace_of
from tiny import nap

PUZZLE = "4320004330100004"


class Letters:
    """Token t is the digit t."""

    def decode(self, ids: list[int]) -> str:
        return "".join(map(str, ids))


def test_each_blank_cell_of_a_sudoku_has_the_digits_that_no_given_rules_out():
    task = load_task("sudoku")
    assert isinstance(task, Constrains) and not isinstance(load_task("arith"), Constrains)
    open = task.constrained(Sudoku().read("p", PUZZLE, None))
    # Row 1 is 4 3 2 _: only a 1 is left. Row 2 is _ _ 4 3: both blanks have 1 and 2 but for column and box.
    assert open[:4] == [None, None, None, 1]
    assert open[4] == open[5] == 2 and [cell is None for cell in open] == [digit != "0" for digit in PUZZLE]


@pytest.mark.parametrize(("steps", "value"), [((0, 1, 2), 1.0), ((2, 1, 0), -1.0), ((1, 1, 1), None)])
def test_easy_cells_that_come_first_give_one_and_last_ones_minus_one(steps, value):
    trace = trace_of(sorted((step, COMMIT, 4 + place, 3 + place) for place, step in enumerate(steps)), length=3)
    assert easy_first([1, 2, 3], trace, Letters()) == value
    # A given cell has no say, and as many candidates everywhere none either.
    assert easy_first([1, None, 3], trace, Letters()) == (value and round(value))
    assert easy_first([2, 2, 2], trace, Letters()) is None
    assert easy_first([1, 2, 3, 4], trace, Letters()) is None, "fewer digits than cells"


def test_the_order_of_a_model_is_shown_by_task_and_its_run_goes_on(tiny, tmp_path):
    arguments = ("order", tiny, "--task", "arith", "--problems", 3, "--tokens-per-step", 2, "--out", tmp_path / "o")
    told = nap(*arguments, "--json")
    assert told.returncode == 0, told.stderr
    (found,) = [json.loads(line) for line in told.stdout.splitlines()]
    assert (found["task"], found["pace"], found["problems"]) == ("arith", "2/step", 3)
    assert found["means"]["all"]["n_traces"] == 3 and 1 <= found["afp"]["value"] <= 2
    assert [*found["means"]["all"]["mean"]["per_stage"]] == ["first", "middle", "last"]
    assert found["easy_first"]["value"] is None
    table = nap(*arguments)
    assert "tau-b by third" in table.stdout and "decoded" not in table.stderr, "nothing is decoded again"


def test_a_task_that_the_model_cannot_be_asked_is_told_before_another_is_decoded(tmp_path):
    done = nap("order", "exact:grids", "--task", "grids", "arith", "--problems", 2, "--out", tmp_path / "o")
    assert done.returncode == 2 and not done.stdout and not (tmp_path / "o").exists()
    assert done.stderr.splitlines()[-1].startswith("nap: ") and "arith" in done.stderr


def test_one_token_a_step_has_an_afp_of_one_and_a_random_order_no_direction(tmp_path):
    asked = ("--task", "grids", "--policy", "random", "--problems", 8, "--out", tmp_path / "o", "--json")
    done = nap("order", "exact:grids", *asked)
    (found,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert found["afp"]["value"] == 1 and abs(found["tau_b"]["value"]) < 0.3


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--problems", "3"], "--problems is for the order of a model on tasks; name them: --task"),
        (["--policy", "random"], "--policy is for the order"),
        (["--task", "arith", "--law", "exact:x"], "are for traces; drop --task"),
        (["--task", "arith", "--k", "1"], "are for traces; drop --task"),
        (["--task", "arihm"], "did you mean 'arith'"),
        (["--task", "arith", "--policy", "threshold", "--tokens-per-step", "2"], "sets its own pace"),
        (["--task", "arith", "grids", "--data", "x.jsonl"], "--data is a file of one task, got arith, grids"),
        (["--task", "arith", "--problems", "0"], "problems must be at least 1"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(tiny, tmp_path, flags, said):
    done = nap("order", tiny, *flags, cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert said in done.stderr and not (tmp_path / "runs").exists()
