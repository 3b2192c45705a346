"""The order that a canvas was filled in: which step finalised each position, from a trace or a bare list.

What sources leave open is settled here once:

- Positions that do not count (prompt, headers, padding, what early stopping filled, what is still masked) are absent
  from the sequence entirely: they are no commits and no part of M. Positions keep their canvas numbers, so what stands
  on the two sides of a header or of padding is not adjacent.
- A remasked position counts at its last commit, so an order is always a permutation up to ties. An edit does not move
  its position. Edits and remasks are counted beside.

Letters: n counted positions, G steps that finalise something ("groups", numbered from 0).

Does not measure (arness.py, rates.py), and does not score text.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Integral
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nap.common.files import InputError
from nap.common.rows import read_values
from nap.data.trace import COMMIT, EDIT, REMASK, Trace

LARGEST = 2**31 - 1  # what the int32 columns of a Parquet trace hold


@dataclass(frozen=True, kw_only=True, eq=False)
class Order:
    """The step that finalised each counted position of one canvas.

    positions     [n] canvas positions, distinct and rising
    steps         [n] finalising step of each, from 0
    region        [n] slot of each: path j is j (from 0), the summary is `paths`
    paths         P; 0 for a bare order, which has no slots
    n_steps       S, steps of the whole run, also those that finalised nothing
    forwards      model calls, where known
    n_edits       edit events
    n_remasked    remask events
    n_uncounted   positions that were finalised and do not count: padding, end of text, fills
    """

    positions: NDArray[np.int64]
    steps: NDArray[np.int64]
    region: NDArray[np.int64]
    n_steps: int
    paths: int = 0
    forwards: int | None = None
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

    @cached_property
    def group(self) -> NDArray[np.int64]:
        """[n] steps renumbered 0..G-1, without the steps that finalised nothing."""
        return np.unique(self.steps, return_inverse=True)[1]

    @cached_property
    def size(self) -> NDArray[np.int64]:
        """[G] positions that each group finalised."""
        return np.bincount(self.group)

    @cached_property
    def by_step(self) -> NDArray[np.int64]:
        """[n] indices in the order of commitment, left to right inside a step."""
        return np.argsort(self.steps, kind="stable")

    @cached_property
    def overtaken(self) -> NDArray[np.int64]:
        """[n] positions to the left of each that a later step finalised."""
        return _greater_before(self.group)

    @cached_property
    def together(self) -> NDArray[np.int64]:
        """[n] positions to the left of each that its own step finalised."""
        starts = np.cumsum(self.size) - self.size
        together = np.empty(len(self), np.int64)
        together[self.by_step] = np.arange(len(self)) - starts[self.group[self.by_step]]
        return together


def _greater_before(ranks: NDArray[np.int64]) -> NDArray[np.int64]:
    """[n] how many earlier entries are greater, for ranks in 0..n-1. Merge counting, O(n log^2 n)."""
    n, index = len(ranks), np.arange(len(ranks))
    counts = np.zeros(n, np.int64)
    width = 1
    while width < n:
        pair, in_right = index // (2 * width), index // width % 2 == 1
        keys = pair * n + ranks
        left, right = np.sort(keys[~in_right]), keys[in_right]
        up_to_pair_end = np.searchsorted(left, (pair[in_right] + 1) * n)
        counts[in_right] += up_to_pair_end - np.searchsorted(left, right, side="right")
        width *= 2
    return counts


# Orders from traces and files


def order_of(trace: Trace, count_padding: bool = False) -> Order:
    """The order that a trace finalised its slots in.

    A position counts if it is in a slot, was last written by the model (not a fill) and is not masked at the end. It
    counts at its last commit; edits do not move it. Padding and end of text (`trace.uncounted`, judged by the final
    token) are left out unless `count_padding`.
    """
    committed, filled, n_edits, n_remasked = _replay(trace)
    final, hidden = trace.final, () if count_padding else trace.uncounted
    counted = sorted(p for p in committed if final[p] not in hidden)
    return Order(
        positions=np.array(counted, np.int64),
        steps=np.array([committed[p] for p in counted], np.int64),
        region=np.array([trace.region[p] for p in counted], np.int64),
        n_steps=trace.steps,
        paths=trace.paths,
        forwards=trace.forwards,
        n_edits=n_edits,
        n_remasked=n_remasked,
        n_uncounted=len(committed) + len(filled) - len(counted),
    )


def _replay(trace: Trace) -> tuple[dict[int, int], set[int], int, int]:
    """(last commit of each slot position that the model wrote, positions that were filled, edits, remasks)."""
    committed: dict[int, int] = {}
    filled: set[int] = set()
    n_edits = n_remasked = 0
    for step, kind, position, _, _ in trace.events:
        if trace.region[position] < 0:
            continue
        if kind == COMMIT:
            committed[position] = step
        elif kind == EDIT:
            n_edits += 1
        elif kind == REMASK:
            n_remasked += 1
            committed.pop(position, None)
            filled.discard(position)
        else:
            filled.add(position)
    return committed, filled, n_edits, n_remasked


def bare_order(pairs: Sequence[Sequence[int]]) -> Order:
    """The order of [position, step] pairs, in any sequence; a step may finalise several positions.

    Raises InputError for no pairs, a pair that is not two integers from 0 to `LARGEST`, or a position given twice.
    """
    if not isinstance(pairs, (list, tuple)) or not pairs:
        raise InputError(f"an order is a list of one or more [position, step] pairs, got {_shown(pairs)}")
    for pair in pairs:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not all(map(_is_index, pair)):
            raise InputError(
                f"{_shown(pair)} is not a [position, step] pair; both must be integers from 0 to {LARGEST}"
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


def read_orders(path: str | Path) -> Iterator[Order]:
    """The bare orders of a file: one JSON list of [position, step] pairs a line, blank lines skipped.

    Raises InputError that names the file and the line, or says that the file holds no order.
    """
    where = None
    for where, pairs in read_values(path):
        try:
            yield bare_order(pairs)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
    if where is None:
        raise InputError(f"{path} holds no order; expected one list of [position, step] pairs a line")
