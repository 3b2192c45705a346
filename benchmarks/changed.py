"""What 8-bit weights and compiled layers change in what a trained model writes: tokens and accuracy.

    python benchmarks/changed.py                                  # arith-nap and countdown-nap, 60 problems: minutes
    python benchmarks/changed.py --models arith-nap --int8 products --compile

A line for each setting: the share of tokens that differ from those without it, and the accuracy of both. Needs torchao
for --int8. Not a test. Results with date and machine: docs/speed.md. Does not measure time (benchmarks/decode.py).
"""

import argparse
import tempfile
from pathlib import Path
from typing import get_args

import numpy as np

import nap
from nap.models.int8 import Int8

POLICY, PACE = "low_confidence:block=16", 4


def decoded(
    model: str, folder: Path, problems: int, int8: Int8 | None, compiled: bool
) -> tuple[float, list[list[int]]]:
    """The accuracy in per cent, and the final canvases."""
    run = nap.evaluate(
        model, model.partition("-")[0], policies=[POLICY], tokens_per_step=[PACE], problems=problems, traces=problems,
        int8=int8, compile=compiled, out=folder,
    )  # fmt: skip
    return 100 * run.records[0].accuracy, [[*trace.final] for trace in run.traces()]


def changed(rows: list[list[int]], others: list[list[int]], masked: list[list[int]]) -> float:
    """The share of slots' tokens that differ, in per cent, mean over problems."""
    shares = [
        float((np.array(row) != np.array(other))[np.array(free)].mean())
        for row, other, free in zip(rows, others, masked, strict=True)
    ]
    return 100 * float(np.mean(shares))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["arith-nap", "countdown-nap"])
    parser.add_argument("--problems", type=int, default=60)
    parser.add_argument("--int8", nargs="*", choices=get_args(Int8), default=[*get_args(Int8)])
    parser.add_argument("--compile", action="store_true", help="with compiled layers too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models:
            accuracy, rows = decoded(model, Path(folder, model), options.problems, None, False)
            run = Path(folder, model)
            masked = [[event.position for event in trace.events] for trace in nap.read_traces(run)]
            for int8 in options.int8 or [None]:
                there = Path(folder, f"{model}-{int8}")
                now, others = decoded(model, there, options.problems, int8, options.compile)
                share = changed(rows, others, masked)
                print(f"{model} {int8 or ''}: {share:.2f} % changed, {accuracy:.1f} -> {now:.1f} %")


if __name__ == "__main__":
    main()
