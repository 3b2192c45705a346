"""The sudoku models: what they are trained on, that it is no public puzzle, and that they solve what is held out."""

import sys
from collections.abc import Sequence

import pytest

from nap.common.files import InputError
from nap.data.problems import Problem
from nap.decoding.budget import Budget
from nap.decoding.decode import decode_traces
from nap.decoding.policies.registry import parse_policy
from nap.decoding.prompt import canvas_of
from nap.evaluation.order_tasks import easy_first
from nap.models.load import load
from nap.tasks.registry import load_task, split_of
from nap.tasks.sudoku import Sudoku, canonical, is_solution
from tiny import RECIPES, nap, recipe

sys.path.insert(0, str(RECIPES))
SUDOKU = recipe("sudoku")
SIZES = sorted(SUDOKU.TASKS)


@pytest.mark.parametrize("size", SIZES)
def test_it_trains_on_puzzles_of_the_training_split_and_on_no_public_one(size):
    drawn = [SUDOKU.draw(size, frozenset(), 0, index) for index in range(40)]
    puzzles = [sample.problem.meta["puzzle"] for sample in drawn]
    assert {split_of(f"sudoku {canonical(puzzle)}") for puzzle in puzzles} == {"train"}
    assert all(is_solution(sample.paths[0].answer, puzzle) for sample, puzzle in zip(drawn, puzzles, strict=True))
    low, high = SUDOKU.BLANKS[size]
    assert all(low <= puzzle.count("0") <= high for puzzle in puzzles)
    # As if some of them were public: they are drawn no more, and nor are they with other digits.
    public = frozenset(map(canonical, puzzles[:20]))
    again = [SUDOKU.draw(size, public, 0, index).problem.meta["puzzle"] for index in range(40)]
    assert not {*map(canonical, again)} & public and again[20:] == puzzles[20:]


@pytest.mark.parametrize("size", SIZES)
def test_every_puzzle_and_answer_fits_its_canvas_in_known_words(size):
    tokenizer, spec = SUDOKU.build_tokenizer("sudoku", paths=1), SUDOKU.canvas_of(size)
    sample = SUDOKU.draw(size, frozenset(), 0, 0)
    ids = tokenizer.encode(sample.paths[0].text, add_special_tokens=False)
    assert len(ids) == spec.path_tokens == size * size
    assert tokenizer.unk_token_id not in {*ids, *tokenizer.encode(sample.problem.prompt)}


def test_it_does_not_train_where_the_public_puzzles_are_not_at_hand(monkeypatch):
    monkeypatch.delenv("NAP_DATA", raising=False)
    with pytest.raises(InputError, match=r"set NAP_DATA to the folder that holds sudoku/d1_4x4_test_sudoku.csv"):
        SUDOKU.public_puzzles()


def traces_of(name: str, problems: Sequence[Problem], policy: str, tokens: int | None):
    denoiser = load(name)
    assert denoiser.canvas is not None
    canvases = [canvas_of(denoiser, problem, denoiser.canvas) for problem in problems]
    return denoiser, decode_traces(denoiser, canvases, parse_policy(policy), budget=Budget(tokens=tokens))


@pytest.mark.parametrize("size", SIZES)
def test_a_bundled_model_solves_held_out_puzzles_and_fills_easy_cells_first(size):
    task = load_task(SUDOKU.TASKS[size].name)
    assert isinstance(task, Sudoku) and task.size == size
    problems = task.load("test", 24)
    denoiser, traces = traces_of(SUDOKU.name_of(size), problems, "low_confidence", 1)
    assert denoiser.canvas == SUDOKU.canvas_of(size)
    said = [denoiser.tokenizer.decode(trace.final[-size * size :]) for trace in traces]
    assert sum(map(task.check, problems, said)) >= 23
    found = [
        easy_first(task.constrained(problem), trace, denoiser.tokenizer)
        for problem, trace in zip(problems, traces, strict=True)
    ]
    known = [value for value in found if value is not None]
    assert sum(known) / len(known) > 0.1


def test_the_task_of_the_larger_size_has_a_name_of_its_own():
    told = nap("problems", "--task", "sudoku-6x6", "--limit", 1)
    assert told.returncode == 0 and told.stdout.count(" / ") == 5, told.stderr
    assert load_task("sudoku-6x6").load("test", 1)[0].task == "sudoku-6x6"
