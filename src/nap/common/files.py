"""Files that are whole or absent: atomic writes, and checked inputs.

Does not know what a file holds; rows.py reads files of rows.
"""

import atexit
import json
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from glob import escape
from os.path import samestat
from pathlib import Path
from shutil import disk_usage
from tempfile import TemporaryDirectory
from typing import IO, Any, BinaryIO

from nap.common.kinds import HEAD, encoding_of, kind_of

STANDARD_INPUT = "-"  # as the name of a file
# Standard input is kept while it is read: a part at a time, and in what of the free disk others can spare.
PART, MOST_OF_DISK = 1 << 20, 0.5


class InputError(ValueError):
    """Something the user gave is wrong. The text is one line: what, what was got, what is allowed, what to do.

    >>> import nap
    >>> try:
    ...     nap.CanvasSpec(paths=0)
    ... except nap.InputError as error:
    ...     print(error)
    canvas paths must be at least 1, got 0
    """


@contextmanager
def exits_on_bad_input(name: str) -> Iterator[None]:
    """An InputError inside ends the script with one line on standard error, which names it, and exit code 2."""
    from nap.common.terminal import guarded

    with guarded():
        try:
            yield
        except InputError as error:
            print(f"{name}: {' '.join(str(error).split())}", file=sys.stderr)
            sys.exit(2)


@contextmanager
def atomic(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path` and rename it onto `path` only when the block succeeds.

    A crash, a full disk, `kill -9` or a power cut leaves the old file, or none. The next process removes what a killed
    one left beside it. Raises what the block raises.
    """
    path = Path(path)
    # Renaming onto a device would replace it with a file: for root, that could be /dev/null.
    check_file(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file")
    make_folder(path.parent)
    clean_partials(path.parent, path.name)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open(mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make the folder and its parents, so that they survive a power cut. Raises InputError for a file in the way."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{folder} cannot be a folder: a file is in the way; choose another") from None
    for place in missing:
        sync_folder(place.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the names in the folder are on the disk: otherwise a power cut may undo a rename."""
    if sys.platform == "win32":
        return
    found = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(found)
    finally:
        os.close(found)


def sync_files(folder: Path) -> None:
    """Wait until everything in the folder and below it is on the disk."""
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            sync_folder(path)
        elif path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def clean_partials(folder: Path, name: str = "*") -> None:
    """Remove what killed processes were writing as `name`, or in a folder that is this process's alone, anything."""
    for path in folder.glob(f".{name if name == '*' else escape(name)}.*.partial"):
        owner = path.suffixes[-2][1:] if len(path.suffixes) > 1 else ""
        if owner.isdecimal() and not _is_alive(int(owner)):
            path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    if sys.platform == "win32":  # Where signal 0 is not harmless.
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def check_file(path: Path) -> None:
    """Raise InputError for a pipe, a device or a socket: opening one may never return, and replacing one breaks it."""
    try:
        kind = path.stat().st_mode
    except (OSError, ValueError):
        return  # A file that is absent or not readable fails when it is opened.
    if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
        raise InputError(f"{path} is a pipe or a device; a file was expected")


@contextmanager
def placed(where: str) -> Iterator[None]:
    """Inside, an InputError is raised anew with its place before its text: a file and line, or a problem."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def check_apart(out: str | Path | None, *inputs: str | Path) -> None:
    """Raise InputError where the file to write is one of those that are read, by whatever name: it would be lost."""
    if out is None:
        return
    for path in inputs:
        try:
            read = os.fstat(0) if str(path) == STANDARD_INPUT else Path(path).stat()
            same = samestat(Path(out).stat(), read)
        except (OSError, ValueError):
            continue  # One of them does not exist; what cannot be read is refused when it is opened.
        if same:
            raise InputError(f"{out} is the file that is read ({path}), and would be replaced; write to another one")


def check_files(folder: Path, names: str = "*") -> None:
    """`check_file` for every file of an existing folder, for libraries that open files by name."""
    if folder.is_dir():
        for path in folder.glob(names):
            check_file(path)


def open_input(path: str | Path) -> BinaryIO:
    """A file, open for reading its bytes; `-` is standard input.

    Raises InputError if it is absent, a folder, a pipe, or not readable.
    """
    if str(path) == STANDARD_INPUT:
        return _taken_in().open("rb")
    try:
        # Without waiting: opening a pipe that nobody writes to would never return.
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise InputError(f"no such file: {path}") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    kind = os.fstat(number).st_mode
    if stat.S_ISREG(kind):
        return os.fdopen(number, "rb")
    os.close(number)
    if stat.S_ISDIR(kind):
        raise InputError(f"{path} is a folder; a file was expected{_files_in(Path(path))}")
    raise InputError(f"{path} is a pipe or a device; save what it gives as a file, or pipe it in and give -")


@cache
def _taken_in() -> Path:
    """Standard input as a file, which can be read several times and is removed when the process ends."""
    folder = TemporaryDirectory(prefix="nap-")
    atexit.register(folder.cleanup)
    path, room = Path(folder.name) / "stdin", disk_usage(folder.name).free * MOST_OF_DISK
    with path.open("wb") as file:
        while part := sys.stdin.buffer.read(PART):
            if (room := room - len(part)) < 0:
                raise InputError(f"standard input fills the disk of {folder.name}; save what is needed as a file")
            file.write(part)
    return path


def _files_in(folder: Path) -> str:
    """`; it holds a.jsonl, b.parquet`: the files of a folder that the user may have meant."""
    kinds = (".jsonl", ".json", ".parquet", ".gz", ".csv")
    try:
        names = sorted(path.name for path in folder.iterdir() if path.suffix in kinds and path.is_file())
    except OSError:
        names = []
    return f"; it holds {', '.join(names[:5])}" if names else ""


def read_text(path: str | Path) -> str:
    """The file as text. Raises InputError if it is absent, a folder, not readable, or no text."""
    with open_input(path) as file:
        data = file.read()
    if kind := kind_of(data[:HEAD]):
        raise InputError(f"{path} is no text: this is {kind}")
    encoding = encoding_of(data[:HEAD])
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        name = encoding.upper().removesuffix("-SIG")
        raise InputError(f"{path} is not {name} text (byte {error.start}); convert it (iconv -t utf-8)") from None


def read_json(path: str | Path) -> object:
    """The JSON value of a file. Raises InputError if it is absent, no text, no JSON, or holds what no file can hold."""
    text = read_text(path)
    try:
        value = json.loads(text)
        # An escape can stand for half of a surrogate pair, which could be read but never be written.
        half = re.search("[\ud800-\udfff]", json.dumps(value, ensure_ascii=False)) if "\\ud" in text.lower() else None
    except (ValueError, RecursionError) as error:  # Not JSON, a number of 5,000 digits, lists in lists in lists.
        raise InputError(f"{path} is not JSON that can be read ({type(error).__name__}: {error!s:.200})") from None
    if half:
        raise InputError(f"{path} holds half a character (\\u{ord(half[0]):x}, a lone surrogate); write it whole")
    return value


def write_jsonl(path: str | Path, rows: Iterable[object]) -> None:
    """Write one JSON value a line."""
    with atomic(path) as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
