"""An append-only file of finished work: one JSON object a line, each with a digest of its own.

    with Journal(folder / "journal.jsonl", lambda entry: entry["id"], read=dict, write=dict) as journal:
        journal.add([{"id": "p1", "right": True}])      # on the disk when it returns
        journal.done["p1"]

A line is used only where its digest fits. A damaged line (by a kill, a bad disk or an editor) is left out, and only its
own work is done again. Journals without digests, as earlier versions wrote them, are read too and get digests on
opening.

Does not keep a second process out; `folder.run_folder` does.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Generic, TypeVar

from nap.common.files import atomic, sync_folder
from nap.common.text import say

Key = TypeVar("Key")
Item = TypeVar("Item")
Entry = dict[str, object]
# A line is BEFORE, the digest, BETWEEN, the entry, AFTER.
BEFORE, BETWEEN, AFTER = b'{"digest": "', b'", "entry": ', b"}\n"
DIGITS = 16


class Journal(Generic[Key, Item]):
    """The finished items by key; a later entry replaces an earlier one with the same key.

    key_of       the key of an item
    read, write  convert an entry to an item, and an item to an entry

    Where `key_of` or `read` raises ValueError (InputError is one), LookupError, TypeError, ArithmeticError or
    RecursionError, the entry is treated as not belonging to this journal.
    """

    done: dict[Key, Item]

    def __init__(
        self,
        path: Path,
        key_of: Callable[[Item], Key],
        say: Callable[[str], None] = say,
        *,
        read: Callable[[Entry], Item],
        write: Callable[[Item], Mapping[str, object]],
    ) -> None:
        self.path, self.key_of, self.say, self.read, self.write = path, key_of, say, read, write

    def __enter__(self) -> "Journal[Key, Item]":
        self.done, damaged, old = {}, 0, False
        for entry, has_digest in read_journal(self.path):
            try:
                item = self.read(entry or {})
                self.done[self.key_of(item)] = item
                old |= not has_digest
            except (ValueError, LookupError, TypeError, ArithmeticError, RecursionError):
                damaged += 1
        if damaged:
            lines = "a damaged line" if damaged == 1 else f"{damaged} damaged lines"
            self.say(f"{self.path} has {lines}: what stood there is done again")
        if damaged or old:
            with atomic(self.path, "wb") as file:
                file.writelines(digested(self.write(item)) for item in self.done.values())
        self.file = self.path.open("ab")
        # The last line may have been cut by a kill.
        self.file.truncate(_whole(self.path))
        sync_folder(self.path.parent)
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def add(self, items: Iterable[Item]) -> None:
        """Append items; they are on the disk when it returns."""
        items = [*items]
        self.file.writelines(digested(self.write(item)) for item in items)
        self.file.flush()
        os.fsync(self.file.fileno())
        self.done |= {self.key_of(item): item for item in items}


def read_journal(path: Path) -> Iterator[tuple[Entry | None, bool]]:
    """Each entry (None for a damaged line), and whether it has a digest. A last line that is cut off is left out."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                entry = undigested(line)
                yield (entry, True) if entry is not None else (_without_digest(line), False)


def digested(entry: Mapping[str, object]) -> bytes:
    """The entry as a line with its digest."""
    text = json.dumps(entry).encode()
    return BEFORE + _digest(text) + BETWEEN + text + AFTER


def undigested(line: bytes) -> Entry | None:
    """The entry of a line; None where its digest does not fit."""
    text = line[len(BEFORE) + DIGITS + len(BETWEEN) : -len(AFTER)]
    return _object(text) if line == BEFORE + _digest(text) + BETWEEN + text + AFTER else None


def _digest(text: bytes) -> bytes:
    return blake2b(text, digest_size=DIGITS // 2).hexdigest().encode()


def _without_digest(line: bytes) -> Entry | None:
    entry = _object(line)
    # A line with one of the names of a digested line is a damaged line, and not one of an earlier version.
    return None if entry is None or entry.keys() & {"digest", "entry"} else entry


def _object(text: bytes) -> Entry | None:
    """The JSON object of a text; None for anything else."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _whole(path: Path) -> int:
    """How many bytes there are up to the end of the last whole line."""
    with path.open("rb") as file:
        left = file.seek(0, os.SEEK_END)
        while left:
            start = max(0, left - 65536)
            file.seek(start)
            place = file.read(left - start).rfind(b"\n")
            if place >= 0:
                return start + place + 1
            left = start
    return 0
