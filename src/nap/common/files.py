"""Files that are whole or absent: atomic writes, and readers that name the bad line.

Does not know what the rows mean; `schema` does.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import IO, Any


class InputError(ValueError):
    """Something the user gave is wrong. The text is one line: what, what was got, what is allowed, what to do."""


@contextmanager
def exits_on_bad_input(name: str) -> Iterator[None]:
    """An InputError inside ends the script of that name: one line on standard error, exit code 2."""
    try:
        yield
    except InputError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(2)


@contextmanager
def atomic(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path` and rename it onto `path` only when the block succeeds.

    A crash, a full disk, `kill -9` or a power cut leaves the old file, or none; what a killed process left beside it is
    removed by the next one. Raises what the block raises.
    """
    path = Path(path)
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
    """Make the folder and those above it, so that they outlive a power cut."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for place in missing:
        sync_folder(place.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in the folder: without it a power cut may undo a rename."""
    if sys.platform == "win32":
        return
    found = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(found)
    finally:
        os.close(found)


def sync_files(folder: Path) -> None:
    """Wait until the disk has all that is in the folder and below it."""
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


def read_text(path: str | Path) -> str:
    """The file as UTF-8 text. Raises InputError if it is absent, a folder, not readable, or not text."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"no such file: {path}") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; a file was expected") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start}); is it a binary file?") from None


def read_jsonl(path: str | Path) -> Iterator[tuple[int, Any]]:
    """(line number from 1, value) of each line that is not blank. Raises InputError naming a line that is not JSON."""
    # str.splitlines would also cut at U+2028 and form feeds, which JSON allows inside strings.
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:  # ValueError alone: an integer of thousands of digits.
            reason = getattr(error, "msg", None) or str(error)
            raise InputError(f"{path}:{number}: not JSON ({reason}): {line[:60]!r}") from None
        yield number, value


def read_jsonl_objects(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """As `read_jsonl`, where each line must be a JSON object."""
    for number, value in read_jsonl(path):
        if not isinstance(value, dict):
            raise InputError(f"{path}:{number}: a JSON object was expected, got {type(value).__name__}")
        yield number, value


def read_parquet(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a Parquet file. Raises InputError if it is absent, cut short or not Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Not the path itself: pyarrow would read a folder as one table.
        with Path(path).open("rb") as file:
            return pq.read_table(file).to_pylist()
    except FileNotFoundError:
        raise InputError(f"no such file: {path}") from None
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError alone: text that is not UTF-8.
        raise InputError(
            f"{path} is not a whole Parquet file ({str(error).splitlines()[0]}); was its write cut?"
        ) from None
