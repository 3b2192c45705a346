"""Runs and traces as pages: `nap.report` writes a page, `nap.replay` and a run show one in a notebook.

It is the page of `nap report`. In a notebook it is shown in a frame that can run its own script but reaches neither the
notebook nor the network.

Does not draw (report/).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from os import PathLike
from pathlib import Path

from nap.common.arguments import checked_arguments
from nap.common.files import InputError, atomic
from nap.data.trace import Trace
from nap.face.running import Run
from nap.report import runs as reading
from nap.report.page import page, payload, write_report

MOST = 3  # traces side by side
Source = Run | str | PathLike[str]


@dataclass(frozen=True, kw_only=True, repr=False)
class Replay:
    """Traces side by side, as a page."""

    html: str
    traces: int

    @checked_arguments
    def save(self, path: str | PathLike[str]) -> None:
        """Write the page."""
        with atomic(str(path)) as file:
            file.write(self.html)

    def __repr__(self) -> str:
        return f"Replay({self.traces} trace{'s' * (self.traces > 1)}; save('replay.html') writes it)"

    def _repr_html_(self) -> str:
        return framed(self.html, "The replay of a decode", height=56)


def framed(html: str, title: str, height: int) -> str:
    """A page as a notebook shows it: sealed off, and this many lines high until it is resized."""
    style = f"width: 100%; height: {height}em; border: 0; resize: vertical"
    return f'<iframe sandbox="allow-scripts" title="{title}" style="{style}" srcdoc="{escape(html)}"></iframe>'


def table_of(run: Run) -> str:
    """The verdict and the table of a run, as a notebook shows them."""
    html = page(payload([reading.read_run(run.folder)], only="table"))
    return framed(html, "The table of a run", height=min(16 + 3 * len(run.records), 46))


@checked_arguments
def replay(*traces: Trace) -> Replay:
    """Up to three traces side by side, to step through in a notebook.

    Raises InputError for none and for more than three.

    >>> import nap
    >>> model, question = nap.load("arith-nap"), "Ann has 2 pears . How many has Ann ?"
    >>> slow, fast = (nap.decode(model, question, tokens_per_step=k).trace for k in (1, 8))
    >>> nap.replay(slow, fast)
    Replay(2 traces; save('replay.html') writes it)
    """
    if not 1 <= len(traces) <= MOST:
        raise InputError(f"a replay is of 1 to {MOST} traces, got {len(traces)}; nap.report shows many")
    run = reading.Run(name="replay", traces=[reading.recorded(trace) for trace in traces])
    return Replay(html=page(payload([run], only="replay")), traces=len(traces))


@checked_arguments
def report(runs: Source | Sequence[Source], out: str | PathLike[str] = "report.html") -> Path:
    """Write the page of one run or of several: what `nap.evaluate` gave, run folders, or files of traces.

    Returns where the page is. Raises InputError for what is no run.

    >>> import nap
    >>> run = nap.evaluate("arith-nap", "arith", policies=["ar"], tokens_per_step=[8], problems=2)
    >>> nap.report(run, "page.html").name
    'page.html'
    """
    several = [runs] if isinstance(runs, Run | str | PathLike) else [*runs]
    if not several:
        raise InputError("there is no run to report; give what nap.evaluate returned, a run's folder or a trace file")
    write_report([one.folder if isinstance(one, Run) else str(one) for one in several], str(out))
    return Path(str(out))
