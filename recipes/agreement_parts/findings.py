"""The questions of docs/agreement.md, answered from the rows of recipes/agreement.py by the rules of its protocol.

    for finding in findings(Study(RESULTS)):        # recipes/agreement_page.py prints them
        print(finding.line(Study(RESULTS)))

Every rule was written before the runs; what is not there yet is left open. Expected wall time: seconds. Expected
numbers: those of docs/agreement.md. Does not write the page.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import log
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from agreement import ARMS, Model, Setting, queue

from agreement_parts.measure import AO, FORCED, TIES
from nap.common.stats import Interval, mean_interval

Row = dict[str, Any]
# What a model's decoders did, by policy and pace.
Rows = dict[tuple[str, int | None], Row]
WIDTHS = {1: "one", 2: "grids-2", 3: "grids-3", 4: "grids-4", 6: "grids-6"}
SHARED_ARMS = ("grids-3", "rows-1", "rows-2", "rows-3")
THRESHOLD, IN_PATHS, JOINT = "threshold:tau=0.9", "parallel_threshold:tau=0.9", "parallel_threshold:summary=joint"
BOUND, BOUND_IN_PATHS = "entropy_bound:gamma=0.1", "parallel_entropy_bound:gamma=0.1"
# Seeds of an arm before it counts in a question about all arms, which has no more seeds than any of them.
ENOUGH = 3
# How many points a decoder may be below one token a step and still be called lossless.
LOSSLESS = 0.02


class Study:
    """The rows that there are."""

    def __init__(self, folder: Path, models: Iterable[Model] | None = None) -> None:
        self.rows: dict[tuple[str, int], Rows] = {}
        # Trained on a processor without bfloat16 products; rows before 2026-11-30 do not say, and are all of bfloat16.
        self.in_float32: list[str] = []
        for model in models or queue():
            path = folder / f"{model.name}.parquet"
            if path.exists():
                table = pq.read_table(path)
                self.rows[model.arm, model.seed] = {(row["policy"], row["pace"]): row for row in table.to_pylist()}
                if json.loads(table.schema.metadata[b"setting"]).get("dtype") == "torch.float32":
                    self.in_float32.append(model.name)

    def told(self, arms: Iterable[str]) -> str:
        """Which models were measured, how many seeds an arm, and what was trained otherwise than the others."""
        done = ", ".join(f"`{arm}` {len(self.seeds(arm))}" for arm in arms)
        text = f"Models measured: {done or 'none yet'}. Means over the seeds that there are; Student's t at 95 %."
        others = ", ".join(f"`{name}`" for name in self.in_float32)
        return f"{text} Trained in float32, all others in bfloat16: {others}." if others else text

    def seeds(self, *arms: str) -> list[int]:
        """The seeds that every one of the arms has."""
        return [seed for seed in range(5) if all((arm, seed) in self.rows for arm in arms)]

    def each(self, value: Callable[..., float], *arms: str) -> list[float]:
        """A value of the rows of these arms, seed by seed."""
        return [value(*(self.rows[arm, seed] for arm in arms)) for seed in self.seeds(*arms)]

    def measured(self, arm: str, *settings: Setting) -> list[int]:
        """The seeds of an arm of which all these settings were measured."""
        return [seed for seed in self.seeds(arm) if self.rows[arm, seed].keys() >= {*settings}]

    def mean(self, arm: str, policy: str, pace: int | None, column: Callable[[Row], float]) -> float | None:
        """The mean over the seeds of an arm of which this was measured."""
        found = [self.rows[arm, seed][policy, pace] for seed in self.measured(arm, (policy, pace))]
        return fmean(map(column, found)) if found else None

    def of_some(self, arm: str, *settings: Setting) -> str:
        """`, seed 0` where only some seeds of the arm have these settings; nothing where all have."""
        seeds = self.measured(arm, *settings)
        some = len(seeds) < len(self.seeds(arm))
        return f", seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}" if some else ""


def valid(row: Row) -> float:
    return row["valid"]


def rate(row: Row) -> float:
    """Tokens a forward."""
    return row["tokens"] / row["forwards"]


def arness(row: Mapping[str, Any], scope: str = "") -> float:
    """Global-ARness@1 of the canvas, or of its paths (`path_`), normalised: 0 is a random order, 1 left to right."""
    found, chance = row[f"{scope}global_arness@1"], row[f"{scope}global_arness@1_random"]
    return (found - chance) / (1 - chance)


def fall(rows: Rows, policy: str, last: int) -> float:
    """How much validity is lost from one token a step to so many."""
    return rows[policy, 1]["valid"] - rows[policy, last]["valid"]


def k50(rows: Rows, policy: str) -> float:
    """The pace at which validity has halved, linear in log2 of the pace; the largest measured where it never has."""
    measured = sorted(pace for name, pace in rows if name == policy and pace)
    half = rows[policy, 1]["valid"] / 2
    for before, pace in pairwise(measured):
        high, low = rows[policy, before]["valid"], rows[policy, pace]["valid"]
        if low < half:
            return before * (pace / before) ** ((high - half) / (high - low))
    return float(measured[-1])


def slope(x: Iterable[float], y: Iterable[float]) -> float:
    """Least squares."""
    return float(np.polyfit([*x], [*y], 1)[0])


def width_slope(value: Callable[[Rows], float], *models: Rows, widths: Iterable[int] = tuple(WIDTHS)) -> float:
    """How a value grows with the number of paths: 1 is in proportion, 0 not at all."""
    return slope(map(log, widths), (log(value(rows)) for rows in models))


def correlated(*models: Rows) -> float:
    """Spearman's rank correlation of nats a grid and validity, over all settings of these models but those of ties."""
    from scipy.stats import spearmanr

    rows = [row for model in models for (policy, _), row in model.items() if policy not in TIES]
    return float(spearmanr([row["correlation"] for row in rows], [row["valid"] for row in rows]).statistic)


def conflict_share(rows: Rows) -> float:
    """Of the grids that died at 2 and 4 tokens a step, the share that died of a conflict."""
    died = [(rows[AO, pace]["conflicts"], rows[AO, pace]["mistakes"]) for pace in (2, 4)]
    conflicts, mistakes = (sum(column) for column in zip(*died, strict=True))
    return conflicts / max(1, conflicts + mistakes)


# Verdicts


def proportional(interval: Interval) -> str:
    low, high = interval
    if low >= 0.8 and high <= 1.2:
        return "equal"
    if low >= -0.2 and high <= 0.2:
        return "not at all"
    return "less" if high < 0.8 else "open"


def above_zero(interval: Interval) -> str:
    return "supported" if interval.low > 0 else "refuted" if interval.high < 0 else "open"


def unneeded(interval: Interval) -> str:
    if interval.low >= -0.03 and interval.high <= 0.03:
        return "no"
    return "yes" if interval.low > 0 else "open"


def mostly(interval: Interval) -> str:
    return "supported" if interval.low > 0.8 else "refuted" if interval.high < 0.8 else "open"


def predicts(interval: Interval) -> str:
    return "supported" if interval.high <= -0.9 else "refuted" if interval.low > -0.7 else "open"


@dataclass(frozen=True)
class Finding:
    """One line of the verdicts: a value a seed, and the rule of the protocol."""

    number: str
    says: str
    arms: tuple[str, ...]
    value: Callable[..., float]
    rule: Callable[[Interval], str]
    percent: bool = False

    def line(self, study: Study) -> str:
        """A row of the table."""
        text, seeds, verdict = self.measured(study)
        return f"| {self.number} | {self.says} | {text} | {seeds} | {verdict}{' ' * bool(verdict)}|"

    def measured(self, study: Study) -> tuple[str, int, str]:
        """The mean over the seeds and its interval, how many seeds they are, and the verdict."""
        values = study.each(self.value, *self.arms)
        if not values:
            return "not run yet", 0, ""
        told, unit = (lambda x: f"{100 * x:+.2f}", " points") if self.percent else (lambda x: f"{x:+.3f}", "")
        text, verdict = told(fmean(values)) + unit, "one seed: no verdict"
        if len(values) > 1:
            interval = mean_interval(values)
            text += f" [{told(interval.low)}, {told(interval.high)}]"
            verdict = self.rule(interval)
        return text, len(values), verdict


def did(policy: str, last: int, chain: Rows, paths: Rows, of_chain: str = AO) -> float:
    return fall(chain, of_chain, last) - fall(paths, policy, last)


def shared_slope(*models: Rows) -> float:
    return slope(range(len(models)), (fall(rows, FORCED, 3) for rows in models))


def unseen(apart: Rows, seeing: Rows) -> float:
    return valid(apart[FORCED, 3]) - valid(seeing[FORCED, 3])


def waiting(rows: Rows) -> float:
    return rows[IN_PATHS, None]["all_valid"] - rows[JOINT, None]["all_valid"]


def random_less(rows: Rows) -> float:
    return valid(rows["random", 2]) - valid(rows[AO, 2])


def halved(policy: str) -> Callable[[Rows], float]:
    return lambda rows: k50(rows, policy)


def own_pace(policy: str) -> Callable[[Rows], float]:
    return lambda rows: rate(rows[policy, None])


def findings(study: Study) -> list[Finding]:
    """The questions of the protocol, in its order."""
    widths = tuple(WIDTHS.values())
    every = tuple(arm for arm in ARMS if len(study.seeds(arm)) >= ENOUGH and not ARMS[arm].exact)
    below = partial(lossless, study)
    found = [
        Finding("Q1", "k50 against P, forced: slope", widths, partial(width_slope, halved(FORCED)), proportional),
        Finding("Q2", "k50 against P, AO: slope", widths, partial(width_slope, halved(AO)), proportional),
    ]
    for policy in (THRESHOLD, BOUND, IN_PATHS):
        grows = partial(width_slope, own_pace(policy))
        found.append(Finding("Q3", f"tokens a forward against P, `{policy}`: slope", widths, grows, below(policy)))
    for last in (3, 6):
        found += differences("Q4", "chain's fall less that of paths", ("chain-3", "grids-3"), last)
    found += [
        Finding("Q5", "forced, fall from 1 to 3, a shared row more", SHARED_ARMS, shared_slope, above_zero, True),
        Finding("Q6", "cannot see each other, forced at 3", ("paths-3", "grids-3"), unseen, unneeded, True),
        Finding("Q7", "summary last less joint, canvases wholly right", ("corners-3",), waiting, above_zero, True),
        Finding("Q8", "rank correlation of nats and validity", every or ("one",), correlated, predicts),
        Finding("Q9", "share of conflicts among the deaths", ("one",), conflict_share, mostly, True),
        Finding("Q10", "one grid at 2 tokens: random less AO", ("one",), random_less, above_zero, True),
    ]
    found += differences("Q11", "sentences: chain's fall less that of paths", ("stories-chain-3", "stories-3"), 3)
    return found + differences("Q12", "6x6: chain's fall less that of paths", ("large-chain-3", "large-3"), 3)


def lossless(study: Study, policy: str, arms: Iterable[str] = tuple(WIDTHS.values())) -> Callable[[Interval], str]:
    """The rule of Q3: in proportion, if no width loses more than `LOSSLESS` to one token a step."""
    losses = [
        study.each(lambda rows: valid(rows[policy, None]) - valid(rows[AO, 1]), arm) for arm in arms
    ]  # fmt: skip
    worst = min((fmean(loss) for loss in losses if loss), default=0.0)
    return proportional if worst >= -LOSSLESS else lambda interval: f"not lossless ({100 * worst:+.1f} points)"


def differences(number: str, says: str, arms: tuple[str, str], last: int) -> list[Finding]:
    """The chain's fall under AO less that of the paths, under AO and forced."""
    return [
        Finding(number, f"{says} ({name}), 1 to {last}", arms, partial(did, policy, last), above_zero, True)
        for policy, name in ((AO, "AO"), (FORCED, "forced"))
    ]


def exact_lines(study: Study) -> list[str]:
    """The same questions under the exact law, which has no seeds."""
    widths, shared = tuple(f"exact-{count}" for count in WIDTHS), ("exact-3", *(f"exact-rows-{r}" for r in (1, 2, 3)))
    asked = [
        ("Q1", "k50 against P, forced: slope", widths, partial(width_slope, halved(FORCED))),
        ("Q2", "k50 against P, AO: slope", widths, partial(width_slope, halved(AO))),
        *[
            ("Q3", f"tokens a forward against P, `{policy}`: slope", widths, partial(width_slope, own_pace(policy)))
            for policy in (THRESHOLD, BOUND, IN_PATHS, BOUND_IN_PATHS)
        ],
        ("Q5", "forced, fall from 1 to 3, a shared row more", shared, shared_slope),
        ("Q8", "rank correlation of nats and validity", (*widths, *shared[1:]), correlated),
        ("Q10", "one grid at 2 tokens: random less AO", widths[:1], random_less),
    ]  # fmt: skip
    values = [(number, says, study.each(value, *arms)) for number, says, arms, value in asked]
    points = {"Q5", "Q10"}
    return [
        f"| {number} | {says} | {f'{100 * found[0]:+.2f} points' if number in points else f'{found[0]:+.3f}'} |"
        for number, says, found in values if found
    ]  # fmt: skip
