"""The column list at the end of a Parquet file, read without pyarrow, which would crash on some damaged files.

The footer is a structure of Thrift's compact protocol (github.com/apache/parquet-format, parquet.thrift); a few of its
fields are read, by their numbers in that format.

Does not read any data, and does not check that the footer tells the truth.
"""

import os
from typing import Any, BinaryIO, NamedTuple

from nap.common.kinds import PARQUET

# A footer has about 200 bytes for each column of each row group; one of this size takes a second to read.
MOST = 16 << 20


class Chunk(NamedTuple):
    """A column in one row group: its path, how many values and rows it has, its bytes, whether its texts repeat."""

    path: tuple[str, ...]
    is_text: bool
    values: int
    rows: int
    size: int
    has_dictionary: bool


def read_footer(file: BinaryIO) -> list[Chunk]:
    """The chunks of a Parquet file. Raises ValueError, LookupError or TypeError for an invalid footer."""
    file.seek(max(0, os.fstat(file.fileno()).st_size - 8))
    end = file.read(8)
    length = int.from_bytes(end[:4], "little")
    if end[4:] != PARQUET or not 0 < length <= MOST:
        raise ValueError("its end is not that of a Parquet file")
    file.seek(-8 - length, os.SEEK_END)
    footer = _Thrift(file.read(length)).struct()
    return [_chunk(column[3], group[3]) for group in footer.get(4, ()) for column in group.get(1, ())]


def _chunk(column: dict[int, Any], rows: int) -> Chunk:
    path = tuple(part.decode() for part in column[3])
    # 6 is BYTE_ARRAY, the only type whose values have lengths of their own.
    return Chunk(path, column[1] == 6, column[5], rows, column[6], 11 in column or 8 in column[2] or 2 in column[2])


class _Thrift:
    """The compact protocol: each field a byte of its type and number, integers in groups of seven bits."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def struct(self) -> dict[int, Any]:
        """The fields of a structure by number."""
        fields, number = dict[int, Any](), 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._whole()
            kind = head & 15
            fields[number] = kind == 1 if kind in (1, 2) else self._value(kind)
        return fields

    def _value(self, kind: int) -> Any:
        if kind in (4, 5, 6):
            return self._whole()
        if kind == 8:
            return self._bytes(self._varint())
        if kind in (9, 10):
            return self._list()
        if kind == 12:
            return self.struct()
        if kind in (1, 2, 3):
            return self._byte()
        if kind in (7, 13):
            return self._bytes(8 if kind == 7 else 16)
        raise ValueError(f"a field of type {kind} in the footer")

    def _list(self) -> list[Any]:
        head = self._byte()
        size = head >> 4 if head >> 4 < 15 else self._varint()
        return [self._value(head & 15) for _ in range(size)]

    def _whole(self) -> int:
        number = self._varint()
        return (number >> 1) ^ -(number & 1)

    def _varint(self) -> int:
        number = 0
        for shift in range(0, 64, 7):
            byte = self._byte()
            number |= (byte & 127) << shift
            if byte < 128:
                return number
        raise ValueError("an endless number in the footer")

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _bytes(self, length: int) -> bytes:
        self._at += length
        if self._at > len(self._data):
            raise ValueError("the footer is cut")
        return self._data[self._at - length : self._at]
