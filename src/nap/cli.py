"""The command `nap`. One frozen dataclass a command; what is heavy is imported when the command runs.

With `--json` standard output holds JSON and nothing else; progress goes to standard error. Bad input is one line on
standard error and exit code 2.
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
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


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How a checkpoint is opened."""

    device: str = "cpu"
    """cpu, cuda, cuda:1 or mps"""
    dtype: str = "auto"
    """auto (what this machine is fast at), float32, bfloat16 or float16"""
    revision: str | None = None
    """revision of a hub checkpoint"""
    mask_id: int | None = None
    """id of the mask token, where the checkpoint does not say or is wrong"""
    trust_remote_code: bool = False
    """run the checkpoint's own code; needs a pinned --revision"""


@dataclass(frozen=True, kw_only=True)
class CanvasFlags:
    """The canvas; by default the one that the checkpoint was trained on."""

    canvas: Literal["own", "plain", "longcot", "nap"] = "own"
    """own (canvas.json of the checkpoint), plain (no tags), longcot (one path), nap (several)"""
    paths: int = 3
    """paths of a nap canvas"""
    path_tokens: int = 330
    """tokens of each path slot"""
    summary_tokens: int = 32
    """tokens of the summary slot"""
    tags: Literal["think", "hash"] = "think"
    """<think 1> or <think #1>"""

    def spec(self) -> "CanvasSpec | None":
        """None for the checkpoint's own."""
        from nap.canvas import CanvasSpec

        if self.canvas == "own":
            return None
        if self.canvas == "plain":
            return CanvasSpec(paths=1, path_tokens=self.path_tokens, summary_tokens=0, tags="none")
        paths = self.paths if self.canvas == "nap" else 1
        return CanvasSpec(paths=paths, path_tokens=self.path_tokens, summary_tokens=self.summary_tokens, tags=self.tags)


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
    tokens_per_step: int | None = None
    """commits a step, for a policy that follows a budget (default 1)"""
    steps: int | None = None
    """commit everything in this many steps, instead"""
    live: bool = False
    """show the canvas as it fills"""
    out: str | None = None
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
        from dataclasses import asdict

        from nap.canvas import layout, parse
        from nap.decode import collect, decode, run_setting
        from nap.denoiser import load, prompt_ids
        from nap.evaluate import canvas_spec
        from nap.metrics import measure
        from nap.policies import parse_policy
        from nap.schema import write_traces

        options = asdict(self.loading)
        budget, policy, sampling = self.budget(), parse_policy(self.policy), self.drawing.sampling()
        denoiser = load(self.model, **options)
        spec = canvas_spec(denoiser, self.canvas.spec())
        canvases = [
            layout(
                prompt_ids(denoiser, prompt, self.drawing.raw), spec, denoiser.tokenizer, denoiser.mask_id,
                problem_id=f"prompt-{number}",
            )
            for number, prompt in enumerate(self.prompt, 1)
        ]  # fmt: skip
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
                _print_completion(completion, report, trace)


def _show_live(steps: Any, canvases: Any, denoiser: Any) -> Any:
    """Pass the steps on, drawing the first canvas after each; a plain line a step where there is no terminal."""
    from rich.console import Console, Group
    from rich.live import Live

    from nap.schema import REMASK
    from nap.view import headline, lanes

    console, ids = Console(stderr=True), canvases[0].ids.copy()

    class Words(dict[int, str]):
        def __missing__(self, token: int) -> str:
            self[token] = denoiser.tokenizer.decode([token])
            return self[token]

        def get(self, token: int, default: Any = None) -> str:
            return self[token]

    with Live(console=console, auto_refresh=False, transient=False) as screen:
        for step in steps:
            if step.row == 0:
                for event in step.events:
                    ids[event.position] = denoiser.mask_id if event.kind == REMASK else event.token
                picture = lanes(ids.tolist(), canvases[0].region.tolist(), Words(), denoiser.mask_id, step.events)
                screen.update(Group(headline(step.index, None, step.events), picture), refresh=True)
            yield step


def _print_completion(completion: Any, report: dict[str, Any], trace: "Trace") -> None:
    from rich.console import Console

    console = Console(highlight=False)
    for number, text in enumerate(completion.paths, 1):
        console.print(f"path {number}: {_visible(text)}", markup=False, soft_wrap=True)
    if completion.summary:
        console.print(f"summary: {_visible(completion.summary)}", markup=False, style="bold", soft_wrap=True)
    known = {"tokens": report["n_tokens"], "forwards": trace.forwards, "tokens per forward": report["tpf"]}
    known |= {"Global-ARness@1": report["global_arness@1"], "random order": report["global_arness@1_random"]}
    if "path_mean" in report:
        known["within a path"] = report["path_mean"]["global_arness@1"]
    known |= {"AFP": report["afp"], "tau-b": report["tau_b"]}
    text = ", ".join(f"{name} {_short(value)}" for name, value in known.items())
    console.print(text, markup=False, style="dim", soft_wrap=True)


def _visible(text: str) -> str:
    """Text of any length with control characters shown, so that a model cannot drive the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, kw_only=True)
class Eval:
    """Sweep models x policies x budgets over a task's problems; resumable, with intervals and paired tests."""

    models: tuple[str, ...]
    """bundled names, folders or hub names"""
    task: str
    """arith, countdown, sudoku, gsm8k, math500, multiarith, or jsonl with --data"""
    policies: tuple[str, ...] = ("ar", "low_confidence", "random", "threshold", "parallel_forced")
    tokens_per_step: tuple[int, ...] = ()
    """budgets, for the policies that follow one; 1 2 4 8 unless --steps are given"""
    steps: tuple[int, ...] = ()
    """budgets as numbers of steps"""
    problems: int = 200
    split: str = "test"
    data: str | None = None
    """the task's problems from this file"""
    out: str = "runs/eval"
    """the run's folder; the same command resumes it"""
    baseline: str | None = None
    """compare each cell with "MODEL | POLICY" at its own pace; default: the first model under low_confidence"""
    batch_size: int = 16
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
        from dataclasses import asdict

        from nap.evaluate import Sweep, run_sweep
        from nap.schema import read_parquet
        from nap.summary import findings, markdown, summarise, write_summary

        budgets = self.tokens_per_step or (() if self.steps else (1, 2, 4, 8))
        sweep = Sweep(
            task=self.task, models=self.models, policies=self.policies, tokens_per_step=budgets, steps=self.steps,
            problems=self.problems, split=self.split, data=self.data, canvas=self.canvas.spec(),
            **asdict(self.drawing), **asdict(self.loading),
        )  # fmt: skip
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


def show_progress(progress: "Progress") -> None:
    """One line on standard error, rewritten where it is a terminal."""
    eta = "" if progress.eta != progress.eta else f", about {progress.eta:.0f} s left"
    line = f"{progress.done}/{progress.total} decoded ({progress.cell}){eta}"
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line[:100]}", end="\n" if progress.done == progress.total else "", file=sys.stderr, flush=True)
    elif progress.done == progress.total or progress.done * 10 // progress.total > (
        (progress.done - progress.batch) * 10 // progress.total
    ):
        print(line, file=sys.stderr, flush=True)


def print_summary(records: Sequence[Any], sentences: Sequence[str]) -> None:
    """The table, narrowed to what a person compares first, and the sentences."""
    from rich.console import Console
    from rich.table import Table

    from nap.summary import HEADER, table

    console = Console(width=None if sys.stdout.isatty() else 160)
    drawn = Table(box=None, header_style="bold", pad_edge=False)
    for name in HEADER:
        drawn.add_column(name, no_wrap=True)
    for line in table(records):
        drawn.add_row(*line)
    console.print(drawn)
    for sentence in sentences:
        console.print(f"- {sentence}", markup=False, highlight=False)


@dataclass(frozen=True, kw_only=True)
class OrderCommand:
    """Order metrics of traces, or of bare orders: one JSON list of [position, step] pairs a line. No model needed."""

    file: Positional[str]
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
    from rich.console import Console
    from rich.table import Table

    from nap.view import printable

    columns = {
        "tokens": "n_tokens",
        "steps": "n_steps",
        "TPF": "tpf",
        "AFP": "afp",
        "tau-b": "tau_b",
        "tied": "tied_share",
    }
    for k in ks:
        columns |= {f"global@{k}": f"global_arness@{k}", f"(random)@{k}": f"global_arness@{k}_random"}
        columns |= {f"local@{k}": f"local_arness@{k}"}
    table = Table("id", *columns, box=None, pad_edge=False)
    for label, report in zip(labels, reports, strict=True):
        table.add_row(printable(label), *[_short(report.get(key)) for key in columns.values()])
    Console(width=None if sys.stdout.isatty() else 200).print(table)


@dataclass(frozen=True, kw_only=True)
class Score:
    """Accuracy of a file of outputs: any JSONL with a text and the problem or its answer."""

    file: Positional[str]
    task: str
    """which task's extraction and check to use"""
    by: str | None = None
    """a field of the rows to group by, such as gen_length"""
    json: bool = False

    def run(self) -> None:
        """Print accuracy with Wilson's interval."""
        from nap.score import score_file

        scores = score_file(self.file, self.task, by=self.by)
        if not self.json:
            print(scores)
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
    """Print problems of a task as JSONL, for reading or for use as a file of your own."""

    task: str
    split: str = "test"
    limit: int = 5
    data: str | None = None

    def run(self) -> None:
        """One JSON object a line."""
        from dataclasses import asdict

        from nap.tasks import load_task

        for problem in load_task(self.task).load(self.split, self.limit, self.data):
            print(json.dumps(asdict(problem), ensure_ascii=False))


@dataclass(frozen=True, kw_only=True)
class TraceShow:
    """Print a trace as a canvas, step by step."""

    file: Positional[str]
    index: int = 0
    """which trace of the file, from 0"""
    step: int | None = None
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
        shown = list(frames(trace))
        if self.step is not None and not 1 <= self.step <= len(shown):
            raise InputError(f"step must be from 1 to {len(shown)}, got {self.step}")
        console = Console(highlight=False)
        verdict = {True: "right", False: "wrong", None: "not checked"}[trace.correct]
        title = (
            f"{printable(trace.problem_id)}: {trace.setting.get('policy', 'unknown policy')}, {trace.forwards} forwards"
        )
        console.print(f"{title}, answer {printable(str(trace.answer))} ({verdict})", markup=False)
        for head, lanes in shown if self.step is None else [shown[self.step - 1]]:
            console.print(head)
            console.print(lanes)


@dataclass(frozen=True, kw_only=True)
class TraceConvert:
    """Rewrite traces as JSONL or Parquet, by the name of the output."""

    file: Positional[str]
    out: Positional[str]

    def run(self) -> None:
        """Read all, check all, write all."""
        from nap.schema import read_traces, write_traces

        write_traces(read_traces(self.file), self.out)


COMMANDS: dict[str, Any] = {
    "decode": Decode,
    "eval": Eval,
    "order": OrderCommand,
    "score": Score,
    "problems": Problems,
    "trace": {"show": TraceShow, "convert": TraceConvert},
}


def _help() -> str:
    lines = ["usage: nap COMMAND [flags]; nap COMMAND --help lists them", ""]
    for name, command in COMMANDS.items():
        parts = {f"{name} {sub}": c for sub, c in command.items()} if isinstance(command, dict) else {name: command}
        lines += [f"  {full:<14} {(c.__doc__ or '').splitlines()[0]}" for full, c in parts.items()]
    return "\n".join([*lines, "", "  --version      print the version"])


def _find(arguments: list[str]) -> tuple[Any, str, list[str]]:
    """(command class, its full name, the arguments left). Raises InputError for a command that there is not."""
    known, name = COMMANDS, "nap"
    while isinstance(known, dict):
        if not arguments or arguments[0] not in known:
            got = repr(arguments[0]) if arguments else "nothing"
            close = get_close_matches(arguments[0], known, 1) if arguments else []
            hint = f"; did you mean {close[0]!r}?" if close else ";"
            raise InputError(f"unknown command {got} after {name!r}{hint} known: {', '.join(known)}")
        name, known, arguments = f"{name} {arguments[0]}", known[arguments[0]], arguments[1:]
    return known, name, arguments


def run(arguments: list[str]) -> None:
    """Run one command. Raises InputError for bad input."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
    elif arguments[0] == "--version":
        print(__version__)
    else:
        command, name, rest = _find(arguments)
        tyro.cli(command, args=rest, prog=name, description=command.__doc__).run()


def main() -> None:
    """Entry point: bad input and a full disk are one line and exit code 2."""
    try:
        run(sys.argv[1:])
        sys.stdout.flush()
    except InputError as error:
        sys.exit(_fail(str(error)))
    except BrokenPipeError:
        # Whoever read our output has gone; without this the interpreter complains when it closes standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        sys.exit(_fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"))
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(message: str) -> int:
    print(f"nap: {' '.join(message.split())}", file=sys.stderr)
    return 2
