"""Files of outputs as others write them score; odd rows are left out and named; each verdict can be kept."""

import json

import pytest

from nap.cli import run
from nap.common.files import InputError
from nap.common.rows import read_rows
from nap.evaluation.score import score_file
from nap.tasks.fields import Fields


def write(path, *rows):
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def counts(scores):
    return [(group.name, group.correct, group.total, group.missing) for group in scores.groups]


def test_a_document_that_lm_eval_logs_for_each_filter_counts_once(tmp_path):
    rows = [
        {"doc_id": n, "doc": {"question": f"{n}?", "answer": "#### 18"}, "target": "#### 18", "filter": name,
         "resps": [[f"#### {value}"]], "filtered_resps": ["18"]}
        for name in ("strict-match", "flexible-extract") for n, value in enumerate((18, 4))
    ]  # fmt: skip
    assert counts(score_file(write(tmp_path / "samples.jsonl", *rows), "gsm8k")) == [("gsm8k", 1, 2, 0)]


def test_a_document_of_an_lm_eval_that_names_no_filter_counts_once_and_opencompass_details_are_rows(tmp_path):
    row = {"doc_id": 0, "doc": {"question": "6*7?"}, "target": "42", "resps": [["42"]], "filtered_resps": ["42"]}
    row["exact_match"] = 1.0
    (tmp_path / "old.jsonl").write_text(
        f"{json.dumps(row)}\n{json.dumps(row | {'filtered_resps': ['[invalid]'], 'exact_match': 0.0})}\n"
    )
    assert len(score_file(tmp_path / "old.jsonl", "gsm8k").rows) == 1
    details = {"type": "GEN", "0": {"prompt": "6*7?", "origin_prediction": "It is 42", "references": "42"}}
    (tmp_path / "details.json").write_text(json.dumps({"accuracy": 100.0, "details": details}))
    assert [row.correct for row in score_file(tmp_path / "details.json", "gsm8k").rows] == [True]


def logged(number, filter, **fields):
    """A row as lm-evaluation-harness logs it: every question has the answer 5, and the model says so."""
    doc = {"question": f"{number}?", "answer": "#### 5"}
    row = {"doc_id": number, "doc": doc, "resps": [["#### 5"]], "filter": filter, "filtered_resps": ["5"]}
    return row | {"metrics": ["exact_match"], "exact_match": float(filter == "strict-match")} | fields


def test_models_that_say_the_same_of_a_document_count_each_and_only_its_filters_are_repeats(tmp_path, capsys):
    filters = ("strict-match", "flexible-extract")
    rows = [logged(n, name, model=model) for model in "AB" for name in filters for n in range(2)]
    path = write(tmp_path / "samples.jsonl", *rows)
    run(["score", str(path), "--task", "gsm8k", "--by", "model", "--json"])
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert [(group["group"], group["rows"]) for group in found["groups"]] == [("A", 2), ("B", 2)]
    assert found["repeats"] == 4 and "4 rows not counted" in said.err and "--by filter" in said.err
    assert counts(score_file(path, "gsm8k", by="filter")) == [(name, 4, 4, 0) for name in sorted(filters)]


def test_two_logs_in_one_file_that_do_not_name_their_models_count_each(tmp_path):
    rows = [logged(0, name) for name in ("strict-match", "flexible-extract")] * 2
    scores = score_file(write(tmp_path / "samples.jsonl", *rows), "gsm8k")
    assert (len(scores.rows), scores.repeats) == (2, 2)


def test_rows_without_a_document_id_are_no_repeats_of_each_other(tmp_path):
    rows = [{"question": f"{n}?", "answer": "5", "resps": [["5"]], "filtered_resps": ["5"]} for n in range(3)]
    scores = score_file(write(tmp_path / "outputs.jsonl", *rows, *rows), "gsm8k")
    assert (len(scores.rows), scores.repeats) == (6, 0)


def test_two_right_answers_that_are_equal_are_one(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"question": "q", "answer": ["4", "4.0"], "output": "4"}\n')
    assert score_file(tmp_path / "a.jsonl", "gsm8k").rows[0].correct


def test_a_null_output_is_no_answer_and_several_are_scored_each(tmp_path):
    rows = [{"question": "q", "output": None, "answer": "42"}, {"question": "q", "output": "", "answer": "42"}]
    assert counts(score_file(write(tmp_path / "null.jsonl", *rows), "gsm8k")) == [("gsm8k", 0, 2, 2)]
    row = {"question": "q", "output": [r"\boxed{42}", r"\boxed{41}", None], "answer": "42"}
    scores = score_file(write(tmp_path / "list.jsonl", row), "gsm8k")
    assert [(one.output, one.answer, one.correct) for one in scores.rows] == [
        (1, "42", True), (2, "41", False), (3, None, False),
    ]  # fmt: skip


def test_an_empty_list_of_outputs_is_no_answer(tmp_path):
    rows = [{"question": "q", "answer": "42", "resps": resps} for resps in ([], [[]], [["42"]])]
    assert counts(score_file(write(tmp_path / "empty.jsonl", *rows), "gsm8k")) == [("gsm8k", 1, 3, 2)]


def test_odd_rows_are_left_out_and_named(tmp_path):
    rows = [{"output": "4", "answer": 4}, {"output": "4", "answer": "proof"}, {"output": "4", "answer": ""}]
    path = write(tmp_path / "out.jsonl", *rows)
    scores = score_file(path, "gsm8k")
    assert counts(scores) == [("gsm8k", 1, 1, 0)]
    assert [said.partition(": ")[0] for said in scores.left_out] == [f"{path}:2", f"{path}:3"]
    with pytest.raises(InputError, match=r"out.jsonl:2: its answer 'proof'"):
        score_file(path, "gsm8k", strict=True)
    with pytest.raises(InputError, match=r"odd.jsonl:1: its answer 'proof'"):
        score_file(write(tmp_path / "odd.jsonl", rows[1]), "gsm8k")


def test_a_base_models_next_question_is_not_read_unless_it_is_asked_for(tmp_path):
    text = "9 * 2 = 18.\n#### 18\n\nQuestion: A robe?\nAnswer: 2 + 1 = 3.\n#### 3 STOP #### 5"
    path = write(tmp_path / "out.jsonl", {"question": "ducks", "generation": text, "answer": "18"})
    answers = {stop: score_file(path, "gsm8k", stop=stop).rows[0].answer for stop in (None, (), ("STOP",))}
    assert answers == {None: "18", (): "5", ("STOP",): "3"}


def test_columns_can_be_named(tmp_path):
    path = write(tmp_path / "out.jsonl", {"q": "6 x 7?", "said": "42", "truth": "42"})
    with pytest.raises(InputError, match=r"text in one of generation.*; got q, said, truth; name another with --out"):
        score_file(path, "jsonl")
    with pytest.raises(InputError, match=r"name another with --answer-field"):
        score_file(path, "jsonl", columns=Fields(output="said"))
    assert counts(score_file(path, "jsonl", columns=Fields(output="said", answer="truth"))) == [("jsonl", 1, 1, 0)]


@pytest.mark.parametrize("name", ["rows.parquet", "rows.jsonl"])
def test_each_verdict_and_what_was_extracted_is_kept(tmp_path, capsys, name):
    rows = [{"question": "a", "output": "It is 4", "answer": 4}, {"question": "b", "output": ["x", "5"], "answer": 5},
            {"question": "c\ud800", "output": "1", "answer": "proof"}]  # fmt: skip
    path = write(tmp_path / "out.jsonl", *rows)
    run(["score", str(path), "--task", "gsm8k", "--out", str(tmp_path / name)])
    said = capsys.readouterr()
    assert "66.7%" in said.out and "1 rows left out" in said.err and "proof" in said.err
    assert [row.value for row in read_rows(tmp_path / name)] == [
        {"line": 1, "output": 1, "group": "gsm8k", "question": "a", "answer": "4", "gold": "4", "correct": True},
        {"line": 2, "output": 1, "group": "gsm8k", "question": "b", "answer": None, "gold": "5", "correct": False},
        {"line": 2, "output": 2, "group": "gsm8k", "question": "b", "answer": "5", "gold": "5", "correct": True},
    ]
    with pytest.raises(InputError, match=r"written as .jsonl or .parquet, got 'rows.csv'"):
        run(["score", str(path), "--task", "gsm8k", "--out", "rows.csv"])


def test_json_names_what_was_left_out(tmp_path, capsys):
    path = write(tmp_path / "out.jsonl", {"output": "4", "answer": 4}, {"output": "4", "answer": None})
    run(["score", str(path), "--task", "gsm8k", "--json", "--stop", "", "--output-field", "output"])
    assert len(json.loads(capsys.readouterr().out)["left_out"]) == 1
