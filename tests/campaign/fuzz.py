"""Hostile files: one of every format is spoilt, and the commands that read it must read it or refuse it in one line.

    PYTHONPATH=tests python tests/campaign/fuzz.py --seed 20 --first 0 --trials 200 --formats traces

Trial N of a seed is the same trial always. Does not mend anything.
"""

import argparse
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import mutate
import trial
from formats import FORMATS, Format, make


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What went wrong in which trial."""

    where: str
    wrong: tuple[str, ...]
    said: str


def trials(folder: Path, formats: Sequence[Format], seed: int, numbers: range) -> Iterator[tuple[Format, Fault | None]]:
    """Spoil and run. `folder` holds what `formats.make` wrote, and is left as it was."""
    for number in numbers:
        chosen = formats[number % len(formats)]
        rng = random.Random(f"{seed} {chosen.name} {number}")
        with tempfile.TemporaryDirectory(dir=folder.parent) as place:
            copy = Path(place) / "all"
            shutil.copytree(folder, copy)
            file, command = rng.choice(chosen.files), rng.choice(chosen.commands)
            mutate.spoil(copy / file, chosen.changes, rng)
            if chosen.name == "a training's checkpoint":
                shutil.rmtree(copy / "trained" / "final")
            found = trial.run(command.split(), folder=copy)
            wrong = trial.faults(found)
        where = f"seed {seed}, trial {number}: {chosen.name}, {file}: nap {command}"
        yield chosen, Fault(where=where, wrong=tuple(wrong), said=trial.shown(found)) if wrong else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--formats", default="")
    options = parser.parse_args()
    trial.warm()
    chosen = [one for one in FORMATS if options.formats in one.name]
    counts, bad = Counter[str](), 0
    with tempfile.TemporaryDirectory() as place:
        make(Path(place) / "whole")
        numbers = range(options.first, options.first + options.trials)
        for one, fault in trials(Path(place) / "whole", chosen, options.seed, numbers):
            counts[one.name] += 1
            if fault:
                bad += 1
                print(f"{fault.where}\n  {', '.join(fault.wrong)}\n  {fault.said}", flush=True)
    print(f"{sum(counts.values())} trials, {bad} with faults; {dict(counts)}")
    return bool(bad)


if __name__ == "__main__":
    raise SystemExit(main())
