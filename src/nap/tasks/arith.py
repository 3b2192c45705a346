"""Grade-school problems over a dependency graph, in words, in the manner of iGSM (arXiv 2407.20311).

    Ann has 2 pears . Bob has 3 more than Ann . Cat has Ann and Bob together . How many has Cat ?

Names, quantities, the order of the sentences and the distractors are random; all values stay small. There are three
different kinds of solutions: `forward` computes each needed person starting from the facts, `goal` first names what the
goal needs and then computes, and `pairing` rewrites the goal as one sum and evaluates it. The critical path is the
least number of dependent steps: the longest chain of operations under the goal. It is a yardstick for parallel decoding
and not a bound, because a deep enough network can do several dependent steps in one forward.

Does not train, tokenize or lay out.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from nap.common.files import InputError
from nap.data.problems import Problem
from nap.data.samples import Path, Sample
from nap.tasks.arith_steps import holds, solved, steps_of
from nap.tasks.drawn import drawn
from nap.tasks.registry import check_split, split_of

NAMES = (
    "Ann", "Bob", "Cat", "Dan", "Eve", "Fay", "Gus", "Hal", "Ida", "Jon", "Kim", "Leo", "Mia", "Ned",
    "Oma", "Pam", "Ron", "Sue", "Tom", "Una",
)  # fmt: skip
ITEMS = ("pears", "figs", "nuts", "coins", "pens", "cups", "keys", "hats")


@dataclass(frozen=True)
class Person:
    """One sentence: a fact (only `left`, a number), or left plus or minus right. The graph resolves names."""

    name: str
    left: int | str
    sign: str = ""
    right: int | str = ""

    @property
    def needs(self) -> list[str]:
        """The names to which this sentence refers."""
        return [x for x in (self.left, self.right) if isinstance(x, str) and x]

    def sentence(self, item: str) -> str:
        """The sentence in words."""
        if not self.sign:
            return f"{self.name} has {self.left} {item} ."
        if isinstance(self.right, str):
            return f"{self.name} has {self.left} and {self.right} together ."
        return f"{self.name} has {self.right} {'more' if self.sign == '+' else 'fewer'} than {self.left} ."


@dataclass(frozen=True)
class Graph:
    """The people of one problem, each after those that it refers to, and the goal's name."""

    people: tuple[Person, ...]
    goal: str

    @cached_property
    def by_name(self) -> dict[str, Person]:
        """Each person under its name."""
        return {person.name: person for person in self.people}

    @cached_property
    def values(self) -> dict[str, int]:
        """Every person's exact value."""
        values: dict[str, int] = {}
        for person in self.people:
            left, right = (values[x] if isinstance(x, str) and x else x or 0 for x in (person.left, person.right))
            values[person.name] = int(left) - int(right) if person.sign == "-" else int(left) + int(right)
        return values

    @cached_property
    def needed(self) -> list[Person]:
        """The people that the goal depends on, itself last."""
        names = {self.goal}
        for person in reversed(self.people):
            if person.name in names:
                names.update(person.needs)
        return [person for person in self.people if person.name in names]

    @cached_property
    def critical_path(self) -> int:
        """The least number of dependent operations from the facts to the goal."""
        depth: dict[str, int] = {}
        for person in self.people:
            depth[person.name] = max((depth[name] for name in person.needs), default=0) + bool(person.sign)
        return depth[self.goal]

    @cached_property
    def form(self) -> str:
        """The part that the goal depends on, without names: problems of one form differ only in words and distractors.

        People are numbered in the order in which they are reached from the goal; the two of a sum are ordered by what
        they depend on.
        """
        written: dict[str, str] = {}
        for person in self.needed:
            sides = [str(written.get(str(x), x)) for x in (person.left, person.right)]
            together = bool(person.sign) and isinstance(person.right, str)
            written[person.name] = "(" + person.sign.join(sorted(sides) if together else sides) + ")"
        numbers: dict[str, int] = {}
        return self._numbered(self.goal, written, numbers)

    def _numbered(self, name: str, written: dict[str, str], numbers: dict[str, int]) -> str:
        if name in numbers:
            return f"#{numbers[name]}"
        numbers[name] = len(numbers)
        person = self.by_name[name]
        needs = sorted(person.needs, key=written.__getitem__)
        # A fact has its number, a change its own, a sum two people.
        amount = person.left if not person.sign else person.right if isinstance(person.right, int) else ""
        return f"({person.sign}{amount} " + " ".join(self._numbered(n, written, numbers) for n in needs) + ")"


def forward(graph: Graph, rng: random.Random) -> str:
    """Topological order, drawn at random: `Ann 2 ; Bob 2 + 3 = 5 ; Cat 2 + 5 = 7`."""
    waiting, done, steps = list(graph.needed), set[str](), []
    while waiting:
        person = rng.choice([p for p in waiting if done.issuperset(p.needs)])
        waiting.remove(person)
        done.add(person.name)
        value = graph.values[person.name]
        left, right = (graph.values.get(str(x), x) for x in (person.left, person.right))
        steps.append(
            f"{person.name} {left} {person.sign} {right} = {value}" if person.sign else f"{person.name} {value}"
        )
    return " ; ".join(steps)


def goal_first(graph: Graph, rng: random.Random) -> str:
    """From the goal down to the facts in symbols, then back up in numbers: `Cat Ann + Bob ; ... ; Cat 7`."""
    plan = [f"{p.name} {p.left} {p.sign} {p.right}" if p.sign else f"{p.name} {p.left}" for p in reversed(graph.needed)]
    return " ; ".join(plan + [f"{p.name} {graph.values[p.name]}" for p in graph.needed if p.sign])


def pairing(graph: Graph, rng: random.Random) -> str:
    """The goal as one growing sum in which constants are added up: `Cat Ann + Bob ; Cat Ann + Ann + 3 ; ... = 7`."""
    terms, constant, lines = [graph.goal], 0, []
    while terms:
        # The person that comes last in the graph is replaced first, because no other replacement can bring it back.
        latest = max(set(terms), key=[p.name for p in graph.people].index)
        person = graph.by_name[latest]
        if not person.sign:
            break
        for _ in range(terms.count(latest)):
            terms.remove(latest)
            terms += person.needs
            if isinstance(person.right, int):
                constant += person.right if person.sign == "+" else -person.right
        lines.append(f"{graph.goal} {_sum(terms, constant)}")
    numbers = [str(graph.values[name]) for name in terms]
    return " ; ".join([*lines, f"{graph.goal} {_sum(numbers, constant)} = {graph.values[graph.goal]}"])


def _sum(terms: list[str], constant: int) -> str:
    tail = f" {'+' if constant > 0 else '-'} {abs(constant)}" if constant else ""
    return " + ".join(terms) + tail


Writer = Callable[[Graph, random.Random], str]
WRITERS: tuple[Writer, ...] = (forward, goal_first, pairing)


def misreadings(graph: Graph, largest: int) -> list[Graph]:
    """The graphs with one number of a needed sentence misread, if that changes the answer and all values stay in 0 to
    `largest`.
    """
    found = []
    for index, person in enumerate(graph.people):
        side = "right" if person.sign else "left"
        if person not in graph.needed or not isinstance(getattr(person, side), int):
            continue
        for number in range(1, largest):
            people = list(graph.people)
            people[index] = replace(person, **{side: number})
            other = Graph(tuple(people), graph.goal)
            fits = all(0 <= other.values[p.name] <= largest for p in other.needed)
            if fits and other.values[graph.goal] != graph.values[graph.goal]:
                found.append(other)
    return found


@dataclass(frozen=True, kw_only=True)
class Arith:
    """The task. `operations` and `facts` bound the needed part of the graph (depth and width).

    operations  the most operations that the goal depends on, at least 1
    facts       the most facts that it depends on distractors the most sentences that it does not depend on
    largest     largest value of a person
    longest     the most words of a solution; problems with longer ones are drawn again
    wrong       share of the paths of a sample that misread one number and reason on from there
    """

    name: str = "arith"
    operations: int = 3
    facts: int = 2
    distractors: int = 1
    largest: int = 10
    longest: int = 29
    wrong: float = 0.0

    def generate(self, seed: int, index: int, split: str) -> Problem:
        """Problem `index` of an endless stream: equal for equal arguments, and never in both splits."""
        return self._draw(seed, index, split)[0]

    def sample(self, seed: int, index: int, paths: int = 3, split: str = "train") -> Sample:
        """A training sample: a problem and `paths` solutions, in the order of the three kinds."""
        problem, graph, rng = self._draw(seed, index, split)
        written = [self._write(WRITERS[j % len(WRITERS)], graph, rng) for j in range(paths)]
        return Sample(problem=problem, paths=tuple(written), summary=f"{problem.answer} {problem.meta['item']}")

    def graph(self, seed: int, index: int, split: str) -> Graph:
        """The graph of the problem that `generate` gives for the same arguments."""
        return self._draw(seed, index, split)[1]

    def _write(self, write: Writer, graph: Graph, rng: random.Random) -> Path:
        """Write one path. A share `wrong` of them misread a number."""
        right = graph.values[graph.goal]
        if self.wrong and rng.random() < self.wrong:
            misread = [g for g in misreadings(graph, self.largest) if len(write(g, rng).split()) <= self.longest]
            graph = rng.choice(misread or [graph])
        answer = graph.values[graph.goal]
        return Path(text=write(graph, rng), answer=str(answer), correct=answer == right)

    def load(self, split: str = "test", limit: int | None = None, path: str | None = None) -> list[Problem]:
        """The first `limit` (default 200) problems of a split of the stream with seed 0."""
        if path:
            raise InputError("task 'arith' generates its problems; drop the file, or use --task jsonl for your own")
        return drawn(self, split, limit)

    def extract(self, problem: Problem, text: str) -> str | None:
        """The first whole number of the summary."""
        return next((word for word in text.split() if word.isascii() and word.isdigit()), None)

    def vote(self, problem: Problem, path: str) -> str | None:
        """The last whole number of a path, which ends with its answer."""
        return self.extract(problem, " ".join(reversed(path.split())))

    def steps(self, path: str) -> list[str]:
        """What stands between the semicolons."""
        return steps_of(path)

    def holds(self, problem: Problem, step: str) -> bool:
        """Whether it says what somebody has."""
        return holds(problem.prompt, step)

    def solve(self, problem: Problem, steps: Sequence[str]) -> str | None:
        """What the goal has by these steps."""
        return solved(problem.prompt, steps)

    def check(self, problem: Problem, text: str) -> bool:
        """Whether the number is the exact answer."""
        return self.extract(problem, text) == problem.answer

    def _draw(self, seed: int, index: int, split: str) -> tuple[Problem, Graph, random.Random]:
        check_split(self.name, split)
        rng = random.Random(f"arith/{seed}/{index}/{split}")
        while True:
            graph = self._graph(rng)
            item = rng.choice(ITEMS)
            sentences = [person.sentence(item) for person in graph.people]
            rng.shuffle(sentences)
            prompt = " ".join([*sentences, f"How many has {graph.goal} ?"])
            if any(len(write(graph, rng).split()) > self.longest for write in WRITERS):
                continue
            # The split depends on the content without the order of the sentences: a shuffled problem is the same
            # problem.
            if split_of("arith " + " ".join(sorted(sentences)) + graph.goal) == split:
                break
        operations = sum(bool(p.sign) for p in graph.needed)
        meta = {"item": item, "critical_path": graph.critical_path, "operations": operations}
        name, answer = f"arith-{split}-{seed}-{index}", str(graph.values[graph.goal])
        return Problem(id=name, prompt=prompt, answer=answer, task="arith", meta=meta), graph, rng

    def _graph(self, rng: random.Random) -> Graph:
        """Facts, then operations that each use a person nobody has used yet, so that all lead to the goal."""
        names = rng.sample(NAMES, self.facts + self.operations + self.distractors)
        facts = rng.randint(1, self.facts)
        # The larger of two draws, so that most problems are deep and some are not.
        operations = max(rng.randint(max(facts - 1, 1), self.operations) for _ in range(2))
        people = [Person(names.pop(), rng.randint(1, self.largest // 2)) for _ in range(facts)]
        values = {person.name: int(person.left) for person in people}
        unused = [person.name for person in people]
        for left_to_do in range(operations, 0, -1):
            person = self._operation(rng, names.pop(), unused, values, join=len(unused) > left_to_do)
            people.append(person)
            unused = [name for name in unused if name not in person.needs] + [person.name]
        goal = people[-1].name
        for _ in range(rng.randint(0, self.distractors)):
            person = self._operation(rng, names.pop(), list(values), values, join=False)
            people.append(person)
        return Graph(tuple(people), goal)

    def _operation(
        self, rng: random.Random, name: str, unused: list[str], values: dict[str, int], join: bool
    ) -> Person:
        left = rng.choice(unused)
        others = [x for x in (unused if join else values) if x != left and values[x] + values[left] <= self.largest]
        if others and (join or rng.random() < 0.3):
            person, value = Person(name, left, "+", other := rng.choice(others)), values[left] + values[other]
        else:
            sign = "+" if values[left] == 0 or (values[left] < self.largest and rng.random() < 0.5) else "-"
            change = rng.randint(1, min(9, self.largest - values[left] if sign == "+" else values[left]))
            person = Person(name, left, sign, change)
            value = values[left] + (change if sign == "+" else -change)
        values[name] = value
        return person
