"""Which model, policy, pace and cache a trace was made with, as its own setting says: what traces are grouped by.

Does not read files (trace_files.py), and knows no run: a run's rows say it themselves.
"""

from typing import NamedTuple

from nap.data.trace import Trace


class Cell(NamedTuple):
    """A model, a policy, a pace (`4/step`, `64 steps` or `own`) and a cache."""

    model: str
    policy: str
    pace: str
    cache: str = "none"

    @property
    def name(self) -> str:
        """`model | policy | pace`, and ` | cache` where there is one, as in the rows of a run."""
        return " | ".join(self[:3] if self.cache == "none" else self)


def cell_of(trace: Trace) -> Cell:
    """What the trace's setting says, which in an imported one may be anything."""
    model, budget = trace.setting.get("model"), trace.setting.get("budget")
    name = model.get("model") if isinstance(model, dict) else model
    tokens, steps = (budget.get("tokens"), budget.get("steps")) if isinstance(budget, dict) else (None, None)
    pace = f"{tokens}/step" if tokens else f"{steps} steps" if steps else "own"
    cache = trace.setting.get("cache")
    kept = str(cache.get("name") or "none") if isinstance(cache, dict) else "none"
    return Cell(str(name or "unknown model"), str(trace.setting.get("policy") or "unknown policy"), pace, kept)
