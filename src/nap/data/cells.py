"""Which model, policy, pace and cache made a trace, as its setting says. Traces are grouped by these four.

Does not read files (trace_files.py) or runs, whose rows name their own cells.
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
    """The cell that a trace's setting names. An imported trace may say anything, so nothing is taken for granted."""
    name, budget = model_of(trace), trace.setting.get("budget")
    tokens, steps = (budget.get("tokens"), budget.get("steps")) if isinstance(budget, dict) else (None, None)
    policy, cache = str(trace.setting.get("policy") or "unknown policy"), trace.setting.get("cache")
    kept = str(cache.get("name") or "none") if isinstance(cache, dict) else "none"
    return Cell(str(name or "unknown model"), policy, pace_of(tokens, steps), kept)


def model_of(trace: Trace) -> object:
    """The name of the model, where the setting has one."""
    model = trace.setting.get("model")
    return model.get("model") if isinstance(model, dict) else model


def pace_of(tokens: object, steps: object) -> str:
    """The pace that a budget gives: `4/step`, `64 steps` or `own`."""
    return f"{tokens}/step" if tokens else f"{steps} steps" if steps else "own"


def with_cache(policy: str, cache: str | None) -> str:
    """The policy's name for tables, with its cache where it has one."""
    return policy if cache in (None, "none") else f"{policy} ({cache} cache)"
