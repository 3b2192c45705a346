"""Hostile files: one of every format is spoilt, and the commands that read it must read it or refuse it in one line.

Does not mend anything.
"""

import os
import random
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import mutate
import trial
from formats import FORMATS, Format
from trial import Fault


def mutated(whole: Path, seed: int, numbers: Sequence[int]) -> Iterator[tuple[str, Fault | None]]:
    """Spoil and run: trial N of a seed is the same always. `whole` holds what `formats.make` wrote, and stays so."""
    for number in numbers:
        chosen = FORMATS[number % len(FORMATS)]
        rng = random.Random(f"{seed} {chosen.name} {number}")
        file, command = rng.choice(chosen.files), rng.choice(chosen.commands)
        with _copy(whole, chosen) as place:
            folder = Path(place) / "all"
            mutate.spoil(folder / file, chosen.changes, rng)
            found = trial.run(command.split(), folder=folder)
        where = f"seed {seed}, mutation {number}: {chosen.name}, {file}: nap {command}"
        yield chosen.name, trial.fault_of(where, found)


def check_commands(whole: Path) -> None:
    """Every command does its work on files that nobody has spoilt: otherwise it would show nothing."""
    bad = []
    for chosen in FORMATS:
        for command in chosen.commands:
            with _copy(whole, chosen) as place:
                found = trial.run(command.split(), folder=Path(place) / "all")
            if found.code or trial.faults(found):
                bad.append(f"nap {command}: {trial.faults(found)} {trial.shown(found)}")
    if bad:
        raise RuntimeError("on whole files:\n" + "\n".join(bad))


def injected(whole: Path, seed: int, share: float) -> Iterator[tuple[str, Fault | None]]:
    """Control characters and HTML in each text of each file in turn; every command that reads it stays clean."""
    rng = random.Random(f"{seed} injected")
    for chosen in FORMATS:
        for file in chosen.files:
            if chosen.changes not in mutate.TEXTS:
                continue
            for number, data in enumerate(mutate.injections((whole / file).read_bytes(), chosen.changes)):
                if rng.random() >= share:
                    continue
                command = chosen.commands[number % len(chosen.commands)]
                with _copy(whole, chosen) as place:
                    folder = Path(place) / "all"
                    (folder / file).write_bytes(data)
                    found = trial.run(command.split(), folder=folder)
                    more = _broken_pages(folder)
                where = f"injection {number}: {chosen.name}, {file}: nap {command}"
                yield chosen.name, trial.fault_of(where, found, more)


def estranged(whole: Path, seed: int, share: float) -> Iterator[tuple[str, Fault | None]]:
    """In place of each file what is none: a pipe that nobody writes to, a device without end, a folder, a socket."""
    rng = random.Random(f"{seed} estranged")
    every = [(one, file, kind) for one in FORMATS for file in one.files for kind in STRANGE]
    for chosen, file, kind in every:
        if rng.random() >= share:
            continue
        command = rng.choice(chosen.commands)
        with _copy(whole, chosen) as place:
            folder = Path(place) / "all"
            (folder / file).unlink(missing_ok=True)
            STRANGE[kind](folder / file)
            found = trial.run(command.split(), folder=folder)
        yield kind, trial.fault_of(f"{kind} as {file}: nap {command}", found)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))


STRANGE: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a device without end": lambda path: path.symlink_to("/dev/zero"),
    "an empty device": lambda path: path.symlink_to("/dev/null"),
    "a folder": Path.mkdir,
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a socket": _socket,
}


def _broken_pages(folder: Path) -> list[str]:
    """What is wrong with the pages that a command wrote: a script that somebody else's text has opened."""
    return [f"a script in {page.name}" for page in folder.glob("*.html") if mutate.SCRIPT in page.read_text()]


def _copy(whole: Path, chosen: Format) -> "tempfile.TemporaryDirectory[Any]":
    place = tempfile.TemporaryDirectory(dir=whole.parent)
    shutil.copytree(whole, Path(place.name) / "all")
    if chosen.name == "a training's checkpoint":
        shutil.rmtree(Path(place.name) / "all" / "trained" / "final")
    return place
