"""The learned policy: what its judge sees, says and is refused for, and what its training makes likelier."""

import json

import numpy as np
import pytest
import torch
from test_decode import SURE, canvas, oracle, order, plain
from test_stateful import NeverContent, run

from nap.common.files import InputError
from nap.data.trace import check_trace
from nap.decoding.decode import decode_traces
from nap.decoding.guides import fingerprint
from nap.decoding.judge import Judge, JudgeSetting, open_judge, save_judge
from nap.decoding.policies.learned import Decision, Learned, Seen
from nap.decoding.policies.registry import parse_policy, policy_name
from nap.models.load import load
from nap.tasks.registry import load_task
from nap.training.judged import GroupSetting, Rollout, group_loss, log_probability, rollouts
from toys import MASK, HashDenoiser

SETTING, WEIGHTS = "judge.json", "judge.safetensors"
KNOWN = JudgeSetting(model=fingerprint(HashDenoiser()))


class Above(Judge):
    """A judge that looks at nothing but the probability: b = 10 (p - level)."""

    def __init__(self, level):
        super().__init__(KNOWN, "above")
        self.level = level

    def forward(self, seen_M2, place_M, share):
        return 10 * (seen_M2[:, 0] - self.level)


def judge(seed=0):
    torch.manual_seed(seed)
    return Judge(KNOWN)


def test_what_the_judge_scores_above_0_is_committed_and_the_best_where_nothing_is():
    one = canvas()
    known = oracle(one, ["a b", "c d", "e"], SURE)
    (trace,) = run(known, [one], Learned(guide=Above(0.7)))
    assert order(trace) == [[11, 8, 5, 4, 12], [7], [3], [9]]
    (trace,) = run(known, [one], Learned(guide=Above(0.4), block=4))
    assert order(trace) == [[5, 4, 7, 3], [11, 8, 12], [9]]
    assert [cost.guide_calls for cost in trace.costs] == [1, 1, 1]


def test_with_a_temperature_what_is_committed_is_drawn_by_the_rows_own_generator():
    one = canvas()
    known = oracle(one, ["a b", "c d", "e"], SURE)
    orders = [
        order(run(known, [one], Learned(guide=Above(0.6), temperature=3.0), seed=seed)[0]) for seed in (0, 0, 1, 2, 3)
    ]
    assert orders[0] == orders[1] and len({*map(str, orders)}) > 1


def test_the_judge_sees_how_sure_was_what_is_written_and_how_sure_is_what_is_masked():
    one, seen = canvas(), []

    class Notes(Learned):
        def note(self, decision):
            seen.append(decision.seen)

    run(oracle(one, ["a b", "c d", "e"], SURE), [one], Notes(guide=Above(0.9)))
    chances = [SURE[p] for p in (3, 4, 5, 7, 8, 9, 11, 12)]
    for first in seen:
        assert first.seen_M2[:, 0] == pytest.approx(chances, abs=1e-6)
        assert first.place_M.tolist() == [*range(8)]
    assert seen[0].share == 1 and seen[1].share == 0.5
    assert seen[1].seen_M2[:, 1].tolist() == [1, 0, 0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize("length", [1, 9])
def test_every_decode_of_an_untrained_judge_ends(length):
    (trace,) = run(NeverContent(vocabulary=9), [plain(length)], Learned(guide=judge_of(NeverContent(vocabulary=9))))
    check_trace(trace)
    assert MASK not in trace.final


def judge_of(denoiser):
    torch.manual_seed(0)
    return Judge(JudgeSetting(model=fingerprint(denoiser)))


# Its folder


def test_a_judge_is_written_and_opened_by_its_folders_name(tmp_path):
    save_judge(judge(), tmp_path / "judge")
    policy = parse_policy(f"learned:guide={tmp_path / 'judge'}")
    assert policy_name(policy) == f"learned:guide={tmp_path / 'judge'}"
    seen = (np.random.default_rng(0).random((5, 2)), np.arange(5), 0.3)
    assert isinstance(policy, Learned) and np.array_equal(policy.guide.scores(*seen), judge().scores(*seen))
    rows = [plain(7, "a"), plain(3, "b")]
    ours = run(HashDenoiser(), rows, policy)
    again = run(HashDenoiser(), rows, Learned(guide=judge()))
    assert [trace.events for trace in ours] == [trace.events for trace in again]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"width": 0}, "width must be from 1 to 1024"), ({"width": 10**6, "heads": 1}, "width must be from 1 to 1024"),
        ({"width": "x"}, "width must be from 1 to 1024"), ({"heads": 3}, "divide into its heads"),
        ({"width": 16}, "no judge that can be opened"), ({"more": 1}, "no judge that can be opened"),
    ],
)  # fmt: skip
def test_a_folder_that_holds_no_judge_is_refused_in_one_line(change, said, tmp_path):
    save_judge(judge(), tmp_path)
    (tmp_path / SETTING).write_text(json.dumps(json.loads((tmp_path / SETTING).read_text()) | change))
    with pytest.raises(InputError, match=said) as caught:
        open_judge(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_judge_or_with_a_cut_one_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds no judge .*; train one"):
        parse_policy(f"learned:guide={tmp_path}")
    save_judge(judge(), tmp_path)
    (tmp_path / WEIGHTS).write_bytes((tmp_path / WEIGHTS).read_bytes()[:100])
    with pytest.raises(InputError, match="no judge that can be opened"):
        open_judge(str(tmp_path))


def test_a_judge_of_another_model_is_refused_before_the_first_forward(tiny):
    denoiser, toy = load(str(tiny)), HashDenoiser()
    with pytest.raises(InputError, match="was trained on another model"):
        decode_traces(denoiser, [plain(4)], Learned(guide=judge()))
    with pytest.raises(InputError, match="was trained on another model"):
        run(toy, [plain(4)], Learned(guide=judge_of(denoiser)))
    assert toy.calls == []


def test_a_fingerprint_is_that_of_the_weights_and_not_of_the_number_type(tiny, tmp_path):
    from tiny import save_tiny

    assert fingerprint(load(str(tiny))) == fingerprint(load(str(tiny), dtype="bfloat16"))
    assert fingerprint(load(str(save_tiny(tmp_path / "same")))) == fingerprint(load(str(tiny)))


# Its training


def decision(*commit):
    count = len(commit)
    seen = Seen(np.stack([np.linspace(0.2, 0.9, count), np.ones(count)], axis=1), np.arange(count), 1.0)
    return Decision(seen, np.array(commit, bool))


def test_the_log_probability_of_decisions_by_hand():
    # b = 10 (p - .5): p .2 and .9 give -3 and 4.
    found = log_probability(Above(0.5), [decision(False, True)], 1.0)
    assert found.item() == pytest.approx(-np.log([1 + np.exp(-3), 1 + np.exp(-4)]).mean(), abs=1e-6)


def test_an_update_makes_what_was_right_and_quick_likelier():
    one, setting = judge(), GroupSetting()
    quick = Rollout([decision(True, True, True)], True, 1, 30)
    slow = Rollout([decision(False, False, True)] * 3, True, 20, 30)
    wrong = Rollout([decision(True, False, True)] * 2, False, 2, 30)
    assert quick.reward(1.0) > slow.reward(1.0) > wrong.reward(1.0) == 0
    before = log_probability(one, quick.decisions, 1.0).item()
    optimiser = torch.optim.SGD(one.parameters(), lr=0.1)
    for _ in range(5):
        optimiser.zero_grad()
        group_loss(one, [[quick, slow, wrong]], setting).backward()
        optimiser.step()
    assert log_probability(one, quick.decisions, 1.0).item() > before


def test_a_group_that_agrees_teaches_nothing():
    same = Rollout([decision(True, True)], True, 2, 30)
    assert group_loss(judge(), [[same, same]], GroupSetting()).item() == 0


def test_a_group_has_rows_that_the_judge_drew_and_rows_of_experts(tiny):
    denoiser, task = load(str(tiny)), load_task("arith")
    setting = GroupSetting(drawn=2, experts=(0.9, 0.0))
    problems = task.load("train", 2, None)
    groups = rollouts(denoiser, task, problems, judge_of(denoiser), setting, seed=0)
    assert [len(group) for group in groups] == [4, 4]
    for group in groups:
        assert group[3].forwards == 1, "at a threshold of 0 everything is committed at once"
        for rollout in group:
            assert len(rollout.decisions) == rollout.forwards and rollout.tokens == 20
