"""docs/study.md, made from the study's rows: what was found, with intervals over seeds and problems.

    python recipes/study_page.py            # rewrites docs/study.md from docs/study/*.parquet
    python recipes/study_page.py --check    # says whether it is as the rows make it

Expected wall time: a minute. Expected numbers: those of docs/study.md.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from bundled import ROOT
from numpy.typing import NDArray
from paths_used import GIVEN, NOTHING, OTHER, OWN, RIGHT, USED
from study import ARMS, JOINT, MORE_SEEDS, PACES, RESULTS, VOTES, WIDTHS, WRONG, queue
from text_order import MEASURES, POLICIES, VIEWS
from text_order import results as text_results

from nap.common.files import atomic
from nap.common.stats import Interval, crossed_bootstrap, holm, mcnemar, mean_interval, wilson_interval
from nap.order.rates import aup
from nap.tasks.countdown import Countdown

PAGE = ROOT / "docs/study.md"
AO, FORCED = "low_confidence", "parallel_forced"
VOTE = f"vote of {VOTES}"
EQUATIONS = "equations_right"


@dataclass(frozen=True)
class Setting:
    """One decoder at one pace on the models of one arm."""

    arm: str
    policy: str
    pace: str


@dataclass(frozen=True)
class Contrast:
    """What the difference of two settings (second less first) says, pace by pace."""

    question: str
    first: tuple[str, str]
    second: tuple[str, str]


CONTRASTS = {
    "data": Contrast("data: the same decoder (AO), paths against one chain", ("long", AO), ("nap", AO)),
    "decoder": Contrast("decoder on NAP's data: forced against AO", ("nap", AO), ("nap", FORCED)),
    "chain": Contrast("decoder on the chain: forced against AO", ("long", AO), ("long", FORCED)),
    "both": Contrast("both: NAP as proposed against the chain as proposed", ("long", AO), ("nap", FORCED)),
    "independence": Contrast(
        "independence: paths that cannot see each other", ("nap", FORCED), ("paths", FORCED)
    ),
    "length": Contrast("length: one short path against the chain of three", ("long", AO), ("short", AO)),
    "brevity": Contrast("length alone: one path in the chain's slot", ("long", AO), ("brief", AO)),
    "several": Contrast("several paths at all: NAP against one path", ("short", AO), ("nap", FORCED)),
    "ensemble": Contrast(
        "ensemble: NAP against a vote of three canvases at equal forwards", ("short", VOTE), ("nap", FORCED)
    ),
    "tokens": Contrast("training tokens: one path with as many as three have", ("short", AO), ("short-tokens", AO)),
    "ensemble-tokens": Contrast(
        "ensemble, with as many training tokens: NAP against a vote of three", ("short-tokens", VOTE), ("nap", FORCED)
    ),
    "summary": Contrast(
        "the summary last: forced on NAP's data, last against whenever", ("nap", JOINT), ("nap", FORCED)
    ),
    "summary-chain": Contrast(
        "the summary last: forced on the chain, last against whenever", ("long", JOINT), ("long", FORCED)
    ),
    "ar": Contrast("initialisation: the chain from an autoregressive model", ("long", AO), ("ar-long", AO)),
    "ar-data": Contrast("data, from an autoregressive model", ("ar-long", AO), ("ar-nap", AO)),
    "ar-both": Contrast("both, from an autoregressive model", ("ar-long", AO), ("ar-nap", FORCED)),
    "headers": Contrast("headers: a generated mark instead of clamped headers", ("nap", AO), ("floating", AO)),
    "mark": Contrast("the mark alone: the chain with it between its paths", ("long", AO), ("floating", AO)),
    "order": Contrast("order of the paths: shuffled in training", ("nap", FORCED), ("shuffled", FORCED)),
    "masking": Contrast("masking: structured", ("nap", FORCED), ("structured", FORCED)),
    **{
        f"wrong-{share}": Contrast(f"{share} % wrong paths", ("nap", FORCED), (f"wrong-{share}", FORCED))
        for share in WRONG
    },
    **{
        f"width-{paths}": Contrast(
            f"{paths} paths against one path, in one room", ("width-1", FORCED), (f"width-{paths}", FORCED)
        )
        for paths in WIDTHS if paths > 1
    },
    "copied": Contrast("six paths, three of them copies of the others", ("width-6", FORCED), ("copied", FORCED)),
}  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """What is claimed of a difference, what the paper has for it, and what would refute it.

    asks  the question that the page opens with; empty: it is in the table alone
    """

    says: str
    contrast: Contrast
    refuted: str
    asks: str = ""
    column: str = "correct"
    paper: str = "not published"
    pace: int = 4


LESS_ORDER = "Do its data make decoding less left to right (Global-ARness@1)?"
# 2602.23225: its ablation of Dream-7B on GSM8K at 256 steps, 4 tokens a step.
CLAIMS = (
    Claim(
        "NAP's data and decoder together are more accurate than the long chain", CONTRASTS["both"],
        "an interval at 0 or below", "Is NAP, data and decoder, more accurate than the long chain at 4 tokens a step?",
        paper="+14.4 (46.5 to 60.9)",
    ),
    Claim("the data alone is", CONTRASTS["data"], "an interval at 0 or below", "Are its data alone?",
          paper="+10.9 (46.5 to 57.4)"),
    Claim("forced decoding adds to it", CONTRASTS["decoder"], "an interval at 0 or below",
          "Does forced decoding add to that?", paper="+3.5 (57.4 to 60.9)"),
    Claim("forced decoding alone costs the chain", CONTRASTS["chain"], "an interval at 0 or above",
          paper="-4.0 (35.0 to 31.0, the untuned model)"),
    Claim("NAP's data makes decoding less left to right (Global-ARness@1 above random, AO)", CONTRASTS["data"],
          "an interval at 0 or above", LESS_ORDER, column="global_arness@1", pace=1),
    Claim("so it does inside a slot (ARness per slot above random, AO; the chain's slot is three times as long)",
          CONTRASTS["data"], "an interval at 0 or above", column="path_global_arness@1", pace=1),
    Claim("other paths beside it make a path less left to right (ARness per path, AO, against one short path)",
          Contrast("", ("short", AO), ("nap", AO)), "an interval at 0 or above", column="path_global_arness@1", pace=1),
    Claim("paths that cannot see each other cost accuracy", CONTRASTS["independence"], "an interval at 0 or above",
          "Do paths that cannot see each other cost accuracy?"),
    Claim("NAP beats a vote of three short canvases of equal forwards", CONTRASTS["ensemble"],
          "an interval at 0 or below", "Is NAP more than a vote of three short canvases of equal forwards?"),
    Claim("so it does where their model has seen as many tokens", CONTRASTS["ensemble-tokens"],
          "an interval at 0 or below", "And than that vote where the short model has seen as many training tokens?"),
    Claim("one path in the chain's slot is more accurate than the chain: brevity is enough (AO)",
          CONTRASTS["brevity"], "an interval at 0 or below",
          "Is one path in the long chain's slot more accurate than the chain?"),
    Claim("a mark that the model writes instead of clamped headers costs accuracy (AO)", CONTRASTS["headers"],
          "an interval at 0 or above",
          "Does it cost accuracy not to know where the paths start (a mark that the model writes, no headers)?"),
    Claim("a mark between its paths, which else are joined as steps are, makes the chain more accurate (AO)",
          CONTRASTS["mark"], "an interval at 0 or below",
          "Is the chain with that mark between its paths above the chain, whose paths are joined as steps are?"),
    Claim("paths in random order, not each way of solving in a slot of its own, cost accuracy", CONTRASTS["order"],
          "an interval at 0 or above",
          "Does it cost accuracy to have the paths in random order, not each way of solving in a slot of its own?"),
    Claim("NAP's data with the paths in random order still are more accurate than the chain (AO)",
          Contrast("", ("long", AO), ("shuffled", AO)), "an interval at 0 or below",
          "With the paths in random order, is NAP's model still above the chain?"),
    Claim("NAP's data with half of the paths wrong still are more accurate than the chain (AO)",
          Contrast("", ("long", AO), ("wrong-50", AO)), "an interval at 0 or below",
          "Is NAP's model still above the chain when half of its paths were wrong in training?"),
    Claim("six paths are more accurate than one in the same room (forced)", CONTRASTS["width-6"],
          "an interval at 0 or below", "Do six paths help over one in the same room, under forced decoding?"),
    Claim("so they are under AO", Contrast("", ("width-1", AO), ("width-6", AO)), "an interval at 0 or below",
          "And under AO?"),
    Claim("paths that depend more on each other are decoded more left to right (Global-ARness@1, AO, q = 1 over q = 0)",
          Contrast("", ("rewrites-0", AO), ("rewrites-100", AO)), "an interval at 0 or below",
          "Does sequential dependence between the paths make decoding go left to right (Global-ARness@1)?",
          column="global_arness@1", pace=1),
    Claim("a chain from an autoregressive model is decoded more left to right (Global-ARness@1 above random, AO)",
          CONTRASTS["ar"], "an interval at 0 or below",
          "Does starting from an autoregressive model make decoding go left to right?",
          column="global_arness@1", pace=1),
)  # fmt: skip
# GSM8K, Long-CoT under AO and NAP under forced decoding, by tokens a step.
PAPER = {
    "Dream-7B": {1: (78.0, 83.6), 2: (66.8, 79.2), 4: (46.5, 60.9)},
    "LLaDA-8B": {1: (83.5, 84.1), 2: (82.0, 82.6), 4: (54.1, 56.1)},
}
TASKS = ("arith", "countdown")
# The arms with three seeds on both tasks.
CORE = ("long", "nap", "paths", "short")


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of one task: setting -> seed -> column arrays, problems in one order."""

    by_setting: dict[Setting, dict[int, dict[str, NDArray[np.float64]]]]

    def column(self, setting: Setting, name: str, seeds: Sequence[int] | None = None) -> NDArray[np.float64]:
        """[S, N]: a column of the setting's models."""
        found = self.by_setting[setting]
        return np.stack([found[seed][name] for seed in sorted(found if seeds is None else seeds)])

    def shared(self, one: Setting, other: Setting) -> list[int]:
        """The seeds that both settings have."""
        return sorted(self.by_setting.get(one, {}).keys() & self.by_setting.get(other, {}).keys())


def read(task: str) -> Rows:
    found: dict[Setting, dict[int, dict[str, Any]]] = {}
    for path in sorted(RESULTS.glob(f"{task}-*.parquet")):
        table = pq.read_table(path)
        made = json.loads((table.schema.metadata or {})[b"setting"])
        frame = {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
        for policy, pace in dict.fromkeys(zip(frame["policy"], frame["pace"], strict=True)):
            chosen = (frame["policy"] == policy) & (frame["pace"] == pace)
            order = np.argsort(frame["index"][chosen])
            columns = {k: v[chosen][order].astype(float) for k, v in frame.items() if k not in ("policy", "pace")}
            columns.setdefault(EQUATIONS, np.full(len(order), np.nan))
            found.setdefault(Setting(made["arm"], policy, pace), {})[made["seed"]] = columns
    return Rows(found)


def percent(values: NDArray[np.float64]) -> str:
    low, high = crossed_bootstrap(values)
    return f"{100 * values.mean():.0f} [{100 * low:.0f}, {100 * high:.0f}]"


def decimal(values: NDArray[np.float64]) -> str:
    known = values[:, ~np.isnan(values).any(axis=0)]
    return f"{known.mean():.2f}" if known.size else ""


def by_pace(rows: Rows, arm: str, policy: str, cell: Callable[[Setting], str]) -> list[str]:
    settings = [Setting(arm, policy, f"{pace}/step") for pace in PACES]
    return [cell(setting) if setting in rows.by_setting else "" for setting in settings]


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def accuracy_table(rows: Rows) -> str:
    body = []
    for arm, policy in dict.fromkeys((s.arm, s.policy) for s in rows.by_setting if s.pace.endswith("/step")):
        cells = by_pace(rows, arm, policy, lambda s: percent(rows.column(s, "correct")))
        seeds = max(len(found) for s, found in rows.by_setting.items() if (s.arm, s.policy) == (arm, policy))
        body.append([arm, policy, str(seeds), *cells])
    order = list(ARMS)
    body.sort(key=lambda line: order.index(line[0]))
    return table(["arm", "decoder", "seeds", *[f"{pace} a step" for pace in PACES]], body)


def order_table(rows: Rows) -> str:
    """Global and per-path ARness and tau-b at one token a step, where no ties blur them."""
    names = (
        "global_arness@1", "global_arness@1_random", "path_global_arness@1", "path_global_arness@1_random", "tau_b",
    )  # fmt: skip
    body = []
    for setting in rows.by_setting:
        if setting.pace == "1/step" and setting.policy in (AO, FORCED):
            body.append([setting.arm, setting.policy, *[decimal(rows.column(setting, name)) for name in names]])
    body.sort(key=lambda line: list(ARMS).index(line[0]))
    return table(["arm", "decoder", "Global-ARness@1", "(random)", "within a path", "(random)", "tau-b"], body)


@dataclass(frozen=True)
class Reasoning:
    """Answers at 4 tokens a step, and the equations of the paths beside them.

    held    share of the equations that hold, the mean over answers that have one
    beside  share of the answers that have one that does not
    right   which of these are right
    """

    seeds: int
    held: float
    beside: float
    right: list[bool]

    def __str__(self) -> str:
        return wilson(self.right)


def reasoning(rows: Rows, arm: str, policy: str) -> Reasoning | None:
    """None where no model of the arm has its equations counted, or none has a wrong one."""
    setting = Setting(arm, policy, "4/step")
    found = rows.by_setting.get(setting, {})
    if not (seeds := [seed for seed, columns in found.items() if np.isfinite(columns[EQUATIONS]).any()]):
        return None
    held, correct = rows.column(setting, EQUATIONS, seeds), rows.column(setting, "correct", seeds)
    wrong = held < 1
    if not wrong.any():
        return None
    right = [bool(x) for x in correct[wrong]]
    return Reasoning(len(seeds), float(np.nanmean(held)), float(wrong.mean()), right)


def reasoning_table(rows: Rows) -> str:
    body = [
        [arm, policy, str(found.seeds), f"{100 * found.held:.0f}", f"{100 * found.beside:.0f}", str(found)]
        for arm in ARMS
        for policy in (AO, FORCED)
        if (found := reasoning(rows, arm, policy))
    ]
    head = ["arm", "decoder", "seeds", "equations that hold", "answers beside a wrong one", "right of these"]
    return table(head, body)


def decoder_table(rows: Rows) -> str:
    """Every decoder on the arms that had them all: its best accuracy, what it costs there, and AUP over its paces."""
    arms = [arm for arm in ARMS if Setting(arm, "ar", "1/step") in rows.by_setting]
    settings = [s for s in rows.by_setting if s.arm in arms]

    def of_one(setting: Setting, name: str) -> NDArray[np.float64]:
        return rows.column(setting, name, [MORE_SEEDS[setting.arm]])

    best = max((100 * of_one(s, "correct").mean() for s in settings), default=0.0)
    body = []
    for arm, decoder in dict.fromkeys((s.arm, decoder_of(s)) for s in settings):
        mine = [s for s in settings if s.arm == arm and decoder_of(s) == decoder]
        points = [(float(np.nanmean(of_one(s, "tpf"))), 100 * of_one(s, "correct").mean()) for s in mine]
        top = max(mine, key=lambda s: of_one(s, "correct").mean())
        efficiency = of_one(top, "critical_path") / of_one(top, "forwards")
        body.append([
            arm, decoder, f"{top.policy.removeprefix(decoder).lstrip(':')} {top.pace}".strip(),
            percent(of_one(top, "correct")), *[f"{np.nanmean(of_one(top, name)):.2f}" for name in ("tpf", "afp")],
            f"{efficiency.mean():.2f}",
            "-" if mine[0].pace.endswith("/step") and len(mine) < len(PACES) else f"{aup(points, best):.0f}",
        ])  # fmt: skip
    body.sort(key=lambda line: list(ARMS).index(line[0]))
    return table(["arm", "decoder", "best at", "accuracy", "TPF there", "AFP", "critical path / forwards", "AUP"], body)


def decoder_of(setting: Setting) -> str:
    """The policy without a setting that it is swept over."""
    return setting.policy if setting.policy == JOINT else setting.policy.partition(":")[0]


@dataclass(frozen=True)
class Difference:
    """One contrast at one pace: the mean difference, its interval, McNemar's p of all seeds' pairs together."""

    contrast: Contrast
    pace: int
    mean: float
    interval: Interval
    p_value: float
    seeds: int


def differences(rows: Rows) -> list[Difference]:
    found = []
    for contrast in CONTRASTS.values():
        for pace in PACES:
            one, other = (Setting(*side, f"{pace}/step") for side in (contrast.first, contrast.second))
            if not (seeds := rows.shared(one, other)):
                continue
            first, second = (rows.column(side, "correct", seeds) for side in (one, other))
            p = mcnemar([bool(x) for x in first.ravel()], [bool(x) for x in second.ravel()]).p_value
            gain = second - first
            found.append(Difference(contrast, pace, float(gain.mean()), crossed_bootstrap(gain), p, len(seeds)))
    return found


def contrast_table(found: Sequence[Difference]) -> str:
    adjusted = dict(zip([(d.contrast, d.pace) for d in found], holm([d.p_value for d in found]), strict=True))
    body = []
    for contrast in dict.fromkeys(d.contrast for d in found):
        by = {d.pace: d for d in found if d.contrast == contrast}
        cells = [points(by[pace], adjusted[contrast, pace]) if pace in by else "" for pace in PACES]
        body.append([contrast.question, str(max(d.seeds for d in by.values())), *cells])
    return table(["question", "seeds", *[f"{pace} a step" for pace in PACES]], body)


def points(difference: Difference, p: float) -> str:
    low, high = difference.interval
    mark = "**" if p < 0.05 and (low > 0 or high < 0) else ""
    return f"{mark}{100 * difference.mean:+.0f} [{100 * low:+.0f}, {100 * high:+.0f}]{mark}"


def claim_table(tasks: dict[str, Rows]) -> str:
    """Every claim with its difference on each task; a dash where its models are not there yet."""
    body = []
    for claim in CLAIMS:
        cells = [shown(claim, rows) for rows in tasks.values()]
        body.append([claim.says, claim.paper, *cells, claim.refuted])
    return table(["claim", "paper, points", *tasks, "what would refute it"], body)


@dataclass(frozen=True)
class Judgement:
    """Which way a difference speaks of a claim: in points, with its interval, and seed by seed.

    apart  how far two seeds of one core arm are from each other there; 0 where no core arm has two
    """

    claim: Claim
    mean: float
    low: float
    high: float
    seeds: dict[int, float]
    apart: float

    @property
    def here(self) -> str:
        """Whether the claim holds, is refuted or is open by the interval alone, which says little of other seeds."""
        return verdict_of(self.claim, self.low, self.high)

    @property
    def verdict(self) -> str:
        """The same where the seeds bear it out."""
        if by_t := self.by_t:
            return verdict_of(self.claim, min(self.low, by_t.low), max(self.high, by_t.high))
        return self.here if abs(self.mean) > self.apart else "open"

    @property
    def by_t(self) -> Interval | None:
        """Of the mean over seeds, by the seeds alone; None of one."""
        return mean_interval(list(self.seeds.values())) if len(self.seeds) > 1 else None

    @property
    def basis(self) -> str:
        """What there is beside the interval to believe it by."""
        if by_t := self.by_t:
            each = ", ".join(f"{gain:+.0f}" for gain in self.seeds.values())
            return f"by seed {each}, by t [{by_t.low:+.0f}, {by_t.high:+.0f}]"
        return "one seed" + f" (two of one core arm are up to {self.apart:.1f} apart)" * (self.apart > 0)

    def __str__(self) -> str:
        return f"{self.mean:+.1f} [{self.low:+.1f}, {self.high:+.1f}]"


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
    """The difference in points, its interval, that of each seed, and which way it speaks."""
    if not (found := judged(claim, rows)):
        return "-"
    return f"**{found.verdict}**: {found}, {found.basis}"


ANSWERS = {"holds": "yes", "refuted": "no, rather the other way", "open": "not settled"}


def answer(found: Judgement) -> str:
    """The verdict in words, with which way the models themselves speak where other seeds may not."""
    if found.verdict == found.here:
        return ANSWERS[found.verdict]
    return f"{ANSWERS[found.here]} in these models, not settled for other seeds"


def opening(tasks: dict[str, Rows]) -> str:
    """What was found, question by question."""
    lines = []
    if seeds := [f"on `{task}` {of_arms}" for task, rows in tasks.items() if (of_arms := by_seed(rows))]:
        lines.append(
            "- How far apart are training seeds? Right in %, seed by seed, under AO at 4 tokens a step: "
            f"{'; '.join(seeds)}. Where the seeds of two arms overlap, three of each say little of which is better."
        )
    for claim in CLAIMS:
        found = {task: judgement for task, rows in tasks.items() if (judgement := judged(claim, rows))}
        if not claim.asks or not found:
            continue
        told = [f"on `{task}` {answer(one)}, {one} points, {one.basis}" for task, one in found.items()]
        paper = "" if claim.paper == Claim.paper else f" (the paper: {claim.paper.partition(' ')[0]})"
        lines.append(f"- {claim.asks} {'; '.join(told).capitalize()}{paper}.")
        if claim.asks == LESS_ORDER:
            lines[-1] += "".join(gap_without(task, tasks[task], arness) for task, arness in found.items())
    if USED.exists():
        own, right = (
            ", ".join(f"`{task}` {gain_of(task, 'nap', NOTHING, given)}" for task in tasks) for given in (OWN, RIGHT)
        )
        lines.append(
            "- Do NAP's paths help its answers? Points of accuracy over a summary that is written where the paths are "
            f"still masked: over the model's own paths {own}; over right ones {right}."
        )
    orders = [
        f"{what}, {interval_of(text_columns(view, AO)['tau_b'][None])}"
        for view, what in VIEWS.items()
        if text_results(view).exists()
    ]
    if orders:
        lines.append(
            "- Where is decoding left to right at all? tau-b in models of real letters, by how they learned them: "
            f"{'; '.join(orders)}."
        )
    return "\n".join(lines)


def gap_without(task: str, rows: Rows, arness: Judgement) -> str:
    """That a task has the gap in accuracy without one in ARness, if so it is."""
    gap = judged(CLAIMS[0], rows)
    if not gap or gap.here != "holds" or arness.here == "holds":
        return ""
    return (
        f" So on `{task}` these models have the gap in accuracy without one in ARness (lower by "
        f"{max(0, -arness.low):.1f} of its 100 points at most): decoding less left to right is not what makes it."
    )


def by_seed(rows: Rows) -> str:
    """What each model of the arms with several gets under AO at 4 tokens a step, in %."""
    told = []
    for setting in (Setting(arm, AO, "4/step") for arm in ARMS):
        if len(rows.shared(setting, setting)) > 1:
            each = 100 * rows.column(setting, "correct").mean(axis=1)
            told.append(f"{setting.arm} {'/'.join(f'{right:.0f}' for right in each)}")
    return ", ".join(told)


def bundled_seeds(tasks: dict[str, Rows]) -> dict[str, int]:
    """Of each task the seed whose gap, by the first claim, is the median: its pair of models is the bundled one."""
    found = {task: judgement.seeds for task, rows in tasks.items() if (judgement := judged(CLAIMS[0], rows))}
    return {task: sorted(gaps, key=gaps.__getitem__)[len(gaps) // 2] for task, gaps in found.items()}


def measured(rows: Rows, setting: Setting, column: str, seeds: Sequence[int]) -> NDArray[np.float64]:
    """A column; of ARness what is above a random order's, which is higher in a path of few tokens than in a chain."""
    found = rows.column(setting, column, seeds)
    return found if column == "correct" else found - rows.column(setting, f"{column}_random", seeds)


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


def causal_table(rows: Rows) -> str:
    """Data whose paths depend on each other by degrees, and the order of the models that it makes."""
    body = []
    for arm in (name for name in ARMS if name.startswith("rewrites-")):
        setting = Setting(arm, AO, "1/step")
        share = int(arm.rpartition("-")[2]) / 100
        cells = [f"{share:g}", f"{ideal_seqdep(share):.2f}"]
        if setting in rows.by_setting:
            cells += [interval_of(rows.column(setting, name)) for name in ("global_arness@1", "path_global_arness@1")]
            cells.append(percent(rows.column(setting, "correct")))
        body.append(cells + ["-"] * (5 - len(cells)))
    return table(["q", "SeqDep, nats a path", "Global-ARness@1, AO", "within a path", "right, AO"], body)


def text_table() -> str:
    """Models of real letters: their order beside a random order's, by how much of the text's own order was left."""
    body = []
    for view, what in VIEWS.items():
        if not text_results(view).exists():
            body.append([what, *["-"] * (1 + len(MEASURES))])
            continue
        for policy in POLICIES:
            found = text_columns(view, policy)
            cells = [interval_of(found[name][None]) if name in found else "-" for name in MEASURES]
            body.append([what, policy, *cells])
    return table(
        ["the slot's text", "decoder", "Global-ARness@1", "(random)", "in a third", "Local-ARness@1", "tau-b"], body
    )


@cache
def used(path: Path, column: str) -> dict[tuple[str, str, str], list[bool]]:
    """(task, arm, the paths that were put there) -> a column of the answers over them."""
    found: dict[tuple[str, str, str], list[bool]] = {}
    for row in pq.read_table(path).to_pylist():
        found.setdefault((row["task"], row["arm"], row["given"]), []).append(row[column])
    return found


def used_table() -> str:
    """Answers of the bundled models over paths that were put there."""
    body = []
    for task, arm in dict.fromkeys((task, arm) for task, arm, _ in used(USED, "correct")):
        cells = [wilson(used(USED, "correct")[task, arm, given]) for given in GIVEN]
        body.append([task, arm, *cells, wilson(used(USED, "follows")[task, arm, OTHER])])
    return table(["task", "model", *[f"over {given}" for given in GIVEN], "and gives that one's answer"], body)


def gain_of(task: str, arm: str, first: str, second: str) -> str:
    """Points of accuracy over one kind of paths less those over another, with the interval over problems."""
    one, other = (np.array([used(USED, "correct")[task, arm, given]], float) for given in (first, second))
    gain = 100 * (other - one)
    low, high = crossed_bootstrap(gain)
    return f"{gain.mean():+.1f} [{low:+.1f}, {high:+.1f}]"


def wilson(yes: Sequence[bool]) -> str:
    low, high = wilson_interval(sum(yes), len(yes))
    return f"{100 * sum(yes) / len(yes):.0f} [{100 * low:.0f}, {100 * high:.0f}]"


def text_columns(view: str, policy: str) -> dict[str, NDArray[np.float64]]:
    """What was measured of a view's model under a decoder, problem by problem."""
    table_ = pq.read_table(text_results(view), filters=[("policy", "=", policy)])
    return {name: table_[name].to_numpy().astype(float) for name in MEASURES if name in table_.column_names}


def interval_of(values: NDArray[np.float64]) -> str:
    known = values[:, np.isfinite(values).all(axis=0)]
    low, high = crossed_bootstrap(known)
    return f"{known.mean():.3f} [{low:.3f}, {high:.3f}]"


def ideal_seqdep(share: float, problems: int = 300) -> float:
    """SeqDep (2602.23225 Eq. 4), nats a path, of paths that rewrite the one before with probability `share`, under the
    best scorer there is: the distribution that they are drawn from.

    Of K derivations the next path is the last one again with q + (1 - q) / K and any other with (1 - q) / K; without
    its history it is each with 1 / K.
    """
    task = Countdown(rewrites=share)
    total = 0.0
    for index in range(problems):
        among = len(task.written(task.generate(0, index, "train")))
        again, other = share + (1 - share) / among, (1 - share) / among
        total += again * log(again * among) + ((among - 1) * other * log(other * among) if other else 0)
    return total / problems


def page() -> str:
    planned = queue()
    tasks = {task: read(task) for task in TASKS}
    found = sum(model.results.exists() for model in planned)
    medians = " and ".join(f"{seed} of `{task}`" for task, seed in bundled_seeds(tasks).items())
    parts = [
        HEAD.format(done=found, planned=len(planned)), "## What was found", opening(tasks), FOUND, claim_table(tasks),
        *([BUNDLED.format(medians=medians)] if medians else []),
        "The paper's accuracies beside ours in %, the chain under AO / NAP under forced decoding:", paper_table(tasks),
        "## Does low sequential dependence cause low ARness?", CAUSAL, causal_table(tasks["countdown"]),
    ]  # fmt: skip
    if any(text_results(view).exists() for view in VIEWS):
        parts += ["## Where does order become high, and do independent paths lower it there?", TEXT, text_table()]
    if USED.exists():
        parts += ["## Do the answers come from the paths?", PUT, used_table()]
    for task, rows in tasks.items():
        if not rows.by_setting:
            continue
        parts += [
            f"## {task}", "Right answers in % [95 %].", accuracy_table(rows),
            "### What makes the difference",
            "Points of accuracy, second less first [95 %]; bold, of these models: the interval leaves out 0 and "
            "Holm's p is below .05.",
            contrast_table(differences(rows)), "### Order, at one token a step", order_table(rows),
            "### Equations that hold, at 4 tokens a step", EQUATED, reasoning_table(rows),
            "### Every decoder, one seed", BEST, decoder_table(rows),
        ]  # fmt: skip
    missing = [model.name for model in planned if not model.done]
    parts += ["## Not run yet, or not under every decoder", ", ".join(missing) or "Nothing: the study is complete."]
    return "\n\n".join(parts) + "\n"


FOUND = """The same with what would refute it: differences in points at 4 tokens a step, second less first, 95 %. Order
is taken at 1 a step, where no ties blur it, and 100 points are the whole of ARness. A verdict is made from the interval
and the last column, but the bootstrap of two or three seeds is narrower than what seeds will do, so Student's interval
of the seeds' means must say the same. An interval of one seed speaks of other problems, not of another training run:
there the difference must be larger than any between two seeds of one core arm (the chain, NAP, paths, one path) under
the same decoders. A dash: not run."""

BUNDLED = """The package holds of each task the long chain and the NAP model of one seed, that whose gap in the first
line is the median: seed {medians}."""

PUT = """The bundled models (seed 0) write the summary alone, a token a step, over paths that were put there: none
(masks), what they write themselves (forced, 4 a step), right ones of the data, and right ones of another problem that
has another answer (`python recipes/paths_used.py`; 500 held-out problems, in %, Wilson's 95 %). A model that reasons is
worse over nothing than over its own. One that reads is right over right ones, and gives the other's answer over the
other's."""

EQUATED = """In % [Wilson's 95 %, of these models]. Where few equations hold (`49 - 1 = 89` does not) and the answers
beside them are right all the same, the answers do not come from the paths. One wrong equation among many may still
leave a path that is right. Of the models whose rows count them."""

BEST = """Each at the pace and setting where it is most often right, chosen on the problems that it is shown for: that
flatters a decoder that was swept over more of them. No AUP where not all of the paces above were run."""

CAUSAL = """Three paths of `countdown`, each after the first a copy of the derivation before it (written another way)
with probability q, else any derivation, so that a path by itself looks the same at every q. SeqDep is that of the
data's own distribution, a closed form: no scorer sees more. If low dependence makes low ARness, ARness rises with q."""

TEXT = """Models of the same size that write 96 letters of tinyshakespeare after 32, one at a time, 200 problems, one
seed (`python recipes/text_order.py`). They differ only in what is left of the order in the 96 letters that they
learned: all of it; three passages that have nothing to do with each other, each after its third of the prompt (what
NAP's data are to a chain); words in random order; letters in random order. If order in the data makes decoding go left
to right, the first falls to random along the rows, as does tau-b; if it is the letters, the slot or the prompt, nothing
falls. If independent paths lower order where there is some, the passages are below the text. In a third of the slot a
random order has .127: what is as high there as before only takes turns. Local-ARness says whether neighbours follow
each other, as letters do inside a word. A dash: not run yet, or run before that column was measured."""

HEAD = """# The controlled study

How much of NAP's gain is data, decoder, ensembling or layout, on models of 1.3 M parameters trained from scratch.
Made by `python recipes/study_page.py` from `docs/study/*.parquet`, which `python recipes/study.py` makes: {done} of
{planned} models are done. `python recipes/reproduce.py` trains two of them again (15 minutes on two cores of an AMD Zen
5, an hour and a half on two that do not multiply bfloat16) and says whether what comes is what another seed would give.
It cannot ask for more: on another processor sums are rounded otherwise (docs/models.md).

Intervals are 95 %, over problems and, where an arm has several, training seeds (crossed bootstrap). McNemar's test
takes the pairs of all seeds together, so it speaks of these models; the interval speaks of other seeds as well, but of
two or three it is too narrow."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if the page is out of date")
    options = parser.parse_args()
    text = page()
    if options.check:
        return int(not PAGE.exists() or PAGE.read_text() != text)
    with atomic(PAGE) as file:
        file.write(text)
    print(f"wrote {Path(PAGE).relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
