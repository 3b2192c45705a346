"""Reads prompts and texts with gaps from a file: rows with the usual columns, or a text with one prompt a line.

Does not know right answers (the tasks do).
"""

import json
from collections.abc import Sequence
from pathlib import Path

from nap.common.files import InputError, placed, read_text
from nap.common.rows import FileRow, holds_rows, read_rows
from nap.common.text import lines_of
from nap.tasks.fields import CONVERSATION, QUESTION, first_of, prompt_of


def read_prompts(path: str | Path) -> list[str]:
    """The prompts of a file; `-` is standard input. Raises InputError for a row without a question, or no prompts."""
    if holds_rows(path):
        found = []
        for row in read_rows(path):
            if not (prompt := _asked(row)):
                raise _missing(row, "its question", (*QUESTION, *CONVERSATION))
            found.append(prompt)
    else:
        found = _plain([line.strip() for line in lines_of(read_text(path)) if line.strip()])
    if not found:
        raise InputError(f"{path} holds no prompts; it should hold one a line, or rows with a question")
    return found


def _plain(lines: list[str]) -> list[str]:
    """The lines; where each is a text in JSON, these texts."""
    try:
        texts = [json.loads(line) for line in lines if line.startswith('"')]
    except ValueError:
        return lines
    return texts if len(texts) == len(lines) else lines


TEXT = ("infill", "text")


def read_infills(path: str | Path) -> list[tuple[str | None, str]]:
    """(prompt or None, text with gaps) of a file (`-`: standard input): for each row, or for the whole as one text.

    Raises InputError for a row without a text.
    """
    if not holds_rows(path):
        return [(None, read_text(path).rstrip("\n"))]
    found = list[tuple[str | None, str]]()
    for row in read_rows(path):
        with placed(row.where):
            text = first_of(row.value, TEXT)
        if not isinstance(text, str):
            raise _missing(row, "its text with gaps", TEXT)
        found.append((_asked(row), text))
    if not found:
        raise InputError(f"{path} holds no texts with gaps; it should hold rows with a text, or a text")
    return found


def _asked(row: FileRow) -> str | None:
    """All that a model is asked. Raises InputError, naming the row, where it is not clear."""
    with placed(row.where):
        return prompt_of(row.value)


def _missing(row: FileRow, what: str, names: Sequence[str]) -> InputError:
    """The error for a row without a text under any of these names."""
    if there := [name for name in names if name in row.value]:
        return InputError(f"{row.where}: {what} in {there[0]!r} is empty or no text; write it there, or drop the row")
    got = ", ".join(map(str, row.value))[:200] or "none"
    return InputError(f"{row.where}: a row needs {what} in one of {', '.join(names)}; got {got}; rename the right one")
