"""`nap eval`: compare models, policies and budgets over a task's problems.

Does not evaluate (evaluation/run.py) or summarise (evaluation/summary.py); reads the flags and prints the table.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, arg

from nap.commands import progress
from nap.commands.flags import CanvasFlags, Columns, Drawing, Loading, PromptFlags, Whole, Words
from nap.commands.tables import draw, fits, open_console
from nap.common.files import InputError
from nap.common.text import say

if TYPE_CHECKING:
    from rich.console import Console

    from nap.evaluation.rows import Row
    from nap.evaluation.run import Progress
    from nap.evaluation.summary import Record
    from nap.evaluation.sweep import Sweep


@dataclass(frozen=True, kw_only=True)
class Eval:
    """Compare models, policies and budgets over a task's problems.

    Numbers have intervals, and differences have paired tests.

    The same command continues a run that was stopped.
    """

    models: Annotated[tuple[str, ...], arg(aliases=["--model"])]
    """bundled names, folders or hub names"""
    task: str
    """arith, countdown, sudoku, sudoku-6x6, grids, agree, igsm, gsm8k, math500, multiarith, or jsonl or restore
    with --data"""
    policies: tuple[str, ...] = ("ar", "low_confidence", "random", "threshold", "parallel_forced")
    """each a name or name:setting=value,... such as threshold:tau=0.8"""
    tokens_per_step: tuple[int, ...] = ()
    """tokens a step, for policies that follow a budget (default: 1 2 4 8, unless --steps is given)"""
    steps: tuple[int, ...] = ()
    """budgets as the number of steps that fill the canvas"""
    problems: int = 200
    """how many problems of the split"""
    skip: int = 0
    """leave out the first so many of them: what a setting was chosen on"""
    split: str = "test"
    """train or test"""
    data: Words = None
    """the task's problems from this file"""
    infill: Words = None
    """instead of free slots: a text for every answer whose gaps are decoded: 'The answer is [MASK:4].'"""
    gap_tokens: Whole = None
    """tokens of a gap written as ___ (default: 8)"""
    cache: tuple[str, ...] = ("none",)
    """which keys and values are kept between forwards: none, exact, prefix, dual, delayed, d2 or drift
    (docs/caches.md); several are compared with none"""
    columns: OmitArgPrefixes[Columns] = Columns()
    out: str = "runs/eval"
    """the run's folder; the same command resumes it"""
    baseline: Words = None
    """what every setting is compared with at its own pace, as "MODEL | POLICY" (default: the first model under
    low_confidence)"""
    batch_size: Whole = None
    """problems decoded together; results do not depend on it (default: 16, or as many as fit in memory)"""
    workers: int = 1
    """processes of one thread each, with a model of their own; under --device cuda each on a GPU of its own"""
    backend: Annotated[Literal["processes", "ray"], arg(help_behavior_hint="")] = "processes"
    """where workers are: processes of this machine, or a Ray cluster across machines, a GPU to each under --device
    cuda; what is written is the same"""
    traces: int = 20
    """for how many problems of each setting traces are kept"""
    probe: Annotated[Literal["paths"] | None, arg(metavar="{paths}", help_behavior_hint="")] = None
    """instead of a sweep, test whether answers come from the paths: accuracy over masked, own, right and other
    problems' paths, and over a wrong value (docs/probe.md)"""
    json: bool = False
    """print the summary as JSON"""
    markdown: bool = False
    """print the summary as Markdown"""
    canvas: OmitArgPrefixes[CanvasFlags] = CanvasFlags()
    prompts: OmitArgPrefixes[PromptFlags] = PromptFlags()
    drawing: OmitArgPrefixes[Drawing] = Drawing()
    loading: OmitArgPrefixes[Loading] = Loading()

    def sweep(self) -> "Sweep":
        """What the flags ask for."""
        from nap.evaluation.sweep import Sweep, paces_of

        budgets = paces_of(self.policies, self.tokens_per_step, self.steps)
        return Sweep(
            task=self.task, models=self.models, policies=self.policies, tokens_per_step=budgets, steps=self.steps,
            problems=self.problems, skip=self.skip, split=self.split, data=self.data, canvas=self.canvas.spec(),
            attention=self.canvas.attention, infill=self.infill, gap_tokens=self.gap_tokens, cache=self.cache,
            **asdict(self.columns), **asdict(self.prompts), **asdict(self.drawing), **asdict(self.loading),
        )  # fmt: skip

    def run(self) -> None:
        """Run the sweep, write and print its summary."""
        from nap.evaluation.findings import findings
        from nap.evaluation.record_files import as_json, write_summary
        from nap.evaluation.rows import read_seconds
        from nap.evaluation.summary import find_baseline, summarise
        from nap.evaluation.tables import markdown

        if self.json and self.markdown:
            raise InputError("--json and --markdown are two forms of one summary; drop one of them")
        if self.probe and self.markdown:
            raise InputError("--markdown is for the summary of a sweep, and --probe has none; drop one of them")
        sweep = self.sweep()
        if self.probe:
            probe_paths(sweep, self.out, self.json)
            return
        find_baseline([cell.said for cell in sweep.cells()], self.models[0], self.baseline)
        rows = run_shown(
            sweep,
            self.out,
            batch_size=self.batch_size,
            workers=self.workers,
            backend=self.backend,
            traces=self.traces,
            say=say,
        )
        records = summarise(rows, read_seconds(Path(self.out) / "seconds.parquet"), self.baseline)
        write_summary(records, self.out)
        if self.json:
            print(as_json(records))
        elif self.markdown:
            print(markdown(records), end="")
        else:
            print_summary(records, findings(records))
        print(f"rows, traces and summaries are in {self.out}", file=sys.stderr)


def probe_paths(sweep: "Sweep", out: str, as_json: bool) -> None:
    """Probe the models of the sweep, and print how many answers are right over each kind of paths."""
    from nap.evaluation import probe

    with progress.bar("answered", "loading") as bar:
        rows = probe.probe_paths(sweep, out, bar.show, say)
    found = probe.findings_of(rows)
    if as_json:
        print(json.dumps([asdict(finding) for finding in found]))
        return
    for model in dict.fromkeys(finding.model for finding in found):
        console = open_console()
        console.print(model, style="bold", markup=False)
        own = [[one.given, str(one), f"{one.yes} of {one.of}"] for one in found if one.model == model]
        draw(console, ["the summary", "% [95 %]", ""], own)


def run_shown(sweep: "Sweep", folder: str | Path, **settings: Any) -> "list[Row]":
    """`run_sweep`, with a bar that moves with every forward, or in a pipe a line every tenth."""
    from nap.common.text import printable
    from nap.evaluation.run import run_sweep

    total = sweep.problems * len(sweep.cells())
    with progress.bar("decoded", f"loading {printable(sweep.models[0])}") as bar:

        def report(now: "Progress") -> None:
            nonlocal total
            total = now.total
            eta = "" if now.eta != now.eta else f"about {now.eta:.0f} s left "
            # Other processes tell of whole batches alone.
            if not bar.is_drawn or settings.get("workers", 1) > 1:
                bar.show(now.done, now.total, f"{eta}({printable(now.cell, 200)})")

        def watch(done: float, forwards: int) -> None:
            bar.show(done, total, f"{forwards} forwards")

        return run_sweep(sweep, folder, report=report, watch=watch if bar.is_drawn else None, **settings)


def print_summary(records: "Sequence[Record]", sentences: Sequence[str]) -> None:
    """The table, on a narrow terminal without what people compare last, and the sentences."""
    from nap.evaluation import tables

    console = open_console()
    if not _drawn(console, tables.header(records), tables.table(records), ("AFP", "tau-b", "AUP")):
        console.print("intervals, AFP, tau-b and AUP: in summary.md, or on a wider terminal", style="dim")
    if tables.has_caches(records):
        console.print(f"\n{tables.AGAINST}", style="dim")
        _drawn(console, tables.CACHES, tables.cache_table(records), ("accuracy %", "TPF"))
    if tables.has_ties(records):
        console.print(f"\n{tables.ABOUT_TIES}", style="dim")
        _drawn(console, tables.TIES, tables.tie_table(records), ("as decoded", "random"))
    for sentence in sentences:
        console.print(f"- {sentence}", markup=False)


def _drawn(console: "Console", header: Sequence[str], lines: Sequence[Sequence[str]], last: Sequence[str]) -> bool:
    """Draw a table, on a narrow terminal model by model and without the columns `last`; whether all was drawn."""
    if fits(console, header, lines):
        draw(console, header, lines)
        return True
    shown = [header.index(name) for name in header[1:] if name not in last]
    narrow = [header[column].replace("/", "/\n").replace(" (", "\n(") for column in shown]
    for model in dict.fromkeys(line[0] for line in lines):
        console.print(model, style="bold", markup=False)
        # The means without their intervals.
        own = [[line[column].split(" ±")[0] for column in shown] for line in lines if line[0] == model]
        draw(console, narrow, own)
    return False
