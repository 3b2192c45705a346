"""Sentences whose words must agree in name, gender, number and tense: several right wordings, checked by a grammar.

    story 1 keys brother story 2 so found ...                        # the prompt: two words that each story must hold
    Ann has just lost her keys , so she asks her brother for them    # a path tells one story
    without his hat Tom was sad , and Tom begged his aunt for it     # another wording

Every sentence of the grammar that contains its two words is right. All are equally likely, and all are known
(`sentences`). The two words decide the split: a pair of the test split never occurs together in training.

Needs no reasoning: the words only have to fit each other, whenever they are written. All sentences have 14 words, so
that a chain of stories and paths of one story each are equally long.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, product
from typing import Any, NamedTuple

from nap.common.files import InputError
from nap.data.problems import Problem
from nap.data.samples import Path, Sample
from nap.tasks.law import Law, Units
from nap.tasks.registry import split_of

Sentence = tuple[str, ...]


class Person(NamedTuple):
    """How one kind of subject is spoken of: again, as owner, and with `to be` and `to have` now and then."""

    again: str
    owner: str
    being: tuple[str, str]
    having: tuple[str, str]
    adds_s: bool


SHE = Person("she", "her", ("is", "was"), ("has", "had"), True)
HE = Person("he", "his", ("is", "was"), ("has", "had"), True)
THEY = Person("they", "their", ("are", "were"), ("have", "had"), False)
SUBJECTS = {
    **dict.fromkeys(("Ann", "Eve", "Ida", "Mia"), SHE),
    **dict.fromkeys(("Bob", "Dan", "Jon", "Tom"), HE),
    **dict.fromkeys(("Twins", "Girls", "Friends", "Cousins"), THEY),
}
# Singular and plural, and what stands for them later.
THINGS = {
    **{name: "it" for name in ("hat", "key", "cup", "pen", "map", "bag", "coin", "ring")},
    **{f"{name}s": "them" for name in ("hat", "key", "cup", "pen", "map", "bag", "coin", "ring")},
}
DONE = ("lost", "broken", "forgotten", "sold", "missed", "hidden")
STATES = ("sad", "late", "angry", "glum", "cold", "silent")
LINKS = ("so", "and", "then")
# Now with and without an s, and then.
ASKING = (("asks", "ask", "asked"), ("begs", "beg", "begged"))
KIN = ("brother", "sister", "mother", "father", "aunt", "uncle", "cousin", "friend")
CELLS = 14
CLUES = 2


class Choice(NamedTuple):
    """The free choices of a sentence; all other words follow from them."""

    subject: str
    past: bool
    fronted: bool
    quality: str
    thing: str
    link: str
    named: bool
    asking: tuple[str, str, str]
    kin: str

    @property
    def clues(self) -> tuple[str, ...]:
        """The words that a prompt may ask for: every sentence has all four, each at one place."""
        return self.thing, self.quality, self.link, self.kin

    def words(self) -> Sentence:
        """The sentence: `Ann has just lost her keys , ...`, or fronted `without her keys Ann is sad , ...`."""
        who, now = SUBJECTS[self.subject], int(self.past)
        asks = self.asking[2] if self.past else self.asking[0 if who.adds_s else 1]
        first = (self.subject, who.having[now], "just", self.quality, who.owner, self.thing)
        if self.fronted:
            first = ("without", who.owner, self.thing, self.subject, who.being[now], self.quality)
        again = self.subject if self.named else who.again
        return (*first, ",", self.link, again, asks, who.owner, self.kin, "for", THINGS[self.thing])


FREE: dict[str, tuple[Any, ...]] = {
    "subject": tuple(SUBJECTS), "past": (False, True), "thing": tuple(THINGS), "link": LINKS, "named": (False, True),
    "asking": ASKING, "kin": KIN,
}  # fmt: skip
QUALITIES = tuple((False, word) for word in DONE) + tuple((True, word) for word in STATES)
VOCABULARY = sorted(
    {"without", "just", ",", "for", "it", "them", *SUBJECTS, *THINGS, *DONE, *STATES, *LINKS, *KIN}
    | {word for words in ASKING for word in words}
    | {word for who in (SHE, HE, THEY) for word in (who.again, who.owner, *who.being, *who.having)}
)


def draw_choice(rng: random.Random) -> Choice:
    """A uniformly random sentence."""
    fronted, quality = rng.choice(QUALITIES)
    return Choice(fronted=fronted, quality=quality, **{name: rng.choice(words) for name, words in FREE.items()})


def choices(words: Sequence[str]) -> Iterator[Choice]:
    """Every choice whose clues contain all these words."""
    kept = [[word for word in FREE[name] if _may_be(name, word, words)] for name in FREE]
    for (fronted, quality), free in product(QUALITIES, product(*kept)):
        choice = Choice(fronted=fronted, quality=quality, **dict(zip(FREE, free, strict=True)))
        if set(words) <= set(choice.clues):
            yield choice


def _may_be(name: str, word: object, words: Sequence[str]) -> bool:
    """Whether a field that a clue may be about is free, or is the clue."""
    asked = [clue for clue in words if clue in FREE[name]]
    return not asked or word in asked


@cache
def sentences(words: tuple[str, ...]) -> tuple[Sentence, ...]:
    """Every sentence with these words as clues; for two words some hundreds to thousands."""
    return tuple(choice.words() for choice in choices(words))


@dataclass(frozen=True, kw_only=True)
class Agree(Units):
    """The task: `count` independent stories of one sentence, each with two words that it must contain."""

    name: str = "agree"
    count: int = 3

    def __post_init__(self) -> None:
        if not 1 <= self.count <= 9:
            raise InputError(f"agree: count must be from 1 to 9, got {self.count!r}")

    @property
    def words(self) -> Sequence[str]:
        """Every word of its questions and answers."""
        return ("story", *"123456789", *VOCABULARY, "done")

    @property
    def cells(self) -> int:
        """Words of one sentence."""
        return CELLS

    def drawn(self, seed: int, index: int, split: str) -> Sample:
        """The stories of a problem, and the problem."""
        rng = random.Random(f"agree/{self.count}/{seed}/{index}/{split}")
        drawn = [self._draw(split, rng) for _ in range(self.count)]
        texts = [" ".join(choice.words()) for choice, _ in drawn]
        return Sample(
            problem=self._problem(f"agree-{split}-{seed}-{index}", [clues for _, clues in drawn], texts),
            paths=tuple(Path(text=text, answer=text, correct=True) for text in texts),
            summary="done",
        )

    def read(self, id: str, question: str, gold: object = None) -> Problem:
        """The problem of a prompt. Raises InputError if a story is missing, or no sentence contains its words."""
        clues = [tuple(part.split()) for part in re.split(r"story\s+\d", question)[1:]]
        if len(clues) != self.count or any(len(words) != CLUES for words in clues):
            raise InputError(f"problem {id}: {self.count} stories of {CLUES} words wanted, got {question[:100]!r}")
        for words in clues:
            if next(choices(words), None) is None:
                raise InputError(f"problem {id}: no sentence holds the words {' '.join(words)!r}")
        return self._problem(id, clues, str(gold or "").split(" ; "))

    def filled(self, problem: Problem) -> str:
        """The words of a sentence for each story."""
        return " ".join(word for law in self.law(problem) for word in law.contents[0])

    def gather(self, paths: Sequence[str], summary: str) -> str:
        """The whole text of a canvas, because the answer is in the paths."""
        return " ".join(paths)

    def split_text(self, text: str) -> list[str] | None:
        """The sentences in a text; None if it has too many or too few words."""
        words = text.replace(" ; ", " ").split()
        if len(words) != self.count * CELLS:
            return None
        return [" ".join(words[start : start + CELLS]) for start in range(0, len(words), CELLS)]

    def extract(self, problem: Problem, text: str) -> str | None:
        """The sentences, separated by semicolons."""
        found = self.split_text(text)
        return " ; ".join(found) if found else None

    def check(self, problem: Problem, text: str) -> bool:
        """Whether every sentence agrees and holds its words."""
        found = self.split_text(text)
        return bool(found) and all(self.valid(problem, found))

    def valid(self, problem: Problem, units: Sequence[str]) -> list[bool]:
        """For each sentence, whether it is one of the grammar and contains its two words."""
        each = zip(units, problem.meta["clues"], strict=True)
        return [tuple(unit.split()) in _known(tuple(clues)) for unit, clues in each]

    def law(self, problem: Problem) -> list[Law]:
        """The possible contents of each sentence."""
        return [Law((j,), sentences(tuple(clues))) for j, clues in enumerate(problem.meta["clues"])]

    def _draw(self, split: str, rng: random.Random) -> tuple[Choice, tuple[str, ...]]:
        while True:
            choice = draw_choice(rng)
            clues = rng.choice([*combinations(choice.clues, CLUES)])
            if split_of(f"agree {' '.join(sorted(clues))}") == split:
                return choice, clues

    def _problem(self, id: str, clues: Sequence[Sequence[str]], texts: Sequence[str]) -> Problem:
        return Problem(
            id=id,
            prompt=" ".join(f"story {j} {' '.join(words)}" for j, words in enumerate(clues, 1)),
            answer=" ; ".join(texts),
            task=self.name,
            meta={"clues": [list(words) for words in clues]},
        )


@cache
def _known(clues: tuple[str, ...]) -> frozenset[Sentence]:
    return frozenset(sentences(clues))
