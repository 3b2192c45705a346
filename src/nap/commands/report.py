"""`nap report`: write runs as one HTML page, and as figures for a paper.

Does not draw (report/).
"""

import sys
from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg

from nap.commands.flags import Words
from nap.common.files import InputError, check_apart


@dataclass(frozen=True, kw_only=True)
class ReportCommand:
    """Write runs as one HTML page with curves, tables and replays.

    The page opens from disk. Unfinished runs are shown as far as they go.
    """

    runs: Annotated[Positional[tuple[str, ...]], arg(metavar="RUN...")]
    """folders made by nap eval --out, or files of traces (.jsonl, .parquet)"""
    out: Annotated[str, arg(aliases=["-o"])] = "report.html"
    """the page to write"""
    explained: Annotated[tuple[str, ...], arg(metavar="FILE...")] = ()
    """files of nap trace explain --out about these traces, which replays then show"""
    figures: Words = None
    """also write the figures as SVG and PDF into this folder (needs matplotlib)"""

    def run(self) -> None:
        """Read the runs, write the page, say where it is."""
        from nap.report.page import write_report

        if not self.runs:
            raise InputError("there is no run; give a folder made by nap eval --out, or a file of traces")
        if not self.out.endswith((".html", ".htm")):
            raise InputError(f"the report is one HTML page; --out must end in .html, got {self.out!r}")
        check_apart(self.out, *self.runs, *self.explained)
        found = write_report(self.runs, self.out, self.explained)
        for run in found:
            for note in run.notes:
                print(f"{run.name}: {note}", file=sys.stderr)
        if self.figures:
            from nap.report.figures import write_figures

            write_figures(found, self.figures)
            print(f"the figures are in {self.figures}", file=sys.stderr)
        print(f"the report is {self.out}; open it in a browser", file=sys.stderr)
