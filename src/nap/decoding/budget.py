"""What a decode is told: how fast to commit, how candidates are drawn, and what the end of a text does."""

from dataclasses import asdict, dataclass
from typing import Literal, TypedDict, get_args

import numpy as np

from nap.common.bounds import check_least
from nap.common.files import InputError
from nap.common.text import check_known
from nap.decoding.policies.policy import Policy
from nap.decoding.policies.registry import policy_name

# count: end of text is a token like any other. suppress: it is never predicted. defer: it is predicted, but ranked
# after everything else. stop: once a slot has ended and has no gap before its end, padding fills the rest for free.
Eos = Literal["count", "suppress", "defer", "stop"]


# even: as LLaDA's loop spreads steps. dream: as Dream's does, by truncated shares of what is left; a step may get none.
Schedule = Literal["even", "dream"]
# The noise that Dream's schedule ends at.
DREAM_EPS = 1e-3


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How fast to commit: `tokens` a step, or everything in `steps` steps. Neither: the policy sets its own pace.

    schedule  how a number of steps is spread
    """

    tokens: int | None = None
    steps: int | None = None
    schedule: Schedule = "even"

    def __post_init__(self) -> None:
        if self.tokens is not None and self.steps is not None:
            raise InputError(f"a budget is tokens per step or steps, not both; got {self.tokens} and {self.steps}")
        check_least({"tokens per step": self.tokens, "steps": self.steps})
        check_known("schedule", self.schedule, get_args(Schedule))
        if self.schedule != "even" and self.steps is None:
            raise InputError(f"schedule {self.schedule!r} spreads a number of steps; give steps")

    @classmethod
    def of(cls, policy: Policy, tokens: int | None = None, steps: int | None = None) -> "Budget":
        """What is asked for; one token a step where nothing is and the policy follows a budget."""
        return cls(tokens=1 if policy.paced and tokens is None and steps is None else tokens, steps=steps)

    def check(self, policy: Policy) -> None:
        """Raise InputError where the policy needs a budget and has none, or would silently ignore the one it has."""
        given = self.tokens is not None or self.steps is not None
        if given and not policy.paced:
            raise InputError(f"policy {policy_name(policy)!r} sets its own pace; drop tokens per step and steps")
        if policy.paced and not given:
            raise InputError(f"policy {policy_name(policy)!r} needs a budget: tokens per step, or steps")

    def quota(self, total: int, masked: int, step: int) -> int:
        """Commits for step `step` of a stretch of `total` positions of which `masked` are left.

        As in LLaDA's loop a number of steps is spread evenly and the first steps take the remainder; what an earlier
        step could not commit is made up for. Positions that early stopping filled count as done:
        the run ends earlier, and its later steps do not commit fewer.
        """
        if self.tokens is not None:
            return self.tokens
        if self.steps is None:
            return masked
        if self.schedule == "dream":
            return self._dreams(masked, step)
        base, extra = divmod(total, self.steps)
        planned_left = total - base * (step + 1) - min(step + 1, extra)
        return max(masked - max(planned_left, 0), base, 1)

    def _dreams(self, masked: int, step: int) -> int:
        """Dream 2508.15487: masked * (1 - s/t), truncated, in float32; the last step takes all."""
        assert self.steps is not None
        if step >= self.steps - 1:
            return masked
        times = np.linspace(1, DREAM_EPS, self.steps + 1, dtype=np.float32)
        return int(np.float32(masked) * (1 - times[step + 1] / times[step]))

    def said(self) -> dict[str, int | str | None]:
        """Its fields, for a trace; the schedule only where it is not the usual one."""
        return {name: value for name, value in asdict(self).items() if (name, value) != ("schedule", "even")}

    def per_block(self, blocks: int) -> "Budget":
        """The budget of one of as many blocks. Raises InputError where the steps do not divide into them."""
        if self.steps is None:
            return self
        if self.steps % blocks:
            raise InputError(f"{self.steps} steps do not divide into {blocks} blocks; give a multiple of {blocks}")
        return Budget(steps=self.steps // blocks, schedule=self.schedule)


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a candidate is drawn: the likeliest token at temperature 0, else Gumbel-max over the tokens kept.

    Noise is drawn in float64: in float32 it truncates the tail, which raises quality and lowers diversity unasked
    (2409.02908). Confidence is always the untempered probability, as in LLaDA's loop.

    guidance  s of classifier-free guidance (guidance.py), in which candidates and probabilities are read; 0 is off
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    guidance: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.guidance < float("inf"):
            raise InputError(f"guidance must be at least 0 (0 is off) and finite, got {self.guidance}")
        if not (0 <= self.temperature < float("inf") and 0 < self.top_p <= 1 and self.top_k >= 0):
            raise InputError(f"temperature must be >= 0, top_p in (0, 1], top_k >= 0 (0 is off); got {self}")

    def said(self) -> dict[str, float]:
        """Its fields, for a trace; guidance only where there is any."""
        return {name: value for name, value in asdict(self).items() if (name, value) != ("guidance", 0)}


class Told(TypedDict, total=False):
    """What a row is told beside its policy, as `Engine.add` takes it."""

    budget: Budget | None
    sampling: Sampling | None
    eos: Eos
    seed: int


class Settings(Told, total=False):
    """What a decode is told beside its policy: what its rows are, and the name of a cache."""

    cache: str
