"""The core of the study once more, beside its stored figures: one seed of two arms, trained anew and decoded.

    python recipes/reproduce.py                                     # countdown, 200 problems, into runs/reproduce
    python recipes/reproduce.py --task arith --problems 500

Two processes of recipes/reproduce_arm.py do the work, on one core each; this command shows their progress and compares
the results. The same command resumes. Expected wall time: 15 minutes on two cores, most of it training; arith takes
twice as long. Expected numbers: those of docs/study_details.md, most of them "same", which means within the range of 95
% of further training seeds.
"""

import argparse
import json
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from nap.commands.tables import draw, open_console
from nap.common.files import InputError, exits_on_bad_input
from nap.common.folder import run_folder
from nap.common.stats import Interval, bootstrap_mean, prediction_interval, wilson_interval

ROOT = Path(__file__).parent.parent
TASKS, ARMS = ("countdown", "arith"), ("long", "nap")
# Decoding is the rest of the time.
TRAINING = 0.85
POLL_SECONDS = 2.0
# Of a mean of zeros and ones.
ROUNDING = 1e-9


def again(task: str, problems: int, folder: Path, study: Path, dtype: str = "bfloat16") -> list["Figure"]:
    """Train, decode, compare. Raises InputError where there is nothing stored to compare with."""
    seeds = stored_seeds(study, task)
    stored = [{arm: read(study / f"{task}-{arm}-{seed}.parquet") for arm in ARMS} for seed in seeds]
    steps = {found.setting["steps"] for side in stored for found in side.values()}
    fewest = min(found.setting["problems"] for side in stored for found in side.values())
    if len(steps) > 1 or not 2 <= problems <= fewest:
        raise InputError(f"problems must be 2 to {fewest}, of models of as many steps; got {problems}, {steps}")
    rerun(task, problems, folder, steps.pop(), dtype)
    return compare(stored, {arm: read(folder / f"{arm}.parquet") for arm in ARMS}, problems)


def rerun(task: str, problems: int, folder: Path, steps: int, dtype: str) -> None:
    """Run both arms to their end, and report progress. Raises InputError if one fails."""
    with ExitStack() as held:
        setting = {"task": task, "problems": problems, "steps": steps, "dtype": dtype}
        held.enter_context(run_folder(folder, "reproduce", setting))
        todo = [arm for arm in ARMS if not (folder / f"{arm}.parquet").exists()]
        running = {}
        for arm in todo:
            log = held.enter_context((folder / f"{arm}.log").open("ab"))
            command = [
                sys.executable, Path(__file__).with_name("reproduce_arm.py"), "--task", task, "--arm", arm,
                "--out", folder, "--steps", str(steps), "--problems", str(problems),
                "--dtype", dtype,
            ]  # fmt: skip
            running[arm] = subprocess.Popen(command, stdout=log, stderr=log)
            held.callback(end, running[arm])
        watch(running, folder, steps)


def stored_seeds(study: Path, task: str) -> list[int]:
    """The training seeds that both arms have. Raises InputError for fewer than two, which have no spread."""
    found = [
        {int(path.stem.rpartition("-")[2]) for path in study.glob(f"{task}-{arm}-[0-9].parquet")} for arm in ARMS
    ]  # fmt: skip
    seeds = sorted(set.intersection(*found))
    if len(seeds) < 2:
        raise InputError(
            f"{study} has {len(seeds)} seeds of {task}, where two at least are needed to compare with; "
            "python recipes/study.py makes them"
        )
    return seeds


def end(process: "subprocess.Popen[bytes]") -> None:
    """Stop the processes that still run, as after Ctrl-C."""
    process.terminate()
    process.wait()


def watch(running: "dict[str, subprocess.Popen[bytes]]", folder: Path, steps: int) -> None:
    """Wait for all processes, with a line on standard error whenever one makes progress."""
    started, said = time.perf_counter(), ""
    first = {arm: share_done(folder / arm, steps) for arm in running}
    while True:
        codes = {arm: process.poll() for arm, process in running.items()}
        for arm, code in codes.items():
            if code:
                last = (folder / f"{arm}.log").read_text(errors="replace").strip().rpartition("\n")[2]
                raise InputError(f"the arm {arm} ended with code {code} ({last:.120}); {folder / arm}.log says more")
        now = {arm: 1.0 if codes[arm] == 0 else share_done(folder / arm, steps) for arm in running}
        line = ", ".join(f"{arm} {100 * share:.0f} %" for arm, share in now.items())
        if line != said:
            seconds = time.perf_counter() - started
            left = [seconds * (1 - now[arm]) / (now[arm] - first[arm]) for arm in running if now[arm] > first[arm]]
            eta = f", about {max(left) / 60:.0f} min left" if len(left) == len(running) else ""
            print(f"{line} done{eta}", file=sys.stderr, flush=True)
            said = line
        if all(code == 0 for code in codes.values()):
            return
        time.sleep(POLL_SECONDS)


def share_done(folder: Path, steps: int) -> float:
    """The share of an arm's work that is done: by its newest checkpoint, or after training by its decoded problems."""
    if (folder / "final/training.json").is_file():
        journal = folder / "decoders/journal.jsonl"
        done = journal.read_bytes().count(b"\n") if journal.exists() else 0
        return TRAINING + (1 - TRAINING) * done / max(done, decodings(folder))
    reached = [int(path.parent.name.rpartition("-")[2]) for path in folder.glob("checkpoint-*/trainer_state.json")]
    return TRAINING * max(reached, default=0) / steps


def decodings(folder: Path) -> int:
    """How many problems an arm decodes, over all its settings."""
    try:
        setting = json.loads((folder / "decoders/setting.json").read_bytes())
    except OSError:
        return 1
    return len(setting["policies"]) * len(setting["tokens_per_step"]) * setting["problems"]


@dataclass(frozen=True)
class Rows:
    """An arm's rows, and what they were made with."""

    setting: dict[str, Any]
    rows: list[dict[str, Any]]

    def right(self, policy: str, pace: str, problems: int) -> list[float]:
        """1 for each of the first problems that was right, else 0."""
        found = {row["index"]: row["correct"] for row in self.rows if (row["policy"], row["pace"]) == (policy, pace)}
        return [float(found[index]) for index in range(problems)]


def read(path: Path) -> Rows:
    """The rows of a model of the study."""
    import pyarrow.parquet as pq

    from nap.common.parquet import read_parquet

    return Rows(json.loads((pq.read_schema(path).metadata or {})[b"setting"]), read_parquet(path))


@dataclass(frozen=True)
class Figure:
    """An accuracy, or the difference of two arms.

    stored    value of each training seed of the study, on the same problems
    expected  range of 95 % of further seeds, by the spread of the stored ones
    interval  95 % interval of `now`, over problems
    same      whether `now` is as expected
    """

    what: str
    policy: str
    pace: str
    stored: list[float]
    expected: Interval
    now: float
    interval: Interval
    same: bool


def compare(stored: list[dict[str, Rows]], now: dict[str, Rows], problems: int) -> list[Figure]:
    """Every accuracy of both arms, and the difference that the study is about, `nap` minus `long`."""
    found = []
    for policy, pace in dict.fromkeys((row["policy"], row["pace"]) for row in now[ARMS[0]].rows):
        sides = [{arm: side[arm].right(policy, pace, problems) for arm in ARMS} for side in (*stored, now)]
        for side in sides:
            side["nap - long"] = [b - a for a, b in zip(side["long"], side["nap"], strict=True)]
        for what, right in sides[-1].items():
            means = [fmean(side[what]) for side in sides]
            low, high = prediction_interval(means[:-1])
            expected = Interval(max(low, 0.0 if what in ARMS else -1.0), min(high, 1.0))
            interval = wilson_interval(int(sum(right)), problems) if what in ARMS else bootstrap_mean(right)
            same = expected.low - ROUNDING <= means[-1] <= expected.high + ROUNDING
            found.append(Figure(what, policy, pace, means[:-1], expected, means[-1], interval, same))
    return found


def show(figures: list[Figure]) -> None:
    """The table in points, and how to read it."""

    def points(mean: float, interval: Interval) -> str:
        return f"{100 * mean:.0f} [{100 * interval.low:.0f}, {100 * interval.high:.0f}]"

    body = [
        [
            one.what, one.policy, one.pace, ", ".join(f"{100 * share:.0f}" for share in one.stored),
            points(fmean(one.stored), one.expected), points(one.now, one.interval), "same" if one.same else "differs",
        ]
        for one in figures
    ]  # fmt: skip
    seeds = len(figures[0].stored)
    draw(
        open_console(), ["right of 100", "policy", "pace", f"stored, {seeds} seeds", "another seed", "now", ""], body
    )  # fmt: skip
    same, gaps = sum(one.same for one in figures), [one for one in figures if one.what == "nap - long"]
    kept = sum((fmean(one.stored) > 0) == (one.now > 0) for one in gaps)
    print(
        f"{same} of {len(figures)} figures are the same: where 95 % of further seeds fall, by the spread of the "
        f"{seeds} stored ones (few, so that is wide). The arms are in the stored order in {kept} of {len(gaps)} "
        "settings.\n"
        "On another machine sums are rounded otherwise, so the same seed makes another model there."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=TASKS, default=TASKS[0], help="countdown, which takes less time, or arith")
    parser.add_argument("--problems", type=int, default=200, help="how many of the study's held-out problems")
    parser.add_argument("--out", type=Path, default=Path("runs/reproduce"), help="the run's folder")
    parser.add_argument("--study", type=Path, default=ROOT / "docs/study", help="the stored rows to compare with")
    parser.add_argument(
        "--dtype", choices=("bfloat16", "float32"), default="bfloat16", help="of the trainings' products"
    )
    parser.add_argument("--json", action="store_true", help="print the comparison as JSON")
    options = parser.parse_args()
    figures = again(options.task, options.problems, options.out, options.study, options.dtype)
    if options.json:
        known = {"task": options.task, "problems": options.problems}
        print(json.dumps(known | {"figures": [asdict(one) for one in figures]}))
    else:
        show(figures)


if __name__ == "__main__":
    with exits_on_bad_input("reproduce"):
        main()
