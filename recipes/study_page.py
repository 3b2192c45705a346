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
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from bundled import ROOT
from numpy.typing import NDArray
from study import ARMS, PACES, RESULTS, queue

from nap.files import atomic
from nap.metrics import aup
from nap.stats import Interval, crossed_bootstrap, holm, mcnemar

PAGE = ROOT / "docs/study.md"
AO, FORCED = "low_confidence", "parallel_forced"


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


CONTRASTS = (
    Contrast("data: the same decoder (AO), paths against one chain", ("long", AO), ("nap", AO)),
    Contrast("decoder on NAP's data: forced against AO", ("nap", AO), ("nap", FORCED)),
    Contrast("decoder on the chain: forced against AO", ("long", AO), ("long", FORCED)),
    Contrast("both: NAP as proposed against the chain as proposed", ("long", AO), ("nap", FORCED)),
    Contrast("independence: paths that cannot see each other", ("nap", FORCED), ("paths", FORCED)),
    Contrast("length: one short path against the chain of three", ("long", AO), ("short", AO)),
    Contrast("length alone: one path in the chain's slot", ("long", AO), ("brief", AO)),
    Contrast("several paths at all: NAP against one path", ("short", AO), ("nap", FORCED)),
    Contrast(
        "ensemble: NAP against a vote of three canvases at equal forwards", ("short", "vote of 3"), ("nap", FORCED)
    ),
    Contrast("initialisation: the chain from an autoregressive model", ("long", AO), ("ar-long", AO)),
    Contrast("data, from an autoregressive model", ("ar-long", AO), ("ar-nap", AO)),
    Contrast("both, from an autoregressive model", ("ar-long", AO), ("ar-nap", FORCED)),
    Contrast("headers: a generated mark instead of clamped headers", ("nap", AO), ("floating", AO)),
    Contrast("order of the paths: shuffled in training", ("nap", FORCED), ("shuffled", FORCED)),
    Contrast("masking: structured", ("nap", FORCED), ("structured", FORCED)),
    *[Contrast(f"{share} % wrong paths", ("nap", FORCED), (f"wrong-{share}", FORCED)) for share in (10, 30, 50)],
)


@dataclass(frozen=True)
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
    """Global and per-path ARness, tau-b and AFP at one token a step, where no ties blur them."""
    names = (
        "global_arness@1", "global_arness@1_random", "path_global_arness@1", "path_global_arness@1_random", "tau_b",
    )  # fmt: skip
    body = []
    for setting in rows.by_setting:
        if setting.pace == "1/step" and setting.policy in (AO, FORCED):
            body.append([setting.arm, setting.policy, *[decimal(rows.column(setting, name)) for name in names]])
    body.sort(key=lambda line: list(ARMS).index(line[0]))
    return table(["arm", "decoder", "Global-ARness@1", "(random)", "within a path", "(random)", "tau-b"], body)


def decoder_table(rows: Rows) -> str:
    """Every decoder on the arms that had them all: its best accuracy, what it costs there, and AUP over its paces."""
    arms = [arm for arm in ARMS if Setting(arm, "ar", "1/step") in rows.by_setting]
    settings = [s for s in rows.by_setting if s.arm in arms]
    best = max((100 * rows.column(s, "correct", [0]).mean() for s in settings), default=0.0)
    body = []
    for arm, decoder in dict.fromkeys((s.arm, s.policy.partition(":")[0]) for s in settings):
        mine = [s for s in settings if s.arm == arm and s.policy.partition(":")[0] == decoder]
        points = [(decimals(rows, s, "tpf"), 100 * rows.column(s, "correct", [0]).mean()) for s in mine]
        top = max(mine, key=lambda s: rows.column(s, "correct", [0]).mean())
        correct, forwards = rows.column(top, "correct", [0]), rows.column(top, "forwards", [0])
        efficiency = rows.column(top, "critical_path", [0]) / forwards
        body.append([
            arm, decoder, f"{top.policy.partition(':')[2]} {top.pace}".strip(), percent(correct),
            f"{decimals(rows, top, 'tpf'):.2f}", f"{efficiency.mean():.2f}", f"{aup(points, best):.0f}",
        ])  # fmt: skip
    body.sort(key=lambda line: list(ARMS).index(line[0]))
    return table(["arm", "decoder", "best at", "accuracy", "TPF there", "critical path / forwards", "AUP"], body)


def decimals(rows: Rows, setting: Setting, name: str) -> float:
    return float(np.nanmean(rows.column(setting, name, [0])))


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
    for contrast in CONTRASTS:
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


def page() -> str:
    done = {path.stem for path in RESULTS.glob("*.parquet")}
    planned = [model.name for model in queue()]
    parts = [HEAD.format(done=len(done & {*planned}), planned=len(planned))]
    for task in ("arith", "countdown"):
        rows = read(task)
        if not rows.by_setting:
            continue
        parts += [
            f"## {task}", "Right answers in % [95 %].", accuracy_table(rows),
            "### What makes the difference",
            "Points of accuracy, second less first [95 %]; bold: the interval leaves out 0 and Holm's p is below .05.",
            contrast_table(differences(rows)), "### Order, at one token a step", order_table(rows),
            "### Every decoder, one seed", decoder_table(rows),
        ]  # fmt: skip
    missing = [name for name in planned if name not in done]
    parts += ["## Not run yet", ", ".join(missing) or "Nothing: the study is complete."]
    return "\n\n".join(parts) + "\n"


HEAD = """# The controlled study

How much of NAP's gain is data, decoder, ensembling or layout, on models of 1.3 M parameters trained from scratch.
Made by `python recipes/study_page.py` from `docs/study/*.parquet`, which `python recipes/study.py` makes: {done} of
{planned} models are done.

Intervals are 95 %, over problems and, where an arm has several, training seeds (crossed bootstrap). McNemar's test
takes the pairs of all seeds together, so it speaks of these models; the interval speaks of other seeds as well."""


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
