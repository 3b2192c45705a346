"""Files of solutions as they stand in the wild: every shape is read, and one odd row does not stop a file."""

import json
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from nap.cli import run
from nap.common.files import InputError
from nap.curation.curate import curate
from nap.curation.plan import Plan
from nap.curation.solutions import read_problems
from nap.data.samples import read_samples

Row = dict[str, Any]
PLAIN = {"question": "6*7?", "answer": "42"}
THOUGHT = "<|begin_of_thought|>six sevens<|end_of_thought|> so 42"
ENDS = [("so 42", "completed"), ("so 4", "incomplete")]
ASKED = {"role": "user", "content": "6*7? It is not 41."}


def written(folder: Path, *rows: Row) -> str:
    path = folder / "solutions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def texts(folder: Path, *rows: Row, **settings: Any) -> list[list[str]]:
    found = read_problems(Plan(task="gsm8k", solutions=written(folder, *rows), **settings))
    return [[reply.text for _, reply in one.replies] for one in found.solved]


@pytest.mark.parametrize(
    "row",
    [
        {"generations": ["a", "b"]},
        {"r1_solution_1": "a", "r1_solution_2": "b"},
        {"solution_2": "b", "solution_1": "a"},
        {"thinking_trajectories": ["a", "b"], "attempt": "c", "cot_type": "math"},
        {"responses": [["a"], ["b"]]},
        {"responses": [[ASKED, {"role": "assistant", "content": text}] for text in "ab"]},
        {"generations": [[{"type": "text", "text": "a"}], {"message": {"content": "b"}}]},
    ],
    ids=["OpenR1", "DeepMath", "numbered", "s1K", "lists of lists", "conversations", "parts and choices"],
)
def test_every_shape_of_several_solutions_is_read(tmp_path: Path, row: Row) -> None:
    assert texts(tmp_path, PLAIN | row) == [["a", "b"]]


@pytest.mark.parametrize(
    "turns",
    [
        {"messages": [{"role": "user", "content": "6*7?"}, {"role": "assistant", "content": "a"}]},
        {"conversations": [{"from": "human", "value": "6*7?"}, {"from": "gpt", "value": "a"}]},
    ],
    ids=["messages", "conversations"],
)
def test_the_last_reply_of_a_conversation_is_a_solution(tmp_path: Path, turns: Row) -> None:
    assert texts(tmp_path, {"answer": "42", **turns}) == [["a"]]
    (solved,) = read_problems(Plan(task="gsm8k", solutions=str(tmp_path / "solutions.jsonl"))).solved
    assert solved.problem.prompt == "6*7?" and solved.problem.meta == {"solution": "42"}


def test_a_null_among_generations_is_an_empty_one_and_one_that_did_not_end_is_cut(tmp_path: Path) -> None:
    row = PLAIN | {"generations": ["so 42", None, "so 4"], "is_reasoning_complete": [True, True, False]}
    card = curate(Plan(task="gsm8k", solutions=written(tmp_path, row), paths=1), tmp_path / "run")
    assert {name: n for name, n in card.replies.items() if n} == {"all": 3, "cut": 1, "empty": 1, "used": 1}


@pytest.mark.parametrize(
    "row",
    [
        {"generations": ["so 42", "so 4"], "finish_reasons": ["stop", "length"]},
        {"generations": ["so 42", "so 4"], "finish_reasons": [None, "length"], "is_reasoning_complete": [True, True]},
        {"responses": [{"text": "so 42", "finish_reason": "eos"}, {"text": "so 4", "finish_reason": "max_tokens"}]},
        {"responses": [{"message": {"content": "so 42"}}, {"message": {"content": "so 4"}, "finish_reason": "abort"}]},
        {
            "responses": [
                {"content": "so 42", "stop_reason": "end_turn"},
                {"content": "so", "stop_reason": "max_tokens"},
            ]
        },
        {"responses": [{"output": [{"type": "message", "content": said}], "status": status} for said, status in ENDS]},
    ],
    ids=["OpenR1", "both", "replies", "choices", "Anthropic", "Responses API"],
)
def test_a_solution_that_ended_for_another_reason_is_cut(tmp_path: Path, row: Row) -> None:
    card = curate(Plan(task="gsm8k", solutions=written(tmp_path, PLAIN | row), paths=1), tmp_path / "run")
    assert {name: n for name, n in card.replies.items() if n} == {"all": 2, "cut": 1, "used": 1}


def test_reasons_for_another_number_of_solutions_leave_a_row_out(tmp_path: Path) -> None:
    row = PLAIN | {"generations": ["so 42", "so 4"], "finish_reasons": ["stop"]}
    with pytest.raises(InputError, match="'gsm8k-1' has 2 solutions and 1 of 'finish_reasons'"):
        texts(tmp_path, row)


def test_the_reasoning_of_a_reply_starts_its_path(tmp_path: Path) -> None:
    turn = {"role": "assistant", "content": "so 42", "reasoning_content": "six sevens"}
    row = {"messages": [ASKED, turn], "answer": "42"}
    curate(Plan(task="gsm8k", solutions=written(tmp_path, row), paths=1), tmp_path / "run")
    (sample,) = read_samples(tmp_path / "run/samples.parquet")
    assert sample.paths[0].text == "six sevens\n\nso 42"


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("so 42<|im_end|>", "so 42"),
        ("<s> so 42</s>", "so 42"),
        ("<|im_start|>assistant\nso 42<|im_end|>\n<|im_start|>user\nWhy?", "so 42"),
        ("so 42<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nnoise 7", "so 42"),
        ("<start_of_turn>model\nso 42<end_of_turn>", "so 42"),
        ("so 42<｜end▁of▁sentence｜>", "so 42"),
        ("<|channel|>analysis<|message|>six sevens<|end|><|start|>assistant<|channel|>final<|message|>so 42<|return|>",
         "six sevens\n\nso 42"),
        (THOUGHT, THOUGHT),
        ("so 42 <|tool|> 3", None),
        ("<|im_end|>so 42", None),
    ],
)  # fmt: skip
def test_what_the_template_of_a_chat_wrote_is_no_part_of_a_path(tmp_path: Path, said: str, text: str | None) -> None:
    rows = [PLAIN | {"generations": [said]}, {"question": "6*6?", "answer": "36", "generations": ["so 36"]}]
    curate(Plan(task="gsm8k", solutions=written(tmp_path, *rows), paths=1), tmp_path / "run")
    found = [sample.paths[0].text for sample in read_samples(tmp_path / "run/samples.parquet")]
    assert found == [*([] if text is None else [text]), "so 36"]


def odd_rows() -> Iterable[Row]:
    yield PLAIN | {"generations": ["so 42"]}
    yield {"question": "Prove it.", "answer": "proof", "generations": ["so"]}
    yield {"question": "6*8?", "answer": "48"}
    yield {"question": "6*9?", "answer": None, "generations": ["so 54"]}
    yield {"question": "6*7?", "answer": "42.0", "generations": ["it is 42"]}
    yield {"question": "6*6?", "answer": "36", "generations": ["so 36"]}
    yield {"question": "6*6?", "answer": "35", "generations": ["so 35"]}


def test_odd_rows_are_left_out_counted_in_the_card_and_named_in_a_file_beside_it(tmp_path: Path) -> None:
    plan = Plan(task="gsm8k", solutions=written(tmp_path, *odd_rows()), paths=2)
    card = curate(plan, tmp_path / "run")
    (sample,) = read_samples(tmp_path / "run/samples.parquet")
    assert [path.text for path in sample.paths] == ["so 42", "it is 42"], "42.0 is 42 to the task: one problem"
    reasons = [json.loads(line)["reason"] for line in (tmp_path / "run/left_out.jsonl").read_text().splitlines()]
    assert card.rows_left_out == len(reasons) == 4
    assert "solutions.jsonl:2: its answer 'proof'" in reasons[0] and "solutions.jsonl:4" in reasons[1]
    assert "'gsm8k-3' has no solutions" in reasons[2] and "--field" in reasons[2]
    assert "two answers to problem 'gsm8k-6': '36' and, in 'gsm8k-7', '35'" in reasons[3]
    assert "4 rows of the problems' file were left out" in (tmp_path / "run/README.md").read_text()


def test_strict_refuses_the_first_odd_row(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="its answer 'proof'"):
        texts(tmp_path, *odd_rows(), strict=True)
    rows = [PLAIN | {"answer": answer, "generations": ["a"]} for answer in ("42", "43")]
    with pytest.raises(InputError, match="two answers to problem"):
        texts(tmp_path, *rows, strict=True)


def test_columns_have_the_names_that_the_user_gives(tmp_path: Path) -> None:
    row = {"frage": "6*7?", "antwort": "42", "wege": ["a"]}
    assert texts(tmp_path, row, field="wege", prompt_field="frage", answer_field="antwort") == [["a"]]
    with pytest.raises(InputError, match=r"has no solutions .*wege; name their field with --field"):
        texts(tmp_path, row, prompt_field="frage", answer_field="antwort")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--path-tokens", "3"], "longer than its slot; raise --path-tokens"),
        (["--select", "correct"], "not of the wanted mix .* choose another --select"),
        (["--paths", "5"], "lower --paths"),
        (["--summary-tokens", "2"], "raise --summary-tokens"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_no_sample_is_an_error_that_names_the_flag_and_the_folder_takes_another_setting(
    tmp_path: Path, flags: list[str], said: str
) -> None:
    rows = PLAIN | {"generations": ["so it must be 41", "perhaps 40 in the end", "nothing but 39 is left"]}
    command = ["curate", "--task", "gsm8k", "--solutions", written(tmp_path, rows), "--out", str(tmp_path / "run")]
    with pytest.raises(InputError, match=rf"no sample was made: .*{said}"):
        run([*command, *flags])
    run(command)
    assert len(list(read_samples(tmp_path / "run/samples.parquet"))) == 1


def test_the_card_shows_a_row_and_the_lines_that_load_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["curate", "--task", "gsm8k", "--paths", "1", "--solutions", written(tmp_path, *odd_rows()),
         "--out", str(tmp_path / "run")])  # fmt: skip
    card = (tmp_path / "run/README.md").read_text()
    shown = json.loads(card.split("## One row\n\n```json\n")[1].split("\n```")[0])
    assert shown["prompt"] == "6*7?" and shown["paths"][0]["text"] == "so 42"
    lines = card.split("```python\n")[1].split("\n```")[0]
    monkeypatch.chdir(tmp_path / "run")
    pytest.importorskip("datasets", reason="the card's lines load with `datasets`, which is not installed")
    exec(lines)  # The card's own lines, word for word.
    assert "so 42" in capsys.readouterr().out


def test_the_command_that_is_printed_trains_on_the_shape_that_was_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["curate", "--task", "gsm8k", "--paths", "1", "--path-tokens", "40", "--solutions",
         written(tmp_path, *odd_rows()), "--out", str(tmp_path / "my run")])  # fmt: skip
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "nap train" in line]
    assert shlex.split(line)[2:] == [
        "--model", "MODEL", "--data", str(tmp_path / "my run/samples.parquet"), "--canvas", "nap", "--paths", "1",
        "--path-tokens", "40", "--summary-tokens", "32",
    ]  # fmt: skip
