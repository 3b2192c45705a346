"""`nap trace`: show and convert recorded traces."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg

from nap.commands.flags import Whole, check_trace_file
from nap.files import InputError


@dataclass(frozen=True, kw_only=True)
class TraceShow:
    """Print a trace as a canvas, step by step."""

    file: Annotated[Positional[str], arg(metavar="FILE")]
    """a trace file (.jsonl, .parquet)"""
    index: int = 0
    """which trace of the file, from 0"""
    step: Whole = None
    """only the canvas after this step, from 1"""

    def run(self) -> None:
        """Print the frames."""
        from itertools import islice

        from rich.console import Console

        from nap.schema import read_traces
        from nap.view import frames, printable

        trace = next(islice(read_traces(self.file), self.index, None), None) if self.index >= 0 else None
        if trace is None:
            raise InputError(f"{self.file} has no trace number {self.index}; the first one is number 0")
        if self.step is not None and not 1 <= self.step <= trace.steps:
            raise InputError(f"step must be from 1 to {trace.steps}, got {self.step}")
        console = Console(highlight=False)
        verdict = {True: "right", False: "wrong", None: "not checked"}[trace.correct]
        answer = "no answer" if trace.answer is None else f"answer {printable(trace.answer)}"
        title = f"{printable(trace.problem_id)}: {printable(str(trace.setting.get('policy', 'unknown policy')))}, "
        console.print(f"{title}{trace.forwards} forwards, {answer} ({verdict})", markup=False)
        for frame in frames(trace):
            if self.step is None or frame.step == self.step - 1:
                console.print(frame.headline)
                console.print(frame.lanes)


@dataclass(frozen=True, kw_only=True)
class TraceConvert:
    """Rewrite traces as JSONL or Parquet, by the output's name."""

    file: Annotated[Positional[str], arg(metavar="FILE")]
    """a trace file (.jsonl, .parquet)"""
    out: Annotated[Positional[str], arg(metavar="OUT")]
    """the file to write (.jsonl, .parquet)"""

    def run(self) -> None:
        """Read all, check all, write all."""
        from nap.schema import read_traces, write_traces

        check_trace_file(self.out)
        write_traces(read_traces(self.file), self.out)
