"""What parallelism costs: accuracy lost from 1 to 4 tokens a step, and how much less of it NAP loses than the chain.

    for fall in differences_of_falls(read("arith")):
        print(fall.says, fall.mean, fall.by_t)

The paper's claim is about the loss when several tokens are written in one step. This difference in differences is
therefore compared, and not the level at one pace, whose spread over training runs is thirteen times as large. Expected
wall time: seconds. Does not judge other claims (claims.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from nap.common.stats import Interval, mean_interval
from study_parts.rows import AO, FORCED, Rows, Setting, percent, table

FIRST, LAST = 1, 4
# GSM8K, Long-CoT under AO and NAP under forced decoding, by tokens a step (2602.23225).
PAPER = {
    "Dream-7B": {1: (78.0, 83.6), 2: (66.8, 79.2), 4: (46.5, 60.9)},
    "LLaDA-8B": {1: (83.5, 84.1), 2: (82.0, 82.6), 4: (54.1, 56.1)},
}


@dataclass(frozen=True)
class Falls:
    """Points of accuracy that the chain and another setting lose from 1 to 4 tokens a step, seed by seed."""

    chain: list[float]
    other: list[float]

    @property
    def each(self) -> list[float]:
        """The chain's fall less the other's, seed by seed."""
        return [chain - other for chain, other in zip(self.chain, self.other, strict=True)]

    @property
    def mean(self) -> float:
        """Of the seeds."""
        return fmean(self.each)

    @property
    def by_t(self) -> Interval:
        """Student's, over the seeds."""
        return mean_interval(self.each)

    def __str__(self) -> str:
        low, high = self.by_t
        return f"**{self.mean:+.1f} [{low:+.1f}, {high:+.1f}]**, by seed " + ", ".join(f"{x:+.1f}" for x in self.each)

    @property
    def verdict(self) -> str:
        """Whether NAP loses less."""
        low, high = self.by_t
        return "NAP loses less" if low > 0 else "NAP loses more" if high < 0 else "open"


def levels(rows: Rows, arm: str, policy: str, seeds: Sequence[int], pace: int) -> list[float]:
    """Right answers in %, seed by seed."""
    return (100 * rows.column(Setting(arm, policy, f"{pace}/step"), "correct", seeds).mean(axis=1)).tolist()


def falls(rows: Rows, policy: str = FORCED, of_chain: str = AO) -> Falls | None:
    """The chain's falls and NAP's, each under a decoder; None where not two seeds have both paces of both."""
    sides = (("long", of_chain), ("nap", policy))
    wanted = [Setting(*side, f"{pace}/step") for side in sides for pace in (FIRST, LAST)]
    seeds = sorted(set.intersection(*(set(rows.by_setting.get(setting, ())) for setting in wanted)))
    if len(seeds) < 2:
        return None
    lost = [
        [a - b for a, b in zip(*(levels(rows, *side, seeds, pace) for pace in (FIRST, LAST)), strict=True)]
        for side in sides
    ]
    return Falls(*lost)


def spreads(rows: Rows) -> tuple[float, float] | None:
    """Standard deviations over seeds, in points: of the difference of falls, and of the gap at 4 tokens a step."""
    if not (found := falls(rows)):
        return None
    seeds = rows.shared(Setting("long", AO, f"{LAST}/step"), Setting("nap", FORCED, f"{LAST}/step"))
    chain, paths = levels(rows, "long", AO, seeds, LAST), levels(rows, "nap", FORCED, seeds, LAST)
    return stdev(found.each), stdev(b - a for a, b in zip(chain, paths, strict=True))


def fall_table(tasks: dict[str, Rows]) -> str:
    """The paper's differences of falls, and ours under NAP's decoder and without it."""
    body = []
    for model, levels_of in PAPER.items():
        chain, paths = (a - b for a, b in zip(levels_of[FIRST], levels_of[LAST], strict=True))
        body.append([f"{model}, GSM8K (paper)", f"{chain:.1f}", f"{paths:.1f}", f"**{chain - paths:+.1f}**", ""])
    for task, rows in tasks.items():
        for of_chain, policy, says in (
            (AO, FORCED, "chain by confidence, NAP forced"), (AO, AO, "both by confidence"),
            (FORCED, FORCED, "both forced"),
        ):  # fmt: skip
            if found := falls(rows, policy, of_chain):
                cells = [f"{fmean(found.chain):+.1f}", f"{fmean(found.other):+.1f}", str(found), found.verdict]
                body.append([f"{task}, {says}", *cells])
    return table(["", "chain loses", "NAP loses", "difference in differences", "verdict"], body)


def paper_table(tasks: dict[str, Rows]) -> str:
    """The paper's accuracies beside ours: the chain under AO, NAP under forced decoding."""
    body = []
    for pace in (1, 2, 4):
        cells = [f"{chain} / {paths}" for chain, paths in (PAPER[model][pace] for model in PAPER)]
        for rows in tasks.values():
            settings = [Setting(arm, policy, f"{pace}/step") for arm, policy in (("long", AO), ("nap", FORCED))]
            cells.append(
                " / ".join(percent(rows.column(s, "correct")) if s in rows.by_setting else "-" for s in settings)
            )
        body.append([str(pace), *cells])
    return table(["tokens a step", *(f"{model}, GSM8K" for model in PAPER), *tasks], body)
