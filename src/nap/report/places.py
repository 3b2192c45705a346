"""Short names: of models, which they tell apart, and of folders and files, so that a page does not reveal the paths of
a machine when it is passed on.

An absolute path becomes its last part, with as many parts before it as are needed to tell it from the others.

Does not look for paths in model output, and does not change relative paths.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath, PureWindowsPath

from nap.common.records import Json
from nap.common.text import last_parts
from nap.evaluation.reuse import weights_of
from nap.evaluation.summary import shown_names
from nap.report.runs import Run

DEEPEST = 40  # the most parts of a path


def names_of(runs: Sequence[Run]) -> list[dict[str, str]]:
    """For each run what people read for its models, so that no two models of these runs are read as one.

    A model says which run it is of, where another run of the task has one of its cells, or other weights by its name.
    """
    shown, places = shown_names(name for run in runs for name in run.models), shown_names(run.name for run in runs)

    def twice(run: Run, model: str) -> bool:
        own = {record.cell for record in run.records if record.model == model}
        others = [one for one in runs if one is not run and one.task and one.task == run.task and model in one.models]
        weights = {weights_of(one.setting, model) for one in (run, *others)} - {None}
        return len(weights) > 1 or any(not own.isdisjoint(record.cell for record in one.records) for one in others)

    return [
        {name: f"{shown[name]} ({places[run.name]})" if twice(run, name) else shown[name] for name in run.models}
        for run in runs
    ]


def told_apart(runs: Sequence[Run], names: Sequence[Mapping[str, str]]) -> list[Run]:
    """The runs with the names of `names_of` in their records."""
    return [
        replace(run, records=[replace(record, label=own[record.model]) for record in run.records])
        for run, own in zip(runs, names, strict=True)
    ]


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
