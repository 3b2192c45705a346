"""What `nap order --ties-within` prints: how far ties among equally sure candidates move each metric.

Does not measure it (order/ties.py).
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, NamedTuple

from nap.commands.flags import Loading
from nap.commands.tables import draw, open_console, short
from nap.common.files import InputError

if TYPE_CHECKING:
    from nap.data.cells import Cells, Own
    from nap.data.trace import Trace
    from nap.models.denoiser import Denoiser
    from nap.order.order import Order
    from nap.order.ties import Band

BATCH = 16  # traces that are decoded again together
# How many random orders each trace is compared with.
DRAWS = 8


class Ways(NamedTuple):
    """The order of a trace, its orders with ties taken from the left and from the right, and random orders under the
    rules of its policy.
    """

    own: "Order"
    left: "Order"
    right: "Order"
    random: "list[Order]"


class Told(NamedTuple):
    """A trace's cell and its orders; where there are none, the reason."""

    own: "Own"
    ways: Ways | None
    reason: str = ""


def print_ties(
    file: str, within: float, model: str | None, loading: Loading, count_padding: bool, as_json: bool
) -> None:
    """Print the bands of the means over each cell's traces. Raises InputError where no trace has another order."""
    from nap.data.cells import Cells
    from nap.order.means import Aggregate
    from nap.order.measure import measure
    from nap.order.ties import bands

    totals: dict[Own, list[Aggregate]] = {}
    without: dict[Own, str] = {}
    cells = Cells()
    told = (
        decoded_again(file, cells, within, model, loading, count_padding)
        if model
        else kept(file, cells, within, count_padding)
    )
    for own, ways, reason in told:
        if ways is None:
            without.setdefault(own, reason)
            continue
        each = [ways.own], [ways.left], [ways.right], ways.random
        for total, orders in zip(totals.setdefault(own, [Aggregate() for _ in each]), each, strict=True):
            for order in orders:
                total.add(measure(order, (1,)), None)
    if not totals and without:
        raise InputError(next(iter(without.values())))
    found: dict[str, list[Band]] = {}
    for own, parts in totals.items():
        whole, left, right, random = (part.means()["all"].mean for part in parts)
        if whole and left and right and random:
            found[cells.named(own).name] = bands(whole, left, right, random)
    if as_json:
        _print_json(found, within)
    else:
        _print(found, within, list(without.values()))


def kept(file: str, cells: "Cells", within: float, count_padding: bool) -> Iterator[Told]:
    """The orders that follow from the runners-up in the traces."""
    from nap.data.trace_files import read_traces
    from nap.order.order import order_of
    from nap.order.ties import SIDES, reordered

    for trace, own in cells.once(read_traces(file)):
        order = order_of(trace, count_padding)
        try:
            left, right = (reordered(trace, within, side, count_padding) for side in SIDES)
            yield Told(own, Ways(order, left, right, random_orders(trace, order)))
        except InputError as error:
            yield Told(own, None, str(error))


def random_orders(trace: "Trace", own: "Order") -> "list[Order]":
    """Random orders of the positions that count in the trace's own order."""
    from nap.decoding.again import knowing_nothing
    from nap.order.order import order_of

    blind = [order_of(guess, count_padding=True) for guess in knowing_nothing(trace, DRAWS)]
    return [order.among(own.positions) for order in blind]


def decoded_again(
    file: str, cells: "Cells", within: float, model: str, loading: Loading, count_padding: bool
) -> Iterator[Told]:
    """Orders from decoding again, left and right. Traces of a cell are decoded together; other models' are left out."""
    from nap.data.trace_files import read_traces
    from nap.models.any import load

    denoiser = load(model, **asdict(loading))
    waiting: dict[Own, list[Trace]] = {}
    for trace, own in cells.once(read_traces(file)):
        made_by = trace.setting.get("model")
        name = made_by.get("model") if isinstance(made_by, dict) else None
        if name not in (None, model):
            yield Told(own, None, f"trace {trace.problem_id!r:.60} was made by {name!s:.80}, not by {model}")
            continue
        waiting.setdefault(own, []).append(trace)
        if len(waiting[own]) == BATCH:
            yield from _again(denoiser, own, waiting.pop(own), within, count_padding)
    for own, traces in waiting.items():
        yield from _again(denoiser, own, traces, within, count_padding)


def _again(denoiser: "Denoiser", own: "Own", made: "list[Trace]", within: float, count_padding: bool) -> Iterator[Told]:
    from nap.decoding.again import decode_again
    from nap.decoding.made_by import check_made_by
    from nap.order.order import order_of

    try:
        for trace in made:
            check_made_by(denoiser, trace)
        sides = [decode_again(denoiser, made, within=within, prefer=side) for side in ("left", "right")]
    except InputError as error:
        yield Told(own, None, str(error))
        return
    for traces in zip(made, *sides, strict=True):
        order, left, right = (order_of(trace, count_padding) for trace in traces)
        yield Told(own, Ways(order, left, right, random_orders(traces[0], order)))


def _print_json(found: "dict[str, list[Band]]", within: float) -> None:
    cells = {
        cell: {band.name: asdict(band) | {"identified": band.identified()} for band in own}
        for cell, own in found.items()
    }
    print(json.dumps({"id": "ties", "within": within, "cells": cells}))


def _print(found: "dict[str, list[Band]]", within: float, without: list[str]) -> None:
    """One table a cell; from the second on with the differences from the first."""
    from nap.common.text import printable

    console, first = open_console(), next(iter(found.values()), [])
    for cell, own in found.items():
        lines = [
            [band.name, short(band.value), f"{short(band.right)} to {short(band.left)}", short(band.random),
             band.less(), *([band.less(before)] if own is not first else [])]
            for band, before in zip(own, first, strict=False)
        ]  # fmt: skip
        console.print(printable(cell), style="bold", markup=False)
        header = ["mean", "as decoded", f"ties within {within:g}", "random", "less random"]
        draw(console, [*header, *(["less the first"] if own is not first else [])], lines)
    for reason in without:
        console.print(f"left out: {printable(reason)}", style="dim", markup=False)
    console.print(
        "ties: candidates that near to the best, taken from the right and from the left. random: under the policy's "
        "own rules. not identified: ties move it by as much as it differs",
        style="dim",
    )
