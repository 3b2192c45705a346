"""Records as files: writes summary.json, summary.csv and summary.md of a run, and reads summary.json.

A mean has two keys: its value under the field's column, and its interval under `..._interval`.

Does not compute anything.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path as FilePath
from typing import get_type_hints

from nap.common.files import InputError, atomic
from nap.common.records import Json, check_of, column
from nap.common.stats import Interval
from nap.evaluation.summary import Comparison, Mean, Record, Split
from nap.evaluation.tables import markdown

NUMBER = check_of(float | None)
# The comparisons of a record, and the prefix of their keys.
COMPARISONS = {"comparison": "", "without_cache": "without_cache_"}


def as_row(record: Record) -> dict[str, Json]:
    """The record as JSON has it."""
    found: dict[str, Json] = {}
    for f in fields(record):
        name, value = column(f.name), getattr(record, f.name)
        if isinstance(value, Mean):
            found |= {name: value.value, f"{name}_interval": value.interval}
        elif isinstance(value, Split):
            answer = f.name.removeprefix("when")
            found |= {f"{column(name)}{answer}": number for name, number in value._asdict().items()}
        elif f.name in COMPARISONS:
            told = value._asdict() if value else dict.fromkeys(Comparison._fields)
            found |= {f"{COMPARISONS[f.name]}{key}": part for key, part in told.items()}
        else:
            found[name] = value
    return found


def read_record(row: Mapping[str, object]) -> Record:
    """The record that `as_row` made. Raises InputError for a value of another type, or a key that is missing."""
    hints, values = get_type_hints(Record), {}
    for f in fields(Record):
        name, value = column(f.name), row.get(column(f.name))
        if name not in row and hints[f.name] not in (Split, Comparison | None) and f.default is MISSING:
            raise InputError(f"there is no {name}")
        try:
            if hints[f.name] is Mean:
                values[f.name] = Mean(_number(value), _interval(row.get(f"{name}_interval")))
            elif hints[f.name] is Split:
                answer = f.name.removeprefix("when")
                values[f.name] = Split(*(_number(row.get(f"{column(name)}{answer}")) for name in Split._fields))
            elif f.name in COMPARISONS:
                values[f.name] = _comparison(row, COMPARISONS[f.name])
            elif hints[f.name] is Interval:
                values[f.name] = _given(_interval(value))
            else:
                values[f.name] = check_of(hints[f.name])(value)
        except ValueError as error:
            raise InputError(f"{name} {error}, got {value!r:.60}") from None
    return Record(**values)


def _comparison(row: Mapping[str, object], prefix: str) -> Comparison | None:
    baseline, *numbers = (row.get(f"{prefix}{name}") for name in Comparison._fields)
    if baseline is None:
        return None
    gain, p_value, p_holm = map(_number, numbers)
    if not isinstance(baseline, str) or gain is None or p_value is None or p_holm is None:
        raise ValueError("has no comparison that is whole")
    return Comparison(baseline, gain, p_value, p_holm)


def _number(value: object) -> float | None:
    # Kept as it is written, because a mean may be a whole number.
    NUMBER(value)
    return value if isinstance(value, int | float) else None


def _interval(value: object) -> Interval | None:
    if value is None:
        return None
    low, high = map(_number, value) if isinstance(value, list | tuple) and len(value) == 2 else (None, None)
    if low is None or high is None:
        raise ValueError("must be an interval of two numbers")
    return Interval(low, high)


def _given(interval: Interval | None) -> Interval:
    if interval is None:
        raise ValueError("must be an interval of two numbers")
    return interval


def as_csv(records: Iterable[Record]) -> str:
    """Every number of every record; intervals as two columns."""
    rows = [_ends(as_row(record)) for record in records]
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _ends(row: Mapping[str, Json]) -> dict[str, Json]:
    """The row with the two ends of an interval in columns of their own."""
    found: dict[str, Json] = {}
    for key, value in row.items():
        name = key.removesuffix("_interval")
        if name == key:
            found[key] = value
        else:
            low, high = value if isinstance(value, tuple) else (None, None)
            found |= {f"{name}_low": low, f"{name}_high": high}
    return found


def as_json(records: Sequence[Record], indent: int | None = None) -> str:
    """The records as one JSON list."""
    return json.dumps([as_row(record) for record in records], indent=indent)


def write_summary(records: Sequence[Record], folder: str | FilePath) -> None:
    """summary.json, summary.csv and summary.md in the run's folder."""
    texts = {"json": as_json(records, indent=1) + "\n", "csv": as_csv(records), "md": markdown(records)}
    for suffix, text in texts.items():
        with atomic(FilePath(folder) / f"summary.{suffix}") as file:
            file.write(text)
