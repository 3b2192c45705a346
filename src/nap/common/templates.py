r"""Prompt templates: text files in which `{problem}`, `{answer}` and `{paths}` stand for what they name.

    fill(load_prompt("boxed"), problem="What is 6 times 7?")

All other braces are text (`\boxed{}`), and what is filled in is not read again: a problem that contains `{answer}`
keeps it. The bundled templates are the files of `assets/prompts`. Knows no model and no chat format.
"""

import re
from pathlib import Path

from nap.common.files import InputError, read_text
from nap.common.text import did_you_mean

FOLDER = Path(__file__).parents[1] / "assets" / "prompts"
_FIELD = re.compile(r"\{(problem|answer|paths)\}")


def load_prompt(name: str, *needs: str) -> str:
    """The text of a bundled template, or of a file. Raises InputError if it is absent or lacks a field of `needs`."""
    path, known = bundled(name, FOLDER, ".txt")
    if not path.exists():
        raise InputError(
            f"no prompt template {name!r}{did_you_mean(name, known)} give a file, or one of: {', '.join(known)}"
        )
    text = read_text(path).strip()
    if missing := [need for need in needs if need not in _FIELD.findall(text)]:
        raise InputError(f"the prompt template {path} lacks {{{missing[0]}}}, which stands for the {missing[0]}")
    return text


def bundled(name: str, folder: Path, suffix: str) -> tuple[Path, list[str]]:
    """The bundled file of that name, or else the name as a path; and the names of all files in the bundled `folder`."""
    own = folder / f"{name}{suffix}"
    known = sorted(found.stem for found in folder.glob(f"*{suffix}"))
    return own if own.parent == folder and own.is_file() else Path(name), known


def form_of(said: str, need: str) -> str:
    """A template that is written out, with {need} and \\n for a new line, or `load_prompt` of its name or file."""
    form = said.replace("\\n", "\n") if f"{{{need}}}" in said else load_prompt(said, need)
    if others := {*_FIELD.findall(form)} - {need}:
        raise InputError(f"a template of the {need} alone was expected, and {said!r:.60} has {{{min(others)}}} too")
    return form


def fill(template: str, **values: str) -> str:
    """The template with its fields filled in once. A field without a value is a mistake of the caller."""
    return _FIELD.sub(lambda field: values[field[1]], template)
