"""How much of the order is the model's? The bundled models decoded again, with equally sure candidates taken from
the left, from the right or at random.

    python recipes/tie_bands.py      # four models, 200 held-out problems a setting; docs/study/ties.parquet

A model that is sure of nearly everything orders a canvas by the fifth digit of its probabilities. Candidates within .01
of the best are therefore treated as equally sure, and the order is measured for each way to choose among them; where
these differ, the order is not the model's. The order of a decoder with the same rules (slots, turns of the paths,
summary last) and an uninformed model, over the same tokens, is the random order to compare with. recipes/study_page.py
reads the rows. Expected wall time: a quarter of an hour on one core; --problems 500 takes ten times as long. A killed
run continues with the model at which it stopped.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bundled import ROOT
from paths_used import decoded
from study import ARMS, BUNDLED, RESULTS, SLOTS

from nap.canvas.canvas import Canvas, parse
from nap.common.files import atomic, exits_on_bad_input
from nap.data.trace import COMMIT, Trace
from nap.decoding.policies.registry import parse_policy
from nap.decoding.prompt import canvas_of
from nap.models.denoiser import Denoiser
from nap.models.load import load
from nap.models.silent import Silent
from nap.order.arness import global_arness, random_baseline
from nap.order.measure import measure
from nap.order.order import Order, order_of
from nap.tasks.registry import load_task

BANDS = RESULTS / "ties.parquet"
WITHIN = 0.01
# How candidates are chosen among those within WITHIN of the best; `own` is the decoder as it is.
CHOICES = {"own": "", **{side: f":within={WITHIN},prefer={side}" for side in ("left", "right")}}
DECODERS = {"low_confidence": ("own", "left", "right"), "parallel_forced": ("own",)}
# A commit of more than this is one that the model does not rank.
SURE = 0.999
THIRDS = 3


def third_arness(order: Order) -> tuple[float, float]:
    """(Global-ARness@1, that of a random order), means over equal thirds of what a chain wrote, or over three paths.

    Not a number where nothing was written.
    """
    in_paths = order.where(order.region < order.paths)
    if order.paths == THIRDS:
        parts = [in_paths.where(in_paths.region == path) for path in range(THIRDS)]
    else:
        places = np.array_split(np.arange(len(in_paths)), THIRDS)
        parts = [in_paths.where(np.isin(np.arange(len(in_paths)), place)) for place in places]
    known = [part for part in parts if len(part)]
    if not known:
        return float("nan"), float("nan")
    values = [global_arness(part) or 0.0 for part in known]
    return float(np.mean(values)), float(np.mean([random_baseline(len(part)) for part in known]))


def columns(trace: Trace, silent: Trace) -> dict[str, float | None]:
    """The columns of a trace's order, and those of a decode by an uninformed model."""
    order = order_of(trace)
    guessed = order_of(silent, count_padding=True).among(order.positions)
    report, blind = measure(order, (1,)), measure(guessed, (1,))
    third, third_random = third_arness(order)
    sure = [event.probability > SURE for event in trace.events if event.kind == COMMIT]
    return {
        "tau_b": report.whole.tau_b,
        "tau_b_matched": blind.whole.tau_b,
        "global_arness@1": report.at(1).global_arness,
        "global_arness@1_random": report.at(1).global_arness_random,
        "global_arness@1_matched": blind.at(1).global_arness,
        "path_global_arness@1": report.path_at(1).global_arness,
        "path_global_arness@1_random": report.path_at(1).global_arness_random,
        "third_arness@1": third,
        "third_arness@1_random": third_random,
        "sure": float(np.mean(sure)),
    }


def rows_of(task_name: str, arm: str, problems: int) -> Iterator[dict[str, Any]]:
    """The rows of a bundled model under both decoders and every choice."""
    task: Any = load_task(task_name)
    denoiser = load(str(ROOT / f"src/nap/assets/{task_name}-{BUNDLED[arm]}"), dtype="float32")
    assert denoiser.canvas is not None
    samples = [ARMS[arm].view(task.sample(0, index, split="test")) for index in range(problems)]
    canvases = [canvas_of(denoiser, sample.problem, denoiser.canvas) for sample in samples]
    for policy, choices in DECODERS.items():
        silent = knowing_nothing(denoiser, canvases, policy)
        for choice in choices:
            traces = decoded(denoiser, canvases, parse_policy(policy + CHOICES[choice]), 1)
            for index, (trace, blind, sample) in enumerate(zip(traces, silent, samples, strict=True)):
                text = parse(canvases[index], trace.final, denoiser.tokenizer, trace.uncounted).summary
                known = {"task": task_name, "arm": arm, "policy": policy, "choice": choice, "index": index}
                yield known | {"correct": task.check(sample.problem, text)} | columns(trace, blind)
            print(f"{task_name}-{BUNDLED[arm]} {policy} {choice}", flush=True)


def knowing_nothing(denoiser: Denoiser, canvases: Sequence[Canvas], policy: str) -> list[Trace]:
    """The same decoder over the same canvases where every candidate is equally sure."""
    silent = Silent(denoiser.mask_id, denoiser.pad_id, denoiser.vocabulary, denoiser.tokenizer)
    return decoded(silent, canvases, parse_policy(f"{policy}:within=1,prefer=random"), 1)


def main() -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=50)
    parser.add_argument("--out", type=Path, default=BANDS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = pq.read_table(options.out).to_pylist() if options.out.exists() else []
    done = {(row["task"], row["arm"]) for row in rows}
    for task, arm in ((task, arm) for task in SLOTS for arm in BUNDLED if (task, arm) not in done):
        found = rows_of(task, arm, options.problems)
        rows += [{k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()} for row in found]
        with atomic(options.out, "wb") as file:
            pq.write_table(pa.Table.from_pylist(rows), file, compression="zstd")
    return 0


if __name__ == "__main__":
    with exits_on_bad_input("tie_bands"):
        sys.exit(main())
