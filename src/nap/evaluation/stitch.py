"""Stitching: the steps of all chains of a problem are judged each, and the good ones of all solve it (2602.22871).

    ballots(...)        cheap chains (vote.py): the paths of canvases
    judged(...)         which steps are good: the task's exact check, wrong with the probability `noise`
    stitch_tallies(...) how well the answer of the good steps does, beside a vote over the same chains

Who solves is `exact`, by the steps alone, or `model`: the steps stand in the paths of one more canvas, and the model
writes its summary, at what that costs. A published system has a process reward model for a judge and an autoregressive
model to solve; judges of any quality are had here by their noise. Does not train a judge.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Literal, Unpack, get_args

from nap.canvas.canvas import Canvas, CanvasSpec, encode_tag, find_tag, parse
from nap.common.files import InputError
from nap.common.text import check_known
from nap.data.problems import Problem
from nap.decoding.budget import Settings
from nap.decoding.decode import decode_traces
from nap.decoding.policies.policy import Policy
from nap.decoding.prompt import canvas_of
from nap.decoding.prompting import PLAIN, Prompting
from nap.evaluation.vote import Tally, Vote, Voter
from nap.models.denoiser import Denoiser
from nap.tasks.registry import Steps, Task

Solver = Literal["exact", "model"]
Answer = tuple[Vote, int, int]  # with the forwards and query tokens that it cost


@dataclass(frozen=True, kw_only=True)
class Stitch:
    """How chains are stitched.

    noise   how often the judge of a step is wrong
    solver  exact: by the good steps alone; model: it reads them and writes the summary
    """

    noise: float = 0.0
    solver: Solver = "exact"

    def __post_init__(self) -> None:
        check_known("solver", self.solver, get_args(Solver))
        if not 0 <= self.noise <= 1:
            raise InputError(f"the noise of a judge must be from 0 to 1, got {self.noise}")

    @property
    def way(self) -> str:
        """Its name in a table."""
        return f"stitched, {self.solver}, noise {self.noise:g}"


def steps_task(task: Task) -> Steps:
    """The task, which knows single steps. Raises InputError for one that does not."""
    if not isinstance(task, Steps):
        raise InputError(f"task {task.name!r} cannot check a single step, so that nothing is stitched; arith can")
    return task


def good_steps(task: Steps, problem: Problem, texts: Sequence[str], noise: float, seed: int = 0) -> list[str]:
    """Each good step once, in the order in which the chains say them. A step has one verdict wherever it stands."""
    steps = dict.fromkeys(step for text in texts for step in task.steps(text))
    return [step for step in steps if task.holds(problem, step) != _slips(problem, step, noise, seed)]


def _slips(problem: Problem, step: str, noise: float, seed: int) -> bool:
    """Whether the judge is wrong about this step: always the same of one seed."""
    key = blake2b(f"{seed}/{problem.id}/{step}".encode(), digest_size=8).digest()
    return int.from_bytes(key) < noise * 2**64


def stitch_tallies(
    found: Sequence[Sequence[Voter]],
    problems: Sequence[Problem],
    counts: Sequence[int],
    task: Task,
    stitch: Stitch,
    solve: Callable[[Problem, Sequence[str]], Answer],
    seed: int = 0,
) -> list[Tally]:
    """A line for each number of canvases whose chains are stitched, with the means of all that it cost."""
    checks, tallies = steps_task(task), []
    for count in counts:
        right, forwards, queries = 0, 0, 0
        for problem, voters in zip(problems, found, strict=True):
            chosen = voters[:count]
            texts = [text for voter in chosen for text in voter.texts]
            vote, more, read = solve(problem, good_steps(checks, problem, texts, stitch.noise, seed))
            right += vote.correct
            forwards += more + sum(voter.forwards for voter in chosen)
            queries += read + sum(voter.queries for voter in chosen)
        each = len(problems)
        line = Tally(way=stitch.way, canvases=count, right=right, problems=each, forwards=forwards / each,
                     queries=queries / each)  # fmt: skip
        tallies.append(line)
    return tallies


def exact_solver(task: Task) -> Callable[[Problem, Sequence[str]], Answer]:
    """The answer that follows from the steps, at no cost."""
    checks = steps_task(task)

    def solve(problem: Problem, steps: Sequence[str]) -> Answer:
        answer = checks.solve(problem, steps)
        return Vote(answer, answer is not None and task.check(problem, answer)), 0, 0

    return solve


def model_solver(
    denoiser: Denoiser,
    task: Task,
    spec: CanvasSpec,
    policy: Policy,
    *,
    prompting: Prompting = PLAIN,
    **settings: Unpack[Settings],
) -> Callable[[Problem, Sequence[str]], Answer]:
    """The summary that the model writes over the steps. Raises InputError for a canvas that has none."""
    if not spec.summary_tokens:
        raise InputError("a canvas without a summary has nothing to solve with; take the solver 'exact'")

    def solve(problem: Problem, steps: Sequence[str]) -> Answer:
        canvas = written(canvas_of(denoiser, problem, spec, prompting), steps, denoiser)
        (trace,) = decode_traces(denoiser, [canvas], policy, **settings)
        text = parse(canvas, trace.final, denoiser.tokenizer, trace.uncounted).summary
        queries = sum(cost.queries for cost in trace.costs)
        return Vote(task.extract(problem, text), task.check(problem, text)), trace.forwards, queries

    return solve


def written(canvas: Canvas, steps: Sequence[str], denoiser: Denoiser) -> Canvas:
    """The canvas with the steps in its paths, as many as fit, one path after the other; only its summary is open."""
    ids, left = canvas.ids.copy(), [*steps]
    for code, tokens, _, closing in canvas.spec.slots[: canvas.spec.paths]:
        end = encode_tag(closing, denoiser.tokenizer) if closing else []
        content: list[int] = []
        while left:
            longer = _joined(content, left[0], denoiser)
            fits = len(longer) + len(end) <= tokens
            if not fits and content:
                break
            # One that is too long for a whole path is left out.
            content, left = longer if fits else content, left[1:]
        ids[canvas.region == code] = content + end + [denoiser.pad_id] * (tokens - len(content) - len(end))
    return replace(canvas, ids=ids)


def _joined(content: list[int], step: str, denoiser: Denoiser) -> list[int]:
    """The tokens with a step behind them; as they are where the step holds what no text may."""
    more = denoiser.tokenizer.encode(f"; {step}" if content else step, add_special_tokens=False)
    hostile = {denoiser.mask_id, denoiser.pad_id, *denoiser.eos_ids} & {*more} or find_tag(step)
    return content if hostile else content + more
