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
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import NamedTuple

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
    given = _listed(pairs)
    if not given:
        raise InputError(f"an order is a list of one or more [position, step] pairs, got {_shown(pairs)}")
    found = [*map(_listed, given)]
    for pair, both in zip(given, found, strict=True):
        if both is None or len(both) != 2 or not all(map(_is_index, both)):
            hint = '; a step for each position goes under its name, {"step_map": [0, 2, 1]}' if _is_index(pair) else ""
            raise InputError(
                f"{_shown(pair)} is not a [position, step] pair; both must be integers from 0 to {LARGEST}{hint}"
            )
    table = np.array(found, np.int64)
    positions, steps = table[table[:, 0].argsort()].T
    if len(twice := positions[1:][np.diff(positions) == 0]):
        raise InputError(f"position {twice[0]} occurs more than once; give each position its finalising step only")
    return Order(positions=positions, steps=steps, region=np.zeros_like(positions), n_steps=int(steps.max()) + 1)


def _listed(value: object) -> list[object] | None:
    """The members of a list, an array or another iterable; None of anything else, and of a text or an object."""
    return None if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable) else [*value]


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


class Found(NamedTuple):
    """An order of a file, and its name: its row's own `id`, or its number in the file."""

    label: str
    order: Order


def read_orders(path: str | Path) -> Iterator[Found]:
    """The orders of a file: one list of [position, step] pairs a line, or rows as other systems write them.

    A row whose order is null (its run failed) and a step map in which nothing was written are left out, and the log
    says how many are. Steps are counted from 1 if the least step in all step maps of the file is 1; a map alone may
    begin later, where its first step wrote nothing that was kept. Raises InputError that names the file and the line,
    or says that the file holds no order.
    """
    found, empty, first = 0, 0, _first_step(path)
    for where, value in read_values(path):
        with placed(where):
            for row in _rows(value):
                orders = [*_orders(row, first)]
                for number, order in enumerate(orders, 1):
                    if order is None:
                        empty += 1
                        continue
                    found += 1
                    yield Found(_label(row, number if len(orders) > 1 else None) or str(found), order)
    if not found:
        null = f" (its {empty} rows are null, or nothing was written in them)" if empty else ""
        raise InputError(f"{path} holds no order{null}; expected one list of [position, step] pairs a line")
    if empty:
        logging.getLogger(__name__).warning(
            "%s: %d without an order (null, or nothing was written) left out", path, empty
        )


def _rows(value: object) -> Iterator[object]:
    """The rows of a value: a list of pairs is one; so is an object, and a list of objects that hold orders is many."""
    if isinstance(value, list) and value and all(isinstance(row, dict) and holds_orders(row) for row in value):
        for row in value:
            yield from _rows(row)
    else:
        yield value


def _label(row: object, number: int | None) -> str | None:
    """The row's own id, with the number of one of several orders; None where it has none."""
    own = row.get("id") if isinstance(row, dict) else None
    if not isinstance(own, str | int) or isinstance(own, bool) or own == "":
        return None
    return str(own) if number is None else f"{own}/{number}"


def _orders(row: object, first: int) -> Iterator[Order | None]:
    """The orders of a row: pairs, or an object with `pairs` or `step_map`(s). None where nothing was written.

    Raises InputError for anything else; for canvases the error names the command that reads them.
    """
    if not isinstance(row, dict):
        yield bare_order(row)
        return
    parts = _parts(row)
    if source := next((source for name, source in CANVASES.items() if name in parts), None):
        raise InputError(f"these are canvases and no orders; first: nap trace import FILE OUT.jsonl --source {source}")
    there = [name for name in (PAIRS, *STEP_MAPS) if name in parts]
    if not there:
        raise InputError(
            f"an order is a list of [position, step] pairs, or stands under pairs or step_map, got {_shown(row)}"
        )
    if _is_null(row):
        yield None
    elif parts.get(PAIRS) is not None:
        yield bare_order(parts[PAIRS])
    else:
        yield from (_mapped(steps, first) for steps in _step_maps(row))


def _step_maps(row: object) -> list[object]:
    """The step maps of a row, of which it may have one for each output; empty for other rows."""
    parts = _parts(row) if isinstance(row, dict) else {}
    maps = next((parts[name] for name in STEP_MAPS if parts.get(name) is not None), None)
    if parts.get(PAIRS) is not None or maps is None:
        return []
    return maps if isinstance(maps, list) and maps and all(isinstance(one, list) for one in maps) else [maps]


def _first_step(path: str | Path) -> int:
    """From what the step maps of a file count: 1 where that is the least step in them, else 0. Stops at a lower one."""
    least = LARGEST
    for _, value in read_values(path):
        for row in _rows(value):
            maps = _step_maps(row)
            steps = [step for one in maps if isinstance(one, list) for step in one if _is_index(step)]
            if (not maps and not _is_null(row)) or 0 in steps:
                return 0
            least = min([least, *steps])
    return int(least == 1)


def _mapped(steps: object, first: int) -> Order | None:
    """The order given by the step of each position, counted from `first`; None where no step wrote anything.

    A step below 0 or null means that no step wrote the position.
    """
    if not isinstance(steps, list):
        raise InputError(f"a step_map is a list of one step a position, got {_shown(steps)}")
    pairs = [[place, step] for place, step in enumerate(steps) if not _is_unwritten(step)]
    order = bare_order(pairs) if pairs else None
    return order and replace(order, steps=order.steps - first, n_steps=order.n_steps - first)


def _is_unwritten(step: object) -> bool:
    return step is None or (isinstance(step, int) and step < 0)


def _is_null(row: object) -> bool:
    """Whether a row has a column for its order that is empty."""
    parts = _parts(row) if isinstance(row, dict) else {}
    there = [parts[name] for name in (PAIRS, *STEP_MAPS) if name in parts]
    return bool(there) and all(one is None for one in there)
