"""Measure a decoder on a model that reasons: accuracy, certainty and order; and whether a model passes the gate.

    measure = Measure.of(denoiser, Igsm(), canvas)             # recipes/reasoning.py
    rows = [measure.row(*setting) for setting in settings_of("chain", seed=0)]
    print(gate(rows))

A row is one decoder at one pace. Expected wall time: 11 to 20 minutes on a core for a row of one token a step and
200 problems, less for others. The conditions of the gate and their reasons: docs/reasoning.md.

Does not train or decide what is compared.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from agreement import Row, Setting
from agreement_parts.findings import arness
from agreement_parts.measure import AO, FORCED, KEPT, TIES, mean_of
from paths_used import decoded, over
from tie_bands import third_arness

from nap.canvas.canvas import Canvas, CanvasSpec, parse
from nap.data.problems import Problem
from nap.data.trace import COMMIT, Trace
from nap.decoding.policies.registry import parse_policy
from nap.decoding.prompt import canvas_of
from nap.evaluation.rows import order_columns
from nap.models.denoiser import Denoiser
from nap.order.order import order_of
from nap.tasks.igsm import Igsm

# Problems of the rows by which arms are compared, and of the others, among them those of the gate.
COMPARED, FEW = 200, 100
# The summary alone, over paths that stay masked: a row beside those of decoders.
MASKED = "over masked paths"
# What the gate reads.
GATE: tuple[Setting, ...] = (
    *((AO, pace) for pace in (1, 4)), *((policy, 1) for policy in (MASKED, "random", *TIES))
)  # fmt: skip
# A commit of more than this is one that the model does not rank.
SURE = 0.999
OWN_PACE = ("threshold:tau=0.9", "parallel_threshold:tau=0.9")
# The arms that the study is about, and tokens a step: those that the rules read, and all that the first seed shows.
PAIR, READ, PACES = ("chain", "nap"), (1, 4), (1, 2, 3, 4, 6)


def settings_of(arm: str, seed: int) -> Iterator[Setting]:
    """Every decoder and pace that is measured of a model; a pace of None is the decoder's own.

    Of chain and nap the first seed shows more than the rules read: other paces, and a threshold over the canvas. Every
    chain is put to the gate. Of all else only what the rules read is measured, and the summary over masked paths.
    """
    shown = seed == 0 and arm in PAIR
    policies = (AO, FORCED) if arm in PAIR else (FORCED,) if arm == "paths" else (AO,)
    settings = [*(GATE if shown or arm == "chain" else [(MASKED, 1)])]
    settings += [(policy, pace) for policy in policies for pace in (PACES if shown else READ)]
    settings += [(policy, None) for policy in (OWN_PACE if shown else OWN_PACE[1:])]
    yield from dict.fromkeys(settings)


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A denoiser, and the first problems of the test on its canvas."""

    denoiser: Denoiser
    task: Igsm
    problems: list[Problem]
    canvases: list[Canvas]

    @classmethod
    def of(cls, denoiser: Denoiser, task: Igsm, spec: CanvasSpec, problems: int | None = None) -> "Measure":
        """Lay out so many, or as many as arms are compared by."""
        drawn = [task.generate(0, index, "test") for index in range(problems or COMPARED)]
        canvases = [canvas_of(denoiser, problem, spec) for problem in drawn]
        return cls(denoiser=denoiser, task=task, problems=drawn, canvases=canvases)

    def row(self, policy: str, pace: int | None) -> Row:
        """What a decoder does at a pace: means over the problems, and which of them are right.

        `valid` is accuracy, under the name that the findings of recipes/agreement.py read.
        """
        canvases = self.canvases[: COMPARED if policy in (AO, FORCED, *OWN_PACE) else FEW]
        masked = policy == MASKED
        shown = [over(canvas, canvas.ids) for canvas in canvases] if masked else canvases
        traces = decoded(self.denoiser, shown, parse_policy(AO if masked else policy), pace)
        asked = self.problems[: len(traces)]
        right = [self._right(*each) for each in zip(asked, canvases, traces, strict=True)]
        row = {
            "policy": policy, "pace": pace, "problems": len(traces), "valid": fmean(right),
            "forwards": sum(trace.forwards for trace in traces), "tokens": sum(len(trace.events) for trace in traces),
            "each": right,
        }  # fmt: skip
        print(policy, pace, row["valid"], flush=True)
        return row | (dict.fromkeys(order_names()) if masked else orders_of(traces))

    def _right(self, problem: Problem, canvas: Canvas, trace: Trace) -> bool:
        return self.task.check(problem, parse(canvas, trace.final, self.denoiser.tokenizer, trace.uncounted).summary)


def order_names() -> list[str]:
    """The columns of `orders_of`."""
    return ["sure", *KEPT, "third_global_arness@1", "third_global_arness@1_random"]


def orders_of(traces: Sequence[Trace]) -> Row:
    """Certainty and order, means over traces: of the canvas, in a path, and in thirds of a chain or three paths."""
    columns = [vars(order_columns(trace)) for trace in traces]
    thirds = [third_arness(order_of(trace)) for trace in traces]
    values = [[column[name.replace("@", "_at_")] for column in columns] for name in KEPT]
    sure = [
        event.probability > SURE
        for trace in traces for event in trace.events if event.kind == COMMIT and event.token not in trace.uncounted
    ]  # fmt: skip
    return dict(zip(order_names(), map(mean_of, [sure, *values, *zip(*thirds, strict=True)]), strict=True))


# The gate


def chance(task: Igsm) -> float:
    """How often the most frequent answer is right."""
    answers = [task.generate(1, index, "test").answer for index in range(2000)]
    return max(map(answers.count, set(answers))) / len(answers)


def gate(rows: Iterable[Row], chance: float) -> dict[str, tuple[float, bool]]:
    """Each condition: what was measured of a chain, and whether it holds."""
    found = {(row["policy"], row["pace"]): row for row in rows}
    one = found[AO, 1]

    def right(policy: str, pace: int) -> float:
        return float(np.mean(found[policy, pace]["each"][:FEW]))

    ties = abs(found[TIES[0], 1]["tau_b"] - found[TIES[1], 1]["tau_b"])
    drop, fall = right(AO, 1) - right("random", 1), right(AO, 1) - right(AO, 4)
    guessed, order = right(MASKED, 1) - chance, arness(one)
    return {
        "at most 20 % of commits with p > .999": (one["sure"], one["sure"] <= 0.2),
        "tau-b moves by less than .1 within ties of .01": (ties, ties < 0.1),
        "normalised ARness at least .4": (order, order >= 0.4),
        "random order at least 10 points below": (drop, drop >= 0.1),
        "from 1 to 4 tokens a step at least 10 points lost": (fall, fall >= 0.1),
        "over masked paths at most 10 points above chance": (guessed, guessed <= 0.1),
    }
