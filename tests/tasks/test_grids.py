"""Grids agree with themselves and with each other as far as they should, every completion counts, splits never mix."""

import itertools
import random
from collections import Counter

import pytest
from scipy.stats import chisquare

from nap.common.files import InputError
from nap.tasks.grids import Grids, completions, draw_grid, squares
from nap.tasks.registry import answer_text
from nap.tasks.sudoku import is_solution

BLANK = "0" * 16


@pytest.mark.parametrize(("size", "count"), [(4, 12), (6, 39168)])
def test_the_squares_are_all_grids_but_for_the_names_of_the_digits(size, count):
    # 288 grids of size 4 and 28,200,960 of size 6, over 4! and 6! namings.
    assert len(set(squares(size))) == count
    assert all(is_solution(square, "0" * size**2) for square in squares(size)[:50])


def test_grids_are_drawn_uniformly():
    rng = random.Random(0)
    counts = Counter(draw_grid(4, rng) for _ in range(288 * 40))
    assert len(counts) == 288
    assert chisquare(list(counts.values())).pvalue > 1e-3


@pytest.mark.parametrize("rows", [1, 2, 3, 4])
def test_a_grid_that_shares_rows_is_any_that_begins_with_them(rows):
    rng, given = random.Random(1), "2143"
    given = next(grid for grid in completions(BLANK) if grid.startswith(given))[: 4 * rows]
    drawn = {draw_grid(4, rng, given) for _ in range(600)}
    assert drawn == {grid for grid in completions(BLANK) if grid.startswith(given)}


@pytest.mark.parametrize("task", [Grids(), Grids(size=6, clues=6, count=2), Grids(shared=2), Grids(summary="corners")])
def test_a_sample_answers_its_own_problem(task):
    for index in range(20):
        sample = task.sample(3, index)
        text = task.gather([path.text for path in sample.paths], sample.summary)
        assert task.check(sample.problem, text)
        puzzles = sample.problem.meta["puzzles"]
        assert all(len(puzzle) - puzzle.count("0") == task.clues for puzzle in puzzles)
        assert task.extract(sample.problem, text) == sample.problem.answer
        for j in range(1, task.count):
            rows = task.shared * task.size
            assert sample.paths[j].answer[:rows] == sample.paths[j - 1].answer[:rows]


def test_any_completion_of_the_clues_is_right_and_nothing_else():
    task = Grids(count=1)
    problem = task.generate(0, 0, "test")
    right = completions(problem.meta["puzzles"][0])
    assert len(right) > 1
    for grid in completions(BLANK):
        assert task.check(problem, " ".join(grid)) == (grid in right)
        assert task.valid(problem, [grid]) == [grid in right]


@pytest.mark.parametrize("text", ["", "1 2 3", "done", "1" * 48, "1 " * 47, "x " * 48, "1 " * 49, "４" * 48])
def test_what_is_no_three_grids_is_wrong(text):
    problem = Grids().generate(0, 0, "test")
    assert not Grids().check(problem, text) and Grids().extract(problem, text) in (None, " ".join(["1" * 16] * 3))


def test_a_chain_of_the_same_grids_is_checked_alike():
    task = Grids()
    sample = task.sample(0, 1)
    chain = [" ".join(path.text for path in sample.paths)]
    assert answer_text(task, chain, "done") == answer_text(task, [path.text for path in sample.paths], "done")


def test_rows_that_should_be_shared_and_a_summary_that_does_not_fit_are_wrong():
    task = Grids(shared=1, count=2, clues=1)
    problem = task.sample(0, 0).problem
    first, second = ([*completions(puzzle)] for puzzle in problem.meta["puzzles"])
    for a, b in itertools.product(first[:40], second[:40]):
        assert task.check(problem, " ".join(a + b)) == (a[:4] == b[:4])
    corners = Grids(summary="corners")
    sample = corners.sample(0, 0)
    paths = [path.text for path in sample.paths]
    wrong = " ".join(str(int(digit) % 4 + 1) for digit in sample.summary.split())
    assert not corners.check(sample.problem, corners.gather(paths, wrong))


def test_the_clues_of_the_test_are_never_in_training():
    def clues(split, problems):
        return {puzzle for i in range(problems) for puzzle in Grids().generate(0, i, split).meta["puzzles"]}

    test, train = clues("test", 100), clues("train", 1500)
    assert len(test) > 50 and len(train) > 1000
    assert not test & train
    assert Grids().sample(1, 2) == Grids().sample(1, 2) != Grids().sample(1, 3)


@pytest.mark.parametrize("shared", [0, 1, 3])
def test_the_law_is_every_content_that_the_checker_takes(shared):
    task = Grids(count=2, shared=shared)
    problem = task.generate(0, 4, "test")
    found = set()
    for part in itertools.product(*(law.contents for law in task.law(problem))):
        found.add("".join("".join(content) for content in part))
    pairs = itertools.product(*(completions(puzzle) for puzzle in problem.meta["puzzles"]))
    assert found == {a + b for a, b in pairs if task.check(problem, " ".join(a + b))}


def test_a_problem_is_read_back_from_its_prompt():
    task = Grids()
    problem = task.generate(0, 0, "test")
    assert task.read(problem.id, problem.prompt, problem.answer) == problem
    assert task.check(problem, task.read("x", problem.prompt).answer)
    with pytest.raises(InputError, match="3 grids of size 4 wanted"):
        task.read("x", "grid 1 0 0 1")
    with pytest.raises(InputError, match="the answer is no solution"):
        task.read("x", problem.prompt, "1" * 48)


@pytest.mark.parametrize(
    "settings", [{"size": 5}, {"count": 0}, {"clues": 0}, {"clues": 17}, {"shared": 5}, {"summary": "all"}]
)
def test_settings_that_make_no_grids_are_refused(settings):
    with pytest.raises(InputError, match=r"grids"):
        Grids(**settings)
