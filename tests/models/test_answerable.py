"""A model is not asked for answers that its canvas cannot hold (models/answerable.py)."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nap.canvas.canvas import CanvasSpec
from nap.cli import run
from nap.common.files import InputError
from nap.models.answerable import check_answerable
from nap.tasks.registry import load_task


def denoiser(words: str, canvas: CanvasSpec | None = None, eos: str | None = None) -> Any:
    """A model of words; those it does not know become 0, as its `unk_token_id` says."""
    known = {word: number for number, word in enumerate(words.split(), 1)}

    def encode(text: str, add_special_tokens: bool = True) -> list[int]:
        return [known.get(word, 0) for word in text.split()]

    tokenizer = SimpleNamespace(encode=encode, unk_token_id=0, eos_token=eos)
    return SimpleNamespace(tokenizer=tokenizer, canvas=canvas, setting={"model": "mine"})


def plain(tokens: int) -> CanvasSpec:
    return CanvasSpec(paths=1, path_tokens=tokens, summary_tokens=0, tags="none")


def check(model: Any, spec: CanvasSpec, task: str) -> None:
    check_answerable(model, spec, load_task(task), load_task(task).load("test", 2))


DIGITS = "1 2 3 4 5 6"


@pytest.mark.parametrize(
    ("task", "spec", "said"),
    [
        ("sudoku-6x6", plain(16), "sudoku-test-0-0: a right answer has 36 tokens, and the canvas of mine holds 16"),
        ("sudoku", plain(36), "sudoku-test-0-0: mine always writes 36 tokens, and a right answer has 16"),
        ("sudoku", CanvasSpec(paths=1, path_tokens=90, summary_tokens=8), "16 tokens, and the canvas of mine holds 8"),
        ("grids", CanvasSpec(paths=2, path_tokens=20, summary_tokens=2), "48 tokens, and the canvas of mine holds 40"),
        ("agree", CanvasSpec(paths=3, path_tokens=20, summary_tokens=2), "mine lacks a word of the right answer"),
    ],
)
def test_a_canvas_that_cannot_hold_a_right_answer_is_refused(task: str, spec: CanvasSpec, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check(denoiser(DIGITS, spec), spec, task)


@pytest.mark.parametrize(
    ("task", "spec", "own"),
    [
        ("sudoku", plain(16), True),
        ("sudoku-6x6", plain(36), True),
        ("sudoku", plain(36), False),  # a canvas of the user's, which the model may leave before its end
        ("grids", CanvasSpec(paths=1, path_tokens=60, summary_tokens=2), True),
        ("arith", plain(2), True),  # its answers have no one length
    ],
)
def test_a_canvas_that_holds_it_is_not(task: str, spec: CanvasSpec, own: bool) -> None:
    check(denoiser(DIGITS, spec if own else None), spec, task)


def test_a_model_that_can_end_a_text_may_have_a_longer_slot() -> None:
    check(denoiser(DIGITS, plain(36), eos="<end>"), plain(36), "sudoku")


def test_digits_that_are_one_token_together_count_once() -> None:
    answer = load_task("sudoku").load("test", 1)[0].answer
    check_answerable(denoiser(answer), plain(1), load_task("sudoku"), load_task("sudoku").load("test", 1))


COMMANDS: list[Sequence[str]] = [
    ("eval", "--models", "sudoku-6x6", "--task", "sudoku", "--policies", "threshold", "--problems", "2"),
    ("eval", "--models", "sudoku-4x4", "--task", "sudoku-6x6", "--policies", "threshold", "--problems", "2"),
    ("order", "sudoku-4x4", "--task", "sudoku-6x6", "--problems", "2"),
    ("vote", "--models", "sudoku-6x6", "--task", "sudoku", "--problems", "2"),
    ("leaderboard", "--models", "sudoku=sudoku-6x6", "--decoders", "threshold", "--problems", "2", "--validation", "2"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words[:4]))
def test_a_sudoku_model_of_another_size_is_refused(
    words: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^sudoku-test-[^\n]*a right answer has (16|36)"):
        run(list(words))
