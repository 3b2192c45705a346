"""`nap order MODEL --task ...`: in which order a model writes, task by task.

Does not decode or measure (evaluation/order_tasks.py); reads the flags and prints the table.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from nap.commands.flags import Loading, Whole, Words
from nap.commands.tables import draw, open_console
from nap.common.files import InputError
from nap.common.text import say, short

if TYPE_CHECKING:
    from nap.evaluation.order_tasks import TaskOrder
    from nap.evaluation.rows import Row
    from nap.evaluation.sweep import Sweep
    from nap.order.means import Means
    from nap.order.scores import OrderReport

HEADER = (
    "task", "problems", "right %", "AFP", "tau-b", "AFP by third", "tau-b by third", "AFP right/wrong",
    "tau-b right/wrong", "easy first",
)  # fmt: skip
NOTE = (
    "±: half the 95 % interval over problems; by third: of the run's steps; easy first: tau-b of a cell's candidates "
    "with its step, above 0 where easy cells come first"
)


@dataclass(frozen=True, kw_only=True)
class TaskFlags:
    """What a model is asked, for its order on tasks."""

    task: tuple[str, ...] = ()
    """decode these tasks with a model, named in the place of the file, and show its order by task"""
    policy: Words = None
    """for --task: name or name:setting=value,... (default: low_confidence, which writes anywhere)"""
    tokens_per_step: Whole = None
    """for --task: how many tokens a step writes, for a policy that follows a budget (default: 1)"""
    problems: Whole = None
    """for --task: how many problems of each (default: 50)"""
    data: Words = None
    """for --task: the problems of one task from this file"""
    out: Annotated[Words, arg(metavar="FOLDER")] = None
    """for --task: the folder of its runs, where the same command goes on (default: runs/order)"""

    def asked(self) -> bool:
        """Whether tasks are. Raises InputError for a flag that changes nothing without them."""
        given = [name for name, value in asdict(self).items() if value is not None and name != "task"]
        if given and not self.task:
            raise InputError(f"--{given[0].replace('_', '-')} is for the order of a model on tasks; name them: --task")
        if self.data and len(self.task) > 1:
            raise InputError(f"--data is a file of one task, got {', '.join(self.task)}")
        return bool(self.task)

    def run(self, model: str, loading: Loading, as_json: bool) -> None:
        """Decode each task, or go on with it, and print the table."""
        from nap.decoding.budget import Budget
        from nap.decoding.policies.registry import parse_policy
        from nap.evaluation.order_tasks import order_of_task
        from nap.evaluation.run import check_asked
        from nap.evaluation.summary import shown_names
        from nap.evaluation.sweep import Sweep

        policy = self.policy or "low_confidence"
        budget = Budget.of(parse_policy(policy), self.tokens_per_step)
        budget.check(parse_policy(policy))
        sweeps = [
            Sweep(
                task=task, models=(model,), policies=(policy,), problems=50 if self.problems is None else self.problems,
                tokens_per_step=() if budget.tokens is None else (budget.tokens,), data=self.data, **asdict(loading),
            )
            for task in dict.fromkeys(self.task)
        ]  # fmt: skip
        # A task that the model cannot be asked is told before another is decoded. The first is checked as it is run.
        for sweep in sweeps[1:]:
            check_asked(sweep)
        folder, found = Path(self.out or "runs/order"), list["TaskOrder"]()
        try:
            for sweep in sweeps:
                found.append(order_of_task(sweep, folder / f"{sweep.task}-{shown_names([model])[model]}", _run))
                if as_json:
                    print(json.dumps(_json(found[-1])))
        finally:
            # What was measured before an interruption is shown.
            if found and not as_json:
                console = open_console()
                draw(console, HEADER, [_line(one) for one in found])
                console.print(NOTE, style="dim")


def _run(sweep: "Sweep", folder: Path, traces: int) -> "list[Row]":
    from nap.commands.evaluate import run_shown

    return run_shown(sweep, folder, traces=traces, say=say)


def _line(one: "TaskOrder") -> list[str]:
    from nap.evaluation.tables import mean

    low, high = one.interval
    whole = one.means["all"].mean
    stages = whole.stages if whole else ()
    return [
        one.task, str(one.problems), f"{100 * one.right / one.problems:.0f} [{100 * low:.0f}, {100 * high:.0f}]",
        mean(one.afp), mean(one.tau_b), " ".join(short(stage.afp) for stage in stages),
        " ".join(short(stage.tau_b) for stage in stages), _sides(one.means, "afp"), _sides(one.means, "tau_b"),
        mean(one.easy_first),
    ]  # fmt: skip


def _sides(means: "Mapping[str, Means]", name: str) -> str:
    """The number of right and of wrong answers."""

    def of(report: "OrderReport | None") -> str:
        return short(getattr(report.whole, name)) if report else "-"

    return " / ".join(of(means[side].mean) for side in ("right", "wrong"))


def _json(one: "TaskOrder") -> dict[str, object]:
    found: dict[str, object] = {
        "model": one.model,
        "task": one.task,
        "policy": one.policy,
        "pace": one.pace,
        "problems": one.problems,
    }
    found |= {"right": one.right, "interval": one.interval}
    found |= {name: getattr(one, name)._asdict() for name in ("afp", "tau_b", "easy_first")}
    return found | {"means": {name: means.json() for name, means in one.means.items()}}
