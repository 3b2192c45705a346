"""Problems: a question, its checkable answer, and what a task's checker needs beside.

Does not load or check them; the tasks do.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A question and its checkable answer. `meta` holds what a task's checker needs (numbers, grid, critical path)."""

    id: str
    prompt: str
    answer: str
    task: str = ""
    # Each task knows its own.
    meta: dict[str, Any] = field(default_factory=dict)
