"""Single steps of a solution of `arith`: cut, checked against the problem's sentences, and put together to an answer.

    Bob 2 + 3 = 5        says that Bob has 2 + 3, which is 5
    Cat Ann + Bob        says what Cat has, in words
    Cat 7                says what Cat has

Does not generate or write problems (arith.py).
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache

FACT = re.compile(r"(\w+) has (\d+) \w+")
CHANGE = re.compile(r"(\w+) has (\d+) (more|fewer) than (\w+)")
SUM = re.compile(r"(\w+) has (\w+) and (\w+) together")
GOAL = re.compile(r"How many has (\w+) \?")
# A step that a model wrote may be any text: what is longer than a solution is none.
LONGEST = 64
Known = dict[str, int]


def steps_of(path: str) -> list[str]:
    """The steps of a path, between its semicolons."""
    return [step for part in path.split(";") if (step := " ".join(part.split()))]


@lru_cache(maxsize=1024)
def values_of(prompt: str) -> Known:
    """What everybody has, by the sentences of a problem; who cannot be computed is left out."""
    values: Known = {}
    sentences = [sentence.strip() for sentence in prompt.split(" .")]
    for _ in sentences:
        for sentence in sentences:
            if found := CHANGE.fullmatch(sentence):
                name, change, way, other = found.groups()
                if other in values:
                    values[name] = values[other] + (int(change) if way == "more" else -int(change))
            elif (found := SUM.fullmatch(sentence)) and {found[2], found[3]} <= values.keys():
                values[found[1]] = values[found[2]] + values[found[3]]
            elif found := FACT.fullmatch(sentence):
                values[found[1]] = int(found[2])
    return values


def holds(prompt: str, step: str) -> bool:
    """Whether a step says what is so: its left side has what its right side comes to, and that is its result."""
    known = values_of(prompt)
    read = _read(step)
    if read is None or read[0] not in known:
        return False
    name, said, result = read
    right = _worth(said, known)
    return right == known[name] and result in (None, right)


def solved(prompt: str, steps: Sequence[str]) -> str | None:
    """What the goal has by these steps alone; None where they do not say it.

    A step gives its left side a value once all on its right have one; where several do, most of them count.
    """
    goal = GOAL.search(prompt)
    values: Known = {}
    for _ in range(len(steps) + 1):
        given: dict[str, Counter[int]] = {}
        for name, value in _given(steps, values):
            given.setdefault(name, Counter())[value] += 1
        found = {name: counts.most_common(1)[0][0] for name, counts in given.items()}
        if found == values:
            break
        values = found
    return str(values[goal[1]]) if goal and goal[1] in values else None


def _given(steps: Sequence[str], values: Known) -> Iterator[tuple[str, int]]:
    for step in steps:
        read = _read(step)
        if read is None:
            continue
        name, said, result = read
        worth = result if result is not None else _worth(said, values)
        if worth is not None:
            yield name, worth


def _read(step: str) -> tuple[str, list[str], int | None] | None:
    """(who, what it has as terms and signs, the result); None for a text that is no step."""
    name, *rest = step.split()[:LONGEST] or [""]
    said, _, result = " ".join(rest).partition(" = ")
    terms = said.split()
    fits = all((word in "+-") == bool(n % 2) and word.isascii() for n, word in enumerate(terms))
    if not name.isalpha() or len(terms) % 2 == 0 or not fits or (result and not _number(result)):
        return None
    return name, terms, int(result) if result else None


def _worth(terms: Sequence[str], values: Known) -> int | None:
    """What the terms come to; None where somebody's value is not known."""
    numbers = [int(word) if _number(word) else values.get(word) for word in terms[::2]]
    signs = [1, *(1 if sign == "+" else -1 for sign in terms[1::2])]
    if None in numbers:
        return None
    return sum(sign * number for sign, number in zip(signs, numbers, strict=True) if number is not None)


def _number(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) < 9
