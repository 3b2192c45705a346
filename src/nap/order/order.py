"""The order that a canvas was filled in: which step finalised each position, from a trace or a bare list.

These rules hold for every source:

- Positions that do not count (prompt, headers, padding, what early stopping filled, what is still masked) are absent
  from the sequence: they are neither commits nor masked positions. Positions keep their canvas numbers, so the
  neighbours of a header or of padding are not adjacent.
- A remasked position counts at its last commit, so an order is always a permutation up to ties. An edit does not move
  its position. Edits and remasks have counts of their own.

Letters: n counted positions.

Does not measure (arness.py, rates.py), and does not score text.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nap.common.files import InputError, placed
from nap.common.rows import read_values
from nap.data.trace import EDIT, REMASK, Replay, Trace

LARGEST = 2**31 - 1  # the largest value that the int32 columns of a Parquet trace hold


@dataclass(frozen=True, kw_only=True, eq=False)
class Order:
    """The step that finalised each counted position of one canvas.

    positions     [n] canvas positions, distinct and rising
    steps         [n] finalising step of each, from 0
    region        [n] slot of each: path j is j (from 0), the summary is `paths`
    paths         P; 0 for a bare order, which has no slots
    n_steps       S, steps of the whole run, including those that finalised nothing
    forwards      model calls, where known
    queries       positions computed in them, where counted
    guide_calls   calls of a second model, where counted
    n_edits       edit events
    n_remasked    remask events
    n_uncounted   finalised positions that do not count: padding, end of text, fills
    """

    positions: NDArray[np.int64]
    steps: NDArray[np.int64]
    region: NDArray[np.int64]
    n_steps: int
    paths: int = 0
    forwards: int | None = None
    queries: int | None = None
    guide_calls: int | None = None
    n_edits: int = 0
    n_remasked: int = 0
    n_uncounted: int = 0

    def __len__(self) -> int:
        return len(self.positions)

    def where(self, chosen: NDArray[np.bool_]) -> "Order":
        """The chosen positions ([n] bool) as a sequence of their own."""
        return replace(
            self, positions=self.positions[chosen], steps=self.steps[chosen], region=self.region[chosen], paths=0
        )

    def among(self, positions: NDArray[np.int64]) -> "Order":
        """The order restricted to these positions; the number of paths stays."""
        return replace(self.where(np.isin(self.positions, positions)), paths=self.paths)


# Orders from traces and files


def order_of(trace: Trace, count_padding: bool = False) -> Order:
    """The order that a trace finalised its slots in.

    A position counts if it is in a slot, was last written by the model (not a fill) and is not masked at the end. It
    counts at its last commit; edits do not move it. Padding and end of text (`trace.uncounted`, judged by the final
    token) are left out unless `count_padding`.
    """
    replay, region = Replay(trace.initial, trace.mask_id).apply(trace.events), trace.region
    hidden = () if count_padding else trace.uncounted
    committed = {p: step for p, step in replay.committed.items() if region[p] >= 0}
    counted = sorted(p for p in committed if replay.ids[p] not in hidden)
    kinds = Counter(kind for _, kind, position, _, _ in trace.events if region[position] >= 0)
    return Order(
        positions=np.array(counted, np.int64),
        steps=np.array([committed[p] for p in counted], np.int64),
        region=np.array([region[p] for p in counted], np.int64),
        n_steps=trace.steps,
        paths=trace.paths,
        forwards=trace.forwards,
        queries=sum(cost.queries for cost in trace.costs) if trace.costs else None,
        guide_calls=sum(cost.guide_calls for cost in trace.costs) if trace.costs else None,
        n_edits=kinds[EDIT],
        n_remasked=kinds[REMASK],
        n_uncounted=len(committed) + sum(region[p] >= 0 for p in replay.filled) - len(counted),
    )


def bare_order(pairs: object) -> Order:
    """The order of [position, step] pairs, in any sequence; a step may finalise several positions.

    Raises InputError for no pairs, a pair that is not two integers from 0 to `LARGEST`, or a position given twice.
    """
    if not isinstance(pairs, (list, tuple)) or not pairs:
        raise InputError(f"an order is a list of one or more [position, step] pairs, got {_shown(pairs)}")
    for pair in pairs:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not all(map(_is_index, pair)):
            hint = '; a step for each position goes under its name, {"step_map": [0, 2, 1]}' if _is_index(pair) else ""
            raise InputError(
                f"{_shown(pair)} is not a [position, step] pair; both must be integers from 0 to {LARGEST}{hint}"
            )
    table = np.array(pairs, np.int64)
    positions, steps = table[table[:, 0].argsort()].T
    if len(twice := positions[1:][np.diff(positions) == 0]):
        raise InputError(f"position {twice[0]} occurs more than once; give each position its finalising step only")
    return Order(positions=positions, steps=steps, region=np.zeros_like(positions), n_steps=int(steps.max()) + 1)


def _is_index(value: object) -> bool:
    # JSON's true is an int to Python.
    return isinstance(value, Integral) and not isinstance(value, bool) and 0 <= int(value) <= LARGEST


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


# Fields of an object that may hold an order: pairs, or the step of each generated position (dLLM-RL, SGLang).
PAIRS, STEP_MAPS = "pairs", ("step_map", "step_maps")
# Fields in which samplers of other systems keep canvases, which `nap trace import` turns into traces.
CANVASES = {"histories": "dllm", "history": "dream", "canvases": "canvases"}


def holds_orders(value: object) -> bool:
    """Whether a value of a file is an order or holds orders, rather than being a trace."""
    if isinstance(value, list):
        return True
    return (
        isinstance(value, dict) and "version" not in value and bool({PAIRS, *STEP_MAPS, *CANVASES} & {*_parts(value)})
    )


def _parts(row: dict[str, object]) -> dict[str, object]:
    """The fields of the row, and those that SGLang nests one level deeper."""
    below = row.get("meta_info")
    return row | below if isinstance(below, dict) else row


def orders_in(value: object) -> Iterator[Order]:
    """The orders of a value: a list of pairs, an object with `pairs` or `step_map`(s), or a list of such objects.

    Raises InputError for anything else; for canvases the error names the command that reads them.
    """
    if isinstance(value, list) and value and all(isinstance(row, dict) and holds_orders(row) for row in value):
        for row in value:
            yield from orders_in(row)
        return
    if not isinstance(value, dict):
        yield bare_order(value)
        return
    parts = _parts(value)
    if source := next((source for name, source in CANVASES.items() if name in parts), None):
        raise InputError(f"these are canvases and no orders; first: nap trace import FILE OUT.jsonl --source {source}")
    if PAIRS in parts:
        yield bare_order(parts[PAIRS])
        return
    if not (maps := [parts[name] for name in STEP_MAPS if name in parts]):
        raise InputError(
            f"an order is a list of [position, step] pairs, or stands under pairs or step_map, got {_shown(value)}"
        )
    first = maps[0]
    nested = isinstance(first, list) and first and all(isinstance(one, list) for one in first)
    yield from map(_mapped, first if isinstance(first, list) and nested else [first])


def _mapped(steps: object) -> Order:
    """The order given by the step of each position; a step below 0 or null means that no step wrote it."""
    if not isinstance(steps, list):
        raise InputError(f"a step_map is a list of one step a position, got {_shown(steps)}")
    return bare_order([[place, step] for place, step in enumerate(steps) if not _is_unwritten(step)])


def _is_unwritten(step: object) -> bool:
    return step is None or (isinstance(step, int) and step < 0)


def read_orders(path: str | Path) -> Iterator[Order]:
    """The orders of a file: one list of [position, step] pairs a line, or rows as other systems write them.

    A row whose order is null (its run failed) is left out, and the log says how many are. Raises InputError that names
    the file and the line, or says that the file holds no order.
    """
    found, empty = 0, 0
    for where, value in read_values(path):
        if _is_null(value):
            empty += 1
            continue
        with placed(where):
            for order in orders_in(value):
                found += 1
                yield order
    if not found:
        null = f" (its {empty} rows are null)" if empty else ""
        raise InputError(f"{path} holds no order{null}; expected one list of [position, step] pairs a line")
    if empty:
        logging.getLogger(__name__).warning("%s: %d without an order (null) left out", path, empty)


def _is_null(value: object) -> bool:
    """Whether a row has a column for its order that is empty."""
    parts = _parts(value) if isinstance(value, dict) else {}
    there = [parts[name] for name in (PAIRS, *STEP_MAPS) if name in parts]
    return bool(there) and all(one is None for one in there)
