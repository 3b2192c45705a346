"""A record's columns follow from its fields, and what is read back is what was written or is refused by its column."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nap.common.files import InputError
from nap.common.records import checked, columns, from_row, to_row


@dataclass(frozen=True, kw_only=True)
class Known:
    name: str
    share_at_1: float | None
    count: int | None = None
    right: bool = False
    parts: tuple[str, ...] = ()


WHOLE = {"name": "a", "share@1": 0.5, "count": 3, "right": True, "parts": ("x", "y")}

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
wholes = st.integers(-(2**63) + 1, 2**63 - 1)
finite = st.floats(allow_nan=False, allow_infinity=False)
records = st.builds(
    Known, name=texts, share_at_1=st.none() | finite, count=st.none() | wholes, right=st.booleans(),
    parts=st.lists(texts, max_size=3).map(tuple),
)  # fmt: skip


@given(records)
def test_a_record_survives_its_row(record):
    assert tuple(to_row(record)) == columns(Known) == ("name", "share@1", "count", "right", "parts")
    assert from_row(Known, to_row(record)) == checked(record) == record


def test_what_is_not_there_takes_its_default_and_what_nobody_knows_is_left_out():
    assert from_row(Known, {"name": "a", "share@1": None, "later": 1}) == Known(name="a", share_at_1=None)
    with pytest.raises(InputError, match="there is no share@1"):
        from_row(Known, {"name": "a"})


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("name", None, "name must be text, got None"),
        ("name", "\ud800", "name must be text that UTF-8 can hold"),
        ("share@1", "x", "share@1 must be a finite number, got 'x'"),
        ("share@1", float("nan"), "finite number, got nan"),
        ("share@1", 10**400, "finite number"),
        ("share@1", True, "finite number, got True"),
        ("count", 10**30, "count must be a whole number of at most 64 bits, got 1000"),
        ("count", 3.0, "whole number"),
        ("count", False, "whole number"),
        ("right", 1, "right must be true or false, got 1"),
        ("parts", "xy", "parts must be a list of texts"),
        ("parts", ["x", 1], "parts must be text, got"),
    ],
)
def test_a_value_that_its_field_cannot_hold_is_refused_by_its_column(column, value, said):
    with pytest.raises(InputError, match=said) as caught:
        from_row(Known, WHOLE | {column: value})
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("column", "value"),
    [("share@1", float("nan")), ("share@1", float("inf")), ("count", 10**400), ("count", -(2**63)), ("count", True),
     ("name", "\ud800"), ("parts", ["\ud800"]), ("parts", [1]), ("parts", (1,)), ("right", 1), ("share@1", "x")],
)  # fmt: skip
def test_a_row_like_one_that_was_read_before_is_checked_as_that_was(column, value):
    for row in (WHOLE, WHOLE | {"parts": ["x"]}, WHOLE | {"parts": ()}) * 2:
        assert from_row(Known, row).name == "a"
        with pytest.raises(InputError, match=f"^{column} "):
            from_row(Known, row | {column: value})
