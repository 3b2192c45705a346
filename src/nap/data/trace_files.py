"""Traces as files: one JSON object a line, or Parquet. Every row that is read is checked.

Does not know other systems' formats (order/importers.py).
"""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import fields
from operator import index
from pathlib import Path
from typing import Any

from nap.common.files import InputError, placed, write_jsonl
from nap.common.parquet import write_parquet
from nap.common.rows import read_rows
from nap.common.text import check_known
from nap.data.trace import TRACE_VERSION, Cost, Event, RunnerUp, Trace, check_trace, check_version

# A trace as a JSON object. Its contents are unchecked until `trace_from_row` has read it.
Row = dict[str, Any]
FIELDS = frozenset(f.name for f in fields(Trace))


def trace_to_row(trace: Trace) -> Row:
    """The trace as one JSON object."""
    row = {f.name: getattr(trace, f.name) for f in fields(trace)}
    # JSON has no nan: an unknown probability is null.
    row["events"] = [
        [*event[:4], None if math.isnan(event.probability) else event.probability] for event in trace.events
    ]
    row["costs"] = [[*cost] for cost in trace.costs]
    row["vocabulary"] = {str(token): text for token, text in trace.vocabulary.items()}
    if near := row.pop("runners_up"):
        row["runners_up"] = [[[*runner] for runner in step] for step in near]
    return row


def trace_from_row(row: Row) -> Trace:
    """The checked trace of one JSON object. Raises InputError for anything that is not a trace."""
    # Before the fields, because a later version may have other fields.
    if "version" not in row:
        raise InputError(f"not a trace: it has no version; its fields are {', '.join(map(repr, row))[:80] or 'none'}")
    check_version(row["version"])
    for name in sorted(row.keys() - FIELDS):
        check_known("trace field", name, sorted(FIELDS))
    try:
        row = dict(row)
        events = [*row["events"]]
        *numbers, probabilities = zip(*events, strict=True) if events else [()] * 5
        known = [math.nan if c is None else float(c) for c in probabilities]
        row["events"] = tuple(map(Event, *(map(index, column) for column in numbers), known))
        for name, kind in (("initial", index), ("region", index), ("seconds", float), ("uncounted", index)):
            row[name] = tuple(map(kind, row.get(name, ())))
        costs = [*(row.get("costs") or ())]
        row["costs"] = tuple(map(Cost, *(map(index, column) for column in zip(*costs, strict=True)))) if costs else ()
        near = row.get("runners_up") or ()
        row["runners_up"] = tuple(tuple(RunnerUp(index(p), float(gap)) for p, gap in step) for step in near)
        row["version"] = TRACE_VERSION
        row["forwards"], row["mask_id"] = index(row["forwards"]), index(row["mask_id"])
        row["vocabulary"] = {int(token): str(text) for token, text in row.get("vocabulary", {}).items()}
        trace = Trace(**row)
    except KeyError as error:
        raise InputError(f"not a trace: it lacks {error}") from None
    except (TypeError, AttributeError, ValueError, OverflowError) as error:
        raise InputError(f"not a trace: {error}") from None
    return check_trace(trace)


def write_traces(traces: Iterable[Trace], path: str | Path) -> None:
    """Write traces as JSONL or, for a name that ends in .parquet, Parquet. Raises InputError for what is no trace.

    >>> import nap
    >>> result = nap.decode(nap.load("arith-nap"), "Ann has 2 pears . How many has Ann ?")
    >>> nap.write_traces([result.trace], "one.parquet")
    """
    if isinstance(traces, Trace | str) or not isinstance(traces, Iterable):
        raise InputError(f"traces must be a list of traces, got {traces!r:.60}; give {_FIX}")
    path = Path(path)
    rows = (trace_to_row(_held(trace)) for trace in traces)
    if path.suffix != ".parquet":
        write_jsonl(path, rows)
        return
    import pyarrow as pa

    columns: dict[str, list[object]] = {f.name: [] for f in fields(Trace)}
    for row in rows:
        row["vocabulary"] = json.dumps(row["vocabulary"], ensure_ascii=False)
        row["setting"] = json.dumps(row["setting"], ensure_ascii=False)
        row["events"] = [dict(zip(Event._fields, event, strict=True)) for event in row["events"]]
        near = row.setdefault("runners_up", [])
        row["runners_up"] = [[dict(zip(RunnerUp._fields, one, strict=True)) for one in step] for step in near]
        for name, value in row.items():
            columns[name].append(value)
    numbers = (pa.int32(), pa.int8(), pa.int32(), pa.int32(), pa.float64())
    event_type = pa.struct(list(zip(Event._fields, numbers, strict=True)))
    near_type = pa.struct([("position", pa.int32()), ("gap", pa.float64())])
    types = {
        "problem_id": pa.string(), "initial": pa.list_(pa.int32()), "region": pa.list_(pa.int16()),
        "events": pa.list_(event_type), "forwards": pa.int32(), "mask_id": pa.int32(),
        "seconds": pa.list_(pa.float64()), "costs": pa.list_(pa.list_(pa.int32())),
        "uncounted": pa.list_(pa.int32()), "vocabulary": pa.string(),
        "runners_up": pa.list_(pa.list_(near_type)),
        "setting": pa.string(), "answer": pa.string(), "correct": pa.bool_(), "version": pa.int32(),
    }  # fmt: skip
    write_parquet(path, pa.table({name: pa.array(values, types[name]) for name, values in columns.items()}))


_FIX = "[trace], or [result.trace] of a result"


def _held(trace: object) -> Trace:
    if not isinstance(trace, Trace):
        raise InputError(f"traces must be a list of traces, got one that holds {trace!r:.60}; give {_FIX}")
    return trace


def read_traces(path: str | Path) -> Iterator[Trace]:
    """The traces of a file, or of a run's folder, each checked. Raises InputError that names the file and the row."""
    path = Path(path)
    if path.is_dir() and (path / "traces.jsonl").exists():
        path = path / "traces.jsonl"
    for row in read_rows(path):
        with placed(row.where):
            yield trace_from_row(_unpacked(row.value))


def _unpacked(row: Row) -> Row:
    """A row of Parquet in the form that JSON has; any other row is returned unchanged."""
    if not isinstance(row.get("vocabulary"), str):
        return row
    try:
        events = [tuple(event[name] for name in Event._fields) for event in row["events"]]
        near = [[tuple(one[name] for name in RunnerUp._fields) for one in step] for step in row.get("runners_up") or ()]
        row = row | {"events": events, "runners_up": near}
        return row | {name: json.loads(row[name]) for name in ("vocabulary", "setting")}
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise InputError(f"not a trace: {error!s:.100}") from None
