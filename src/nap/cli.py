"""The command `nap`. One frozen dataclass a command; what is heavy is imported when the command runs.

With `--json` standard output holds JSON and nothing else; progress goes to standard error. Bad input is one line on
standard error and exit code 2.
"""

import io
import json
import os
import re
import shutil
import sys
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stderr
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from inspect import cleandoc
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import OmitArgPrefixes, Positional, arg

from nap import __version__
from nap.files import InputError

if TYPE_CHECKING:
    from nap.canvas import CanvasSpec
    from nap.decode import Budget, Sampling
    from nap.evaluate import Progress
    from nap.schema import Trace

# What the extra `models` installs; the base installation has none of it.
MODELS_EXTRA = ("torch", "transformers", "safetensors", "tokenizers", "huggingface_hub", "pyarrow", "scipy")

# What may be left out: without these tyro shows {None}|INT and (default: None).
Whole = Annotated[int | None, arg(metavar="INT", help_behavior_hint="")]
Words = Annotated[str | None, arg(metavar="STR", help_behavior_hint="")]


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How a checkpoint is opened."""

    device: str = "cpu"
    """cpu, cuda, cuda:1 or mps"""
    dtype: str = "auto"
    """auto (what this machine is fast at), float32, bfloat16 or float16"""
    revision: Words = None
    """revision of a hub checkpoint"""
    mask_id: Whole = None
    """id of the mask token, where the checkpoint does not say or is wrong"""
    trust_remote_code: bool = False
    """run the checkpoint's own code; needs a pinned --revision"""


@dataclass(frozen=True, kw_only=True)
class CanvasFlags:
    """The canvas; by default the one that the checkpoint was trained on."""

    canvas: Literal["own", "plain", "longcot", "nap"] = "own"
    """own (canvas.json of the checkpoint), plain (no tags), longcot (one path), nap (several)"""
    paths: Whole = None
    """paths of a nap canvas (default: 3)"""
    path_tokens: Whole = None
    """tokens of each path slot (default: 330)"""
    summary_tokens: Whole = None
    """tokens of the summary slot (default: 32)"""
    tags: Annotated[Literal["think", "hash"] | None, arg(metavar="{think,hash}", help_behavior_hint="")] = None
    """<think 1> or <think #1> (default: think)"""

    def spec(self) -> "CanvasSpec | None":
        """None for the checkpoint's own. Raises InputError for a flag that would change nothing."""
        from nap.canvas import CanvasSpec

        given = {name: value for name, value in asdict(self).items() if name != "canvas" and value is not None}
        kinds: dict[str, dict[str, Any]] = {
            "plain": {"paths": 1, "summary_tokens": 0, "tags": "none"},
            "longcot": {"paths": 1},
            "nap": {},
        }
        fixed = kinds.get(self.canvas, given)
        if unused := [name for name in given if name in fixed]:
            flag = unused[0].replace("_", "-")
            raise InputError(f"--{flag} changes nothing with --canvas {self.canvas}; choose --canvas nap, or drop it")
        return CanvasSpec(**given, **fixed) if self.canvas in kinds else None


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How candidates are drawn."""

    temperature: float = 0.0
    """0: the likeliest token"""
    top_p: float = 1.0
    """keep the likeliest tokens that hold this probability"""
    top_k: int = 0
    """keep this many tokens; 0: all"""
    eos: Literal["count", "suppress", "defer", "stop"] = "count"
    """end of text: an ordinary token, never predicted, committed last, or the end of its slot"""
    seed: int = 0
    """of all that is drawn"""
    raw: bool = False
    """give the prompt as it is, without the checkpoint's chat template"""

    def sampling(self) -> "Sampling":
        """The sampling part."""
        from nap.decode import Sampling

        return Sampling(temperature=self.temperature, top_p=self.top_p, top_k=self.top_k)


@dataclass(frozen=True, kw_only=True)
class Decode:
    """Decode prompts and print what each path and the summary say."""

    model: str
    """a bundled name (arith-nap, arith-longcot, countdown-nap, countdown-longcot), a folder, or a hub name"""
    prompt: Annotated[tuple[str, ...], arg(aliases=["-p"])]
    """one prompt or more; with several, they are one batch"""
    policy: str = "parallel_forced"
    """name or name:setting=value,... such as threshold:tau=0.8"""
    tokens_per_step: Whole = None
    """commits a step, for a policy that follows a budget (default: 1)"""
    steps: Whole = None
    """commit everything in this many steps, instead"""
    live: bool = False
    """show the canvas as it fills"""
    out: Words = None
    """write the traces to this .jsonl or .parquet file"""
    json: bool = False
    """print one JSON object a prompt"""
    canvas: OmitArgPrefixes[CanvasFlags] = CanvasFlags()
    drawing: OmitArgPrefixes[Drawing] = Drawing()
    loading: OmitArgPrefixes[Loading] = Loading()

    def budget(self) -> "Budget":
        """The budget asked for; one token a step for a policy that needs one."""
        from nap.decode import Budget
        from nap.policies import parse_policy

        if self.tokens_per_step is None and self.steps is None and parse_policy(self.policy).paced:
            return Budget(tokens=1)
        return Budget(tokens=self.tokens_per_step, steps=self.steps)

    def run(self) -> None:
        """Decode, show, write."""
        from nap.canvas import parse
        from nap.decode import collect, decode, run_setting
        from nap.denoiser import load
        from nap.evaluate import canvas_of, canvas_spec
        from nap.metrics import measure
        from nap.policies import parse_policy
        from nap.schema import Problem, write_traces

        if not self.prompt:
            raise InputError("there is no prompt; give one or more: --prompt TEXT")
        _check_trace_file(self.out)
        budget, policy, sampling = self.budget(), parse_policy(self.policy), self.drawing.sampling()
        wanted = self.canvas.spec()
        denoiser = load(self.model, **asdict(self.loading))
        spec = canvas_spec(denoiser, wanted)
        problems = [Problem(id=f"prompt-{n}", prompt=prompt, answer="") for n, prompt in enumerate(self.prompt, 1)]
        canvases = [canvas_of(denoiser, problem, spec, self.drawing.raw) for problem in problems]
        settings = {"budget": budget, "sampling": sampling, "eos": self.drawing.eos, "seed": self.drawing.seed}
        steps = decode(denoiser, canvases, policy, **settings)
        if self.live:
            steps = _show_live(steps, canvases, denoiser)
        traces = collect(denoiser, canvases, steps, run_setting(denoiser, policy, **settings))
        if self.out:
            write_traces(traces, self.out)
        for prompt, canvas, trace in zip(self.prompt, canvases, traces, strict=True):
            completion = parse(canvas, trace.final, denoiser.tokenizer, trace.uncounted)
            report = measure(trace)
            if self.json:
                print(json.dumps({"prompt": prompt, **asdict(completion), "order": report}))
            else:
                _print_completion(prompt if len(canvases) > 1 else None, completion, report, trace)


def _check_trace_file(path: str | None) -> None:
    """Refuse a name that says neither format, before anything is decoded or read."""
    if path is not None and not path.endswith((".jsonl", ".parquet")):
        raise InputError(f"traces are written as .jsonl or .parquet, got {path!r}")


def _show_live(steps: Any, canvases: Any, denoiser: Any) -> Any:
    """Pass the steps on, drawing the first canvas after each: in place, or one below the other without a terminal."""
    from rich.console import Console, Group
    from rich.live import Live

    from nap.schema import REMASK
    from nap.view import headline, lanes

    console, ids = Console(stderr=True, highlight=False), canvases[0].ids.copy()
    vocabulary = _Vocabulary(denoiser.tokenizer)
    in_place = console.is_terminal and not console.is_dumb_terminal
    screen = Live(console=console, auto_refresh=False) if in_place else None
    with screen or nullcontext():
        for step in steps:
            if step.row == 0:
                for event in step.events:
                    ids[event.position] = denoiser.mask_id if event.kind == REMASK else event.token
                drawn = lanes(ids.tolist(), canvases[0].region.tolist(), vocabulary, denoiser.mask_id, step.events)
                picture = Group(headline(step.index, None, step.events), drawn)
                screen.update(picture, refresh=True) if screen else console.print(picture)
            yield step


class _Vocabulary(dict[int, str]):
    """The text of a token, decoded when it is first asked for."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def get(self, token: int, default: Any = None) -> str:
        if token not in self:
            self[token] = self.tokenizer.decode([token])
        return self[token]


def _print_completion(prompt: str | None, completion: Any, report: dict[str, Any], trace: "Trace") -> None:
    from rich.console import Console

    console = Console(highlight=False)
    if prompt is not None:
        console.print(f"prompt: {_visible(prompt)}", markup=False, style="bold", soft_wrap=True)
    for number, text in enumerate(completion.paths, 1):
        console.print(f"path {number}: {_visible(text)}", markup=False, soft_wrap=True)
    if completion.summary:
        console.print(f"summary: {_visible(completion.summary)}", markup=False, style="bold", soft_wrap=True)
    known = {"tokens": report["n_tokens"], "forwards": trace.forwards, "TPF": report["tpf"], "AFP": report["afp"]}
    known |= {"tau-b": report["tau_b"], "Global-ARness@1": _against_random(report, 1)}
    known |= {"within a path": _against_random(report["path_mean"], 1)}
    text = ", ".join(f"{name} {_short(value)}" for name, value in known.items())
    console.print(f"{text}; in brackets: a random order", markup=False, style="dim", soft_wrap=True)


def _against_random(report: dict[str, Any], k: int) -> str:
    """`0.11 (0.06)`: Global-ARness@k, and what a random order has."""
    value, random = report.get(f"global_arness@{k}"), report.get(f"global_arness@{k}_random")
    return "-" if value is None else f"{value:.2f} ({_short(random)})"


def _visible(text: str) -> str:
    """Text of any length with control characters shown, so that a model cannot drive the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def _short(value: Any) -> str:
    return "-" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, kw_only=True)
class Eval:
    """Compare models, policies and budgets over a task's problems.

    Numbers have intervals, differences paired tests; the same command resumes.
    """

    models: tuple[str, ...]
    """bundled names, folders or hub names"""
    task: str
    """arith, countdown, sudoku, gsm8k, math500, multiarith, or jsonl with --data"""
    policies: tuple[str, ...] = ("ar", "low_confidence", "random", "threshold", "parallel_forced")
    """each a name or name:setting=value,... such as threshold:tau=0.8"""
    tokens_per_step: tuple[int, ...] = ()
    """budgets, for the policies that follow one; 1 2 4 8 unless --steps are given"""
    steps: tuple[int, ...] = ()
    """budgets as numbers of steps"""
    problems: int = 200
    """how many of the split"""
    split: str = "test"
    """train or test"""
    data: Words = None
    """the task's problems from this file"""
    out: str = "runs/eval"
    """the run's folder; the same command resumes it"""
    baseline: Words = None
    """compare each cell with "MODEL | POLICY" at its own pace (default: the first model under low_confidence)"""
    batch_size: int = 16
    """problems decoded together; it changes no result"""
    workers: int = 1
    """processes of one thread each"""
    traces: int = 20
    """keep the traces of this many problems of each cell"""
    json: bool = False
    """print the summary as JSON"""
    markdown: bool = False
    """print the summary as Markdown"""
    canvas: OmitArgPrefixes[CanvasFlags] = CanvasFlags()
    drawing: OmitArgPrefixes[Drawing] = Drawing()
    loading: OmitArgPrefixes[Loading] = Loading()

    def run(self) -> None:
        """Run the sweep, write and print its summary."""
        from nap.evaluate import Sweep, run_sweep
        from nap.schema import read_parquet
        from nap.summary import find_baseline, findings, markdown, summarise, write_summary

        budgets = self.tokens_per_step or (() if self.steps else (1, 2, 4, 8))
        sweep = Sweep(
            task=self.task, models=self.models, policies=self.policies, tokens_per_step=budgets, steps=self.steps,
            problems=self.problems, split=self.split, data=self.data, canvas=self.canvas.spec(),
            **asdict(self.drawing), **asdict(self.loading),
        )  # fmt: skip
        find_baseline([cell.name for cell in sweep.cells()], self.models[0], self.baseline)
        rows = run_sweep(
            sweep, self.out, batch_size=self.batch_size, workers=self.workers, traces=self.traces, report=show_progress
        )
        records = summarise(rows, read_parquet(f"{self.out}/seconds.parquet"), self.baseline)
        write_summary(records, self.out)
        if self.json:
            print(json.dumps(records))
        elif self.markdown:
            print(markdown(records), end="")
        else:
            print_summary(records, findings(records))
        print(f"rows, traces and summaries are in {self.out}", file=sys.stderr)


def show_progress(progress: "Progress") -> None:
    """One line on standard error, rewritten where it is a terminal."""
    from nap.view import printable

    eta = "" if progress.eta != progress.eta else f", about {progress.eta:.0f} s left"
    line = f"{progress.done}/{progress.total} decoded{eta} ({printable(progress.cell, 200)})"
    if sys.stderr.isatty():
        # Longer than the terminal is wide, it would not be rewritten.
        line, end = line[: shutil.get_terminal_size().columns - 1], "\n" if progress.done == progress.total else ""
        print(f"\r\x1b[K{line}", end=end, file=sys.stderr, flush=True)
    elif progress.done == progress.total or progress.done * 10 // progress.total > (
        (progress.done - progress.batch) * 10 // progress.total
    ):
        print(line, file=sys.stderr, flush=True)


def print_summary(records: Sequence[Any], sentences: Sequence[str]) -> None:
    """The table, on a narrow terminal without what people compare last, and the sentences."""
    from nap.summary import HEADER, table

    console = _console()
    lines = table(records)
    if _fits(console, HEADER, lines):
        _draw(console, HEADER, lines)
    else:
        shown = [HEADER.index(name) for name in HEADER[1:] if name not in ("AFP", "tau-b", "AUP")]
        header = [HEADER[column].replace("/", "/\n").replace(" (", "\n(") for column in shown]
        for model in dict.fromkeys(line[0] for line in lines):
            console.print(model, style="bold", markup=False)
            # The means without their intervals.
            own = [[line[column].split(" ±")[0] for column in shown] for line in lines if line[0] == model]
            _draw(console, header, own)
        console.print("intervals, AFP, tau-b and AUP: in summary.md, or on a wider terminal", style="dim")
    for sentence in sentences:
        console.print(f"- {sentence}", markup=False)


def _console() -> Any:
    from rich.console import Console

    # Where nobody looks there is no width: a pipe gets whole lines.
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=10_000)


def _draw(console: Any, header: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """A table without lines, close together if it must. Cells are text as it is, never markup."""
    from rich.table import Table
    from rich.text import Text

    gap = 2 if _fits(console, header, lines) else 1
    drawn = Table(*header, box=None, header_style="bold", padding=(0, gap, 0, 0), pad_edge=False)
    for line in lines:
        drawn.add_row(*map(Text, line))
    console.print(drawn)


def _fits(console: Any, header: Sequence[str], lines: Sequence[Sequence[str]]) -> bool:
    """Whether a table with gaps of 2 is as narrow as the terminal; always where there is none."""
    widths = [
        max(len(part) for cell in column for part in cell.split("\n")) for column in zip(header, *lines, strict=True)
    ]
    return sum(widths) + 2 * (len(widths) - 1) <= console.width


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
        from nap.metrics import aggregate, measure

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
        from nap.files import read_jsonl
        from nap.order import order_of, read_orders
        from nap.schema import read_traces

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
    from nap.view import printable

    def line(label: str, report: dict[str, Any], k_shown: Sequence[int]) -> list[str]:
        cells = [printable(label), *(_short(report.get(key)) for key in columns.values())]
        for k in k_shown:
            cells += [_against_random(report, k), _against_random(report.get("path_mean", {}), k)]
            cells += [_short(report.get(f"local_arness@{k}"))]
        return cells

    columns = {"tokens": "n_tokens", "steps": "n_steps", "TPF": "tpf", "AFP": "afp", "tau-b": "tau_b"}
    columns |= {"tied": "tied_share"}
    console, shown = _console(), [*ks]
    while True:
        header = ["id", *columns, *(name for k in shown for name in (f"ARness@{k}", f"in path@{k}", f"local@{k}"))]
        lines = [line(label, report, shown) for label, report in zip(labels, reports, strict=True)]
        if len(shown) < 2 or _fits(console, header, lines):
            break
        shown.pop()
    _draw(console, header, lines)
    hidden = (
        f"; k = {', '.join(map(str, ks[len(shown) :]))}: --json, or a wider terminal" if len(shown) < len(ks) else ""
    )
    console.print(f"in brackets: a random order{hidden}", style="dim")


@dataclass(frozen=True, kw_only=True)
class Score:
    """Accuracy of a file of outputs."""

    file: Annotated[Positional[str], arg(metavar="FILE")]
    """a .jsonl whose rows have the model's text (generation, output, completion, response or text) and the right answer
    (ground_truth, gold, target or answer), or for the public tasks the question"""
    task: str
    """which task's extraction and check to use"""
    by: Words = None
    """a field of the rows to group by, such as gen_length"""
    json: bool = False
    """print one JSON object"""

    def run(self) -> None:
        """Print accuracy with Wilson's interval."""
        from nap.score import score_file
        from nap.view import printable

        scores = score_file(self.file, self.task, by=self.by)
        if not self.json:
            groups = tuple(replace(group, name=printable(group.name)) for group in scores.groups)
            print(replace(scores, by=self.by and printable(self.by), groups=groups))
            return
        groups = [
            {
                "group": group.name,
                "right": group.correct,
                "rows": group.total,
                "no_answer": group.missing,
                "accuracy": group.accuracy,
                "interval": list(group.interval),
            }
            for group in scores.groups
        ]
        print(json.dumps({"task": self.task, "by": self.by, "groups": groups}))


@dataclass(frozen=True, kw_only=True)
class Problems:
    """Print a task's problems as JSONL."""

    task: str
    """arith, countdown, sudoku, gsm8k, math500, multiarith, or jsonl with --data"""
    split: str = "test"
    """train or test"""
    limit: int = 5
    """how many"""
    data: Words = None
    """the task's problems from this file"""

    def run(self) -> None:
        """One JSON object a line."""
        from nap.tasks import load_task

        if self.limit < 1:
            raise InputError(f"limit must be at least 1, got {self.limit}")
        for problem in load_task(self.task).load(self.split, self.limit, self.data):
            line = json.dumps(asdict(problem), ensure_ascii=False)
            # JSON leaves some characters as they are that move a cursor.
            print("".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line))


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

        _check_trace_file(self.out)
        write_traces(read_traces(self.file), self.out)


COMMANDS: dict[str, Any] = {
    "decode": Decode,
    "eval": Eval,
    "order": OrderCommand,
    "score": Score,
    "problems": Problems,
    "trace": {"show": TraceShow, "convert": TraceConvert},
}


def _help(known: dict[str, Any], name: str) -> str:
    lines = [f"usage: {name} COMMAND [flags]; {name} COMMAND --help lists them", ""]
    for key, command in known.items():
        parts = {f"{key} {sub}": c for sub, c in command.items()} if isinstance(command, dict) else {key: command}
        lines += [f"  {full:<14} {(c.__doc__ or '').splitlines()[0]}" for full, c in parts.items()]
    return "\n".join([*lines, "", "  nap --version  prints the version"])


def _parse(command: Any, name: str, arguments: list[str]) -> Any:
    """The command with its flags. Raises InputError for flags that are wrong, in one line where tyro draws a box."""
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            return tyro.cli(command, args=arguments, prog=name, description=cleandoc(command.__doc__))
    except SystemExit as stop:
        if not stop.code:
            raise
    raise InputError(f"{_in_one_line(said.getvalue())} ({name} --help lists all)")


def _in_one_line(box: str) -> str:
    """What tyro's box of an error says: its title, what is wrong, and after a rule what was perhaps meant."""
    text = re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯]", "", box)
    # Without Unicode its lines are hyphens, and its sides are not there.
    what, *rest = [part for part in re.split("[─-]{5,}", text) if part.strip()][1:] or [text]
    if what.split()[0] == "Missing" and (flags := re.findall(r"^ {5,6}(?:-\w .*, )?(--[\w-]+|[A-Z]+)\b", what, re.M)):
        return f"missing: {', '.join(flags)}"
    what = " ".join(what.split()).partition(" Got errors:")[0].replace("{None}|", "").rstrip(".")
    meant = re.search(r"Perhaps you meant:\s+(?:\S+, )*(--[\w-]+)", " ".join(rest))
    return f"{what[:1].lower()}{what[1:]}{f'; did you mean {meant[1]}?' if meant else ''}"


def run(arguments: list[str]) -> None:
    """Run one command. Raises InputError for bad input."""
    if arguments[:1] == ["--version"]:
        print(__version__)
        return
    known, name = COMMANDS, "nap"
    while isinstance(known, dict):
        if not arguments or arguments[0] in ("-h", "--help"):
            print(_help(known, name))
            return
        if arguments[0] not in known:
            close = get_close_matches(arguments[0], known, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ";"
            raise InputError(f"unknown command {arguments[0]!r} after {name!r}{hint} known: {', '.join(known)}")
        name, known, arguments = f"{name} {arguments[0]}", known[arguments[0]], arguments[1:]
    _parse(known, name, arguments).run()


def main() -> None:
    """Entry point: bad input and a full disk are one line and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for a terminal that cannot show it
    try:
        run(sys.argv[1:])
        sys.stdout.flush()
    except InputError as error:
        code = _fail(str(error))
    except BrokenPipeError:
        code = 0  # Whoever read our output has gone.
    except OSError as error:
        reason = error.strerror or str(error)
        code = _fail(f"{reason}: {error.filename}" if error.filename else f"cannot write: {reason}")
    except ModuleNotFoundError as error:
        if (missing := (error.name or "").partition(".")[0]) not in MODELS_EXTRA:
            raise
        code = _fail(f"this needs {missing}, which is not installed; try: pip install 'nap-dlm[models]'")
    except KeyboardInterrupt:
        code = 130
    else:
        return
    try:
        sys.stdout.flush()
    except OSError:
        # What could not be written will not be; the interpreter would try again, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _fail(message: str) -> int:
    print(f"nap: {_visible(' '.join(message.split()))}", file=sys.stderr)
    return 2
