"""The study's tables of single settings: accuracy, order, equations, every decoder.

    print(accuracy_table(read("arith")))

Expected wall time: seconds. Does not compare (contrasts.py).
"""

from dataclasses import dataclass

import numpy as np
import study
from numpy.typing import NDArray

from nap.order.rates import aup
from study_parts.rows import AO, EQUATIONS, FORCED, Rows, Setting, by_pace, decimal, percent, table, wilson


def accuracy_table(rows: Rows) -> str:
    body = []
    for arm, policy in dict.fromkeys((s.arm, s.policy) for s in rows.by_setting if s.pace.endswith("/step")):
        cells = by_pace(rows, arm, policy, lambda s: percent(rows.column(s, "correct")))
        seeds = max(len(found) for s, found in rows.by_setting.items() if (s.arm, s.policy) == (arm, policy))
        body.append([arm, policy, str(seeds), *cells])
    order = list(study.ARMS)
    body.sort(key=lambda line: order.index(line[0]))
    return table(["arm", "decoder", "seeds", *[f"{pace} a step" for pace in study.PACES]], body)


def order_table(rows: Rows) -> str:
    """Global and per-path ARness and tau-b at one token a step, where no ties blur them."""
    names = (
        "global_arness@1", "global_arness@1_random", "path_global_arness@1", "path_global_arness@1_random", "tau_b",
    )  # fmt: skip
    body = []
    for setting in rows.by_setting:
        if setting.pace == "1/step" and setting.policy in (AO, FORCED):
            body.append([setting.arm, setting.policy, *[decimal(rows.column(setting, name)) for name in names]])
    body.sort(key=lambda line: list(study.ARMS).index(line[0]))
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
        for arm in study.ARMS
        for policy in (AO, FORCED)
        if (found := reasoning(rows, arm, policy))
    ]
    head = ["arm", "decoder", "seeds", "equations that hold", "answers beside a wrong one", "right of these"]
    return table(head, body)


def decoder_table(rows: Rows) -> str:
    """Every decoder on the arms that had them all: its best accuracy, what it costs there, and AUP over its paces."""
    arms = [arm for arm in study.ARMS if Setting(arm, "ar", "1/step") in rows.by_setting]
    settings = [s for s in rows.by_setting if s.arm in arms]

    def of_one(setting: Setting, name: str) -> NDArray[np.float64]:
        return rows.column(setting, name, [study.MORE_SEEDS[setting.arm]])

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
            "-" if mine[0].pace.endswith("/step") and len(mine) < len(study.PACES) else f"{aup(points, best):.0f}",
        ])  # fmt: skip
    body.sort(key=lambda line: list(study.ARMS).index(line[0]))
    return table(["arm", "decoder", "best at", "accuracy", "TPF there", "AFP", "critical path / forwards", "AUP"], body)


def decoder_of(setting: Setting) -> str:
    """The policy without a setting that it is swept over."""
    return setting.policy if setting.policy == study.JOINT else setting.policy.partition(":")[0]
