"""`nap problems` and `nap score`: a task's problems, and the accuracy of a file of outputs.

Does not judge answers (tasks/).
"""

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from nap.commands.flags import Columns, Words, check_rows_file
from nap.common.bounds import PROBLEMS, check
from nap.common.files import check_apart
from nap.common.text import say

if TYPE_CHECKING:
    from nap.evaluation.score import Scores


@dataclass(frozen=True, kw_only=True)
class Score:
    """Measure the accuracy of a file of outputs."""

    file: Annotated[Positional[str], arg(metavar="FILE")]
    """rows with a model's text and the right answer (for public tasks the question is enough): JSONL, JSON, Parquet
    or CSV, also gzipped"""
    task: str
    """the task whose rules find the answers and check them (docs/answers.md)"""
    by: Words = None
    """a field of the rows to group by, such as gen_length"""
    output_field: Words = None
    """the field with the model's text (default: the usual names)"""
    answer_field: Words = None
    """the field with the right answer (default: the usual names)"""
    prompt_field: Words = None
    """the field with the question (default: the usual names)"""
    stop: Annotated[tuple[str, ...] | None, arg(metavar="TEXT", help_behavior_hint="")] = None
    """texts end before the first of these strings, \\n for a new line; "" for none (default: where another question
    begins)"""
    out: Words = None
    """write each verdict and the extracted answer to this .jsonl or .parquet file"""
    strict: bool = False
    """refuse a file with a row that has no checkable answer, instead of leaving the row out"""
    json: bool = False
    """print one JSON object"""

    def run(self) -> None:
        """Print accuracy with Wilson's interval."""
        from nap.common.text import printable
        from nap.evaluation.score import score_file, write_scored
        from nap.tasks.fields import Fields
        from nap.tasks.public import tell_left_out

        check_rows_file(self.out, "verdicts")
        check_apart(self.out, self.file)
        columns = Fields(prompt=self.prompt_field, answer=self.answer_field, output=self.output_field)
        stop = None if self.stop is None else tuple(text.replace("\\n", "\n") for text in self.stop if text)
        scores = score_file(self.file, self.task, by=self.by, columns=columns, stop=stop, strict=self.strict)
        if self.out is not None:
            write_scored(scores.rows, self.out)
        tell_left_out(scores.left_out, say)
        if scores.repeats:
            say(
                f"{scores.repeats} rows not counted, as they repeat a document for another filter of lm-eval; "
                "--by filter shows each filter"
            )
        if self.json:
            print(json.dumps(_as_json(self.task, self.by, scores)))
            return
        groups = tuple(replace(group, name=printable(group.name)) for group in scores.groups)
        print(replace(scores, by=self.by and printable(self.by), groups=groups))


def _as_json(task: str, by: str | None, scores: "Scores") -> dict[str, object]:
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
    return {"task": task, "by": by, "groups": groups, "left_out": list(scores.left_out), "repeats": scores.repeats}


@dataclass(frozen=True, kw_only=True)
class Problems:
    """Print a task's problems as JSONL."""

    task: str
    """arith, countdown, sudoku, sudoku-6x6, grids, agree, igsm, gsm8k, math500, multiarith, or jsonl or restore
    with --data"""
    split: str = "test"
    """train or test"""
    limit: int = 5
    """how many problems"""
    data: Words = None
    """the task's problems from this file"""
    columns: OmitArgPrefixes[Columns] = Columns()

    def run(self) -> None:
        """One JSON object a line."""
        from nap.common.text import visible
        from nap.tasks.drawn import stream
        from nap.tasks.public import left_out_of, tell_left_out
        from nap.tasks.registry import Generator, load_reader

        check("limit", self.limit, PROBLEMS)
        columns = self.columns
        task = load_reader(self.task, prompt=columns.prompt_field, answer=columns.answer_field, strict=columns.strict)
        if self.data is None and isinstance(task, Generator):
            problems = stream(task, self.split, self.limit)  # printed as they come
        else:
            problems = task.load(self.split, self.limit, self.data)
            tell_left_out(left_out_of(problems), say)
        for problem in problems:
            line = json.dumps(asdict(problem), ensure_ascii=False)
            # JSON leaves some characters unescaped that move a cursor.
            print(visible(line, quote=json.dumps))
