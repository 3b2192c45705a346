"""`nap decode`: decode prompts and print what each path and the summary say."""

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitArgPrefixes, arg

from nap.commands import progress
from nap.commands.flags import CanvasFlags, Drawing, Loading, PromptFlags, Whole, Words, check_rows_file
from nap.commands.tables import against_random
from nap.common.files import InputError, read_text
from nap.common.text import printable, short

if TYPE_CHECKING:
    from nap.canvas.canvas import Completion
    from nap.data.trace import Trace
    from nap.order.scores import OrderReport


@dataclass(frozen=True, kw_only=True)
class Decode:
    """Decode prompts and print what each path and the summary say."""

    model: Annotated[str, arg(aliases=["--models"])]
    """a bundled name (arith-nap, arith-longcot, countdown-nap, countdown-longcot), a folder, or a hub name"""
    prompt: Annotated[tuple[str, ...], arg(aliases=["-p"], metavar="TEXT...", help_behavior_hint="")] = ()
    """one prompt or more; with several, they are one batch; - is standard input as one prompt"""
    prompts_from: Words = None
    """prompts from this file, or - for standard input: rows with a question, or a text with one a line"""
    policy: str = "parallel_forced"
    """name or name:setting=value,... such as threshold:tau=0.8"""
    tokens_per_step: Whole = None
    """commits a step, for a policy that follows a budget (default: 1)"""
    steps: Whole = None
    """commit everything in this many steps, instead"""
    cache: str = "none"
    """what is kept of a forward for the next: none, exact, prefix, dual or delayed (docs/caches.md)"""
    reads: Words = None
    """for a policy with agree=.5, which stops once its paths agree: the task that reads what a path answers"""
    live: bool = False
    """show the canvas as it fills"""
    out: Words = None
    """write the traces to this .jsonl or .parquet file"""
    json: bool = False
    """print one JSON object a prompt"""
    canvas: OmitArgPrefixes[CanvasFlags] = CanvasFlags()
    prompts: OmitArgPrefixes[PromptFlags] = PromptFlags()
    drawing: OmitArgPrefixes[Drawing] = Drawing()
    loading: OmitArgPrefixes[Loading] = Loading()

    def _asked(self) -> list[str]:
        """All prompts. Raises InputError if there is none."""
        from nap.tasks.prompts import read_prompts

        given = [read_text("-").strip() if prompt == "-" else prompt for prompt in self.prompt]
        given += read_prompts(self.prompts_from) if self.prompts_from else []
        if not given:
            raise InputError("there is no prompt; give one or more: --prompt TEXT, or --prompts-from FILE")
        return given

    def run(self) -> None:
        """Decode, show, write."""
        from nap.canvas.canvas import parse
        from nap.data.problems import Problem
        from nap.data.trace_files import write_traces
        from nap.decoding.budget import Budget, Settings
        from nap.decoding.decode import decode
        from nap.decoding.policies.registry import parse_policy
        from nap.decoding.prompt import asked_canvas, canvas_of
        from nap.decoding.traces import collect, run_setting
        from nap.models.any import load
        from nap.order.measure import measure
        from nap.report.terminal import live
        from nap.tasks.registry import load_task, path_reader

        prompts = self._asked()
        check_rows_file(self.out)
        policy, sampling = parse_policy(self.policy), self.drawing.sampling()
        budget = Budget.of(policy, self.tokens_per_step, self.steps)
        wanted, prompting = self.canvas.spec(), self.prompts.prompting()
        with progress.bar("", f"loading {printable(self.model)}"):
            denoiser = load(self.model, **asdict(self.loading))
        spec = asked_canvas(denoiser, wanted, self.canvas.attention)
        problems = [Problem(id=f"prompt-{n}", prompt=prompt, answer="") for n, prompt in enumerate(prompts, 1)]
        canvases = [canvas_of(denoiser, problem, spec, prompting) for problem in problems]
        settings: Settings = {"budget": budget, "sampling": sampling, "cache": self.cache}
        settings |= {"eos": self.drawing.eos, "seed": self.drawing.seed}
        reads = path_reader(load_task(self.reads), problems) if self.reads else None
        steps = decode(denoiser, canvases, policy, reads=reads, **settings)
        if self.live:
            steps = live(steps, canvases[0], denoiser.tokenizer, denoiser.mask_id)
        traces = collect(denoiser, canvases, steps, run_setting(denoiser, policy, **settings))
        if self.out:
            write_traces(traces, self.out)
        for prompt, canvas, trace in zip(prompts, canvases, traces, strict=True):
            completion = parse(canvas, trace.final, denoiser.tokenizer, trace.uncounted)
            report = measure(trace)
            if self.json:
                print(json.dumps({"prompt": prompt, **asdict(completion), "order": report.json()}))
            else:
                _print_completion(prompt if len(canvases) > 1 else None, completion, report, trace)


def _print_completion(prompt: str | None, completion: "Completion", report: "OrderReport", trace: "Trace") -> None:
    from nap.common.terminal import open_console

    console = open_console()
    if prompt is not None:
        console.print(f"prompt: {prompt}", markup=False, style="bold", soft_wrap=True)
    for number, text in enumerate(completion.paths, 1):
        console.print(f"path {number}: {text}", markup=False, soft_wrap=True)
    if completion.summary:
        console.print(f"summary: {completion.summary}", markup=False, style="bold", soft_wrap=True)
    whole, tpf = report.whole, report.counts.tpf
    known = {"tokens": whole.n_tokens, "forwards": trace.forwards, "query tokens": report.counts.queries}
    known |= {"guide calls": report.counts.guide_calls} if report.counts.guide_calls else {}
    known |= {"TPF": tpf, "AFP": whole.afp}
    known |= {"tau-b": whole.tau_b, "Global-ARness@1": against_random(report.at(1))}
    known |= {"within a path": against_random(report.path_at(1))}
    text = ", ".join(f"{name} {short(value)}" for name, value in known.items())
    console.print(f"{text}; in brackets: a random order", markup=False, style="dim", soft_wrap=True)
