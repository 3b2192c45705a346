"""A run's folder: made of one setting, and one process at work in it at a time.

    claim(folder, setting, journal="journal.jsonl")     # writes setting.json, or refuses a folder of another setting
    with path.open("a+b") as file: lock(file, path)     # refuses a second process

Does not know what a run does.
"""

import json
import sys
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Any

from nap.common.files import InputError, atomic, read_text


def digest(data: bytes) -> str:
    """A short name of the bytes: the same for the same bytes, and for no others."""
    return blake2b(data, digest_size=16).hexdigest()


def digest_files(paths: Iterable[Path]) -> str:
    """`digest` of the bytes of files, one after the other, a part of them in memory at a time."""
    found = blake2b(digest_size=16)
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 24):
                found.update(block)
    return found.hexdigest()


def claim(folder: Path, setting: dict[str, Any], journal: str) -> None:
    """Write the setting to `setting.json`. Raises InputError where the folder holds a run with another one."""
    path, now = folder / "setting.json", json.loads(json.dumps(setting))
    if path.exists():
        try:
            old, new = flat(json.loads(read_text(path))), flat(now)
        except ValueError as error:
            raise InputError(f"{path} is not a run's setting ({error}); choose another folder") from None
        if differ := [key for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key)]:
            # Another flag changes what the run is made of too: that is no news.
            differ = [key for key in differ if not key.startswith("made_of.")] or differ
            listed = ", ".join(f"{key} {old.get(key)!r}, now {new.get(key)!r}" for key in differ[:3])
            more = f", and {len(differ) - 3} more" if len(differ) > 3 else ""
            raise InputError(f"{folder} holds a run with another setting ({listed}{more}); choose another folder")
        return
    if (folder / journal).exists():
        raise InputError(f"{folder} holds a journal without its setting.json; choose another folder")
    with atomic(path) as file:
        file.write(json.dumps(now, indent=1) + "\n")


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Nested objects as one, with dotted names."""
    if not isinstance(value, dict):
        return {name: value}
    return {full: x for key, part in value.items() for full, x in flat(part, f"{name}.{key}".lstrip(".")).items()}


def lock(file: Any, place: str | Path) -> None:
    """Keep other processes out of `place` until the open `file` is closed, on systems that can.

    A killed process keeps nobody out. Raises InputError if another process is in.
    """
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(f"another process is at work in {place}; wait for it, or choose another folder") from None
