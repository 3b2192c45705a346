"""Texts with gaps as a task: each is its own canvas, and right when it is whole again."""

import json
from pathlib import Path

import pytest

from nap.cli import run
from nap.common.files import InputError
from nap.common.parquet import read_parquet
from nap.models.any import load
from nap.tasks.registry import load_task

TEXT = {"text": "Ann has [MASK] pears . Bob has [MASK:2]", "answer": "Ann has 2 pears . Bob has 3 ."}


def write(path: Path, *rows: object) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_text_is_right_when_it_is_whole_whatever_its_spaces(tmp_path: Path) -> None:
    task = load_task("restore")
    (problem,) = task.load(path=write(tmp_path / "t.jsonl", TEXT, TEXT), limit=1)
    assert (problem.prompt, problem.answer) == (TEXT["text"], TEXT["answer"])
    assert task.check(problem, "Ann has 2 pears. Bob has 3.") and not task.check(problem, "Ann has 2 pears . Bob")
    assert len(task.load(path=str(tmp_path / "t.jsonl"))) == 2


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"answer": "a"}, r"t.jsonl:1: a row needs its text with gaps in one of infill, text; got answer"),
        ({"text": "a [MASK]"}, r"t.jsonl:1: a text with gaps needs the whole text as its answer, got None"),
        ({"text": " ", "answer": "a"}, r"t.jsonl:1: a row needs its text with gaps"),
    ],
)
def test_a_row_that_is_no_text_with_gaps_is_named(tmp_path: Path, row: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_task("restore").load(path=write(tmp_path / "t.jsonl", row))


def test_without_a_file_there_is_nothing_to_restore() -> None:
    with pytest.raises(InputError, match="'restore' reads a file of texts with gaps; name it with --data FILE"):
        load_task("restore").load()


def eval_of(folder: Path, *flags: str) -> None:
    data = write(folder / "t.jsonl", TEXT)
    told = ["--models", "arith-nap", "--task", "restore", "--data", data, "--policies", "low_confidence"]
    run(["eval", *told, "--tokens-per-step", "1", "--out", str(folder / "run"), *flags])


def test_only_the_gaps_are_decoded(tmp_path: Path) -> None:
    eval_of(tmp_path)
    (row,) = read_parquet(tmp_path / "run" / "rows.parquet")
    tokens, whole = row["tokens"], load("arith-nap").tokenizer.encode(TEXT["answer"], add_special_tokens=False)
    assert isinstance(tokens, list) and len(tokens) == len(whole) == 9 and row["forwards"] == 3
    assert [tokens[i] for i in (0, 1, 3, 4, 5, 6)] == [whole[i] for i in (0, 1, 3, 4, 5, 6)]


@pytest.mark.parametrize("flags", [("--infill", "a [MASK]"), ("--canvas", "plain"), ("--attention", "paths")])
def test_a_text_has_no_other_canvas(tmp_path: Path, flags: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="the texts of task 'restore' are their own canvases"):
        eval_of(tmp_path, *flags)


def test_a_vote_over_slots_is_refused(tmp_path: Path) -> None:
    data = write(tmp_path / "t.jsonl", TEXT)
    with pytest.raises(InputError, match="the texts of task 'restore' are their own canvases, and have no slots"):
        run(["vote", "--models", "arith-nap", "--task", "restore", "--data", data])
