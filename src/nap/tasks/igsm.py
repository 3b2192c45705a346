"""Problems to be reasoned out step by step, over a graph in the manner of iGSM (arXiv 2407.20311), in free wordings.

    Ann is 3 . Tom is gap Ann Bob . Bob is 7 . Eve is sum Tom Ann . Eve ?      # the prompt, its sentences shuffled
    Tom gap Ann 3 Bob so 7 4 . then for Eve take sum Tom 4 Ann 3 7 .                           # a path

A value is a digit. `gap` is the distance of two values, `sum` the last digit of their sum and `turn` the last digit of
twice the first plus the second: nested, they neither associate nor add up to one sum, so an answer takes its operations
one after the other. Every step is said in one of twelve wordings of different lengths, one of them usual, and between
any two words may stand a filler, often in some solutions and seldom in others: the next word is likely, and what stands
far ahead is uncertain, as in text. Each path of a sample has its own wording, and its own order where the graph leaves
a choice, which three in four do not: their paths are one derivation in several wordings. None says what is given: a
second path of a chain could copy that anywhere, and a model would write it first (docs/reasoning.md).

The graph decides the split, with its names and values: no test problem is in training under another order of sentences.
Does not lay out, tokenize or train (recipes/reasoning.py does).
"""

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from nap.common.files import InputError
from nap.data.problems import Problem
from nap.data.samples import Path, Sample
from nap.tasks.arith import NAMES
from nap.tasks.drawn import drawn
from nap.tasks.registry import check_split, split_of

BASE = 10
OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "gap": lambda a, b: abs(a - b),
    "sum": lambda a, b: (a + b) % BASE,
    "turn": lambda a, b: (2 * a + b) % BASE,
}
# X is the one computed, O the operation, a and b the values that it takes of A and B, v what it gives. Every word can
# be told from the prompt and from what stands before it in one step: names first, then what is looked up for them.
WORDINGS = tuple(
    wording.split()
    for wording in (
        "X O A a B b v .",
        "X is O A a B b v .",
        "X : O A a B b v .",
        "X A a B b O v .",
        "X A a with B b O v .",
        "X gets O : A a B b v .",
        "X by O of A a B b v .",
        "X takes A a and B b O v .",
        "X with A a to B b is O v .",
        "for X take O A a B b v .",
        "let X be O of A a B b v .",
        "next comes X , O of A a and B b v .",
    )
)
# What is said once all is computed, over and over to the end of a slot.
CLOSING = (
    "this is what was asked for , so we can stop here and look back once more : all that was taken had been given or "
    "found before , and each step took just two of them ."
)
# How often the first of several ways to say a thing is taken; the others share the rest.
USUAL = 0.7
# A usual one too: a place that is sure to hold a filler is then mostly sure of which, and is not left open to the end.
FILLERS = ("well", "then", "now", "so", "just", "thus", "indeed", "again")

Way = TypeVar("Way", str, Sequence[str])


@dataclass(frozen=True)
class Step:
    """One operation of a graph: `name` is `operation` of `left` and `right`."""

    name: str
    operation: str
    left: str
    right: str


@dataclass(frozen=True)
class Graph:
    """What is given, the operations each after those that it takes, and every value. The last one is asked for."""

    given: dict[str, int]
    steps: tuple[Step, ...]
    values: dict[str, int]

    @property
    def depth(self) -> int:
        """The least number of operations one after the other."""
        depth = dict.fromkeys(self.given, 0)
        for step in self.steps:
            depth[step.name] = 1 + max(depth[step.left], depth[step.right])
        return depth[self.steps[-1].name]


@dataclass(frozen=True, kw_only=True)
class Igsm:
    """The task.

    least, most  operations, all of which the answer needs
    fillers      the most often that a filler stands before a word; the solutions of a problem have a share up to it
    longest      words of a path; one that is longer is said anew, sentence by sentence, until it fits
    """

    name: str = "igsm"
    least: int = 6
    most: int = 8
    fillers: float = 0.3
    longest: int = 80

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most <= len(NAMES) // 2:
            got = f"{self.least} and {self.most}"
            raise InputError(f"igsm: least and most must be 1 to {len(NAMES) // 2} and in order, got {got}")
        if not 0 <= self.fillers <= 0.5:
            raise InputError(f"igsm: fillers is a share of words from 0 to 0.5, got {self.fillers}")
        shortest = self.most * len(min(WORDINGS, key=len))
        if self.longest < shortest:
            said = f"a path of {self.most} operations may need {shortest} words"
            raise InputError(f"igsm: {said}, got longest={self.longest}; allow more words or fewer operations")

    @property
    def words(self) -> tuple[str, ...]:
        """Every word of its questions and answers."""
        spoken = {word for form in (*WORDINGS, CLOSING.split()) for word in form if word not in "XOABabv"}
        return (*NAMES, *map(str, range(BASE)), *OPERATIONS, "?", *sorted(spoken | {*FILLERS}))

    def generate(self, seed: int, index: int, split: str) -> Problem:
        """Problem `index` of an endless stream: the same for the same arguments, never in both splits."""
        return self._draw(seed, index, split)[0]

    def sample(self, seed: int, index: int, paths: int = 3, split: str = "train") -> Sample:
        """A problem and `paths` solutions, each in a wording of its own, and in a random one of the graph's orders."""
        problem, graph, rng = self._draw(seed, index, split)
        often = rng.uniform(0, self.fillers)
        texts = [self._write(graph, often, rng) for _ in range(paths)]
        written = [Path(text=text, answer=problem.answer, correct=True) for text in texts]
        return Sample(problem=problem, paths=tuple(written), summary=problem.answer)

    @property
    def value(self) -> re.Pattern[str]:
        """The third digit of a sentence is what its step computes."""
        return re.compile(r"\d\D+\d\D+(\d)(?= \. \S)")

    def in_slots(self, texts: Sequence[str], slots: int, words: int) -> list[str]:
        """The solutions in a slot each, or as many as fit in one without marks, filled up with closing words."""
        if slots == 1:
            whole = [" ".join(texts[:number]) for number in range(len(texts), 0, -1)]
            texts = [next((text for text in whole if len(text.split()) <= words), whole[-1])]
        return [self.lengthened(text, words) for text in texts]

    def lengthened(self, text: str, words: int) -> str:
        """A text with its closing words, so many words in all: where a slot ends does not say where the text does."""
        rng, said = random.Random(text), text.split()
        often = rng.uniform(0, self.fillers)
        while len(said) < words:
            said += _filled(CLOSING.split(), often, rng)
        return " ".join(said[: max(words, len(text.split()))])

    def load(self, split: str = "test", limit: int | None = None, path: str | None = None) -> list[Problem]:
        """The first `limit` (default 200) problems of a split of the stream with seed 0."""
        if path:
            raise InputError("task 'igsm' generates its problems; drop the file, or use --task jsonl for your own")
        return drawn(self, split, limit)

    def extract(self, problem: Problem, text: str) -> str | None:
        """The first digit of the summary."""
        return next((word for word in text.split() if word.isascii() and word.isdigit()), None)

    def vote(self, problem: Problem, path: str) -> str | None:
        """The last digit of a path that is said where the one asked for is spoken of."""
        said = [sentence.split() for sentence in path.split(" .") if f" {problem.meta['asked']} " in f" {sentence} "]
        return next((word for word in reversed(said[-1]) if word.isdigit()), None) if said else None

    def check(self, problem: Problem, text: str) -> bool:
        """Whether the digit is the exact answer."""
        return self.extract(problem, text) == problem.answer

    def _draw(self, seed: int, index: int, split: str) -> tuple[Problem, Graph, random.Random]:
        check_split(self.name, split)
        rng = random.Random(f"igsm/{self.least}/{self.most}/{seed}/{index}/{split}")
        while True:
            graph = draw_graph(rng.randint(self.least, self.most), rng)
            sentences = [f"{name} is {value} ." for name, value in graph.given.items()]
            sentences += [f"{step.name} is {step.operation} {step.left} {step.right} ." for step in graph.steps]
            if split_of("igsm " + " ".join(sorted(sentences))) == split:
                break
        asked = graph.steps[-1].name
        rng.shuffle(sentences)
        meta = {"asked": asked, "critical_path": graph.depth, "operations": len(graph.steps)}
        problem = Problem(
            id=f"igsm-{split}-{seed}-{index}", prompt=" ".join([*sentences, f"{asked} ?"]),
            answer=str(graph.values[asked]), task=self.name, meta=meta,
        )  # fmt: skip
        return problem, graph, rng

    def _write(self, graph: Graph, often: float, rng: random.Random) -> str:
        """One path that fits: its steps, in a random one of the graph's orders."""
        steps = [*ordered(graph, rng)]
        said = [_filled(_said(step, graph, rng), often, rng) for step in steps]
        while sum(map(len, said)) > self.longest:
            at = rng.randrange(len(steps))
            # Of two ways the shorter: so a path of few words is reached, however rare it is.
            said[at] = min(said[at], _filled(_said(steps[at], graph, rng), often, rng), key=len)
        return " ".join(word for sentence in said for word in sentence)


def _filled(sentence: Sequence[str], often: float, rng: random.Random) -> list[str]:
    """A sentence with a filler before so large a share of its words."""
    filled = []
    for word in sentence:
        filled += [_usually(FILLERS, rng), word] if rng.random() < often else [word]
    return filled


def _said(step: Step, graph: Graph, rng: random.Random) -> list[str]:
    """A step in one of the wordings."""
    values = {"a": graph.values[step.left], "b": graph.values[step.right], "v": graph.values[step.name]}
    told = {"X": step.name, "O": step.operation, "A": step.left, "B": step.right}
    told |= {letter: str(value) for letter, value in values.items()}
    return [told.get(word, word) for word in _usually(WORDINGS, rng)]


def _usually(ways: Sequence[Way], rng: random.Random) -> Way:
    """One of several ways, mostly the first."""
    return ways[0] if rng.random() < USUAL else rng.choice(ways[1:])


def draw_graph(operations: int, rng: random.Random) -> Graph:
    """So many operations, each on what nobody took yet, so that the last needs all of them; mostly a long chain."""
    count = rng.randint(2, 2 + min(2, operations // 2))
    names = rng.sample(NAMES, count + operations)
    given = {names.pop(): rng.randrange(BASE) for _ in range(count)}
    values, free, steps = dict(given), list(given), []
    for left_to_do in range(operations, 0, -1):
        # Every operation that joins two makes one less: towards the end all that is free has to be joined.
        joins = len(free) > left_to_do
        first = free.pop() if joins or rng.random() < 0.7 else free.pop(rng.randrange(len(free)))
        second = free.pop(rng.randrange(len(free))) if joins else rng.choice([n for n in values if n != first])
        free = [name for name in free if name != second]
        pair = [first, second]
        rng.shuffle(pair)
        # Small distances are the most frequent: of the last operation they would be a good guess.
        operation = rng.choice([name for name in OPERATIONS if left_to_do > 1 or name != "gap"])
        step = Step(names.pop(), operation, *pair)
        values[step.name] = OPERATIONS[step.operation](values[step.left], values[step.right])
        steps.append(step)
        free.append(step.name)
    return Graph(given, tuple(steps), values)


def ordered(graph: Graph, rng: random.Random) -> Iterator[Step]:
    """The steps in a random order in which each comes after those that it takes."""
    waiting, done = list(graph.steps), {*graph.given}
    while waiting:
        step = rng.choice([step for step in waiting if {step.left, step.right} <= done])
        waiting.remove(step)
        done.add(step.name)
        yield step
