"""The study's rows as arrays, and how numbers and tables are written.

    rows = read("arith")
    rows.column(Setting("nap", AO, "4/step"), "correct")      # [seeds, problems]

Expected wall time: a second a task. Does not compare anything (contrasts.py, claims.py, falls.py).
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import study
from numpy.typing import NDArray

from nap.common.stats import crossed_bootstrap, wilson_interval

AO, FORCED = "low_confidence", "parallel_forced"
VOTE = f"vote of {study.VOTES}"
EQUATIONS = "equations_right"
TASKS = ("arith", "countdown")


@dataclass(frozen=True)
class Setting:
    """One decoder at one pace on the models of one arm."""

    arm: str
    policy: str
    pace: str


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of one task: setting -> seed -> column arrays, problems in one order."""

    by_setting: dict[Setting, dict[int, dict[str, NDArray[np.float64]]]]

    def column(self, setting: Setting, name: str, seeds: Sequence[int] | None = None) -> NDArray[np.float64]:
        """[S, N]: a column of the setting's models."""
        found = self.by_setting[setting]
        return np.stack([found[seed][name] for seed in sorted(found if seeds is None else seeds)])

    def shared(self, one: Setting, other: Setting) -> list[int]:
        """The seeds that both settings have."""
        return sorted(self.by_setting.get(one, {}).keys() & self.by_setting.get(other, {}).keys())


def read(task: str) -> Rows:
    found: dict[Setting, dict[int, dict[str, Any]]] = {}
    for path in sorted(study.RESULTS.glob(f"{task}-*.parquet")):
        table = pq.read_table(path)
        made = json.loads((table.schema.metadata or {})[b"setting"])
        frame = {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
        for policy, pace in dict.fromkeys(zip(frame["policy"], frame["pace"], strict=True)):
            chosen = (frame["policy"] == policy) & (frame["pace"] == pace)
            order = np.argsort(frame["index"][chosen])
            columns = {k: v[chosen][order].astype(float) for k, v in frame.items() if k not in ("policy", "pace")}
            columns.setdefault(EQUATIONS, np.full(len(order), np.nan))
            found.setdefault(Setting(made["arm"], policy, pace), {})[made["seed"]] = columns
    return Rows(found)


def percent(values: NDArray[np.float64]) -> str:
    low, high = crossed_bootstrap(values)
    return f"{100 * values.mean():.0f} [{100 * low:.0f}, {100 * high:.0f}]"


def decimal(values: NDArray[np.float64]) -> str:
    known = values[:, ~np.isnan(values).any(axis=0)]
    return f"{known.mean():.2f}" if known.size else ""


def by_pace(rows: Rows, arm: str, policy: str, cell: Callable[[Setting], str]) -> list[str]:
    settings = [Setting(arm, policy, f"{pace}/step") for pace in study.PACES]
    return [cell(setting) if setting in rows.by_setting else "" for setting in settings]


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def wilson(yes: Sequence[bool]) -> str:
    low, high = wilson_interval(sum(yes), len(yes))
    return f"{100 * sum(yes) / len(yes):.0f} [{100 * low:.0f}, {100 * high:.0f}]"


def interval_of(values: NDArray[np.float64]) -> str:
    known = values[:, np.isfinite(values).all(axis=0)]
    low, high = crossed_bootstrap(known)
    return f"{known.mean():.3f} [{low:.3f}, {high:.3f}]"
