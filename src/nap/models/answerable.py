"""Whether a model's canvas can hold the answers of a task, where all right answers to a problem are equally long.

    check_answerable(denoiser, denoiser.canvas, load_task("sudoku"), problems)

A model of 6x6 sudokus writes 36 digits whatever it is asked, and a slot of 16 tokens never holds that many; either way
no answer would be right, and the accuracy would say nothing of the model.

Does not look at answers of any length (arith, gsm8k), and decodes nothing.
"""

from collections.abc import Sequence
from typing import Any

from nap.canvas.canvas import CanvasSpec
from nap.common.files import InputError
from nap.common.text import printable
from nap.data.problems import Problem
from nap.models.denoiser import Denoiser
from nap.tasks.registry import Fills, Gapped, Gathers, Task


def check_answerable(denoiser: Denoiser, spec: CanvasSpec, task: Task, problems: Sequence[Problem]) -> None:
    """Raise InputError for the first problem whose right answers this canvas cannot hold, or the model cannot say."""
    if isinstance(task, Gapped):
        raise InputError(f"the texts of task {task.name!r} are their own canvases, and have no slots; try nap eval")
    if not isinstance(task, Fills):
        return
    room = spec.summary_tokens or spec.path_tokens
    if isinstance(task, Gathers):
        room = spec.paths * spec.path_tokens
    endless = spec == denoiser.canvas and spec.kind == "plain" and getattr(denoiser.tokenizer, "eos_token", "") is None
    for problem in problems:
        needed = _tokens(denoiser, task.filled(problem))
        if needed is None or needed > room or (endless and needed != room):
            raise InputError(f"{problem.id}: {_reason(denoiser, task, needed, room)}")


def _tokens(denoiser: Denoiser, answer: str) -> int | None:
    """The fewest tokens of an answer, with or without spaces; None where the model lacks a word for it."""
    found = [_length(denoiser.tokenizer, text) for text in (answer, "".join(answer.split()))]
    return min((length for length in found if length is not None), default=None)


def _length(tokenizer: Any, text: str) -> int | None:
    try:
        ids = tokenizer.encode(text, add_special_tokens=False)
    except Exception:  # What `tokenizers` raises for a word it does not know, where it has no token for such.
        return None
    unknown = getattr(tokenizer, "unk_token_id", None)
    return None if unknown is not None and unknown in ids else len(ids)


def _reason(denoiser: Denoiser, task: Task, needed: int | None, room: int) -> str:
    model = printable(str(denoiser.setting.get("model")), 200)
    if needed is None:
        return f"{model} lacks a word of the right answer; take a model of task {task.name!r}"
    if needed > room:
        return (
            f"a right answer has {needed} tokens, and the canvas of {model} holds {room}; take a model of this size, "
            "or longer slots (--path-tokens)"
        )
    return (
        f"{model} always writes {room} tokens, and a right answer has {needed}, so that none could be right; take a "
        "task or a model of the other size"
    )
