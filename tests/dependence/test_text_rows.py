"""The text and the prompt of a row are found where people's files have them; a bad row is named by line."""

import json

import pytest

from nap.common.files import InputError
from nap.data.problems import Problem
from nap.data.samples import Path, Sample, concatenated, write_samples
from nap.dependence.rows import Fields, read_rows
from nap.dependence.segments import Row

ASK = "What is 6*7?"
ASKED = {"role": "user", "content": ASK}
REPLY = {"role": "assistant", "content": "6*7\n=42"}


def write(path, *rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_rows_of_a_file_have_their_place_prompt_and_text(tmp_path):
    file = write(tmp_path / "a.jsonl", {"prompt": "p", "text": "t", "other": 1}, {"text": "u"})
    assert read_rows(file, "lines").rows == [Row(f"{file}:1", "p", "t"), Row(f"{file}:2", "", "u")]


@pytest.mark.parametrize(
    ("row", "how", "said"),
    [
        ({"text": 3}, "lines", "'text' should be a text, got 3"),
        ({"answer": "a"}, "lines", "got none .fields: 'answer'"),
        ({"segments": ["a"]}, "lines", "with --segments paths"),
        ({"text": "a"}, "paths", "all texts or all lists"),
        ({"segments": ["a", 1]}, "paths", "a list of texts"),
        ({"prompt": 1, "text": "a"}, "lines", "'prompt' should be a text"),
        ({"text": "\ud800"}, "lines", "it is not valid text"),
        ({"messages": [ASKED, {"role": "alien", "content": "a"}]}, "lines", "unknown speaker 'alien'"),
        ([1], "lines", "a JSON object"),
        ("{", "lines", "not JSON"),
    ],
)
def test_a_bad_row_is_named_with_what_is_wrong(tmp_path, row, how, said):
    file = write(tmp_path / "bad.jsonl", {"text": "fine"} if how == "lines" else {"segments": ["fine"]}, row)
    with pytest.raises(InputError, match=said) as caught:
        read_rows(file, how)
    assert f"{file}:2" in str(caught.value)


def test_an_empty_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="is empty"):
        read_rows(write(tmp_path / "empty.jsonl"), "lines")


def one(path, row, how=None, **fields):
    """(segmenter, prompt, content) of a file with that row."""
    found = read_rows(write(path / "one.jsonl", row), how, Fields(**fields))
    return found.segmenter, found.rows[0].prompt, found.rows[0].content


@pytest.mark.parametrize(
    "row",
    [
        {"question": "What is 6*7?", "text": "6*7\n=42"},
        {"problem": "What is 6*7?", "text": "6*7\n=42"},
        {"messages": [ASKED, REPLY]},
        {"messages": [{"role": "system", "content": "Be brief."}, ASKED, REPLY]},
        {"messages": [ASKED, REPLY | {"content": [{"type": "text", "text": text} for text in ("6*7\n", "=42")]}]},
        {"system": "s", "conversations": [{"from": "human", "value": ASK}, {"from": "gpt", "value": "6*7\n=42"}]},
        {"prompt": [ASKED], "text": "6*7\n=42"},
        {"messages": [ASKED, {"role": "claude", "content": "6*7\n=42"}]},
        {"messages": json.dumps([ASKED, REPLY])},
        {"conversations": str([{"speaker": "user", "text": ASK}, {"speaker": "ai", "text": "6*7\n=42"}])},
    ],
)
def test_prompt_and_text_are_found_in_conversations_and_under_the_usual_names(tmp_path, row):
    assert one(tmp_path, row) == ("lines", "What is 6*7?", "6*7\n=42")


def test_an_alpaca_rows_prompt_is_its_instruction_with_its_input_and_never_the_text_itself(tmp_path):
    row = {"instruction": "Solve it.", "input": "What is 6*7?", "output": "6*7\n=42"}
    assert one(tmp_path, row, text="output") == ("lines", "Solve it.\n\nWhat is 6*7?", "6*7\n=42")
    assert one(tmp_path, row, text="output", prompt="instruction")[1] == "Solve it."
    assert one(tmp_path, row | {"input": ""}, text="output")[1] == "Solve it."
    assert one(tmp_path, row, text="input")[1:] == ("Solve it.", "What is 6*7?")
    assert one(tmp_path, {"text": "a", "messages": [ASKED, REPLY]})[1:] == ("", "a")


def test_of_a_conversation_the_last_reply_is_the_text_and_all_before_it_the_prompt(tmp_path):
    turns = [ASKED, REPLY, ASKED | {"content": "Sure?"}, REPLY | {"content": "Yes."}, ASKED | {"content": "Thanks"}]
    assert one(tmp_path, {"messages": turns}) == ("lines", "What is 6*7?\n6*7\n=42\nSure?", "Yes.")


def test_the_reasoning_of_a_reply_is_the_start_of_its_text(tmp_path):
    for thought in ({"reasoning_content": "Six."}, {"reasoning": {"content": "Six."}}, {"thinking": "Six."}):
        assert one(tmp_path, {"messages": [ASKED, REPLY | thought]})[2] == "Six.\n\n6*7\n=42"


def test_fields_can_be_named_and_a_list_of_texts_is_cut_in_paths(tmp_path):
    row = {"question": "x", "title": "What?", "thinking": ["Six.", None, "Seven."], "attempt": "It is 42."}
    assert one(tmp_path, row, text="attempt") == ("lines", "x", "It is 42.")
    assert one(tmp_path, row, text="thinking", prompt="title") == ("paths", "What?", ["Six.", "Seven."])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "fields: 'question', 'attempt'.; name the one that holds it with --text-field"),
        (
            {"text": "atempt"},
            "unknown field 'atempt'; did you mean 'attempt'. known: question, attempt; .*--text-field",
        ),
        ({"text": "attempt", "prompt": "prompt"}, "unknown field 'prompt'; known: question, attempt; .*--prompt-field"),
    ],
)
def test_a_field_that_is_not_there_is_refused_with_those_that_are_and_the_flag(tmp_path, fields, said):
    with pytest.raises(InputError, match=said):
        one(tmp_path, {"question": "x", "attempt": "a"}, **fields)


def test_a_null_text_is_an_empty_one_and_refuses_no_file(tmp_path):
    file = write(tmp_path / "a.jsonl", {"text": "a"}, {"text": None}, {"text": "b"})
    assert [row.content for row in read_rows(file).rows] == ["a", "", "b"]
    assert one(tmp_path, {"messages": [ASKED, REPLY | {"content": None}]})[2] == ""
    assert one(tmp_path, {"segments": None}, "paths")[2] == []


def test_paths_in_a_cell_of_csv_are_paths(tmp_path):
    (tmp_path / "a.csv").write_text('question,paths\nWhat?,"[""Six."", ""Seven.""]"\n')
    assert read_rows(tmp_path / "a.csv")[::2] == (
        [Row(f"{tmp_path / 'a.csv'}:2", "What?", ["Six.", "Seven."])],
        "paths",
    )


def test_curated_samples_are_read_as_paths_and_their_long_chains_as_texts(tmp_path):
    problem = Problem(id="1", task="gsm8k", prompt="What?", answer="2")
    sample = Sample(problem=problem, paths=(Path(text="1 + 1\n= 2"), Path(text="2")), summary="2")
    write_samples([sample], tmp_path / "samples.parquet")
    write_samples([concatenated(sample)], tmp_path / "longchain.parquet")
    samples, chains = (read_rows(tmp_path / f"{name}.parquet") for name in ("samples", "longchain"))
    assert samples.segmenter == "paths" and samples.rows[0][1:] == ("What?", ["1 + 1\n= 2", "2"])
    assert chains.segmenter == "lines" and chains.rows[0][1:] == ("What?", "1 + 1\n= 2 ; 2")
    assert read_rows(tmp_path / "samples.parquet", "lines").rows[0].content == chains.rows[0].content
