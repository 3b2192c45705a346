"""A run's folder: made of one setting, and one process at work in it at a time.

    with run_folder(folder, "eval", setting):           # refuses another run's folder, and a second process ...

Does not know what a run does.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from types import MappingProxyType
from typing import IO

from nap.common.files import InputError, atomic, check_files, clean_partials, make_folder, read_json
from nap.common.text import printable

SETTING, LOCK = "setting.json", ".lock"
Setting = Mapping[str, object]
Compared = Callable[[Setting, Setting], tuple[dict[str, object], dict[str, object]]]
NONE_LATER: Setting = MappingProxyType({})


class _Nothing:
    """In place of a value that a setting does not have, which is another than None."""

    def __repr__(self) -> str:
        return "nothing"


def digest(data: bytes) -> str:
    """A short name of the bytes: equal for equal bytes, and different for all others."""
    return blake2b(data, digest_size=16).hexdigest()


def digest_files(paths: Iterable[Path]) -> str:
    """`digest` of the bytes of several files, read a part at a time."""
    found = blake2b(digest_size=16)
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 24):
                found.update(block)
    return found.hexdigest()


@contextmanager
def run_folder(
    folder: Path,
    kind: str,
    setting: Setting,
    *,
    may_hold: Sequence[str] = (),
    is_unused: Callable[[], bool] = lambda: False,
    compared: Compared | None = None,
    later: Setting = NONE_LATER,
) -> Iterator[None]:
    """Keep other processes out of the folder, and write `setting` to its setting.json, while the block runs.

    kind       the kind of run (eval, train, curate); a folder of another kind is refused
    may_hold   names of files that a folder without a setting may have already
    is_unused  whether the old setting has no results yet, so that a new one may replace it
    compared   the part of a setting in which the old and the new must agree (default: all of it); the new setting is
               then kept
    later      the keys (dotted) that earlier versions did not write, each with the value that held then

    Raises InputError for a folder that holds anything else, a run with another setting, or another process at work.
    Nothing in the folder is changed then.
    """
    now = {"kind": kind} | json.loads(json.dumps(setting))
    # Checked before the lock as well, so that not even a lock file is written into somebody else's folder.
    _is_written(folder, now, may_hold, is_unused, compared, later)
    make_folder(folder)
    with (folder / LOCK).open("a") as file:
        lock(file, folder)
        written = _is_written(folder, now, may_hold, is_unused, compared, later)
        clean_partials(folder)
        if not written:
            with atomic(folder / SETTING) as text:
                text.write(json.dumps(now, indent=1) + "\n")
        yield


def _is_written(
    folder: Path,
    now: dict[str, object],
    may_hold: Sequence[str],
    is_unused: Callable[[], bool],
    compared: Compared | None,
    later: Setting,
) -> bool:
    """Whether the folder already holds this run. Raises InputError where it holds something else."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a folder to write into")
    check_files(folder)
    if not (folder / SETTING).exists():
        held = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        known = {LOCK, *may_hold, *(name for name in held if name.startswith(".") and name.endswith(".partial"))}
        if strange := [name for name in held if name not in known]:
            raise InputError(
                f"{folder} is not empty and holds no run: it has no {SETTING}, but {printable(strange[0])}; "
                "choose another folder"
            )
        return False
    old = read_setting(folder)
    if old == now:
        return True
    if old.get("kind") == now["kind"] and is_unused():
        return False
    # Earlier versions did not write the kind; there the fields of the setting tell it.
    if old.setdefault("kind", now["kind"]) != now["kind"]:
        raise InputError(
            f"{folder} holds a run of another kind ({old['kind']!r:.40}, not {now['kind']!r}); choose another"
        )
    before, after = map(flat, compared(old, now) if compared else (old, now))
    if listed := differing({name: value for name, value in later.items() if name in after} | before, after):
        raise InputError(f"{folder} holds a run with another setting ({listed}); choose another folder")
    return compared is None


def read_setting(folder: Path) -> dict[str, object]:
    """The setting that a run's folder was made with. Raises InputError where there is none."""
    path, reason = folder / SETTING, "an object was expected"
    try:
        if isinstance(found := read_json(path), dict):
            return found
    except InputError as error:
        reason = str(error)
    raise InputError(f"{path} is not a run's setting ({reason}); choose another folder")


def differing(old: Setting, now: Setting) -> str:
    """Up to three fields in which two flat settings differ, with both values; empty where they are the same."""
    nothing = _Nothing()
    both = {key: (old.get(key, nothing), now.get(key, nothing)) for key in dict.fromkeys([*old, *now])}
    differ = [key for key, (one, other) in both.items() if one != other]
    # A changed flag also changes what the run is made of, which need not be listed as well.
    differ = [key for key in differ if not key.startswith("made_of.")] or differ
    listed = ", ".join(f"{key} {both[key][0]!r:.200}, now {both[key][1]!r:.200}" for key in differ[:3])
    return f"{listed}, and {len(differ) - 3} more" if len(differ) > 3 else listed


def flat(value: object, name: str = "") -> dict[str, object]:
    """Nested objects as one, with dotted names."""
    if not isinstance(value, dict):
        return {name: value}
    return {full: x for key, part in value.items() for full, x in flat(part, f"{name}.{key}".lstrip(".")).items()}


def lock(file: IO[str] | IO[bytes], place: str | Path) -> None:
    """Keep other processes out of `place` until the open `file` is closed, on systems that have locks.

    The lock of a killed process is gone. Raises InputError if another process holds it.
    """
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(f"another process is at work in {place}; wait for it, or choose another folder") from None
