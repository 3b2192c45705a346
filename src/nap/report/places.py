"""Short names for folders and files, so that a page that is passed on does not reveal the machine's paths.

An absolute path becomes its last part, with as many parts before it as are needed to tell it from the others.

Does not look for paths in model output, and does not change relative paths.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath, PureWindowsPath

from nap.common.records import Json
from nap.common.text import last_parts
from nap.report.runs import Run

DEEPEST = 40  # the most parts of a path


class Places:
    """The absolute paths that these runs are made of, each with its short name."""

    def __init__(self, runs: Iterable[Run]) -> None:
        found = dict.fromkeys(path for run in runs for text in _texts(run) for path in _absolute(text))
        self.short = last_parts(found, separators="/\\")
        longest = sorted(self.short, key=len, reverse=True)
        # Not inside a longer name: /a/model does not match in /a/model-2.
        self.known = re.compile("|".join(f"{re.escape(path)}(?![\\w-])" for path in longest) or r"(?!)")

    def text(self, text: str) -> str:
        """The text with the short names."""
        return self.known.sub(lambda found: self.short[found[0]], text)

    def everywhere(self, value: Json) -> Json:
        """The value with the short names in all its texts."""
        if isinstance(value, dict):
            return {self.text(key): self.everywhere(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return [self.everywhere(part) for part in value]
        return self.text(value) if isinstance(value, str) else value


def _texts(run: Run) -> Iterator[str]:
    yield run.name
    yield from _strings([*run.setting.values()])
    yield from (record.model for record in run.records)
    yield from (record.policy for record in run.records)
    for one in run.traces:
        yield from (one.model, one.policy)


def _strings(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple | dict):
        for part in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from _strings(part)


def _absolute(text: str) -> Iterator[str]:
    """The paths that a text is or contains as settings, as in `demask:guide=/home/me/guide`. `/no_think` is no path."""
    for part in {text, *re.split(r"[=,]", text)}:
        for kind in (PurePosixPath, PureWindowsPath):
            path = kind(part)
            if path.is_absolute() and 3 <= len(path.parts) <= DEEPEST and "\n" not in part:
                yield part.rstrip("/\\")
                break
