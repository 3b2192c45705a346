"""Reads the problems of a plan: those that a teacher is asked about, or a file of them with several solutions each.

    found = read_problems(plan)
    found.solved, found.left_out

A row of solutions has one or a list of them: under one of SOLUTIONS, in numbered columns (`r1_solution_1`, ...), as the
last reply of a conversation, or in a column that the user names. Rows with the same question belong together. A row
without solutions, or with another right answer than the first row of its question, is left out and named. Without
solutions, so is every row after the first of its question, because a teacher is asked a question once.

Does not check or choose solutions (choose.py).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from nap.common.files import InputError
from nap.curation.journal import LENGTH, STOP, Reply
from nap.curation.plan import Plan
from nap.curation.replies import COMPLETE as ENDED
from nap.data.problems import Problem
from nap.tasks.fields import CONVERSATION, Fields, replies_of
from nap.tasks.public import left_out_of
from nap.tasks.registry import Task, load_reader
from nap.tasks.said import Said

# Usual names of a column with several solutions; the first that a row has is used.
SOLUTIONS = (
    "solutions", "responses", "generations", "completions", "samples", "thinking_trajectories", "response", "code",
    "output", "outputs", "attempt",
)  # fmt: skip
NUMBERED = re.compile(r"(?:r1_)?(?:solution|response|generation|completion|output)_?(\d+)")
# In OpenR1: whether each generation is complete; there and elsewhere, why each ended, in the words of servers.
COMPLETE = "is_reasoning_complete"
ENDS = ("finish_reasons", "finish_reason")


class Solved(NamedTuple):
    """A problem, and its replies, each with the model that was asked."""

    problem: Problem
    replies: tuple[tuple[str, Reply], ...]


class Found(NamedTuple):
    """Problems, and the rows that were left out: the place of each, and why."""

    solved: list[Solved]
    left_out: tuple[str, ...]


def read_problems(plan: Plan) -> Found:
    """The problems of the plan, with their solutions if they are of a file of solutions, and the rows left out.

    Raises InputError for the first row left out if the plan is strict, or if no row remains.
    """
    task = load_reader(plan.task, prompt=plan.prompt_field, answer=plan.answer_field, strict=plan.strict)
    # Later rows may have more solutions to the first problems.
    problems = task.load(plan.split, None if plan.solutions else plan.limit, plan.solutions or plan.data)
    left_out = [*left_out_of(problems)]
    found: dict[str, Solved] = {}
    disputed = set[str]()
    for problem in problems:
        try:
            one = _solved(plan, problem) if plan.solutions else Solved(problem, ())
            before = found.setdefault(problem.prompt, one._replace(replies=()))
            if before.problem.answer != problem.answer and not _agree(task, before.problem, problem):
                disputed.add(problem.prompt)
                raise InputError(
                    f"{plan.source} gives two answers to problem {before.problem.id!r}: "
                    f"{before.problem.answer!r:.40} and, in {problem.id!r}, {problem.answer!r:.40}"
                )
            if not plan.solutions and before.problem is not problem:
                raise InputError(f"{plan.source}: problem {problem.id!r} asks what {before.problem.id!r} asks")
        except InputError as error:
            if plan.strict:
                raise
            left_out.append(str(error))
            continue
        found[problem.prompt] = before._replace(replies=before.replies + one.replies)
    solved = [one for prompt, one in found.items() if prompt not in disputed]
    if left_out and not solved:
        raise InputError(left_out[0] + (f" (and so for all {len(left_out)} rows)" if len(left_out) > 1 else ""))
    return Found([*islice(solved, plan.limit)], tuple(left_out))


def _agree(task: Task, one: Problem, other: Problem) -> bool:
    """Whether the task takes each of two right answers for the other: 12.0 and 12, two solutions of one puzzle."""
    return any(
        task.check(one, said.format(other.answer)) and task.check(other, said.format(one.answer))
        for said in ("The answer is \\boxed{{{}}}", "{}")
    )


def _solved(plan: Plan, problem: Problem) -> Solved:
    names, found = _solutions(problem, plan.field)
    left = {key: value for key, value in problem.meta.items() if key not in (*names, *SOLUTIONS, *CONVERSATION)}
    source, whole = Path(plan.solutions or "").name, _are_whole(problem, found)
    replies = [
        Reply(text=one.text or "", reasoning=one.thought, finish=STOP if end else LENGTH)
        for one, end in zip(found, whole, strict=True)
    ]
    meta = {key: value for key, value in left.items() if key not in (COMPLETE, *ENDS)}
    return Solved(replace(problem, meta=meta), tuple((source, reply) for reply in replies))


def _are_whole(problem: Problem, found: Sequence[Said]) -> list[bool]:
    """Whether each solution came to its end, by whatever the row says of that: true, or a reason that is one.

    Raises InputError where a list says it of another number of solutions.
    """
    whole = [_is_end(one.ended) for one in found]
    for name in (COMPLETE, *ENDS):
        if (said := problem.meta.get(name)) is None:
            continue
        ends = said if isinstance(said, list) else [said] * len(found)
        if len(ends) != len(found):
            raise InputError(f"problem {problem.id!r} has {len(found)} solutions and {len(ends)} of {name!r}")
        whole = [both and _is_end(end) for both, end in zip(whole, ends, strict=True)]
    return whole


def _is_end(said: object) -> bool:
    """Whether a text with this reason is whole; null says nothing against it."""
    return said.lower() in ENDED if isinstance(said, str) else said is not False


def _solutions(problem: Problem, field: str | None) -> tuple[Sequence[str], list[Said]]:
    """The columns of a problem's solutions, and the solutions."""
    row = problem.meta
    names = _columns(row, field)
    try:
        found = [one for name in names for one in replies_of({name: row[name]}, Fields(output=_plain(name))) or ()]
    except InputError as error:
        raise InputError(f"problem {problem.id!r}: {error}; name the field of its solutions with --field") from None
    # A number may be an answer, but is not a solution.
    numbers = any(isinstance(part, int | float) for name in names for part in _listed(row[name]))
    if numbers or not any(one.whole for one in found):
        known = field or f"{' or '.join(SOLUTIONS)}, in numbered columns or in a conversation"
        raise InputError(
            f"problem {problem.id!r} has no solutions (a text or a list of texts) in {known}; "
            f"got {', '.join(map(str, row))[:200] or 'none'}; name their field with --field"
        )
    return names, found


def _columns(row: Mapping[str, object], field: str | None) -> Sequence[str]:
    if field:
        return [field] if field in row else []
    if name := next((name for name in SOLUTIONS if row.get(name)), None):
        return [name]
    if numbered := sorted((int(found[1]), name) for name in row if (found := NUMBERED.fullmatch(name))):
        return [name for _, name in numbered]
    return [name for name in CONVERSATION if row.get(name)][:1]


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _plain(name: str) -> str | None:
    # A conversation is only recognised under its usual name.
    return None if name in CONVERSATION else name
