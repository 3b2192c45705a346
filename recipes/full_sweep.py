"""The bundled models under every policy, on 500 held-out problems a task and on the public Countdown problems.

    python recipes/full_sweep.py [--problems 500] [--out runs/full]

Expected wall time: an hour and a half on two cores; the same command resumes it. Expected numbers: docs/models.md. The
256 public problems, which were never trained on, are looked for in NAP_DATA and skipped with a message where absent.
"""

import argparse
import os
from dataclasses import replace
from pathlib import Path

from demo import BATCH, MORE, ROOT, run, sweep_of

from nap.commands.evaluate import print_summary, run_shown
from nap.common.files import exits_on_bad_input
from nap.decoding.policies.registry import POLICIES
from nap.evaluation.findings import findings
from nap.evaluation.record_files import write_summary
from nap.evaluation.summary import summarise
from nap.tasks.registry import data_file

PUBLIC = "countdown/d1_countdown_cd3_test.jsonl"


def public_countdown(folder: Path, workers: int) -> None:
    data = data_file(PUBLIC)
    if not data.exists():
        print(f"\nwithout the public Countdown problems: there is no {data}; set NAP_DATA")
        return
    print("\ncountdown, the 256 public problems", flush=True)
    sweep = replace(sweep_of("countdown", 256, ("low_confidence", "parallel_forced")), data=str(data))
    records = summarise(run_shown(sweep, folder, batch_size=BATCH, workers=workers))
    write_summary(records, folder)
    print_summary(records, findings(records))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=500)
    parser.add_argument("--out", type=Path, default=ROOT / "runs/full")
    options = parser.parse_args()
    workers = min(2, os.cpu_count() or 1)
    public_countdown(options.out / "countdown-public", workers)
    for task in (*MORE, "arith", "countdown"):
        run(task, options.problems, options.out / f"{task}-{options.problems}", workers, tuple(POLICIES))


if __name__ == "__main__":
    with exits_on_bad_input("full sweep"):
        main()
