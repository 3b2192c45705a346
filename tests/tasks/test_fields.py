"""Rows as other people's files have them: the question, the right answer and the outputs are found, or asked for."""

import json

import pytest

from nap.common.files import InputError
from nap.tasks.countdown import Countdown
from nap.tasks.fields import Fields, gold_of, outputs_of, prompt_of, question_of
from nap.tasks.jsonl import Jsonl
from nap.tasks.public import Gsm8k, Math500
from nap.tasks.registry import data_file

USER, MODEL = {"role": "user", "content": "6*7?"}, {"role": "assistant", "content": "It is 42"}
THOUGHT = {"type": "thinking", "thinking": "41"}
ROWS = {
    "lm-eval": (
        {"doc": {"question": "6*7?", "answer": "#### 42"}, "target": "#### 42", "resps": [["It is 42"]]}, "#### 42",
    ),
    "lm-eval without a target": ({"doc": {"question": "6*7?", "answer": "42"}, "resps": [["It is 42"]]}, "42"),
    "d1": ({"question": "6*7?", "generations": "It is 42", "ground_truth": 42.0}, 42.0),
    "opencompass": ({"origin_prompt": "6*7?", "prediction": "It is 42", "gold": "42"}, "42"),
    "opencompass chat": (
        {"origin_prompt": [{"role": "HUMAN", "prompt": "6*7?"}], "prediction": "It is 42", "gold": "42"}, "42",
    ),
    "dLLM-RL": ({"question": "6*7?", "ground_truth_answer": "42", "full_output": ["It is 42"], "prompt": "<|im"}, "42"),
    "verl": ({"prompt": [USER], "reward_model": {"ground_truth": "42"}, "responses": ["It is 42"]}, "42"),
    "messages": ({"messages": [{"role": "system", "content": "s"}, USER, MODEL], "answer": "42"}, "42"),
    "sharegpt": (
        {"conversations": [{"from": "human", "value": "6*7?"}, {"from": "gpt", "value": "It is 42"}], "answer": "42"},
        "42",
    ),
    "parts": ({"messages": [USER, {"role": "assistant", "content": [{"type": "text", "text": "It is 42"}]}]}, None),
    "verl validation": ({"input": "6*7?", "output": "It is 42", "gts": "42", "score": 1.0}, "42"),
    "opencompass details": ({"prompt": "6*7?", "origin_prediction": "It is 42", "references": "42"}, "42"),
    "trl": ({"prompt": [USER], "completion": [MODEL], "answer": "42"}, "42"),
    "vllm": ({"prompt": "6*7?", "outputs": [{"text": "It is 42", "finish_reason": "stop"}], "answer": "42"}, "42"),
    "chat completion": (
        {"question": "6*7?", "choices": [{"index": 0, "message": MODEL}], "answer": "42"}, "42",
    ),
    "batch": (
        {"question": "6*7?", "response": {"status_code": 200, "body": {"choices": [{"message": MODEL}]}}, "gt": "42"},
        "42",
    ),
    "deepmath": ({"question": "6*7?", "final_answer": "42", "output": "It is 42"}, "42"),
    "s1k": ({"question": "6*7?", "solution": "42", "output": "It is 42"}, "42"),
    "math": ({"problem": "6*7?", "solution": r"As 6*7 is known, it is \boxed{42}.", "output": "It is 42"}, "42"),
    "parts of one reply": (
        {"question": "6*7?", "output": [{"type": "text", "text": part} for part in ("It ", "is 42")], "gt": "42"}, "42",
    ),
    "Anthropic": (
        {"question": "6*7?", "gt": "42", "output": {"content": [THOUGHT, {"type": "text", "text": "It is 42"}]}}, "42",
    ),
    "Responses API": (
        {"question": "6*7?", "answer": "42", "output": [
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "41"}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "It is 42"}]},
        ]}, "42",
    ),
    "Google": (
        {"question": "6*7?", "answer": "42", "response": {"candidates": [
            {"content": {"role": "model", "parts": [{"text": "41", "thought": True}, {"text": "It is 42"}]}},
        ]}}, "42",
    ),
    "a conversation as output": ({"question": "6*7?", "answer": "42", "output": [USER, MODEL]}, "42"),
    "conversations as outputs": ({"question": "6*7?", "answer": "42", "responses": [[USER, MODEL]]}, "42"),
    "pipeline": ({"question": "6*7?", "answer": "42", "outputs": [{"generated_text": [USER, MODEL]}]}, "42"),
    "other speakers": (
        {"conversations": [{"speaker": "Human", "text": "6*7?"}, {"speaker": "GPT-4", "text": "It is 42"}], "gt": "42"},
        "42",
    ),
    "messages in CSV": ({"messages": json.dumps([USER, MODEL]), "answer": "42"}, "42"),
    "messages in CSV of Python": ({"prompt": str([USER]), "completion": str([MODEL]), "answer": "42"}, "42"),
    "a list in CSV": ({"question": "6*7?", "responses": '["It is 42"]', "answer": "42"}, "42"),
    "the model's answer": ({"question": "6*7?", "response": "It is 42", "answer": "41", "ground_truth": "42"}, "42"),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_question_answer_and_output_are_found(name):
    row, gold = ROWS[name]
    assert (question_of(row), gold_of(row), outputs_of(row)) == ("6*7?", gold, ["It is 42"])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"resps": [[["-1.0", "False"]], [["-0.5", "True"]]]}, "likelihoods of given choices"),
        ({"resps": [[-1.5, True]]}, "likelihoods of given choices"),
        ({"output": {"score": 1}}, "got an object of score"),
    ],
)
def test_what_is_no_text_is_no_missing_answer_either(row, said):
    with pytest.raises(InputError, match=said):
        outputs_of(row)


@pytest.mark.parametrize(
    "output",
    [
        {"status_code": 500, "body": {"error": {"message": "x"}}},
        {"status_code": 429, "body": {"message": "slow down"}},
        {"object": "error", "message": "too long", "code": 400},
        {"error": "timeout"},
    ],
)
def test_a_request_that_failed_has_no_answer_and_stops_no_file(output):
    assert outputs_of({"response": output}) == [None]


def test_an_unknown_speaker_and_turns_that_cannot_be_read_are_refused_by_name():
    row = {"messages": [USER, {"role": "alien", "content": "42"}]}
    for read in (question_of, prompt_of, outputs_of):
        with pytest.raises(InputError, match=r"unknown speaker 'alien' in a conversation; known: assistant, .*user"):
            read(row)
        with pytest.raises(InputError, match=r"turns of a conversation cannot be read .*; write them as JSON"):
            read({"messages": str([USER, MODEL]).replace("}, {", "}\n {")})


def test_an_empty_column_of_outputs_beside_a_filled_one_is_refused_with_the_flag():
    row = {"output": "", "response": "It is 42"}
    with pytest.raises(InputError, match=r"'output' is empty and 'response' is not; name .* with --output-field"):
        outputs_of(row)
    assert outputs_of(row, Fields(output="response")) == ["It is 42"] and outputs_of({"output": ""}) == [""]


TOWNS = ["Rome", "Paris", "Oslo"]


def test_the_number_of_a_choice_is_its_letter_and_refused_where_another_choice_reads_so():
    assert gold_of({"question": "q", "choices": TOWNS, "answer": 1}) == "B"
    assert gold_of({"question": "q", "choices": TOWNS, "answer": 1}, Fields(answer="answer")) == "B"
    assert gold_of({"doc": {"question": "q", "choices": TOWNS, "answer": 0}}) == "A"
    assert gold_of({"question": "q", "choices": TOWNS, "answer": 3}) == 3
    assert gold_of({"question": "q", "choices": ["4", "1", "3"], "answer": 1}) == "B"
    with pytest.raises(InputError, match=r"the answer 1 may be choice B \('2'\), counted from 0, or the choice '1'"):
        gold_of({"question": "q", "choices": ["4", "2", "3", "1"], "answer": 1})


LABELLED = {"text": TOWNS, "label": ["1", "2", "3"]}


@pytest.mark.parametrize(
    ("row", "gold"),
    [
        *(
            ({"choices": TOWNS, "answer": answer}, "B")
            for answer in (1.0, "1", "1.0", " B", "(B)", "b", "B.", "B. Paris")
        ),
        ({"doc": {"choices": TOWNS, "answer": 1}, "target": 1}, "B"),
        ({"doc": {"choices": TOWNS, "answer": 1}, "target": "1"}, "B"),
        ({"doc": {"choices": LABELLED | {"label": ["A", "B", "C"]}, "answerKey": "B"}, "target": 1}, "B"),
        ({"doc": {"choices": LABELLED, "answerKey": "2"}, "target": 1}, "2"),
        ({"choices": LABELLED, "answerKey": "2"}, "2"),
        ({"choices": TOWNS, "answer": ["B"]}, "B"),
        ({"choices": ["(A) Rome", "(B) Oslo"], "answer": "(B) Oslo"}, "B"),
        ({"options": {"temperature": 1, "seed": 3}, "answer": "1"}, "1"),
        ({"choices": TOWNS, "answer": "Paris"}, "Paris"),
        ({"choices": TOWNS, "answer": "B. Milan"}, "B. Milan"),
        ({"choices": TOWNS, "answer": "7"}, "7"),
        ({"choices": TOWNS, "answer": 1.5}, 1.5),
    ],
)
def test_a_choice_is_told_by_its_letter_or_its_number_however_they_are_written(row, gold):
    assert gold_of({"question": "q"} | row) == gold


@pytest.mark.parametrize(
    "row",
    [
        {"choices": ["1", "2", "3"], "answer": "1"},
        {"choices": ["B", "A"], "answer": "B"},
        {"choices": ["b", "a"], "answer": "b"},
        {"choices": LABELLED, "answer": 1},
    ],
)
def test_an_answer_that_may_be_two_choices_is_refused(row):
    with pytest.raises(InputError, match=r"may be choice .* or the choice .*; write its letter"):
        gold_of({"question": "q"} | row)


TURNS = [{"role": "system", "content": "In hex."}, {"role": "user", "content": "Ann has 2."}, MODEL, USER]
TWO = "Where?\nA. Rome\nB. Oslo"
SENTENCES = [["It is old.", " It is big."], ["It is cold."]]
PAGES = "Rome\nIt is old. It is big.\n\nOslo\nIt is cold.\n\nWhere?"
ASKED = {
    "MMLU": ({"question": "Where?", "choices": TOWNS, "answer": 1}, "Where?\nA. Rome\nB. Paris\nC. Oslo"),
    "ARC": (
        {"question": "Where?", "choices": {"text": TOWNS, "label": ["1", "2", "3"]}, "answerKey": "2"},
        "Where?\n1. Rome\n2. Paris\n3. Oslo",
    ),
    "MMLU-Pro": ({"question": "Where?", "options": TOWNS, "answer": "C"}, "Where?\nA. Rome\nB. Paris\nC. Oslo"),
    "AQuA": (
        {"question": "Where?", "options": ["A)Rome", "B)Oslo"], "answer": "B"}, "Where?\nA)Rome\nB)Oslo",
    ),
    "in the question": ({"question": "Where? (A) Rome (B) Oslo", "choices": ["Rome", "Oslo"], "answer": "A"}, None),
    "choices in one text": ({"question": "Yes or no?", "options": "Yes/No", "answer": "A"}, None),
    "by letter": ({"question": "Where?", "options": {"A": "Rome", "B": "Oslo", "C": None}, "answer": "B"}, TWO),
    "of a conversation": ({"prompt": [USER], "choices": TOWNS, "answer": "B"}, "6*7?\nA. Rome\nB. Paris\nC. Oslo"),
    "objects": (
        {"question": "Where?", "gt": "B", "options": [{"key": "A", "value": "Rome"}, {"key": "B", "value": "Oslo"}]},
        TWO,
    ),
    "C-Eval": ({"question": "Where?", "A": "Rome", "B": "Oslo", "answer": "B"}, TWO),
    "columns": ({"question": "Where?", "option_a": "Rome", "option_b": "Oslo", "answer": "b"}, TWO),
    "CSV": ({"question": "Where?", "choices": '["Rome", "Oslo"]', "answer": "(B)"}, TWO),
    "numbers": ({"question": "2+2?", "choices": [3, 4], "answer": "B"}, "2+2?\nA. 3\nB. 4"),
    "one text": ({"question": "Where?", "options": "A) Rome, B) Oslo", "answer": "B"}, "Where?\nA) Rome, B) Oslo"),
    "an answer in words": ({"question": "Where?", "choices": TOWNS, "answer": "in Spain"}, "Where?"),
    "Alpaca": ({"instruction": "Translate.", "input": "Hello", "answer": "Salut"}, "Translate.\n\nHello"),
    "Alpaca without input": ({"instruction": "Say hello.", "input": "", "answer": "hello"}, "Say hello."),
    "BoolQ": ({"question": "Is it so?", "passage": "It is so.", "answer": "yes"}, "It is so.\n\nIs it so?"),
    "RACE": ({"question": "Where?", "article": "It is old.", "answer": "x"}, "It is old.\n\nWhere?"),
    "the passage in the question": ({"question": "It is old. Where?", "context": "It is old.", "answer": "x"}, None),
    "parts": ({"prompt": [{"type": "text", "text": "Whe"}, {"type": "text", "text": "re?"}]}, "Where?"),
    "choices in Python": ({"question": "Where?", "choices": "['Rome', 'Oslo']", "answer": "B"}, TWO),
    "passages": ({"question": "Where?", "context": ["It is old.", "It is big."]}, "It is old.\n\nIt is big.\n\nWhere?"),
    "HotpotQA": (
        {"question": "Where?", "context": {"title": TOWNS[::2], "sentences": SENTENCES}}, PAGES,
    ),
    "HotpotQA's own file": (
        {"question": "Where?", "context": [["Rome", SENTENCES[0]], ["Oslo", SENTENCES[1]]]}, PAGES,
    ),
    "titled": (
        {"question": "Where?", "context": [
            {"title": "Rome", "text": "It is old. It is big."}, {"title": "Oslo", "text": "It is cold."},
        ]}, PAGES,
    ),
    "a conversation": ({"messages": TURNS, "answer": "2A"}, "In hex.\n\nAnn has 2.\n\nIt is 42\n\n6*7?"),
    "with its reply": ({"messages": [USER, MODEL], "answer": "42"}, "6*7?"),
    "lm-eval": ({"doc": {"question": "Where?", "choices": TOWNS, "answer": 1}}, "Where?\nA. Rome\nB. Paris\nC. Oslo"),
}  # fmt: skip


@pytest.mark.parametrize("name", ASKED)
def test_a_model_is_asked_all_that_belongs_to_a_question(name):
    row, asked = ASKED[name]
    assert prompt_of(row) == (asked or row["question"])


def test_a_column_that_is_named_is_asked_as_it_is():
    row = {"question": "Where?", "choices": TOWNS, "answer": 1, "passage": "p", "mine": "Where now?"}
    assert prompt_of(row, Fields(prompt="mine")) == "Where now?"


def test_a_problem_has_the_choices_and_what_is_unclear_or_cannot_be_asked_is_left_out_by_name(tmp_path):
    rows = [
        {"question": "Where?", "choices": TOWNS, "answer": 1},
        {"question": "2+2?", "choices": ["3", "0", "1"], "answer": 1},
        {"question": "3+3?", "answer": float("nan")},
        {"question": "Where?", "choices": [["Rome"], ["Oslo"]], "answer": "B"},
        {"question": "Where?", "choices": "{'text': array(['Rome', 'Oslo'])}", "answer": "B"},
        {"question": "Where?", "choices": [*"abcdefghijkl"], "answer": 2},
        {"question": "Where?", "options": "A) Rome, B) Oslo", "answer": "1"},
        {"question": "Where?", "context": {"pages": [3]}, "answer": "Rome"},
        {"question": "Where is this?", "image": {"path": "a.png"}, "answer": "Rome"},
        {
            "messages": [{"role": "user", "content": [{"type": "image_url"}, {"type": "text", "text": "?"}]}],
            "answer": "x",
        },
    ]
    found = Jsonl().load(path=write(tmp_path / "mmlu.jsonl", *rows))
    assert [(problem.prompt, problem.answer) for problem in found] == [("Where?\nA. Rome\nB. Paris\nC. Oslo", "B")]
    unclear, nan, *unread = found.left_out
    assert "mmlu.jsonl:2: the answer 1 may be choice B ('0')" in unclear and "mmlu.jsonl:3: the answer must be" in nan
    wanted = (
        "choices cannot be read",
        "choices cannot be read",
        "choices cannot be read",
        "choices cannot be read",
        "paragraphs) should be text",
        "the question has 'image'",
        "more than text",
    )
    assert all(part in said for part, said in zip(wanted, unread, strict=True))


def test_the_choices_of_a_question_are_no_outputs():
    assert outputs_of({"question": "6*7?", "choices": ["41", "42"]}) is None


def test_named_columns_outrank_the_usual_ones():
    row = {"question": "a", "answer": "b", "output": "c", "q": "x", "a": "y", "o": "z"}
    fields = Fields(prompt="q", answer="a", output="o")
    assert (question_of(row, fields), gold_of(row, fields), outputs_of(row, fields)) == ("x", "y", ["z"])


def test_outputs_may_be_null_several_or_numbers():
    assert outputs_of({"output": None}) == [None]
    assert outputs_of({"output": ["a", None, 3]}) == ["a", None, "3"]
    assert outputs_of({"generation": None, "output": "a"}) == ["a"]
    assert outputs_of({"question": "a"}) is None
    with pytest.raises(InputError, match="should be a text, got True"):
        outputs_of({"output": True})


def write(path, *rows):
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


GOOD = {"problem": "2+2?", "solution": r"\boxed{4}", "answer": "4"}
ODD = [
    {"problem": "Prove it.", "answer": "proof"}, {"problem": "Find n.", "answer": "notfound"},
    {"problem": "3+3?", "answer": ""}, {"problem": "4+4?", "solution": r"\boxed{8}", "answer": None},
    {"problem": None, "answer": "4"}, {"problem": "5+5?"}, {"problem": "6+6?", "answer": ["a", "b"]},
]  # fmt: skip


@pytest.mark.parametrize("task", [Gsm8k, Math500, Jsonl])
def test_odd_rows_are_left_out_and_named_and_refused_where_that_is_wanted(tmp_path, task):
    path = write(tmp_path / "rows.jsonl", ODD[0], GOOD, *ODD[1:])
    found = task().load(path=path)
    assert [problem.answer for problem in found] == ["4"]
    assert len(found.left_out) == len(ODD) and all("rows.jsonl:" in said for said in found.left_out)
    with pytest.raises(InputError, match=r"rows.jsonl:1: its answer 'proof'"):
        task(strict=True).load(path=path)


def test_a_file_of_nothing_but_odd_rows_is_refused_with_the_first(tmp_path):
    with pytest.raises(InputError, match=r"rows.jsonl:1: its answer 'proof' .*\(and so for all 7 rows\)"):
        Math500().load(path=write(tmp_path / "rows.jsonl", *ODD))


def test_columns_that_are_not_found_are_listed_with_those_there_and_the_flag(tmp_path):
    path = write(tmp_path / "rows.jsonl", {"q": "6*7?", "a": "42"})
    with pytest.raises(InputError, match=r"in one of question, .*; got q, a; name another with --prompt-field"):
        Jsonl().load(path=path)
    with pytest.raises(InputError, match=r"in one of ground_truth, .*; got q, a; name another with --answer-field"):
        Jsonl(fields=Fields(prompt="q")).load(path=path)
    with pytest.raises(InputError, match=r"there is no field 'b' for the right answer; got q, a"):
        Jsonl(fields=Fields(prompt="q", answer="b")).load(path=path)
    (problem,) = Jsonl(fields=Fields(prompt="q", answer="a")).load(path=path)
    assert (problem.prompt, problem.answer, problem.meta) == ("6*7?", "42", {})


def test_problems_that_nap_prints_are_problems_again(tmp_path):
    (problem,) = Countdown().load(limit=1)
    row = {"id": problem.id, "prompt": problem.prompt, "answer": problem.answer, "task": "countdown", "meta": {}}
    assert Countdown().load(path=write(tmp_path / "p.jsonl", row)) == [problem]


def test_without_nap_data_the_message_says_what_to_set(monkeypatch):
    monkeypatch.delenv("NAP_DATA")
    with pytest.raises(InputError, match=r"set NAP_DATA to the folder that holds gsm8k/test.jsonl"):
        data_file("gsm8k/test.jsonl")
