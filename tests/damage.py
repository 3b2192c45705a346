"""What can happen to a file: cut, bytes written over, put in, taken out or repeated, as hypothesis draws it."""

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

Change = tuple[str, float, int, bytes]


def changes() -> st.SearchStrategy[Change]:
    """One change: its kind, where (a share of the length), how long, and new bytes."""
    kinds = st.sampled_from(["flip", "flip", "insert", "delete", "repeat", "cut"])
    return st.tuples(kinds, st.floats(0, 1), st.integers(1, 40), st.binary(min_size=1, max_size=8))


def damaged(data: bytes, many: Sequence[Any]) -> bytes:
    """The data after all the changes."""
    for kind, where, length, new in many:
        at = int(where * len(data))
        if kind == "cut":
            data = data[:at]
        elif kind == "delete":
            data = data[:at] + data[at + length :]
        elif kind == "repeat":
            data = data[:at] + data[at : at + length] * 3 + data[at + length :]
        else:
            data = data[:at] + new + data[at + (len(new) if kind == "flip" else 0) :]
    return data
