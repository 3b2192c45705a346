"""How much order does a text itself demand? Policies on a perfect model: the exact laws of tasks' paths and of prose.

    python recipes/exact_order.py      # writes the table of docs/exact.md

A law is fitted to a text and then decoded. Nothing is trained, and all probabilities are exact given what is written.
ARness of AO under the law is the order that the law itself demands. Expected wall time: 5 minutes on one core. Expected
numbers: those of docs/exact.md.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from bundled import ROOT

from nap.canvas.canvas import CanvasSpec, layout
from nap.common.files import atomic
from nap.data.trace import Trace
from nap.decoding.budget import Budget
from nap.decoding.decode import decode_traces
from nap.decoding.policies.registry import parse_policy
from nap.models.exact import ExactDenoiser, open_exact
from nap.models.exact_cost import cost_of
from nap.order.measure import measure
from nap.order.order import order_of
from nap.order.ties import SIDES, Band, bands, reordered
from nap.tasks.registry import data_file, load_task

PAGE, MARK = ROOT / "docs/exact.md", "<!-- results -->"
CANVASES, KEEP = 16, 0.01
AO = f"low_confidence:keep={KEEP}"


@dataclass(frozen=True, kw_only=True)
class Text:
    """What a law is fitted to and how much of it is written."""

    says: str
    lines: Any
    setting: str
    slot: int = 64


def paths_of(task: str, samples: int = 3000) -> Iterator[str]:
    """The training paths of a task, a line each."""
    made: Any = load_task(task)
    for index in range(samples):
        yield from (path.text for path in made.sample(0, index).paths)


def prose() -> Iterator[str]:
    """tinyshakespeare as one line."""
    yield " ".join(data_file("text/tinyshakespeare.txt").read_text().split())


TEXTS = (
    Text(says="`arith`, paths", lines=lambda: paths_of("arith"), setting="order=3", slot=28),
    Text(says="`countdown`, paths", lines=lambda: paths_of("countdown"), setting="order=3", slot=20),
    Text(says="prose, letters, order 3", lines=prose, setting="unit=letter,order=3"),
    Text(says="prose, letters, order 2", lines=prose, setting="unit=letter,order=2"),
    Text(says="prose, words, order 2", lines=prose, setting="order=2,vocabulary=2000"),
    Text(says="prose, words, 64 hidden states", lines=prose, setting="law=hmm,states=64,vocabulary=2000"),
)


def row_of(text: Text, folder: Path) -> list[str]:
    """AO one token a step and four, and what four cost."""
    path = folder / "text.txt"
    path.write_text("\n".join(text.lines()))
    denoiser = open_exact(f"exact:{path},{text.setting}")
    lines = [line for line in path.read_text().splitlines() if len(denoiser.tokenizer.encode(line)) > 1]
    one, four = (decoded(denoiser, lines, text, tokens) for tokens in (1, 4))
    reports = [measure(order_of(trace), (1,)) for trace in one]
    left, right = ([measure(reordered(trace, KEEP, side), (1,)) for trace in one] for side in SIDES)
    each = [bands(*orders) for orders in zip(reports, left, right, reports, strict=True)]
    tau, arness = ([next(band for band in row if band.name == name) for row in each] for name in NAMES)
    random = fmean(report.at(1).global_arness_random or 0 for report in reports)
    costs = [[cost_of(denoiser, trace, correlation=False) for trace in traces] for traces in (one, four)]
    nats = [sum(cost.nats for cost in found) / sum(cost.tokens for cost in found) for found in costs]
    lost = sum(cost.dependence for cost in costs[1]) / sum(cost.tokens for cost in costs[1])
    told = [_banded(found) for found in (tau, arness)]
    return [text.says, *told, f"{random:.2f}", *(f"{value:.2f}" for value in nats), f"{lost:+.2f}"]


def _banded(found: list[Band]) -> str:
    value, right, left = (fmean(getattr(band, name) for band in found) for name in ("value", "right", "left"))
    return f"{value:.2f} ({right:.2f} to {left:.2f})"


NAMES = ("tau-b", "Global-ARness@1")
HEAD = (
    "law", "tau-b", "Global-ARness@1", "(random)", "nats a token, 1 a step", "4 a step", "dependence ignored, 4 a step",
)  # fmt: skip


def decoded(denoiser: ExactDenoiser, lines: list[str], text: Text, tokens: int) -> list[Trace]:
    """Traces of AO behind the first words of some lines."""
    spec = CanvasSpec.plain(text.slot)
    canvases = []
    for number in range(CANVASES):
        ids = denoiser.tokenizer.encode(lines[number % len(lines)])
        start = 0 if len(lines) > 1 else 500 * number
        canvas = layout(ids[start : start + 2], spec, denoiser.tokenizer, denoiser.mask_id, problem_id=str(number))
        canvases.append(canvas)
    return decode_traces(denoiser, canvases, parse_policy(AO), budget=Budget(tokens=tokens))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    body = []
    with tempfile.TemporaryDirectory() as folder:
        for text in TEXTS:
            body.append(row_of(text, Path(folder)))
            print(body[-1], flush=True)
    lines = [f"| {' | '.join(cells)} |" for cells in (HEAD, ["---"] * len(HEAD), *body)]
    before = options.page.read_text(encoding="utf-8").partition(MARK)[0]
    with atomic(options.page) as file:
        file.write(before + MARK + "\n\n" + "\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
