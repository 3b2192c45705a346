"""A question becomes a prompt by the settings given: its form, worked examples, a system prompt, keywords."""

import json
from pathlib import Path
from typing import Any

import pytest

from nap.common.files import InputError
from nap.data.trace import PROMPT
from nap.data.trace_files import read_traces
from nap.decoding.prompt import encode_prompt, known_ids
from nap.decoding.prompting import Prompting, load_examples, parse_keywords
from nap.models import checkpoint
from nap.models.any import load
from nap.tasks.prompts import read_infills, read_prompts
from tiny import QUESTION, nap

# Says what it is given, in words that the tiny tokenizer knows.
TEMPLATE = (
    "{% for m in messages %}{{ 'Bob' if m.role == 'system' else 'Ann' }} {{ m.content }} {% endfor %}"
    "{% if enable_thinking is defined and not enable_thinking %}5{% endif %}"
)


@pytest.fixture
def tokenizer(tiny: Path) -> Any:
    found = checkpoint.open_tokenizer(str(tiny))
    found.chat_template = TEMPLATE
    return found


def words(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False))


def test_the_eight_examples_of_gsm8k_are_those_that_are_published() -> None:
    text = Prompting(examples="gsm8k-cot").text("How many?")
    assert text.startswith("Q: There are 15 trees in the grove. Grove workers will plant trees in the grove today.")
    assert text.endswith("23 - 15 is 8. The answer is 8.\n\nQ: How many?\nA:")
    assert text.count("Q: ") == 9 and text.count("\nA:") == 9
    answers = [answer.rsplit("The answer is ", 1)[1] for _, answer in load_examples("gsm8k-cot").shots]
    assert answers == ["6.", "5.", "39.", "8.", "9.", "29.", "33.", "8."]


def test_the_four_examples_of_math_are_those_that_are_published() -> None:
    text = Prompting(examples="math-minerva").text("Find $x$.")
    assert text.startswith(
        "Problem:\nFind the domain of the expression  $\\frac{\\sqrt{x-2}}{\\sqrt{5-x}}$.}\n\nSolution: The"
    )
    assert text.endswith(
        "$$-\\frac{3}{2}a=b\\Rightarrow\\frac{a}{b}=\\boxed{-\\frac{2}{3}}.$$\n"
        "Final Answer: The final answer is $-\\frac{2}{3}$. I hope it is correct.\n\nProblem:\nFind $x$.\n\nSolution:"
    )
    assert text.count("I hope it is correct.") == 4
    assert "\\begin{align*}\n30n&=480\\\\\n\\Rightarrow\\qquad n&=480/30=\\boxed{16}\n\\end{align*}\n" in text


def test_shots_take_the_first_of_them() -> None:
    assert Prompting(examples="gsm8k-cot", shots=2).text("x").count("Q: ") == 3


def test_examples_of_ones_own_are_rows_or_an_object_with_the_words_around_them(tmp_path: Path) -> None:
    rows, whole = tmp_path / "own.jsonl", tmp_path / "own.json"
    rows.write_text('{"question": "1+1?", "answer": "2"}\n{"question": "1+2?", "answer": "3"}\n')
    assert Prompting(examples=str(rows)).text("2+2?") == (
        "Question: 1+1?\nAnswer: 2\n\nQuestion: 1+2?\nAnswer: 3\n\nQuestion: 2+2?\nAnswer:"
    )
    shots = [{"problem": "{answer}", "answer": "{problem}"}]
    whole.write_text(json.dumps({"question": "<{problem}>", "answer": "={answer}", "between": ";", "examples": shots}))
    assert Prompting(examples=str(whole)).text("x") == "<{answer}>={problem};<x>", "what is filled in is text"


def test_the_form_of_a_question_is_written_out_bundled_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "form.txt").write_text("Solve {problem} now")
    assert Prompting(template=r"Q: {problem}\nA:").text("x") == "Q: x\nA:"
    assert Prompting(template=str(tmp_path / "form.txt")).text("x") == "Solve x now"
    assert Prompting(template="boxed").text("x").startswith("x\n")
    assert Prompting(template="<{problem}>", examples="gsm8k-cot", shots=1).text("x").endswith("is 6.\n\n<x>")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"template": "{problem} {answer}"}, r"has \{answer\} too"),
        ({"template": "nowhere"}, "no prompt template 'nowhere'"),
        ({"examples": "gsm8k"}, "did you mean 'gsm8k-cot'"),
        ({"examples": "gsm8k-cot", "shots": 9}, "has 8 examples; shots must be from 1"),
        ({"shots": 2}, "name examples too"),
        ({"raw": True, "keywords": (("enable_thinking", False),)}, "which raw prompts do not use"),
    ],
    ids=str,
)
def test_settings_that_fit_nothing_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Prompting(**settings)


def test_keywords_are_typed() -> None:
    given = ["enable_thinking=False", "n=3", "x=1.5", "who=me", 'tools=["a"]', "none=null", '{"deep": {"a": true}}']
    assert parse_keywords(given) == (
        ("enable_thinking", False), ("n", 3), ("x", 1.5), ("who", "me"), ("tools", ["a"]), ("none", None),
        ("deep", {"a": True}),
    )  # fmt: skip
    for bad in ("enable_thinking", "a b=1", "{x}"):
        with pytest.raises(InputError, match="keywords for a chat template"):
            parse_keywords([bad])


def test_a_system_prompt_and_keywords_reach_the_chat_template(tokenizer: Any) -> None:
    settings = Prompting(system="Carl", keywords=(("enable_thinking", False),))
    assert encode_prompt("8", tokenizer, settings) == words(tokenizer, "Bob Carl Ann 8 5")
    usual = {"enable_thinking": False}
    assert encode_prompt("8", tokenizer, usual=usual) == words(tokenizer, "Ann 8 5")
    against = Prompting(keywords=(("enable_thinking", True),))
    assert encode_prompt("8", tokenizer, against, usual) == words(tokenizer, "Ann 8"), "what the user says goes first"


def test_examples_are_turns_of_user_and_assistant_in_a_chat_template(tokenizer: Any, tmp_path: Path) -> None:
    tokenizer.chat_template = "{% for m in messages %}{{ m.role[0] }}<{{ m.content }}>{% endfor %}"
    rows = tmp_path / "own.jsonl"
    rows.write_text('{"question": "1+1?", "answer": "2"}\n{"question": "1+2?", "answer": "3"}\n')
    own: dict[str, Any] = {"examples": str(rows), "system": "Bob"}
    asked, worked = "Question: {}\nAnswer:".format, ("1+1?", "2", "1+2?", "3")
    said = f"s<Bob>u<{asked(worked[0])}>a<2>u<{asked(worked[2])}>a<3>u<{asked('2+2?')}>"
    assert told(tokenizer, Prompting(**own)) == told(tokenizer, Prompting(**own, examples_as="turns")) == said
    one = f"s<Bob>u<{asked(worked[0])} 2\n\n{asked(worked[2])} 3\n\n{asked('2+2?')}>"
    assert told(tokenizer, Prompting(**own, examples_as="text")) == one
    assert told(tokenizer, Prompting(**own, raw=True)) == "Bob\n\n" + one[len("s<Bob>u<") : -1]
    with pytest.raises(InputError, match="turns need a chat template, which raw prompts do not use"):
        Prompting(**own, raw=True, examples_as="turns")
    with pytest.raises(InputError, match="name examples too"):
        Prompting(examples_as="turns")
    tokenizer.chat_template = None
    with pytest.raises(InputError, match="no chat template to give turns of examples to"):
        told(tokenizer, Prompting(**own, examples_as="turns"))


def told(tokenizer: Any, settings: Prompting) -> str:
    """The text that the tokenizer is given."""
    texts: list[str] = []

    class Listening:
        chat_template, apply_chat_template = tokenizer.chat_template, tokenizer.apply_chat_template

        def encode(self, text: str, add_special_tokens: bool) -> list[int]:
            texts.append(text)
            return []

    encode_prompt("2+2?", Listening(), settings)
    return texts[0]


def test_a_keyword_that_the_template_never_speaks_of_is_refused(tokenizer: Any) -> None:
    with pytest.raises(InputError, match="has no setting 'enable_thinkin'"):
        encode_prompt("8", tokenizer, Prompting(keywords=(("enable_thinkin", False),)))
    tokenizer.chat_template = None
    with pytest.raises(InputError, match="there is no chat template"):
        encode_prompt("8", tokenizer, Prompting(keywords=(("enable_thinking", False),)))


def test_without_a_template_a_system_prompt_stands_before_the_text(tokenizer: Any) -> None:
    assert encode_prompt("8", tokenizer, Prompting(raw=True, system="Bob")) == words(tokenizer, "Bob\n\n8")


def test_a_word_that_a_law_has_no_token_for_is_named() -> None:
    with pytest.raises(InputError, match=r"^exact:grids does not know the word 'hello' of the prompt$"):
        known_ids(load("exact:grids"), "grid 1 hello 0")


def test_a_mask_in_a_prompt_is_said_and_so_is_an_infill_that_holds_no_text(tiny: Path, caplog: Any) -> None:
    import nap as face

    model = load(str(tiny))
    caplog.clear()  # of what transformers says where another test has told it to
    known_ids(model, QUESTION)
    assert not caplog.messages
    mask = model.tokenizer.decode([model.mask_id])
    assert known_ids(model, f"Ann has {mask} pears .").count(model.mask_id) == 1
    (said,) = caplog.messages
    assert f"pears .' holds the model's own mask token ({mask}) 1 times, which stays a hole" in said
    with pytest.raises(InputError, match="infill holds no text; give one for each prompt, or drop it"):
        face.decode(model, [QUESTION], infill=[])


def test_decode_and_eval_take_the_settings_of_a_prompt_and_of_a_checkpoint(tiny: Path, tmp_path: Path) -> None:
    asked = ["--system", "Bob", "--prompt-template", "Ann {problem}", "--block-size", 4, "--shift", "True"]
    done = nap("decode", "--model", tiny, "-p", "8", *asked, "--out", tmp_path / "one.jsonl")
    assert done.returncode == 0, done.stderr
    (trace,) = read_traces(tmp_path / "one.jsonl")
    said = [
        trace.vocabulary[token] for token, region in zip(trace.initial, trace.region, strict=True) if region == PROMPT
    ]
    assert said == ["Bob", "Ann", "8"]
    assert (trace.setting["model"]["block_size"], trace.setting["model"]["shift_logits"]) == (4, True)
    done = nap(
        "eval", "--models", tiny, "--task", "arith", "--policies", "ar", "--tokens-per-step", 9, "--problems", 2,
        *asked, "--out", tmp_path / "run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    setting = json.loads((tmp_path / "run/setting.json").read_text())
    assert (setting["system"], setting["block_size"], setting["shift"]) == ("Bob", 4, True)
    first = next(iter(read_traces(tmp_path / "run/traces.jsonl")))
    assert first.initial[:2] == trace.initial[:2]


def test_a_model_that_was_trained_with_keywords_decodes_with_them(tiny: Path, tmp_path: Path) -> None:
    from nap.data.samples import write_samples
    from nap.decoding.prompt import prompt_ids
    from nap.models.load import load
    from nap.tasks.arith import Arith

    model = tmp_path / "model"
    model.mkdir()
    for file in tiny.iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    (model / "chat_template.jinja").write_text(TEMPLATE)
    write_samples((Arith().sample(0, index) for index in range(8)), tmp_path / "samples.parquet")
    done = nap(
        "train", "--model", model, "--data", tmp_path / "samples.parquet", "--out", tmp_path / "run", "--steps", 1,
        "--batch-size", 2, "--rows", 2, "--canvas", "nap", "--path-tokens", 20, "--summary-tokens", 4,
        "--chat-template-kwargs", "enable_thinking=False",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    trained = load(str(tmp_path / "run/final"))
    assert prompt_ids(trained, QUESTION)[-1:] == words(trained.tokenizer, "5")
    setting = json.loads((tmp_path / "run/setting.json").read_text())
    assert setting["chat_template_kwargs"] == {"enable_thinking": False}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.txt", "Ann has 5 pears .\n\nBob has 3 pears .\n"),
        ("p.jsonl", '{"question": "Ann has 5 pears ."}\n{"question": "Bob has 3 pears ."}\n'),
        ("p.csv", "question,answer\nAnn has 5 pears .,5\nBob has 3 pears .,3\n"),
        ("-", "Ann has 5 pears .\nBob has 3 pears .\n"),
        ("-", '[{"prompt": "Ann has 5 pears ."}, {"prompt": "Bob has 3 pears ."}]'),
    ],
)
def test_prompts_come_from_a_file_or_standard_input(tiny: Path, tmp_path: Path, name: str, text: str) -> None:
    file = name if name == "-" else str(tmp_path / name)
    if name != "-":
        Path(file).write_text(text)
    done = nap("decode", "--model", tiny, "--tokens-per-step", 20, "--json", "--prompts-from", file, input=text)
    assert done.returncode == 0, done.stderr
    said = [json.loads(line)["prompt"] for line in done.stdout.splitlines()]
    assert said == ["Ann has 5 pears .", "Bob has 3 pears ."]


@pytest.mark.parametrize("mark", ["\u2028", "\u0085", "\f"])
def test_only_a_new_line_ends_a_prompt(tmp_path: Path, mark: str) -> None:
    (tmp_path / "p.txt").write_text(f"Ann has{mark}5 pears .\r\nBob\rCy\n", newline="")
    assert read_prompts(tmp_path / "p.txt") == [f"Ann has{mark}5 pears .", "Bob", "Cy"]


def test_prompts_that_are_texts_of_json_have_no_quotes_and_a_quoted_word_among_others_has_them(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text('"Ann has 5 .\\nAnd Bob?"\n"Cy"\n')
    assert read_prompts(tmp_path / "p.txt") == ["Ann has 5 .\nAnd Bob?", "Cy"]
    (tmp_path / "p.txt").write_text('"Cy"\nBob\n')
    assert read_prompts(tmp_path / "p.txt") == ['"Cy"', "Bob"]


def test_a_csv_of_prompts_may_be_named_in_capitals(tmp_path: Path) -> None:
    (tmp_path / "PROMPTS.CSV").write_text("question,answer\nAnn has 5 pears .,5\n")
    assert read_prompts(tmp_path / "PROMPTS.CSV") == ["Ann has 5 pears ."]


def test_a_row_without_a_prompt_or_a_text_with_gaps_is_named_and_no_flag_that_means_something_else(tmp_path: Path):
    file = tmp_path / "p.jsonl"
    for row, read, said in [
        ({"question": "2+2?", "choices": ["3", "0", "1"], "answer": 1}, read_prompts, "the answer 1 may be choice B"),
        ({"question": "", "id": 3}, read_prompts, "its question in 'question' is empty or no text; write it there"),
        ({"frage": "6*7?"}, read_prompts, "a row needs its question in one of question, .*; got frage; rename"),
        ({"text": None}, read_infills, "its text with gaps in 'text' is empty or no text"),
    ]:
        file.write_text(json.dumps(row))
        with pytest.raises(InputError, match=f"{file}:1: {said}") as refused:
            read(file)
        assert "--" not in str(refused.value)


def test_standard_input_is_a_prompt_a_file_of_rows_and_a_tasks_problems(tiny: Path, tmp_path: Path) -> None:
    done = nap("decode", "--model", tiny, "--tokens-per-step", 20, "--json", "-p", "-", input="Ann has 5\npears .\n")
    assert json.loads(done.stdout)["prompt"] == "Ann has 5\npears ."
    rows = json.dumps({"question": "Ann has 5 pears .", "answer": 5, "output": "5"})
    done = nap("score", "-", "--task", "jsonl", "--json", input=rows)
    assert json.loads(done.stdout)["groups"][0]["right"] == 1, done.stderr
    done = nap(
        "eval", "--models", tiny, "--task", "jsonl", "--data", "-", "--policies", "ar", "--tokens-per-step", 20,
        "--out", tmp_path / "run", input=rows,
    )  # fmt: skip
    assert done.returncode == 0 and (tmp_path / "run/rows.parquet").exists(), done.stderr
    done = nap("order", "-", "--json", input="[[0, 0], [1, 1]]\n")
    assert json.loads(done.stdout.splitlines()[-1])["id"] == "mean", done.stderr
