"""How a model or a guide in training does: what it gets right, and how many tokens a forward, counted as nap eval does.

For trainings and the recipes of guides; `nap eval` measures with intervals, and resumes. Does not train.
"""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from nap.canvas.canvas import Canvas, parse
from nap.common.files import InputError
from nap.data.problems import Problem
from nap.data.trace import Trace
from nap.decoding.decode import decode_traces
from nap.decoding.policies.policy import Policy
from nap.decoding.prompt import canvas_of
from nap.models.denoiser import Denoiser
from nap.order.order import order_of
from nap.order.rates import tpf
from nap.tasks.registry import Task, answer_text


def verdict(denoiser: Denoiser, task: Task, problem: Problem, canvas: Canvas, trace: Trace) -> bool:
    """Whether a decode's answer is right."""
    done = parse(canvas, trace.final, denoiser.tokenizer, trace.uncounted)
    text = answer_text(task, done.paths, done.summary if canvas.spec.summary_tokens else None)
    return task.check(problem, text)


def mean_tpf(traces: Sequence[Trace]) -> float:
    """The mean over the traces of their tokens a forward (docs/counting.md)."""
    return fmean(tpf(order_of(trace)) or 0.0 for trace in traces)


def tested(denoiser: Denoiser, task: Task, policies: Mapping[str, Policy], count: int) -> Iterator[str]:
    """A line for each policy, under the name given to it, of the first problems of the test split.

    Raises InputError for a model that knows no canvas of its own.
    """
    if denoiser.canvas is None:
        raise InputError(f"{denoiser.setting.get('model')} has no canvas of its own (canvas.json)")
    problems = task.load("test", count, None)
    canvases = [canvas_of(denoiser, problem, denoiser.canvas) for problem in problems]
    for name, policy in policies.items():
        traces = decode_traces(denoiser, canvases, policy)
        right = sum(verdict(denoiser, task, *row) for row in zip(problems, canvases, traces, strict=True))
        queries = sum(cost.queries for trace in traces for cost in trace.costs)
        pace = f"{mean_tpf(traces):.2f} tokens a forward, {queries / count:.0f} query tokens"
        yield f"{name}: right {right} of {count}, {pace}"
