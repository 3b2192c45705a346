"""How often was the graph of each test problem of `arith` in the training set, under other names?

    python recipes/graphs_seen.py      # docs/study/graphs-seen.parquet: a row for each seed and test problem

No *problem* of the test occurs in training, but a problem is defined by its sentences: with other names, another item
or another distractor it is another problem, although what has to be computed is the same (`Graph.form`). A model of the
study sees 320,000 problems. recipes/study_page.py splits its rows by these counts. Expected wall time: two minutes on
one core.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

from bundled import STEPS, Recipe
from study import RESULTS

from nap.common.files import atomic
from nap.tasks.arith import Arith

SEEN = RESULTS / "graphs-seen.parquet"
SEEDS, PROBLEMS = (0, 1, 2), 500


def seen(seed: int, trained: int, problems: int) -> list[int]:
    """Of each test problem the number of problems among the first `trained` of a training seed that have its graph."""
    task = Arith()
    counts = Counter(task.graph(seed, index, "train").form for index in range(trained))
    return [counts[task.graph(0, index, "test").form] for index in range(problems)]


def main() -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trained", type=int, default=STEPS["arith"] * Recipe(steps=1).batch_size)
    parser.add_argument("--out", type=Path, default=SEEN)
    options = parser.parse_args()
    rows = [
        {"seed": seed, "index": index, "seen": count}
        for seed in SEEDS
        for index, count in enumerate(seen(seed, options.trained, PROBLEMS))
    ]
    with atomic(options.out, "wb") as file:
        pq.write_table(pa.Table.from_pylist(rows), file, compression="zstd")
    print({seed: sum(row["seen"] > 0 for row in rows if row["seed"] == seed) for seed in SEEDS})
    return 0


if __name__ == "__main__":
    sys.exit(main())
