"""The results of docs/reasoning.md: the gate, and the verdicts on the arms, made from the rows of recipes/reasoning.py.

    python recipes/reasoning_page.py            # rewrites what stands below <!-- results --> in docs/reasoning.md
    python recipes/reasoning_page.py --check    # says whether it is as the rows make it

What has not been run yet is left open and said so; the page can be made at any time. Expected wall time: seconds.
Does not train, and its rules are those of the page's protocol.
"""

import sys
from collections.abc import Callable
from functools import partial

import numpy as np
from agreement_page import MARK, by_decoder, by_order, by_pace, table, write_page
from agreement_parts.findings import (
    IN_PATHS,
    Finding,
    Row,
    Rows,
    Study,
    above_zero,
    arness,
    did,
    lossless,
    own_pace,
    unneeded,
    valid,
    width_slope,
)  # fmt: skip
from agreement_parts.measure import AO, FORCED
from bundled import ROOT
from numpy.typing import NDArray
from reasoning import ARMS, queue
from reasoning_parts.measure import MASKED, OWN_PACE, chance, gate

from nap.common.stats import Interval, mean_interval
from nap.tasks.igsm import Igsm

PAGE, RESULTS = ROOT / "docs/reasoning.md", ROOT / "docs/reasoning"
PACE = 4
WIDTHS = {1: "one-tokens", 2: "two", 3: "nap", 6: "six"}
# Differences that matter: Dream's is refuted below this; an order is lowered from this on.
DREAM, LOWER = 0.03, 0.05
ORDERS: dict[str, Callable[[Row], float]] = {
    "ARness of the canvas": arness, "in a third": partial(arness, scope="third_"), "tau-b": lambda row: row["tau_b"],
}  # fmt: skip


def of_dream(interval: Interval) -> str:
    """R1."""
    return above_zero(interval) + "; Dream's size " + ("refuted" if interval.high < DREAM else "not refuted")


def lowers(interval: Interval) -> str:
    """R2 in thirds."""
    if interval.low >= LOWER:
        return "lowers order"
    return "not in a path: several streams, if the canvas's falls" if interval.high < LOWER else "open"


def differs(interval: Interval) -> str:
    """R4."""
    if interval.low >= -DREAM and interval.high <= DREAM:
        return "no difference"
    return "a difference" if interval.low > 0 else "open"


def order_lost(scope: str, chain: Rows, paths: Rows) -> float:
    return arness(chain[AO, 1], scope) - arness(paths[AO, 1], scope)


def less(first: tuple[str, int], second: tuple[str, int], one: Rows, other: Rows) -> float:
    """The accuracy of one setting of an arm less that of another of the second."""
    return valid(one[first]) - valid(other[second])


def findings(study: Study) -> list[Finding]:
    """The questions of the protocol, in its order."""
    pair, points, widths = ("chain", "nap"), partial(Finding, percent=True), tuple(WIDTHS.values())
    at, unseen = f", 1 to {PACE}", partial(less, (FORCED, PACE), (FORCED, PACE))
    falls = {name: partial(did, policy, PACE) for policy, name in ((FORCED, "forced"), (AO, "AO"))}
    found = [
        *(points("R1", f"chain's fall less that of NAP ({name}){at}", pair, falls[name], of_dream) for name in falls),
        points("R1", f"the same, both forced{at}", pair, partial(did, FORCED, PACE, of_chain=FORCED), of_dream),
        Finding("R2", "ARness in thirds, chain less NAP", pair, partial(order_lost, "third_"), lowers),
        Finding("R2", "ARness of the canvas, chain less NAP", pair, partial(order_lost, ""), above_zero),
        points("R3", f"cannot see each other, forced at {PACE}", ("paths", "nap"), unseen, unneeded),
    ]
    for arms in (("chain", "floating"), ("floating", "nap")):
        found.append(points("R4", f"fall of {arms[0]} less that of {arms[1]} (AO){at}", arms, falls["AO"], differs))
    for arm in ("one-tokens", "one-problems"):
        says, gained = f"NAP (forced) less {arm} (AO), one token a step", partial(less, (FORCED, 1), (AO, 1))
        found.append(points("R5", says, ("nap", arm), gained, above_zero))
    says = f"tokens a forward against P, `{IN_PATHS}`: slope"
    grows = partial(width_slope, own_pace(IN_PATHS), widths=tuple(WIDTHS))
    return [*found, Finding("R6", says, widths, grows, lossless(study, IN_PATHS, widths))]


def gates(study: Study) -> list[str]:
    """The conditions of the gate, for every chain that there is."""
    seeds, likeliest = study.seeds("chain"), chance(Igsm())
    found = [gate(study.rows["chain", seed].values(), likeliest) for seed in seeds]
    lines = [
        [condition, *(f"{one[condition][0]:.3f} {'yes' if one[condition][1] else '**no**'}" for one in found)]
        for condition in (found[0] if found else ())
    ]
    return table(["condition", *(f"seed {seed}" for seed in seeds)], lines)


def in_short(study: Study) -> list[str]:
    """What is lost from one token a step to PACE, a line for every seed that has both arms of R1."""
    lines = []
    for seed in study.seeds("chain", "nap"):
        (chain, waits), (anywhere, paths) = (
            [lost(study.rows[arm, seed], policy) for policy in (AO, FORCED)] for arm in ("chain", "nap")
        )
        lines.append(
            f"- Seed {seed}, points lost from 1 to {PACE} tokens a step (95 % intervals over the {len(paths)} "
            "problems, which say nothing of other trainings): "
            f"the chain {in_points(chain)} by confidence, {in_points(waits)} where the summary waits; "
            f"NAP's paths {in_points(paths)} forced, {in_points(anywhere)} by confidence. "
            f"The chain loses {in_points(chain - paths)} more than NAP (forced), "
            f"and {in_points(waits - paths)} more where both are forced."
        )
    return lines


def lost(rows: Rows, policy: str) -> NDArray[np.float64]:
    """Of each problem 1 if it is right at one token a step and not at PACE, -1 the other way round, otherwise 0."""
    one, many = (np.array(rows[policy, pace]["each"], float) for pace in (1, PACE))
    return one - many


def in_points(values: NDArray[np.float64]) -> str:
    """Their mean and its interval, in points."""
    low, high = mean_interval(values.tolist())
    return f"{100 * values.mean():.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def page(study: Study) -> str:
    """All that stands below the mark."""
    arms = [arm for arm in ARMS if study.seeds(arm)]
    parts = [MARK, "", "## Results", "", study.told(arms), ""]
    if not arms:
        return "\n".join(parts)
    if short := in_short(study):
        parts += [*short, ""]
    verdicts = [finding.line(study) for finding in findings(study)]
    tables = {
        "The gate": gates(study),
        "The arms": ["| | measured | value | seeds | verdict |", "|---|---|---|---|---|", *verdicts],
        "Right answers at so many tokens a step, by confidence anywhere (AO)": by_pace(study, AO, arms),
        "Under NAP's decoder, every path in step and the summary at the end": by_pace(study, FORCED, arms),
        "In random order": by_pace(study, "random", arms),
        "The summary alone, over masked paths": by_pace(study, MASKED, arms),
        "At the decoder's own pace (right at tokens a forward)": by_decoder(study, arms, OWN_PACE),
        "Order by confidence at one token a step (0 is a random order, 1 left to right; in brackets, where equally "
        "sure tokens, within .01, are taken from the left or from the right)": by_order(study, arms, ORDERS),
    }
    for title, lines in tables.items():
        # A decoder that was not measured yet has no columns.
        if lines[0].count("|") > 2:
            parts += [f"{title}:", "", *lines, ""]
    return "\n".join(parts)


def main() -> int:
    return write_page(__doc__, lambda results: page(Study(results, queue())), None, RESULTS, PAGE)


if __name__ == "__main__":
    sys.exit(main())
