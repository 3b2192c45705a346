"""The campaign can find something: its judge knows a fault, its changes repeat, its counts are written in one place."""

import json
import random
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "campaign"))

import formats
import fuzz
import mutate
import trial
from run import BEGIN, END, PAGE, table, write
from trial import Fault, Outcome

WELL = Outcome(code=0, out="1\n", err="", seconds=0.1, megabytes=1.0)


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({}, []),
        ({"code": 2, "err": "nap: no such file: x\n"}, []),
        ({"code": 1, "err": "Traceback (most recent call last):\nKeyError\n"}, ["exit code 1", "traceback"]),
        ({"code": -11}, ["exit code -11"]),
        ({"code": -9, "late": True}, ["hang"]),
        ({"code": 2}, ["no line that says why"]),
        ({"out": "\x1b[2J"}, ["control characters in output"]),
        ({"err": "a\rb \u202e"}, ["control characters in errors"]),
        ({"err": "x" * 3000}, ["an error of 3000 characters in one line"]),
        ({"megabytes": 5000.0}, ["5000 MB"]),
        ({"asked": ("socket.connect hub",)}, ["asked for socket.connect hub"]),
    ],
)
def test_a_fault_is_named(changes: dict, wrong: list[str]) -> None:
    assert trial.faults(Outcome(**vars(WELL) | changes)) == wrong


@pytest.mark.parametrize("kind", ["json", "jsonl", "bytes", "journal"])
def test_a_seed_gives_the_same_changes_and_another_one_others(kind: str) -> None:
    data = b'{"a": [1, 2, {"b": "text"}], "c": null}\n'
    change = mutate.KINDS[kind]
    once, again, other = ([change(data, random.Random(s * 1000 + n)) for n in range(50)] for s in (1, 1, 2))
    assert once == again != other and len(set(once)) > 25 and once.count(data) < 10


def test_every_text_and_every_key_of_a_file_is_injected_once() -> None:
    made = [json.loads(line) for line in mutate.injections(b'{"a": ["x", 1], "b": {"c": "y"}}', "json")]
    assert len(made) == 5
    assert {one["a"][0] for one in made if "a" in one} == {"x", "x" + mutate.INJECTED}
    assert any("a" + mutate.INJECTED in one for one in made)


def test_the_counts_are_written_between_their_marks_and_nothing_else_is_changed(tmp_path: Path) -> None:
    assert PAGE.read_text().count(BEGIN) == PAGE.read_text().count(END) == 1
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    fault = Fault(where="trial 3", wrong=("hang",), said="")
    text = table({"kills": Counter({"eval": 7, "train": 5})}, [fault], ["--seed", "3"], 3, 12.0)
    write(text, page)
    written = page.read_text()
    assert written.startswith(f"before\n{BEGIN}\n`") and written.endswith(f"\n{END}\nafter\n") and "old" not in written
    assert "seed 3" in written and "12 trials in 12 minutes, 1 faults" in written
    assert "| kills: eval | 7 |" in written and "- trial 3: hang" in written


def test_every_command_that_the_campaign_tries_works_on_whole_files(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    formats.make(whole)
    fuzz.check_commands(whole)
