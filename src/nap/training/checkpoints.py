"""Checkpoints of a training: a manifest shows which are whole, and a resume uses the newest whole one.

    checkpoint-N/manifest.json      the names, sizes and digests of all other files, written last

A checkpoint with a missing, cut or changed file is damaged, and the one before it is used. The Trainer writes the
contents of a checkpoint.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from nap.common.files import InputError, atomic, sync_files, sync_folder
from nap.common.folder import digest_files
from nap.common.journal import digested, undigested
from nap.common.text import say
from nap.models.checkpoint import brief

MANIFEST = "manifest.json"
# How many whole checkpoints are kept: the newest, and one to fall back on.
KEPT = 2


def seal(checkpoint: Path) -> None:
    """Write the manifest that marks a checkpoint as whole, once all of it is on the disk."""
    sync_files(checkpoint)
    paths = sorted(path for path in checkpoint.rglob("*") if path.is_file())
    files = {
        path.relative_to(checkpoint).as_posix(): {"bytes": path.stat().st_size, "digest": digest_files([path])}
        for path in paths
    }
    with atomic(checkpoint / MANIFEST, "wb") as file:
        file.write(digested({"files": files}))
    sync_folder(checkpoint.parent)


def fault(checkpoint: Path, *, sizes_only: bool = False) -> str | None:
    """What is wrong with a checkpoint; None for one that is whole."""
    if not (checkpoint / MANIFEST).is_file():
        return "its save was cut short"
    try:
        manifest = undigested((checkpoint / MANIFEST).read_bytes())
    except OSError as error:
        return f"{MANIFEST} cannot be read: {error.strerror}"
    files = (manifest or {}).get("files")
    if not isinstance(files, dict):
        return f"{MANIFEST} is damaged"
    for name, kept in files.items():
        if said := _differs(checkpoint / name, kept, sizes_only):
            return f"{name} {said}"
    return None


def _differs(path: Path, kept: object, sizes_only: bool) -> str | None:
    if not isinstance(kept, dict) or not {"bytes", "digest"} <= kept.keys():
        return f"is not described by {MANIFEST}"
    try:
        if not path.is_file():
            return "is missing"
        if path.stat().st_size != kept["bytes"]:
            return f"has {path.stat().st_size} bytes of {kept['bytes']}"
        return None if sizes_only or digest_files([path]) == kept["digest"] else "is not what was written"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def newest_checkpoint(folder: Path, say: Callable[[str], None] = say) -> str | None:
    """The whole checkpoint with the most steps. Reports which newer ones are damaged, and how."""
    for path in _newest_first(folder):
        found = fault(path)
        if found is None:
            return str(path)
        say(f"{path} is not whole ({found}); looking at the one before")
    return None


def forget_others(checkpoint: Path) -> None:
    """Remove checkpoints older than the last `KEPT` whole ones, and damaged ones that are newer than this one."""
    paths = [*_newest_first(checkpoint.parent)]
    newer, older = paths[: paths.index(checkpoint)], paths[paths.index(checkpoint) :]
    whole = [path for path in older if fault(path, sizes_only=True) is None]
    for path in [*newer, *(path for path in older if path not in whole[:KEPT])]:
        shutil.rmtree(path, ignore_errors=True)


def _newest_first(folder: Path) -> Iterator[Path]:
    found = [path for path in folder.glob("checkpoint-*") if path.is_dir() and _steps(path) is not None]
    yield from sorted(found, key=lambda path: _steps(path) or 0, reverse=True)


def _steps(checkpoint: Path) -> int | None:
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isascii() and number.isdecimal() and len(number) < 20 else None


def not_saved(folder: Path, error: Exception) -> Exception:
    """The error to raise where a folder of a run could not be written: an InputError where the disk is to blame."""
    # On a full disk safetensors, torch, tokenizers and open() each raise their own type, but never one of these.
    if isinstance(error, TypeError | ValueError | LookupError | AttributeError | AssertionError):
        return error
    last, reason = newest_checkpoint(folder.parent, lambda line: None) or "none", brief(error)
    return InputError(
        f"cannot save {folder} ({reason:.160}); the last whole checkpoint is {last}; make room, and the same "
        "command goes on from it"
    )
