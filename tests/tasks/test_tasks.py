"""Tasks: problems that repeat, splits that never mix, checkers that take every solution and nothing else."""

import csv
import json
import random
import subprocess
import sys
from collections import Counter
from itertools import islice
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nap.common.files import InputError
from nap.data.problems import Problem
from nap.tasks.jsonl import Jsonl
from nap.tasks.public import Gsm8k, Math500, MultiArith
from nap.tasks.registry import TASKS, TEST_SHARE, Reads, answer_text, data_file, load_task, split_of
from nap.tasks.sudoku import Sudoku, canonical, dig, find_grid, is_solution, peers, shuffled, solutions, units

patient = settings(deadline=None)


def needs(name: str):
    return pytest.mark.skipif(not data_file(name).exists(), reason=f"no {name} under NAP_DATA")


# The registry


@pytest.mark.parametrize("name", TASKS)
def test_every_task_loads_by_its_name(name):
    task = load_task(name)
    assert task.name == name
    assert all(callable(getattr(task, verb)) for verb in ("load", "extract", "check"))


def test_what_is_checked_is_the_summary_or_the_only_path_or_for_tasks_that_say_so_everything():
    assert answer_text(Gsm8k(), ["3", "4"], "5") == "5"
    assert answer_text(Gsm8k(), ["3"], "") == ""  # a summary that says nothing answers nothing
    assert answer_text(Gsm8k(), ["3"], None) == "3"
    assert answer_text(load_task("grids"), ["1 2", "3 4"], "done") == "1 2 3 4 ; done"


@pytest.mark.parametrize("name", ["grids", "agree"])
def test_problems_of_tasks_with_a_law_are_read_from_a_file_and_a_bad_row_is_named(name, tmp_path):
    task = load_task(name)
    problems = task.load(limit=3)
    rows = [json.dumps({"prompt": problem.prompt, "answer": problem.answer}) for problem in problems]
    (path := tmp_path / "problems.jsonl").write_text("\n".join(rows))
    assert [(p.prompt, p.answer, p.meta) for p in task.load(path=str(path))] == [
        (p.prompt, p.answer, p.meta) for p in problems
    ]
    assert [problem.id for problem in task.load(path=str(path), limit=2)] == [f"{name}-1", f"{name}-2"]
    path.write_text(rows[0] + '\n{"prompt": "hello"}')
    with pytest.raises(InputError, match=r"problems.jsonl:2: problem .*-2: 3 .* wanted, got 'hello'"):
        task.load(path=str(path))
    path.write_text('{"text": "hello"}')
    with pytest.raises(InputError, match="a row needs its prompt in one of question, prompt"):
        task.load(path=str(path))


def test_an_unknown_task_names_the_nearest_and_the_known():
    with pytest.raises(InputError, match=r"unknown task 'sudku'; did you mean 'sudoku'\? known: arith, .*jsonl"):
        load_task("sudku")
    with pytest.raises(InputError, match="unknown task 'zzz'; known: arith"):
        load_task("zzz")


def test_listing_the_tasks_imports_none_of_them():
    heavy = "m.startswith('nap.tasks.') or m in ('torch', 'numpy')"
    code = f"import sys, nap.tasks; print([m for m in sys.modules if {heavy}])"
    listed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert listed.stdout.strip() == "[]"


@patient
@given(st.text())
def test_the_split_of_a_key_never_changes(key):
    assert split_of(key) == split_of(key) in ("train", "test")


def test_one_key_in_sixteen_is_held_out():
    split = Counter(split_of(f"key {number}") for number in range(16_000))
    assert split["test"] == pytest.approx(16_000 / TEST_SHARE, rel=0.1)
    # A change of the hash would leak every test problem of older checkpoints into training.
    assert [number for number in range(100) if split_of(f"key {number}") == "test"] == [25, 49, 79, 81]


# Sudoku


@pytest.mark.parametrize(("size", "blanks"), [(4, 8), (4, 11), (6, 20), (9, 45)])
def test_generated_puzzles_have_their_blanks_and_one_solution(size, blanks):
    task = Sudoku(size=size, blanks=blanks)
    for index in range(4):
        problem = task.generate(3, index, "train")
        puzzle = problem.meta["puzzle"]
        assert puzzle.count("0") == blanks
        assert list(solutions(puzzle)) == [problem.answer]
        assert task.check(problem, problem.answer)
        assert task.read("x", problem.prompt).meta == problem.meta


def test_the_same_seed_gives_the_same_puzzle_and_another_seed_another():
    task = Sudoku(size=6, blanks=18)
    assert task.generate(1, 5, "test") == task.generate(1, 5, "test")
    different = [task.generate(seed, index, "train").prompt for seed in (1, 2) for index in range(10)]
    assert len(set(different)) == 20
    assert task.generate(1, 5, "test").id != task.generate(1, 5, "train").id


@pytest.mark.parametrize("size", [4, 9])
def test_no_puzzle_is_in_both_splits(size):
    task = Sudoku(size=size, blanks=size * 2)
    for split in ("train", "test"):
        for problem in (task.generate(0, index, split) for index in range(10)):
            assert split_of(f"sudoku {canonical(problem.meta['puzzle'])}") == split


@patient
@given(st.integers(0, 2**32), st.sampled_from([4, 6, 9]))
def test_symmetric_variants_keep_the_number_of_solutions(seed, size):
    rng = random.Random(seed)
    puzzle = dig(next(solutions("0" * size**2, rng)), size, False, rng)
    variant = shuffled(puzzle, rng)
    assert len(list(islice(solutions(variant), 9))) == len(list(islice(solutions(puzzle), 9)))
    assert variant.count("0") == puzzle.count("0")


@pytest.mark.parametrize("size", [4, 6, 9])
def test_every_unit_holds_each_cell_of_its_kind_once(size):
    assert len(units(size)) == 3 * size
    assert all(len(set(unit)) == size for unit in units(size))
    assert Counter(cell for unit in units(size) for cell in unit) == dict.fromkeys(range(size**2), 3)
    assert all(cell not in near for cell, near in enumerate(peers(size)))


def test_the_empty_4x4_has_288_solutions_and_a_contradiction_none():
    assert len(set(solutions("0" * 16))) == 288
    assert list(solutions("1100" + "0" * 12)) == []


def test_any_valid_completion_is_right_and_no_near_miss_is():
    puzzle = "1234" + "0" * 12
    task = Sudoku(unique=False)
    problem = task.read("x", puzzle)
    found = list(solutions(puzzle))
    assert len(found) == 12
    for grid in found:
        assert task.check(problem, f"<answer>{grid}</answer>")
        for cell in range(16):
            wrong = grid[:cell] + str(int(grid[cell]) % 4 + 1) + grid[cell + 1 :]
            assert not task.check(problem, wrong)
    # A valid grid that does not keep the givens.
    assert not task.check(problem, shuffled(found[0], random.Random(1)))
    assert not is_solution("", puzzle)


GRID = "4321124334122134"


@pytest.mark.parametrize(
    "text",
    [
        GRID,
        f"<answer>\n{GRID}\n</answer>",
        "4 3 2 1\n1 2 4 3\n3 4 1 2\n2 1 3 4",
        "4321 / 1243 / 3412 / 2134",
        "| 4 | 3 | 2 | 1 |\n|---|---|---|---|\n| 1 | 2 | 4 | 3 |\n| 3 | 4 | 1 | 2 |\n| 2 | 1 | 3 | 4 |",
        "[[4,3,2,1],[1,2,4,3],[3,4,1,2],[2,1,3,4]]",
        "The 4x4 grid is:\n```\n4321\n1243\n3412\n2134\n```\nIt has 16 cells.",
        r"\boxed{4 & 3 & 2 & 1 \\ 1 & 2 & 4 & 3 \\ 3 & 4 & 1 & 2 \\ 2 & 1 & 3 & 4}",
        f"4320004330100004\n\n{GRID}",
        f"sudoku 4 3 2 0 / 0 0 4 3 / 3 0 1 0 / 0 0 0 4 becomes {GRID}",
        f"Puzzle 2 (4x4):\n{GRID} (16 cells)",
        *(
            between.join(label.format(row) + GRID[4 * row - 4 : 4 * row] for row in range(1, 5))
            for label, between in (
                ("Row {}: ", "\n"),
                ("- **Row {}:** ", "\n"),
                ("{}. ", "\n"),
                ("R{}: ", "\n"),
                ('"row_{}": [', "],\n"),
                ('"row{}": "', '", '),
                ("| Row {} | ", " |\n"),
                ("Row {}: ", "; "),
            )
        ),
    ],
)
def test_a_grid_is_read_from_every_layout(text):
    task = Sudoku()
    problem = task.read("x", "Solve the following Sudoku puzzle: 4320004330100004\n", GRID)
    assert task.extract(problem, text) == GRID
    assert task.check(problem, text)


@pytest.mark.parametrize(
    "text", ["", GRID[:-1], GRID + "1", "<answer>none</answer>" + GRID, "4320004330100004", "1" * 10**6]
)
def test_a_text_without_the_whole_grid_is_wrong(text):
    task = Sudoku()
    assert not task.check(task.read("x", "4320004330100004"), text)


@patient
@given(st.text(alphabet="0123456789 \n,/|x", max_size=400))
def test_a_found_grid_has_the_size_that_was_asked_for(text):
    grid = find_grid(text, 16)
    assert grid is None or (len(grid) == 16 and grid.isdigit())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 5}, "unknown sudoku size 5; known: 4, 6, 9"),
        ({"blanks": 0}, "may have 1 to 11 blanks, got 0"),
        ({"size": 9, "blanks": 70}, "may have 1 to 54 blanks, got 70"),
    ],
)
def test_sudoku_refuses_what_it_cannot_make(settings, message):
    with pytest.raises(InputError, match=message):
        Sudoku(**settings)


def test_a_file_with_a_wrong_solution_is_named_by_its_line(tmp_path):
    file = tmp_path / "bad.csv"
    file.write_text(f"Puzzle,Solution\n4320004330100004,{GRID}\n4320004330100004,{GRID[::-1]}\n")
    with pytest.raises(InputError, match=r"bad.csv:3: .* is not a solution of the sudoku 4320004330100004"):
        Sudoku().load(path=str(file))
    file.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"bad.csv:2: a row needs its puzzle in one of puzzle, .*; got a, b"):
        Sudoku().load(path=str(file))
    file.write_text("puzzle\n4320\n")
    with pytest.raises(InputError, match=r"bad.csv:2: .*no sudoku of 16, 36 or 81 digits"):
        Sudoku().load(path=str(file))


@needs("sudoku/d1_4x4_test_sudoku.csv")
def test_124_public_4x4_puzzles_have_several_solutions_and_all_are_right():
    task = Sudoku()
    problems = task.load(path=str(data_file("sudoku/d1_4x4_test_sudoku.csv")))
    assert len(problems) == 500
    several = 0
    for problem in problems:
        found = list(islice(solutions(problem.meta["puzzle"]), 3))
        several += len(found) > 1
        assert all(task.check(problem, grid) for grid in found)
    assert several == 124


@needs("sudoku/qqwing_9x9_200.csv")
def test_the_9x9_files_are_read_with_their_solutions():
    path = data_file("sudoku/qqwing_9x9_200.csv")
    problems = Sudoku().load(path=str(path), limit=50)
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [problem.answer for problem in problems] == [row["solution"] for row in rows[:50]]
    assert next(solutions(problems[0].meta["puzzle"])) == problems[0].answer


@needs("llada_outputs/llada8b_instruct_sudoku.jsonl")
def test_the_outputs_of_llada_can_be_loaded_as_problems():
    problems = Sudoku().load(path=str(data_file("llada_outputs/llada8b_instruct_sudoku.jsonl")), limit=5)
    assert problems[0].meta == {"puzzle": "4320004330100004", "size": 4}


def test_sudoku_reads_problems_out_of_questions():
    assert isinstance(Sudoku(), Reads)
    assert Sudoku().read("x", "Solve: 43.. ..43 3.1. ...4 = 43....433.1....4").meta["puzzle"] == "4300004330100004"
    with pytest.raises(InputError, match="no sudoku of 16, 36 or 81 digits in 'What is 6 times 7"):
        Sudoku().read("x", "What is 6 times 7?")
    with pytest.raises(InputError, match="nothing is not a solution of the sudoku 1100"):
        Sudoku().read("x", "1100" + "0" * 12)


# Problems from files


@needs("gsm8k/test.jsonl")
def test_gsm8k_accepts_each_of_its_own_solutions():
    task = Gsm8k()
    problems = task.load()
    assert len(problems) == 1319
    assert problems[0].answer == "18"
    for problem in problems:
        assert task.check(problem, problem.meta["solution"])
        assert task.check(problem, rf"\boxed{{{problem.answer}}}")
        assert not task.check(problem, f"{problem.answer}1")
    assert len(task.load("train", limit=7)) == 7


@needs("mathword/mawps_multiarith.jsonl")
def test_multiarith_loads_its_one_split():
    problems = MultiArith().load()
    assert len(problems) == 600
    assert problems[0].answer == "39"
    with pytest.raises(InputError, match="multiarith has no split 'train'; known: test"):
        MultiArith().load("train")


@needs("math500/math500_test.json")
def test_math500_accepts_each_of_its_own_solutions():
    pytest.importorskip("math_verify", reason="math-verify is not installed (extra `math`)")
    task = Math500()
    problems = task.load()
    assert len(problems) == 500
    assert problems[0].id == "test/precalculus/807.json"
    assert problems[0].meta["level"] == 2
    wrong = [problem.id for problem in problems[:100] if not task.check(problem, problem.meta["solution"])]
    assert wrong == []


def test_without_data_both_ways_to_get_it_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("NAP_DATA", str(tmp_path))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        InputError, match=r"set NAP_DATA to the folder that holds gsm8k/test.jsonl, .*pip install 'nap-dlm\[hub\]'"
    ):
        Gsm8k().load()


def test_the_hub_is_asked_where_no_file_is(tmp_path, monkeypatch):
    asked = []

    def load_dataset(*names: str, split: str):
        asked.append((*names, split))
        return [{"question": "6 x 7?", "answer": "... #### 42"}]

    monkeypatch.setenv("NAP_DATA", str(tmp_path))
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    (problem,) = Gsm8k().load()
    assert asked == [("openai/gsm8k", "main", "test")]
    assert (problem.id, problem.answer, problem.meta) == ("gsm8k-1", "42", {"solution": "... #### 42"})

    def offline(*names: str, split: str):
        raise ConnectionError("no network")

    monkeypatch.setattr("nap.common.hub.unreachable", lambda: None)

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=offline))
    with pytest.raises(InputError, match=r"the hub does not give openai/gsm8k \(no network\); give a file"):
        Gsm8k().load()


def write(path, *rows):
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return str(path)


def test_any_jsonl_of_prompts_and_answers_is_a_task(tmp_path):
    rows = [
        {"prompt": "6 x 7?", "answer": 42, "id": 0},
        {"prompt": "Capital of France?", "answer": "Paris", "hard": True},
    ]
    first, second = Jsonl().load(path=write(tmp_path / "mine.jsonl", *rows))
    assert first == Problem(id="0", prompt="6 x 7?", answer="42", task="jsonl")
    assert (second.id, second.meta) == ("jsonl-2", {"hard": True})
    assert Jsonl().check(first, r"that is \boxed{42.0}")
    assert not Jsonl().check(first, "43")
    for text in ("Paris", "I think:\n  **PARIS**.".replace("*", ""), r"\boxed{paris}", "The answer: Paris!"):
        assert Jsonl().check(second, text), text
    assert not Jsonl().check(second, "Paris or Rome")
    assert not Jsonl().check(second, "")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", r"mine.jsonl:2: not JSON"),
        ("[1]", r"mine.jsonl:2, row 1: a JSON object was expected, got int"),
        ({"answer": 1}, r"mine.jsonl:2: a row needs its question as text in one of question, .*; got answer"),
        ({"prompt": " ", "answer": 1}, r"mine.jsonl:2: a row needs its question"),
        (
            {"prompt": "a"},
            r"mine.jsonl:2: a row needs the right answer in one of .*; got prompt; name another with --a",
        ),
        ({"prompt": "a", "answer": [1, 2]}, r"mine.jsonl:2: the answer must be text or a number, got \[1, 2\]"),
        ({"prompt": "a", "answer": True}, r"mine.jsonl:2: the answer must be text or a number, got True"),
        ({"prompt": "a", "answer": ""}, r"mine.jsonl:2: the answer must be text or a number"),
    ],
)
def test_a_bad_line_is_named_by_its_number(tmp_path, row, message):
    path = write(tmp_path / "mine.jsonl", {"prompt": "6 x 7?", "answer": 42}, row)
    with pytest.raises(InputError, match=message):
        Jsonl(strict=True).load(path=path)


def test_jsonl_needs_a_file_and_numeric_tasks_a_number(tmp_path):
    with pytest.raises(InputError, match="name it with --data FILE"):
        Jsonl().load()
    with pytest.raises(InputError, match="no such file"):
        Jsonl().load(path=str(tmp_path / "absent.jsonl"))
    with pytest.raises(InputError, match=r"mine.jsonl:1: its answer 'many' holds no number"):
        Gsm8k().load(path=write(tmp_path / "mine.jsonl", {"question": "How many?", "answer": "many"}))


def test_a_json_list_is_read_and_anything_else_in_its_place_named(tmp_path):
    file = tmp_path / "mine.json"
    assert len(Math500().load(path=write(file, json.dumps([{"problem": "1+1", "answer": "2"}])))) == 1
    for text, message in (
        ("{", "mine.json:1: not JSON"),
        ("{}", "a row needs its question"),
        ("[3]", "mine.json:1, row 1: a JSON object was expected, got int"),
    ):
        with pytest.raises(InputError, match=message):
            Math500().load(path=write(file, text))
