"""How often was the graph of each test problem of `arith` in the training set, under other names?

    python recipes/graphs_seen.py          # docs/study/graphs-seen.parquet: a row for each seed and test problem
    python recipes/graphs_seen.py --new    # docs/study/graphs-new.parquet: the bundled pair on problems of new graphs

No *problem* of the test occurs in training, but a problem is defined by its sentences: with other names, another item
or another distractor it is another problem, although what has to be computed is the same (`Graph.form`). A model of the
study sees 320,000 problems. recipes/study_page.py splits its rows by these counts. With --new the bundled models write
the first 200 problems of one seed more whose graph no seed of the study was trained on, and beside them the first 200
of the test. Expected wall time: two minutes on one core, with --new some twenty (an hour on one of 2017).
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

from bundled import ROOT, STEPS, Recipe
from paths_used import decoded
from study import BUNDLED, RESULTS

from nap.canvas.canvas import parse
from nap.common.files import atomic
from nap.data.problems import Problem
from nap.decoding.policies.registry import parse_policy
from nap.decoding.prompt import canvas_of
from nap.models.load import load
from nap.tasks.arith import Arith

SEEN, NEW = RESULTS / "graphs-seen.parquet", RESULTS / "graphs-new.parquet"
SEEDS, PROBLEMS = (0, 1, 2), 500
# Problems of new graphs, the seed that they come from, and what the bundled models write them by. A test's problems are
# one in sixteen of those that are drawn; where the graph is new the problem is, so any seed beside the study's serves.
WRITTEN, FRESH, POLICIES, PACES = 200, len(SEEDS), ("low_confidence", "parallel_forced"), (1, 4)


def seen(seed: int, trained: int, problems: int) -> list[int]:
    """Of each test problem the number of problems among the first `trained` of a training seed that have its graph."""
    task, counts = Arith(), forms(seed, trained)
    return [counts[task.graph(0, index, "test").form] for index in range(problems)]


def counted(trained: int) -> Iterator[dict[str, Any]]:
    """A row for each seed and test problem."""
    for seed in SEEDS:
        counts = seen(seed, trained, PROBLEMS)
        print(seed, sum(count > 0 for count in counts), flush=True)
        yield from ({"seed": seed, "index": index, "seen": times} for index, times in enumerate(counts))


def forms(seed: int, trained: int) -> Counter[Any]:
    """How often each graph is among the first `trained` problems of a training seed."""
    task = Arith()
    return Counter(task.graph(seed, index, "train").form for index in range(trained))


def new_problems(trained: int) -> Iterator[Problem]:
    """The problems of a fresh seed's stream whose graph no seed of the study was trained on, in its order."""
    task, known, found = Arith(), set().union(*(forms(seed, trained) for seed in SEEDS)), 0
    for index in count():
        if index % 100_000 == 0:
            print(f"{found} new graphs among {index:,} problems", flush=True)
        if task.graph(FRESH, index, "train").form not in known:
            found += 1
            yield task.generate(FRESH, index, "train")


def written(trained: int) -> Iterator[dict[str, Any]]:
    """What the bundled pair makes of problems of new graphs, and of the first of the test."""
    task = Arith()
    problems = {
        "new": [*islice(new_problems(trained), WRITTEN)],
        "test": [task.generate(0, index, "test") for index in range(WRITTEN)],
    }
    for arm, name in BUNDLED.items():
        denoiser = load(str(ROOT / f"src/nap/assets/arith-{name}"), dtype="float32")
        assert denoiser.canvas is not None
        for graphs, asked in problems.items():
            canvases = [canvas_of(denoiser, problem, denoiser.canvas) for problem in asked]
            for policy, pace in ((policy, pace) for policy in POLICIES for pace in PACES):
                right = [
                    task.check(problem, parse(canvas, trace.final, denoiser.tokenizer, trace.uncounted).summary)
                    for problem, canvas, trace in zip(
                        asked, canvases, decoded(denoiser, canvases, parse_policy(policy), pace), strict=True
                    )
                ]
                print(arm, graphs, policy, pace, sum(right), flush=True)
                yield {"arm": arm, "graphs": graphs, "policy": policy, "pace": pace, "each": right}


def main() -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trained", type=int, default=STEPS["arith"] * Recipe(steps=1).batch_size)
    parser.add_argument("--out", type=Path, help=f"default: {SEEN.name}, or {NEW.name}")
    parser.add_argument("--new", action="store_true", help="let the bundled pair write problems of new graphs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [*(written if options.new else counted)(options.trained)]
    with atomic(options.out or (NEW if options.new else SEEN), "wb") as file:
        pq.write_table(pa.Table.from_pylist(rows), file, compression="zstd")
    return 0


if __name__ == "__main__":
    sys.exit(main())
