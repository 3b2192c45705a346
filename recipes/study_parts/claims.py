"""The claims of the study: the paper's value for each, what would refute it, and what the seeds say.

    for claim in CLAIMS:
        print(claim.says, judged(claim, read("arith")))

A verdict is about other training runs, so it is based only on Student's interval over the seeds; one seed has no
verdict. The bootstrap over problems and seeds of three models covers some 73 % where 95 are meant (`coverage`), so it
is not used for verdicts. Expected wall time: seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
import study
from numpy.typing import NDArray

from nap.common.stats import Interval, crossed_bootstrap, mean_interval
from study_parts.contrasts import CONTRASTS, Contrast
from study_parts.rows import AO, Rows, Setting, table

# The arms with three seeds on both tasks.
CORE = ("long", "nap", "paths", "short")
NO_VERDICT = "one seed"


@dataclass(frozen=True)
class Claim:
    """What is claimed of a difference, what the paper has for it, and what would refute it.

    column  what is compared; of ARness (G - H) / (1 - H)
    """

    says: str
    contrast: Contrast
    refuted: str
    column: str = "correct"
    paper: str = "not published"
    pace: int = 4


# 2602.23225: its ablation of Dream-7B on GSM8K at 256 steps, 4 tokens a step.
ABOVE, BELOW = "an interval at 0 or above", "an interval at 0 or below"
CLAIMS = (
    Claim("NAP's data and decoder together are more accurate than the long chain", CONTRASTS["both"], BELOW,
          paper="+14.4 (46.5 to 60.9)"),
    Claim("the data alone is", CONTRASTS["data"], BELOW, paper="+10.9 (46.5 to 57.4)"),
    Claim("forced decoding adds to it", CONTRASTS["decoder"], BELOW, paper="+3.5 (57.4 to 60.9)"),
    Claim("forced decoding alone costs the chain", CONTRASTS["chain"], ABOVE,
          paper="-4.0 (35.0 to 31.0, the untuned model)"),
    Claim("NAP's data makes decoding less left to right (normalised Global-ARness@1, AO)", CONTRASTS["data"],
          ABOVE, column="global_arness@1", pace=1),
    Claim("paths that cannot see each other cost accuracy", CONTRASTS["independence"], ABOVE),
    Claim("NAP beats a vote of three short canvases whose model has seen as many tokens", CONTRASTS["ensemble-tokens"],
          BELOW),
    Claim("one path in the chain's slot is more accurate than the chain: brevity is enough (AO)",
          CONTRASTS["brevity"], BELOW),
    Claim("a mark that the model writes instead of clamped headers costs accuracy (AO)", CONTRASTS["headers"], ABOVE),
    Claim("a mark between its paths, which else are joined as steps are, makes the chain more accurate (AO)",
          CONTRASTS["mark"], BELOW),
    Claim("paths in random order, not each way of solving in a slot of its own, cost accuracy", CONTRASTS["order"],
          ABOVE),
    Claim("NAP's data with the paths in random order still are more accurate than the chain (AO)",
          Contrast("", ("long", AO), ("shuffled", AO)), BELOW),
    Claim("NAP's data with half of the paths wrong still are more accurate than the chain (AO)",
          Contrast("", ("long", AO), ("wrong-50", AO)), BELOW),
    Claim("six paths are more accurate than one in the same room (forced)", CONTRASTS["width-6"], BELOW),
    Claim("so they are under AO", Contrast("", ("width-1", AO), ("width-6", AO)), BELOW),
    Claim("paths that depend on each other (q = 1) are decoded more left to right than others (q = 0; normalised, AO)",
          Contrast("", ("rewrites-0", AO), ("rewrites-100", AO)), BELOW, column="global_arness@1", pace=1),
    Claim("a chain from an autoregressive model is decoded more left to right (normalised Global-ARness@1, AO)",
          CONTRASTS["ar"], BELOW, column="global_arness@1", pace=1),
)  # fmt: skip


def claim_table(tasks: dict[str, Rows]) -> str:
    """Every claim with its difference on each task; a dash where its models are not there yet."""
    body = []
    for claim in CLAIMS:
        cells = [shown(claim, rows) for rows in tasks.values()]
        body.append([claim.says, claim.paper, *cells, claim.refuted])
    return table(["claim", "paper, points", *tasks, "what would refute it"], body)


@dataclass(frozen=True)
class Judgement:
    """Which way a difference speaks of a claim: in points, seed by seed, with its interval over problems.

    low, high  of these models on other problems: a bootstrap, which says nothing of other training runs
    apart      how far two seeds of one core arm are from each other there; 0 where no core arm has two
    """

    claim: Claim
    mean: float
    low: float
    high: float
    seeds: dict[int, float]
    apart: float

    @property
    def by_t(self) -> Interval | None:
        """Of the mean over seeds; None of one."""
        return mean_interval(list(self.seeds.values())) if len(self.seeds) > 1 else None

    @property
    def verdict(self) -> str:
        """Whether the claim holds, is refuted or is open, of other seeds as of these; one seed has no verdict."""
        return verdict_of(self.claim, *self.by_t) if self.by_t else NO_VERDICT

    def __str__(self) -> str:
        if by_t := self.by_t:
            each = ", ".join(f"{gain:+.0f}" for gain in self.seeds.values())
            return f"{self.mean:+.1f} [{by_t.low:+.1f}, {by_t.high:+.1f}], by seed {each}"
        apart = f"; two seeds of one core arm are up to {self.apart:.1f} apart" * (self.apart > 0)
        return f"{self.mean:+.1f} (over problems alone [{self.low:+.1f}, {self.high:+.1f}]{apart})"


@cache
def judged(claim: Claim, rows: Rows) -> Judgement | None:
    """What its models say of it; None where they are not there yet."""
    one, other = (Setting(*side, f"{claim.pace}/step") for side in (claim.contrast.first, claim.contrast.second))
    if not (seeds := rows.shared(one, other)):
        return None
    gain = measured(rows, other, claim.column, seeds) - measured(rows, one, claim.column, seeds)
    known = 100 * gain[:, np.isfinite(gain).all(axis=0)]
    low, high = crossed_bootstrap(known)
    each = dict(zip(seeds, known.mean(axis=1).tolist(), strict=True))
    return Judgement(claim, float(known.mean()), low, high, each, seeds_apart(rows, claim))


def verdict_of(claim: Claim, low: float, high: float) -> str:
    """Whether the interval of a difference has a claim hold, be refuted or stay open."""
    if claim.refuted.endswith("above"):
        low, high = -high, -low
    return "holds" if low > 0 else "refuted" if high <= 0 else "open"


def seeds_apart(rows: Rows, claim: Claim) -> float:
    """The largest difference, in points, of two training seeds of one core arm under the decoders of a claim."""
    found = [0.0]
    for arm, policy in product(CORE, {claim.contrast.first[1], claim.contrast.second[1]}):
        setting = Setting(arm, policy, f"{claim.pace}/step")
        if seeds := rows.shared(setting, setting):
            values = 100 * measured(rows, setting, claim.column, seeds)
            found.append(float(np.ptp(np.nanmean(values, axis=1))))
    return max(found)


def shown(claim: Claim, rows: Rows) -> str:
    """Which way the difference speaks, the difference in points, and what there is to believe it by."""
    if not (found := judged(claim, rows)):
        return "-"
    return f"**{found.verdict}**: {found}"


def by_seed(rows: Rows) -> str:
    """What each model of the arms with several gets under AO at 4 tokens a step, in %."""
    told = []
    for setting in (Setting(arm, AO, "4/step") for arm in study.ARMS):
        if len(rows.shared(setting, setting)) > 1:
            each = 100 * rows.column(setting, "correct").mean(axis=1)
            told.append(f"{setting.arm} {'/'.join(f'{right:.0f}' for right in each)}")
    return ", ".join(told)


def bundled_seeds(tasks: dict[str, Rows]) -> dict[str, int]:
    """Of each task the seed whose gap, by the first claim, is the median: its pair of models is the bundled one."""
    found = {task: judgement.seeds for task, rows in tasks.items() if (judgement := judged(CLAIMS[0], rows))}
    return {task: sorted(gaps, key=gaps.__getitem__)[len(gaps) // 2] for task, gaps in found.items()}


def measured(rows: Rows, setting: Setting, column: str, seeds: Sequence[int]) -> NDArray[np.float64]:
    """A column; ARness normalised, so that 0 is a random order and 1 left to right whatever the length of a slot."""
    found = rows.column(setting, column, seeds)
    return found if column == "correct" else normalised(found, rows.column(setting, f"{column}_random", seeds))


def normalised(arness: NDArray[np.float64], random: NDArray[np.float64]) -> NDArray[np.float64]:
    """(G - H) / (1 - H); nan where a random order is left to right by itself, as that of one token is."""
    return (arness - random) / np.where(random < 1, 1 - random, np.nan)


@cache
def coverage(seeds: int, trials: int = 2000, draws: int = 1000) -> float:
    """How often a 95 % bootstrap over so many seeds holds the mean of what they are drawn from, a normal law."""
    rng = np.random.default_rng(0)
    values_TS = rng.normal(size=(trials, seeds))
    drawn_DS = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds
    low_T, high_T = np.quantile(values_TS @ drawn_DS.T, [0.025, 0.975], axis=1)
    return float(((low_T <= 0) & (high_T >= 0)).mean())
