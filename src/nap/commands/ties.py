"""What `nap order --ties-within` prints: how much of each metric is the choice among equally sure candidates."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, NamedTuple

from nap.commands.flags import Loading
from nap.commands.tables import draw, open_console, short

if TYPE_CHECKING:
    from nap.data.trace import Trace
    from nap.order.order import Order
    from nap.order.ties import Band

BATCH = 16  # traces that are decoded again together


# Random orders of each trace that its own is compared with.
DRAWS = 8


class Ways(NamedTuple):
    """One trace's order, those that it would have had with ties taken from the left and from the right, and random ones
    under its policy's rules.
    """

    own: "Order"
    left: "Order"
    right: "Order"
    random: "list[Order]"


def print_ties(
    file: str, within: float, model: str | None, loading: Loading, count_padding: bool, as_json: bool
) -> None:
    """The bands of the means over all traces of a file. Raises InputError for what cannot be put in another order."""
    from nap.order.means import Aggregate
    from nap.order.measure import measure
    from nap.order.ties import bands

    totals = [Aggregate() for _ in Ways._fields]
    ways = decoded_again(file, within, model, loading, count_padding) if model else kept(file, within, count_padding)
    for way in ways:
        for total, orders in zip(totals, ([way.own], [way.left], [way.right], way.random), strict=True):
            for order in orders:
                total.add(measure(order, (1,)), None)
    means = [total.means()["all"].mean for total in totals]
    if all(mean is not None for mean in means):
        _print(bands(*means), within, as_json)  # type: ignore


def kept(file: str, within: float, count_padding: bool) -> Iterator[Ways]:
    """From the runners-up that the traces kept."""
    from nap.data.trace_files import read_traces
    from nap.order.order import order_of
    from nap.order.ties import SIDES, reordered

    for trace in read_traces(file):
        own = order_of(trace, count_padding)
        left, right = (reordered(trace, within, side, count_padding) for side in SIDES)
        yield Ways(own, left, right, random_orders(trace, own))


def random_orders(trace: "Trace", own: "Order") -> "list[Order]":
    """Of the positions that count in the trace's own order."""
    from nap.decoding.again import knowing_nothing
    from nap.order.order import order_of

    blind = [order_of(guess, count_padding=True) for guess in knowing_nothing(trace, DRAWS)]
    return [order.among(own.positions) for order in blind]


def decoded_again(file: str, within: float, model: str, loading: Loading, count_padding: bool) -> Iterator[Ways]:
    """By decoding again, from the left and from the right."""
    from nap.data.trace_files import read_traces
    from nap.decoding.again import decode_again
    from nap.models.load import load
    from nap.order.order import order_of

    denoiser, waiting = load(model, **asdict(loading)), list["Trace"]()

    def measured() -> Iterator[Ways]:
        sides = [decode_again(denoiser, waiting, within=within, prefer=side) for side in ("left", "right")]
        for traces in zip(waiting, *sides, strict=True):
            own, left, right = (order_of(trace, count_padding) for trace in traces)
            yield Ways(own, left, right, random_orders(traces[0], own))

    for trace in read_traces(file):
        waiting.append(trace)
        if len(waiting) == BATCH:
            yield from measured()
            waiting.clear()
    if waiting:
        yield from measured()


def _print(found: "list[Band]", within: float, as_json: bool) -> None:
    if as_json:
        metrics = {band.name: asdict(band) | {"identified": band.identified()} for band in found}
        print(json.dumps({"id": "ties", "within": within, **metrics}))
        return
    console = open_console()
    lines = [
        [band.name, short(band.value), f"{short(band.right)} to {short(band.left)}", short(band.random),
         "" if band.identified() else "not identified"]
        for band in found
    ]  # fmt: skip
    draw(console, ["mean", "as decoded", f"ties within {within:g}", "random", ""], lines)
    console.print(
        "ties: candidates that near to the best, taken from the right and from the left. random: under the policy's "
        "own rules. not identified: ties move it by more than it differs from random",
        style="dim",
    )
