"""Describes a sweep: models x policies x budgets x caches over the problems of a task, and its cells.

Does not run it (run.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

from nap.canvas.canvas import Canvas, CanvasSpec
from nap.canvas.infill import Infill
from nap.canvas.visibility import Attention
from nap.common.bounds import DECODED, SKIPPED, check
from nap.common.files import InputError
from nap.common.text import check_known, check_text
from nap.data import cells as data
from nap.data.problems import Problem, check_ids
from nap.decoding.asked import pair
from nap.decoding.budget import Budget, Eos, Sampling
from nap.decoding.policies.registry import parse_policy, policy_name
from nap.decoding.prompt import asked_canvas, canvas_of, canvas_spec, infilled
from nap.decoding.prompting import Prompting, Shown, parse_keywords
from nap.evaluation.rows import critical_path
from nap.models.answerable import check_answerable
from nap.models.caches import cache_of
from nap.models.denoiser import Denoiser
from nap.models.int8 import Int8
from nap.tasks.public import Problems, left_out_of
from nap.tasks.registry import Gapped, load_reader, load_task

# What the fields were that earlier versions did not write into a run's setting.
LATER: dict[str, object] = {
    "prompt_field": None, "answer_field": None, "strict": False, "skip": 0, "attention": None, "cache": "none",
    "canvas.after_end": "cut", "canvas.positions": "canvas", "guidance": 0.0, "system": None, "prompt_template": None,
    "examples": None, "shots": None, "examples_as": None, "infill": None, "gap_tokens": None,
    "chat_template_kwargs": [], "shift": None, "block_size": None, "int8": None, "compile": False,
}  # fmt: skip


# Tokens a step of a sweep that names no pace.
USUAL_PACES = (1, 2, 4, 8)


def paces_of(policies: Sequence[str], tokens_per_step: Sequence[int], steps: Sequence[int]) -> tuple[int, ...]:
    """The tokens per step that are asked for, or the usual ones. Raises InputError where no policy follows a pace."""
    if policies and (tokens_per_step or steps) and not any(parse_policy(policy).paced for policy in policies):
        raise InputError(f"{', '.join(policies)}: each sets its own pace; drop tokens per step and steps")
    return tuple(tokens_per_step) or (() if steps else USUAL_PACES)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One setting of a sweep."""

    model: str
    policy: str
    budget: Budget
    cache: str = "none"

    @property
    def pace(self) -> str:
        """`4/step`, `64 steps` or `own`."""
        return data.pace_of(self.budget.tokens, self.budget.steps)

    @property
    def said(self) -> data.Cell:
        """The same cell in the form of rows and traces."""
        return data.Cell(self.model, self.policy, self.pace, self.cache)

    @property
    def name(self) -> str:
        """`model | policy | pace`, and the cache where there is one: the key of rows and journal."""
        return self.said.name

    @property
    def earlier_name(self) -> str:
        """Its name in versions that had one cache a run."""
        return self.said._replace(cache="none").name


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What to evaluate.

    models           folders, bundled names or hub names
    policies         in the form of `parse_policy`
    tokens_per_step  budgets for the policies that follow one; those that set their own pace run once
    steps            further budgets as a number of steps
    problems         how many problems of the task's split (or of the file `data`, if the task reads one)
    skip             how many of them are left out at the start
    attention        None: that of the canvas
    cache            one or more, each in the form of `cache_of`
    """

    task: str
    models: tuple[str, ...]
    policies: tuple[str, ...]
    tokens_per_step: tuple[int, ...] = ()
    steps: tuple[int, ...] = ()
    problems: int = 200
    skip: int = 0
    split: str = "test"
    data: str | None = None
    prompt_field: str | None = None
    answer_field: str | None = None
    strict: bool = False
    canvas: CanvasSpec | None = None
    attention: Attention | None = None
    cache: tuple[str, ...] = ("none",)
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    guidance: float = 0.0
    eos: Eos = "count"
    seed: int = 0
    raw: bool = False
    system: str | None = None
    prompt_template: str | None = None
    examples: str | None = None
    shots: int | None = None
    examples_as: Shown | None = None
    infill: str | None = None
    gap_tokens: int | None = None
    chat_template_kwargs: tuple[str, ...] = ()
    device: str = "cpu"
    dtype: str = "auto"
    revision: str | None = None
    trust_remote_code: bool = False
    mask_id: int | None = None
    shift: bool | None = None
    block_size: int | None = None
    int8: Int8 | None = None
    compile: bool = False

    def __post_init__(self) -> None:
        check("problems", self.problems, DECODED)
        check("skip", self.skip, SKIPPED)
        check_known("eos setting", self.eos, get_args(Eos))
        for name in ("models", "policies", "cache"):
            several = "caches" if name == "cache" else name
            if not getattr(self, name):
                raise InputError(f"a sweep needs at least one of its {several}")
            for text in getattr(self, name):
                check_text(f"one of the {several}", text)
        _check_apart("models", self.models, _place)
        _check_apart("policies", self.policies, lambda text: policy_name(parse_policy(text)))
        # These classes check their own values.
        _ = self.sampling, self.prompting, self.cells(), [*map(cache_of, self.cache)], self.answer_form
        if self.infill is not None and (self.canvas or self.attention):
            raise InputError("a text with gaps is its own canvas; drop the flags of a canvas, or --infill")
        if (self.infill or self.canvas or self.attention) and isinstance(load_task(self.task), Gapped):
            raise InputError(
                f"the texts of task {self.task!r} are their own canvases; drop --infill and those of a canvas"
            )

    @property
    def opening(self) -> dict[str, Any]:
        """The arguments of `load` for its models."""
        names = (
            "revision", "device", "dtype", "trust_remote_code", "mask_id", "shift", "block_size", "int8", "compile",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}

    @property
    def sampling(self) -> Sampling:
        """How candidates are drawn."""
        return Sampling(temperature=self.temperature, top_p=self.top_p, top_k=self.top_k, guidance=self.guidance)

    @property
    def prompting(self) -> Prompting:
        """How a question becomes a prompt."""
        return Prompting(
            raw=self.raw, system=self.system, template=self.prompt_template, examples=self.examples, shots=self.shots,
            examples_as=self.examples_as, keywords=parse_keywords(self.chat_template_kwargs),
        )  # fmt: skip

    @property
    def answer_form(self) -> Infill | None:
        """The text with gaps for every answer, if there is one."""
        ((_, form),) = pair([""], [] if self.infill is None else [(None, self.infill)], self.gap_tokens)
        return form

    def lay_out(self, denoiser: Denoiser, problems: Sequence[Problem]) -> list[Canvas]:
        """The canvases of problems: with the slots asked for, the model's own, or the text with gaps.

        Raises InputError where the canvas cannot hold a right answer.
        """
        form, task = self.answer_form, load_task(self.task)
        if isinstance(task, Gapped):
            texts = [(replace(problem, prompt=""), Infill(task.given(problem))) for problem in problems]
            return [infilled(denoiser, problem, text, self.prompting) for problem, text in texts]
        if form is not None:
            return [infilled(denoiser, problem, form, self.prompting) for problem in problems]
        spec = canvas_spec(denoiser, self.canvas, self.attention)
        check_answerable(denoiser, spec, task, problems)
        return [canvas_of(denoiser, problem, spec, self.prompting) for problem in problems]

    def laid(self, denoiser: Denoiser) -> dict[str, Any]:
        """What the canvases of `lay_out` follow from, as a run's folder says it."""
        if isinstance(load_task(self.task), Gapped):
            return {"given": True}
        form = self.answer_form
        return asdict(form) if form else asked_canvas(denoiser, self.canvas, self.attention).said()

    def cells(self) -> list[Cell]:
        """Every setting once, in the order given. Raises InputError for a policy that lacks its budget."""
        paces = [Budget(tokens=k) for k in self.tokens_per_step] + [Budget(steps=s) for s in self.steps]
        found = []
        for model in self.models:
            for text in self.policies:
                policy = parse_policy(text)
                budgets = (paces or [Budget()]) if policy.paced else [Budget()]
                for budget in budgets:
                    budget.check(policy)
                    found += [Cell(model=model, policy=text, budget=budget, cache=cache) for cache in self.cache]
        return list(dict.fromkeys(found))

    def load_problems(self) -> Problems:
        """The problems, and the rows left out. Raises InputError if there are none, or if two have the same id."""
        task = load_reader(self.task, prompt=self.prompt_field, answer=self.answer_field, strict=self.strict)
        loaded = task.load(self.split, self.skip + self.problems, self.data)
        problems = Problems(loaded[self.skip :], left_out_of(loaded))
        if not problems:
            after = f" after the first {self.skip}" if self.skip else ""
            raise InputError(f"task {self.task!r} has no problems in {self.data or f'split {self.split!r}'}{after}")
        check_ids(problems, self.task)
        for problem in problems:
            # Values that a row cannot hold should stop a run before it decodes.
            check_text("a problem's id", problem.id)
            critical_path(problem)
        return problems


def _check_apart(several: str, texts: Sequence[str], meant: Callable[[str], object]) -> None:
    """Raise InputError where two texts mean one thing: it would be run twice and enlarge the family of comparisons."""
    known = dict[object, str]()
    for text in texts:
        if (other := known.setdefault(meant(text), text)) != text:
            raise InputError(f"of the {several}, {other} and {text} are the same one; name it once")


def _place(model: str) -> object:
    return Path(model).resolve() if Path(model).is_dir() else model
