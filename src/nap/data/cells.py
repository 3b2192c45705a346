"""Which model, policy, pace and cache made a trace, as its setting says. Traces are grouped by these four.

    cells = Cells()
    owns = [own for trace, own in cells.once(traces)]    # traces of files that somebody put together
    cells.named(owns[0])

Where the rest of the setting differs within a cell (temperature, seed, end of text, canvas), the cell is split by it.
Does not read files (trace_files.py) or runs, whose rows name their own cells.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from nap.common.folder import digest, flat
from nap.data.trace import Trace

# The pace of a policy that keeps no budget.
OWN_PACE = "own"
_NUMBER = re.compile(r"-?\d+(?:\.\d*)?(?:e-?\d+)?|-?\.\d+")


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
    return f"{tokens}/step" if tokens else f"{steps} steps" if steps else OWN_PACE


# Of a trace's setting, what the cell says itself, and what changes no decode.
ASIDE = (
    "model", "model.model", "policy", "budget.tokens", "budget.steps", "cache.name", "cache.exact", "runners_up",
    "cancelled", "versions",
)  # fmt: skip


class Own(NamedTuple):
    """The cell of a trace, and the rest of its setting as a text."""

    cell: Cell
    rest: str


class Cells:
    """The cells of traces that come one after the other, each decode of a problem once.

    repeated  how many traces came before
    rivals    how many are of a problem and a setting that came before, seed included, and wrote otherwise
    """

    def __init__(self) -> None:
        self.repeated = self.rivals = 0
        self._seen, self._asked = set[str](), set[str]()
        self._rests: dict[Cell, dict[str, dict[str, object]]] = {}

    def once(self, traces: Iterable[Trace]) -> Iterator[tuple[Trace, Own]]:
        """The traces but for those that came before, each with its cell and setting."""
        for trace in traces:
            own = self._own(trace)
            asked = digest(repr((own, trace.problem_id, trace.initial)).encode(errors="replace"))
            # Probabilities are rounded otherwise in another batch.
            key = digest(repr((asked, [event[:4] for event in trace.events])).encode())
            if key in self._seen:
                self.repeated += 1
                continue
            self.rivals += asked in self._asked and "seed" in trace.setting
            self._seen.add(key)
            self._asked.add(asked)
            yield trace, own

    def _own(self, trace: Trace) -> Own:
        """The trace's cell and the rest of its setting."""
        rest = {
            key: value
            for key, value in flat(trace.setting).items()
            if key not in ASIDE
            and not key.startswith(("runners_up.", "versions."))
            # The canvas of a text with gaps is as long as the text.
            and not (key.startswith("canvas.") and trace.given)
        }
        cell, text = cell_of(trace), repr(sorted(rest.items(), key=lambda item: item[0]))
        self._rests.setdefault(cell, {})[text] = rest
        return Own(cell, text)

    def named(self, own: Own) -> Cell:
        """The cell of all these traces; where there are several settings of it, its policy has what tells this one."""
        rests = self._rests[own.cell]
        keys = dict.fromkeys(key for rest in rests.values() for key in rest)
        differ = [key for key in keys if len({repr(rest.get(key)) for rest in rests.values()}) > 1]
        if not differ:
            return own.cell
        told = ", ".join(f"{key.rpartition('.')[2]} {rests[own.rest].get(key)}" for key in differ)
        return own.cell._replace(policy=f"{own.cell.policy} ({told})")

    def notes(self) -> list[str]:
        """What was not counted, or counts although it may be of another model: a sentence each."""
        found = []
        if self.repeated:
            found.append(f"{self.repeated} traces were there already, and count once")
        if self.rivals:
            found.append(
                f"{self.rivals} traces are of a problem and a setting that were there already, and wrote otherwise; "
                "all count: are they of two models under one name?"
            )
        return found


def curves_of(cells: Iterable[Cell]) -> dict[Cell, str]:
    """The curve that each cell is a point of: its policy, or, of policies at their own pace that differ in one number
    alone, their name with `*` in its place (`threshold:tau=*`).
    """
    varied = {cell: _varied(cell.policy) if cell.pace == OWN_PACE else [] for cell in cells}
    members = Counter((cell.model, cell.cache, name) for cell, names in varied.items() for name in names)
    found = {}
    for cell, names in varied.items():
        counts = {name: members[cell.model, cell.cache, name] for name in names}
        largest = max(counts, key=lambda name: counts[name], default="")
        found[cell] = largest if counts.get(largest, 0) > 1 else cell.policy
    return found


def _varied(policy: str) -> list[str]:
    """The policy's name with `*` in place of each number of its settings in turn."""
    name, _, settings = policy.partition(":")
    parts = settings.split(",")
    return [
        f"{name}:{','.join([*parts[:i], f'{key}=*', *parts[i + 1 :]])}"
        for i, (key, _, value) in enumerate(part.partition("=") for part in parts)
        if _NUMBER.fullmatch(value)
    ]


def with_cache(policy: str, cache: str | None) -> str:
    """The policy's name for tables, with its cache where it has one."""
    return policy if cache in (None, "none") else f"{policy} ({cache} cache)"
