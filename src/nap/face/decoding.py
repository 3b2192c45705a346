"""`nap.decode`: prompts in, texts and traces out.

Does not decode (decoding/) and knows no flags (commands/).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike
from typing import Literal, TypedDict, Unpack, overload

from nap.canvas.canvas import Canvas, CanvasSpec, Completion, parse, preset
from nap.canvas.infill import Infill, gap_texts
from nap.canvas.visibility import Attention
from nap.common.arguments import checked_arguments
from nap.common.files import InputError
from nap.data import trace as data
from nap.data.trace import Step
from nap.decoding.agreement import check_read
from nap.decoding.asked import laid_out, pair, problems_of
from nap.decoding.budget import Budget, Eos, Sampling
from nap.decoding.budget import Settings as DecodeSettings
from nap.decoding.decode import decode as decode_canvases
from nap.decoding.policies.policy import Policy
from nap.decoding.policies.registry import parse_policy
from nap.decoding.prompt import asked_canvas
from nap.decoding.prompting import Prompting
from nap.decoding.traces import collect, run_setting
from nap.face.live import streamed
from nap.face.traces import Trace, held
from nap.models.any import load
from nap.models.denoiser import Denoiser
from nap.report.terminal import Streamer
from nap.tasks.registry import load_task, path_reader

Kind = Literal["own", "plain", "longcot", "nap"]


@dataclass(frozen=True, kw_only=True, repr=False)
class Result:
    """A model's answer to one prompt, with the trace of how it was decoded. In a notebook it shows the replay.

    gaps  the text in each gap of a given text

    >>> import nap
    >>> result = nap.decode(nap.load("arith-nap"), "Ann has 2 pears . How many has Ann ?")
    >>> len(result.completion.paths), result.text == result.completion.summary
    (3, True)
    """

    prompt: str
    completion: Completion
    trace: Trace
    gaps: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The summary; on a canvas without one the text of the only path (for a text with gaps: the whole text)."""
        return self.completion.summary if self.trace.setting["canvas"]["summary_tokens"] else self.completion.paths[0]

    def __repr__(self) -> str:
        text = self.text if len(self.text) <= 60 else f"{self.text[:59]}…"
        paths = f"{len(self.completion.paths)} path{'s' * (len(self.completion.paths) != 1)}"
        summed = self.trace.setting["canvas"]["summary_tokens"]
        said = f"summary {text!r}, {paths}" if summed else f"text {text!r}"
        return f"Result({said}: {self.trace.steps} steps, {self.trace.forwards} forwards)"

    def _repr_html_(self) -> str:
        return self.trace._repr_html_()


class Settings(TypedDict, total=False):
    """The settings of `decode`, for type checkers."""

    infill: str | Sequence[str] | None
    gap_tokens: int | None
    policy: str | Policy
    canvas: Kind | CanvasSpec | None
    tokens_per_step: int | None
    steps: int | None
    cache: str
    attention: Attention | None
    temperature: float
    top_p: float
    top_k: int
    guidance: float
    eos: Eos
    seed: int
    raw: bool
    reads: str | None
    watch: Callable[[Step], None] | None
    streamer: Streamer | None


@overload
def decode(  # pyright: ignore[reportOverlappingOverload]  # a text is a sequence of texts
    model: Denoiser | str | PathLike[str], prompt: str = "", **settings: Unpack[Settings]
) -> Result: ...
@overload
def decode(
    model: Denoiser | str | PathLike[str], prompt: Sequence[str], **settings: Unpack[Settings]
) -> list[Result]: ...
@checked_arguments
def decode(
    model: Denoiser | str | PathLike[str],
    prompt: str | Sequence[str] = "",
    *,
    infill: str | Sequence[str] | None = None,
    gap_tokens: int | None = None,
    policy: str | Policy = "parallel_forced",
    canvas: Kind | CanvasSpec | None = None,
    tokens_per_step: int | None = None,
    steps: int | None = None,
    cache: str = "none",
    attention: Attention | None = None,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int = 0,
    guidance: float = 0.0,
    eos: Eos = "count",
    seed: int = 0,
    raw: bool = False,
    reads: str | None = None,
    watch: Callable[[Step], None] | None = None,
    streamer: Streamer | None = None,
) -> Result | list[Result]:
    """Decode a prompt, or several of them as one batch, with an open model or one named as `nap.load` reads it.

    infill           a text, or one for each prompt, in which only gaps are decoded: `[MASK]` is a gap of one token,
                     `[MASK:8]` of eight, `___` of `gap_tokens` (by default 8). It needs no prompt
    policy           a name with its settings, such as `threshold:tau=0.9`, or a policy
    canvas           None or "own": the canvas that the model was trained on. "plain", "longcot", "nap": the model's own
                     canvas if it is of this kind, else the default one. Or a CanvasSpec
    tokens_per_step  tokens to commit in a step, for a policy that follows a budget (by default 1); or give `steps`, the
                     number of steps for the whole canvas
    cache            none, exact, prefix, dual, delayed, d2 or drift (docs/caches.md)
    raw              give the prompt as it is, without the model's chat template
    reads            for a policy that stops once its paths agree (`parallel_threshold:agree=0.5`): the task that reads
                     the answer of a path
    watch            is called with each Step as it happens
    streamer         shows one prompt's canvas as it fills: nap.Live(model), or one of transformers' streamers

    Raises InputError for a setting that does not exist, has another type, does not fit the model, or would be ignored.

    >>> import nap
    >>> model = nap.load("arith-nap")
    >>> question = "Ann has 2 pears . Bob has 3 more than Ann . Cat has Ann and Bob together . How many has Cat ?"
    >>> result = nap.decode(model, question, policy="threshold:tau=0.9", canvas="nap", cache="dual")
    >>> result.text
    '7 pears'
    >>> result.trace.forwards < len(result.trace.events)  # several tokens a forward
    True
    >>> result = nap.decode(model, question, infill="Ann 2 ; Bob 2 + 3 = [MASK] ; Cat [MASK:3] = 7")
    >>> result.text.startswith("Ann 2 ; Bob 2 + 3 = "), len(result.gaps), len(result.trace.events)
    (True, 2, 4)
    """
    denoiser = load(model) if isinstance(model, str | PathLike) else model
    chosen = parse_policy(policy) if isinstance(policy, str) else policy
    settings: DecodeSettings = {
        "budget": Budget.of(chosen, tokens_per_step, steps),
        "sampling": Sampling(temperature=temperature, top_p=top_p, top_k=top_k, guidance=guidance),
        "eos": eos,
        "seed": seed,
        "cache": cache,
    }
    prompts = [prompt] if isinstance(prompt, str) else [*prompt]
    texts = [infill] if isinstance(infill, str) else [*(infill or ())]
    if infill is not None and not texts:
        raise InputError("infill holds no text; give one for each prompt, or drop it")
    if texts and (canvas is not None or attention is not None):
        raise InputError("a text with gaps is its own canvas; drop canvas and attention, or infill")
    asked = pair(prompts, [(None, text) for text in texts], gap_tokens)
    spec = partial(asked_canvas, denoiser, chosen_canvas([denoiser.canvas], canvas), attention)
    canvases = laid_out(denoiser, asked, spec, Prompting(raw=raw))

    def through(steps: Iterator[Step]) -> Iterable[Step]:
        return map(_seen(watch), streamed(steps, canvases, streamer, denoiser.mask_id) if streamer else steps)

    results = results_of(denoiser, asked, canvases, chosen, settings, reads=reads, through=through)
    return results[0] if isinstance(prompt, str) and (infill is None or isinstance(infill, str)) else results


def results_of(
    denoiser: Denoiser,
    asked: Sequence[tuple[str, Infill | None]],
    canvases: Sequence[Canvas],
    policy: Policy,
    settings: DecodeSettings,
    *,
    reads: str | None = None,
    through: Callable[[Iterator[Step]], Iterable[Step]] = iter,
) -> list[Result]:
    """What a model says on the canvases of what it was asked; the steps go `through` this function as they come."""
    check_read(policy, reads)
    reader = path_reader(load_task(reads), problems_of(asked)) if reads is not None else None
    steps = through(decode_canvases(denoiser, canvases, policy, reads=reader, **settings))
    return told(
        denoiser, asked, canvases, collect(denoiser, canvases, steps, run_setting(denoiser, policy, **settings))
    )


def told(
    denoiser: Denoiser,
    asked: Sequence[tuple[str, Infill | None]],
    canvases: Sequence[Canvas],
    traces: Sequence[data.Trace],
) -> list[Result]:
    """What the decodes of these canvases say to what was asked."""
    return [
        Result(
            prompt=text,
            completion=parse(laid, trace.final, denoiser.tokenizer, trace.uncounted),
            trace=held(trace),
            gaps=gap_texts(laid, trace.final, denoiser.tokenizer, trace.uncounted),
        )
        for (text, _), laid, trace in zip(asked, canvases, traces, strict=True)
    ]


def _seen(watch: Callable[[Step], None] | None) -> Callable[[Step], Step]:
    def pass_on(step: Step) -> Step:
        if watch:
            watch(step)
        return step

    return pass_on


def chosen_canvas(owns: Sequence[CanvasSpec | None], canvas: Kind | CanvasSpec | None) -> CanvasSpec | None:
    """The canvas meant, for models with these canvases of their own; None for their own.

    A name means their own where it is of this kind, which they must then agree on. Raises InputError where they do not,
    and for an unknown name.
    """
    if canvas is None or canvas == "own" or isinstance(canvas, CanvasSpec):
        return None if canvas == "own" else canvas
    usual = preset(canvas)
    alike = {own is not None and own.kind == usual.kind for own in owns}
    if len(alike) > 1:
        raise InputError(f"of these models some were trained on a {canvas} canvas and some were not; give a CanvasSpec")
    return None if alike == {True} else usual
