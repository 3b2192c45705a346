"""The data that moves through NAP: problems, samples, steps, traces, completions.

Frozen dataclasses, written as JSONL or Parquet, versioned. Everything downstream of decoding (order, evaluation, the
page) reads a `Trace` and never a model. Knows nothing of torch, tokenizers or tasks.
"""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import islice
from operator import index
from pathlib import Path as FilePath
from typing import Any, NamedTuple

from nap.files import InputError, atomic, read_jsonl_objects

TRACE_VERSION = 1
# Samples that are in memory at a time while a file of them is read or written.
SAMPLE_ROWS = 1000

# What a canvas position is for. Path j is region j (from 0) and the summary is region P.
OUTSIDE, PROMPT, HEADER = -3, -2, -1

# What an event did to a position. A fill is padding that early stopping wrote without asking the model.
COMMIT, REMASK, EDIT, FILL = 0, 1, 2, 3


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A question and its checkable answer. `meta` holds what a task's checker needs (numbers, grid, critical path)."""

    id: str
    prompt: str
    answer: str
    task: str = ""
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Path:
    """One reasoning trajectory of a problem. `source` names the model that wrote it, where that is known."""

    text: str
    answer: str | None = None
    correct: bool | None = None
    source: str | None = None


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A training sample: a problem, P independent paths, and the summary written from them."""

    problem: Problem
    paths: tuple[Path, ...]
    summary: str


@dataclass(frozen=True, kw_only=True)
class Completion:
    """What a decoded canvas says: the text of each path and of the summary, and whether each closed with its tag."""

    paths: tuple[str, ...]
    summary: str
    closed: tuple[bool, ...]


class Event(NamedTuple):
    """One change of one canvas position. `probability` is nan where the source does not know it."""

    step: int
    kind: int
    position: int
    token: int
    probability: float


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one step changed in one row: its events, in the order the policy gave, and the whole batch's wall time."""

    row: int
    index: int
    events: tuple[Event, ...]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Trace:
    """How one canvas was filled.

    initial    L token ids before the first step: prompt, clamped headers, masks
    region     L region codes (OUTSIDE, PROMPT, HEADER, 0..P-1 for paths, P for the summary)
    events     every change, by step
    forwards   model calls this row took part in
    seconds    wall time of each step, shared with the other rows of the batch
    uncounted  token ids that are padding or end of text: left out of the counts unless asked for
    vocabulary text of every token id that occurs, so that a trace can be read without its model
    setting    model, revision, policy, budget, canvas, seed, versions: what is needed to run it again
    """

    problem_id: str
    initial: tuple[int, ...]
    region: tuple[int, ...]
    events: tuple[Event, ...]
    forwards: int
    mask_id: int
    seconds: tuple[float, ...] = ()
    uncounted: tuple[int, ...] = ()
    vocabulary: dict[int, str] = field(default_factory=dict)
    setting: dict[str, Any] = field(default_factory=dict)
    answer: str | None = None
    correct: bool | None = None
    version: int = TRACE_VERSION

    @property
    def paths(self) -> int:
        """P, the number of path slots."""
        # A canvas without a summary has one path, which is region 0.
        return max([1, *self.region])

    def canvas_at(self, step: int) -> list[int]:
        """The L token ids after `step` steps (0 gives the initial canvas)."""
        ids = list(self.initial)
        for event in self.events:
            if event.step >= step:
                break
            ids[event.position] = self.mask_id if event.kind == REMASK else event.token
        return ids

    @property
    def final(self) -> list[int]:
        """The L token ids at the end."""
        return self.canvas_at(self.steps)

    @property
    def steps(self) -> int:
        """S, the number of steps."""
        return self.events[-1].step + 1 if self.events else 0


def check_trace(trace: Trace) -> Trace:
    """The trace itself. Raises InputError where it contradicts itself: traces come from files and other systems."""
    length = len(trace.initial)
    _check_version(trace.version)
    for name, kind in (("problem_id", str), ("setting", dict), ("answer", str | None), ("correct", bool | None)):
        if not isinstance(value := getattr(trace, name), kind):
            raise InputError(f"a trace's {name} cannot be {value!r:.60}")
    if len(trace.region) != length:
        raise InputError(f"trace {trace.problem_id!r} has {length} tokens but {len(trace.region)} regions")
    # Every slot holds a token, so no code reaches the length: what is larger would only cost time and memory.
    if not all(OUTSIDE <= code < length for code in trace.region):
        raise InputError(f"trace {trace.problem_id!r}: a region code is not {OUTSIDE} to {length - 1}")
    counts = [trace.forwards, trace.mask_id, *trace.initial, *trace.uncounted]
    counts += [n for event in trace.events for n in (event.step, event.token)]
    if not all(0 <= n < 2**31 for n in counts):
        raise InputError(f"trace {trace.problem_id!r}: a step, token or count is below 0 or above {2**31 - 1}")
    if not all(0 <= seconds < math.inf for seconds in trace.seconds):
        raise InputError(f"trace {trace.problem_id!r}: seconds must be 0 or more and finite")
    ids, previous = list(trace.initial), 0
    for event in trace.events:
        if not 0 <= event.position < length:
            raise InputError(f"trace {trace.problem_id!r}: position {event.position} is outside its canvas of {length}")
        if event.kind not in (COMMIT, REMASK, EDIT, FILL) or event.step < previous:
            raise InputError(f"trace {trace.problem_id!r}: bad event {tuple(event)}; steps must rise, kinds be 0 to 3")
        masked = ids[event.position] == trace.mask_id
        if masked != (event.kind in (COMMIT, FILL)):
            state = "masked" if masked else "not masked"
            raise InputError(f"trace {trace.problem_id!r}, step {event.step}: position {event.position} is {state}")
        if event.kind != REMASK and event.token == trace.mask_id:
            raise InputError(f"trace {trace.problem_id!r}, step {event.step}: the mask is no token to commit")
        if not (math.isnan(event.probability) or 0 <= event.probability <= 1):
            raise InputError(f"trace {trace.problem_id!r}, step {event.step}: probability {event.probability}")
        ids[event.position] = trace.mask_id if event.kind == REMASK else event.token
        previous = event.step
    return trace


def _check_version(version: Any) -> None:
    if version != TRACE_VERSION:
        raise InputError(f"trace version {version!r} is not the {TRACE_VERSION} that this NAP reads; upgrade nap-dlm")


def trace_to_row(trace: Trace) -> dict[str, Any]:
    """The trace as one JSON object."""
    row = {f.name: getattr(trace, f.name) for f in fields(trace)}
    # JSON has no nan: an unknown probability is null.
    row["events"] = [
        [*event[:4], None if math.isnan(event.probability) else event.probability] for event in trace.events
    ]
    row["vocabulary"] = {str(token): text for token, text in trace.vocabulary.items()}
    return row


def trace_from_row(row: dict[str, Any]) -> Trace:
    """The checked trace of one JSON object. Raises InputError for anything that is none."""
    known = {f.name for f in fields(Trace)}
    # Before the fields: a later version may have others.
    _check_version(row.get("version"))
    if unknown := set(row) - known:
        raise InputError(f"unknown trace field {sorted(unknown)[0]!r}; known: {', '.join(sorted(known))}")
    try:
        row = dict(row)
        row["events"] = tuple(
            Event(index(s), index(k), index(p), index(t), math.nan if c is None else float(c))
            for s, k, p, t, c in row["events"]
        )
        for name, kind in (("initial", index), ("region", index), ("seconds", float), ("uncounted", index)):
            row[name] = tuple(kind(x) for x in row.get(name, ()))
        row["forwards"], row["mask_id"] = index(row["forwards"]), index(row["mask_id"])
        row["vocabulary"] = {int(token): str(text) for token, text in row.get("vocabulary", {}).items()}
        trace = Trace(**row)
    except KeyError as error:
        raise InputError(f"not a trace: it lacks {error}") from None
    except (TypeError, AttributeError, ValueError, OverflowError) as error:
        raise InputError(f"not a trace: {error}") from None
    return check_trace(trace)


def write_traces(traces: Iterable[Trace], path: str | FilePath) -> None:
    """Write traces as JSONL or, for a name that ends in .parquet, Parquet."""
    path = FilePath(path)
    rows = (trace_to_row(trace) for trace in traces)
    if path.suffix != ".parquet":
        with atomic(path) as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, list[Any]] = {f.name: [] for f in fields(Trace)}
    for row in rows:
        events = row.pop("events")
        row["vocabulary"] = json.dumps(row["vocabulary"], ensure_ascii=False)
        row["setting"] = json.dumps(row["setting"], ensure_ascii=False)
        row["events"] = [dict(zip(Event._fields, event, strict=True)) for event in events]
        for name, value in row.items():
            columns[name].append(value)
    event_type = pa.struct(
        [
            ("step", pa.int32()),
            ("kind", pa.int8()),
            ("position", pa.int32()),
            ("token", pa.int32()),
            ("probability", pa.float64()),
        ]
    )
    types = {
        "problem_id": pa.string(), "initial": pa.list_(pa.int32()), "region": pa.list_(pa.int16()),
        "events": pa.list_(event_type), "forwards": pa.int32(), "mask_id": pa.int32(),
        "seconds": pa.list_(pa.float64()), "uncounted": pa.list_(pa.int32()), "vocabulary": pa.string(),
        "setting": pa.string(), "answer": pa.string(), "correct": pa.bool_(), "version": pa.int32(),
    }  # fmt: skip
    table = pa.table({name: pa.array(values, types[name]) for name, values in columns.items()})
    with atomic(path, "wb") as file:
        pq.write_table(table, file, compression="zstd")


def read_traces(path: str | FilePath) -> Iterator[Trace]:
    """The traces of a JSONL or Parquet file, each checked. Raises InputError that names the file and the row."""
    path = FilePath(path)
    rows = _parquet_rows(path) if path.suffix == ".parquet" else read_jsonl_objects(path)
    for number, row in rows:
        try:
            yield trace_from_row(row)
        except InputError as error:
            raise InputError(f"{path}:{number}: {error}") from None


def _parquet_rows(path: FilePath) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, row in enumerate(read_parquet(path), 1):
        try:
            row["events"] = [tuple(event[name] for name in Event._fields) for event in row["events"]]
            row["vocabulary"] = json.loads(row["vocabulary"])
            row["setting"] = json.loads(row["setting"])
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise InputError(f"{path}:{number}: not a trace: {error}") from None
        yield number, row


def read_parquet(path: str | FilePath) -> list[dict[str, Any]]:
    """The rows of a Parquet file. Raises InputError if it is absent, cut short or not Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Not the path itself: pyarrow would read a folder as one table.
        with FilePath(path).open("rb") as file:
            return pq.read_table(file).to_pylist()
    except FileNotFoundError:
        raise InputError(f"no such file: {path}") from None
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError alone: text that is not UTF-8.
        raise InputError(
            f"{path} is not a whole Parquet file ({str(error).splitlines()[0]}); was its write cut?"
        ) from None


def write_samples(samples: Iterable[Sample], path: str | FilePath) -> int:
    """Write samples as Parquet, SAMPLE_ROWS of them in memory at a time. Returns how many there were."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.string()
    path_type = pa.struct([("text", text), ("answer", text), ("correct", pa.bool_()), ("source", text)])
    columns = {"id": text, "task": text, "prompt": text, "answer": text, "meta": text}
    schema = pa.schema(columns | {"paths": pa.list_(path_type), "summary": text})
    rows, count = (sample_to_row(sample) for sample in samples), 0
    with atomic(path, "wb") as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        while block := list(islice(rows, SAMPLE_ROWS)):
            writer.write_table(pa.Table.from_pylist(block, schema))
            count += len(block)
    return count


def sample_to_row(sample: Sample) -> dict[str, Any]:
    """The sample as one flat row."""
    row = asdict(sample.problem) | {"paths": [asdict(path) for path in sample.paths], "summary": sample.summary}
    return row | {"meta": json.dumps(sample.problem.meta, ensure_ascii=True)}


def read_samples(path: str | FilePath) -> Iterator[Sample]:
    """The samples of a Parquet file, a block at a time. Raises InputError for a file that holds none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with FilePath(path).open("rb") as file:
            for block in pq.ParquetFile(file).iter_batches(SAMPLE_ROWS):
                yield from map(sample_from_row, block.to_pylist())
    except FileNotFoundError:
        raise InputError(f"no such file: {path}") from None
    except (pa.ArrowException, OSError, LookupError, TypeError, ValueError) as error:
        raise InputError(f"{path} does not hold samples as `nap curate` writes them ({error!s:.80})") from None


def sample_from_row(row: dict[str, Any]) -> Sample:
    """The sample of one row of `sample_to_row`. Raises KeyError, TypeError or ValueError for another row."""
    names = [f.name for f in fields(Problem)]
    problem = Problem(**{name: row[name] for name in names} | {"meta": json.loads(row["meta"])})
    return Sample(problem=problem, paths=tuple(Path(**path) for path in row["paths"]), summary=row["summary"])


def concatenated(sample: Sample) -> Sample:
    """The long-chain form of a sample: the same trajectories written one after the other as a single path."""
    return Sample(
        problem=sample.problem,
        paths=(Path(text=join_paths([path.text for path in sample.paths])),),
        summary=sample.summary,
    )


def join_paths(texts: Sequence[str]) -> str:
    """The texts of several paths as one chain."""
    return " ; ".join(text.strip() for text in texts)
