"""Single steps of a solution of `countdown`: read, checked, and put together to an answer.

    100 - 93 = 7         or from the target back, 7 = 100 - 93

A step is right where its equation holds; whether its numbers are at hand is asked where steps are put together. Does
not generate problems or write solutions (countdown.py).
"""

import re
from collections.abc import Sequence

# (left, operation, right, result) of one combination of two numbers.
Move = tuple[int, str, int, int]

SIDE, NUMBER = r"([0-9]{1,9}) ?([-+*/]) ?([0-9]{1,9})", r"([0-9]{1,9})"
FORWARD, BACKWARD = re.compile(rf"{SIDE} ?= ?{NUMBER}"), re.compile(rf"{NUMBER} ?= ?{SIDE}")
# Sets of numbers that are looked at while steps are put together: what a model wrote may be any number of steps.
MOST = 10_000


def read(step: str) -> Move | None:
    """The move that a step says, right or wrong; None for a text that is no step."""
    if found := FORWARD.fullmatch(step):
        a, sign, b, result = found.groups()
    elif found := BACKWARD.fullmatch(step):
        result, a, sign, b = found.groups()
    else:
        return None
    return int(a), sign, int(b), int(result)


def holds(move: Move) -> bool:
    """Whether the equation is true, in whole numbers."""
    a, sign, b, result = move
    if sign == "/":
        return b > 0 and a == b * result
    return result == {"+": a + b, "-": a - b, "*": a * b}[sign]


def put_together(numbers: Sequence[int], target: int, steps: Sequence[str]) -> tuple[Move, ...] | None:
    """Moves that steps say and that combine all the numbers to the target, each at most once; None without any."""
    said = [move for step in dict.fromkeys(steps) if (move := read(step))]
    start = tuple(sorted(numbers))
    known, waiting = {start}, list[tuple[tuple[int, ...], tuple[Move, ...]]]([(start, ())])
    while waiting and len(known) <= MOST:
        left, done = waiting.pop()
        if left == (target,):
            return done
        for move in reversed(said):
            then = _after(left, move)
            if then and then not in known:
                known.add(then)
                waiting.append((then, (*done, move)))
    return None


def _after(left: Sequence[int], move: Move) -> tuple[int, ...] | None:
    """The numbers that are left after a move; None where its own are not there."""
    rest = [*left]
    for used in (move[0], move[2]):
        if used not in rest:
            return None
        rest.remove(used)
    return tuple(sorted((*rest, move[3])))
