"""What many rows cost: `nap order` on short traces, `nap report` and the resumption of `nap eval` on many rows.

    python benchmarks/many_rows.py                    # 10,000 traces and 40,000 rows: two minutes
    python benchmarks/many_rows.py --traces 100000 --rows 112000

Decodes 14 problems, and makes all traces and rows from these by giving them other ids. Each figure is measured in a
process of its own: wall time, processor time and peak memory, the median of --repeats. docs/speed.md has the numbers.
Linux only.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import median
from typing import NamedTuple

import nap.evaluation.run as running
from nap.data.problems import Problem
from nap.data.trace import Trace
from nap.data.trace_files import write_traces
from nap.evaluation.rows import Entry
from nap.evaluation.sweep import Cell, Sweep
from nap.tasks.registry import load_task

POLICIES = ("ar", "low_confidence", "random", "entropy", "margin")
PACES = (1, 2, 4, 8)
MODELS = ("countdown-longcot", "countdown-nap")


# What a process held at most, and not what the one held that started it, as getrusage would say.
CHILD = """
import sys, time
from nap.cli import run
run(sys.argv[1:])
held = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(time.process_time(), held, file=sys.stderr)
"""


class Cost(NamedTuple):
    """Seconds on the clock, of a processor, and megabytes at most."""

    wall: float
    processor: float
    megabytes: float


def sweep_of(problems: int) -> Sweep:
    return Sweep(task="countdown", models=MODELS, policies=POLICIES, tokens_per_step=PACES, problems=problems)


def decoded(problems: int) -> dict[str, list[Entry]]:
    """A few real entries of each cell."""
    sweep, chosen = sweep_of(problems), load_task("countdown").load("test", problems)
    return {cell.name: running.evaluate(sweep, cell, chosen, range(problems), problems) for cell in sweep.cells()}


def write_many_traces(entries: list[Entry], count: int, path: Path) -> None:
    def traces() -> "islice[Trace]":
        endless = (entry.trace for _ in iter(int, 1) for entry in entries if entry.trace)
        return islice((replace(trace, problem_id=f"p{n}") for n, trace in enumerate(endless)), count)

    write_traces(traces(), path)


def run_many(real: dict[str, list[Entry]], problems: int, folder: Path) -> None:
    """A run's folder of many rows, each one of the real ones under another problem's id."""

    def made(
        sweep: Sweep, cell: Cell, known: list[Problem], chunk: range, traces: int, watch: object = None
    ) -> list[Entry]:
        found = []
        for index in chunk:
            one, name = real[cell.name][index % len(real[cell.name])], known[index].id
            trace = replace(one.trace, problem_id=name) if one.trace and index < traces else None
            found.append(replace(one, row=replace(one.row, problem_id=name, index=index), trace=trace))
        return found

    evaluate, running.evaluate = running.evaluate, made  # pyright: ignore[reportAttributeAccessIssue]
    try:
        running.run_sweep(sweep_of(problems), folder, batch_size=1000)
    finally:
        running.evaluate = evaluate


def cost_of(command: list[str], repeats: int) -> Cost:
    """Of `nap` with these arguments."""
    costs = []
    for _ in range(repeats):
        started = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", CHILD, *command], capture_output=True, text=True, check=True)
        processor, kilobytes = map(float, done.stderr.splitlines()[-1].split())
        costs.append(Cost(time.perf_counter() - started, processor, kilobytes / 1024))
    return Cost(*(median(column) for column in zip(*costs, strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    real = decoded(14)
    problems = options.rows // len(real)
    with tempfile.TemporaryDirectory() as place:
        traces, folder = Path(place) / "traces.jsonl", Path(place) / "run"
        write_many_traces([entry for entries in real.values() for entry in entries], options.traces, traces)
        run_many(real, problems, folder)
        flags = ["--models", *MODELS, "--task", "countdown", "--policies", *POLICIES]
        flags += ["--tokens-per-step", *map(str, PACES), "--problems", str(problems), "--out", str(folder)]
        commands = {
            f"nap order --json, {options.traces} traces": ["order", str(traces), "--json"],
            f"nap order, {options.traces} traces": ["order", str(traces)],
            f"nap report, {options.rows} rows without a summary": [
                "report", str(folder), "--out", str(Path(place) / "r.html"),
            ],
            f"nap eval again, {options.rows} rows": ["eval", *flags],
        }  # fmt: skip
        for name, command in commands.items():
            cost = cost_of(command, options.repeats)
            text = f"{cost.wall:6.1f} s, processor {cost.processor:6.1f} s, {cost.megabytes:5.0f} MB"
            print(f"{name:<45} {text}", flush=True)


if __name__ == "__main__":
    main()
