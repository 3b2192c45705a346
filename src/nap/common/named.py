"""Strategies by name: `threshold:tau=0.8,block=32` as a frozen dataclass and back. Used for policies and caches.

Does not know which names exist: policies and caches have tables of their own.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from nap.common.files import InputError
from nap.common.records import changed, has_default
from nap.common.text import check_known, did_you_mean

Kind = TypeVar("Kind")


def parse_named(what: str, text: str, kinds: Mapping[str, type[Kind]], listed: str = "") -> Kind:
    """One of `kinds`, from `name` or `name:setting=value,...`. Errors call it `what`, and say where all are `listed`.

    Raises InputError for what is no text, an unknown name or setting, a value of the wrong kind, a setting that is
    given twice, and one that is needed and not given.
    """
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # people pass None, or an object
        raise InputError(
            f"a {what} is given as text, name or name:setting=value, got {text!r}; known: {', '.join(kinds)}"
        )
    name, _, rest = text.partition(":")
    check_known(what, name, kinds, listed)
    kind: Any = kinds[name]
    settings = read_settings(f"{what} {name!r}", kind, [part for part in rest.split(",") if part])
    needed = [f.name for f in dataclasses.fields(kind) if not has_default(f) and f.name not in settings]
    if needed:
        raise InputError(f"{what} {name!r} needs {needed[0]}; write {name}:{needed[0]}=...")
    return kind(**settings)


def read_settings(whose: str, kind: type, parts: Iterable[str]) -> dict[str, Any]:
    """The fields of a frozen dataclass that texts `setting=value` set. Raises InputError as `parse_named` does."""
    found = dict[str, Any]()
    for key, _, value in (part.partition("=") for part in parts):
        if key in found:
            raise InputError(f"{whose}: {key} is given twice")
        found[key] = _value(whose, kind, key, value)
    return found


def said_name(value: Any, kinds: Mapping[str, type]) -> str:
    """The text that `parse_named` reads back, with only the settings that differ from their defaults."""
    name = next((name for name, kind in kinds.items() if type(value) is kind), type(value).__name__)
    said = changed(value)
    # The second model of a policy is written by its own name.
    return name + ":" * bool(said) + ",".join(f"{key}={getattr(of, 'name', of)}" for key, of in said.items())


def _value(whose: str, kind: Any, key: str, value: str) -> Any:
    default = {f.name: f.default for f in dataclasses.fields(kind)}
    if key not in default:
        raise InputError(
            f"{whose} has no setting {key!r}{did_you_mean(key, default)} it has: {', '.join(default) or 'none'}"
        )
    if key == "guide":
        return kind.open_guide(value)
    wanted: Any = int if default[key] is None else type(default[key])
    try:
        return wanted(value)
    except ValueError:
        raise InputError(f"{whose}: {key} must be {wanted.__name__}, got {value!r}") from None
