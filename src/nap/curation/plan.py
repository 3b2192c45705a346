"""The plan of a data set: everything that determines it except its problems and its teachers' replies.

    plan = Plan(task="gsm8k", models=("smollm2",))
    plan.requests(problem, [*plan.templates.values()])

Does not ask or choose (curate.py), and does not read problems (solutions.py).
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from nap.common.bounds import PATHS, PROBLEMS, REPLY_TOKENS, SAMPLES, SEED_SENT, SLOT_TOKENS, check
from nap.common.files import InputError
from nap.common.records import changed
from nap.common.templates import fill, load_prompt
from nap.common.text import check_known, check_text
from nap.curation.journal import Request
from nap.curation.selection import Rule
from nap.data.problems import Problem

Summary = Literal["template", "teacher"]
Reasoning = Literal["before", "dropped"]

BOUNDS = {
    "paths": PATHS, "samples": SAMPLES, "path_tokens": SLOT_TOKENS, "summary_tokens": SLOT_TOKENS,
    "max_tokens": REPLY_TOKENS, "seed": SEED_SENT,
}  # fmt: skip


# What is asked of teachers, and how; a file of solutions has its own problems and replies.
ASKED = ("data", "split", "prompts", "samples", "temperature", "top_p", "max_tokens", "seed", "reasoning")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that determines a data set except its problems and its teachers' replies.

    Most fields are explained by the flags of `nap curate` with the same names (commands/curate.py). The others:

    limit      how many problems of the split, or of the file `data`, from the first
    models     names of the teachers' models; sample i is asked of model i modulo their number, with prompt i modulo
               theirs
    samples    samples asked for each problem; 0 for as many as `paths`
    tokenizer  None estimates the tokens of a slot, its closing tag included
    prices     of a million prompt and completion tokens, for the card
    licences   of the data, the problems and the teacher, for the card
    """

    task: str
    split: str = "train"
    data: str | None = None
    limit: int | None = None
    solutions: str | None = None
    field: str | None = None
    prompt_field: str | None = None
    answer_field: str | None = None
    strict: bool = False
    models: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ("boxed",)
    samples: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 1024
    seed: int = 0
    paths: int = 3
    path_tokens: int = 330
    summary_tokens: int = 32
    tokenizer: str | None = None
    select: Rule = "all"
    wrong: int = 1
    max_overlap: float = 0.9
    embedder: str | None = None
    max_similarity: float = 0.98
    diverse: bool = False
    reasoning: Reasoning = "before"
    summary: Summary = "template"
    summary_prompt: str | None = None
    prices: tuple[float, float] = (0.0, 0.0)
    licences: tuple[tuple[str, str], ...] = (("data", "unknown"), ("problems", "unknown"), ("teacher", "unknown"))

    def __post_init__(self) -> None:
        for name, bound in BOUNDS.items():
            check(name, getattr(self, name), bound)
        if self.limit is not None:
            check("problems", self.limit, PROBLEMS)
        for name, kind in (("select", Rule), ("summary", Summary), ("reasoning", Reasoning)):
            check_known(name, getattr(self, name), get_args(kind))
        for name, value in vars(self).items():
            # All of it goes into the card.
            check_text(name, json.dumps(value, ensure_ascii=False))
        self._check_shares()
        self._check_sources()

    def _check_shares(self) -> None:
        for name in ("max_overlap", "max_similarity"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be from 0 to 1, got {getattr(self, name)}")
        if not (0 <= self.temperature < math.inf and 0 < self.top_p <= 1):
            raise InputError(f"temperature must be 0 or more and top_p in (0, 1], got {self.temperature}, {self.top_p}")
        if not all(0 <= price < math.inf for price in self.prices):
            raise InputError(f"prices must be 0 or more and finite, got {self.prices}")

    def _check_sources(self) -> None:
        if self.samples and self.samples < self.paths:
            raise InputError(f"{self.paths} paths cannot come of {self.samples} samples a problem; ask for more")
        if self.select == "quota" and not 0 <= self.wrong <= self.paths:
            raise InputError(f"a quota of {self.wrong} wrong ones does not fit {self.paths} paths")
        if self.select == "mixed" and self.paths == 1:
            raise InputError("select 'mixed' wants a right and a wrong path in a sample, which has 1; raise paths")
        if twice := next((name for name in self.prompts if self.prompts.count(name) > 1), None):
            raise InputError(f"the prompt {twice!r} is named twice; name each prompt once")
        if bool(self.solutions) == bool(self.models):
            raise InputError("paths come from a teacher (its URL and model) or from a file of solutions: give one")
        told = changed(self)
        if self.solutions and (unused := [name for name in ASKED if name in told]):
            raise InputError(f"{unused[0]} is for teachers, and the paths come from {self.solutions}; drop one of them")
        if self.field is not None and not self.solutions:
            raise InputError(f"field {self.field!r} is of a file of solutions; give one (--solutions), or drop it")
        if self.embedder is None and "max_similarity" in told:
            raise InputError(
                f"max_similarity {self.max_similarity} changes nothing without an embedder; give one, or drop it"
            )
        if self.solutions and self.summary == "teacher":
            raise InputError("a summary by the teacher needs a teacher, not a file of solutions; use the template")

    @property
    def source(self) -> str:
        """Where the problems are: a file, or else the task."""
        return self.solutions or self.data or self.task

    @property
    def asked(self) -> int:
        """Samples asked for each problem."""
        return self.samples or self.paths

    @property
    def tokens_counted_by(self) -> str:
        """The name of what counts the tokens of a text."""
        return Path(self.tokenizer).name if self.tokenizer else "estimated without a tokenizer"

    @property
    def templates(self) -> dict[str, str]:
        """The prompt templates by name. Raises InputError for one that cannot be used."""
        return {} if self.solutions else {name: load_prompt(name, "problem") for name in self.prompts}

    @property
    def summary_template(self) -> str:
        """The text of `summary_prompt`, or of the bundled one. Raises InputError for one that cannot be used."""
        if self.summary == "template":
            return load_prompt(self.summary_prompt or "summary", "answer")
        return load_prompt(self.summary_prompt or "summarize", "problem", "paths")

    def requests(self, problem: Problem, templates: Sequence[str]) -> list[Request]:
        """The requests about a problem: sample i goes to model and template i, in rotation."""
        prompts = [fill(template, problem=problem.prompt, answer="", paths="") for template in templates]
        return [
            self.request(self.models[i % len(self.models)], prompts[i % len(prompts)], i) for i in range(self.asked)
        ]

    def request(self, model: str, prompt: str, index: int = 0) -> Request:
        """One request with the plan's settings."""
        return Request(
            model=model, prompt=prompt, temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_tokens,
            seed=self.seed, index=index,
        )  # fmt: skip
