"""The campaign: kills, full disks, second processes, hostile files and hostile teachers against every command.

    make campaign                                     # all of it: an hour or two of one core
    make campaign CAMPAIGN="--share .1"               # a tenth, chosen by the day: what CI runs
    make campaign CAMPAIGN="--seed 20 --parts mutations --write"

A seed gives the same trials always; by default it is the day's. Every fault is printed with what has it again, and the
exit code is 1 where there was one. --write puts the counts into docs/reliability.md. Linux only.
"""

import argparse
import contextlib
import os
import random
import shlex
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

# Before anything is imported: what is imported reads them once.
os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}

import formats
import fuzz
import kills
import replies
import trial
from trial import Fault

Trials = Iterator[tuple[str, Fault | None]]
PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- the campaign writes from here -->", "<!-- to here -->"
MUTATIONS = 4000


def mutations(whole: Path, seed: int, share: float) -> Trials:
    """Hostile changes, a share of MUTATIONS chosen by the seed."""
    chosen = sorted(random.Random(f"{seed} mutations").sample(range(MUTATIONS), int(MUTATIONS * share)))
    return fuzz.mutated(whole, seed, chosen)


PARTS: dict[str, Callable[[Path, int, float], Trials]] = {
    "kills": kills.killed,
    "two processes": kills.crowded,
    "full disks": kills.filled,
    "hostile teachers": replies.replied,
    "mutations": mutations,
    "injections": fuzz.injected,
    "no files": fuzz.estranged,
}


def campaign(whole: Path, parts: list[str], seed: int, share: float) -> tuple[dict[str, Counter[str]], list[Fault]]:
    """Run the parts. What was tried, by part and kind, and what went wrong, said as it is found."""
    tried: dict[str, Counter[str]] = {part: Counter() for part in parts}
    found: list[Fault] = []
    for part in parts:
        began, before = time.monotonic(), len(found)
        for kind, fault in PARTS[part](whole, seed, share):
            tried[part][kind] += 1
            if fault:
                found.append(fault)
                print(f"FAULT {part}: {fault}", flush=True)
        count, minutes = sum(tried[part].values()), (time.monotonic() - began) / 60
        print(f"{part}: {count} tried, {len(found) - before} faults, {minutes:.1f} min", flush=True)
    return tried, found


def table(tried: dict[str, Counter[str]], found: list[Fault], arguments: list[str], seed: int, minutes: float) -> str:
    """What was tried, as Markdown."""
    total = sum(sum(kinds.values()) for kinds in tried.values())
    lines = [
        f"`PYTHONPATH=tests python tests/campaign/run.py {shlex.join(arguments)}`, seed {seed}, on "
        f"{datetime.now(UTC):%Y-%m-%d}: {total} trials in {minutes:.0f} minutes, {len(found)} faults.",
        "", "| what | tried |", "|---|---|",
    ]  # fmt: skip
    for part, kinds in tried.items():
        lines += [f"| {part}: {kind} | {count} |" for kind, count in sorted(kinds.items())]
    if found:
        lines += ["", "The faults:", ""]
        lines += [f"- {fault.where}: {', '.join(fault.wrong)}" for fault in found]
    return "\n".join(lines)


def write(text: str, page: Path = PAGE) -> None:
    """Put the table between its marks."""
    from nap.common.files import atomic

    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    with atomic(page) as file:
        file.write(f"{before}{BEGIN}\n{text}\n{END}{after}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, help="by default the day's: 20261128")
    parser.add_argument("--share", type=float, default=1.0, help="of all trials, chosen by the seed")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=[*PARTS])
    parser.add_argument("--write", action="store_true", help="put the counts into docs/reliability.md")
    options = parser.parse_args()
    seed = options.seed or int(f"{datetime.now(UTC):%Y%m%d}")
    began = time.monotonic()
    print(f"seed {seed}, share {options.share:g}", flush=True)
    trial.warm()
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        whole = Path(place) / "whole"
        formats.make(whole)
        fuzz.check_commands(whole)
        tried, found = campaign(whole, options.parts, seed, options.share)
    minutes = (time.monotonic() - began) / 60
    total = sum(sum(kinds.values()) for kinds in tried.values())
    print(f"{total} trials, {len(found)} faults, {minutes:.1f} min")
    if found:
        parts = " ".join(shlex.quote(part) for part in options.parts)
        print(f"to have them again: make campaign CAMPAIGN='--seed {seed} --share {options.share:g} --parts {parts}'")
    if options.write:
        write(table(tried, found, sys.argv[1:], seed, minutes))
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
