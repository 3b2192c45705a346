"""The first page of docs/study.md: what was asked, what came out, what it does not say, and what is withdrawn.

    print(front(tasks))

Every number is computed from the rows. Expected wall time: seconds. The other parts have the details.
"""

from dataclasses import replace

import numpy as np
import paths_used
from agreement_parts.findings import Study
from paths_used import NOTHING, OWN

from study_parts.bands import TAU, band, identified, matched, thirds
from study_parts.beside import used
from study_parts.claims import CLAIMS, Claim, coverage, judged
from study_parts.contrasts import CONTRASTS, Contrast
from study_parts.falls import PAPER, fall_table, falls, spreads
from study_parts.graphs import by_rarity, known, new_said
from study_parts.mechanism import agreeing, reasoned
from study_parts.rows import AO, Rows

FORCED_ENSEMBLE = Claim("", CONTRASTS["ensemble"], "an interval at 0 or below")
TOKENS_ENSEMBLE = Claim("", CONTRASTS["ensemble-tokens"], "an interval at 0 or below")
SLOT = Claim("", CONTRASTS["data"], "an interval at 0 or above", column="path_global_arness@1", pace=1)
RANDOM = Claim("", Contrast("", ("long", AO), ("long", "random")), "an interval at 0 or above", pace=1)

ASKED = """## In five minutes

**What was asked.** NAP (arXiv 2602.23225) trains on several independent reasoning paths and moves all of them at every
step. Its claim is about *parallelism*: that it loses less than one long chain when several tokens are written per step.
So what counts is the difference in differences: what the chain loses ("its fall") less what the paths lose. Three kinds
of models were asked, in points of accuracy with Student's t at 95 % over training seeds, by rules written before
the runs but where marked."""

SHORT = """### Models that can answer without their paths

Models of 1.3 M parameters, three seeds, 500 held-out problems, from 1 to 4 tokens a step, beside the paper's; asked
after the runs. Command:
`python recipes/study.py`; the rule of every claim is in [the details](study_details.md)."""


def front(tasks: dict[str, Rows], agreement: Study, reasoning: Study) -> str:
    """All of it: first where parallelism costs."""
    found = [ASKED, agreeing(agreement), reasoned(reasoning), SHORT, fall_table(tasks), bullets(came_out(tasks))]
    return "\n\n".join([*found, "### Withdrawn", TAKEN, bullets(list(withdrawn(tasks)))])


TAKEN = """An earlier version of this page said the following. It does not stand; [why](study_details.md#withdrawn)."""


def bullets(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def came_out(tasks: dict[str, Rows]) -> list[str]:
    """The findings, a sentence or three each."""
    lines = [nothing_lost(tasks), told_apart(tasks), control(tasks["arith"]) if "arith" in tasks else ""]
    return [line for line in [*lines, one_forward(), not_identified(), not_new(tasks["arith"])] if line]


def nothing_lost(tasks: dict[str, Rows]) -> str:
    lost = [f"{np.mean(found.chain):+.1f} on `{task}`" for task, rows in tasks.items() if (found := falls(rows))]
    dream = PAPER["Dream-7B"]
    return (
        f"**Our chain loses nothing that NAP could save**: {' and '.join(lost)} points from 1 to 4 tokens a step, "
        f"where the paper's Dream loses {dream[1][0] - dream[4][0]:.1f}. On these models NAP's gain cannot show "
        "itself, and no size of it is refuted; only what its decoder costs where there is nothing to save can."
    ) * bool(lost)


def told_apart(tasks: dict[str, Rows]) -> str:
    """Seeds settle the difference of falls, and not the level."""
    each = {task: spread for task, rows in tasks.items() if (spread := spreads(rows))}
    level = {task: found for task, rows in tasks.items() if (found := judged(CLAIMS[0], rows))}
    if not each or not level:
        return ""
    small, large = (", ".join(f"{pair[i]:.1f} (`{task}`)" for task, pair in each.items()) for i in (0, 1))
    gaps = "; ".join(f"`{task}` {found}" for task, found in level.items())
    return (
        f"**The level at one pace is the luck of a training run.** The gap at 4 tokens a step has a standard deviation "
        f"over seeds of {large} points, the difference of falls one of {small}. NAP less the chain there: {gaps}. The "
        "paper's +14.4 is a gap of one training run each; whether runs of 7B models spread so is not known."
    )


def control(arith: Rows) -> str:
    if not (found := judged(RANDOM, arith)):
        return ""
    return (
        f"**The positive control fails**: on `arith` the chain decoded in random order is as right as by confidence, "
        f"{found}, one token a step. Where any order will do, none can be shown to matter."
    )


def one_forward() -> str:
    if not paths_used.USED.exists():
        return ""
    told = []
    for task in ("arith", "countdown"):
        masked, own = (100 * np.mean(used(paths_used.USED, "correct")[task, "nap", given]) for given in (NOTHING, OWN))
        told.append(f"{masked:.0f} % on `{task}`, over its own paths {own:.0f} %")
    return (
        f"**The answers do not need the paths.** A summary written while NAP's paths are still masked is right in "
        f"{'; '.join(told)}. (Of `arith` it follows paths that are shown, right or wrong: [probe.md](probe.md).)"
    )


def not_identified() -> str:
    pairs = [band("arith", arm, TAU) for arm in ("long", "nap")]
    if not all(pairs):
        return ""
    long, nap = pairs
    assert long and nap
    return (
        f"**Order on `arith` is not identified.** With candidates within .01 taken from the left instead of the right, "
        f"tau-b of the chain goes from {long.right:.2f} to {long.left:.2f}, of NAP from {nap.right:.2f} to "
        f"{nap.left:.2f}; the two differ by {identified(long, nap)}."
    )


def rare_to_frequent(arith: Rows) -> str:
    """Right in each third of the problems, the rarest graphs first."""
    found = by_rarity(arith, "nap", AO)
    return ", ".join(f"{right:.0f}" for right in found or ()) + " % by thirds"


def not_new(arith: Rows) -> str:
    if not known() or not by_rarity(arith, "nap", AO):
        return ""
    return (
        f"**The test of `arith` is not new**: of its 500 problems {', '.join(map(str, known()))} have a training "
        f"problem's graph. The rarer the graph, the less is right: NAP under AO {rare_to_frequent(arith)}. {new_said()}"
    )


def withdrawn(tasks: dict[str, Rows]) -> dict[str, str]:
    """What an earlier version said and does not stand, each with why."""
    found = {}
    arith = tasks.get("arith", Rows({}))
    if (vote := judged(FORCED_ENSEMBLE, arith)) and (equal := judged(TOKENS_ENSEMBLE, arith)):
        found[f'"NAP beats a vote of three short canvases of equal forwards: holds ({vote.mean:+.1f} on `arith`)"'] = (
            "The vote's model had seen a third of NAP's training tokens. At equal tokens NAP is below the vote: "
            f"{equal}."
        )
    sides = [side[0] for choice in ("right", "left") if (side := thirds("arith", choice))]
    if (slot := thirds("arith")) and len(sides) == 2 and judged(SLOT, arith):
        mean, (low, high) = slot
        found['"NAP\'s data makes decoding less left to right inside a slot: refuted (+6.5 on `arith`)"'] = (
            "It compared a slot of 30 with one of 92, and the excess over a random order shrinks with length. Over "
            f"equal thirds of the chain the difference is {mean:+.1f} points [{low:+.1f}, {high:+.1f}] (one seed, over "
            f"problems), and {sides[0]:+.1f} or {sides[1]:+.1f} where equally sure tokens are taken from the right or "
            f"from the left{': *not identified*' * (abs(sides[1] - sides[0]) >= abs(mean))}."
        )
    if (early := judged(replace(CLAIMS[0], pace=1), arith)) and (late := judged(CLAIMS[0], arith)):
        found[
            '"NAP, data and decoder, is more accurate: yes in these models (`arith`)" as a finding about parallelism'
        ] = f"It is a gap between training runs: {early.mean:+.1f} points at one token a step, {late.mean:+.1f} at 4."
    if chain := matched("arith", "long"):
        found["Every comparison of forced decoding's ARness with H_n/n"] = (
            "Forced decoding writes the summary last and the paths in turns, and a random order under these rules has "
            f"{chain:.3f} in the chain and {matched('arith', 'nap'):.3f} in NAP, not .08."
        )
    found["Verdicts by a crossed bootstrap over three seeds"] = (
        f"Such intervals cover some {100 * coverage(3):.0f} % where 95 are meant. Verdicts are by Student's t now. One "
        "seed has no verdict, however far apart two seeds are."
    )
    return found
