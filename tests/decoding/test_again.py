"""A trace is decoded once more: the same without a change, and in the order that ties allow with one."""

import dataclasses

import pytest

from nap.canvas.canvas import CanvasSpec, layout
from nap.common.files import InputError
from nap.data.trace_files import read_traces, trace_from_row, trace_to_row, write_traces
from nap.decoding.again import decode_again, knowing_nothing
from nap.decoding.budget import Budget
from nap.decoding.decode import decode_traces
from nap.decoding.policies.registry import parse_policy
from nap.models.silent import Silent
from nap.order.order import order_of
from nap.order.ties import reordered
from toys import MASK, PAD, WORDS

SILENT = Silent(MASK, PAD, len(WORDS), WORDS)
SPEC = CanvasSpec(paths=2, path_tokens=3, summary_tokens=2)


def traces(policy, count=2):
    canvases = [layout([5, 6], SPEC, WORDS, MASK, problem_id=str(number)) for number in range(count)]
    return decode_traces(SILENT, canvases, parse_policy(policy), budget=Budget(tokens=1), seed=7)


def places(trace):
    return [event.position for event in trace.events]


def test_without_a_change_a_trace_comes_out_the_same():
    for policy in ("low_confidence", "parallel_forced:within=1,prefer=random", "low_confidence:block=4,keep=0.1"):
        before = traces(policy, 3)
        again = decode_again(SILENT, before)
        assert [one.events for one in again] == [one.events for one in before]
        assert [one.runners_up for one in again] == [one.runners_up for one in before]


def test_traces_of_several_settings_come_back_in_their_order():
    mixed = [*traces("low_confidence", 1), *traces("parallel_forced", 1), *traces("low_confidence", 1)]
    again = decode_again(SILENT, mixed)
    assert [one.setting["policy"] for one in again] == ["low_confidence", "parallel_forced", "low_confidence"]


@pytest.mark.parametrize("policy", ["low_confidence:keep=0.01", "parallel_forced:keep=0.01"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_where_nothing_is_known_runners_up_tell_what_decoding_again_tells(policy, side):
    """Choices change nothing of what follows then, so that the two are the same."""
    before = traces(policy)
    again = decode_again(SILENT, before, within=0.01, prefer=side)
    for one, other in zip(before, again, strict=True):
        assert reordered(one, 0.01, side).steps.tolist() == order_of(other).steps.tolist()
    assert places(again[0]) != places(before[0]) or side == "left"


def test_a_trace_keeps_what_its_steps_could_as_well_have_written_in_any_file(tmp_path):
    (one,) = traces("parallel_forced:keep=0.01", 1)
    first = one.events[0].position
    own = [p for p, code in enumerate(one.region) if code == one.region[first] and p != first]
    assert [p for p, _ in one.runners_up[0]] == own and all(gap == 0 for _, gap in one.runners_up[0])
    assert len(one.runners_up) == one.steps and one.runners_up[-1] == ()
    for name in ("t.jsonl", "t.parquet"):
        write_traces([one, *traces("low_confidence", 1)], tmp_path / name)
        back = list(read_traces(tmp_path / name))
        assert back[0].runners_up == one.runners_up and back[1].runners_up == ()
    assert "runners_up" not in trace_to_row(traces("low_confidence", 1)[0])


@pytest.mark.parametrize("near", [[[[99, 0.0]]], [[[0, -1.0]]], [[[0, float("nan")]]], [[[0]]], [[["a", 0.0]]], [7]])
def test_runners_up_that_cannot_be_are_refused(near):
    row = trace_to_row(traces("low_confidence:keep=0.01", 1)[0]) | {"runners_up": near}
    with pytest.raises(InputError):
        trace_from_row(row)


def test_random_orders_obey_the_rules_of_the_policy():
    (one,) = traces("parallel_forced:keep=0.01", 1)
    found = knowing_nothing(one, 4)
    for guess in found:
        codes = [one.region[p] for p in places(guess)]
        assert sorted(codes[:2]) == sorted(codes[2:4]) == [0, 1] and codes[6:] == [2, 2]
    assert len({tuple(places(guess)) for guess in found}) > 1
    (blocks,) = traces("low_confidence:block=3", 1)
    free = [p for p, code in enumerate(blocks.region) if code >= 0]
    for guess in knowing_nothing(blocks, 2):
        assert {*places(guess)[:3]} == {*free[:3]}


def test_what_cannot_be_decoded_again_is_named():
    one = traces("low_confidence", 1)[0]
    with pytest.raises(InputError, match="does not say its policy"):
        decode_again(SILENT, [dataclasses.replace(one, setting=one.setting | {"policy": None})])
    with pytest.raises(InputError, match="does not say its canvas"):
        decode_again(SILENT, [dataclasses.replace(one, setting=one.setting | {"canvas": {"x": 1}})])
    with pytest.raises(InputError, match="AR does not rank candidates by a score: it has no setting 'within'"):
        decode_again(SILENT, traces("ar", 1), within=0.1)
