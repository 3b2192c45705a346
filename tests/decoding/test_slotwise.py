"""ReFusion: stretches chosen by their first token, filled from left to right, as far as each next token is verified."""

import pytest
from test_decode import SURE, canvas, oracle, order, plain
from test_decode import run as decoded
from test_stateful import run

from nap.common.files import InputError
from nap.decoding.budget import Budget
from nap.decoding.needs import check_needs
from nap.decoding.policies.registry import parse_policy
from toys import HashDenoiser


@pytest.mark.parametrize(
    ("policy", "commits"),
    [
        # First tokens: 3 (.5), 7 (.6), 11 (.99). 9 (.3) is written, as it is verified by 8; nothing comes behind it.
        ("refusion", [[11], [12], [7], [8, 9], [3], [4, 5]]),
        ("refusion:first=0.45", [[11, 7, 3], [4, 5, 8, 9, 12]]),
        # 4 (.91) is too little to go on from, 8 (.97) is enough.
        ("refusion:first=0.45,token=0.96", [[11, 7, 3], [4, 8, 9, 12], [5]]),
        ("refusion:first=0.45,ahead=1", [[11, 7, 3], [4, 8, 12], [5, 9]]),
        # Stretches 3 4, 5, 7 8, 9 and 11 12.
        ("refusion:size=2", [[11, 5], [12], [7], [8], [3], [4], [9]]),
        # Blocks 3 4 5 7 and 8 9 11 12: the second begins with 8, as 7 is written.
        ("refusion:block=4", [[7], [3], [4, 5], [11, 8], [9, 12]]),
    ],
)
def test_what_a_step_writes_is_what_the_rule_says(policy, commits):
    one = canvas()
    (trace,) = run(oracle(one, ["a b", "c d", "e"], SURE), [one], policy)
    assert order(trace) == commits


@pytest.mark.parametrize("ahead", [1, 2, 4, 9])
def test_one_stretch_is_written_as_from_left_to_right_however_much_is_drafted(ahead):
    rows = [plain(9, letter) for letter in "abc"]
    left_to_right = decoded(HashDenoiser(), rows, "ar", budget=Budget(tokens=1))
    traces = run(HashDenoiser(), rows, f"refusion:size=9,token=0,ahead={ahead}")
    assert [t.final for t in traces] == [t.final for t in left_to_right]
    assert all(t.forwards <= 9 for t in traces)


def test_drafts_need_canvases_of_their_own_and_one_token_a_forward_works_with_a_cache():
    with pytest.raises(InputError, match="'refusion' needs several canvases in one forward"):
        check_needs(parse_policy("refusion"), HashDenoiser(), "prefix", 0)
    check_needs(parse_policy("refusion:ahead=1"), HashDenoiser(), "prefix", 0)
