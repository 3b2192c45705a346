"""Reads what a report can use from a run's folder or a file of traces, and notes what is missing.

A run that is still being written, was killed, comes from another version or is damaged in places is read as far as
possible, and everything left out becomes a note. Only something that is not a run at all is refused.

Does not choose what to show (gallery.py) and does not make the page (page.py).
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import TypeVar

from nap.common.files import InputError, read_json, read_text
from nap.common.journal import read_journal
from nap.common.parquet import read_parquet
from nap.common.records import Json, columns, from_row
from nap.common.rows import read_values
from nap.common.text import printable
from nap.data.cells import Cell, Cells, cell_of, with_cache
from nap.data.trace import Trace
from nap.data.trace_files import read_traces, trace_from_row
from nap.evaluation.explained import Explained
from nap.evaluation.record_files import read_record
from nap.evaluation.rows import Row, Seconds, order_columns, read_seconds
from nap.evaluation.summary import Record, grouped, summarise
from nap.evaluation.ties import tie_columns
from nap.evaluation.verdict import Verdict, verdict
from nap.order.order import holds_orders

Found = TypeVar("Found", dict[str, Json], list[Json])

FILES = ("setting.json", "rows.parquet", "journal.jsonl", "traces.jsonl")
# Model output takes most of a file of rows, and no report shows it.
UNREAD = ("text", "paths", "answer", "tokens")


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A trace with the setting under which it is shown, and what its model says of its parallel steps, if known."""

    trace: Trace
    model: str
    policy: str
    pace: str
    cache: str = "none"
    explained: Explained | None = None

    @property
    def shown_policy(self) -> str:
        """The policy, and which cache it ran with."""
        return with_cache(self.policy, self.cache)

    @property
    def cell(self) -> str:
        """The name of its cell, as in the rows."""
        return Cell(self.model, self.policy, self.pace, self.cache).name


def numbered_cells(traces: Sequence[Recorded]) -> list[list[int]]:
    """The numbers of the traces of each setting."""
    cells: dict[str, list[int]] = {}
    for i, one in enumerate(traces):
        cells.setdefault(one.cell, []).append(i)
    return list(cells.values())


def by_cell(traces: Sequence[Recorded]) -> list[list[Recorded]]:
    """The traces of each setting."""
    return [[traces[i] for i in members] for members in numbered_cells(traces)]


@dataclass(frozen=True, kw_only=True)
class Depth:
    """The mean forwards over a cell's problems with one critical path, and how many problems these are."""

    cell: str
    critical_path: int
    forwards: float
    problems: int


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run.

    setting   the content of its setting.json
    rows      those that could be read
    records   those of `summarise`
    depths    mean forwards by cell and critical path, where it is known
    notes     what is missing, in sentences
    """

    name: str
    task: str = ""
    setting: Mapping[str, Json] = field(default_factory=dict)
    rows: Sequence[Row] = ()
    records: list[Record] = field(default_factory=list)
    depths: list[Depth] = field(default_factory=list)
    traces: list[Recorded] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> Verdict | None:
        """The verdict on the records, if there are any."""
        return verdict(self.rows, self.records)

    @property
    def models(self) -> list[str]:
        """The models of records and traces."""
        return [*dict.fromkeys(one.model for one in (*self.records, *self.traces))]


def read_run(path: str | FilePath) -> Run:
    """The run of a folder that `nap eval --out` made, or of a file of traces. Raises InputError for anything else."""
    path = FilePath(path)
    if path.is_dir():
        if not any((path / name).exists() for name in FILES):
            raise InputError(f"{path} holds no run: none of {', '.join(FILES)}; give a folder made by nap eval --out")
        # As the harness's model keeps them.
        alone = [name for name in FILES if (path / name).exists()] == ["traces.jsonl"]
        return _read_trace_file(path / "traces.jsonl") if alone else _read_folder(path)
    if path.suffix not in (".jsonl", ".parquet"):
        raise InputError(f"{path} is no run; give a folder made by nap eval --out, or a .jsonl or .parquet of traces")
    return _read_trace_file(path)


def _read_folder(folder: FilePath) -> Run:
    notes: list[str] = []
    setting = _read_json(folder / "setting.json", dict, notes) or {}
    if (kind := setting.get("kind", "eval")) != "eval":
        raise InputError(f"{folder} is a run of nap {printable(str(kind))}; give a folder made by nap eval --out")
    rows, traces = _finished(folder, notes)
    if rows is None:
        rows, traces = _unfinished(folder / "journal.jsonl", notes)
    records = _written_summary(folder, rows) or _summarised(rows, _seconds(folder), notes)
    if not rows:
        notes.append("there are no rows yet: run the same nap eval command to go on")
    elif not traces:
        notes.append("no traces were kept, so there is nothing to replay (nap eval --traces N keeps some)")
    task = str(setting.get("task") or (rows[0].task if rows else ""))
    return Run(
        name=str(folder), task=task, setting=setting, rows=rows, records=records,
        depths=_depths(rows), traces=traces, notes=notes,
    )  # fmt: skip


def _read_trace_file(path: FilePath) -> Run:
    notes: list[str] = []
    cells = Cells()
    each = [*cells.once(_traces(path, notes))]
    traces = [Recorded(trace=trace, **cells.named(own)._asdict()) for trace, own in each]
    notes += cells.notes()
    rows = [_row(one, one.trace.correct) for one in traces if one.trace.correct is not None]
    if unknown := len(traces) - len(rows):
        notes.append(f"{unknown} of {len(traces)} traces do not say whether they are right: no accuracy of them")
    if not traces:
        _refuse_orders(path)
        notes.append("the file holds no traces")
    records = _summarised(rows, [], notes)
    return Run(name=str(path), rows=rows, records=records, traces=traces, notes=notes)


def _refuse_orders(path: FilePath) -> None:
    """Raise InputError for a file of bare orders, of which there is nothing to show."""
    try:
        _, first = next(iter(read_values(path)), ("", None))
    except InputError:
        return
    if holds_orders(first):
        raise InputError(f"{path} holds bare orders and no traces, so there is nothing to show: nap order measures it")


def _read_json(path: FilePath, kind: type[Found], notes: list[str]) -> Found | None:
    """The value, or None and a note."""
    try:
        if isinstance(value := read_json(path), kind):
            return value
        notes.append(f"{path.name} is not what nap eval writes")
    except InputError as error:
        notes.append(f"{path.name} cannot be read ({str(error)[:100]})")
    return None


# Rows and traces


def _finished(folder: FilePath, notes: list[str]) -> tuple[list[Row] | None, list[Recorded]]:
    """Rows and traces of a finished run; rows are None where it is not finished."""
    if not (folder / "rows.parquet").exists():
        return None, []
    try:
        wanted = [name for name in columns(Row) if name not in UNREAD]
        rows = _usable(read_parquet(folder / "rows.parquet", wanted), notes)
    except InputError as error:
        notes.append(f"{error}; the journal is shown instead")
        return None, []
    traces = list(_traces(folder / "traces.jsonl", notes)) if (folder / "traces.jsonl").exists() else []
    return rows, _labelled(traces, rows)


def _unfinished(journal: FilePath, notes: list[str]) -> tuple[list[Row], list[Recorded]]:
    """The rows and traces in a journal so far, without lines that are incomplete."""
    if not journal.exists():
        return [], []
    rows, traces, bad = dict[object, object](), dict[object, Recorded](), 0
    for entry, _ in read_journal(journal):
        row, trace = ((entry or {}).get(name) for name in ("row", "trace"))
        if not isinstance(row, dict) or not isinstance(trace, dict | None):
            bad += 1
            continue
        # A row that was done again, for another problem with the same name, is there twice; the later one counts.
        key = str(row.get("cell")), str(row.get("problem_id"))
        rows[key] = row
        try:
            if trace:
                model, policy, pace = (str(row[name]) for name in ("model", "policy", "pace"))
                named = Cell(model, policy, pace, str(row.get("cache") or "none"))
                traces[key] = Recorded(trace=trace_from_row(trace), **named._asdict())
        except (InputError, KeyError):
            bad += 1
    usable = _usable(rows.values(), notes)
    notes.append(f"this run is still being written, or was stopped: {len(usable)} rows so far, read from its journal")
    if bad:
        notes.append(f"{bad} lines of the journal cannot be read and are left out")
    # By cell, as in a finished run; a journal is in the order in which the batches ended.
    return sorted(usable, key=lambda row: row.cell), [*traces.values()]


def _usable(given: Iterable[object], notes: list[str]) -> list[Row]:
    """The valid rows; the others are counted in a note with the reason of the first."""
    rows, bad = [], []
    for row in given:
        try:
            rows.append(from_row(Row, row if isinstance(row, dict) else {}))
        except InputError as error:
            bad.append(str(error))
    if bad:
        notes.append(f"{len(bad)} rows lack a column or hold something else in it, and are left out ({bad[0]:.120})")
    return rows


def _traces(path: FilePath, notes: list[str]) -> Iterator[Trace]:
    """The traces that can be read; the others are counted in a note with the reason of the first."""
    if path.suffix == ".parquet":
        yield from read_traces(path)
        return
    bad = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield trace_from_row(json.loads(line))
        except (InputError, ValueError, AttributeError, RecursionError) as error:
            bad.append(f"line {number}: {printable(str(error), 120)}")
    if bad:
        notes.append(f"{len(bad)} traces of {path.name} cannot be read and are left out ({bad[0]})")


def _labelled(traces: Sequence[Trace], rows: Sequence[Row]) -> list[Recorded]:
    """The traces with the names of their cells: a run writes both by cell, with the same problems in each cell."""
    cells = list({row.cell: row for row in rows}.values())
    each, rest = divmod(len(traces), len(cells) or 1)
    ids = [trace.problem_id for trace in traces]
    if not cells or rest or ids != ids[:each] * len(cells):
        return [recorded(trace) for trace in traces]
    named = [cell for cell in cells for _ in range(each)]
    return [
        Recorded(trace=trace, model=cell.model, policy=cell.policy, pace=cell.pace, cache=cell.cache or "none")
        for trace, cell in zip(traces, named, strict=True)
    ]


def recorded(trace: Trace) -> Recorded:
    """A trace with the cell that its own setting names."""
    return Recorded(trace=trace, **cell_of(trace)._asdict())


def explain_runs(runs: Sequence[Run], explained: Sequence[Explained], file: str) -> list[Run]:
    """The runs with what is known of their traces. Raises InputError where it is about none of them."""
    known: dict[tuple[str, str], list[Explained]] = {}
    for one in explained:
        known.setdefault((one.cell, one.problem_id), []).append(one)
    found = [replace(run, traces=[_explained(one, known) for one in run.traces]) for run in runs]
    if not any(one.explained for run in found for one in run.traces):
        raise InputError(f"{file} explains no trace of these runs; was it made from them, by nap trace explain --out?")
    return found


def _explained(one: Recorded, known: Mapping[tuple[str, str], Sequence[Explained]]) -> Recorded:
    about = known.get((cell_of(one.trace).name, one.trace.problem_id), ())
    return replace(one, explained=next((found for found in about if found.of(one.trace)), one.explained))


def _row(one: Recorded, correct: bool) -> Row:
    """A row as a sweep would have written it."""
    return Row(
        cell=one.cell, model=one.model, policy=one.policy, pace=one.pace, task="", problem_id=one.trace.problem_id,
        correct=correct, cache=one.cache, **vars(order_columns(one.trace)), **vars(tie_columns(one.trace)),
    )  # fmt: skip


# Records


def _written_summary(folder: FilePath, rows: Sequence[Row]) -> list[Record] | None:
    """The run's own summary, which has the baseline that was asked for, if it matches these rows exactly."""
    if not (folder / "rows.parquet").exists() or not (folder / "summary.json").exists():
        return None
    try:
        found = _read_json(folder / "summary.json", list, []) or []
        records = [read_record(record if isinstance(record, dict) else {}) for record in found]
    except InputError:
        return None
    counts = {cell: len(members) for cell, members in grouped(rows).items()}
    return records if records and counts == {record.cell: record.problems for record in records} else None


def _summarised(rows: Sequence[Row], seconds: Sequence[Seconds], notes: list[str]) -> list[Record]:
    """Records of the rows; without comparisons where the cells are not of the same problems yet."""
    if not rows:
        return []
    try:
        return summarise(rows, seconds)
    except InputError as error:
        notes.append(f"there is no comparison with a baseline: {printable(str(error), 200)}")
    return summarise(rows, seconds, compared=False)


def _depths(rows: Sequence[Row]) -> list[Depth]:
    forwards: dict[tuple[str, int], list[float]] = {}
    for row in rows:
        if row.critical_path and row.forwards:
            forwards.setdefault((row.cell, row.critical_path), []).append(row.forwards)
    return [
        Depth(cell=cell, critical_path=depth, forwards=sum(values) / len(values), problems=len(values))
        for (cell, depth), values in sorted(forwards.items())
    ]


def _seconds(folder: FilePath) -> list[Seconds]:
    """The seconds of each row; an empty list where there are none, which leaves a column empty."""
    try:
        return read_seconds(folder / "seconds.parquet")
    except InputError:
        return []


def finite(value: Json) -> Json:
    """The value with None in place of numbers that JSON does not have."""
    if isinstance(value, dict):
        return {str(key): finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
