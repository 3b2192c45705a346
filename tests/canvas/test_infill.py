"""A text with gaps: what is given stands, every policy writes the gaps alone, and nobody mistakes one for the other."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nap as package
from nap.canvas.canvas import Canvas, parse
from nap.canvas.infill import Infill, gap_texts, lay_out
from nap.common.files import InputError
from nap.data.trace import COMMIT, FILL
from nap.data.trace_files import read_traces
from nap.decoding.again import decode_again
from nap.decoding.asked import pair
from nap.decoding.budget import Budget
from nap.decoding.decode import decode_traces
from nap.decoding.policies.registry import POLICIES, parse_policy
from nap.models.load import load
from tiny import nap
from toys import CHARS, EOS, MASK, PAD, WORDS, HashDenoiser, TableDenoiser

# Remembering, taking back, editing, drafting: what could touch a given token.
STATEFUL = ("remdm:ratio=0.5,loops=3,k=2", "token_edit:tau=0.2,edit=0.1,size=4", "saber:n=3,block=4", "wino:tau=0.3")


def laid(text: str, prompt: str = "", tokenizer=WORDS, gap_tokens: int = 8) -> Canvas:
    return lay_out(tokenizer.encode(prompt), Infill(text, gap_tokens), tokenizer, MASK, problem_id="p")


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("a [MASK] b", ["a ", 1, " b"]),
        ("a [MASK:3] b [MASK:1].", ["a ", 3, " b ", 1, "."]),
        ("[MASK][MASK]a", [1, 1, "a"]),
        ("The capital of ___ is Paris", ["The capital of ", 8, " is Paris"]),
        ("a <|mdm_mask|><|mdm_mask|>", ["a ", 1, 1]),
        (r"\[MASK] and \___ are text, [MASK:2] is not", ["[MASK] and ___ are text, ", 2, " is not"]),
        ("snake___case __init__ a__ stay [MASK]", ["snake___case __init__ a__ stay ", 1]),
        ("(______), x", ["(", 8, "), x"]),
        ("x[0] = [MASK:2]", ["x[0] = ", 2]),
    ],
)  # fmt: skip
def test_what_is_a_gap_and_how_long_it_is(text: str, pieces: list[str | int]) -> None:
    assert Infill(text).pieces("<|mdm_mask|>") == pieces


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("The capital of France is Paris", "there is no gap in the text"),
        ("", "there is no gap in the text"),
        ("a [MASK:8 b", r"'\[MASK:8' is not closed"),
        ("a [MASK", r"'\[MASK' is not closed"),
        ("a [MASK:] b", r"'\[MASK:\]' has no length"),
        ("a [MASK:two] b", "has no length"),
        ("a [MASKS] b", "has no length"),
        ("a [MASK:-3] b", "has no length"),
        ("a [MASK:0] b", "must be at least 1, got 0"),
        ("a [MASK:99999999] b", "must be at most 1048576"),
        ("a [MASK:999999] b [MASK:999999]", "tokens of all gaps must be at most"),
        ("half \ud800 [MASK]", "is not valid text"),
    ],
)
def test_what_is_no_text_with_gaps_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        laid(text)
    assert "\n" not in str(error.value)


def test_a_mask_that_reads_as_a_word_is_no_marker() -> None:
    with pytest.raises(InputError, match="there is no gap"):
        lay_out([], Infill("a b"), _Renamed("a"), MASK)


class _Renamed:
    """A tokenizer whose mask reads as a word."""

    def __init__(self, word: str) -> None:
        self.word = word

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        return WORDS.encode(text)

    def decode(self, ids: list[int], /) -> str:
        return self.word


def test_the_space_before_a_gap_is_the_gaps_where_a_token_carries_it() -> None:
    assert CHARS.decode(laid("a [MASK] b", tokenizer=CHARS).ids.tolist()) == "a <mask> b", "a space is a token here"
    carried = lay_out([], Infill("a [MASK] b"), _Carried(), MASK).ids.tolist()
    assert carried == [ord("a"), MASK, ord("b") + 1000]


class _Carried:
    """A tokenizer of letters, as byte pairs are: a space and the letter behind it are one token."""

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        marked = [ord(letter) + 1000 * (before == " ") for before, letter in zip(" " + text, text, strict=False)]
        spaced = [ord(text[0]), *marked[1:]] if text[:1] != " " else marked
        found = [token for token, letter in zip(spaced, text, strict=True) if letter != " "]
        return found + [32] * text.endswith(" ")

    def decode(self, ids: list[int], /) -> str:
        return ""


def test_the_canvas_holds_the_prompt_the_given_text_and_masks_and_knows_its_gaps() -> None:
    found = laid("c [MASK] d [MASK:2]", prompt="a b")
    assert [WORDS.words[token] for token in found.ids] == ["a", "b", "c", "<mask>", "d", "<mask>", "<mask>"]
    assert found.region.tolist() == [-2, -2, 0, 0, 0, 0, 0] and found.gaps == ((3, 4), (5, 7))
    assert len(laid("[MASK:4]")) == 4, "a prompt may be empty, and the text one gap"


UNGUIDED = [name for name, kind in POLICIES.items() if not hasattr(kind, "open_guide")]


@pytest.mark.parametrize("policy", [*UNGUIDED, *STATEFUL])
def test_every_policy_writes_the_gaps_and_nothing_that_was_given(policy: str) -> None:
    chosen, canvas = parse_policy(policy), laid("a b [MASK:5] c [MASK] d e [MASK:3] f", prompt="g h")
    denoiser = HashDenoiser()
    denoiser.masked_only = False
    (trace,) = decode_traces(denoiser, [canvas], chosen, budget=Budget(tokens=2) if chosen.paced else None)
    open_now = {place for start, stop in canvas.gaps for place in range(start, stop)}
    assert {event.position for event in trace.events} == open_now
    assert MASK not in trace.final and all(trace.final[at] == canvas.ids[at] for at in trace.given)
    assert {*trace.given} == {*np.flatnonzero(canvas.region == 0).tolist()} - open_now


def test_an_end_of_text_ends_its_gap_and_not_the_words_behind_it() -> None:
    canvas = laid("a [MASK:3] b [MASK:2] c")
    final = canvas.ids.copy()
    (first, _), (second, _) = canvas.gaps
    final[first : first + 3] = [*WORDS.encode("x"), EOS, *WORDS.encode("y")]
    final[second : second + 2] = WORDS.encode("z z")
    said = parse(canvas, final, WORDS, (PAD, EOS))
    assert said.paths == ("a x b z z c",) and said.summary == ""
    assert gap_texts(canvas, final, WORDS, (PAD, EOS)) == ("x", "z z")


def test_stopping_early_fills_the_rest_of_a_gap_and_leaves_the_other_gaps() -> None:
    ends = np.full(len(WORDS), -9.0)
    ends[EOS] = 9.0
    canvas = laid("a [MASK:3] b [MASK:2] c")
    (trace,) = decode_traces(TableDenoiser(ends), [canvas], parse_policy("ar"), budget=Budget(tokens=1), eos="stop")
    did = [(event.position, event.kind) for event in trace.events]
    (one, _), (two, _) = canvas.gaps
    assert did == [(one, COMMIT), (one + 1, FILL), (one + 2, FILL), (two, COMMIT), (two + 1, FILL)]


def test_a_trace_of_an_infilling_decodes_again_to_the_same(tiny: Path) -> None:
    model = load(str(tiny))
    result = package.decode(model, "Ann has 5 pears .", infill="Bob has [MASK:4] + 3 [MASK:2] .", eos="stop")
    (again,) = decode_again(model, [result.trace])
    assert again.events == result.trace.events


@pytest.mark.parametrize("cache", ["exact", "prefix", "dual", "delayed"])
def test_caches_write_the_gaps_alone_and_the_exact_one_the_same(tiny: Path, cache: str) -> None:
    model, text = load(str(tiny)), "Ann has [MASK:3] pears . Bob has [MASK:2] more than Ann ."
    plain, kept = (package.decode(model, "Ann has 5 pears .", infill=text, cache=name) for name in ("none", cache))
    assert {event.position for event in kept.trace.events} == {event.position for event in plain.trace.events}
    if cache == "exact":
        assert kept.trace.final == plain.trace.final


def test_a_streamer_shows_what_was_given_as_given(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = load(str(tiny))
    package.decode(model, "Ann", infill="Bob has [MASK:2] pears .", streamer=package.Live(model))
    frames = capsys.readouterr().err.split("step ")[1:]
    assert len(frames) == 2 and all(frame.startswith(f"{n}: 1 written") for n, frame in enumerate(frames, 1))
    assert all("‹Bob has›" in frame and "‹pears .›" in frame for frame in frames)


def test_python_infills_one_text_several_and_each_with_its_prompt(tiny: Path) -> None:
    model = load(str(tiny))
    one = package.decode(model, infill="Ann has ___ .", gap_tokens=3)
    assert one.prompt == "" and len(one.trace.events) == 3 and one.text.startswith("Ann has") and len(one.gaps) == 1
    both: Any = package.decode(model, infill=["Ann has [MASK] .", "Bob has [MASK:2] ."])
    assert [len(result.trace.events) for result in both] == [1, 2]
    paired = package.decode(model, ["Ann", "Bob"], infill=["[MASK] pears", "pears [MASK]"])
    assert [result.prompt for result in paired] == ["Ann", "Bob"]
    refused: tuple[tuple[dict[str, Any], str], ...] = (
        ({"infill": "a [MASK]", "canvas": "plain"}, "is its own canvas"),
        ({"gap_tokens": 3}, "need a text with gaps"),
        ({"infill": "Ann has [MASK:500] ."}, "a canvas of 503 tokens is too long"),
        ({"infill": "Zoe has [MASK] ."}, "does not know the word 'Zoe' of the text"),
    )
    for wrong, said in refused:
        with pytest.raises(InputError, match=said):
            package.decode(model, **wrong)


def test_prompts_and_texts_pair_or_say_why_not() -> None:
    texts = [(None, "[MASK]"), ("own", "b [MASK]")]
    assert [prompt for prompt, _ in pair(["all"], texts, None)] == ["all", "own"]
    assert [prompt for prompt, _ in pair([], texts, None)] == ["", "own"]
    with pytest.raises(InputError, match="3 prompts and 2 texts with gaps do not match"):
        pair(["a", "b", "c"], texts, None)
    with pytest.raises(InputError, match="there is no prompt"):
        pair([], [], None)


def test_the_command_infills_and_its_views_say_what_was_given(tiny: Path, tmp_path: Path) -> None:
    base = ("decode", "--model", tiny, "--eos", "suppress")
    done = nap(*base, "-p", "Ann has 5 pears .", "--infill", "Bob has [MASK:2] pears .", "--out", tmp_path / "t.jsonl")
    assert done.returncode == 0, done.stderr
    (trace,) = read_traces(tmp_path / "t.jsonl")
    said = [trace.vocabulary[token] for token in trace.final[5:]]
    text, gap, counts = done.stdout.splitlines()
    assert text == f"text: {' '.join(said)}" and gap == f"gap 1 (2 tokens): {' '.join(said[2:4])}"
    assert "given 4" in counts and [trace.vocabulary[trace.initial[at]] for at in trace.given] == [
        "Bob", "has", "pears", ".",
    ]  # fmt: skip
    shown = nap("trace", "show", tmp_path / "t.jsonl")
    assert "‹Bob has›" in shown.stdout and "‹pears .›" in shown.stdout
    done = nap(*base, "--infill", "Bob has [MASK] .", "--canvas", "nap")
    assert done.returncode == 2 and "is its own canvas" in done.stderr and done.stderr.count("\n") == 1
    done = nap(*base, "--infill", "Bob has [MASK .")
    assert done.returncode == 2 and "not closed" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "text", "gaps"),
    [
        ("t.txt", "Ann has [MASK] .\nBob has [MASK:2] .\n", [2]),
        ("-", "[MASK] has [MASK:2] .\n", [2]),
        ("t.jsonl", '{"text": "Ann has [MASK] ."}\n{"text": "[MASK] has [MASK] .", "prompt": "Bob"}\n', [1, 2]),
        ("t.csv", "infill\nAnn has [MASK] .\n", [1]),
    ],
)
def test_texts_come_from_a_file_or_standard_input(
    tiny: Path, tmp_path: Path, name: str, text: str, gaps: list[int]
) -> None:
    file = name if name == "-" else str(tmp_path / name)
    if name != "-":
        Path(file).write_text(text)
    done = nap("decode", "--model", tiny, "--json", "--infill-from", file, input=text)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [len(row["gaps"]) for row in found] == gaps
    if len(found) > 1:
        assert [row["prompt"] for row in found] == ["", "Bob"]


def test_eval_writes_every_answer_into_a_form(tiny: Path, tmp_path: Path) -> None:
    from nap.common.rows import read_rows

    base = (
        "eval", "--models", tiny, "--task", "arith", "--policies", "ar", "--tokens-per-step", 2, "--problems", 2,
    )  # fmt: skip
    done = nap(*base, "--infill", "Ann has [MASK:2] pears .", "--eos", "suppress", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    texts = [str(row.value["text"]) for row in read_rows(tmp_path / "run/rows.parquet")]
    assert len(texts) == 2 and all(text.startswith("Ann has") and text.endswith("pears .") for text in texts)
    first = next(iter(read_traces(tmp_path / "run/traces.jsonl")))
    assert len(first.events) == 2 and len(first.given) == 4
    done = nap(*base, "--infill", "Ann has [MASK:3] pears .", "--out", tmp_path / "run")
    assert done.returncode == 2 and "infill" in done.stderr, "another form is another run"
    done = nap(*base, "--infill", "Ann has pears .", "--out", tmp_path / "other")
    assert done.returncode == 2 and "there is no gap" in done.stderr and not (tmp_path / "other").exists()
