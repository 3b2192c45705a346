"""The results of docs/agreement.md and their picture, made from the rows of recipes/agreement.py.

    python recipes/agreement_page.py            # rewrites what stands below <!-- results --> in docs/agreement.md
    python recipes/agreement_page.py --check    # says whether it is as the rows make it

What has not been run yet is left open and said so; the page can be made at any time. Expected wall time: seconds.
Expected numbers: those of docs/agreement.md. Does not train, and has no rules of its own (agreement_parts).
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean

from agreement import ARMS, RESULTS
from agreement_parts.findings import (
    BOUND,
    BOUND_IN_PATHS,
    IN_PATHS,
    THRESHOLD,
    WIDTHS,
    Row,
    Study,
    arness,
    exact_lines,
    findings,
    rate,
    valid,
)  # fmt: skip
from agreement_parts.measure import AO, FORCED, OWN_PACE, TIES
from bundled import ROOT

from nap.common.files import atomic
from nap.report.figures import COLOURS, STYLE

PAGE, MARK = ROOT / "docs/agreement.md", "<!-- results -->"
PICTURE = "images/agreement.svg"
# What is said of the order at one token a step.
ORDERS: dict[str, Callable[[Row], float]] = {
    "ARness of the canvas": arness, "ARness in a path": partial(arness, scope="path_"),
    "tau-b": lambda row: row["tau_b"],
}  # fmt: skip
# Arm, decoder and what the picture calls them; a paced decoder is a line, one at its own pace a point.
DRAWN = (
    ("grids-3", FORCED, "three paths, forced"), ("grids-3", AO, "three paths, AO"), ("chain-3", AO, "one chain, AO"),
    ("grids-3", "random", "three paths, random order"), ("grids-3", THRESHOLD, "three paths, threshold .9"),
    ("grids-3", IN_PATHS, "three paths, threshold .9 in every path"),
    ("grids-3", BOUND, "three paths, entropy bound .1"),
    ("grids-3", BOUND_IN_PATHS, "three paths, entropy bound .1 in every path"),
)  # fmt: skip


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *lines)]


def share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}".removeprefix("0").replace("1.000", "1.00")


def by_pace(study: Study, policy: str, arms: Sequence[str]) -> list[str]:
    """Validity of each arm at every pace that was measured."""
    measured = (setting for (arm, _), rows in study.rows.items() if arm in arms for setting in rows)
    columns = sorted({pace for name, pace in measured if name == policy and pace})

    def cell(arm: str, pace: int) -> str:
        right = study.mean(arm, policy, pace, valid)
        return "" if right is None else share(right) + study.of_some(arm, (policy, pace))

    lines = [[f"`{arm}`", *(cell(arm, pace) for pace in columns)] for arm in arms]
    return table(["tokens a step", *map(str, columns)], lines)


def by_decoder(study: Study, arms: Sequence[str], policies: Sequence[str] = OWN_PACE) -> list[str]:
    """Validity and tokens a forward of decoders that set their own pace."""

    def cell(arm: str, policy: str) -> str:
        speed = study.mean(arm, policy, None, rate)
        if speed is None:
            return ""
        return f"{share(study.mean(arm, policy, None, valid))} at {speed:.2f}{study.of_some(arm, (policy, None))}"

    lines = [[f"`{policy}`", *(cell(arm, policy) for arm in arms)] for policy in policies]
    return table(["decoder", *(f"`{arm}`" for arm in arms)], lines)


def by_order(study: Study, arms: Sequence[str], orders: Mapping[str, Callable[[Row], float]] = ORDERS) -> list[str]:
    """The order of each arm one token a step by confidence, and how far choices among equally sure tokens move it."""

    def cell(arm: str, column: Callable[[Row], float]) -> str:
        own, settings = study.mean(arm, AO, 1, column), [(policy, 1) for policy in (AO, *TIES)]
        seeds = study.measured(arm, *settings)
        if own is None or not seeds:
            return "" if own is None else f"{own:+.2f}"
        # The band is that of the seeds whose ties were measured, beside their own value.
        first, *ties = (fmean(column(study.rows[arm, seed][setting]) for seed in seeds) for setting in settings)
        low, high = min(first, *ties), max(first, *ties)
        some = study.of_some(arm, *settings)
        band = f"{own:+.2f} ({f'{some[2:]}: {first:+.2f}, ' if some else ''}ties {low:+.2f} to {high:+.2f})"
        return band + ", not identified" * (high - low >= abs(first))

    lines = [[f"`{arm}`", *(cell(arm, column) for column in orders.values())] for arm in arms]
    return table(["", *orders], lines)


def in_short(study: Study) -> list[str]:
    """What three grids or sentences in paths of their own say, under the exact law and in the models, a line each."""
    lines = []
    for arm, who, units in (
        ("exact-3", "Under the exact law", "grids"), ("grids-3", "In the models", "grids"),
        ("stories-3", "In models of text", "sentences"),
    ):  # fmt: skip
        if study.mean(arm, AO, 3, valid) is None:
            continue
        who += "" if ARMS[arm].exact else f" (seeds so far: {len(study.seeds(arm))})"
        lines.append(f"- {who}, {three(study, arm, units)}")
    if all(study.seeds(f"exact-rows-{shared}") for shared in (1, 2, 3)):
        lines.append(dependent(study))
    if all(study.seeds(arm) for arm in WIDTHS.values()):
        lines.append(frontiers(study))
    known = (study.mean("exact-3", policy, 1, ORDERS["tau-b"]) for policy in (AO, *TIES))
    if len(order := [value for value in known if value is not None]) == 3:
        lines.append(unidentified(*order))
    return lines


def three(study: Study, arm: str, units: str) -> str:
    """What decoders make of three independent grids or sentences."""
    at_3 = [share(study.mean(arm, policy, 3, valid)) for policy in (FORCED, AO)]
    own = [
        f"{share(study.mean(arm, policy, None, valid))} at {study.mean(arm, policy, None, rate):.1f}"
        for policy in (IN_PATHS, THRESHOLD, BOUND)
    ]
    return (
        f"three independent {units} at 3 tokens a step: {at_3[0]} of the {units} are valid where every path is forced "
        f"to move, {at_3[1]} where the most confident tokens anywhere are taken. A threshold in every path gives "
        f"{own[0]} tokens a forward, one over the whole canvas {own[1]}; an entropy bound over it {own[2]}."
    )


def unidentified(own: float, left: float, right: float) -> str:
    """How far ties move the order of a perfect model: tau-b as it decodes, and with ties taken from a side."""
    return (
        "- Order is hardly identified here, even for a perfect model: by confidence, one token a step, tau-b is "
        f"{own:+.2f} on three grids under the exact law, and {left:+.2f} or {right:+.2f} where equally sure tokens are "
        "taken from the left or from the right."
    )


def frontiers(study: Study) -> str:
    """How fast a threshold writes where there are more and more independent grids."""

    def told(policy: str) -> str:
        pace = ", ".join(f"{study.mean(arm, policy, None, rate):.1f}" for arm in WIDTHS.values())
        least = min(study.mean(arm, policy, None, valid) or 0 for arm in WIDTHS.values())
        return f"{pace} tokens a forward (at least {share(least)} of the grids valid)"

    return (
        f"- With {', '.join(map(str, WIDTHS))} independent grids in the canvas a threshold of .9 in every path "
        f"writes {told(IN_PATHS)}, the same over the whole canvas {told(THRESHOLD)}, and an entropy bound of .1 over "
        f"the whole canvas {told(BOUND)}. The parallelism that costs little grows with the number of independent "
        "frontiers, but only for a decoder that moves every one of them."
    )


def dependent(study: Study) -> str:
    """What becomes of a decoder that moves every path where the paths depend on each other."""
    arms = [f"exact-rows-{shared}" for shared in (1, 2, 3)]

    def told(policy: str) -> str:
        right = ", ".join(share(study.mean(arm, policy, None, valid)) for arm in arms)
        return f"{right} of the grids at {', '.join(f'{study.mean(arm, policy, None, rate):.1f}' for arm in arms)}"

    return (
        f"- Where each grid repeats 1, 2, 3 rows of the one before it (exact law), a threshold in every path is right "
        f"on {told(IN_PATHS)} tokens a forward; one over the whole canvas on {told(THRESHOLD)}. Moving every path pays "
        f"as far as the paths are independent."
    )


def page(study: Study) -> str:
    """All that stands below the mark."""
    arms = [arm for arm in ARMS if study.seeds(arm)]
    verdicts = [finding.line(study) for finding in findings(study)]
    return "\n".join([
        MARK, "", "## Results", "", f"![Valid grids against tokens a forward]({PICTURE})", "", *in_short(study), "",
        study.told(arms),
        "", "| | measured | value | seeds | verdict |", "|---|---|---|---|---|", *verdicts, "",
        "Under the exact law (a perfect model, no training, 360 grids):", "", "| | measured | value |", "|---|---|---|",
        *exact_lines(study), "",
        "Valid grids at so many tokens a step, by confidence anywhere (AO):", "", *by_pace(study, AO, arms), "",
        "Forced, every path in step:", "", *by_pace(study, FORCED, arms), "",
        "In random order, and from the left:", "", *by_pace(study, "random", arms), "", *by_pace(study, "ar", arms), "",
        "At the decoder's own pace (valid at tokens a forward):", "", *by_decoder(study, arms), "",
        "Order by confidence at one token a step (ARness and tau-b: 0 is a random order, 1 left to right; in brackets, "
        "where equally sure tokens, within .01, are taken from the left or from the right):",
        "", *by_order(study, arms), "",
    ])  # fmt: skip


def draw(study: Study, path: Path) -> None:
    """Valid grids against tokens a forward, of what there is of `DRAWN`; the exact law in grey where a model lacks."""
    import matplotlib

    with matplotlib.rc_context(STYLE | {"svg.fonttype": "none"}):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6, 3.6), layout="constrained")
        axes = figure.subplots()
        for (arm, policy, name), colour in zip(DRAWN, COLOURS, strict=False):
            known = arm if study.seeds(arm) else arm.replace("grids", "exact").replace("chain", "exact-chain")
            x, y = curve(study, known, policy)
            label = name if known == arm else f"{name} (exact law)"
            if x:
                axes.plot(
                    x, y, "o-" if len(x) > 1 else "*", color=colour, label=label, markersize=4 + 6 * (len(x) == 1)
                )
        axes.set(xlabel="tokens a forward", ylabel="valid grids", xscale="log", ylim=(0, 1.04))
        axes.set_xticks([1, 2, 3, 4, 6, 8, 12, 16], ["1", "2", "3", "4", "6", "8", "12", "16"], minor=False)
        axes.minorticks_off()
        axes.legend(fontsize=7)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None})


def curve(study: Study, arm: str, policy: str) -> tuple[list[float], list[float]]:
    """Tokens a forward and validity of a decoder at each of its paces."""
    measured = {pace for (name, _), rows in study.rows.items() if name == arm for p, pace in rows if p == policy}
    at = sorted(measured, key=lambda pace: pace or 0)
    x, y = ([study.mean(arm, policy, pace, column) for pace in at] for column in (rate, valid))
    return [value for value in x if value is not None], [value for value in y if value is not None]


def write_page(
    said: str | None, page_of: Callable[[Path], str], drawn: Callable[[Path, Path], None] | None, results: Path,
    written: Path,
) -> int:  # fmt: skip
    """Rewrite what stands below the mark of a page, or say whether it is as the rows make it (--check).

    page_of, drawn  make the text and the pictures of the rows in a folder
    """
    parser = argparse.ArgumentParser(description=said, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=results)
    parser.add_argument("--page", type=Path, default=written)
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 where the page differs")
    options = parser.parse_args()
    before = options.page.read_text(encoding="utf-8")
    made = before.partition(MARK)[0] + page_of(options.results)
    if options.check:
        print("as the rows make it" if made == before else "differs from the rows: run this without --check")
        return int(made != before)
    with atomic(options.page) as file:
        file.write(made)
    if drawn:
        drawn(options.results, options.page.parent)
    return 0


def main() -> int:
    return write_page(
        __doc__, lambda results: page(Study(results)),
        lambda results, folder: draw(Study(results), folder / PICTURE), RESULTS, PAGE,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
