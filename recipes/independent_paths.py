"""What do independent paths cost and save? The bundled models under full and under `paths` attention.

    python recipes/independent_paths.py                  # arith and countdown, one after the other
    python recipes/independent_paths.py --task arith     # one of them, on a machine with other work
    python recipes/independent_paths.py --page           # writes the tables of docs/independent_paths.md

Three models of a task: the bundled one as it was trained, under full attention; the same weights under `paths`, which
they have never seen (the control: what `paths` does to any model of today); and these weights trained on for STEPS
steps under `paths`. Each writes the same held-out problems by every policy of POLICIES, under `paths` with and without
the exact cache. Each is a run of `nap eval`, which continues after a kill. Expected wall time: 10 minutes a task on one
free core. Expected numbers on arith: 81 to 83 % under full attention, 1 to 2 % of the same weights under `paths`, 64 %
after 240 steps under `paths`; with the exact cache 724 query tokens a problem under a threshold, of 1034. On countdown:
79 to 83 %, none, and 60 to 67 %.
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path

from bundled import ROOT, Recipe, build_tokenizer, draw, fit, slots

from nap.canvas.visibility import Attention
from nap.common.files import atomic, exits_on_bad_input
from nap.common.memory import keep_memory
from nap.common.stats import bootstrap_mean, mcnemar, wilson_interval
from nap.common.text import markdown_table
from nap.evaluation.rows import Row
from nap.evaluation.run import run_sweep
from nap.evaluation.sweep import Sweep
from nap.models.checkpoint import ASSETS

TASKS = ("arith", "countdown")
STEPS, PROBLEMS = 240, 150
FORCED, SURE = "parallel_forced", "parallel_threshold:tau=0.9"
POLICIES = (FORCED, SURE)
# Where the task reads what a path answers, paths may stop each other.
AGREEING = (f"{FORCED}:agree=0.5", f"{SURE},agree=0.5")
PAGE, RESULTS = ROOT / "docs/independent_paths.md", ROOT / "docs/independent_paths.json"
FULL, CONTROL, TRAINED = NAMES = ("full", "full weights under paths", "trained under paths")
BEGIN, END = "<!-- rows: {} -->", "<!-- end -->"


def trained(task: str, runs: Path, steps: int) -> Path:
    """The bundled model trained on under `paths`, by the recipe of the bundled models."""
    return fit(
        build_tokenizer(task), slots(task, attention="paths"), partial(draw, task, "nap", 1), runs / f"{task}-paths",
        Recipe(steps=steps), seed=1, start=ASSETS / f"{task}-nap",
    )  # fmt: skip


def rows_of(task: str, name: str, model: str, attention: Attention, runs: Path, problems: int) -> list[Row]:
    """The rows of one model under one attention; under full attention the exact cache saves nothing."""
    what = Sweep(
        task=task, models=(model,), policies=(*POLICIES, *AGREEING * (task == "arith")), tokens_per_step=(3,),
        problems=problems, attention=attention, cache=("none",) if attention == "full" else ("none", "exact"),
    )  # fmt: skip
    return run_sweep(what, runs / f"{task}-{name.replace(' ', '-')}", traces=0)


def line(name: str, rows: list[Row], against: list[Row] | None) -> list[str]:
    """Accuracy, order and cost of one setting, with intervals; against another by McNemar's exact test."""
    right = sum(row.correct for row in rows)
    low, high = wilson_interval(right, len(rows))
    test = mcnemar([row.correct for row in against], [row.correct for row in rows]) if against else None

    def mean(column: str, digits: int) -> str:
        known = [float(value) for row in rows if (value := getattr(row, column)) is not None]
        low, high = bootstrap_mean(known)
        return f"{sum(known) / len(known):.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"

    points = f"{100 * (test.only_second - test.only_first) / len(rows):+.1f} ({test.p_value:.2g})" if test else "-"
    return [
        name, rows[0].policy, rows[0].cache or "", f"{100 * right / len(rows):.1f} [{100 * low:.0f}, {100 * high:.0f}]",
        points, mean("path_global_arness_at_1", 2), mean("global_arness_at_1", 2), mean("forwards", 1),
        mean("queries", 0),
    ]  # fmt: skip


HEADER = (
    "weights and attention", "policy", "cache", "accuracy %", "points against full (p)", "ARness/path", "ARness",
    "forwards", "query tokens",
)  # fmt: skip


def table(found: dict[str, list[Row]]) -> list[list[str]]:
    """A line a model, policy and cache."""
    cells = {name: _by_cell(rows) for name, rows in found.items()}
    return [
        line(name, rows, cells[FULL][policy, "none"] if name != FULL else None)
        for name, own in cells.items()
        for (policy, _), rows in own.items()
    ]


def _by_cell(rows: list[Row]) -> dict[tuple[str, str], list[Row]]:
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row.policy, row.cache or "none"), []).append(row)
    return found


def run_task(task: str, runs: Path, steps: int, problems: int) -> None:
    """Train and decode what is missing, and add the task's table to the results."""
    bundled = f"{task}-nap"
    found = {
        FULL: rows_of(task, FULL, bundled, "full", runs, problems),
        CONTROL: rows_of(task, CONTROL, bundled, "paths", runs, problems),
        TRAINED: rows_of(task, TRAINED, str(trained(task, runs, steps)), "paths", runs, problems),
    }
    told = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    told[task] = {"steps": steps, "problems": problems, "header": HEADER, "rows": table(found)}
    with atomic(RESULTS) as file:
        file.write(json.dumps(told, indent=1) + "\n")


def write_page() -> None:
    """Put the tables between their marks in docs/independent_paths.md."""
    text = PAGE.read_text()
    for task, told in json.loads(RESULTS.read_text()).items():
        begin = BEGIN.format(task)
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(END)
        text = f"{before}{begin}\n\n{markdown_table(told['header'], told['rows'])}\n{END}{after}"
    with atomic(PAGE) as file:
        file.write(text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=TASKS, help="this one alone")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/independent-paths", help="checkpoints and rows")
    parser.add_argument("--steps", type=int, default=STEPS, help="of training under paths")
    parser.add_argument("--problems", type=int, default=PROBLEMS)
    parser.add_argument("--page", action="store_true", help="write the tables of docs/independent_paths.md and stop")
    options = parser.parse_args()
    keep_memory()
    if not options.page:
        for task in [options.task] if options.task else TASKS:
            run_task(task, options.runs, options.steps, options.problems)
    write_page()
    return 0


if __name__ == "__main__":
    with exits_on_bad_input("independent_paths"):
        sys.exit(main())
