"""Every scored token is predicted where exactly its own text before it is seen, in forwards that are small enough."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nap.dependence.forest
from nap.dependence.forest import packed, plant
from nap.dependence.scorer import Branch, Reading

ids = st.lists(st.integers(0, 9), min_size=1, max_size=12).map(tuple)


@st.composite
def reading(draw):
    trunk = draw(ids)
    branches = draw(st.lists(st.builds(Branch, st.integers(1, len(trunk)), ids), min_size=1, max_size=5))
    return Reading(trunk, branches, draw(st.integers(1, len(trunk))))


def asked(readings):
    """(text before it, token) of all that is scored, in sequence."""
    for trunk, branches, scored_from in readings:
        yield from ((trunk[:i], trunk[i]) for i in range(scored_from, len(trunk)))
        for after, own in branches:
            yield from (((*trunk[:after], *own[:i]), token) for i, token in enumerate(own))


def seen(planted, part, token):
    """The ids that a token of a part sees, by their place."""
    keys = np.array([*range(part.cached), *range(part.first, part.last)])
    [visible] = planted.forest.visible(np.array([token]), keys)
    places = planted.forest.position_T[keys[visible]]
    assert sorted(places) == list(range(len(places)))
    return tuple(planted.token_T[keys[visible][np.argsort(places)]])


@given(st.lists(reading(), min_size=1, max_size=4), st.sampled_from([3, 8, 30, 100]))
def test_each_scored_token_is_predicted_by_a_token_that_sees_the_text_before_it_and_nothing_else(readings, most):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nap.dependence.forest, "FORWARD", most)
        packs = list(packed(readings))
        assert sorted(i for pack in packs for i in pack) == list(range(len(readings)))
        for pack in packs:
            planted = plant([readings[i] for i in pack])
            parts = {t: part for part in planted.parts for t in range(part.first, part.last)}
            assert list(parts) == list(range(len(planted.token_T)))
            predicted = zip(planted.predicted_at_S.tolist(), planted.scored_S, strict=True)
            found = [(seen(planted, parts[t], t), token) for t, token in predicted]
            assert found == list(asked(readings[i] for i in pack))
            longest = max(len(branch.ids) for i in pack for branch in readings[i].branches)
            assert all(part.last - part.first <= max(most, longest) for part in planted.parts)


def test_a_long_trunk_is_read_in_parts_and_its_branches_on_what_they_see_of_it(monkeypatch):
    monkeypatch.setattr(nap.dependence.forest, "FORWARD", 4)
    planted = plant([Reading(tuple(range(7)), [Branch(2, (8, 9)), Branch(5, (8, 9, 8))], 3)])
    assert [tuple(part) for part in planted.parts] == [(0, 0, 4), (4, 4, 6), (5, 6, 9)]


def test_short_readings_share_a_forward_whatever_stands_between_them(monkeypatch):
    monkeypatch.setattr(nap.dependence.forest, "FORWARD", 10)
    sizes = [4, 30, 6, 3]
    assert list(packed([Reading(tuple(range(size)), [], 1) for size in sizes])) == [[0, 2], [3], [1]]
