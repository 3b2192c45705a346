"""What NAP is about, in a few minutes on two cores: the same trajectories as one long chain and as parallel paths.

    python recipes/demo.py [--problems N] [--minutes 4.5] [--out runs/demo]

Decodes held-out problems with both pairs of bundled models under five policies at 1, 2, 4 and 8 tokens a step, prints
the table and what it says, and writes rows, traces and summaries under --out. Expected wall time: under 5 minutes on
two cores; without --problems it decodes as many as fit, at least 50 a cell. Expected numbers: README.md. The full
sweep, with more problems: recipes/full_sweep.sh.
"""

import argparse
import os
import sys
import time
from pathlib import Path

from nap.cli import print_summary, show_progress
from nap.evaluate import Sweep, run_sweep
from nap.files import InputError
from nap.schema import read_parquet
from nap.summary import findings, summarise, write_summary

ROOT = Path(__file__).resolve().parent.parent
POLICIES = ("ar", "low_confidence", "random", "threshold", "parallel_forced")
TASKS = ("arith", "countdown")
FEWEST, MOST = 50, 200


def sweep_of(task: str, problems: int) -> Sweep:
    return Sweep(
        task=task,
        models=(f"{task}-longcot", f"{task}-nap"),
        policies=POLICIES,
        tokens_per_step=(1, 2, 4, 8),
        problems=problems,
    )


def affordable(minutes: float, workers: int, folder: Path) -> int:
    """How many problems a cell fit into the time, from a trial of the whole sweep on a few."""
    trial = 4
    started = time.perf_counter()
    for task in TASKS:
        run_sweep(sweep_of(task, trial), folder / task, batch_size=trial, workers=workers, traces=0)
    # A trial pays for loading the models and has small batches, so this errs on the safe side.
    per_problem = (time.perf_counter() - started) / trial
    return max(FEWEST, min(MOST, int(60 * minutes / per_problem)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, help="problems a cell; default: as many as fit, 50 to 200")
    parser.add_argument("--minutes", type=float, default=4.0, help="the time to fit into")
    parser.add_argument("--out", type=Path, default=ROOT / "runs/demo")
    options = parser.parse_args()
    workers = min(2, os.cpu_count() or 1)
    problems = options.problems or FEWEST
    print(f"{problems} held-out problems a task, {workers} processes; writing to {options.out}", file=sys.stderr)
    for task in TASKS:
        folder = options.out / f"{task}-{problems}"
        print(f"\n{task}: one long chain against three paths", flush=True)
        rows = run_sweep(sweep_of(task, problems), folder, batch_size=25, workers=workers, report=show_progress)
        records = summarise(rows, read_parquet(folder / "seconds.parquet"))
        write_summary(records, folder)
        print_summary(records, findings(records))
    print(f"\nTables, rows and traces: {options.out}. Watch one: nap trace show {folder}/traces.jsonl")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"demo: {error}")
