"""What NAP is about, in a few minutes on two cores: the same trajectories as one long chain and as parallel paths.

    python recipes/demo.py [--problems N] [--out runs/demo]

Decodes held-out problems with both pairs of bundled models under five policies at 1, 2, 4 and 8 tokens a step, prints
the table and what it says, and writes rows, traces, summaries and a report to open in a browser under --out. Without
--problems it decodes as many as fit into --minutes, at least 50 and at most 200 a cell. Expected wall time: under 5
minutes on two cores; the same command resumes it. Expected numbers: README.md. With every policy and more problems:
recipes/full_sweep.py.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import torch

from nap.commands.evaluate import print_summary, run_shown
from nap.common.files import exits_on_bad_input
from nap.common.memory import keep_memory
from nap.evaluation.findings import findings
from nap.evaluation.record_files import write_summary
from nap.evaluation.rows import read_seconds
from nap.evaluation.run import evaluate
from nap.evaluation.summary import summarise
from nap.evaluation.sweep import Cell, Sweep
from nap.report.page import write_report

ROOT = Path(__file__).resolve().parent.parent
POLICIES = ("ar", "low_confidence", "random", "threshold", "parallel_forced")
TASKS = ("arith", "countdown")
FEWEST, MOST = 50, 200
BATCH = 10


def sweep_of(task: str, problems: int, policies: tuple[str, ...] = POLICIES) -> Sweep:
    return Sweep(
        task=task,
        models=(f"{task}-longcot", f"{task}-nap"),
        policies=policies,
        tokens_per_step=(1, 2, 4, 8),
        problems=problems,
    )


def affordable(minutes: float, workers: int) -> int:
    """Problems a cell that fit into the time, from one timed batch a task at the fastest pace."""
    torch.set_num_threads(1)  # As each worker has.
    seconds = batch = 0.0
    for task in TASKS:
        sweep = sweep_of(task, BATCH)
        problems, fastest = (
            sweep.load_problems(),
            Cell(model=f"{task}-nap", policy="ar", budget=sweep.cells()[3].budget),
        )
        for _ in range(2):  # The first time also loads the model.
            started = time.perf_counter()
            evaluate(sweep, fastest, problems, range(BATCH), traces=0)
            batch = time.perf_counter() - started
        # Four paced policies at 1, 2, 4 and 8 tokens a step are 4 (8 + 4 + 2 + 1) such batches, threshold about 4.
        seconds += batch / BATCH * 2 * 64 / workers
    return max(FEWEST, min(MOST, int(60 * minutes / seconds)))


def run(task: str, problems: int, folder: Path, workers: int, policies: tuple[str, ...] = POLICIES) -> None:
    """One task's sweep: run or resume it, write and print its summary."""
    sweep = sweep_of(task, problems, policies)
    print(f"\n{task}: one long chain against three paths, {problems} problems", flush=True)
    rows = run_shown(sweep, folder, batch_size=BATCH, workers=workers)
    records = summarise(rows, read_seconds(folder / "seconds.parquet"))
    write_summary(records, folder)
    print_summary(records, findings(records))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, help="problems a cell; default: as many as fit, 50 to 200")
    parser.add_argument("--minutes", type=float, default=4.0, help="the time to fit into")
    parser.add_argument("--out", type=Path, default=ROOT / "runs/demo")
    options = parser.parse_args()
    keep_memory()
    workers = min(2, os.cpu_count() or 1)
    started = time.perf_counter()
    problems = options.problems or affordable(options.minutes, workers)
    for task in TASKS:
        run(task, problems, options.out / f"{task}-{problems}", workers)
    write_report([options.out / f"{task}-{problems}" for task in TASKS], report := options.out / "report.html")
    print(f"\n{time.perf_counter() - started:.0f} seconds in all", file=sys.stderr)
    print(f"Tables, rows and traces are in {options.out}; watch one:")
    print(f"  {sys.executable} -m nap trace show {options.out}/{TASKS[0]}-{problems}/traces.jsonl")
    print(f"See it all, and replay it, in a browser: {report.resolve()}")


if __name__ == "__main__":
    with exits_on_bad_input("demo"):
        main()
