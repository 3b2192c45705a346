"""Tasks by name: their problems, and the check of an answer.

    load_task("sudoku").load("test", limit=20)

A task is one class, which `TASKS` names; listing the names imports none of them. Problems come from a file (your own,
or one in the folder NAP_DATA), from the Hugging Face hub, or from a seeded generator. The held-out split of a generator
is decided by the content of each problem (`split_of`), so no seed can leak a test problem into training.

Does not decode, train or score anything.
"""

import importlib
import os
import re
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Protocol, runtime_checkable

from nap.common.files import InputError
from nap.common.text import check_known, did_you_mean
from nap.data.problems import Problem

TASKS = {
    "arith": "nap.tasks.arith:Arith",
    "countdown": "nap.tasks.countdown:Countdown",
    "sudoku": "nap.tasks.sudoku:Sudoku",
    "sudoku-6x6": "nap.tasks.sudoku:Sudoku6",
    "grids": "nap.tasks.grids:Grids",
    "agree": "nap.tasks.agree:Agree",
    "igsm": "nap.tasks.igsm:Igsm",
    "gsm8k": "nap.tasks.public:Gsm8k",
    "multiarith": "nap.tasks.public:MultiArith",
    "math500": "nap.tasks.public:Math500",
    "jsonl": "nap.tasks.jsonl:Jsonl",
    "restore": "nap.tasks.restore:Restore",
}

# One generated problem in this many is held out for testing.
TEST_SHARE = 16


class Task(Protocol):
    """Problems, and the check of an answer to one of them."""

    @property
    def name(self) -> str:
        """The task's key in `TASKS`."""
        ...

    def load(self, split: str = "test", limit: int | None = None, path: str | None = None) -> list[Problem]:
        """The first `limit` problems of a split, or of the file `path`. Raises InputError if there is no such data."""
        ...

    def extract(self, problem: Problem, text: str) -> str | None:
        """The answer that a model's text gives, for display; None where it gives none."""
        ...

    def check(self, problem: Problem, text: str) -> bool:
        """Whether a model's text answers the problem, by any valid solution."""
        ...


@runtime_checkable
class Generator(Task, Protocol):
    """A task with an endless, seeded stream of problems."""

    def generate(self, seed: int, index: int, split: str) -> Problem:
        """Problem `index` of the stream `seed`: the same for the same arguments, never in both splits."""
        ...


@runtime_checkable
class Screens(Protocol):
    """A task that can say why a right answer could never be checked."""

    def unusable(self, gold: str) -> str | None:
        """Why an answer cannot be checked, such as `its answer 'many' holds no number`; None if it can."""
        ...


@runtime_checkable
class Reads(Protocol):
    """A task whose problems hold more than a question and an answer: it reads numbers or a grid from them."""

    def read(self, id: str, question: str, gold: object) -> Problem:
        """The problem that a question states; `gold` may be None. Raises InputError if the question states none."""
        ...


@runtime_checkable
class Gathers(Protocol):
    """A task whose answer is in the paths and not only in the summary."""

    def gather(self, paths: Sequence[str], summary: str) -> str:
        """The text to check, made from the paths and the summary."""
        ...


@runtime_checkable
class Equates(Protocol):
    """A task that knows which answers mean the same."""

    def same(self, one: str, other: str) -> bool:
        """Whether two answers are equal, as `$1,000` and `1000` are."""
        ...


class Alike:
    """Gives each answer to a problem in the words in which it first came, so that votes for it are counted together."""

    def __init__(self, task: Task) -> None:
        self.task, self.known = task, list[str]()

    def __call__(self, answer: str | None) -> str | None:
        """The first of the answers so far that is equal to this one; otherwise this one itself."""
        if answer is None or not isinstance(task := self.task, Equates):
            return answer
        first = next((one for one in self.known if task.same(one, answer)), None)
        if first is None:
            self.known.append(answer)
        return first or answer


@runtime_checkable
class Votes(Protocol):
    """A task that can read the answer of a single path."""

    def vote(self, problem: Problem, path: str) -> str | None:
        """The answer of one path in the form that `check` takes; None without one."""
        ...


@runtime_checkable
class Steps(Protocol):
    """A task that can read a solution step by step."""

    def steps(self, path: str) -> list[str]:
        """The steps of a path."""
        ...

    def holds(self, problem: Problem, step: str) -> bool:
        """Whether a step is right, whatever stands around it."""
        ...

    def solve(self, problem: Problem, steps: Sequence[str]) -> str | None:
        """The answer that follows from these steps alone, as `check` takes it; None where none does."""
        ...


@runtime_checkable
class Constrains(Protocol):
    """A task whose answer is a grid of digits, some of which its problem rules out."""

    def constrained(self, problem: Problem) -> Sequence[int | None]:
        """For each cell, how many digits the givens leave open; None for a cell that is given."""
        ...


@runtime_checkable
class Gapped(Protocol):
    """A task whose problems are texts with gaps, which are their own canvases."""

    def given(self, problem: Problem) -> str:
        """The text with gaps."""
        ...


@runtime_checkable
class Fills(Protocol):
    """A task all of whose right answers to a problem are equally long: grids."""

    def filled(self, problem: Problem) -> str:
        """A right answer, as words with spaces between them."""
        ...


@runtime_checkable
class Reasons(Protocol):
    """A task whose solutions have a form of their own in a canvas, and say values in a way of their own."""

    @property
    def value(self) -> re.Pattern[str]:
        """What finds a value that a step computes, as its first group, where something follows it."""
        ...

    def in_slots(self, texts: Sequence[str], slots: int, words: int) -> list[str]:
        """The solutions as the texts of so many slots, of so many words without their closing tags."""
        ...


def answer_text(task: Task, paths: Sequence[str], summary: str | None) -> str:
    """The text of a decoded canvas to check: its summary, its first path without one (None), or all of it."""
    if isinstance(task, Gathers):
        return task.gather(paths, summary or "")
    return paths[0] if summary is None else summary


def path_reader(task: Task, problems: Sequence[Problem]) -> Callable[[str, str], str | None] | None:
    """A function from a problem's id and a path's text to its answer; None for a task that reads no single paths.

    Equal answers come in the same words (`Alike`).
    """
    if not isinstance(task, Votes):
        return None
    known = {problem.id: (problem, Alike(task)) for problem in problems}

    def read(id: str, text: str) -> str | None:
        problem, alike = known[id]
        return alike(task.vote(problem, text))

    return read


def load_task(name: str, **settings: object) -> Task:
    """The task of a name, made with `settings` (its dataclass fields). Raises InputError for a name not in `TASKS`."""
    check_known("task", name, TASKS)
    module, _, attribute = TASKS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)(**settings)


def load_reader(name: str, *, prompt: str | None = None, answer: str | None = None, strict: bool = False) -> Task:
    """The task of a name, for a file with these names of the columns for question and right answer.

    strict  refuse a file with a row that has no checkable answer, instead of leaving the row out

    Raises InputError if the task has fixed columns, so that this would change nothing.
    """
    from nap.tasks.fields import USUAL, Fields

    fields, task = Fields(prompt=prompt, answer=answer), load_task(name)
    if fields == USUAL and not strict:
        return task
    if not hasattr(task, "fields"):
        raise InputError(f"{name} knows its own columns; --prompt-field, --answer-field and --strict change nothing")
    return load_task(name, fields=fields, strict=strict)


def split_of(key: str) -> str:
    """`test` for one key in sixteen, by its hash, else `train`. The key is the canonical content of a problem."""
    digest = blake2b(key.encode(), digest_size=1).digest()
    return "train" if digest[0] >= 256 // TEST_SHARE else "test"


def check_split(task: str, split: str, known: Sequence[str] = ("train", "test")) -> None:
    """Raise InputError for an unknown split; the search for a generated problem in it would never end."""
    if split not in known:
        raise InputError(f"{task} has no split {split!r}{did_you_mean(split, known)} known: {', '.join(known)}")


def data_file(name: str) -> Path:
    """The path of the data set file `name` in the folder NAP_DATA. Raises InputError if NAP_DATA is not set."""
    if not (folder := os.environ.get("NAP_DATA")):
        raise InputError(
            f"where the public data sets lie is not known: set NAP_DATA to the folder that holds {name}, or give a file"
        )
    return Path(folder) / name
