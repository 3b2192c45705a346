"""Reads the rows of a file as SeqDep measures them: a prompt, and a text or a list of paths.

A text is found under `text`, as the last reply of a conversation (`messages` with `role` and `content`, `conversations`
with `from` and `value`), or as the `paths` of a curated sample; a list of paths under `segments` or `paths`; the prompt
where a task's question is, with what belongs to it (tasks/fields.py). The user can name other fields.

Does not cut texts (segments.py).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nap.common import rows as files
from nap.common.files import InputError, open_input, placed, write_jsonl
from nap.common.kinds import PARQUET
from nap.common.parquet import Bytes, write_parquet
from nap.common.text import check_text, unknown
from nap.data.samples import join_paths
from nap.dependence.segments import Row, check_segmenter
from nap.tasks.fields import CONVERSATION, QUESTION, SHOWN, prompt_of
from nap.tasks.said import Turn, is_conversation, opened, text_of, turns, written

if TYPE_CHECKING:
    import pyarrow as pa

TEXTS = ("text", "messages", "conversations", "segments", "paths")
LISTS = ("segments", "paths", "text")

Object = Mapping[str, object]


class RowFile(NamedTuple):
    """The contents of a file.

    rows       the rows to measure
    objects    the original rows of the file
    segmenter  one of segments.SEGMENTERS
    """

    rows: list[Row]
    objects: list[dict[str, object]]
    segmenter: str


class Fields(NamedTuple):
    """The columns with a row's text (or paths) and its prompt; None: those listed at the top of this module."""

    text: str | None = None
    prompt: str | None = None


USUAL = Fields()


def read_rows(path: str | Path, how: str | None = None, fields: Fields = USUAL) -> RowFile:
    """The rows of a file: JSON, Parquet or CSV.

    how  one of segments.SEGMENTERS; by default `paths` where rows are lists of paths, else `lines`

    A null text counts as empty. Raises InputError, naming the line, for any other value or a missing field, and for a
    file without rows.
    """
    if how is not None:
        check_segmenter(how)
    found = list(files.read_rows(path))
    if not found:
        wanted = fields.text or ("segments" if how == "paths" else "text")
        raise InputError(f"{path} is empty; it should hold one row a line, with {wanted!r} and perhaps 'prompt'")
    how = how or ("paths" if any(_has_paths(row.value, fields.text) for row in found) else "lines")
    return RowFile([_row(row.where, row.value, how, fields) for row in found], [row.value for row in found], how)


def _has_paths(row: Object, field: str | None) -> bool:
    """Whether a row holds several paths rather than a text."""
    field = field or _first(row, TEXTS)
    value = _listed(row, field or "")
    return isinstance(value, list) and not is_conversation(value) and (len(value) > 1 or field == "segments")


def _listed(row: Object, field: str) -> object:
    """What a field holds: a list of paths also where it is written as one text, as in CSV."""
    value = row.get(field)
    return (written(value) or value) if isinstance(value, str) and field in LISTS[:2] else value


def _first(row: Object, names: Sequence[str]) -> str | None:
    """The first of these fields that the row has, preferably one that is not null; None where it has none."""
    there = [name for name in names if name in row]
    return next((name for name in there if row[name] is not None), next(iter(there), None))


def _row(where: str, row: Object, how: str, fields: Fields) -> Row:
    field = fields.text or _first(row, LISTS if how == "paths" else TEXTS)
    if field is None or field not in row:
        raise InputError(f"{where}: {_missing(row, field, how)}")
    before, content = _content(where, row, field, how)
    prompt = _named_prompt(where, row, fields.prompt) if fields.prompt is not None else before
    prompt = _usual_prompt(where, row, field) if prompt is None else prompt
    check_text(f"{where}: it", "".join([prompt, *([content] if isinstance(content, str) else content)]))
    return Row(where, prompt, content)


def _missing(row: Object, field: str | None, how: str) -> str:
    if field is not None:
        return f"{unknown('field', field, row)}; name the one that holds the text with --text-field"
    wanted = "'segments' should be a list of texts" if how == "paths" else "'text' should be a text"
    names = ", ".join(map(repr, row)) or "none"
    return f"{wanted}, got none (fields: {names}); name the one that holds it with --text-field"


def _content(where: str, row: Object, field: str, how: str) -> tuple[str | None, str | list[str]]:
    """(the earlier part of a conversation, the text or the list of paths)."""
    value = _value(where, row, field)
    if value is None:
        return None, [] if how == "paths" else ""
    if is_conversation(value) and how != "paths":
        return _last_reply(f"{where}: {field!r}", value)
    texts = _texts(value)
    if texts is not None and how == "paths":
        return None, texts
    if texts is not None and field == "paths":
        return None, join_paths(texts)
    if isinstance(value, str) and how != "paths":
        return None, value
    wanted = "a list of texts" if how == "paths" else "a text"
    other = "; it has a text, and the rows of a file are all texts or all lists" if isinstance(value, str) else ""
    other += "; it has segments: nap seqdep takes them with --segments paths" if texts is not None else ""
    raise InputError(f"{where}: {field!r} should be {wanted}, got {value!r:.40}{other}")


def _value(where: str, row: Object, field: str) -> object:
    """What a field holds: a conversation also where it is written as one text. Raises InputError for bytes."""
    with placed(where):
        value = opened(_listed(row, field))
        return text_of(value, repr(field)) if isinstance(value, str) else value


def _texts(value: object) -> list[str] | None:
    """A list of texts, or of the paths of a curated sample, without nulls; None for anything else."""
    if not isinstance(value, list):
        return None
    texts = [item.get("text") if isinstance(item, dict) else item for item in value if item is not None]
    return [text for text in texts if isinstance(text, str)] if all(map(_is_text, texts)) else None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and not isinstance(value, Bytes)


def _usual_prompt(where: str, row: Object, text: str) -> str:
    """What the row asks beside its text, under the usual names."""
    rest = {name: value for name, value in row.items() if name not in (text, *CONVERSATION, *SHOWN)}
    name = next((name for name in QUESTION if rest.get(name) not in (None, "", [])), None)
    if name is not None and not isinstance(rest[name], str):
        return _named_prompt(where, row, name)
    with placed(where):
        return prompt_of(rest) or ""


def _named_prompt(where: str, row: Object, field: str) -> str:
    if field not in row:
        raise InputError(f"{where}: {unknown('field', field, row)}; name the prompt's with --prompt-field")
    value = _value(where, row, field)
    if is_conversation(value):
        return _asked(_turns(f"{where}: {field!r}", value))
    if not isinstance(value, str | None):
        raise InputError(f"{where}: {field!r} should be a text, got {value!r:.40}; or name another with --prompt-field")
    return value or ""


def check_fits(path: str | Path, read: RowFile) -> None:
    """Raise InputError, naming row and column, where a .jsonl file at `path` could not hold a value of the rows.

    These are bytes, NaN and infinite numbers, and half a surrogate pair. Nothing is written in their place: null is
    another value, and whoever wants it can say so in the data.
    """
    for row, fields in zip(read.rows, () if str(path).endswith(".parquet") else read.objects, strict=False):
        for name, value in fields.items():
            if why := _not_json(value):
                raise InputError(f"{row.where}: {name!r} holds {why}")


def _not_json(value: object) -> str | None:
    """What it is in a value that JSON in UTF-8 does not have, and what to do; None where there is nothing."""
    if _holds_bytes(value):
        return "bytes, which a .jsonl file cannot; write a .parquet file"
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        return f"text that is not valid ({value!r:.40}); mend it, or leave the column out"
    except ValueError:
        return "NaN or an infinite number, which a .jsonl file cannot; write a .parquet file, or null in its place"
    return None


def _holds_bytes(value: object) -> bool:
    if isinstance(value, dict | list):
        return any(map(_holds_bytes, value.values() if isinstance(value, dict) else value))
    return isinstance(value, Bytes)


def write_marked(path: str | Path, source: str | Path, rows: Sequence[Object], marks: Sequence[Object | None]) -> None:
    """Write the rows of `source` with their marks as new fields; rows whose mark is None are dropped.

    As Parquet where `path` ends in .parquet, else as JSON lines. Raises InputError for rows that Parquet cannot hold.
    """
    kept = [(number, mark) for number, mark in enumerate(marks) if mark is not None]
    if not str(path).endswith(".parquet"):
        write_jsonl(path, ({**rows[i], **mark} for i, mark in kept))
        return
    import pyarrow as pa

    try:
        table = _taken(source, rows, [number for number, _ in kept])
        for name in kept[0][1] if kept else ():
            column = pa.array([mark[name] for _, mark in kept], pa.float64())
            table = table.drop_columns([name] if name in table.column_names else []).append_column(name, column)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InputError(f"{path} cannot hold the rows of {source} ({error!s:.80}); write a .jsonl file") from None
    write_parquet(path, table)


def _taken(source: str | Path, rows: Sequence[Object], numbers: Sequence[int]) -> "pa.Table":
    """Some rows as a table; rows of a Parquet file keep their types, some of which JSON does not have."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open_input(source) as file:
        if file.read(len(PARQUET)) == PARQUET:
            return pq.read_table(file).take(numbers)
    taken = [rows[number] for number in numbers]
    # Rows of JSON may each have columns of their own; from_pylist would keep those of the first row only.
    names = dict.fromkeys(name for row in taken for name in row)
    return pa.table({name: [row.get(name) for row in taken] for name in names})


# Conversations


def _turns(where: str, conversation: list[Object]) -> list[Turn]:
    with placed(where):
        return turns(conversation)


def _last_reply(where: str, conversation: list[Object]) -> tuple[str, str]:
    """(the turns before the model's last turn, that turn after its reasoning); without one the text is empty."""
    said = _turns(where, conversation)
    last = max((i for i, turn in enumerate(said) if turn.speaker == "model"), default=len(said))
    return _asked(said[:last]), said[last].said.whole if last < len(said) else ""


def _asked(said: Sequence[Turn]) -> str:
    """The turns one after the other, without system turns."""
    return "\n".join(turn.said.text or "" for turn in said if turn.speaker != "system")
