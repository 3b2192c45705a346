"""Problems: a question, its checkable answer, and whatever else the checker of a task needs.

Does not load or check them; the tasks do.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from nap.common.files import InputError


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A question and its checkable answer. `meta` holds what the checker needs (numbers, grid, critical path)."""

    id: str
    prompt: str
    answer: str
    task: str = ""
    # The keys differ from task to task.
    meta: dict[str, Any] = field(default_factory=dict)


def check_ids(problems: Iterable[Problem], task: str) -> None:
    """Raise InputError that names an id which several problems of a task have."""
    for name, times in Counter(problem.id for problem in problems).most_common(1):
        if times > 1:
            raise InputError(f"{times} problems of task {task!r} have the id {name!r}; give each its own")
