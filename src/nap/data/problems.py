"""Problems: a question, its checkable answer, and whatever else the checker of a task needs.

Does not load or check them; the tasks do.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A question and its checkable answer. `meta` holds what the checker needs (numbers, grid, critical path)."""

    id: str
    prompt: str
    answer: str
    task: str = ""
    # The keys differ from task to task.
    meta: dict[str, Any] = field(default_factory=dict)
