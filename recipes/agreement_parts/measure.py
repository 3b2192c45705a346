"""Measure a decoder on answers that must agree: validity, what its parallel commits cost, the order it writes in.

    work = Work.of(arm.load(), arm.canvas, arm.view, tokenizer, denoiser, stream=0)      # recipes/agreement.py
    print(work.row("parallel_threshold:tau=0.9", None))

A row is one decoder at one pace over 360 grids or sentences. Expected wall time: 1 to 5 seconds a row on a free core.

Does not train or decide what is compared.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from paths_used import decoded

from agreement_parts.law import cost_of
from nap.canvas.canvas import Canvas, CanvasSpec
from nap.data.problems import Problem
from nap.data.samples import Sample
from nap.data.trace import Trace
from nap.decoding.policies.registry import parse_policy
from nap.decoding.prompt import canvas_of
from nap.evaluation.rows import order_columns
from nap.models.denoiser import Denoiser
from nap.models.exact_task import Part, TaskDenoiser, cells_of, parts_of

# Grids that a decoder is measured on.
MEASURED = 360
AO, FORCED = "low_confidence", "parallel_forced"
MULTIPLES = (1, 1.5, 2, 3, 4, 8)
FEW = (1, 2, 4)
# Confidence with equally sure candidates taken from one side: how much of the order ties decide.
TIES = tuple(f"{AO}:within=0.01,prefer={side}" for side in ("left", "right"))
OWN_PACE = (
    *[f"threshold:tau={tau}" for tau in (0.7, 0.9, 0.98)], "factor", "hierarchy",
    *[f"entropy_bound:gamma={gamma}" for gamma in (0.01, 0.1)],
    *[f"parallel_threshold:tau={tau}" for tau in (0.7, 0.9, 0.98)], "parallel_threshold:summary=joint",
    *[f"parallel_entropy_bound:gamma={gamma}" for gamma in (0.01, 0.1)],
)  # fmt: skip
# What the trials on larger grids measured: enough for the falls, and a minute a row there.
TRIAL: tuple[tuple[str, int | None], ...] = (
    *((policy, pace) for policy in (AO, FORCED) for pace in (1, 3, 6, 12)), *(("random", pace) for pace in (1, 3)),
    *((f"{kind}:tau={tau}", None) for kind in ("threshold", "parallel_threshold") for tau in (0.7, 0.9, 0.98)),
    ("entropy_bound:gamma=0.1", None),
)  # fmt: skip
KEPT = (
    "tau_b", "global_arness@1", "global_arness@1_random", "path_global_arness@1", "path_global_arness@1_random",
)  # fmt: skip


def paces(count: int) -> list[int]:
    """Tokens a step at which AO and forced decoding are measured: 1 to 4, and multiples of the number of grids."""
    return sorted({1, 2, 3, 4} | {int(count * m) for m in MULTIPLES if count * m == int(count * m)})


def settings_of(count: int) -> Iterator[tuple[str, int | None]]:
    """Every decoder and pace that a model is measured at; None where the decoder sets its own."""
    yield from ((policy, pace) for policy in (AO, FORCED) for pace in paces(count))
    yield from ((policy, pace) for policy in ("random", "ar") for pace in sorted({1, *(count * m for m in FEW)}))
    yield from ((policy, None) for policy in OWN_PACE)
    yield from ((policy, 1) for policy in TIES)


@dataclass(frozen=True, kw_only=True)
class Work:
    """A denoiser and the problems that it is measured on."""

    task: Any
    denoiser: Denoiser
    problems: list[Problem]
    canvases: list[Canvas]
    parts: list[list[Part]]

    @classmethod
    def of(
        cls, task: Any, spec: CanvasSpec, view: Callable[[Sample], Sample], tokenizer: Any, denoiser: Denoiser | None,
        stream: int,
    ) -> "Work":  # fmt: skip
        """The test problems of a stream, laid out as `view` says; without a denoiser the exact law itself answers."""
        samples = [view(task.sample(stream, index, split="test")) for index in range(MEASURED // task.count)]
        problems = [sample.problem for sample in samples]
        denoiser = denoiser or TaskDenoiser(task, "exact", tokenizer)
        canvases = [canvas_of(denoiser, problem, spec) for problem in problems]
        each = zip(problems, canvases, strict=True)
        parts = [parts_of(task, problem, canvas.region, tokenizer) for problem, canvas in each]
        return cls(task=task, denoiser=denoiser, problems=problems, canvases=canvases, parts=parts)

    def row(self, policy: str, pace: int | None) -> dict[str, Any]:
        """What a decoder does at a pace, over all problems."""
        traces = decoded(self.denoiser, self.canvases, parse_policy(policy), pace)
        valid = [self.valid(*each) for each in zip(self.problems, self.canvases, traces, strict=True)]
        costs = [cost_of(*each) for each in zip(traces, self.parts, strict=True)]
        orders = [vars(order_columns(trace)) for trace in traces]
        units = len(traces) * self.task.count
        return {
            "policy": policy, "pace": pace, "canvases": len(traces), "units": units,
            "valid": sum(grids for grids, _ in valid) / units,
            "all_valid": sum(whole for _, whole in valid) / len(traces),
            "forwards": sum(trace.forwards for trace in traces),
            "tokens": sum(len(trace.events) for trace in traces),
            "correlation": sum(cost.correlation for cost in costs) / units,
            "conflicts": sum(cost.conflicts for cost in costs), "mistakes": sum(cost.mistakes for cost in costs),
            **{name: mean_of([order[name.replace("@", "_at_")] for order in orders]) for name in KEPT},
            "each": [grids for grids, _ in valid],
        }  # fmt: skip

    def valid(self, problem: Problem, canvas: Canvas, trace: Trace) -> tuple[int, bool]:
        """How many of the units are valid, and whether all are and the summary fits."""
        words, ids = self.denoiser.tokenizer, trace.final
        units = [
            words.decode([ids[position] for position in positions])
            for positions in cells_of(canvas.region, self.task.count, self.task.cells)
        ]
        right = self.task.valid(problem, units)
        summary = words.decode([ids[i] for i in range(len(ids)) if canvas.region[i] == canvas.spec.paths])
        text = self.task.gather(units, summary.partition("</summary>")[0])
        return sum(right), self.task.check(problem, text)


def mean_of(values: Sequence[float | None]) -> float | None:
    """The mean of those that there are."""
    there = [value for value in values if value is not None and value == value]
    return fmean(there) if there else None
