"""Reads the rows of a Parquet file as JSON values, a few at a time, and writes tables.

A few bytes of a Parquet file can stand for billions of values. The memory that a file may take is therefore bounded
before and while it is read, each bound with its reason.

Does not know what the rows mean.
"""

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from nap.common.files import InputError, atomic, open_input
from nap.common.footer import read_footer

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from numpy.typing import NDArray

# Values of one column in one row group: half a gigabyte of numbers in Arrow, or 200,000 traces of 250 events.
MOST_VALUES = 1 << 26
# What is in memory at a time, roughly: values of one column, bytes of their texts in Arrow, bytes of all as Python
# objects.
BATCH_VALUES, BATCH_TEXT, BATCH_BYTES = 1 << 20, 256 << 20, 64 << 20
BATCH_ROWS = 1000
# Rough size in CPython of a row's dictionary, and of one value, in bytes.
ROW_BYTES, VALUE_BYTES = 500, 50
# Bytes that all rows may take as Python objects for each byte of the file (columns with the same value in every row
# reach 100), and the bytes that they may take in any case.
MOST_TIMES, ALWAYS_FITS = 400, 1 << 30


class Bytes(str):
    """The text that stands for bytes that are no text, which JSON does not have: `<3 bytes>`."""


def read_parquet(path: str | Path, columns: Collection[str] | None = None) -> list[dict[str, object]]:
    """All rows of a Parquet file. Raises InputError if it is absent, cut short, too large or not Parquet.

    columns  read those of these that the file has; by default all
    """
    with open_input(path) as file:
        return [*parquet_rows(path, file, columns)]


def write_parquet(path: str | Path, table: "pa.Table") -> None:
    """Write a table, whole or not at all."""
    import pyarrow.parquet as pq

    with atomic(path, "wb") as file:
        pq.write_table(table, file, compression="zstd")


def parquet_rows(
    path: str | Path, file: BinaryIO, columns: Collection[str] | None = None
) -> Iterator[dict[str, object]]:
    """The rows in order. Raises InputError for a file that is damaged, cut, or would become too large."""
    import pyarrow as pa

    # What pyarrow raises on damaged files. ValueError also stands for text that is not UTF-8 and dates outside Python's
    # range.
    damaged = (
        pa.ArrowException, OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError,
        MemoryError, RecursionError,
    )  # fmt: skip
    try:
        yield from _rows(path, file, columns)
    except InputError:
        raise
    except damaged as error:
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{path} is not a whole Parquet file ({why:.160}); was its write cut?") from None


def _rows(path: str | Path, file: BinaryIO, columns: Collection[str] | None) -> Iterator[dict[str, object]]:
    import pyarrow.parquet as pq

    most = max(ALWAYS_FITS, MOST_TIMES * os.fstat(file.fileno()).st_size)
    chunks = read_footer(file)
    if (values := max((chunk.values for chunk in chunks), default=0)) > MOST_VALUES:
        raise InputError(f"{path} has {values} values of a column in one row group; write it with smaller ones")
    # Texts that repeat in lists stay in their dictionary, however many there are. Other columns have so few texts in a
    # batch that they fit one by one, which is faster than a dictionary for each batch.
    texts = [chunk for chunk in chunks if chunk.is_text and chunk.has_dictionary]
    repeated = any(len(text.path) > 1 and text.values * text.size > BATCH_TEXT for text in texts)
    opened = _once(
        path,
        pq.ParquetFile(file, read_dictionary=[".".join(text.path) for text in texts if repeated], pre_buffer=False),
    )
    by_values = min((BATCH_VALUES * chunk.rows // max(chunk.values, 1) for chunk in chunks), default=BATCH_ROWS)
    by_text = min((BATCH_TEXT // max(text.size, 1) for text in texts if not repeated), default=BATCH_ROWS)
    size = max(1, min(BATCH_ROWS, by_values, by_text))
    number, left = 0, most - ROW_BYTES * opened.metadata.num_rows
    names = None if columns is None else [name for name in opened.schema_arrow.names if name in columns]
    for batch in opened.iter_batches(size, columns=names, use_threads=False) if left > 0 else ():
        for part in _parts(path, number, batch):
            left -= _weight(part)
            if left > 0:
                yield from _json_rows(part) if _has_others(part) else part.to_pylist()
                number += len(part)
        if left <= 0:
            break
    if left <= 0:
        raise InputError(
            f"{path} stands for more than {most >> 20} MB from row {number + 1} on, which is out of all proportion to "
            "its size; give a part of it"
        )


def _once(path: str | Path, opened: "pq.ParquetFile") -> "pq.ParquetFile":
    """The file. Raises InputError for two columns of one name, of which only one could be read."""
    if doubled := [name for name, count in Counter(opened.schema_arrow.names).items() if count > 1]:
        raise InputError(f"{path}: two columns have the name {doubled[0]!r}; rename or drop one")
    return opened


def _parts(path: str | Path, before: int, batch: "pa.RecordBatch") -> Iterator["pa.RecordBatch"]:
    """The batch in parts that are small as Python objects."""
    if _weight(batch) <= BATCH_BYTES:
        yield batch
    elif len(batch) == 1:
        raise InputError(f"{path}, row {before + 1}: more than {BATCH_BYTES >> 20} MB in one row")
    else:
        half = len(batch) // 2
        yield from _parts(path, before, batch.slice(0, half))
        yield from _parts(path, before + half, batch.slice(half))


def _weight(batch: "pa.RecordBatch") -> int:
    """Bytes that the values take as Python objects, about."""
    return sum(map(_bytes, batch.columns))


def _bytes(array: "pa.Array") -> int:
    import pyarrow as pa

    own = VALUE_BYTES * len(array)
    if isinstance(array, pa.DictionaryArray):
        # The dictionary may be far longer than the batch, so only the entries that the batch uses are looked at.
        distinct, counts = array.indices.drop_null().value_counts().flatten()
        return own + int(_lengths(array.dictionary.take(distinct)) @ counts.to_numpy())
    if isinstance(array, pa.StructArray):
        return own + sum(map(_bytes, array.flatten()))
    if isinstance(array, pa.MapArray):
        held = slice(array.offsets[0].as_py(), array.offsets[-1].as_py())
        return own + _bytes(array.keys[held]) + _bytes(array.items[held])
    # Lists of all kinds, and their views.
    if callable(unnested := getattr(array, "flatten", None)):
        return own + _bytes(unnested())
    return own + int(_lengths(array).sum())


def _lengths(array: "pa.Array") -> "NDArray[np.int64]":
    """The length in bytes of each text of an array; empty where it holds something else."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if str(array.type).endswith("_view"):
        array = array.cast(pa.large_binary())
    if not any(word in str(array.type) for word in ("string", "binary")):
        return np.zeros(len(array), np.int64)
    return pc.call_function("binary_length", [array]).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)


def _has_others(batch: "pa.RecordBatch") -> bool:
    """Whether there may be values that JSON does not have."""
    return any(
        word in str(batch.schema.types)
        for word in ("binary", "date", "time", "decimal", "duration", "map", "extension")
    )


def _json_rows(part: "pa.RecordBatch") -> list[dict[str, object]]:
    """The rows as JSON would have them. A column of bytes is text if all of it is: many systems write text so."""
    names, columns = part.schema.names, list[list[object]]()
    for column in part.columns:
        values = column.to_pylist()
        try:
            columns.append([_plain(value, _decoded) for value in values])
        except UnicodeDecodeError:
            columns.append([_plain(value, _counted) for value in values])
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _decoded(value: bytes) -> str:
    if 0 in value:
        raise UnicodeDecodeError("utf-8", value, value.index(0), value.index(0) + 1, "no text has this byte")
    return value.decode()


def _counted(value: bytes) -> Bytes:
    return Bytes(f"<{len(value)} bytes>")


def _plain(value: object, text: Callable[[bytes], str]) -> object:
    """The value as JSON would have it: dates become text, and maps objects. `text` makes text of bytes."""
    if isinstance(value, dict):
        # An image or a sound of the hub's datasets stands under `bytes`.
        return {str(name): _plain(part, _counted if name == "bytes" else text) for name, part in value.items()}
    if isinstance(value, list | tuple):
        if value and all(isinstance(part, tuple) for part in value):  # a map
            return {str(_plain(name, text)): _plain(part, text) for name, part in value}
        return [_plain(part, text) for part in value]
    if isinstance(value, bytes):
        return text(value)
    return value if isinstance(value, str | int | float | None) else str(value)
