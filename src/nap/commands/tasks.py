"""`nap problems` and `nap score`: a task's problems, and the accuracy of a file of outputs."""

import json
from dataclasses import asdict, dataclass, replace
from typing import Annotated

from tyro.conf import Positional, arg

from nap.commands.flags import Words
from nap.common.files import InputError


@dataclass(frozen=True, kw_only=True)
class Score:
    """Accuracy of a file of outputs."""

    file: Annotated[Positional[str], arg(metavar="FILE")]
    """a .jsonl whose rows have the model's text (generation, output, completion, response or text) and the right answer
    (ground_truth, gold, target or answer), or for the public tasks the question"""
    task: str
    """which task's extraction and check to use"""
    by: Words = None
    """a field of the rows to group by, such as gen_length"""
    json: bool = False
    """print one JSON object"""

    def run(self) -> None:
        """Print accuracy with Wilson's interval."""
        from nap.common.text import printable
        from nap.evaluation.score import score_file

        scores = score_file(self.file, self.task, by=self.by)
        if not self.json:
            groups = tuple(replace(group, name=printable(group.name)) for group in scores.groups)
            print(replace(scores, by=self.by and printable(self.by), groups=groups))
            return
        groups = [
            {
                "group": group.name,
                "right": group.correct,
                "rows": group.total,
                "no_answer": group.missing,
                "accuracy": group.accuracy,
                "interval": list(group.interval),
            }
            for group in scores.groups
        ]
        print(json.dumps({"task": self.task, "by": self.by, "groups": groups}))


@dataclass(frozen=True, kw_only=True)
class Problems:
    """Print a task's problems as JSONL."""

    task: str
    """arith, countdown, sudoku, grids, agree, gsm8k, math500, multiarith, or jsonl with --data"""
    split: str = "test"
    """train or test"""
    limit: int = 5
    """how many"""
    data: Words = None
    """the task's problems from this file"""

    def run(self) -> None:
        """One JSON object a line."""
        from nap.common.text import visible
        from nap.tasks.registry import load_task

        if self.limit < 1:
            raise InputError(f"limit must be at least 1, got {self.limit}")
        for problem in load_task(self.task).load(self.split, self.limit, self.data):
            line = json.dumps(asdict(problem), ensure_ascii=False)
            # JSON leaves some characters as they are that move a cursor.
            print(visible(line, quote=json.dumps))
