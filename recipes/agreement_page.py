"""The results of docs/agreement.md, made from the rows of recipes/agreement.py: verdicts by the page's own rules.

    python recipes/agreement_page.py            # rewrites what stands below <!-- results --> in docs/agreement.md
    python recipes/agreement_page.py --check    # says whether it is as the rows make it

What has not been run yet is left open and said so; the page can be made at any time. Expected wall time: seconds.
Expected numbers: those of docs/agreement.md. Does not train, and decides nothing that the protocol does not say.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import log
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from agreement import ARMS, RESULTS, queue
from agreement_measure import AO, FORCED, OWN_PACE, paces
from bundled import ROOT

from nap.common.files import atomic
from nap.common.stats import Interval, mean_interval

PAGE, MARK = ROOT / "docs/agreement.md", "<!-- results -->"
Row = dict[str, Any]
# What a model's decoders did, by policy and pace.
Rows = dict[tuple[str, int | None], Row]
WIDTHS = {1: "one", 2: "grids-2", 3: "grids-3", 4: "grids-4", 6: "grids-6"}
SHARED_ARMS = ("grids-3", "rows-1", "rows-2", "rows-3")
THRESHOLD, IN_PATHS, JOINT = "threshold:tau=0.9", "parallel_threshold:tau=0.9", "parallel_threshold:summary=joint"
BOUND_IN_PATHS = "parallel_entropy_bound:gamma=0.1"
# How many points a decoder may be below one token a step and still be called lossless.
LOSSLESS = 0.02


class Study:
    """The rows that there are."""

    def __init__(self, folder: Path) -> None:
        self.rows: dict[tuple[str, int], Rows] = {}
        for model in queue():
            path = folder / f"{model.name}.parquet"
            if path.exists():
                found = pq.read_table(path).to_pylist()
                self.rows[model.arm, model.seed] = {(row["policy"], row["pace"]): row for row in found}

    def seeds(self, *arms: str) -> list[int]:
        """The seeds that every one of the arms has."""
        return [seed for seed in range(5) if all((arm, seed) in self.rows for arm in arms)]

    def each(self, value: Callable[..., float], *arms: str) -> list[float]:
        """A value of the rows of these arms, seed by seed."""
        return [value(*(self.rows[arm, seed] for arm in arms)) for seed in self.seeds(*arms)]

    def mean(self, arm: str, policy: str, pace: int | None, column: Callable[[Row], float]) -> float | None:
        """The mean over the seeds of an arm."""
        found = [rows[policy, pace] for (name, _), rows in self.rows.items() if name == arm and (policy, pace) in rows]
        return fmean(map(column, found)) if found else None


def valid(row: Row) -> float:
    return row["valid"]


def rate(row: Row) -> float:
    """Tokens a forward."""
    return row["tokens"] / row["forwards"]


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


def width_slope(value: Callable[[Rows], float], *models: Rows) -> float:
    """How a value grows with the number of grids: 1 is in proportion, 0 not at all."""
    return slope(map(log, WIDTHS), (log(value(rows)) for rows in models))


def correlated(*models: Rows) -> float:
    """Spearman's rank correlation of nats a grid and validity, over all settings of these models."""
    from scipy.stats import spearmanr

    rows = [row for model in models for row in model.values()]
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
    return "supported" if interval.low > 0.8 else "open"


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
        values = study.each(self.value, *self.arms)
        if not values:
            return f"| {self.number} | {self.says} | not run yet | 0 | |"
        scale, unit = (100, " points") if self.percent else (1, "")
        text, verdict = f"{scale * fmean(values):+.2f}{unit}", "one seed: no verdict"
        if len(values) > 1:
            interval = mean_interval(values)
            text += f" [{scale * interval.low:+.2f}, {scale * interval.high:+.2f}]"
            verdict = self.rule(interval)
        return f"| {self.number} | {self.says} | {text} | {len(values)} | {verdict} |"


def did(policy: str, last: int, chain: Rows, paths: Rows) -> float:
    return fall(chain, AO, last) - fall(paths, policy, last)


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
    every = tuple(arm for arm in ARMS if study.seeds(arm) and not ARMS[arm].exact)
    below = partial(lossless, study)
    found = [
        Finding("Q1", "k50 against P, forced: slope", widths, partial(width_slope, halved(FORCED)), proportional),
        Finding("Q2", "k50 against P, AO: slope", widths, partial(width_slope, halved(AO)), proportional),
    ]
    for policy in (THRESHOLD, IN_PATHS):
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
    return found + differences("Q11", "sentences: chain's fall less that of paths", ("stories-chain-3", "stories-3"), 3)


def lossless(study: Study, policy: str) -> Callable[[Interval], str]:
    """The rule of Q3: in proportion, if no width loses more than `LOSSLESS` to one token a step."""
    losses = [
        study.each(lambda rows: valid(rows[policy, None]) - valid(rows[AO, 1]), arm) for arm in WIDTHS.values()
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
            for policy in (THRESHOLD, IN_PATHS, BOUND_IN_PATHS)
        ],
        ("Q5", "forced, fall from 1 to 3, a shared row more", shared, shared_slope),
        ("Q8", "rank correlation of nats and validity", (*widths, *shared[1:]), correlated),
        ("Q10", "one grid at 2 tokens: random less AO", widths[:1], random_less),
    ]  # fmt: skip
    values = [(number, says, study.each(value, *arms)) for number, says, arms, value in asked]
    return [f"| {number} | {says} | {found[0]:+.3f} |" for number, says, found in values if found]


# Tables


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *lines)]


def share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}".removeprefix("0").replace("1.000", "1.00")


def by_pace(study: Study, policy: str, arms: Sequence[str]) -> list[str]:
    """Validity of each arm at every pace."""
    columns = sorted({pace for arm in arms for pace in paces(ARMS[arm].load().count)})
    lines = [
        [f"`{arm}`", *(share(study.mean(arm, policy, pace, valid)) for pace in columns)]
        for arm in arms
    ]  # fmt: skip
    return table(["tokens a step", *map(str, columns)], lines)


def by_decoder(study: Study, arms: Sequence[str]) -> list[str]:
    """Validity and tokens a forward of the decoders that set their own pace."""

    def cell(arm: str, policy: str) -> str:
        speed = study.mean(arm, policy, None, rate)
        return "" if speed is None else f"{share(study.mean(arm, policy, None, valid))} at {speed:.2f}"

    lines = [[f"`{policy}`", *(cell(arm, policy) for arm in arms)] for policy in OWN_PACE]
    return table(["decoder", *(f"`{arm}`" for arm in arms)], lines)


def page(study: Study) -> str:
    """All that stands below the mark."""
    arms = [arm for arm in ARMS if any(name == arm for name, _ in study.rows)]
    done = ", ".join(f"`{arm}` {sum(name == arm for name, _ in study.rows)}" for arm in arms)
    verdicts = [finding.line(study) for finding in findings(study)]
    return "\n".join([
        MARK, "", "## Results", "",
        f"Models measured: {done or 'none yet'}. Means over the seeds that there are; Student's t at 95 %.",
        "", "| | measured | value | seeds | verdict |", "|---|---|---|---|---|", *verdicts, "",
        "Under the exact law (a perfect model, no training, 360 grids):", "", "| | measured | value |", "|---|---|---|",
        *exact_lines(study), "",
        "Valid grids at so many tokens a step, by confidence anywhere (AO):", "", *by_pace(study, AO, arms), "",
        "Forced, every path in step:", "", *by_pace(study, FORCED, arms), "",
        "In random order, and from the left:", "", *by_pace(study, "random", arms), "", *by_pace(study, "ar", arms), "",
        "At the decoder's own pace (valid at tokens a forward):", "", *by_decoder(study, arms), "",
    ])  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 where the page differs")
    options = parser.parse_args()
    before = options.page.read_text(encoding="utf-8")
    made = before.partition(MARK)[0] + page(Study(options.results))
    if options.check:
        print("as the rows make it" if made == before else "differs from the rows: run this without --check")
        return int(made != before)
    with atomic(options.page) as file:
        file.write(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
