"""The one reader of files of rows, for every command that takes one.

    for row in read_rows("out.jsonl.gz"): print(row.where, row.value["question"])

A file holds JSON, one value a line, indented, or in one list; or Parquet; or CSV where its name says so. It may be
UTF-8 or UTF-16, with a byte order mark or without, and gzip. The kind of a file is told by its bytes and not by its
name. Rows are given out while they are read, so that a file of any length needs the memory of a few of them.

Every error is an InputError that names the file and the line or row. Does not know what the fields mean.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

from nap.common.files import InputError, open_input
from nap.common.jsontext import MOST, PART, JsonText, elements, values
from nap.common.kinds import GZIP, HEAD, PARQUET, encoding_of
from nap.common.parquet import parquet_rows
from nap.common.textinput import TextInput

# Names under which an object holds the rows of a file: in d1's evaluation, the hub's API and many scripts.
HOLDERS = ("generations", "rows", "data", "examples", "instances", "predictions", "problems", "questions", "results")
ASKS = frozenset({"question", "problem", "prompt", "instruction", "messages", "conversations"})

# How files of rows begin: with objects or a list of them. A text may begin with a bracket too ([INST], [MASK]).
_ROWS = re.compile(r"\ufeff?\s*(?:\[\s*[{\[\"]|\{\s*[\"}])")
# What the messages of Python's csv module mean.
_NOT_CSV = {
    "unexpected end": "a quote that is opened in this row is never closed; was its write cut?",
    "expected after": "text follows a closing quote; put quotes around the whole cell, and double those inside it",
    "field limit": f"a cell of more than {MOST >> 20} MB; is a quote not closed?",
}


class FileRow(NamedTuple):
    """One row: its place, for messages; its line, or its number from 1 in a list or in Parquet; its fields."""

    where: str
    number: int
    value: dict[str, object]


def holds_rows(path: str | Path) -> bool:
    """Whether a file holds rows rather than a text, by how it begins or by its name."""
    with open_input(path) as file:
        head = file.read(HEAD)
    if head.startswith((PARQUET, GZIP)) or re.search(r"\.(?:csv|tsv|parquet)(?:\.gz)?$", str(path).lower()):
        return True
    return bool(_ROWS.match(head.decode(encoding_of(head), "replace")))


def read_rows(path: str | Path) -> Iterator[FileRow]:
    """The rows of a file. A list of rows, or an object that holds nothing else, counts as its rows.

    Raises InputError for a file that cannot be read, and for a row that is not an object.
    """
    rest = _elements(path)
    found = [*islice(rest, 2)]
    if len(found) == 1 and (held := _held(found[0][2])) is not None:
        place = found[0][0]
        found = [(f"{place}, row {n}", n, row) for n, row in enumerate(held, 1)]
    for where, number, value in chain(found, rest):
        if not isinstance(value, dict):
            raise InputError(f"{where}: a JSON object was expected, got {type(value).__name__}")
        yield FileRow(where, number, value)


def read_values(path: str | Path) -> Iterator[tuple[str, object]]:
    """(place, value) of each value of a JSON file, whatever its type, or of each row of Parquet or CSV."""
    with open_input(path) as file:
        if other := _not_json(path, file):
            yield from ((where, row) for where, _, row in other)
        else:
            yield from ((f"{path}:{line}", value) for line, value in values(JsonText(TextInput(path, file))))


def _elements(path: str | Path) -> Iterator[tuple[str, int, object]]:
    with open_input(path) as file:
        if other := _not_json(path, file):
            yield from other
            return
        for line, number, value in elements(JsonText(TextInput(path, file))):
            yield (f"{path}:{line}", line, value) if number is None else (f"{path}:{line}, row {number}", number, value)


def _not_json(path: str | Path, file: BinaryIO) -> Iterator[tuple[str, int, dict[str, object]]] | None:
    """The rows of a Parquet or CSV file; None for another file, which is left at its start."""
    head = file.read(len(PARQUET))
    file.seek(0)
    if head == PARQUET or (not head and str(path).endswith(".parquet")):
        return ((f"{path}, row {n}", n, row) for n, row in enumerate(parquet_rows(path, file), 1))
    name = str(path).removesuffix(".gz").lower()
    return _csv_rows(path, file, "\t" if name.endswith(".tsv") else ",") if name.endswith((".csv", ".tsv")) else None


def _csv_rows(path: str | Path, file: BinaryIO, delimiter: str) -> Iterator[tuple[str, int, dict[str, object]]]:
    # The limit belongs to the whole process; a program that set a larger one keeps it.
    csv.field_size_limit(max(MOST, csv.field_size_limit()))
    rows = csv.reader(_lines(TextInput(path, file)), delimiter=delimiter, strict=True)
    names, ended = list[str](), 0
    try:
        for cells in rows:
            place, ended = f"{path}:{rows.line_num}", rows.line_num
            if not cells:
                continue  # an empty line
            if not names:
                names = _names(place, cells)
                continue
            if len(cells) != len(names):
                raise InputError(
                    f"{place}: {len(cells)} cells in this row, and {len(names)} in the header ({', '.join(names):.70})"
                    "; put quotes around a cell that holds a comma, a tab or a line end"
                )
            yield place, rows.line_num, dict(zip(names, cells, strict=True))
    except csv.Error as error:
        why = next((said for part, said in _NOT_CSV.items() if part in str(error)), error)
        raise InputError(f"{path}:{ended + 1}: not CSV ({why})") from None


def _names(place: str, cells: list[str]) -> list[str]:
    """The columns' names. Raises InputError for two that are equal, of which only one could be read."""
    names = [cell.strip() for cell in cells]
    if doubled := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(f"{place}: two columns have the name {doubled[0]!r}; rename or drop one")
    return names


def _lines(text: TextInput) -> Iterator[str]:
    left = ""
    while part := text.read(PART):
        *whole, left = (left + part).split("\n")
        yield from (line + "\n" for line in whole)
    if left:
        yield left


def _held(value: object) -> list[object] | None:
    """The rows inside the only value of a file; None where that value is itself a row, or holds none."""
    if not isinstance(value, dict):
        return None
    # A value with a question is itself a row, whose generations may be objects.
    for name in () if value.keys() & ASKS else HOLDERS:
        rows = value.get(name)
        if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows):
            # The hub's API wraps each row once more.
            return [row["row"] if isinstance(row.get("row"), dict) and "row_idx" in row else row for row in rows]
    # OpenCompass's details of a run: numbered rows beside a field for their kind.
    if isinstance(details := value.get("details"), dict):
        value = {name: row for name, row in details.items() if name != "type"}
    parts = [*value.values()]
    if not parts or not all(isinstance(part, dict) and part for part in parts):
        return None
    if all(name.isdigit() for name in value):
        return parts
    columns = [[*part] for part in parts]
    if all(name.isdigit() for name in columns[0]) and all(names == columns[0] for names in columns):
        # A table as pandas writes it, by columns.
        return [{name: part[number] for name, part in value.items()} for number in columns[0]]
    return None
