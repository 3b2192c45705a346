"""Who sees shadows, and whom they see: against the definition, cell by cell."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nap.canvas.visibility import Layout, visible, visible_beside
from nap.data.trace import OUTSIDE, PROMPT


@st.composite
def cases(draw):
    """(layout, shadows, block size) of two rows, the second shorter."""
    length, shorter = draw(st.integers(3, 8)), draw(st.integers(2, 3))
    region = np.full((2, length), OUTSIDE)
    for row, end in ((0, length), (1, shorter)):
        region[row, 0] = PROMPT
        region[row, 1:end] = draw(st.lists(st.integers(0, 2), min_size=end - 1, max_size=end - 1))
    attention = draw(st.tuples(*[st.sampled_from(["full", "paths"])] * 2))
    count = draw(st.integers(0, 3))
    shadows = np.array([[draw(st.integers(-1, end - 1)) for _ in range(count)] for end in (length, shorter)], np.int64)
    return Layout(region, attention, (2, 2)), shadows.reshape(2, count), draw(st.sampled_from([None, 2, 3]))


@given(cases())
def test_a_shadow_sees_what_its_place_sees_but_not_the_place_and_only_shadows_see_it(case):
    layout, shadows, block = case
    (rows, length), count = layout.region_BL.shape, shadows.shape[1]
    found = visible_beside(layout, shadows, block_size=block)
    plain = visible(layout, block_size=block)
    plain = np.ones((rows, length, length), bool) if plain is None else plain
    assert found.shape == (rows, length + count, length + count)
    assert (found[:, :length, :length] == plain).all() and not found[:, :length, length:].any()
    for row in range(rows):
        for n, at in enumerate(shadows[row]):
            if at < 0:
                assert not found[row, :, length + n].any()
                continue
            for key in range(length):
                assert found[row, length + n, key] == (plain[row, at, key] and key != at)
            for other, there in enumerate(shadows[row]):
                if there >= 0:
                    assert found[row, length + n, length + other] == plain[row, at, there]
