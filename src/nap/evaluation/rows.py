"""The rows of a run: the results of one problem under one setting, declared once.

The columns of `rows.parquet` and the keys of a journal's rows are the fields of `Row`. A row is checked where it is
made and where it is read, so a stored run can always be written and summarised.

Does not decode or score (run.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path as FilePath
from types import NoneType
from typing import get_args, get_type_hints

from nap.common.files import InputError
from nap.common.parquet import read_parquet, write_parquet
from nap.common.records import Json, column, from_row, to_row
from nap.data.problems import Problem
from nap.data.trace import Trace
from nap.data.trace_files import trace_from_row, trace_to_row
from nap.evaluation.ties import TieColumns
from nap.order.measure import measure
from nap.order.order import order_of


@dataclass(frozen=True, kw_only=True)
class OrderColumns:
    """The columns for the order and cost of a trace (docs/counting.md). `path_...` are means over the paths."""

    n_tokens: int | None = None
    n_uncounted: int | None = None
    n_steps: int | None = None
    forwards: int | None = None
    tpf: float | None = None
    afp: float | None = None
    tau_b: float | None = None
    tied_share: float | None = None
    global_arness_at_1: float | None = None
    global_arness_at_1_optimistic: float | None = None
    global_arness_at_1_pessimistic: float | None = None
    global_arness_at_1_random: float | None = None
    local_arness_at_1: float | None = None
    path_global_arness_at_1: float | None = None
    path_global_arness_at_1_random: float | None = None
    path_local_arness_at_1: float | None = None
    path_tau_b: float | None = None
    queries: int | None = None
    guide_calls: int | None = None


@dataclass(frozen=True, kw_only=True)
class Solved:
    """The columns for the problem, setting and answer.

    cell             `model | policy | pace`, and ` | cache` where there is one
    index            the problem's place among those of the run
    closed           number of paths that closed their tag
    equations_right  share of the equations in the paths that hold
    critical_path    number of steps that the problem needs one after the other, if its task knows it
    cache            name of the cache of keys and values
    tokens           token ids of the slots, -1 for padding and end of text; used to compare two caches
    """

    cell: str
    model: str
    policy: str
    pace: str
    task: str
    problem_id: str
    index: int | None = None
    correct: bool
    answer: str | None = None
    text: str | None = None
    paths: tuple[str, ...] = ()
    closed: int | None = None
    equations_right: float | None = None
    critical_path: int | None = None
    cache: str | None = None
    tokens: tuple[int, ...] | None = None


# The order of the bases sets the order of the columns: a dataclass has the fields of its last base first.
@dataclass(frozen=True, kw_only=True)
class Row(TieColumns, OrderColumns, Solved):
    """One problem under one setting. None means not measured, or not known to the version that wrote the row."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A finished problem, as a journal holds it.

    seconds  its share of the wall time
    trace    the trace, if it is kept
    made_of  a digest of everything that it depends on; None in entries of earlier versions
    """

    row: Row
    seconds: float
    trace: Trace | None
    made_of: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Cell and problem."""
        return self.row.cell, self.row.problem_id

    def json(self) -> dict[str, Json]:
        """As one JSON object."""
        trace = trace_to_row(self.trace) if self.trace else None
        found = {"row": to_row(self.row), "seconds": self.seconds, "trace": trace}
        return found if self.made_of is None else found | {"made_of": self.made_of}

    @classmethod
    def read(cls, value: Mapping[str, object]) -> "Entry":
        """The entry of one JSON object. Raises InputError for anything else."""
        row, seconds, trace, made_of = (value.get(name) for name in ("row", "seconds", "trace", "made_of"))
        if not (isinstance(row, dict) and isinstance(trace, dict | None) and isinstance(seconds, int | float)):
            raise InputError("not an entry of a run, which has row, seconds and trace")
        return cls(
            row=from_row(Row, row), seconds=float(seconds), trace=trace_from_row(trace) if trace else None,
            made_of=made_of if isinstance(made_of, str) else None,
        )  # fmt: skip


def order_columns(trace: Trace) -> OrderColumns:
    """The order columns of a trace."""
    report = measure(order_of(trace), ks=(1,))
    path = report.path_mean.json() if report.path_mean else {}
    return from_row(OrderColumns, report.json() | {f"path_{name}": value for name, value in path.items()})


def critical_path(problem: Problem) -> int | None:
    """The problem's critical path, None if its task does not know it. Raises InputError for an invalid one."""
    found = problem.meta.get("critical_path")
    if found is not None and (not isinstance(found, int) or isinstance(found, bool) or not 0 <= found < 2**31):
        raise InputError(
            f"problem {problem.id!r:.60}: critical_path must be a whole number from 0 to {2**31 - 1}, "
            f"got {found!r:.60}; correct it, or leave it out"
        )
    return found


def write_rows(rows: Sequence[Row], path: FilePath) -> None:
    """Write rows as Parquet. A column without any value has the type null, as in all earlier versions."""
    _write(Row, rows, path)


@dataclass(frozen=True, kw_only=True)
class Seconds:
    """The wall time of a row. It is not a result, so it has a file of its own."""

    cell: str
    problem_id: str
    seconds: float


def write_seconds(entries: Sequence[Entry], path: FilePath) -> None:
    """Write the seconds of entries as Parquet."""
    found = [Seconds(cell=e.row.cell, problem_id=e.row.problem_id, seconds=e.seconds) for e in entries]
    _write(Seconds, found, path)


def read_seconds(path: FilePath) -> list[Seconds]:
    """The seconds of a run's rows. Raises InputError for a file that does not hold them."""
    return [from_row(Seconds, row) for row in read_parquet(path)]


def _write(kind: type, records: Sequence[Row] | Sequence[Seconds], path: FilePath) -> None:
    import pyarrow as pa

    types = {
        str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64(),
        tuple[str, ...]: pa.list_(pa.string()), tuple[int, ...]: pa.list_(pa.int64()),
    }  # fmt: skip
    hints, found = get_type_hints(kind), {}
    for field in fields(kind):
        values = [*map(attrgetter(field.name), records)]
        hint = hints[field.name]
        (held,) = [part for part in get_args(hint) if part is not NoneType] if NoneType in get_args(hint) else [hint]
        known = any(value is not None for value in values)
        found[column(field.name)] = pa.array(values, types[held] if known else pa.null())
    write_parquet(path, pa.table(found))
