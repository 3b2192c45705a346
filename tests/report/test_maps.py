"""A map of where and when: shares of what became final at a place, without stripes and without empty parts."""

import numpy as np
import pytest

from nap.data.trace import COMMIT
from nap.report.maps import BINS, heat_maps
from nap.report.runs import Recorded
from samples import PAD, chain, lanes, trace_of


def shares_of(*traces):
    (one,) = heat_maps([Recorded(trace=trace, model="toy", policy="ar", pace="1/step") for trace in traces])
    return np.array(one.shares).reshape(BINS, BINS), one


def test_left_to_right_is_the_diagonal():
    shares, _ = shares_of(chain(length=48))
    assert (shares == 1000 * np.eye(BINS)).all()


@pytest.mark.parametrize("length", [5, 12, 23, 24, 25, 93])
def test_every_place_shares_out_all_of_its_tokens_whatever_the_length(length):
    shares, _ = shares_of(chain(length=length))
    assert np.abs(shares.sum(0) - 1000).max() <= BINS / 2


@pytest.mark.parametrize("steps", [1, 5, 12, 40])
def test_any_number_of_steps_leaves_no_stripes(steps):
    # Every step writes tokens evenly over the canvas: no time and no place stands out.
    per = 12
    events = [(step, COMMIT, 4 + step + steps * place, 3) for step in range(steps) for place in range(per)]
    shares, _ = shares_of(trace_of(events, length=steps * per))
    rows = shares.sum(1)
    assert rows.min() > 0.8 * rows.mean() and rows.max() < 1.2 * rows.mean()


def test_padding_and_its_steps_take_no_room():
    text = [(i, COMMIT, 4 + i, 3) for i in range(12)]
    padded = text + [(i, COMMIT, 4 + i, PAD) for i in range(12, 40)]
    with_padding, without = shares_of(trace_of(padded, length=40)), shares_of(trace_of(text, length=12))
    assert (with_padding[0] == without[0]).all()


def test_slots_are_as_wide_as_their_tokens_and_traces_of_all_lengths_lie_over_each_other():
    shares, one = shares_of(lanes(), lanes(length=12))
    assert len(one.slots) == 4 and one.slots[-1] == 1 and one.slots == sorted(one.slots)
    assert one.slots[:3] == pytest.approx([20 / 62, 40 / 62, 60 / 62], abs=1e-3)
    assert one.traces == 2 and shares.min() >= 0


def test_a_setting_that_finalised_nothing_has_no_map():
    assert heat_maps([Recorded(trace=trace_of([]), model="toy", policy="ar", pace="1/step")]) == []
