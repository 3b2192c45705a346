"""Where several tokens a step really cost: the part of docs/study.md about answers that agree, and about reasoning.

    print(agreeing(Study(RESULTS)))

Each claim is a finding of docs/agreement.md or docs/reasoning.md, by the rule that was written there before the runs,
with what would refute it. Expected wall time: seconds. Does not judge, and does not read rows itself.
"""

from collections.abc import Iterable, Mapping

from agreement_page import PICTURE
from agreement_parts.findings import BOUND, IN_PATHS, THRESHOLD, Finding, Study, fall
from agreement_parts.findings import findings as agreement_findings
from agreement_parts.measure import AO, FORCED
from reasoning_page import PACE
from reasoning_page import findings as reasoning_findings

from study_parts.rows import table

BELOW, PROPORTIONAL = "an interval below 0", "an upper end below .8"
# What is claimed of a finding, in the words of the page, and what would refute it.
AGREEING = {
    "chain's fall less that of paths (forced), 1 to 3": ("one chain loses more than paths under NAP's decoder", BELOW),
    "chain's fall less that of paths (AO), 1 to 3": ("it loses more than the same paths under confidence", BELOW),
    "k50 against P, forced: slope": ("the pace that halves accuracy grows like the number of paths P", PROPORTIONAL),
    f"tokens a forward against P, `{IN_PATHS}`: slope": (
        "so does, without loss, that of a threshold in every path", PROPORTIONAL,
    ),
    f"tokens a forward against P, `{THRESHOLD}`: slope": (
        "and that of a threshold over the whole canvas", PROPORTIONAL,
    ),
    f"tokens a forward against P, `{BOUND}`: slope": (
        "and that of an entropy bound over it (asked after the runs)", PROPORTIONAL,
    ),
    "cannot see each other, forced at 3": ("paths must be unable to see each other", "an interval inside ±3 points"),
    "sentences: chain's fall less that of paths (forced), 1 to 3": ("of sentences, too, one chain loses more", BELOW),
}  # fmt: skip
REASONING = {
    "chain's fall less that of NAP (forced), 1 to 4": ("one chain loses more than paths under NAP's decoder", BELOW),
    "chain's fall less that of NAP (AO), 1 to 4": ("it loses more than the same paths under confidence", BELOW),
    "the same, both forced, 1 to 4": (
        "it loses more where its summary waits, too (asked after the first chain)",
        BELOW,
    ),
    "ARness in thirds, chain less NAP": (
        "inside a path order is less from left to right (ARness)",
        "an upper end below .05",
    ),
    "ARness of the canvas, chain less NAP": ("over the canvas it is", BELOW),
}


def claims(study: Study, found: Iterable[Finding], said: Mapping[str, tuple[str, str]]) -> str:
    """A row for each of these findings."""
    by_name = {finding.says: finding for finding in found}
    lines = []
    for name, (claim, refuted) in said.items():
        text, seeds, verdict = by_name[name].measured(study)
        lines.append([claim, text, str(seeds), verdict, refuted])
    return table(["claim", "measured", "seeds", "verdict", "refuted by"], lines)


def agreeing(study: Study) -> str:
    """Answers that have to agree."""
    return "\n\n".join([AGREE, f"![Valid grids against tokens a forward]({PICTURE})", claims(
        study, agreement_findings(study), AGREEING
    ), BY_AGREEMENT])  # fmt: skip


def reasoned(study: Study) -> str:
    """Problems that have to be reasoned about."""
    found = [REASON, claims(study, reasoning_findings(study), REASONING)]
    if seeds := study.seeds("chain", "nap"):
        chain, paths = (
            ", ".join(f"{100 * fall(study.rows[arm, seed], policy, PACE):.1f}" for seed in seeds)
            for arm, policy in (("chain", AO), ("nap", FORCED))
        )
        found.append(
            f"By seed, the chain loses {chain} points by confidence, and the paths {paths} under NAP's decoder."
        )
    return "\n\n".join(found)


AGREE = """### Answers that must agree, where parallelism costs

Three small sudokus in a canvas, of which any valid completion is right; nothing has to be computed, so this is no
evidence about reasoning. Falls are from 1 to 3 tokens a step."""

BY_AGREEMENT = """Commands: `python recipes/agreement.py`, then `python recipes/agreement_page.py`; every rule and
table: [agreement.md](agreement.md)."""

REASON = """### Models that have to reason

Six to eight operations, three solutions as one chain or on three paths; falls are from 1 to 4 tokens a step. Commands:
`python recipes/reasoning.py`, then `python recipes/reasoning_page.py`; [reasoning.md](reasoning.md)."""
