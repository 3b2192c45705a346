"""Trains and decodes one model of the study again; recipes/reproduce.py starts two of these and compares.

    python recipes/reproduce_arm.py --arm nap --out runs/reproduce  # countdown-nap-0, into runs/reproduce/nap.parquet

Resumable. Expected wall time: 15 to 30 minutes on a core, most of it training. Expected numbers: those of
docs/study_details.md for the first training seed, to within the rounding of another machine.
"""

import argparse
import sys
from pathlib import Path

from bundled import DTYPES, SLOTS, STEPS
from study import ARMS, BUNDLED, DECODERS, Model, sweep, train_model, write_results

from nap.common.folder import lock

PACES = (1, 4)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=SLOTS, default="countdown")
    parser.add_argument("--arm", choices=ARMS, required=True)
    parser.add_argument("--out", type=Path, required=True, help="checkpoints, sweeps and rows")
    parser.add_argument("--steps", type=int, help="optimizer steps, instead of the task's own")
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--dtype", choices=DTYPES, default=DTYPES[0], help="of the products of the training")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    # Otherwise the model that the package holds would be taken for the trained one.
    BUNDLED.clear()
    model, folder = Model(task=options.task, arm=options.arm, seed=0), options.out / options.arm
    steps = options.steps or STEPS[options.task]
    folder.mkdir(parents=True, exist_ok=True)
    # The folder's own lock is the training's.
    with (options.out / f".{options.arm}.lock").open("a") as file:
        lock(file, folder)
        trained = train_model(model, folder, steps, dtype=options.dtype)
        rows = sweep(
            model, trained, options.problems, folder / "decoders", policies=DECODERS, tokens_per_step=PACES
        )  # fmt: skip
        setting = {"steps": steps, "problems": options.problems}
        write_results(model, options.out / f"{options.arm}.parquet", rows, setting)
    return 0


if __name__ == "__main__":
    sys.exit(main())
