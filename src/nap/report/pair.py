"""The two traces that the replay opens with, by a stated rule.

Does not choose what else is shown (gallery.py).
"""

from collections.abc import Sequence

from nap.evaluation.verdict import DEFAULT, PROPOSED, by_weight
from nap.report.runs import Recorded

APART = 2  # how many times the steps the slow trace must have

PAIR_RULE = (
    "the same problem decoded slowly and fast, by the model that is named last (exact laws aside) under the same "
    f"policy ({PROPOSED} before {DEFAULT} before others): one that is right slowly and wrong fast, if there is one; "
    "where no problem was decoded at two paces, a wrong answer beside a right one of the same problem; else two of one "
    "problem"
)


def telling_pair(traces: Sequence[Recorded]) -> tuple[int, ...]:
    """The numbers of the traces to open with, by PAIR_RULE: two, or fewer where there are no two of a problem."""
    return _paces(traces) or _verdicts(traces) or _alike(traces)


def _problem(one: Recorded) -> str:
    return one.trace.problem_id


def _paces(traces: Sequence[Recorded]) -> tuple[int, ...]:
    """The slowest and the fastest trace of a problem, model and policy."""
    groups: dict[tuple[str, str, str], list[int]] = {}
    for i, one in enumerate(traces):
        groups.setdefault((one.model, one.shown_policy, _problem(one)), []).append(i)
    models = by_weight(one.model for one in traces)
    ranked = []
    for (model, policy, _), members in groups.items():
        slow, fast = (pick(members, key=lambda i: traces[i].trace.steps) for pick in (max, min))
        if traces[slow].trace.steps >= APART * max(traces[fast].trace.steps, 1):
            name = policy.partition(":")[0]
            lost = traces[slow].trace.correct is True and traces[fast].trace.correct is False
            right = traces[slow].trace.correct is True
            ranked.append((name != PROPOSED, name != DEFAULT, -models.index(model), not lost, not right, slow, fast))
    return min(ranked)[-2:] if ranked else ()


def _verdicts(traces: Sequence[Recorded]) -> tuple[int, ...]:
    """The first wrong trace of a problem that another trace solves, and the first right one."""
    right: dict[str, int] = {}
    for i, one in enumerate(traces):
        if one.trace.correct is True:
            right.setdefault(_problem(one), i)
    wrong = (i for i, one in enumerate(traces) if one.trace.correct is False and _problem(one) in right)
    first = next(wrong, None)
    return () if first is None else (first, right[_problem(traces[first])])


def _alike(traces: Sequence[Recorded]) -> tuple[int, ...]:
    """The first trace, and one of the same problem of another model, else of another policy, else the next trace."""
    first, same = traces[:1], [i for i, one in enumerate(traces) if i and _problem(one) == _problem(traces[0])]
    other = min(
        same, key=lambda i: (traces[i].model == first[0].model, traces[i].policy == first[0].policy), default=None
    )
    return tuple(range(len(first))) + (() if other is None else (other,))
