"""Training samples: a problem, several paths and the summary written from them; read and written as Parquet.

Does not choose the paths (curation) or lay them out (canvas).
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import islice
from pathlib import Path as FilePath

from nap.common.files import InputError, atomic
from nap.common.rows import read_rows
from nap.data.problems import Problem

# How many samples are in memory while a file of them is read or written.
SAMPLE_ROWS = 1000
WANTED = "a row has id, task, prompt, answer, meta, paths and summary: nap curate makes them of problems and solutions"


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


def sample_to_row(sample: Sample) -> dict[str, object]:
    """The sample as one flat row."""
    meta, paths = json.dumps(sample.problem.meta, ensure_ascii=True), [asdict(path) for path in sample.paths]
    return {**asdict(sample.problem), "meta": meta, "paths": paths, "summary": sample.summary}


def read_samples(path: str | FilePath) -> Iterator[Sample]:
    """The samples of a file, one after the other. Raises InputError for a file that holds none."""
    for row in read_rows(path):
        try:
            sample = sample_from_row(row.value)
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            why = str(error)
            if isinstance(error, KeyError):
                why = f"it has no {error}; it has {', '.join(map(str, row.value)) or 'nothing'}"
            raise InputError(
                f"{row.where} does not hold samples as `nap curate` writes them ({why:.120}); {WANTED}"
            ) from None
        yield sample


def sample_from_row(row: Mapping[str, object]) -> Sample:
    """The sample of one row of `sample_to_row`. Raises KeyError, TypeError or ValueError for another row."""
    texts = {f.name: _text(row[f.name], f.name) for f in fields(Problem) if f.name != "meta"}
    meta = json.loads(row["meta"]) if isinstance(row["meta"], str) else row["meta"]
    if not isinstance(meta, dict):
        raise TypeError("meta is not an object")
    if not isinstance(written := row["paths"], list):
        raise TypeError("paths is no list")
    paths = tuple(_path(path, number) for number, path in enumerate(written, 1))
    # Nothing is an empty text: which of them can be trained on is not asked here.
    summary = _text("" if row["summary"] is None else row["summary"], "summary")
    return Sample(problem=Problem(**texts, meta=meta), paths=paths, summary=summary)


def _path(row: object, number: int) -> Path:
    """A path of a row, whatever else others noted of it."""
    if not isinstance(row, Mapping):
        raise TypeError(f"path {number} is no object")
    if "text" not in row:
        raise TypeError(f"path {number} has no text")
    path = Path(**{f.name: row[f.name] for f in fields(Path) if f.name in row})
    for name in ("answer", "source"):
        if (value := getattr(path, name)) is not None:
            _text(value, f"the {name} of path {number}")
    if not isinstance(path.correct, bool | None):
        raise TypeError(f"correct of path {number} is neither true nor false")
    return replace(path, text=_text("" if path.text is None else path.text, f"the text of path {number}"))


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} is {'empty' if value is None else 'no text'}")
    return value


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
