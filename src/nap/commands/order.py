"""`nap order`: order metrics of traces or of bare orders."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from tyro.conf import Positional, arg

from nap.commands.tables import against_random, draw, fits, open_console, short
from nap.common.files import InputError


@dataclass(frozen=True, kw_only=True)
class OrderCommand:
    """Order metrics of traces or of bare orders; needs no model.

    A file of bare orders holds one JSON list of [position, step] pairs a line.
    """

    file: Annotated[Positional[str], arg(metavar="FILE")]
    """a trace file (.jsonl, .parquet), or a .jsonl of bare orders"""
    k: tuple[int, ...] = (1, 2, 4, 8)
    """the k of ARness@k"""
    count_padding: bool = False
    """count padding and end of text like other tokens"""
    json: bool = False
    """one JSON object a line, and one with the means last"""

    def run(self) -> None:
        """Print every metric of every line, and the means."""
        from nap.order.measure import aggregate, measure

        labels, orders, correct = self._orders()
        reports = [measure(order, self.k) for order in orders]
        means = aggregate(reports, correct if any(c is not None for c in correct) else None)
        if self.json:
            for label, report in zip(labels, reports, strict=True):
                print(json.dumps({"id": label, **report}))
            print(json.dumps({"id": "mean", **means}))
            return
        _print_orders([*labels, "mean"], [*reports, means["all"]["mean"]], self.k)

    def _orders(self) -> tuple[list[str], list[Any], list[bool | None]]:
        from nap.common.files import read_jsonl
        from nap.data.trace_files import read_traces
        from nap.order.order import order_of, read_orders

        first = None if self.file.endswith(".parquet") else next(read_jsonl(self.file), (0, None))[1]
        if isinstance(first, list):
            orders = list(read_orders(self.file))
            return [str(n) for n in range(1, len(orders) + 1)], orders, [None] * len(orders)
        traces = list(read_traces(self.file))
        if not traces:
            raise InputError(
                f"{self.file} is empty; it should hold traces, or one list of [position, step] pairs a line"
            )
        orders = [order_of(trace, self.count_padding) for trace in traces]
        return [trace.problem_id for trace in traces], orders, [trace.correct for trace in traces]


def _print_orders(labels: Sequence[str], reports: Sequence[dict[str, Any]], ks: Sequence[int]) -> None:
    """A line a trace, on a narrow terminal without the larger k."""
    from nap.common.text import printable

    def line(label: str, report: dict[str, Any], k_shown: Sequence[int]) -> list[str]:
        cells = [printable(label), *(short(report.get(key)) for key in columns.values())]
        for k in k_shown:
            cells += [against_random(report, k), against_random(report.get("path_mean", {}), k)]
            cells += [short(report.get(f"local_arness@{k}"))]
        return cells

    columns = {"tokens": "n_tokens", "steps": "n_steps", "TPF": "tpf", "AFP": "afp", "tau-b": "tau_b"}
    columns |= {"tied": "tied_share"}
    console, shown = open_console(), [*ks]
    while True:
        header = ["id", *columns, *(name for k in shown for name in (f"ARness@{k}", f"in path@{k}", f"local@{k}"))]
        lines = [line(label, report, shown) for label, report in zip(labels, reports, strict=True)]
        if len(shown) < 2 or fits(console, header, lines):
            break
        shown.pop()
    draw(console, header, lines)
    hidden = (
        f"; k = {', '.join(map(str, ks[len(shown) :]))}: --json, or a wider terminal" if len(shown) < len(ks) else ""
    )
    console.print(f"in brackets: a random order{hidden}", style="dim")
