"""Checks the files of a bundled model against assets/SHA256SUMS when it is opened.

    cd src/nap/assets && sha256sum --check SHA256SUMS

Does not check other checkpoints: who gives a folder knows where it comes from.
"""

from functools import cache
from hashlib import sha256
from pathlib import Path

from nap.common.files import InputError
from nap.models.checkpoint import ASSETS

SUMS = "SHA256SUMS"


def check_bundled(folder: Path) -> None:
    """Raise InputError for a bundled model with a missing, changed or added file. Other folders are not checked."""
    if folder.parent.resolve() != ASSETS:
        return
    released = {name: digest for digest, name in _sums() if name.startswith(f"{folder.name}/")}
    there = {f"{folder.name}/{path.name}": path for path in folder.iterdir() if path.is_file()}
    for name in sorted(released.keys() | there.keys()):
        if name not in there or released.get(name) != digest_of(there[name]):
            what = "missing" if name not in there else "not what was released"
            raise InputError(
                f"the bundled model {folder.name} is damaged: {name} is {what}; install nap-dlm again, "
                "or copy your own model to a folder of its own"
            )


def write_sums(assets: Path = ASSETS) -> None:
    """Write the digests of all files of the bundled models, as sha256sum reads them."""
    from nap.common.files import atomic

    folders = sorted(path.parent for path in assets.glob("*/config.json"))
    with atomic(assets / SUMS) as file:
        for path in (path for folder in folders for path in sorted(folder.iterdir()) if path.is_file()):
            file.write(f"{digest_of(path)}  {path.relative_to(assets).as_posix()}\n")
    _sums.cache_clear()


def digest_of(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    return sha256(path.read_bytes()).hexdigest()


@cache
def _sums() -> list[tuple[str, str]]:
    lines = (ASSETS / SUMS).read_text(encoding="utf-8").splitlines()
    return [(digest, name) for digest, _, name in (line.partition("  ") for line in lines)]
