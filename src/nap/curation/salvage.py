"""Reads rows page by page from an sqlite file that sqlite itself cannot open, to save a damaged journal.

    for columns in rows_of(path): ...

Every page is read as a leaf of a table (sqlite.org/fileformat2.html, sections 1.6, 2 and 4.1), whatever the file's
header, its tree and the page itself say, and so are pages in the write-ahead log of a killed process. Many results are
therefore not rows, or old rows, so the caller has to check the digest of each.

Does not know what a row means (journal.py).
"""

import mmap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

Value = bytes | int | None
Page = Callable[[int], bytes]
# The page size of journals, sqlite's default since 2016.
SIZE = 4096
# A file's first page begins with the file's header.
HEADER = 100
# Bytes of the integers with the serial types 0 to 9.
WIDTHS = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)


def rows_of(path: Path) -> Iterator[Sequence[Value]]:
    """The columns of everything that looks like a row."""
    if not path.stat().st_size:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        logged = _logged(path.with_name(f"{path.name}-wal"))

        def page(number: int) -> bytes:
            return logged.get(number) or data[(number - 1) * SIZE : number * SIZE]

        for number in range(1, max([len(data) // SIZE, *logged]) + 1):
            yield from _rows(page, number)


def _logged(log: Path) -> dict[int, bytes]:
    """The newest state of the pages in the write-ahead log. Frames with equal salts belong together."""
    data = log.read_bytes() if log.exists() else b""
    frames = range(32, len(data) - SIZE - 23, SIZE + 24)
    current = (start for start in frames if data[start + 8 : start + 16] == data[16:24])
    return {int.from_bytes(data[start : start + 4]): data[start + 24 : start + 24 + SIZE] for start in current}


def _rows(page: Page, number: int) -> Iterator[Sequence[Value]]:
    content, start = page(number), HEADER if number == 1 else 0
    place, lowest = start + 8, len(content)
    # The pointers to the rows of a page come before its rows.
    while place + 2 <= lowest:
        pointer = int.from_bytes(content[place : place + 2])
        place += 2
        if not place <= pointer < len(content):
            continue
        lowest = min(lowest, pointer)
        try:
            yield _columns(_payload(page, content, pointer))
        except (IndexError, ValueError):
            continue


def _payload(page: Page, content: bytes, place: int) -> bytes:
    """The bytes of a row: those in its page, and those in the chain of overflow pages."""
    size, place = _varint(content, place)
    _, place = _varint(content, place)
    most, least = SIZE - 35, (SIZE - 12) * 32 // 255 - 23
    if size <= most:
        return content[place : place + size]
    own = least + (size - least) % (SIZE - 4)
    own = own if own <= most else least
    parts, left = [content[place : place + own]], size - own
    following = int.from_bytes(content[place + own : place + own + 4])
    while left > 0:
        further = page(following) if following else b""
        if len(further) < SIZE:
            raise ValueError("the chain is broken")
        parts.append(further[4 : 4 + left])
        left -= SIZE - 4
        following = int.from_bytes(further[:4])
    return b"".join(parts)


def _columns(payload: bytes) -> Sequence[Value]:
    end, place = _varint(payload, 0)
    found: list[Value] = []
    start = end
    while place < end:
        kind, place = _varint(payload, place)
        width = WIDTHS[kind] if kind < len(WIDTHS) else (kind - 12) // 2
        if width < 0 or start + width > len(payload):
            raise ValueError("no row")
        part = payload[start : start + width]
        start += width
        found.append(part if kind >= 12 else None if kind == 0 else int.from_bytes(part, signed=True))
    return found


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """A number of up to nine bytes, seven bits each, and where it ends."""
    value = 0
    for offset in range(8):
        byte = data[place + offset]
        value = value << 7 | byte & 127
        if byte < 128:
            return value, place + offset + 1
    return value << 8 | data[place + 8], place + 9
