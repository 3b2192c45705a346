"""Countdown: reach a target from given numbers, each used exactly once, with + - * /.

    numbers 30 100 93 target 23

A path is one way to combine the numbers two at a time, written `forward` (100 - 93 = 7 ; 30 - 7 = 23) or from the
target back (23 = 30 - 7 ; 7 = 100 - 93). The paths of a sample are different derivations, as far as the problem has
several. The summary is an expression: sums and differences are flat, with positive terms first, in the order of the
prompt. Any exact expression counts as right.

Does not train, tokenize or lay out.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, islice

from nap.common.files import InputError
from nap.common.rows import FileRow, read_rows
from nap.data.problems import Problem
from nap.data.samples import Path, Sample
from nap.tasks.arith_steps import steps_of
from nap.tasks.arithmetic import countdown_expression, countdown_ok
from nap.tasks.countdown_steps import Move, holds, put_together, read
from nap.tasks.drawn import drawn
from nap.tasks.fields import first_of, gold_of, question_of
from nap.tasks.numbers import to_number
from nap.tasks.registry import check_split, split_of

# Fields with the numbers of a problem; a list of them in a question, and its target.
NUMBERS = ("nums", "numbers")
_WHOLE = re.compile(r"\d{1,9}")
_LIST = re.compile(r"\[\s*(\d{1,9}(?:[\s,]+\d{1,9})+)\s*\]")
_TARGET = re.compile(r"\btarget\D{0,20}?(\d{1,9})", re.IGNORECASE)


def moves(a: int, b: int, largest: int) -> list[Move]:
    """Every combination of two numbers whose result is a whole number from 1 to `largest`."""
    high, low = max(a, b), min(a, b)
    found = [(a, "+", b, a + b), (high, "-", low, high - low), (a, "*", b, a * b)]
    if low and high % low == 0:
        found.append((high, "/", low, high // low))
    return [move for move in found if 1 <= move[3] <= largest]


def derivations(numbers: tuple[int, ...], target: int, largest: int) -> list[tuple[Move, ...]]:
    """Every way to combine all the numbers to the target, in a fixed order."""
    if len(numbers) == 1:
        return [()] if numbers[0] == target else []
    found = []
    for i, j in combinations(range(len(numbers)), 2):
        rest = tuple(x for k, x in enumerate(numbers) if k not in (i, j))
        for move in moves(numbers[i], numbers[j], largest):
            found += [(move, *later) for later in derivations((*rest, move[3]), target, largest)]
    return list(dict.fromkeys(found))


def forward(derivation: tuple[Move, ...]) -> str:
    """`100 - 93 = 7 ; 30 - 7 = 23`."""
    return " ; ".join(f"{a} {op} {b} = {result}" for a, op, b, result in derivation)


def backward(derivation: tuple[Move, ...]) -> str:
    """`23 = 30 - 7 ; 7 = 100 - 93`."""
    return " ; ".join(f"{result} = {a} {op} {b}" for a, op, b, result in reversed(derivation))


def expression(numbers: tuple[int, ...], derivation: tuple[Move, ...]) -> str:
    """The derivation as one expression: flat if it only adds and subtracts, else with the necessary brackets."""
    trees: list[tuple[int, str, list[tuple[int, int]] | None]] = [(x, str(x), [(1, i)]) for i, x in enumerate(numbers)]
    for a, op, b, result in derivation:
        left = trees.pop(next(i for i, tree in enumerate(trees) if tree[0] == a))
        right = trees.pop(next(i for i, tree in enumerate(trees) if tree[0] == b))
        terms = None
        if op in "+-" and left[2] and right[2]:
            terms = left[2] + [(sign if op == "+" else -sign, i) for sign, i in right[2]]
        trees.append((result, f"{_bracket(left[1])} {op} {_bracket(right[1])}", terms))
    _, text, terms = trees[0]
    if terms is None:
        return text
    ordered = sorted(terms, key=lambda term: (-term[0], term[1]))
    return " ".join(f"{'+' if sign > 0 else '-'} {numbers[i]}" for sign, i in ordered).removeprefix("+ ")


def _bracket(text: str) -> str:
    return f"( {text} )" if " " in text else text


@dataclass(frozen=True, kw_only=True)
class Countdown:
    """The task: `count` numbers from 1 to `largest_number`, a target from 1 to `largest_target`.

    Most public problems only add and subtract; `products` is the share of generated problems that may also multiply or
    divide. Derivations and expressions with more digits and signs than `longest_path` and `longest_expression` are left
    out. The paths of a sample differ as far as they can. With `rewrites` set, each path after the first repeats the
    derivation of the one before it with that probability, and otherwise takes any derivation: the paths then depend on
    each other to that degree, while each path alone looks the same.
    """

    name: str = "countdown"
    count: int = 3
    largest_number: int = 100
    largest_target: int = 100
    largest_step: int = 999
    products: float = 0.15
    longest_path: int = 21
    longest_expression: int = 11
    rewrites: float | None = None

    def generate(self, seed: int, index: int, split: str) -> Problem:
        """Problem `index` of an endless stream: equal for equal arguments, and never in both splits."""
        return self._draw(seed, index, split)[0]

    def sample(self, seed: int, index: int, paths: int = 3, split: str = "train") -> Sample:
        """A training sample: a problem and `paths` derivations of its target."""
        problem, derivation, rng = self._draw(seed, index, split)
        numbers, target = tuple(problem.meta["numbers"]), problem.meta["target"]
        known = self.written(problem)
        rng.shuffle(known)
        chosen = self._choose(known, paths, rng)
        texts = [(backward if j % 3 == 1 else forward)(derivation) for j, derivation in enumerate(chosen)]
        return Sample(
            problem=problem,
            paths=tuple(Path(text=text, answer=str(target), correct=True) for text in texts),
            summary=expression(numbers, derivation),
        )

    def written(self, problem: Problem) -> list[tuple[Move, ...]]:
        """The derivations that a path of a generated problem may have."""
        numbers = tuple(problem.meta["numbers"])
        found = derivations(numbers, problem.meta["target"], self.largest_step)
        return [derivation for derivation in found if self._fits(numbers, derivation)]

    def _choose(self, known: list[tuple[Move, ...]], paths: int, rng: random.Random) -> list[tuple[Move, ...]]:
        """The derivation of each path, chosen at random from those that are `known`."""
        if self.rewrites is None:
            return [known[j % len(known)] for j in range(paths)]
        chosen = [rng.choice(known)]
        while len(chosen) < paths:
            chosen.append(chosen[-1] if rng.random() < self.rewrites else rng.choice(known))
        return chosen

    def load(self, split: str = "test", limit: int | None = None, path: str | None = None) -> list[Problem]:
        """Generated problems, or those of a file: {"input": "30,100,93", "output": "23"}, or a question for `read`."""
        if path is None:
            return drawn(self, split, limit)
        return [self._from_row(row) for row in islice(read_rows(path), limit)]

    def _from_row(self, row: FileRow) -> Problem:
        value, name = row.value, str(row.value.get("id") or row.number)
        given, numbers = str(value.get("input")), first_of(value, NUMBERS)
        try:
            if "," in given and value.get("output") is not None:
                if (target := _whole(value["output"])) is None:
                    raise InputError("its output is no whole number")
                return _problem(name, tuple(int(x) for x in given.split(",")), target)
            gold = gold_of(value)
            return self.read(name, question_of(value) or "", value if isinstance(numbers, list) else gold)
        except (InputError, ValueError) as error:
            form = '{"input": "30,100,93", "output": "23"}, {"nums": [30, 100, 93], "target": 23}, or has a question'
            why = f" ({error})" if isinstance(error, InputError) else ""
            raise InputError(f"{row.where}: a countdown problem looks like {form}; got {value!r:.80}{why}") from None

    def read(self, id: str, question: str, gold: object = None) -> Problem:
        """The problem of a question such as `Numbers: [30, 100, 93] Target: 23`, or of fields with both (TinyZero).

        The numbers are the last list in brackets, and the target the first whole number after it. Without a list the
        target follows its name, or is the last whole number. Raises InputError where there are none, or where the
        right answer is another number than the target.
        """
        if isinstance(gold, dict) and isinstance(listed := first_of(gold, NUMBERS), list):
            known = [*map(_whole, listed), _whole(gold.get("target"))]
            numbers, gold = [number for number in known if number is not None], None
            if len(numbers) < len(known):
                raise InputError(f"problem {id}: whole numbers and a target expected, got {known}")
        else:
            numbers = _numbers(question)
        if len(numbers) < 3:
            raise InputError(f"problem {id}: no numbers and target in {question[:100]!r}")
        if (answer := _whole(gold)) not in (None, numbers[-1]):
            raise InputError(f"problem {id}: its question asks for {numbers[-1]}, and its answer says {answer}")
        return _problem(id, tuple(numbers[:-1]), numbers[-1])

    def extract(self, problem: Problem, text: str) -> str | None:
        """The expression in the text, if there is one."""
        return countdown_expression(text)

    def check(self, problem: Problem, text: str) -> bool:
        """Whether the text gives an expression that uses every number once and equals the target."""
        return countdown_ok(text, problem.meta["numbers"], Fraction(problem.meta["target"]))

    def steps(self, path: str) -> list[str]:
        """The combinations of a path."""
        return steps_of(path)

    def holds(self, problem: Problem, step: str) -> bool:
        """Whether the equation of a step is true, whatever its numbers are."""
        move = read(step)
        return move is not None and holds(move)

    def solve(self, problem: Problem, steps: Sequence[str]) -> str | None:
        """The expression that these steps come to; None where they do not combine all numbers to the target."""
        numbers, target = tuple(problem.meta["numbers"]), problem.meta["target"]
        found = put_together(numbers, target, steps)
        return None if found is None else expression(numbers, found)

    def _draw(self, seed: int, index: int, split: str) -> tuple[Problem, tuple[Move, ...], random.Random]:
        check_split(self.name, split)
        rng = random.Random(f"countdown/{seed}/{index}/{split}")
        while True:
            numbers = tuple(rng.randint(1, self.largest_number) for _ in range(self.count))
            derivation = self._combine(rng, numbers)
            if not derivation or derivation[-1][3] > self.largest_target:
                continue
            target = derivation[-1][3]
            if not self._fits(numbers, derivation):
                continue
            if split_of(f"countdown {sorted(numbers)} {target}") == split:
                return _problem(f"countdown-{split}-{seed}-{index}", numbers, target), derivation, rng

    def _fits(self, numbers: tuple[int, ...], derivation: tuple[Move, ...]) -> bool:
        path, summary = forward(derivation), expression(numbers, derivation)
        return _signs(path) <= self.longest_path and _signs(summary) <= self.longest_expression

    def _combine(self, rng: random.Random, numbers: tuple[int, ...]) -> tuple[Move, ...]:
        """Numbers combined at random; () where a step leaves the allowed range."""
        allowed = "+-*/" if rng.random() < self.products else "+-"
        left, derivation = list(numbers), []
        while len(left) > 1:
            a, b = (left.pop(rng.randrange(len(left))) for _ in range(2))
            choices = [move for move in moves(a, b, self.largest_step) if move[1] in allowed]
            if not choices:
                return ()
            derivation.append(rng.choice(choices))
            left.append(derivation[-1][3])
        return tuple(derivation)


def _signs(text: str) -> int:
    return len(text.replace(" ", ""))


def _numbers(question: str) -> list[int]:
    """The numbers that a question gives, and at the end its target."""
    lists = [*_LIST.finditer(question)]
    if lists and (after := _WHOLE.search(question, lists[-1].end())):
        return [int(x) for x in (*_WHOLE.findall(lists[-1][1]), after[0])]
    named = [*_TARGET.finditer(question)]
    around = (question[: named[-1].start()], question[named[-1].end() :]) if named else ()
    given = next((found for part in around if len(found := _WHOLE.findall(part)) > 1), None)
    return [int(x) for x in ([*given, named[-1][1]] if given else _WHOLE.findall(question))]


def _whole(value: object) -> int | None:
    """A whole number, also as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    number = to_number(str(value))
    return int(number) if number is not None and number.denominator == 1 else None


def _problem(name: str, numbers: tuple[int, ...], target: int) -> Problem:
    return Problem(
        id=name,
        prompt=f"numbers {' '.join(map(str, numbers))} target {target}",
        answer=str(target),
        task="countdown",
        meta={"numbers": list(numbers), "target": target, "critical_path": len(numbers) - 1},
    )
