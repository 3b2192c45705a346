"""docs/study.md and docs/study_details.md, made from the study's rows: what was found, with intervals.

    python recipes/study_page.py            # rewrites both from docs/study/*.parquet
    python recipes/study_page.py --check    # says whether they are as the rows make them

The first is for a reader of five minutes (study_parts/front.py), the second has every claim and table.
Expected wall time: a minute. Expected numbers: those of the two pages.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import agreement_page
import paths_used
import reasoning_page
from agreement_parts.findings import Study
from bundled import ROOT
from study import queue
from study_parts.bands import band_table, baseline_table, read_bands
from study_parts.beside import causal_table, text_table, used_table
from study_parts.claims import bundled_seeds, by_seed, claim_table
from study_parts.contrasts import contrast_table, differences
from study_parts.falls import paper_table
from study_parts.front import bullets, front, withdrawn
from study_parts.graphs import graph_table, new_table, seen
from study_parts.rows import TASKS, Rows, read
from study_parts.tables import accuracy_table, decoder_table, order_table, reasoning_table

from nap.common.files import atomic

PAGE, DETAILS = ROOT / "docs/study.md", ROOT / "docs/study_details.md"


def page() -> str:
    """The page for a reader of five minutes."""
    planned = queue()
    tasks = {task: read(task) for task in TASKS}
    found = sum(model.results.exists() for model in planned)
    agreement, reasoning = Study(agreement_page.RESULTS), Study(reasoning_page.RESULTS, reasoning_page.queue())
    return "\n\n".join([HEAD, front(tasks, agreement, reasoning), MADE.format(done=found, planned=len(planned))]) + "\n"


def details() -> str:
    """The page with every claim and every table."""
    planned = queue()
    tasks = {task: read(task) for task in TASKS}
    parts = [BEHIND, "## Every claim", FOUND, claim_table(tasks)]
    parts += [*levels(tasks), "## How much of the order is the model's?", *orders(tasks)]
    parts += ["## Does low sequential dependence cause low ARness?", CAUSAL, causal_table(tasks["countdown"])]
    parts += ["## Where does order become high, and do independent paths lower it there?", TEXT, text_table()]
    if paths_used.USED.exists():
        parts += ["## Do the answers come from the paths?", PUT, used_table()]
    for task, rows in tasks.items():
        parts += of_task(task, rows)
    parts += ["## Withdrawn", WRONG, bullets([f"{said}. {why}" for said, why in withdrawn(tasks).items()])]
    missing = [model.name for model in planned if not model.done]
    parts += ["## Not run yet, or not under every decoder", ", ".join(missing) or "Nothing: the study is complete."]
    return "\n\n".join(parts) + "\n"


def levels(tasks: dict[str, Rows]) -> list[str]:
    """Accuracies beside the paper's, seed by seed, and which seed is bundled."""
    seeds = "; ".join(f"on `{task}` {told}" for task, rows in tasks.items() if (told := by_seed(rows)))
    medians = " and ".join(f"{seed} of `{task}`" for task, seed in bundled_seeds(tasks).items())
    return [
        *([f"Right in %, seed by seed, under AO at 4 tokens a step: {seeds}."] if seeds else []),
        *([BUNDLED.format(medians=medians)] if medians else []),
        "The paper's accuracies beside ours in %, the chain under AO / NAP under forced decoding:", paper_table(tasks),
    ]  # fmt: skip


def orders(tasks: dict[str, Rows]) -> list[str]:
    """Bands, baselines, and whether the problems are new."""
    if not read_bands():
        return ["Not run yet: `python recipes/tie_bands.py`."]
    found = [BANDS, band_table(), BASELINES, baseline_table()]
    return found + (
        ["## Are the problems of `arith` new?", NEW, graph_table(tasks["arith"]), NEW_GRAPHS, new_table()]
        if seen()
        else []
    )


def of_task(task: str, rows: Rows) -> Sequence[str]:
    """The tables of a task."""
    if not rows.by_setting:
        return []
    return [
        f"## {task}", "Right answers in % [95 %].", accuracy_table(rows),
        "### What makes the difference", CONTRASTED, contrast_table(differences(rows)),
        "### Order, at one token a step", ORDERED, order_table(rows),
        "### Equations that hold, at 4 tokens a step", EQUATED, reasoning_table(rows),
        "### Every decoder, one seed", BEST, decoder_table(rows),
    ]  # fmt: skip


HEAD = """# The controlled study

What does training on parallel paths do, on small models whose every run can be repeated? This page is for a reader of
five minutes. Every claim with its interval, every table and every decoder are in [the details](study_details.md). Both
are made from stored rows: `python recipes/study_page.py`."""

BEHIND = """# The controlled study: details

Every claim, table and decoder behind [the study's first page](study.md), which says what was asked and what came out:
read that first, and look things up here. All of it is made from stored rows: `python recipes/study_page.py`."""

MADE = """## How it was made

Models of 1.3 M parameters trained from scratch by `python recipes/study.py`: {done} of {planned} are done, of some arms
one seed. `python recipes/reproduce.py` trains two of them again (15 minutes on two cores of an AMD Zen 5; with
`--dtype float32` an hour and a half on two that do not multiply bfloat16) and says whether what comes is what another
seed would give. It cannot ask for more: on another processor sums are rounded otherwise (docs/models.md)."""

WRONG = """An earlier version of the first page said the following. It does not stand:"""

FOUND = """Differences in points at 4 tokens a step, second less first, [Student's t at 95 % over the training seeds].
Order is taken at 1 a step, where no ties blur it, and normalised: (G - H) / (1 - H), G the ARness and H a random
order's, so that 100 points are left to right whatever the length. A verdict is made from the interval and the last
column. One seed has none: what is said of it there is about other problems, not about another training run. A dash:
not run."""

BANDS = """A model that is sure of nearly everything orders a canvas by the last digits of its probabilities. Here the
bundled models write 50 problems again (`python recipes/tie_bands.py`, AO, one token a step): as the decoder does it,
and in brackets with candidates within .01 of the best taken from the right and from the left
(`low_confidence:within=.01, prefer=right`). What lies between is not the model's order. A difference that is smaller
than that is *not identified*."""

BASELINES = """What a random order has depends on what a decoder leaves to it. H_n/n is that of no rules at all; under
the rules of the decoder (slots, turns of the paths, the summary last), over the same tokens, a model that knows
nothing has the next column. Normalised by that one, 0 is no order of its own and 1 left to right:"""

NEW = """The task keeps every *problem* of the test out of training, but a problem is its sentences. With other names,
item or distractors the same graph is another problem (`python recipes/graphs_seen.py`). Nearly every graph of the test
was in the 320,000 problems of training, so accuracy on new graphs cannot be measured by these rows. Right in %, at 4
tokens a step, mean over seeds, by how often a graph was there:"""

NEW_GRAPHS = """A split by graph: the bundled pair on 200 problems whose graph is in the training set of no seed
(`python recipes/graphs_seen.py --new`), beside the first 200 of the test. Right in % [95 %]. New graphs are rare ones,
and harder for that reason too:"""

CONTRASTED = """Points of accuracy, second less first [bootstrap over seeds and problems]; bold, of these models: the
interval leaves out 0 and Holm's p is below .05. Of two or three seeds that interval is too narrow to speak of others:
verdicts are above."""

ORDERED = """(random) is H_n/n: that of no rules. What it is under forced decoding stands above."""

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

TEXT = """Models of the same size that write 96 letters of tinyshakespeare after 32, one at a time, 200 problems
(`python recipes/text_order.py`). They differ only in what is left of the order in the 96 letters that they
learned: all of it; three passages that have nothing to do with each other, each after its third of the prompt (what
NAP's data are to a chain); words in random order; letters in random order. If order in the data makes decoding go left
to right, the first falls to random along the rows, as does tau-b; if it is the letters, the slot or the prompt, nothing
falls. If independent paths lower order where there is some, the passages are below the text. In a third of the slot a
random order has .127: what is as high there as before only takes turns. Local-ARness says whether neighbours follow
each other, as letters do inside a word. Intervals are Student's t over training seeds, or of one seed a bootstrap over
problems. The last column has tau-b with letters within .01 of the surest taken from the right, and from the left. A
dash: not run yet, or run before that column was measured."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a page is out of date")
    options = parser.parse_args()
    pages = {PAGE: page(), DETAILS: details()}
    if options.check:
        return int(any(not path.exists() or path.read_text() != text for path, text in pages.items()))
    for path, text in pages.items():
        with atomic(path) as file:
            file.write(text)
        print(f"wrote {Path(path).relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
