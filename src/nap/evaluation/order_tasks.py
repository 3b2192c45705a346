"""In which order does a model write, task by task? AFP and tau-b by third of the run, and by right and wrong answers.

    found = order_of_task(sweep, folder, run_one)           # a sweep of one model, policy and pace

After 2601.15593, which compares models over 58 benchmarks so. For a task that says how constrained each cell of an
answer is (sudoku), also whether cells with few candidates are written first: Kendall's tau-b between the number of
candidates and the finalising step, positive where easy cells come first. [ours] The variant and the count of candidates
(the digits that no given rules out) are unpublished.

Does not decode (run.py) or measure orders (order/).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import isnan
from pathlib import Path
from typing import Any

from nap.common.files import InputError
from nap.common.stats import Interval, bootstrap_mean, wilson_interval
from nap.data.trace import Trace
from nap.data.trace_files import read_traces
from nap.evaluation.opened import opened
from nap.evaluation.rows import Row
from nap.evaluation.summary import UNKNOWN, Mean
from nap.evaluation.sweep import Sweep
from nap.order.means import Aggregate, Means
from nap.order.measure import measure_all
from nap.order.order import order_of
from nap.tasks.registry import Constrains, load_task


@dataclass(frozen=True, kw_only=True)
class TaskOrder:
    """A model's order on one task.

    means       of all numbers: `all`, `right` and `wrong`, each with its thirds
    easy_first  for a task with cells, see above; else unknown
    """

    model: str
    task: str
    policy: str
    pace: str
    problems: int
    right: int
    afp: Mean
    tau_b: Mean
    means: Mapping[str, Means]
    easy_first: Mean

    @property
    def interval(self) -> Interval:
        """Wilson's, of the share that is right."""
        return wilson_interval(self.right, self.problems)


def order_of_task(sweep: Sweep, folder: Path, run_one: Callable[[Sweep, Path, int], list[Row]]) -> TaskOrder:
    """The order of a sweep of one cell. `run_one(sweep, folder, traces)` runs it, and keeps so many traces.

    Raises InputError for more than one cell, and as `run_sweep`.
    """
    cell, *others = sweep.cells()
    if others:
        raise InputError(f"the order of a task is of one model, policy and pace; got {1 + len(others)}")
    denoiser = opened(cell.model, sweep, current=True)
    rows = run_one(sweep, folder, sweep.problems)
    traces = [*islice(read_traces(folder / "traces.jsonl"), len(rows))]
    aggregate, afp, tau_b = Aggregate(), list[float | None](), list[float | None]()
    for row, report in zip(rows, measure_all(map(order_of, traces), (1,)), strict=True):
        aggregate.add(report, row.correct)
        afp.append(report.whole.afp)
        tau_b.append(report.whole.tau_b)
    task, problems = load_task(sweep.task), {problem.id: problem for problem in sweep.load_problems()}
    easy = list[float | None]()
    if isinstance(task, Constrains):
        easy = [easy_first(task.constrained(problems[trace.problem_id]), trace, denoiser.tokenizer) for trace in traces]
    return TaskOrder(
        model=cell.model, task=sweep.task, policy=cell.policy, pace=cell.pace, problems=len(rows),
        right=sum(row.correct for row in rows), afp=_mean(afp), tau_b=_mean(tau_b), means=aggregate.means(),
        easy_first=_mean(easy),
    )  # fmt: skip


def _mean(values: Sequence[float | None]) -> Mean:
    known = [value for value in values if value is not None]
    if not known:
        return UNKNOWN
    return Mean(sum(known) / len(known), bootstrap_mean(known) if len(known) > 1 else None)


def easy_first(candidates: Sequence[int | None], trace: Trace, tokenizer: Any) -> float | None:
    """Kendall's tau-b of each open cell's candidates with the step that finalised it; None for a given cell.

    The cells are the last digits of the answer's slot, as many as there are; None where it has fewer, or where all
    cells were written in one step or have equally many candidates.
    """
    from scipy.stats import kendalltau

    steps = [step for step, _ in _digits(trace, tokenizer)][-len(candidates) :]
    if len(steps) < len(candidates):
        return None
    pairs = [(open, step) for open, step in zip(candidates, steps, strict=True) if open is not None]
    counts, at = {pair[0] for pair in pairs}, {pair[1] for pair in pairs}
    if len(counts) < 2 or len(at) < 2:
        return None
    found: Any = kendalltau([pair[0] for pair in pairs], [pair[1] for pair in pairs])
    return None if isnan(found.statistic) else float(found.statistic)


def _digits(trace: Trace, tokenizer: Any) -> list[tuple[int, str]]:
    """The step and the digit of every digit that the answer's slot says: the summary, or the only slot."""
    order, answer, hidden = order_of(trace, True), max(trace.region), {*trace.uncounted}
    at = dict(zip(order.positions.tolist(), order.steps.tolist(), strict=True))
    return [
        (at[position], letter)
        for position, (token, code) in enumerate(zip(trace.final, trace.region, strict=True))
        if code == answer and position in at and token not in hidden
        for letter in tokenizer.decode([token])
        if letter in "0123456789"
    ]
