"""`score_file`: any JSONL of outputs gives the accuracy that its rows hold, and bad rows are named."""

import json
import sys

import pytest

from nap.common.files import InputError
from nap.common.stats import wilson_interval
from nap.evaluation.score import score_file
from nap.tasks.public import Source
from nap.tasks.registry import Reads, data_file, load_task


def write(path, *rows):
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.mark.parametrize("text", ["generation", "output", "completion", "response", "text"])
@pytest.mark.parametrize("gold", ["ground_truth", "answer", "target", "gold"])
def test_the_usual_field_names_are_understood(tmp_path, text, gold):
    rows = [{text: r"\boxed{42}", gold: 42.0}, {text: "41", gold: "six times seven #### 42"}]
    scores = score_file(write(tmp_path / "out.jsonl", *rows), "gsm8k")
    assert [row.correct for row in scores.rows] == [True, False]
    assert [row.answer for row in scores.rows] == ["42", "41"]
    (group,) = scores.groups
    assert (group.name, group.correct, group.total, group.accuracy) == ("gsm8k", 1, 2, 0.5)
    assert group.interval == wilson_interval(1, 2)


def test_groups_are_in_the_order_of_their_values_and_print_as_a_table(tmp_path):
    rows = [{"text": str(i % 3), "answer": 0, "length": length} for length in (512, 64, 128) for i in range(6)]
    rows.append({"text": "none", "answer": 0, "length": 64})
    scores = score_file(write(tmp_path / "out.jsonl", *rows), "gsm8k", by="length")
    assert [(group.name, group.correct, group.total, group.missing) for group in scores.groups] == [
        ("64", 2, 7, 1),
        ("128", 2, 6, 0),
        ("512", 2, 6, 0),
    ]
    head, first, *_ = str(scores).splitlines()
    assert head.split()[:2] == ["length", "accuracy"]
    assert first.split()[:2] == ["64", "28.6%"]
    assert len({len(line) for line in str(scores).splitlines()}) == 1


def test_a_row_without_its_answer_is_looked_up_by_its_question(tmp_path, monkeypatch):
    (tmp_path / "gsm8k").mkdir()
    write(tmp_path / "gsm8k" / "test.jsonl", {"question": "6 x  7?", "answer": "#### 42"})
    monkeypatch.setenv("NAP_DATA", str(tmp_path))
    outputs = write(tmp_path / "out.jsonl", {"prompt": "6 x 7?\n", "text": "42", "answer": None})
    assert score_file(outputs, "gsm8k").groups[0].correct == 1
    outputs = write(tmp_path / "out.jsonl", {"prompt": "6 x 8?", "text": "48"})
    with pytest.raises(InputError, match=r"out.jsonl:1: no answer in .*, and no gsm8k problem asks '6 x 8"):
        score_file(outputs, "gsm8k")


def test_nothing_is_looked_up_for_a_row_without_a_question(tmp_path, monkeypatch):
    """It may lie on the hub, and without a network that is waited for."""
    monkeypatch.setattr(Source, "rows", lambda *asked: pytest.fail("the problems of gsm8k were loaded"))
    (tmp_path / "out.jsonl").write_text('{"output": "The answer is 42"}\n')
    with pytest.raises(InputError, match="and no question by which a problem could be found"):
        score_file(tmp_path / "out.jsonl", "gsm8k")


def test_problems_that_are_not_on_this_machine_are_said_to_be_absent(tmp_path, monkeypatch):
    monkeypatch.setenv("NAP_DATA", str(tmp_path))
    monkeypatch.setitem(sys.modules, "datasets", None)
    (tmp_path / "out.jsonl").write_text('{"question": "6 x 7?", "output": "The answer is 42"}\n')
    with pytest.raises(InputError, match="the problems of gsm8k that may have it are not here: no such data"):
        score_file(tmp_path / "out.jsonl", "gsm8k")


def test_a_sudoku_needs_only_its_question(tmp_path):
    row = {"question": "Solve: 4320004330100004", "text": "<answer>4321124334122134</answer>"}
    assert score_file(write(tmp_path / "out.jsonl", row), "sudoku").groups[0].correct == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"answer": 1}, "out.jsonl:2: a row needs the model's text in one of generation, .*; got answer"),
        ({"answer": 1, "text": True}, "out.jsonl:2: a model's output should be a text, got True"),
        ({"answer": [1, 2], "text": "a", "length": 1}, r"out.jsonl:2: the answer must be text or a number, got \[1, 2"),
        ({"answer": "many", "text": "1", "length": 1}, "its answer 'many' holds no number"),
        ({"answer": 1, "text": "1"}, "out.jsonl:2: no field 'length' to group by; got answer, text"),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path, row, message):
    good = {"answer": 1, "text": "1", "length": 1}
    with pytest.raises(InputError, match=message):
        score_file(write(tmp_path / "out.jsonl", good, row), "gsm8k", by="length", strict=True)


def test_an_empty_file_and_an_unknown_task_are_refused(tmp_path):
    with pytest.raises(InputError, match="holds no rows to score"):
        score_file(write(tmp_path / "out.jsonl"), "gsm8k")
    with pytest.raises(InputError, match="did you mean 'gsm8k'"):
        score_file(tmp_path / "out.jsonl", "gsm8")


# What the published outputs of LLaDA-8B-Instruct score here; `test_verify` holds them against the published figures.
LLADA = {
    "gsm8k": {"128": 796, "256": 890, "512": 894},
    "countdown": {"128": 54, "256": 52, "512": 42},
    "sudoku": {"128": 1, "256": 0, "512": 0},
}


@pytest.mark.parametrize("task", LLADA)
def test_the_outputs_of_llada_score_the_same_for_ever(task):
    path = data_file(f"llada_outputs/llada8b_instruct_{task}.jsonl")
    if not path.exists() or not data_file("gsm8k/test.jsonl").exists():
        pytest.skip("no LLaDA outputs or GSM8K under NAP_DATA")
    if task == "countdown" and not isinstance(load_task(task), Reads):
        pytest.skip("the countdown task cannot read problems out of questions yet")
    scores = score_file(path, task, by="gen_length")
    assert {group.name: group.correct for group in scores.groups} == LLADA[task]


def test_the_math_outputs_of_llada_score_through_the_worker(tmp_path):
    pytest.importorskip("math_verify", reason="math-verify is not installed (extra `math`)")
    path = data_file("llada_outputs/llada8b_instruct_math500.jsonl")
    if not path.exists():
        pytest.skip("no LLaDA outputs under NAP_DATA")
    part = tmp_path / "part.jsonl"
    part.write_text("\n".join(path.read_text().splitlines()[:300]))
    (group,) = score_file(part, "math500").groups
    # Versions of math-verify differ on a few; a busy machine may run into a timeout.
    assert group.correct == pytest.approx(93, abs=2)
