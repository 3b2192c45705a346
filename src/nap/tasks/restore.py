"""Texts with gaps that a model is to restore: rows with the text, and the whole text as its answer.

    {"text": "The capital of [MASK] is [MASK].", "answer": "The capital of France is Paris."}

Such a text is its own canvas (canvas/infill.py says how gaps are written). It is right when all gaps are; the
leaderboard takes the share of the masked tokens that is restored.

Does not mask texts, and knows no tokenizer.
"""

from dataclasses import dataclass
from itertools import islice

from nap.common.files import InputError, placed
from nap.common.rows import FileRow, read_rows
from nap.data.problems import Problem
from nap.tasks.fields import first_of, missing
from nap.tasks.prompts import TEXT


@dataclass(frozen=True, kw_only=True)
class Restore:
    """The task."""

    name: str = "restore"

    def load(self, split: str = "test", limit: int | None = None, path: str | None = None) -> list[Problem]:
        """The first `limit` problems of the file. Raises InputError without one, and for a row that lacks a text."""
        if path is None:
            raise InputError(f"task {self.name!r} reads a file of texts with gaps; name it with --data FILE")
        return [self._problem(row) for row in islice(read_rows(path), limit or None)]

    def given(self, problem: Problem) -> str:
        """The text with gaps."""
        return problem.prompt

    def extract(self, problem: Problem, text: str) -> str | None:
        """The whole text, filled."""
        return text.strip() or None

    def check(self, problem: Problem, text: str) -> bool:
        """Whether it is the answer, whatever its spaces."""
        return "".join(text.split()) == "".join(problem.answer.split())

    def _problem(self, row: FileRow) -> Problem:
        with placed(row.where):
            text, answer = first_of(row.value, TEXT), first_of(row.value, ["answer"])
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"{row.where}: {missing(row.value, 'its text with gaps', '--infill', None, TEXT)}")
        if not isinstance(answer, str) or not answer.strip():
            raise InputError(f"{row.where}: a text with gaps needs the whole text as its answer, got {answer!r:.60}")
        return Problem(id=f"{self.name}-{row.number}", prompt=text, answer=answer, task=self.name)
