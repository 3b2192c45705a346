"""What the page says of two studies beside the main one: real letters (text_order.py), and paths that were put there
(paths_used.py); and of data whose paths depend on each other by degrees.

    print(used_table())

Expected wall time: seconds.
"""

from collections.abc import Sequence
from functools import cache
from math import log
from pathlib import Path
from statistics import fmean

import numpy as np
import paths_used
import pyarrow.parquet as pq
import study
import text_order
from agreement_parts.measure import TIES
from numpy.typing import NDArray
from paths_used import GIVEN, OTHER
from text_order import MEASURES, VIEWS

from nap.common.stats import crossed_bootstrap, mean_interval
from nap.tasks.countdown import Countdown
from study_parts.rows import AO, Rows, Setting, interval_of, percent, table, wilson


def causal_table(rows: Rows) -> str:
    """Data whose paths depend on each other by degrees, and the order of the models that it makes."""
    body = []
    for arm in (name for name in study.ARMS if name.startswith("rewrites-")):
        setting = Setting(arm, AO, "1/step")
        share = int(arm.rpartition("-")[2]) / 100
        cells = [f"{share:g}", f"{ideal_seqdep(share):.2f}"]
        if setting in rows.by_setting:
            cells += [interval_of(rows.column(setting, name)) for name in ("global_arness@1", "path_global_arness@1")]
            cells.append(percent(rows.column(setting, "correct")))
        body.append(cells + ["-"] * (5 - len(cells)))
    return table(["q", "SeqDep, nats a path", "Global-ARness@1, AO", "within a path", "right, AO"], body)


def text_table() -> str:
    """Models of real letters: their order beside a random order's, by how much of the text's own order was left."""
    body = []
    for view, what in VIEWS.items():
        for policy in (AO, "random"):
            found = text_columns(view, policy)
            cells = [over_seeds(found[name]) if name in found else "-" for name in MEASURES]
            body.append([what, policy, f"{len(found.get('tau_b', ()))}", *cells, band(view) if policy == AO else "-"])
    return table(
        [
            "the slot's text", "decoder", "seeds", "Global-ARness@1", "(random)", "in a third", "Local-ARness@1",
            "tau-b", "tau-b by ties",
        ],
        body,
    )  # fmt: skip


def over_seeds(values_SN: Sequence[NDArray[np.float64]]) -> str:
    """A mean with Student's interval over the training seeds; of one seed with a bootstrap over problems."""
    if len(values_SN) == 1:
        return interval_of(np.array(values_SN))
    means = [float(np.nanmean(values_N)) for values_N in values_SN]
    low, high = mean_interval(means)
    return f"{fmean(means):.3f} [{low:.3f}, {high:.3f}]"


def band(view: str) -> str:
    """Tau-b where equally sure letters are taken from the right, and from the left."""
    sides = [text_columns(view, policy).get("tau_b") for policy in reversed(TIES)]
    return " to ".join(f"{np.nanmean(side):.3f}" for side in sides if side) or "-"


@cache
def used(path: Path, column: str) -> dict[tuple[str, str, str], list[bool]]:
    """(task, arm, the paths that were put there) -> a column of the answers over them."""
    found: dict[tuple[str, str, str], list[bool]] = {}
    for row in pq.read_table(path).to_pylist():
        found.setdefault((row["task"], row["arm"], row["given"]), []).append(row[column])
    return found


def used_table() -> str:
    """Answers of the bundled models over paths that were put there."""
    body = []
    for task, arm in dict.fromkeys((task, arm) for task, arm, _ in used(paths_used.USED, "correct")):
        cells = [wilson(used(paths_used.USED, "correct")[task, arm, given]) for given in GIVEN]
        body.append([task, arm, *cells, wilson(used(paths_used.USED, "follows")[task, arm, OTHER])])
    return table(["task", "model", *[f"over {given}" for given in GIVEN], "and gives that one's answer"], body)


def gain_of(task: str, arm: str, first: str, second: str) -> str:
    """Points of accuracy over one kind of paths less those over another, with the interval over problems."""
    one, other = (np.array([used(paths_used.USED, "correct")[task, arm, given]], float) for given in (first, second))
    gain = 100 * (other - one)
    low, high = crossed_bootstrap(gain)
    return f"{gain.mean():+.1f} [{low:+.1f}, {high:+.1f}]"


def text_columns(view: str, policy: str) -> dict[str, list[NDArray[np.float64]]]:
    """What was measured of a view's models under a decoder: seed by seed, problem by problem."""
    found: dict[str, list[NDArray[np.float64]]] = {}
    for path in sorted(text_order.RESULTS.glob(f"{view}-?.parquet")):
        rows = pq.read_table(path, filters=[("policy", "=", policy)])
        for name in {*MEASURES} & {*rows.column_names}:
            if rows[name].null_count < len(rows):
                found.setdefault(name, []).append(rows[name].to_numpy().astype(float))
    return found


def ideal_seqdep(share: float, problems: int = 300) -> float:
    """SeqDep (2602.23225 Eq. 4), nats a path, of paths that rewrite the one before with probability `share`, under the
    best scorer there is: the distribution that they are drawn from.

    Of K derivations the next path is the last one again with q + (1 - q) / K and any other with (1 - q) / K; without
    its history it is each with 1 / K.
    """
    task = Countdown(rewrites=share)
    total = 0.0
    for index in range(problems):
        among = len(task.written(task.generate(0, index, "train")))
        again, other = share + (1 - share) / among, (1 - share) / among
        total += again * log(again * among) + ((among - 1) * other * log(other * among) if other else 0)
    return total / problems
