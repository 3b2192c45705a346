"""Frozen dataclasses as flat rows: the columns of a Parquet file and the keys of JSON follow from the fields.

A field `global_arness_at_1` is the column `global_arness@1`. Values that are read are checked against the type of the
field: text that UTF-8 can hold, whole numbers of 64 bits, finite numbers, truth values, tuples of texts or of
numbers, and None where the type allows it. A missing column takes the default of the field.

Does not know nested records.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from functools import cache
from math import isfinite
from operator import itemgetter
from types import NoneType
from typing import Any, NamedTuple, TypeVar, get_args, get_type_hints

from nap.common.files import InputError

Json = bool | float | str | Sequence["Json"] | Mapping[str, "Json"] | None
Check = Callable[[object], object]  # the value as the field holds it; raises ValueError for a wrong one

R = TypeVar("R")
LARGEST = 2**63 - 1


def column(field: str) -> str:
    """The column of a field: `_at_` is `@`."""
    return field.replace("_at_", "@")


@cache
def columns(kind: type) -> tuple[str, ...]:
    """The columns of a record, in the sequence of its fields."""
    return tuple(column(f.name) for f in fields(kind))


def to_row(record: object) -> dict[str, Json]:
    """The record as one flat row."""
    return {name: getattr(record, field) for name, field in _names(type(record))}


@cache
def _names(kind: type) -> tuple[tuple[str, str], ...]:
    return tuple((column(f.name), f.name) for f in fields(kind))


def from_row(kind: type[R], row: Mapping[str, object]) -> R:
    """The record of a row; columns without a field are ignored.

    Raises InputError for a column that is missing or holds a value that its field cannot.
    """
    shape = (kind, tuple(row), tuple(map(type, row.values())))
    if (known := _shapes.get(shape)) and known.holds(row):
        return kind(**known.values(row))
    values = {}
    for name, field, check, may_be_none, has_default in _checks(kind):
        value = row.get(name, MISSING)
        if value is None and may_be_none:
            values[field] = None
        elif value is not MISSING:
            try:
                values[field] = check(value)
            except ValueError as error:
                raise InputError(f"{name} {error}, got {value!r:.60}") from None
        elif not has_default:
            raise InputError(f"there is no {name}")
    if len(_shapes) < MOST_SHAPES and len(row) <= 2 * len(values):
        _shapes[shape] = _Shape.of(kind, row, values)
    return kind(**values)


class _Shape(NamedTuple):
    """The columns and types of a row that was read: rows of the same shape are checked all at once.

    fields          (column, field) of each column whose value is used unchanged; those of `lists` have their check
                    beside them
    numbers, texts  functions that take the numbers, and the texts, from a row
    """

    fields: tuple[tuple[str, str], ...]
    lists: tuple[tuple[str, str, Check], ...]
    numbers: Callable[[Mapping[str, object]], Sequence[float]]
    texts: Callable[[Mapping[str, object]], Sequence[str]]

    @classmethod
    def of(cls, kind: type, row: Mapping[str, object], values: Mapping[str, object]) -> "_Shape | None":
        """None where a value has to be converted, such as a whole number to a float."""
        known = [(name, field, check) for name, field, check, *_ in _checks(kind) if name in row]
        lists = tuple(one for one in known if isinstance(row[one[0]], list | tuple))
        fields = tuple((name, field) for name, field, _ in known if not isinstance(row[name], list | tuple))
        if any(values[field] is not row[name] for name, field in fields):
            return None
        of_type = {kind: [name for name, _ in fields if type(row[name]) is kind] for kind in (int, float, str)}
        return cls(fields, lists, _taking(of_type[int] + of_type[float]), _taking(of_type[str]))

    def holds(self, row: Mapping[str, object]) -> bool:
        """Whether all values are valid; where not, the single checks say what is wrong."""
        numbers = self.numbers(row)
        # A whole number too large for a float is out of range, so it is never asked whether it is finite.
        within = not numbers or -LARGEST <= min(numbers) <= max(numbers) <= LARGEST
        return within and all(map(isfinite, numbers)) and all(map(str.isascii, self.texts(row)))

    def values(self, row: Mapping[str, object]) -> dict[str, object]:
        """By field."""
        found = {field: row[name] for name, field in self.fields}
        for name, field, check in self.lists:
            try:
                found[field] = check(row[name])
            except ValueError as error:
                raise InputError(f"{name} {error}, got {row[name]!r:.60}") from None
        return found


def _taking(names: Sequence[str]) -> Callable[[Mapping[str, object]], Sequence[Any]]:
    if len(names) > 1:
        return itemgetter(*names)
    return lambda row: [row[name] for name in names]


# By kind, columns and types, because most rows of a file have the same shape.
_shapes: dict[tuple[object, ...], _Shape | None] = {}
MOST_SHAPES = 1000


def checked(record: R) -> R:
    """Returns the record. Raises InputError where a field holds an invalid value."""
    return from_row(type(record), to_row(record))


@cache
def _checks(kind: type) -> list[tuple[str, str, Check, bool, bool]]:
    hints = get_type_hints(kind)
    return [(column(f.name), f.name, *_known(hints[f.name]), has_default(f)) for f in fields(kind)]


def _known(hint: object) -> tuple[Check, bool]:
    """The check of a value, and whether it may be None. Raises KeyError for a type that no row can hold."""
    parts = [part for part in get_args(hint) if part is not NoneType]
    if NoneType not in get_args(hint):
        return CHECKS[hint], False
    return _known(parts[0])[0], True


def changed(value: Any) -> dict[str, Any]:
    """The fields of a dataclass that differ from their defaults."""
    return {f.name: own for f in fields(value) if (own := getattr(value, f.name)) != f.default}


def has_default(field: Field[Any]) -> bool:
    """Whether a field may be left out."""
    return field.default is not MISSING or field.default_factory is not MISSING


def check_of(hint: object) -> Check:
    """The check of a field's values."""
    check, may_be_none = _known(hint)
    return (lambda value: None if value is None else check(value)) if may_be_none else check


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be text")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("must be text that UTF-8 can hold") from None
    return value


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not -LARGEST <= value <= LARGEST:
        raise ValueError("must be a whole number of at most 64 bits")
    return value


def _number(value: object) -> float:
    try:
        if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value):
            return float(value)
    except OverflowError:  # A whole number too large for a float.
        pass
    raise ValueError("must be a finite number")


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError("must be a list of texts")
    return tuple(map(_text, value))


def _wholes(value: object) -> tuple[int, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError("must be a list of whole numbers")
    return tuple(map(_whole, value))


def _numbers(value: object) -> tuple[float, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError("must be a list of numbers")
    return tuple(map(_number, value))


CHECKS: dict[object, Check] = {
    str: _text, bool: _truth, int: _whole, float: _number, tuple[str, ...]: _texts, tuple[int, ...]: _wholes,
    tuple[float, ...]: _numbers,
}  # fmt: skip
