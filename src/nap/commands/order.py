"""`nap order`: measure the order of traces, or of bare orders.

Does not measure (order/); reads the file and prints the table.
"""

import json
import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

from tyro.conf import OmitArgPrefixes, Positional, arg

from nap.commands.flags import Loading, Words
from nap.commands.law import open_law, print_law
from nap.commands.order_tasks import TaskFlags
from nap.commands.tables import against_random, draw, fits, open_console
from nap.commands.ties import print_ties
from nap.common.files import InputError
from nap.common.text import printable, say, short

if TYPE_CHECKING:
    from nap.data.cells import Cells, Own
    from nap.order.means import Aggregate, Means
    from nap.order.order import Order
    from nap.order.scores import OrderReport

KS = (1, 2, 4, 8)
COLUMNS = ("id", "tokens", "steps", "queries", "TPF", "AFP", "tau-b", "tied")
BLOCK = 1000  # lines of a table
MOST_CELLS = 1000  # cells with means of their own, which are in memory until the end


@dataclass(frozen=True, kw_only=True)
class OrderCommand:
    """Measure the order of traces, or of a model on tasks (--task).

    A file of bare orders holds one JSON list of [position, step] pairs a line.

    Rows with a step_map (dLLM-RL, SGLang) are read too.
    """

    file: Annotated[Positional[str], arg(metavar="FILE")]
    """a trace file (.jsonl, .parquet), or a .jsonl of bare orders; with --task a model"""
    k: tuple[int, ...] = KS
    """the k of ARness@k"""
    count_padding: bool = False
    """count padding and end of text like other tokens"""
    ties_within: Annotated[float | None, arg(metavar="FLOAT", help_behavior_hint="")] = None
    """also show how far each mean moves with the choice among candidates this close to the best (docs/ties.md)"""
    model: Words = None
    """for --ties-within: decode again with this model, as traces without runners-up need"""
    law: Words = None
    """also show what these decodes lose under an exact law, exact:FILE (docs/exact.md)"""
    json: bool = False
    """print one JSON object a line; the last has the means of each model, policy and pace, and of all"""
    tasks: OmitArgPrefixes[TaskFlags] = TaskFlags()
    loading: OmitArgPrefixes[Loading] = Loading()

    def run(self) -> None:
        """Print every metric of every line as it is read, and the means. Lines before a bad one are printed too."""
        from nap.order.measure import measure_all

        if self.tasks.asked():
            if self.ties_within is not None or self.law or self.model or self.count_padding or self.k != KS:
                raise InputError("--k, --count-padding, --ties-within, --model and --law are for traces; drop --task")
            self.tasks.run(self.file, self.loading, self.json)
            return
        if self.ties_within is not None and not 0 <= self.ties_within < math.inf:
            raise InputError(f"--ties-within must be 0 or more, and finite, got {self.ties_within}")
        if self.model and self.ties_within is None:
            raise InputError("--model decodes again for --ties-within; give that, such as --ties-within .01")
        bare = self._bare()
        law = open_law(self.law) if self.law else None
        read, lines, cells = deque[Named](), _Lines(self.k), _Means()

        def orders() -> "Iterator[Order]":
            for one in self._named(bare, cells.cells):
                read.append(one)
                yield one.order

        for report in measure_all(orders(), self.k):
            one = read.popleft()
            cells.of(one.own).add(report, one.correct)
            if self.json:
                print(json.dumps({"id": one.label, **report.json()}))
            else:
                lines.add(one.label, report)
        for label, means in cells.means():
            if self.json:
                print(json.dumps({"id": label, **{name: part.json() for name, part in means.items()}}))
            elif mean := means["all"].mean:
                lines.add(label, mean)
        if not self.json and cells.known:
            lines.end()
        for note in cells.cells.notes():
            say(note)
        if self.ties_within is not None:
            print_ties(self.file, self.ties_within, self.model, self.loading, self.count_padding, self.json)
        if law:
            print_law(self.file, law, self.json)

    def _bare(self) -> bool:
        """Whether the file holds bare orders. Raises InputError for a flag that only traces have a use for."""
        from nap.common.rows import read_values
        from nap.order.order import holds_orders

        _, first = ("", None) if Path(self.file).is_dir() else next(read_values(self.file), ("", None))
        bare = holds_orders(first)
        if bare and (self.law or self.ties_within is not None):
            flag, lack = ("--law", "tokens") if self.law else ("--ties-within", "candidates")
            raise InputError(f"{self.file} holds bare orders, which have no {lack}; give traces, or drop {flag}")
        return bare

    def _named(self, bare: bool, cells: "Cells") -> "Iterator[Named]":
        from nap.data.trace_files import read_traces
        from nap.order.order import order_of, read_orders

        if bare:
            yield from (Named(found.label, None, found.order, None) for found in read_orders(self.file))
            return
        empty = True
        for trace, own in cells.once(read_traces(self.file)):
            empty = False
            yield Named(trace.problem_id, own, order_of(trace, self.count_padding), trace.correct)
        if empty:
            raise InputError(
                f"{self.file} is empty; it should hold traces, or one list of [position, step] pairs a line"
            )


class Named(NamedTuple):
    """An order with its name, its cell (model, policy, pace) if one is known, and whether its answer is right."""

    label: str
    own: "Own | None"
    order: "Order"
    correct: bool | None


class _Means:
    """The means of each model, policy and pace."""

    def __init__(self) -> None:
        from nap.data.cells import Cells

        self.cells = Cells()
        self.known: dict[Own | None, Aggregate] = {}
        self.rest: Aggregate | None = None

    def of(self, own: "Own | None") -> "Aggregate":
        """The means of this cell; where there are too many cells, those of all the others."""
        from nap.order.means import Aggregate

        if own in self.known or len(self.known) < MOST_CELLS:
            return self.known.setdefault(own, Aggregate())
        self.rest = self.rest or Aggregate()
        return self.rest

    def means(self) -> "Iterator[tuple[str, dict[str, Means]]]":
        """The name and means of each cell, and at the end those of all."""
        from nap.order.means import Aggregate

        named = [(self.cells.named(own).name if own else "", one) for own, one in self.known.items()]
        named += [(f"any other ({MOST_CELLS} are told apart)", self.rest)] if self.rest else []
        if len(named) > 1:
            yield from ((f"mean of {name}", one.means()) for name, one in named)
        yield "mean", Aggregate.joined([one for _, one in named]).means()


class _Lines:
    """One line a trace, without the larger k on a narrow terminal; a new table after every BLOCK lines."""

    def __init__(self, ks: Sequence[int]) -> None:
        self.ks, self.console = ks, open_console()
        self.waiting: list[tuple[str, OrderReport]] = []
        self.hidden: tuple[int, ...] = ()

    def add(self, label: str, report: "OrderReport") -> None:
        """Draw a line, or hold it until its table is full."""
        self.waiting.append((label, report))
        if len(self.waiting) > BLOCK:
            # One line is held back, so that the last line is never alone under a header.
            self._draw(self.waiting[:BLOCK])
            self.waiting = self.waiting[BLOCK:]

    def end(self) -> None:
        """Draw the held lines, and explain the brackets."""
        self._draw(self.waiting)
        hidden = f"; k = {', '.join(map(str, self.hidden))}: --json, or a wider terminal" if self.hidden else ""
        self.console.print(f"in brackets: a random order{hidden}", style="dim")

    def _draw(self, block: "Sequence[tuple[str, OrderReport]]") -> None:
        shown = [*self.ks]
        while True:
            header = [*COLUMNS, *(name for k in shown for name in (f"ARness@{k}", f"in path@{k}", f"local@{k}"))]
            lines = [_line(label, report, shown) for label, report in block]
            if len(shown) < 2 or fits(self.console, header, lines):
                break
            shown.pop()
        draw(self.console, header, lines)
        self.hidden = max(self.hidden, tuple(self.ks[len(shown) :]), key=len)


def _line(label: str, report: "OrderReport", ks: Sequence[int]) -> list[str]:
    whole, counts = report.whole, report.counts
    values = (whole.n_tokens, counts.n_steps, counts.queries, counts.tpf, whole.afp, whole.tau_b, whole.tied_share)
    cells = [printable(label, 120), *map(short, values)]
    for k in ks:
        at = report.at(k)
        cells += [against_random(at), against_random(report.path_at(k)), short(at.local_arness)]
    return cells
