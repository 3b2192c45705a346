"""Are the problems of the test new? Accuracy on `arith` by how often training had a problem's graph, under other names.

    print(graph_table(read("arith")))

From the counts of graphs_seen.py. Expected wall time: seconds.
"""

from functools import cache

import graphs_seen
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from study_parts.rows import AO, FORCED, Rows, Setting, table, wilson

ARMS = (("long", AO), ("nap", AO), ("nap", FORCED), ("paths", AO), ("short", AO))


@cache
def seen() -> dict[int, NDArray[np.int64]]:
    """seed -> of each test problem how often its graph was in training; nothing where the recipe has not run."""
    if not graphs_seen.SEEN.exists():
        return {}
    found = pq.read_table(graphs_seen.SEEN)
    seed, index, count = (found[name].to_numpy() for name in ("seed", "index", "seen"))
    return {int(one): count[seed == one][np.argsort(index[seed == one])] for one in np.unique(seed)}


def known() -> list[int]:
    """Of each seed how many test problems have a graph of its training set."""
    return [int((counts > 0).sum()) for counts in seen().values()]


def graph_table(rows: Rows) -> str:
    """Accuracy at 4 tokens a step on the third of the problems whose graph was rarest in training, and on the rest."""
    body = []
    for arm, policy in ARMS:
        if found := by_rarity(rows, arm, policy):
            body.append([arm, policy, *(f"{right:.0f}" for right in found)])
    counts = [np.array_split(np.sort(counts), 3) for counts in seen().values()]
    ranges = [f"{min(p[0] for p in part)} to {max(p[-1] for p in part)} times" for part in zip(*counts, strict=True)]
    return table(["arm", "decoder", *(f"graph in training {times}" for times in ranges)], body)


def by_rarity(rows: Rows, arm: str, policy: str) -> list[float] | None:
    """Right at 4 tokens a step in %, mean over seeds, in each third of the problems, the rarest graphs first."""
    found = rows.by_setting.get(Setting(arm, policy, "4/step"), {})
    parts = [
        thirds(found[seed]["correct"], seen()[seed])
        for seed in sorted(found)
        if seed in seen() and len(found[seed]["correct"]) == len(seen()[seed])
    ]
    return [100 * float(np.mean(part)) for part in zip(*parts, strict=True)] if parts else None


@cache
def on_new() -> dict[Setting, dict[str, list[bool]]]:
    """What the bundled pair has right of problems of the `test`, and of `new` graphs; nothing where it has not run."""
    if not graphs_seen.NEW.exists():
        return {}
    found: dict[Setting, dict[str, list[bool]]] = {}
    for row in pq.read_table(graphs_seen.NEW).to_pylist():
        setting = Setting(row["arm"], row["policy"], f"{row['pace']}/step")
        found.setdefault(setting, {})[row["graphs"]] = row["each"]
    return found


def new_table() -> str:
    """Accuracy on problems of the test, and on problems of graphs that no seed was trained on."""
    if not on_new():
        return "Not run yet: `python recipes/graphs_seen.py --new`."
    body = [
        [setting.arm, setting.policy, setting.pace.removesuffix("/step"), wilson(right["test"]), wilson(right["new"])]
        for setting, right in on_new().items()
    ]
    return table(["arm", "decoder", "tokens a step", "first problems of the test", "problems of new graphs"], body)


def new_said() -> str:
    """The same in a sentence: each model under AO at 1 and at 4 tokens a step."""
    parts = []
    for arm, name in {"long": "the bundled chain has", "nap": "NAP"}.items():
        both = [on_new().get(Setting(arm, AO, pace), {}).get("new") for pace in ("1/step", "4/step")]
        parts += [f"{name} " + " and ".join(f"{100 * float(np.mean(right or [])):.0f}" for right in both)] * all(both)
    if not parts:
        return "These rows cannot say how much is right on new graphs."
    return f"On new graphs, at 1 and 4 tokens a step, {', '.join(parts)} %."


def thirds(correct: NDArray[np.float64], counts: NDArray[np.int64]) -> list[float]:
    """Right of the problems with the rarest, the middle and the most frequent graphs."""
    parts = np.array_split(np.argsort(counts, kind="stable"), 3)
    return [float(correct[part].mean()) for part in parts]
