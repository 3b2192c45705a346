"""`nap.evaluate`: models, policies and paces over the problems of a task, and the resulting table.

Does not run (evaluation/run.py) or summarise (evaluation/summary.py).
"""

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from html import escape
from os import PathLike
from pathlib import Path
from typing import Final, TypedDict, TypeVar

from nap.canvas.canvas import CanvasSpec
from nap.canvas.visibility import Attention
from nap.common.arguments import checked_arguments
from nap.common.files import InputError
from nap.common.text import say
from nap.decoding.budget import Eos
from nap.evaluation.findings import findings
from nap.evaluation.opened import kept_open
from nap.evaluation.record_files import write_summary
from nap.evaluation.rows import read_seconds
from nap.evaluation.run import Progress, run_sweep
from nap.evaluation.summary import Record, find_baseline, summarise
from nap.evaluation.sweep import Sweep, paces_of
from nap.evaluation.tables import header, markdown, table
from nap.face.decoding import Kind, chosen_canvas
from nap.face.traces import Trace, read_traces
from nap.models.checkpoint import find, read_canvas
from nap.models.denoiser import Denoiser, Loaded
from nap.models.int8 import Int8

One = TypeVar("One")
# How `evaluate` opens a model unless it is told otherwise.
USUAL: Final = {"device": "cpu", "dtype": "auto", "int8": None, "compile": False}


class Table(str):
    """A Markdown table, which a notebook renders."""

    __slots__ = ("cells",)
    cells: list[list[str]]

    def __new__(cls, records: Sequence[Record]) -> "Table":
        """The table of these records."""
        made = super().__new__(cls, markdown(records))
        made.cells = [[*header(records)], *table(records)]
        return made

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        first, *rest = ([escape(cell) for cell in row] for row in self.cells)
        head = "".join(f"<th>{cell}</th>" for cell in first)
        body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rest)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


@dataclass(frozen=True, kw_only=True, repr=False)
class Run:
    """The results of an evaluation: one record a setting, and the folder with rows and traces.

    In a notebook it shows the verdict and its table. `nap.report(run, "report.html")` writes the page.

    >>> import nap
    >>> run = nap.evaluate("arith-nap", "arith", policies=["ar"], tokens_per_step=[4], problems=2, out="run")
    >>> run
    Run(arith: 1 setting of 2 problems, in run)
    >>> len([trace for trace in run.traces()])
    2
    """

    folder: Path
    records: list[Record]

    def table(self) -> Table:
        """One row a setting, as Markdown; a notebook renders it."""
        return Table(self.records)

    def findings(self) -> list[str]:
        """Up to three sentences that the numbers support."""
        return findings(self.records)

    def traces(self) -> Iterator[Trace]:
        """The traces that were kept."""
        return read_traces(self.folder)

    def __repr__(self) -> str:
        settings, one = len(self.records), self.records[0]
        return f"Run({one.task}: {settings} setting{'s' * (settings > 1)} of {one.problems} problems, in {self.folder})"

    def _repr_html_(self) -> str:
        from nap.face.page import table_of

        return table_of(self)


@checked_arguments
def evaluate(
    model: Denoiser | str | PathLike[str] | Sequence[str | PathLike[str]],
    task: str,
    *,
    policies: str | Sequence[str] = ("ar", "low_confidence", "random", "threshold", "parallel_forced"),
    tokens_per_step: int | Sequence[int] = (),
    steps: int | Sequence[int] = (),
    problems: int = 200,
    split: str = "test",
    data: str | PathLike[str] | None = None,
    out: str | PathLike[str] | None = None,
    baseline: str | None = None,
    canvas: Kind | CanvasSpec | None = None,
    attention: Attention | None = None,
    infill: str | None = None,
    gap_tokens: int | None = None,
    cache: str | Sequence[str] = "none",
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int = 0,
    guidance: float = 0.0,
    eos: Eos = "count",
    seed: int = 0,
    raw: bool = False,
    device: str = "cpu",
    dtype: str = "auto",
    int8: Int8 | None = None,
    compile: bool = False,
    batch_size: int | None = None,
    workers: int = 1,
    traces: int = 20,
    watch: Callable[[Progress], None] = lambda progress: None,
) -> Run:
    """Compare policies and paces of a model, or of several that are named, over a task's problems.

    model     an open model, or names for `nap.load`, which are opened on `device` in `dtype`, with `int8` and `compile`
    task      arith, countdown, sudoku, sudoku-6x6, grids, agree, igsm, gsm8k, math500, multiarith, or jsonl or
              restore with `data`
    policies  names with their settings. Those that follow a budget run once for each of `tokens_per_step` (1, 2, 4 and
              8 unless `steps` are given) and of `steps`; all others run once
    infill    a text for every answer in which only gaps are decoded: "The answer is [MASK:4]." (see nap.decode)
    out       the run's folder: the same call resumes it. None: a folder that is deleted with the Run
    baseline  "MODEL | POLICY"; by default the first model under low_confidence
    cache     one or several caches of docs/caches.md; each is compared with "none", if that is among them
    traces    for how many problems of each setting traces are kept
    watch     is called with a Progress after each batch

    Rows of the task's file that cannot be checked, and rows of the folder that are reused, are told on standard error.

    Raises InputError for a setting that does not exist, has another type or does not fit, and for a folder that holds
    another run.

    >>> import nap
    >>> model = nap.load("arith-nap")
    >>> run = nap.evaluate(model, task="arith", policies=["low_confidence"], tokens_per_step=[1, 4], problems=3)
    >>> [record.pace for record in run.records]
    ['1/step', '4/step']
    >>> print(run.table().splitlines()[0])
    | model | policy | pace | accuracy % | TPF | ARness | ARness/path | AFP | tau-b | gain | p (Holm) | AUP |
    """
    opened = None if isinstance(model, str | PathLike | Sequence) else model
    opening = _Opening(device=device, dtype=dtype, int8=int8, compile=compile)
    if opened and (told := [name for name, usual in USUAL.items() if opening[name] != usual]):
        raise InputError(
            f"{told[0]} is for models that are named, and this one is open: open it so, "
            f"nap.load(..., {told[0]}={opening[told[0]]!r}), or drop it"
        )
    names = _names(model)
    # The checkpoints are looked at only where a name has to be understood.
    wanted = chosen_canvas(_owns(opened, names) if isinstance(canvas, str) and canvas != "own" else [], canvas)
    asked = _several(policies), _several(tokens_per_step), _several(steps)
    sweep = Sweep(
        task=task, models=names, policies=asked[0], tokens_per_step=paces_of(*asked), steps=asked[2],
        problems=problems, split=split, data=None if data is None else str(data), canvas=wanted, attention=attention,
        cache=_several(cache), infill=infill, gap_tokens=gap_tokens,
        temperature=temperature, top_p=top_p, top_k=top_k, guidance=guidance, eos=eos, seed=seed, raw=raw,
        **(_opened_as(opened) if opened else opening),
    )  # fmt: skip
    find_baseline([cell.said for cell in sweep.cells()], names[0], baseline)
    folder = Path(tempfile.mkdtemp(prefix="nap-"), "run") if out is None else Path(out)
    with kept_open(opened, sweep, workers) if opened else nullcontext():
        rows = run_sweep(sweep, folder, batch_size=batch_size, workers=workers, traces=traces, report=watch, say=say)
    records = summarise(rows, read_seconds(folder / "seconds.parquet"), baseline)
    write_summary(records, folder)
    run = Run(folder=folder, records=records)
    if out is None:
        weakref.finalize(run, shutil.rmtree, folder.parent, ignore_errors=True)
    return run


class _Opening(TypedDict, total=False):
    """How a sweep opens its models."""

    device: str
    dtype: str
    revision: str | None
    trust_remote_code: bool
    int8: Int8 | None
    compile: bool
    mask_id: int | None
    shift: bool | None
    block_size: int | None


def _opened_as(opened: Denoiser) -> _Opening:
    """What a sweep must say to open this model again."""
    told, overridden = opened.setting, opened.told if isinstance(opened, Loaded) else {}
    return {
        "device": str(opened.device),
        "dtype": told["dtype"],
        "revision": told["revision"],
        "trust_remote_code": bool(told.get("remote_code")),
        "int8": told.get("int8"),
        "compile": bool(told.get("compile")),
        "mask_id": overridden.get("mask_id"),
        "shift": overridden.get("shift"),
        "block_size": overridden.get("block_size"),
    }


def _names(model: Denoiser | str | PathLike[str] | Sequence[str | PathLike[str]]) -> tuple[str, ...]:
    if isinstance(model, str | PathLike):
        return (str(model),)
    return tuple(map(str, model)) if isinstance(model, Sequence) else (model.setting["model"],)


def _owns(opened: Denoiser | None, names: Sequence[str]) -> list[CanvasSpec | None]:
    """The models' own canvases."""
    return [opened.canvas] if opened else [read_canvas(find(name, weights=False)[0]) for name in names]


def _several(given: One | Sequence[One]) -> tuple[One, ...]:
    """One of them as a tuple, several as they are. A text is one."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        return (given,)  # pyright: ignore[reportReturnType]  # a text is no sequence here
    return tuple(given)
