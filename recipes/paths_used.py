"""Tests whether answers come from the paths: the summary is written over paths that were put there.

    python recipes/paths_used.py      # the bundled models, 500 held-out problems; docs/study/paths-used.parquet

The paths of a canvas are left masked, or filled with what the model itself writes (forced, 4 tokens a step), with right
paths of the data, or with right paths of another problem whose answer is another; the model then writes the summary
alone, a token a step. A model that reads its paths is right over right ones, and gives the other problem's answer over
those of another problem. recipes/study_page.py makes a table of docs/study_details.md from the rows.
Expected wall time: 15 minutes on one core.
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bundled import ROOT
from numpy.typing import NDArray
from study import ARMS, BUNDLED, RESULTS, SLOTS

from nap.canvas.canvas import Canvas, fill, parse
from nap.common.files import exits_on_bad_input
from nap.common.parquet import write_parquet
from nap.data.samples import Sample
from nap.data.trace import HEADER, Trace
from nap.decoding.budget import Budget
from nap.decoding.decode import decode_traces
from nap.decoding.policies.ordered import LowConfidence
from nap.decoding.policies.paths import ParallelForced
from nap.decoding.policies.policy import Policy
from nap.decoding.prompt import canvas_of
from nap.models.denoiser import Denoiser
from nap.models.load import load
from nap.tasks.registry import Task, load_task

USED = RESULTS / "paths-used.parquet"
NOTHING, OWN, RIGHT, OTHER = GIVEN = ("nothing", "the model's own", "right ones", "right ones of another problem")
# Positions that are decoded together. The states of more leave a processor's cache, and a row takes 1.3 to 1.6 times as
# long.
POSITIONS = 1500


def others(task: Task, samples: list[Sample]) -> list[Sample]:
    """For each sample the next whose summary does not answer its problem: `8 figs` answers that of `8 pears`."""
    found = []
    for i, sample in enumerate(samples):
        turned = samples[i:] + samples[:i]
        found.append(next(other for other in turned if not task.check(sample.problem, other.summary)))
    return found


def over(canvas: Canvas, ids: NDArray[np.int64]) -> Canvas:
    """The canvas with these ids in its path slots, and only its summary left to write."""
    in_path = (canvas.region >= 0) & (canvas.region < canvas.spec.paths)
    return dataclasses.replace(
        canvas, ids=np.where(in_path, ids, canvas.ids), region=np.where(in_path, HEADER, canvas.region)
    )


def decoded(denoiser: Denoiser, canvases: Sequence[Canvas], policy: Policy, tokens: int | None) -> list[Trace]:
    """Traces of the canvases, so many tokens a step; None where the policy sets its own pace."""
    rows = max(1, POSITIONS // max(map(len, canvases)))
    batches = [canvases[start : start + rows] for start in range(0, len(canvases), rows)]
    return [t for batch in batches for t in decode_traces(denoiser, batch, policy, budget=Budget(tokens=tokens))]


def paths_ids(
    given: str, denoiser: Denoiser, canvases: Sequence[Canvas], taken: Sequence[Sample]
) -> list[NDArray[np.int64]]:
    """Of each canvas the ids to put into its path slots, where they come from data those of the samples taken."""
    if given == NOTHING:
        return [canvas.ids for canvas in canvases]
    if given == OWN:
        return [np.array(trace.final) for trace in decoded(denoiser, canvases, ParallelForced(), 4)]
    texts = [[*(path.text for path in sample.paths), sample.summary] for sample in taken]
    return [fill(c, t, denoiser.tokenizer, denoiser.pad_id) for c, t in zip(canvases, texts, strict=True)]


def rows_of(task_name: str, arm: str, problems: int) -> list[dict[str, Any]]:
    """What a bundled model answers over each kind of paths."""
    task: Any = load_task(task_name)
    denoiser = load(str(ROOT / f"src/nap/assets/{task_name}-{BUNDLED[arm]}"), dtype="float32")
    assert denoiser.canvas is not None
    samples = [ARMS[arm].view(task.sample(0, index, split="test")) for index in range(problems)]
    canvases = [canvas_of(denoiser, sample.problem, denoiser.canvas) for sample in samples]
    beside = others(task, samples)
    rows = []
    for given in GIVEN:
        ids = paths_ids(given, denoiser, canvases, beside if given == OTHER else samples)
        filled = [over(*each) for each in zip(canvases, ids, strict=True)]
        traces = decoded(denoiser, filled, LowConfidence(), 1)
        for index, (trace, sample, other) in enumerate(zip(traces, samples, beside, strict=True)):
            text = parse(canvases[index], trace.final, denoiser.tokenizer, trace.uncounted).summary
            right, follows = (task.check(one.problem, text) for one in (sample, other))
            rows.append(
                {"task": task_name, "arm": arm, "given": given, "index": index, "correct": right, "follows": follows}
            )
        right = sum(row["correct"] for row in rows[-problems:])
        print(f"{task_name}-{BUNDLED[arm]}, over {given}: {right} of {problems} right", flush=True)
    return rows


def main() -> int:
    import pyarrow as pa
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=500)
    parser.add_argument("--out", type=Path, default=USED)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for task in SLOTS for arm in BUNDLED for row in rows_of(task, arm, options.problems)]
    write_parquet(options.out, pa.Table.from_pylist(rows))
    return 0


if __name__ == "__main__":
    with exits_on_bad_input("paths_used"):
        sys.exit(main())
