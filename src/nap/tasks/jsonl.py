"""Any JSONL file of questions and answers as a task.

    {"prompt": "What is 6 times 7?", "answer": 42, "id": "a1"}        # `id` may be left out

A number is compared as a number, anything else as text without case, outer punctuation and repeated spaces. For
answers in LaTeX load the file with the task `math500` instead.

Does not know paraphrases: an answer in other words is wrong.
"""

import re
from dataclasses import dataclass

from nap.common.files import InputError
from nap.common.rows import read_rows
from nap.data.problems import Problem
from nap.tasks.answers import extract_number, marked_answers, same_number, to_number
from nap.tasks.public import problems


@dataclass(frozen=True, kw_only=True)
class Jsonl:
    """Your own problems, from a file that `load` is given."""

    name: str = "jsonl"

    def load(self, split: str = "test", limit: int | None = None, path: str | None = None) -> list[Problem]:
        """The first `limit` problems of the file (all by default). A bad line is named by its number."""
        if path is None:
            raise InputError("task 'jsonl' reads a file of your own; name it with --data FILE")
        return problems(self.name, read_rows(path), limit)

    def extract(self, problem: Problem, text: str) -> str | None:
        """The number that the text gives, if the problem's answer is one; else its marked answer, or its last line."""
        if to_number(problem.answer) is not None:
            return extract_number(text)
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return next(marked_answers(text), None) or (lines[-1] if lines else None)

    def check(self, problem: Problem, text: str) -> bool:
        """Whether the text's answer is the problem's."""
        answer = self.extract(problem, text)
        return same_number(answer, problem.answer) or (answer is not None and _plain(answer) == _plain(problem.answer))


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip(" .!?\"'").casefold()
