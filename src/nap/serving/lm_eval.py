"""A model for lm-evaluation-harness 0.4.13 (`pip install 'nap-dlm[harness]'`), passed to it as an instance.

    from lm_eval import simple_evaluate
    from nap.serving.lm_eval import HarnessModel

    model = HarnessModel("arith-nap", policy="parallel_threshold", cache="none", out="runs/harness")
    results = simple_evaluate(model, tasks=["gsm8k"])

`generate_until` decodes by any policy and cache; what was decoded is kept as traces in `out`/traces.jsonl, beside the
harness's results, for `nap order`, `nap report` and `nap trace`. `loglikelihood` is the bound of likelihood.py, kept
with its standard error in `out`/loglikelihoods.jsonl. `loglikelihood_rolling` is refused: a diffusion model has no such
number, and 0.0 in its place would make scores of it meaningless.

Does not know tasks, and does not score answers.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import groupby
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, get_args

from nap.canvas.canvas import TOKENS, Canvas, CanvasSpec, parse
from nap.common.arguments import checked_arguments
from nap.common.bounds import SLOT_TOKENS, check, check_least
from nap.common.files import InputError, atomic, make_folder
from nap.common.text import check_known, say
from nap.data.problems import Problem
from nap.data.trace import PROMPT, Trace
from nap.data.trace_files import write_traces
from nap.decoding.agreement import check_reader
from nap.decoding.budget import Budget, Eos, Sampling
from nap.decoding.decode import decode_batches, decode_traces
from nap.decoding.needs import check_needs
from nap.decoding.policies.policy import Policy
from nap.decoding.policies.registry import parse_policy
from nap.decoding.prompt import canvas_of, known_ids, readable
from nap.decoding.prompting import Prompting
from nap.decoding.template import as_turns
from nap.models.any import load
from nap.models.denoiser import Denoiser
from nap.models.session import open_session
from nap.serving.answer import cut
from nap.serving.likelihood import DRAWS, log_likelihood

try:
    from lm_eval.api.model import LM  # pyright: ignore[reportMissingImports]
except ModuleNotFoundError as error:
    raise InputError("this needs lm-evaluation-harness; try: pip install 'nap-dlm[harness]'") from error

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance  # pyright: ignore[reportMissingImports]

RAW = Prompting(raw=True)
Says = Literal["summary", "all"]
Named = Literal["own", "plain"]
# What a task may ask of a generation, and what becomes of it: SAMPLING of how tokens are drawn.
SAMPLING = ("temperature", "top_p", "top_k")
KNOWN = ("until", "max_gen_toks", "do_sample", *SAMPLING)


class HarnessModel(LM):  # type: ignore[misc]
    """A diffusion model as lm-evaluation-harness wants one.

    model     a folder, a bundled name, a hub name or an exact law, or one that is open already
    policy    by name; tokens_per_step or steps where it follows a budget (default: one token a step)
    canvas    where answers are written: the model's own by default; `plain` is one slot of the task's max_gen_toks
    says      what of a canvas is the answer: its summary (its slot, where it has none), or `all`: the paths before it
    out       a folder for traces and log-likelihoods; None keeps none
    draws     masks that a log-likelihood is estimated from
    greedy    whether to say if the answer is what the model would write; takes a forward a token. A task of one answer
              a document, whose score this is, is refused without

    Raises InputError for what does not fit, before anything is decoded.
    """

    @checked_arguments
    def __init__(
        self,
        model: str | PathLike[str] | Denoiser,
        *,
        policy: str | Policy = "parallel_forced",
        tokens_per_step: int | None = None,
        steps: int | None = None,
        cache: str = "none",
        canvas: CanvasSpec | Named = "own",
        says: Says = "summary",
        sampling: Sampling | None = None,
        eos: Eos = "count",
        seed: int = 0,
        out: str | PathLike[str] | None = None,
        draws: int = DRAWS,
        greedy: bool = True,
        **opening: Any,
    ) -> None:
        super().__init__()
        self.denoiser = load(model, **opening) if isinstance(model, str | PathLike) else model
        self.policy = parse_policy(policy) if isinstance(policy, str) else policy
        self.budget = Budget.of(self.policy, tokens_per_step, steps)
        self.budget.check(self.policy)
        self.cache, self.canvas, self.says, self.seed = cache, canvas, says, seed
        self.eos: Eos = eos
        self.sampling = sampling or Sampling()
        self.out, self.draws, self.greedy = Path(out) if out else None, draws, greedy
        check_known("says", says, get_args(Says))
        check_known("eos setting", eos, get_args(Eos))
        if not isinstance(canvas, CanvasSpec):
            check_known("canvas", canvas, get_args(Named))
        check_least({"draws": draws}, 2)
        open_session(self.denoiser, cache)
        check_reader(self.policy, False)
        check_needs(self.policy, self.denoiser, cache, self.sampling.guidance)
        readable(self.denoiser)
        if self.out:
            make_folder(self.out)
        self._written: set[Path | None] = set()
        self.traces: list[Trace] = []
        self.estimates: list[dict[str, object]] = []

    # What the harness asks for

    def generate_until(self, requests: "Sequence[Instance]", disable_tqdm: bool = False) -> list[str]:
        """What the model writes after each context, up to the first of the texts `until`.

        Raises InputError for a setting of a generation that is not one of KNOWN.
        """
        path, texts = self._kept("traces.jsonl"), list[str]()
        named = zip(_names(requests, len(self.traces)), requests, strict=True)
        for asked, group in groupby(named, key=lambda one: _args(one[1])[1]):
            texts += self._generated([*group], asked)
        if path:
            write_traces(self.traces, path)
        return texts

    def loglikelihood(self, requests: "Sequence[Instance]", disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Of each (context, continuation) the bound on log p in nats, and whether the model would write just that.

        Raises InputError where that is the score of a task, and not computed (`greedy`).
        """
        path, found = self._kept("loglikelihoods.jsonl"), []
        if not self.greedy:
            _check_choices(requests)
        for name, request in zip(_names(requests), requests, strict=True):
            context, continuation = _args(request)
            prompt, answer = self._pair(context, continuation)
            estimate = log_likelihood(self.denoiser, prompt, answer, draws=self.draws, seed=self.seed)
            greedy = self.greedy and self._writes(prompt, answer)
            self.estimates.append({"id": name, "tokens": len(answer)} | asdict(estimate))
            found.append((estimate.value, greedy))
            self.cache_hook.add_partial("loglikelihood", request.args, found[-1])
        if path:
            with atomic(path) as file:
                file.writelines(json.dumps(row) + "\n" for row in self.estimates)
        return found

    def loglikelihood_rolling(self, requests: "Sequence[Instance]", disable_tqdm: bool = False) -> NoReturn:
        """Refused."""
        names = sorted({request.task_name or "?" for request in requests})
        raise InputError(
            f"loglikelihood_rolling (task {', '.join(names) or '?'}) is not defined for a diffusion model: it has no "
            "probability of a text token after token; choose tasks of generate_until or multiple_choice"
        )

    @property
    def tokenizer_name(self) -> str:
        """For the harness's cache of requests."""
        return str(self.denoiser.setting.get("model")).replace("/", "__")

    def chat_template(self, chat_template: bool | str = False) -> str:
        """The checkpoint's own, for the harness's log."""
        return str(getattr(self.denoiser.tokenizer, "chat_template", None) or "")

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The turns in the checkpoint's chat template (`--apply_chat_template`). Raises InputError without one."""
        if not self.chat_template():
            raise InputError(f"{self.tokenizer_name} has no chat template; drop --apply_chat_template")
        if not add_generation_prompt:
            raise InputError("a diffusion model writes an answer after the prompt; it cannot go on within a turn")
        turns = [(turn["role"], turn["content"]) for turn in chat_history]
        return as_turns(turns, self.denoiser.tokenizer, self.denoiser.setting.get("chat_template_kwargs") or {})

    # How

    def _kept(self, name: str) -> Path | None:
        """A file in `out`. Raises InputError for one of another run, which would be lost."""
        path = self.out / name if self.out else None
        if path and path not in self._written and path.exists():
            raise InputError(f"{path} is of an earlier run, which would be lost; choose another folder, or remove it")
        self._written.add(path)
        return path

    def _generated(self, named: "Sequence[tuple[str, Instance]]", asked: dict[str, Any]) -> list[str]:
        """The texts of requests with the same settings of a generation."""
        for name in asked:
            check_known("setting of a generation", name, KNOWN)
        until = asked.get("until") or []
        stops = [until] if isinstance(until, str) else until
        if not isinstance(stops, list | tuple) or not all(isinstance(stop, str) for stop in stops):
            raise InputError(f"{named[0][0]}: `until` must be a text or a list of texts, got {until!r:.60}")
        spec, sampling = self._spec(asked.get("max_gen_toks"), named[0][0]), self._sampling(asked, named[0][0])
        canvases = [
            canvas_of(self.denoiser, Problem(id=name, prompt=one.args[0], answer=""), spec, RAW) for name, one in named
        ]
        traces = decode_batches(self.denoiser, canvases, self.policy, budget=self.budget, sampling=sampling,
                                eos=self.eos, seed=self.seed, cache=self.cache)  # fmt: skip
        tasks = [request.task_name or "request" for _, request in named]
        self.traces += [
            replace(trace, setting=trace.setting | {"task": task}) for trace, task in zip(traces, tasks, strict=True)
        ]
        texts = [cut(self._text(canvas, trace), stops) for canvas, trace in zip(canvases, traces, strict=True)]
        for (_, request), text in zip(named, texts, strict=True):
            self.cache_hook.add_partial("generate_until", request.args, text)
        return texts

    def _spec(self, tokens: Any, name: str) -> CanvasSpec:
        own = self.canvas if isinstance(self.canvas, CanvasSpec) else self.denoiser.canvas
        if tokens is not None:
            check(f"{name}: max_gen_toks", tokens, SLOT_TOKENS)
        if own is None or self.canvas == "plain":
            return CanvasSpec.plain(tokens or TOKENS)
        if tokens and tokens < (slot := own.summary_tokens or own.path_tokens):
            say(
                f"{name}: its task says max_gen_toks {tokens}, and the canvas has {slot} tokens for an answer; all are "
                "written; canvas='plain' has as many as the task says"
            )
        return own

    def _sampling(self, asked: dict[str, Any], name: str) -> Sampling:
        """As the task asks, else as the model was made: a task that does not sample has temperature 0."""
        told = {key: asked[key] for key in SAMPLING if asked.get(key) is not None}
        if asked.get("do_sample") in (None, True) and told.get("temperature", self.sampling.temperature):
            return replace(self.sampling, **told)
        if self.sampling.temperature or asked.get("do_sample"):
            models = f", not at the model's {self.sampling.temperature}" if self.sampling.temperature else ""
            say(
                f"{name}: its task says do_sample {asked.get('do_sample')}, temperature {asked.get('temperature')}, so "
                f"it is decoded at temperature 0{models}; to sample, pass "
                "simple_evaluate gen_kwargs='do_sample=True,temperature=...'"
            )
        # The likeliest token needs no top_p and no top_k.
        return Sampling(guidance=self.sampling.guidance)

    def _text(self, canvas: Canvas, trace: Trace) -> str:
        done = parse(canvas, trace.final, self.denoiser.tokenizer, trace.uncounted, blanks=True)
        summary = [done.summary] if canvas.spec.summary_tokens else []
        return "\n".join([*done.paths, *summary] if self.says == "all" else summary or done.paths[:1])

    def _pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """The ids of both, cut where the context ends; blanks at its end belong to the continuation."""
        whole, before = self._ids(context + continuation), self._ids(context.rstrip())
        if len(before) >= len(whole):
            raise InputError(f"the continuation {continuation!r:.80} has no token of its own after its context")
        return whole[: len(before)], whole[len(before) :]

    def _ids(self, text: str) -> list[int]:
        return known_ids(self.denoiser, text, RAW) if text else []

    def _writes(self, prompt: Sequence[int], answer: Sequence[int]) -> bool:
        """Whether the model, one token a step by confidence, writes the answer."""
        import numpy as np

        ids = np.array([*prompt, *[self.denoiser.mask_id] * len(answer)], np.int64)
        spec = CanvasSpec.plain(len(answer))
        region = np.where(np.arange(len(ids)) < len(prompt), PROMPT, 0)
        canvas = Canvas(ids=ids, region=region, spec=spec)
        (trace,) = decode_traces(self.denoiser, [canvas], parse_policy("low_confidence"), budget=Budget(tokens=1))
        return [*trace.final[len(prompt) :]] == [*answer]


def _check_choices(requests: "Sequence[Instance]") -> None:
    """Raise InputError for a task of one answer a document: its score is whether the model would write it."""
    answers: dict[tuple[Any, ...], set[int]] = {}
    for request in requests:
        answers.setdefault((request.task_name, request.doc_id), set()).add(request.idx)
    for (task, document), numbers in answers.items():
        if len(numbers) == 1 and document is not None:
            raise InputError(
                f"task {task} has one answer a document, and scores whether the model would write it, which "
                "greedy=False leaves out; drop that"
            )


def _names(requests: "Sequence[Instance]", first: int = 0) -> Iterator[str]:
    """Task, document and which of its answers, as the harness numbers them; from the second repetition on its number.

    The harness repeats a request as it is, and a trace's name seeds its draws.
    """
    seen = Counter[str]()
    for number, request in enumerate(requests, first):
        document = number if request.doc_id is None else request.doc_id
        name = f"{request.task_name or 'request'}/{document}/{request.idx}"
        yield f"{name}/{seen[name]}" if seen[name] else name
        seen[name] += 1


def _args(request: "Instance") -> tuple[Any, ...]:
    """What a request asks, two values: the harness says this type in a way that no checker reads."""
    args: Any = request.args
    if len(args) != 2 or not isinstance(args[1], str | dict):
        raise InputError(f"a request has a context, and settings or an answer; got {args!r:.80}")
    return args
