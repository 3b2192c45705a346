"""How much of an order comes from the model, and how much from the choice among equally sure candidates.

    left = reordered(trace, within=0.01, side="left")    # of a trace decoded with low_confidence:keep=.01

A trace that kept its runners-up (the positions that each step could as well have committed) is put in two other orders.
At every step these take the leftmost, or the rightmost, of three kinds of positions: the one committed there, those as
good as it, and those committed earlier that the new order has put off. Where the two orders differ, the order is not
the model's. [ours] The recorded probabilities are used; another choice would have changed those that follow, which only
decoding again can tell (`nap order --model`).

A metric is used for a difference: from a random order, or between two settings. If ties move the metric by at least as
much, the difference is not identified.

Does not decode. Letters: n counted positions.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from nap.common.files import InputError
from nap.data.trace import COMMIT, EDIT, REMASK, Trace
from nap.order.order import Order, order_of
from nap.order.scores import OrderReport

Side = Literal["left", "right"]
SIDES: tuple[Side, Side] = ("left", "right")


def reordered(trace: Trace, within: float, side: Side, count_padding: bool = False) -> Order:
    """The order that the trace would have had, had each step taken the leftmost (rightmost) of what was as good.

    Raises InputError for a trace that kept no runners-up or none so far below, or that remasks or edits tokens.
    """
    _check(trace, within)
    order = order_of(trace, count_padding)
    step_of = dict(_taken(trace, within, min if side == "left" else max))
    return replace(order, steps=np.array([step_of[p] for p in order.positions.tolist()], np.int64))


def kept_within(trace: Trace) -> float | None:
    """How far below the best a candidate could be and still be kept as a runner-up; None where none were kept."""
    said = trace.setting.get("runners_up")
    kept = said.get("keep") if isinstance(said, dict) else None
    return float(kept) if trace.runners_up and isinstance(kept, int | float) else None


def _check(trace: Trace, within: float) -> None:
    kept = kept_within(trace)
    if kept is None:
        raise InputError(
            f"trace {trace.problem_id!r:.60} kept no runners-up; decode with keep={within:g} in the policy "
            f"(low_confidence:keep={within:g}), or give the model to decode again: --model"
        )
    if within > kept:
        raise InputError(f"trace {trace.problem_id!r:.60} kept runners-up within {kept:g}, not {within:g}")
    if any(event.kind in (REMASK, EDIT) for event in trace.events):
        raise InputError(
            f"trace {trace.problem_id!r:.60} takes tokens back or edits them, so that its order is no list"
        )


def _taken(trace: Trace, within: float, prefer: Callable[..., int]) -> Iterator[tuple[int, int]]:
    """(position, the step that takes it) of every commit."""
    kept = trace.setting["runners_up"]
    scope = trace.region if isinstance(kept, dict) and kept.get("in_slots") else (0,) * len(trace.region)
    commits = [event for event in trace.events if event.kind == COMMIT]
    ever = {event.position for event in commits}
    waiting, done = set[int](), set[int]()
    for step, position in ((event.step, event.position) for event in commits):
        near = trace.runners_up[step] if step < len(trace.runners_up) else ()
        waiting.add(position)
        could = waiting | {p for p, gap in near if gap <= within and p in ever}
        chosen = prefer(p for p in could - done if scope[p] == scope[position])
        done.add(chosen)
        waiting -= done
        yield chosen, step


@dataclass(frozen=True)
class Band:
    """A metric of an order, its values with ties taken right and left, and that of a random order of the same rules."""

    name: str
    value: float
    right: float
    left: float
    random: float

    @property
    def width(self) -> float:
        """How far ties move it."""
        values = (self.value, self.left, self.right)
        return max(values) - min(values)

    def identified(self, other: "Band | None" = None) -> bool:
        """Whether it differs from another band, by default from the random order, by more than ties move either."""
        if other is None:
            return self.width < abs(self.value - self.random)
        return max(self.width, other.width) < abs(self.value - other.value)

    def less(self, other: "Band | None" = None) -> str:
        """`-0.21, not identified`: the difference from another band, by default from the random order."""
        difference = self.value - (other.value if other else self.random)
        return f"{difference:+.2f}" + ("" if self.identified(other) else ", not identified")


def bands(own: OrderReport, left: OrderReport, right: OrderReport, random: OrderReport) -> list[Band]:
    """tau-b and Global-ARness@1, of the whole and within a path, of one order or of means over many."""
    found = []
    for name, read in _READ.items():
        values = [value for value in map(read, (own, right, left, random)) if value is not None]
        if len(values) == 4:
            found.append(Band(name, *values))
    return found


_READ: dict[str, Callable[[OrderReport], float | None]] = {
    "tau-b": lambda report: report.whole.tau_b,
    "Global-ARness@1": lambda report: report.at(1).global_arness,
    "tau-b in a path": lambda report: report.path_mean.tau_b if report.path_mean else None,
    "ARness@1 in a path": lambda report: report.path_at(1).global_arness,
}
