"""Majority vote over independent canvases of a problem, and over the paths of one canvas, with the costs.

A voter is an answer with its cost. A canvas votes with its answer, and a path with the answer that it gives alone, if
the task can read that (`tasks.registry.Votes`). The answer with most votes wins; among equals the first. Answers that
the task calls equal (`1,000` and `1000`) count together. A voter without an answer does not vote.

    ballots(...)     every problem's canvases, decoded once
    tallies(...)     accuracy of each way of voting, with the mean forwards and query tokens of a problem

The paths of a canvas come from one decode, so their vote costs no more than the canvas; n canvases cost n times that,
for comparison. Votes have no weights.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Unpack

from nap.canvas.canvas import Canvas, CanvasSpec, parse
from nap.common.bounds import check_least
from nap.common.files import InputError
from nap.common.stats import Interval, wilson_interval
from nap.data.problems import Problem
from nap.data.trace import Trace
from nap.decoding.budget import Settings
from nap.decoding.decode import decode_batches
from nap.decoding.policies.policy import Policy
from nap.decoding.prompt import canvas_of
from nap.decoding.prompting import PLAIN, Prompting
from nap.evaluation.step_judge import Step, cut
from nap.models.answerable import check_answerable
from nap.models.denoiser import Denoiser
from nap.tasks.registry import Alike, Steps, Task, Votes, answer_text, path_reader


@dataclass(frozen=True)
class Vote:
    """An answer (None where none can be read), and whether it is right."""

    answer: str | None
    correct: bool


@dataclass(frozen=True)
class Voter:
    """One canvas: its own answer, those of its paths (none where the task reads no path), its cost, what they say."""

    own: Vote
    paths: tuple[Vote, ...]
    forwards: int
    queries: int
    chains: tuple[tuple[Step, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Tally:
    """How well one way of voting does.

    way                own: by the answers of canvases; paths: by the answers of their paths; or how they are stitched
    canvases           of a problem
    forwards, queries  means over the problems
    """

    way: str
    canvases: int
    right: int
    problems: int
    forwards: float
    queries: float

    @property
    def interval(self) -> Interval:
        """Wilson's, 95 %."""
        return wilson_interval(self.right, self.problems)


def winner(votes: Sequence[Vote]) -> Vote:
    """The answer that most voters give; among equals the first, and None without any answer."""
    said = [vote for vote in votes if vote.answer is not None]
    if not said:
        return Vote(None, False)
    counts = Counter(vote.answer for vote in said)
    return max(said, key=lambda vote: counts[vote.answer])


def ballots(
    denoiser: Denoiser,
    task: Task,
    problems: Sequence[Problem],
    canvases: int,
    spec: CanvasSpec,
    policy: Policy,
    *,
    prompting: Prompting = PLAIN,
    **settings: Unpack[Settings],
) -> list[list[Voter]]:
    """Decode this many independent canvases of each problem.

    Raises InputError for several canvases without a temperature, which would all be the same, and for a canvas that
    cannot hold a right answer.
    """
    check_least({"canvases": canvases})
    check_answerable(denoiser, spec, task, problems)
    sampling = settings.get("sampling")
    if canvases > 1 and not (sampling and sampling.temperature):
        raise InputError(f"{canvases} canvases of a problem would all be the same; give a temperature above 0")
    found = []
    for problem in problems:
        canvas = canvas_of(denoiser, problem, spec, prompting)
        # The noise of a canvas follows from its name.
        rows = [replace(canvas, problem_id=f"{problem.id}/{number}") for number in range(canvases)]
        reads = path_reader(task, [replace(problem, id=row.problem_id) for row in rows])
        voters, own_words, path_words = [], Alike(task), Alike(task)
        for row, trace in zip(rows, decode_batches(denoiser, rows, policy, reads=reads, **settings), strict=True):
            done = parse(row, trace.final, denoiser.tokenizer, trace.uncounted)
            text = answer_text(task, done.paths, done.summary if spec.summary_tokens else None)
            own = Vote(own_words(task.extract(problem, text)), task.check(problem, text))
            queries = sum(cost.queries for cost in trace.costs)
            chains = _chains(task, row, trace, denoiser, done.paths)
            voters.append(Voter(own, _of_paths(task, problem, done.paths, path_words), trace.forwards, queries, chains))
        found.append(voters)
    return found


def _of_paths(task: Task, problem: Problem, paths: Sequence[str], words: Alike) -> tuple[Vote, ...]:
    if not isinstance(task, Votes):
        return ()
    said = [task.vote(problem, path) for path in paths]
    return tuple(Vote(words(answer), answer is not None and task.check(problem, answer)) for answer in said)


def _chains(
    task: Task, row: Canvas, trace: Trace, denoiser: Denoiser, paths: Sequence[str]
) -> tuple[tuple[Step, ...], ...]:
    """The steps of each path, where the task knows steps."""
    if not isinstance(task, Steps):
        return ()
    return tuple(cut(task, row, trace, denoiser, path, text) for path, text in enumerate(paths))


def tallies(found: Sequence[Sequence[Voter]], counts: Sequence[int]) -> list[Tally]:
    """Every way of voting with the first n canvases of each problem, for each n of `counts`."""
    ways = []
    for count in counts:
        rows = [voters[:count] for voters in found]
        ways.append(_tally("own", rows, [winner([voter.own for voter in voters]) for voters in rows]))
        if all(voter.paths for voters in rows for voter in voters):
            said = [winner([vote for voter in voters for vote in voter.paths]) for voters in rows]
            ways.append(_tally("paths", rows, said))
    return ways


def _tally(way: str, rows: Sequence[Sequence[Voter]], said: Sequence[Vote]) -> Tally:
    count = len(rows)
    return Tally(
        way=way, canvases=len(rows[0]), right=sum(vote.correct for vote in said), problems=count,
        forwards=sum(voter.forwards for voters in rows for voter in voters) / count,
        queries=sum(voter.queries for voters in rows for voter in voters) / count,
    )  # fmt: skip
