"""What NAP is about, in a few minutes on two cores: where parallel decoding costs, and which data and decoder resist.

    python recipes/demo.py [--problems N] [--out runs/demo]

First come answers that must agree, small sudokus (`grids`) and sentences (`agree`): a model of a long chain, one of
three parallel paths, for sudokus one whose paths cannot see each other, and the exact law, which is a perfect model. At
three tokens a step decoding by confidence loses many of them, and NAP's decoder loses none on the paths. Then a pair
that has to reason over six to eight operations (`igsm`): at four tokens a step, and where every path goes at its own
pace, since a decode at one token a step takes seconds.
Decodes held-out problems under every policy and pace, prints the tables and what they say, and writes rows, traces,
summaries and, after the first task already, a report to open in a browser under --out. Expected wall time: under 5
minutes on two cores: 50 problems a cell, or as many as a slow machine has the time for (it says so; with --problems 50
it goes on to all). The same command resumes it. Expected numbers, of 50 problems: README.md. With every policy and more
problems: recipes/full_sweep.py.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from nap.commands.evaluate import print_summary, run_shown
from nap.common.files import exits_on_bad_input
from nap.common.memory import keep_memory
from nap.evaluation.findings import findings
from nap.evaluation.record_files import write_summary
from nap.evaluation.rows import read_seconds
from nap.evaluation.summary import summarise
from nap.evaluation.sweep import Sweep
from nap.report.page import write_report

ROOT = Path(__file__).resolve().parent.parent
POLICIES = ("low_confidence", "parallel_forced", "parallel_threshold", "threshold", "entropy_bound", "random")
# A pair for each task, of one long chain and of three paths, and beside them what is known exactly.
TASKS = {
    "grids": "answers that must agree: a long chain, three paths, three that cannot see each other, a perfect model",
    "agree": "sentences that must agree: a long chain, three paths, a perfect model",
    "igsm": "problems to reason about: three solutions as one chain, or each in a path of its own",
}
# Beside the pair of a task whose answers must agree.
MORE = {"grids": ("grids-paths", "exact:grids"), "agree": ("exact:agree",)}
# Paces and policies of what is slower to decode.
SLOW = {"igsm": ((4,), ("low_confidence", "parallel_forced", "parallel_threshold"))}
BATCH = 10
# Problems a cell, the most that are decoded in so many minutes; how many of each task tell how long it takes.
PROBLEMS, MINUTES, TRIED = (50, 20, 10), 6, {"grids": BATCH, "agree": BATCH, "igsm": 2}


def sweep_of(task: str, problems: int, policies: tuple[str, ...] | None = None) -> Sweep:
    paces, shown = SLOW.get(task, ((1, 3, 6) if task in MORE else (1, 2, 4, 8), POLICIES))
    return Sweep(
        task=task,
        models=(f"{task}-longcot", f"{task}-nap", *MORE.get(task, ())),
        policies=policies or shown,
        tokens_per_step=paces,
        problems=problems,
    )


def run(task: str, problems: int, folder: Path, workers: int, policies: tuple[str, ...] | None = None) -> None:
    """One task's sweep: run or resume it, write and print its summary."""
    sweep = sweep_of(task, problems, policies)
    print(f"\n{task}{f' ({TASKS[task]})' if task in TASKS else ''}, {problems} problems", flush=True)
    rows = run_shown(sweep, folder, batch_size=BATCH, workers=workers)
    records = summarise(rows, read_seconds(folder / "seconds.parquet"))
    write_summary(records, folder)
    print_summary(records, findings(records))


def affordable(folders: Sequence[Path], workers: int) -> int:
    """How many problems a cell can be decoded in MINUTES here, by the time that the first few of every task take.

    The times are those written down with the rows, so that a run that is resumed has as many problems as before.
    """
    print("First a few problems of each task, to see how many this machine decodes in five minutes", flush=True)
    minutes = 0.0  # For a problem of each task.
    for folder, (task, problems) in zip(folders, TRIED.items(), strict=True):
        run_shown(sweep_of(task, problems), folder, batch_size=BATCH, workers=workers)
        seconds = sum(row.seconds for row in read_seconds(folder / "seconds.parquet"))
        minutes += seconds / workers / problems / 60
    most, *_, fewest = PROBLEMS
    chosen = next((problems for problems in PROBLEMS if minutes * problems <= MINUTES), fewest)
    if chosen < most:
        print(
            f"{most} problems of each task, which the README shows, would take this machine some {minutes * most:.0f} "
            f'minutes. Here are {chosen}; afterwards make demo DEMO="--problems {most}" goes on to {most}.'
        )
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, help="problems a cell (default: 50, fewer on a slow machine)")
    parser.add_argument("--out", type=Path, default=ROOT / "runs/demo")
    options = parser.parse_args()
    keep_memory()
    workers = min(2, os.cpu_count() or 1)
    started = time.perf_counter()
    folders = [options.out / task for task in TASKS]
    problems = options.problems or affordable(folders, workers)
    report = options.out / "report.html"
    for at, (task, folder) in enumerate(zip(TASKS, folders, strict=True)):
        run(task, problems, folder, workers)
        write_report(folders[: at + 1], report)
        if at == 0:
            print(f"In a browser already, while the rest is decoded: {report.resolve()}", flush=True)
    print(f"\n{time.perf_counter() - started:.0f} seconds in all", file=sys.stderr)
    print(f"Tables, rows and traces are in {options.out}; watch one:")
    print(f"  {sys.executable} -m nap trace show {folders[0]}/traces.jsonl")
    print(f"See it all, and replay it, in a browser: {report.resolve()}")


if __name__ == "__main__":
    with exits_on_bad_input("demo"):
        main()
