"""The command that repeats a run, made from its setting: all flags whose value is not the default.

A setting is untrusted: only the names of a sweep become flags, and the command is quoted for a shell.

Does not run it, and does not check that `nap eval` accepts the values.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields

from nap.common.records import Json
from nap.evaluation.summary import Record
from nap.evaluation.sweep import Sweep

USUAL = {f.name: f.default for f in fields(Sweep)} | {"traces": 20}
# The paces of `nap eval` where none is given.
PACES: Sequence[Json] = [1, 2, 4, 8]
CANVAS = ("paths", "path_tokens", "summary_tokens", "tags", "attention", "after_end", "positions")
FIXED = {"plain": ("paths", "summary_tokens", "tags"), "longcot": ("paths",), "nap": ()}


def rerun(setting: Mapping[str, Json], out: str, records: Sequence[Record] = ()) -> str | None:
    """The `nap eval` command of this setting; None where the setting names no models or no task."""
    if not setting.get("models") or not setting.get("task"):
        return None
    words = ["nap", "eval"]
    for name, usual in USUAL.items():
        if (value := setting.get(name, usual)) is MISSING:
            continue
        if isinstance(usual, tuple) and not isinstance(value, list | tuple):
            value = [value]  # A version that took one has written one.
        if name == "canvas" and isinstance(value, dict):
            words += _canvas(value, told=setting.get("attention") is not None)
        elif not _is_usual(name, value, usual, setting):
            words += _flag(name, value)
    return shlex.join([*words, *_baseline(setting, records), *_flag("out", out)])


def _is_usual(name: str, value: Json, usual: object, setting: Mapping[str, Json]) -> bool:
    if name == "tokens_per_step":
        return not value or (value == PACES and not setting.get("steps"))
    same = [*value] == [*usual] if isinstance(value, list | tuple) and isinstance(usual, tuple) else value == usual
    return same or value is None or value == []


def _flag(name: str, value: Json) -> list[str]:
    """A flag and its values, written so that a value beginning with a dash does not look like a flag."""
    flag = f"--{name.replace('_', '-')}"
    if value is True and USUAL.get(name) is False:
        return [flag]
    if isinstance(value, list | tuple):
        return [flag, *map(str, value)]
    return [f"{flag}={value}"] if str(value).startswith("-") else [flag, str(value)]


def _canvas(spec: Mapping[str, Json], *, told: bool) -> list[str]:
    """The flags of a canvas that was not the model's own; its attention not where the sweep's own flag is `told`."""
    kind = "nap" if spec.get("paths") != 1 else "plain" if spec.get("tags") == "none" else "longcot"
    names = [name for name in CANVAS if name not in FIXED[kind] and not (told and name == "attention")]
    given = [(name, spec[name]) for name in names if spec.get(name) is not None]
    return ["--canvas", kind, *(word for name, value in given for word in _flag(name, value))]


def _baseline(setting: Mapping[str, Json], records: Sequence[Record]) -> list[str]:
    """The baseline that the run was compared with, where it is not the first model under low_confidence."""
    models = setting.get("models")
    usual = (models[0] if isinstance(models, list) and models else None, "low_confidence")
    cells = {record.cell: record for record in records}
    pairs = [
        (record, cells[found.baseline])
        for record in records
        if (found := record.comparison) and found.baseline in cells
    ]
    if not pairs or all((other.model, other.policy) == usual for _, other in pairs):
        return []
    other = pairs[0][1]
    whole = any((record.pace, record.cache) != (other.pace, other.cache) for record, other in pairs)
    return ["--baseline", other.cell if whole else f"{other.model} | {other.policy}"]
