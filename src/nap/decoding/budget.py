"""The settings of a decode: how fast to commit, how candidates are drawn, and how the end of a text is treated."""

from dataclasses import asdict, dataclass, replace
from typing import Literal, TypedDict, get_args

import numpy as np

from nap.common.arguments import checked_fields
from nap.common.bounds import check_least
from nap.common.files import InputError
from nap.common.text import check_known
from nap.decoding.policies.policy import Policy
from nap.decoding.policies.registry import policy_name

# count: end of text is a token like any other. suppress: it is never predicted. defer: it is predicted, but ranked
# after everything else. stop: once a slot has ended and has no mask before its end, its rest is filled with padding
# without asking the model.
Eos = Literal["count", "suppress", "defer", "stop"]


# even: LLaDA's loop, which spreads commits evenly. dream: Dream's loop, which takes truncated shares of what is left,
# so that a step may commit nothing.
Schedule = Literal["even", "dream"]
# Stronger guidance takes logits out of float32.
MOST_GUIDANCE = 10**6
# The noise level at which Dream's schedule ends.
DREAM_EPS = 1e-3


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How fast to commit: `tokens` a step, or the whole canvas in `steps` steps; with neither the policy sets the pace.

    schedule  how the commits are spread over the steps
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
        """The budget that is asked for; by default one token a step for a policy that follows a budget."""
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

        As in LLaDA's loop, commits are spread evenly over the steps, and the first steps take the remainder; what an
        earlier step could not commit is made up for later. Positions that early stopping filled count as done, so the
        run ends earlier and later steps do not commit fewer tokens.
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
        """Its fields, for a trace; the schedule only where it is not the default."""
        return {name: value for name, value in asdict(self).items() if (name, value) != ("schedule", "even")}

    def split(self, first: int, second: int) -> "tuple[Budget, Budget]":
        """The budgets of two stretches of so many positions, of which the second begins when the first is done.

        Each has at least one step, so that a single one becomes two.
        """
        if self.steps is None:
            return self, self
        later = min(max(1, round(self.steps * second / (first + second))), max(1, self.steps - 1))
        return replace(self, steps=max(1, self.steps - later)), replace(self, steps=later)

    def per_block(self, blocks: int) -> "Budget":
        """The budget of one of these blocks. Raises InputError where the steps do not divide evenly into them."""
        if self.steps is None:
            return self
        if self.steps % blocks:
            raise InputError(f"{self.steps} steps do not divide into {blocks} blocks; give a multiple of {blocks}")
        return Budget(steps=self.steps // blocks, schedule=self.schedule)


@checked_fields
@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a candidate is drawn: the likeliest token at temperature 0, else Gumbel-max over the tokens kept.

    Noise is drawn in float64: float32 would cut off the tail of its distribution, which raises quality and lowers
    diversity without anyone asking for it (2409.02908). Confidence is always the untempered probability, as in LLaDA's
    loop.

    guidance  the strength s of classifier-free guidance (guidance.py); candidates and probabilities are those after
              guidance. 0 is off
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    guidance: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.guidance <= MOST_GUIDANCE:
            raise InputError(
                f"guidance must be at least 0 (0 is off) and at most {MOST_GUIDANCE}, got {self.guidance!r:.40}"
            )
        if not (0 <= self.temperature < float("inf") and 0 < self.top_p <= 1 and self.top_k >= 0):
            raise InputError(f"temperature must be >= 0, top_p in (0, 1], top_k >= 0 (0 is off); got {self}")
        if not self.temperature and (self.top_p, self.top_k) != (1.0, 0):
            name, value = ("top_p", self.top_p) if self.top_p != 1 else ("top_k", self.top_k)
            raise InputError(
                f"{name} {value} changes nothing at temperature 0, which takes the likeliest token; give a temperature "
                "above 0, or drop it"
            )

    def said(self) -> dict[str, float]:
        """Its fields, for a trace; guidance only where there is any."""
        return {name: value for name, value in asdict(self).items() if (name, value) != ("guidance", 0)}


class Told(TypedDict, total=False):
    """The settings of a row beside its policy, as `Engine.add` takes them."""

    budget: Budget | None
    sampling: Sampling | None
    eos: Eos
    seed: int


class Settings(Told, total=False):
    """The settings of a decode beside its policy: those of its rows, and the name of a cache."""

    cache: str
