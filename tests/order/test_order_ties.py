"""The orders that ties allow: by hand, against brute force, and refused where a trace cannot tell."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nap.common.files import InputError
from nap.data.trace import COMMIT, REMASK, Event, RunnerUp, Trace
from nap.order.measure import measure
from nap.order.ties import Band, bands, reordered

MASK = 0


def trace(order, near, keep=0.1, in_slots=False, region=None):
    """Four positions (or as many as `order` has) that are committed one a step."""
    return Trace(
        problem_id="p",
        initial=(MASK,) * len(order),
        region=tuple(region or [0] * len(order)),
        events=tuple(Event(step, COMMIT, position, 5, 0.9) for step, position in enumerate(order)),
        forwards=len(order),
        mask_id=MASK,
        runners_up=tuple(tuple(RunnerUp(*one) for one in step) for step in near),
        setting={"runners_up": {"keep": keep, "in_slots": in_slots}},
    )


def steps(found):
    return found.steps.tolist()


def test_each_step_takes_the_leftmost_or_the_rightmost_of_what_was_as_good():
    one = trace([2, 1, 0, 3], [[(1, 0.0), (3, 0.01)], [], [], []])
    # From the left 1 goes first, and 2, which was put off, is not as far left as 1 in step 1 but is all there is.
    assert steps(reordered(one, 0.01, "left")) == [2, 0, 1, 3]
    assert steps(reordered(one, 0.01, "right")) == [3, 2, 1, 0]
    # 3 was .01 away, which is not within .005.
    assert steps(reordered(one, 0.005, "right")) == steps(reordered(one, 0, "right")) == [2, 1, 0, 3]


def test_a_path_that_has_its_turn_chooses_among_its_own_positions():
    near = [[(1, 0.0), (2, 0.0), (3, 0.0)], [], [], []]
    free = trace([0, 2, 1, 3], near, region=[0, 0, 1, 1])
    held = trace([0, 2, 1, 3], near, in_slots=True, region=[0, 0, 1, 1])
    assert steps(reordered(free, 0.1, "right")) == [3, 2, 1, 0]
    assert steps(reordered(held, 0.1, "right")) == [2, 0, 1, 3]


@given(st.permutations(range(6)), st.lists(st.lists(st.integers(0, 5), max_size=3), min_size=6, max_size=6))
def test_any_choice_finalises_every_position_once_and_the_left_is_no_further_right(order, near):
    one = trace(order, [[(p, 0.0) for p in step if p not in order[: i + 1]] for i, step in enumerate(near)])
    left, right = (reordered(one, 0.1, side) for side in ("left", "right"))
    assert sorted(steps(left)) == sorted(steps(right)) == list(range(6))
    first = [steps(found).index(0) for found in (left, right)]
    assert first[0] <= order[0] <= first[1]


def test_a_trace_without_ties_has_no_band():
    one = trace([2, 0, 1], [[], [], []])
    report = measure(one)
    left, right = measure(reordered(one, 0.1, "left")), measure(reordered(one, 0.1, "right"))
    found = bands(report, left, right, report)
    assert {band.name for band in found} == {"tau-b", "Global-ARness@1", "tau-b in a path", "ARness@1 in a path"}
    assert all(band.width == 0 for band in found)


def test_a_difference_no_larger_than_its_band_is_not_identified():
    band = Band("tau-b", 0.2, right=-0.3, left=0.5, random=0.0)
    assert band.width == pytest.approx(0.8) and not band.identified()
    assert band.identified(Band("tau-b", -0.7, -0.7, -0.7, 0.0)) and not band.identified(
        Band("tau-b", -0.5, -1.3, -0.5, 0.0)
    )
    # What decoding again gives may leave out what the decoder did itself.
    assert Band("tau-b", 0.2, right=0.1, left=0.1, random=0.0).width == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"runners_up": ()}, "kept no runners-up; decode with keep=0.05"),
        ({"setting": {}}, "kept no runners-up"),
        ({"setting": {"runners_up": {"keep": "x"}}}, "kept no runners-up"),
        ({"setting": {"runners_up": {"keep": 0.01}}}, "kept runners-up within 0.01, not 0.05"),
        ({"events": (Event(0, COMMIT, 0, 5, 0.9), Event(1, REMASK, 0, MASK, 0.9))}, "takes tokens back"),
    ],
)
def test_a_trace_that_cannot_tell_is_refused(changed, said):
    one = dataclasses.replace(trace([0, 1], [[], []]), **changed)
    with pytest.raises(InputError, match=said):
        reordered(one, 0.05, "left")
