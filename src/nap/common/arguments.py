"""What Python callers give, checked against the annotations of the function that they call.

    @checked_arguments
    def load(name: str | PathLike[str], *, shift: bool | None = None) -> Denoiser: ...

    load("arith-nap", shift="False")      # InputError: shift must be True or False or None, got 'False'

Does not look inside sequences of sequences, and does not know which texts or numbers are allowed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, wraps
from inspect import Parameter, signature
from numbers import Integral, Real
from os import PathLike, fspath
from types import NoneType, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from nap.common.files import InputError

P = ParamSpec("P")
R = TypeVar("R")
MISFIT = object()
NOT_LISTS = (str, bytes, bytearray, Mapping)
WORDS = {
    int: "a whole number", float: "a number", bool: "True or False", str: "a text", NoneType: "None",
    PathLike: "a path", Callable: "a function",
}  # fmt: skip


def checked_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """The function, with an InputError that names the first argument whose type does not fit its annotation.

    A path arrives in it as a text, and a number of NumPy as Python's own.
    """
    called = signature(function)
    hints = cache(lambda: get_type_hints(function))

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        given = called.bind(*args, **kwargs)
        for name, value in given.arguments.items():
            kind = called.parameters[name].kind
            if (hint := hints().get(name)) and kind is not Parameter.VAR_KEYWORD:
                several = kind is Parameter.VAR_POSITIONAL
                found = [_taken(name, one, hint) for one in (value if several else [value])]
                given.arguments[name] = tuple(found) if several else found[0]
        return function(*given.args, **given.kwargs)

    return checked


def checked_fields(kind: type[R]) -> type[R]:
    """The dataclass, whose fields are checked in the same way wherever one is made."""
    kind.__init__ = checked_arguments(kind.__init__)
    return kind


def _taken(name: str, value: object, hint: object) -> object:
    """The value as the function wants it. Raises InputError where the annotation does not allow it."""
    kinds = _kinds(hint)
    found = _fit(value, kinds)
    if found is MISFIT:
        *others, last = dict.fromkeys(map(_words, kinds))
        allowed = f"{', '.join(others)} or {last}" if others else last
        raise InputError(f"{name} must be {allowed}, got {value!r:.60}")
    return found


def _kinds(hint: object) -> list[Any]:
    """What a hint allows. Names that it lists count as any text: who knows them says which was meant."""
    if get_origin(hint) in (Union, UnionType):
        return [kind for part in get_args(hint) for kind in _kinds(part)]
    return [str] if get_origin(hint) is Literal else [hint]


def _fit(value: object, kinds: Iterable[Any]) -> object:
    """The value as the first of these kinds that it fits, or MISFIT."""
    return next((fit for kind in kinds if (fit := _as(value, kind)) is not MISFIT), MISFIT)


def _as(value: object, kind: Any) -> object:
    bare = get_origin(kind) or kind
    if bare in (int, float):
        return _number(value, bare)
    if bare is PathLike:
        return fspath(value) if isinstance(value, PathLike) else MISFIT
    if bare is Sequence:
        return _list(value, _kinds(get_args(kind)[0]))
    if getattr(bare, "_is_protocol", False) and bare is not Callable:
        fits = all(hasattr(value, name) for name in vars(bare) if not name.startswith("_"))
    else:
        fits = isinstance(value, bare)
    return value if fits else MISFIT


def _number(value: object, kind: type) -> object:
    if isinstance(value, bool) or not isinstance(value, Integral if kind is int else Real):
        return MISFIT
    try:
        float(value)
    except OverflowError:
        return value if kind is int else MISFIT
    if isinstance(value, int | float):
        return value
    return int(value) if isinstance(value, Integral) else float(value)


def _list(value: object, kinds: list[Any]) -> object:
    """A list whose members are of these kinds; one of lists is left as it is."""
    if isinstance(value, NOT_LISTS) or not isinstance(value, Iterable):
        return MISFIT
    if any(get_origin(kind) is Sequence for kind in kinds):
        return value
    found = [_fit(one, kinds) for one in value]
    return MISFIT if any(one is MISFIT for one in found) else found


def _words(kind: Any) -> str:
    bare = get_origin(kind) or kind
    if bare is Sequence:
        return f"a list of {' or '.join(map(_members, _kinds(get_args(kind)[0])))}"
    name = bare.__name__
    return WORDS.get(bare) or f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"


def _members(kind: Any) -> str:
    return "lists" if get_origin(kind) is Sequence else f"{_words(kind).partition(' ')[2]}s"
