"""Prompts of a file: rows with a question under its usual names, or a text with one prompt a line.

Does not know right answers; tasks do.
"""

import re
from pathlib import Path

from nap.common.files import InputError, open_input, read_text
from nap.common.kinds import HEAD
from nap.common.rows import read_rows
from nap.tasks.fields import QUESTION, missing, question_of

# What files of rows begin with: JSON, a byte order mark, UTF-16, Parquet, gzip.
_ROWS = re.compile(rb"\s*[\[{]|\xef\xbb\xbf\s*[\[{]|\xff\xfe|\xfe\xff|PAR1|\x1f\x8b")


def read_prompts(path: str | Path) -> list[str]:
    """The prompts of a file, `-` for standard input. Raises InputError for a row without a question, and for none."""
    with open_input(path) as file:
        head = file.read(HEAD)
    if _ROWS.match(head) or str(path).endswith((".csv", ".tsv", ".parquet")):
        found = []
        for row in read_rows(path):
            if not (question := question_of(row.value)):
                raise InputError(f"{row.where}: {missing(row.value, 'its question', '--prompt', None, QUESTION)}")
            found.append(question)
    else:
        found = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not found:
        raise InputError(f"{path} holds no prompts; it should hold one a line, or rows with a question")
    return found
