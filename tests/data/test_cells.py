"""A problem counts once under one setting, whoever put the files together, and settings are not pooled."""

import json
from dataclasses import replace

import pytest

from nap.commands.order import OrderCommand
from nap.data.cells import Cells
from nap.data.trace_files import write_traces
from nap.report.runs import read_run
from samples import chain

SETTING = {
    "model": {"model": "m"}, "policy": "ar", "budget": {"tokens": 1, "steps": None}, "sampling": {"temperature": 0.0},
    "seed": 0, "eos": "count", "canvas": {"paths": 1}, "versions": {"nap": "1"},
}  # fmt: skip
WARM = {"sampling": {"temperature": 0.7}, "seed": 1}


def trace(problem, **changes):
    return replace(chain(), problem_id=problem, correct=problem == "a", setting=SETTING | changes)


def told(*traces):
    cells = Cells()
    own = [own for _, own in cells.once(traces)]
    return [cells.named(one).name for one in own], cells.repeated


def test_what_is_repeated_counts_once_and_what_differs_is_told_apart():
    assert told(trace("a"), trace("b"), trace("a"), trace("a", versions={})) == (["m | ar | 1/step"] * 2, 2)
    names, repeated = told(trace("a"), trace("a", **WARM), trace("a", seed=2))
    assert repeated == 0 and names == [
        f"m | ar (temperature {temperature}, seed {seed}) | 1/step"
        for temperature, seed in ((0.0, 0), (0.7, 1), (0.0, 2))
    ]
    assert told(trace("a"), trace("a", eos="stop"))[0][1] == "m | ar (eos stop) | 1/step"
    assert told(trace("a"), trace("a", policy="random"))[0] == ["m | ar | 1/step", "m | random | 1/step"]


def test_traces_that_do_not_say_their_seed_are_the_same_only_where_they_did_the_same():
    one = replace(chain(), problem_id="a", setting={})
    other = replace(one, events=one.events[:-1])
    assert told(one, other, one)[1] == 1


def test_another_decode_under_the_same_setting_counts_too_and_is_told():
    """Of two models under one name, the second is not dropped."""
    one = trace("a")
    rounded = replace(one, events=tuple(event._replace(probability=0.123) for event in one.events))
    cells, other = Cells(), replace(one, events=one.events[:-1])
    assert len([*cells.once([one, rounded, other])]) == 2 and (cells.repeated, cells.rivals) == (1, 1)
    assert "1 traces are of a problem and a setting that were there already, and wrote otherwise" in cells.notes()[1]


def test_texts_with_gaps_of_several_lengths_are_one_setting():
    short, long = (trace(str(n), canvas={"path_tokens": n}) for n in (1, 2))
    filled = [replace(one, initial=(*one.initial[:-1], 7), events=one.events[:-1]) for one in (short, long)]
    assert all(one.given for one in filled)
    assert len({*told(*filled)[0]}) == 1 and len({*told(short, long)[0]}) == 2


@pytest.fixture
def joined(tmp_path):
    """Two problems twice, and once more under another setting."""
    cold = [trace("a"), trace("b")]
    write_traces([*cold, *(trace(name, **WARM) for name in "ab"), *cold], tmp_path / "t.jsonl")
    return tmp_path / "t.jsonl"


def test_a_report_of_files_put_together_counts_each_problem_once_and_says_so(joined):
    run = read_run(joined)
    assert [(record.policy, record.right, record.problems) for record in run.records] == [
        ("ar (temperature 0.0, seed 0)", 1, 2), ("ar (temperature 0.7, seed 1)", 1, 2),
    ]  # fmt: skip
    assert "2 traces were there already, and count once" in run.notes


def test_the_orders_of_files_put_together_are_told_apart_and_counted_once(joined, capsys):
    OrderCommand(file=str(joined), json=True).run()
    out, said = capsys.readouterr()
    assert [json.loads(line)["id"] for line in out.splitlines()] == [
        "a", "b", "a", "b", "mean of m | ar (temperature 0.0, seed 0) | 1/step",
        "mean of m | ar (temperature 0.7, seed 1) | 1/step", "mean",
    ]  # fmt: skip
    assert said == "2 traces were there already, and count once\n"
