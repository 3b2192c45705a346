"""`nap decode`: decode prompts, and print what each path and the summary say.

Does not decode (decoding/); reads the flags, prints texts and numbers, and writes traces.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import OmitArgPrefixes, arg

from nap.commands import progress
from nap.commands.flags import CanvasFlags, Drawing, Loading, PromptFlags, Whole, Words, check_rows_file
from nap.commands.tables import against_random
from nap.common.files import InputError, check_apart, read_text
from nap.common.terminal import open_console
from nap.common.text import printable, say, short

if TYPE_CHECKING:
    from nap.canvas.canvas import Canvas, Completion
    from nap.canvas.infill import Infill
    from nap.data.trace import Trace
    from nap.decoding.budget import Budget
    from nap.decoding.policies.policy import Policy
    from nap.models.denoiser import Denoiser
    from nap.order.scores import OrderReport


@dataclass(frozen=True, kw_only=True)
class Decode:
    """Decode prompts and print what each path and the summary say."""

    model: Annotated[str, arg(aliases=["--models"])]
    """a bundled name, such as grids-nap (all of them: docs/models.md), a folder, or a hub name"""
    prompt: Annotated[tuple[str, ...], arg(aliases=["-p"], metavar="TEXT...", help_behavior_hint="")] = ()
    """one prompt or more; with several, they are one batch; - is standard input as one prompt"""
    prompts_from: Words = None
    """prompts from this file, or - for standard input: rows with a question, or a text with one prompt a line"""
    infill: Annotated[tuple[str, ...], arg(metavar="TEXT...", help_behavior_hint="")] = ()
    """instead of free slots: a text whose gaps are decoded, [MASK] one token, [MASK:8] eight, ___ --gap-tokens;
    - is standard input as one text; the prompt may be left out"""
    infill_from: Words = None
    """texts with gaps from this file, or - for standard input: rows with a text (and a prompt), or one whole text"""
    gap_tokens: Whole = None
    """tokens of a gap written as ___ (default: 8)"""
    policy: str = "parallel_forced"
    """name or name:setting=value,... such as threshold:tau=0.8, or a file of yours with one, halves.py, which is run"""
    tokens_per_step: Whole = None
    """how many tokens a step writes, for a policy that follows a budget (default: 1)"""
    steps: Whole = None
    """fill the canvas in this many steps, in place of --tokens-per-step"""
    cache: str = "none"
    """which keys and values are kept between forwards: none, exact, prefix, dual, delayed, d2 or drift
    (docs/caches.md)"""
    reads: Words = None
    """for a policy with agree=.5, which stops once its paths agree: the task that reads a path's answer"""
    workers: int = 1
    """with --attention paths: processes that write the paths of a prompt; each opens the model (docs/scaling.md)"""
    backend: Annotated[Literal["processes", "ray"], arg(help_behavior_hint="")] = "processes"
    """where workers are: processes of this machine, or a Ray cluster across machines"""
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

    def _asked(self) -> "list[tuple[str, Infill | None]]":
        """All prompts, each with its text with gaps, if any. Raises InputError if there is nothing to decode."""
        from nap.decoding.asked import pair
        from nap.tasks.prompts import read_infills, read_prompts

        prompts = [read_text("-").strip() if prompt == "-" else prompt for prompt in self.prompt]
        prompts += read_prompts(self.prompts_from) if self.prompts_from else []
        texts = [(None, read_text("-").rstrip("\n") if text == "-" else text) for text in self.infill]
        texts += read_infills(self.infill_from) if self.infill_from else []
        if texts and self.canvas != CanvasFlags():
            raise InputError("a text with gaps is its own canvas; drop the flags of a canvas, or --infill")
        return pair(prompts, texts, self.gap_tokens)

    def run(self) -> None:
        """Decode, show, write."""
        from functools import partial

        from nap.data.trace_files import write_traces
        from nap.decoding.agreement import check_read
        from nap.decoding.asked import laid_out
        from nap.decoding.budget import Budget, Settings
        from nap.decoding.policies.own import of_file
        from nap.decoding.policies.registry import parse_policy
        from nap.decoding.prompt import asked_canvas
        from nap.face.decoding import results_of, told
        from nap.models.any import load
        from nap.order.measure import measure
        from nap.report.terminal import live

        asked = self._asked()
        check_rows_file(self.out)
        check_apart(self.out, *filter(None, (self.prompts_from, self.infill_from)))
        policy, sampling = parse_policy(of_file(self.policy)), self.drawing.sampling()
        budget = Budget.of(policy, self.tokens_per_step, self.steps)
        check_read(policy, self.reads)
        wanted, prompting = self.canvas.spec(), self.prompts.prompting()
        with progress.bar("", f"loading {printable(self.model)}"):
            denoiser = load(self.model, **asdict(self.loading))
        canvases = laid_out(denoiser, asked, lambda: asked_canvas(denoiser, wanted, self.canvas.attention), prompting)
        settings: Settings = {"budget": budget, "sampling": sampling, "cache": self.cache}
        settings |= {"eos": self.drawing.eos, "seed": self.drawing.seed}
        if self.workers != 1 or self.backend == "ray":
            traces = self._over_workers(denoiser, canvases, policy, budget)
            found = told(denoiser, asked, canvases, traces)
        else:
            view = partial(live, canvas=canvases[0], tokenizer=denoiser.tokenizer, mask_id=denoiser.mask_id)
            found = results_of(
                denoiser, asked, canvases, policy, settings, reads=self.reads, through=view if self.live else iter
            )
        if self.out:
            write_traces([result.trace for result in found], self.out)
        for canvas, result in zip(canvases, found, strict=True):
            report = measure(result.trace)
            if self.json:
                said = asdict(result.completion) | ({"gaps": result.gaps} if canvas.gaps else {})
                print(json.dumps({"prompt": result.prompt, **said, "order": report.json()}))
                continue
            if len(canvases) > 1 and result.prompt:
                open_console().print(f"prompt: {result.prompt}", markup=False, style="bold", soft_wrap=True)
            _print_texts(result.completion, canvas, result.gaps)
            _print_order(report, result.trace)

    def _over_workers(
        self, denoiser: "Denoiser", canvases: "list[Canvas]", policy: "Policy", budget: "Budget"
    ) -> "list[Trace]":
        """The traces of several processes, and a line on what they exchanged. Raises InputError as they do."""
        from nap.decoding.path_workers import decode_over_workers

        if self.live or self.cache not in ("none", "exact"):
            raise InputError("workers keep keys exactly and send what they wrote at its end; drop --live and --cache")
        opening = {"name": self.model, **asdict(self.loading)}
        traces = []
        for found in decode_over_workers(
            denoiser, opening, canvases, policy, workers=self.workers, budget=budget,
            sampling=self.drawing.sampling(), eos=self.drawing.eos, backend=self.backend,
        ):  # fmt: skip
            traces.append(found.trace)
            say(f"{self.workers} workers: {found.sent} bytes there and {found.received} back")
        return traces


def _print_texts(completion: "Completion", canvas: "Canvas", gaps: "Sequence[str]") -> None:
    console = open_console()
    for number, text in enumerate(completion.paths, 1):
        name = "text" if canvas.gaps else f"path {number}"
        console.print(f"{name}: {text}", markup=False, soft_wrap=True)
    for number, (text, (start, stop)) in enumerate(zip(gaps, canvas.gaps, strict=True), 1):
        console.print(f"gap {number} ({stop - start} tokens): {text}", markup=False, style="bold", soft_wrap=True)
    if completion.summary:
        console.print(f"summary: {completion.summary}", markup=False, style="bold", soft_wrap=True)


def _print_order(report: "OrderReport", trace: "Trace") -> None:
    whole, tpf = report.whole, report.counts.tpf
    known = {"tokens": whole.n_tokens, "forwards": trace.forwards, "query tokens": report.counts.queries}
    known |= {"given": len(trace.given)} if trace.given else {}
    known |= {"guide calls": report.counts.guide_calls} if report.counts.guide_calls else {}
    known |= {"TPF": tpf, "AFP": whole.afp}
    known |= {"tau-b": whole.tau_b, "Global-ARness@1": against_random(report.at(1))}
    known |= {"within a path": against_random(report.path_at(1))}
    text = ", ".join(f"{name} {short(value)}" for name, value in known.items())
    open_console().print(f"{text}; in brackets: a random order", markup=False, style="dim", soft_wrap=True)
