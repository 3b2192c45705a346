"""Traces for Python users: `trace.order()`, `nap.measure`, `nap.read_traces`, and a replay in a notebook.

Does not measure (order/), and does not read or check files (data/trace_files.py).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from os import PathLike

from nap.common.arguments import checked_arguments
from nap.data import trace as data
from nap.data import trace_files
from nap.order.measure import KS
from nap.order.measure import measure as measure_one
from nap.order.order import Order, bare_order
from nap.order.scores import OrderReport


@dataclass(frozen=True, kw_only=True, repr=False)
class Trace(data.Trace):
    """How one canvas was filled: what each step wrote, how sure the model was, and what it cost.

    In a notebook it shows itself as a replay. Its fields are those of `nap.data.trace.Trace`.

    >>> import nap
    >>> trace = nap.decode(nap.load("arith-nap"), "Ann has 2 pears . How many has Ann ?").trace
    >>> trace.steps == trace.forwards
    True
    >>> 0 < trace.order()["global_arness@1"] < 1
    True
    """

    @checked_arguments
    def order(self, ks: Sequence[int] = KS) -> OrderReport:
        """Every order metric (docs/counting.md): `order()["global_arness@1"]`, or `.whole`, `.paths`, `.counts`."""
        return measure_one(self, ks)

    def _repr_html_(self) -> str:
        from nap.face.page import replay

        return replay(self)._repr_html_()


def held(trace: data.Trace) -> Trace:
    """The same trace with the methods of this module."""
    return Trace(**{f.name: getattr(trace, f.name) for f in fields(trace)})


@checked_arguments
def measure(source: data.Trace | Order | Sequence[Sequence[int]], ks: Sequence[int] = KS) -> OrderReport:
    """Every order metric of a trace, or of a list of [position, step] pairs. `nap.order` is the same.

    Raises InputError for a k below 1 and for pairs that are no order.

    >>> import nap
    >>> nap.measure([[0, 0], [1, 1], [2, 2]])["global_arness@1"]
    1.0
    >>> found = nap.order([[0, 2], [1, 1], [2, 0]])
    >>> found["tau_b"], round(found["global_arness@1"], 2)
    (-1.0, 0.33)
    """
    return measure_one(source if isinstance(source, Order | data.Trace) else bare_order(source), ks)


order = measure


@checked_arguments
def read_traces(path: str | PathLike[str]) -> Iterator[Trace]:
    """The traces of a file (.jsonl, .parquet) or of a run's folder, each checked.

    Raises InputError that names the file and the row.

    >>> import nap
    >>> results = nap.decode(nap.load("arith-nap"), ["Ann has 2 pears . How many has Ann ?"])
    >>> nap.write_traces([result.trace for result in results], "traces.jsonl")
    >>> [trace.problem_id for trace in nap.read_traces("traces.jsonl")]
    ['prompt-1']
    """
    return map(held, trace_files.read_traces(str(path)))
