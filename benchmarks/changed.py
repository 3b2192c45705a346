"""What 8-bit weights and compiled layers change in what a trained model writes: tokens and accuracy.

    python benchmarks/changed.py                                  # arith-nap and countdown-nap, 60 problems: minutes
    python benchmarks/changed.py --models arith-nap --int8 products --compile

A line for each setting: the share of tokens that differ from those without it, and the accuracy of both. Needs torchao
for --int8. Not a test. Results with date and machine: docs/speed.md. Does not measure time (benchmarks/decode.py).
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import get_args

import nap
from nap.common.parquet import read_parquet
from nap.common.records import from_row
from nap.evaluation.rows import Row
from nap.evaluation.summary import differing
from nap.models.int8 import Int8

POLICY, PACE = "low_confidence:block=16", 4


def decoded(model: str, folder: Path, problems: int, int8: Int8 | None, compiled: bool) -> list[Row]:
    """The rows, in the order of the problems."""
    nap.evaluate(
        model, model.partition("-")[0], policies=[POLICY], tokens_per_step=[PACE], problems=problems, int8=int8,
        compile=compiled, out=folder,
    )  # fmt: skip
    return [from_row(Row, row) for row in read_parquet(folder / "rows.parquet")]


def changed(rows: Sequence[Row], others: Sequence[Row]) -> float:
    """The share of slots' tokens that differ, in per cent, mean over problems: as of caches (docs/caches.md)."""
    pairs = zip(rows, others, strict=True)
    return 100 * fmean(share for one, other in pairs if (share := differing(one.tokens, other.tokens)) is not None)


def accuracy(rows: Sequence[Row]) -> float:
    """In per cent."""
    return 100 * fmean(row.correct for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["arith-nap", "countdown-nap"])
    parser.add_argument("--problems", type=int, default=60)
    parser.add_argument("--int8", nargs="*", choices=get_args(Int8), default=[*get_args(Int8)])
    parser.add_argument("--compile", action="store_true", help="with compiled layers too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models:
            rows = decoded(model, Path(folder, model), options.problems, None, False)
            for int8 in options.int8 or [None]:
                others = decoded(model, Path(folder, f"{model}-{int8}"), options.problems, int8, options.compile)
                share, now = changed(rows, others), accuracy(others)
                print(f"{model} {int8 or ''}: {share:.2f} % changed, {accuracy(rows):.1f} -> {now:.1f} %")


if __name__ == "__main__":
    main()
