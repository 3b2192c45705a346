"""`nap trace`: show, explain, convert and import recorded traces.

Does not read other systems' records (order/importers.py) or ask models (evaluation/explain.py).
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from nap.commands.flags import Loading, Whole, Words, check_rows_file
from nap.common.bounds import SEED, check, check_least
from nap.common.files import InputError, check_apart

if TYPE_CHECKING:
    from nap.data.trace import Trace
    from nap.evaluation.explained import Explained, Parallel
    from nap.order.importers import Known


@dataclass(frozen=True, kw_only=True)
class TraceShow:
    """Print a trace as a canvas, step by step."""

    file: Annotated[Positional[str], arg(metavar="FILE")]
    """a trace file (.jsonl, .parquet)"""
    index: int = 0
    """which trace of the file, from 0"""
    step: Whole = None
    """show only the canvas after this step, counted from 1"""

    def run(self) -> None:
        """Print the frames."""

        from nap.common.terminal import open_console
        from nap.common.text import printable
        from nap.report.terminal import frames

        trace = next(_traces(self.file, self.index, None), None) if self.index >= 0 else None
        if trace is None:
            raise InputError(f"{self.file} has no trace number {self.index}; the first one is number 0")
        if self.step is not None and not 1 <= self.step <= trace.steps:
            raise InputError(f"step must be from 1 to {trace.steps}, got {self.step}")
        console = open_console()
        verdict = {True: "right", False: "wrong", None: "not checked"}[trace.correct]
        answer = "no answer" if trace.answer is None else f"answer {printable(trace.answer)}"
        title = f"{printable(trace.problem_id)}: {printable(str(trace.setting.get('policy', 'unknown policy')))}, "
        queries = f"{sum(cost.queries for cost in trace.costs)} query tokens, " if trace.costs else ""
        line = f"{title}{trace.forwards} forwards, {queries}{answer} ({verdict})"
        console.print(line, markup=False, soft_wrap=True)
        for frame in frames(trace):
            if self.step is None or frame.step == self.step - 1:
                console.print(frame.headline)
                console.print(frame.lanes)


def _traces(file: str, first: int, last: int | None) -> "Iterator[Trace]":
    """The traces of a file from number `first` to before number `last`, or to its end."""
    from nap.data.trace_files import read_traces

    # No file has more, and `islice` takes no more.
    return islice(read_traces(file), min(first, sys.maxsize), None if last is None else min(last, sys.maxsize))


@dataclass(frozen=True, kw_only=True)
class TraceExplain:
    """Ask a trace's model what it says of tokens committed together.

    Prints a line for each trace, or with --index for each step (docs/report.md).
    """

    file: Annotated[Positional[str], arg(metavar="FILE")]
    """a trace file (.jsonl, .parquet)"""
    model: Words = None
    """the model that made it (default: the one that each trace names)"""
    index: Whole = None
    """only this trace of the file (from 0), step by step"""
    limit: Whole = None
    """only this many traces of the file, from the first one on"""
    samples: int = 16
    """samples for each step that is too long to enumerate; 0: no correlation there"""
    enumerate: int = 512
    """up to how many cases a step is enumerated exactly"""
    seed: int = 0
    """seed of all random draws"""
    out: Words = None
    """write one line of JSON for each trace to this .jsonl file, which nap report --explained shows"""
    loading: OmitArgPrefixes[Loading] = Loading()

    def run(self) -> None:
        """Explain, print, write."""
        from dataclasses import asdict

        from nap.commands.tables import draw, open_console
        from nap.common.files import write_jsonl
        from nap.evaluation.explain import Effort, explain
        from nap.models.any import load

        if self.out is not None and not self.out.endswith(".jsonl"):
            raise InputError(f"explanations are written as .jsonl, got {self.out!r}")
        check_apart(self.out, self.file)
        if self.index is not None and self.limit is not None:
            raise InputError(f"--index is one trace and --limit {self.limit} the first ones; drop one of them")
        check_least({"index": self.index}, 0)
        check_least({"limit": self.limit})
        check("seed", self.seed, SEED)
        effort = Effort(samples=self.samples, enumerate=self.enumerate)
        first, last = (0, self.limit) if self.index is None else (self.index, self.index + 1)
        traces = [*_traces(self.file, first, last)]
        if not traces:
            raise InputError(f"{self.file} has no trace number {first}; the first one is number 0")
        names = self._names(traces)
        by_place: dict[int, Explained] = {}
        # One model after the other, as two may not fit in memory together.
        for name in dict.fromkeys(names):
            denoiser = load(name, **asdict(self.loading))
            own = [place for place, named in enumerate(names) if named == name]
            by_place |= {place: explain(denoiser, traces[place], effort, self.seed) for place in own}
        found = [by_place[place] for place in range(len(traces))]
        if self.out:
            write_jsonl(self.out, map(asdict, found))
        if self.index is None:
            draw(open_console(), ("trace", "", "parallel steps", "violation", "correlation"), [*map(_whole, found)])
        else:
            lines = [_step(step, traces[0]) for step in found[0].steps]
            draw(open_console(), ("step", "tokens", "violation", "correlation", "most violated"), lines)

    def _names(self, traces: "list[Trace]") -> list[str]:
        """The model to ask about each trace."""
        from nap.data.cells import model_of

        if self.model is None:
            return [_named_model(trace) for trace in traces]
        if len(named := sorted({str(model_of(trace)) for trace in traces})) > 1:
            raise InputError(
                f"{self.file} has traces of several models ({', '.join(named)}), which {self.model} cannot all be; "
                "leave --model out, or choose traces by --index or --limit"
            )
        return [self.model] * len(traces)


def _named_model(trace: "Trace") -> str:
    """The model that a trace names."""
    from nap.data.cells import model_of

    if not isinstance(name := model_of(trace), str):
        raise InputError(f"trace {trace.problem_id!r} names no model; give it: --model DIR")
    return name


def _whole(found: "Explained") -> tuple[str, ...]:
    from nap.common.text import printable

    verdict = {True: "right", False: "wrong", None: ""}[found.correct]
    correlation = "-" if found.correlation is None else f"{found.correlation:.3f}"
    return printable(found.problem_id), verdict, str(len(found.steps)), f"{found.violation:.3f}", correlation


def _step(step: "Parallel", trace: "Trace") -> tuple[str, ...]:
    from nap.common.text import printable

    error = f" +- {step.error:.3f}" if step.error else ""
    correlation = "-" if step.correlation is None else f"{step.correlation:.3f}{error}"
    worst = max(range(len(step.positions)), key=step.violation.__getitem__)
    at = step.positions[worst]
    token = next(event.token for event in trace.events if event.step == step.step and event.position == at)
    said = f"{printable(trace.vocabulary.get(token, str(token)))} at {at}: {step.violation[worst]:.3f}"
    return str(step.step + 1), str(len(step.positions)), f"{sum(step.violation):.3f}", correlation, said


@dataclass(frozen=True, kw_only=True)
class TraceConvert:
    """Rewrite traces as JSONL or Parquet, by the output's name."""

    file: Annotated[Positional[str], arg(metavar="FILE")]
    """a trace file (.jsonl, .parquet)"""
    out: Annotated[Positional[str], arg(metavar="OUT")]
    """the file to write (.jsonl, .parquet)"""

    def run(self) -> None:
        """Read all, check all, write all."""
        from nap.data.trace_files import read_traces, write_traces

        check_rows_file(self.out)
        check_apart(self.out, self.file)
        write_traces(read_traces(self.file), self.out)


@dataclass(frozen=True, kw_only=True)
class TraceImport:
    """Make traces from other systems' records.

    FILE is JSON with one run or batch a line, or arrays; see docs/report.md.
    """

    file: Annotated[Positional[str], arg(metavar="FILE")]
    """the record (.json, .jsonl, .npy, .npz, .pt)"""
    out: Annotated[Positional[str], arg(metavar="OUT")]
    """the trace file to write (.jsonl, .parquet)"""
    source: Literal["canvases", "dllm", "dream", "pairs"]
    """list of canvases, dllm's histories, Dream's output_history, or [position, step] pairs"""
    tokenizer: Words = None
    """folder or hub name of the tokenizer, which gives texts, slots (by their tags), mask and padding"""
    mask_id: Whole = None
    """id of the mask token, where the tokenizer does not say"""
    prompt_tokens: Whole = None
    """length of the prompt, with the padding on its left; dream needs it"""
    model: Words = None
    """the name to show (default: the source)"""
    policy: str = "imported"
    """the name to show"""

    def run(self) -> None:
        """Read all, check all, write all."""
        from nap.data.trace_files import write_traces
        from nap.order.importers import import_traces

        check_rows_file(self.out)
        check_apart(self.out, self.file)
        write_traces(import_traces(self.file, self.source, self._known()), self.out)

    def _known(self) -> "Known":
        from nap.order.importers import Known

        if self.prompt_tokens is not None and self.prompt_tokens < 0:
            raise InputError(f"--prompt-tokens must be 0 or more, got {self.prompt_tokens}")
        told = {"--tokenizer": self.tokenizer, "--mask-id": self.mask_id, "--prompt-tokens": self.prompt_tokens}
        if self.source == "pairs" and (unused := [flag for flag, value in told.items() if value is not None]):
            raise InputError(f"{unused[0]} changes nothing with --source pairs, which hold no tokens; drop it")
        setting = {"model": self.model or self.source, "policy": self.policy}
        known = Known(mask_id=self.mask_id, prompt_tokens=self.prompt_tokens, setting=setting)
        return _with_tokenizer(known, self.tokenizer) if self.tokenizer else known


def _with_tokenizer(known: "Known", name: str) -> "Known":
    from dataclasses import replace

    from nap.models import checkpoint
    from nap.models.families import FAMILIES, declared_mask, end_ids

    tokenizer = checkpoint.open_tokenizer(name)
    folder, _ = checkpoint.find(name, weights=False)
    config = checkpoint.read_config(folder) if (folder / "config.json").is_file() else {}
    family = FAMILIES.get(str(config.get("model_type")))
    pad = next((i for i in (tokenizer.pad_token_id, config.get("pad_token_id")) if isinstance(i, int)), None)
    # What a decode of this model does not count either.
    ends = tuple(i for i in dict.fromkeys((pad, *end_ids(config, family, tokenizer))) if i is not None)
    sources = (known.mask_id, declared_mask(config, tokenizer), family.mask_id if family else None)
    mask = next((token for token in sources if token is not None), None)
    return replace(known, mask_id=mask, uncounted=ends, text=lambda token: tokenizer.decode([token]))
