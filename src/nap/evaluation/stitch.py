"""Stitching: the steps of all chains of a problem are judged each, and the good ones of all solve it (2602.22871).

    ballots(...)        cheap chains (vote.py): the paths of canvases
    exact_judge(...)    which steps are good: the task's exact check, wrong with the probability `noise`
    trained_judge(...)  or one that learned from exact verdicts on other problems (step_judge.py)
    stitch_tallies(...) how well the answer of the good steps does, beside a vote over the same chains

Who solves is `exact`, by the steps alone, or `model`: the steps stand in the paths of one more canvas, and the model
writes its summary, at what that costs. A published system has a process reward model for a judge and an autoregressive
model to solve. Does not decode chains (vote.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Unpack

from nap.canvas.canvas import Canvas, CanvasSpec, encode_tag, find_tag, parse
from nap.common.bounds import check_least
from nap.common.files import InputError
from nap.data.problems import Problem
from nap.decoding.budget import Settings
from nap.decoding.decode import decode_traces
from nap.decoding.policies.policy import Policy
from nap.decoding.prompt import canvas_of
from nap.decoding.prompting import PLAIN, Prompting
from nap.evaluation.step_judge import Seen, Step, StepJudge, features_of, fit, seen_steps
from nap.evaluation.vote import Tally, Vote, Voter
from nap.models.denoiser import Denoiser
from nap.tasks.registry import Steps, Task

Answer = tuple[Vote, int, int]  # with the forwards and query tokens that it cost
Solve = Callable[[Problem, Sequence[str]], Answer]


def steps_task(task: Task) -> Steps:
    """The task, which knows single steps. Raises InputError for one that does not."""
    if not isinstance(task, Steps):
        raise InputError(
            f"task {task.name!r} cannot check a single step, so that nothing is stitched; arith and countdown can"
        )
    return task


def check_stitching(task: Task, noises: Sequence[float], solver: str, judge_problems: int | None) -> None:
    """Raise InputError for a noise that is none, a task without steps, and settings of stitching where nothing is."""
    for noise in noises:
        if not 0 <= noise <= 1:
            raise InputError(f"the noise of a judge must be from 0 to 1, got {noise}")
    if noises:
        steps_task(task)
    elif solver != "exact" or judge_problems is not None:
        raise InputError("--solver and --judge-problems are of stitching; give --stitch 0, or drop them")
    if judge_problems is not None:
        check_least({"judge problems": judge_problems})


Judge = Callable[[Problem, Seen], bool]


def exact_judge(task: Task, noise: float, seed: int = 0) -> Judge:
    """The task's own check, which is wrong with this probability: of one seed always about the same steps."""
    checks = steps_task(task)
    return lambda problem, seen: checks.holds(problem, seen.step.text) != _slips(problem, seen.step.text, noise, seed)


def trained_judge(task: Task, problems: Sequence[Problem], found: Sequence[Sequence[Voter]]) -> tuple[Judge, StepJudge]:
    """A judge that learned from the exact verdicts on the chains of other problems, and what it learned.

    Raises InputError where those chains have no steps.
    """
    checks, features, labels = steps_task(task), [], []
    for problem, voters in zip(problems, found, strict=True):
        for seen in seen_steps([chain for voter in voters for chain in voter.chains]):
            features.append(features_of(seen))
            labels.append(checks.holds(problem, seen.step.text))
    if not features:
        raise InputError("there is no step to learn a judge from; give more problems (--judge-problems)")
    learned = fit(features, labels)
    return lambda problem, seen: learned.chance(seen) > 0.5, learned


def good_steps(problem: Problem, chains: Sequence[Sequence[Step]], judge: Judge) -> list[str]:
    """Each good step once, in the order in which the chains say them. A step has one verdict wherever it stands."""
    return [seen.step.text for seen in seen_steps(chains) if judge(problem, seen)]


def _slips(problem: Problem, step: str, noise: float, seed: int) -> bool:
    """Whether the judge is wrong about this step: always the same of one seed."""
    key = blake2b(f"{seed}/{problem.id}/{step}".encode(), digest_size=8).digest()
    return int.from_bytes(key) < noise * 2**64


def stitch_tallies(
    found: Sequence[Sequence[Voter]],
    problems: Sequence[Problem],
    counts: Sequence[int],
    way: str,
    judge: Judge,
    solve: Solve,
) -> list[Tally]:
    """A line, called `way`, for each number of canvases whose chains are stitched, with the means of all its costs."""
    tallies = []
    for count in counts:
        right, forwards, queries = 0, 0, 0
        for problem, voters in zip(problems, found, strict=True):
            chosen = voters[:count]
            chains = [chain for voter in chosen for chain in voter.chains]
            vote, more, read = solve(problem, good_steps(problem, chains, judge))
            right += vote.correct
            forwards += more + sum(voter.forwards for voter in chosen)
            queries += read + sum(voter.queries for voter in chosen)
        each = len(problems)
        tallies.append(
            Tally(way=way, canvases=count, right=right, problems=each, forwards=forwards / each, queries=queries / each)
        )
    return tallies


def exact_solver(task: Task) -> Solve:
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
) -> Solve:
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
