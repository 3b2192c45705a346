"""Generate, then edit: when the draft is over, what an edit replaces or takes back, and how the forwards are split."""

import numpy as np
import pytest
from test_decode import order, plain
from test_stateful import ChangesItsMind, NeverContent, run

from nap.common.files import InputError
from nap.data.trace import COMMIT, EDIT, REMASK, check_trace
from nap.decoding.budget import Budget
from nap.decoding.decode import decode_traces
from nap.decoding.needs import check_needs
from nap.decoding.policies.registry import parse_policy, policy_name
from toys import MASK, HashDenoiser, ToyDenoiser


@pytest.mark.parametrize(
    ("policy", "forwards", "token"),
    [
        # One that drafts, one that edits, and where there is room one that finds nothing.
        ("draft_edit:share=0.5", 2, 6),
        ("draft_edit:share=0.9", 3, 6),
        ("draft_edit:share=0.2", 1, 5),
        ("draft_edit:share=0", 1, 5),
        # It prefers 6 with p = .991.
        ("draft_edit:share=0.5,edit=0.995", 2, 5),
        ("draft_edit:draft=threshold:tau=0.5+block=2,share=0.5", 4, 6),
    ],
)
def test_after_the_draft_what_the_model_changed_its_mind_about_is_replaced(policy, forwards, token):
    (trace,) = run(ChangesItsMind(vocabulary=9), [plain(4)], policy)
    check_trace(trace)
    assert trace.final[1:] == [token] * 4 and trace.forwards == forwards
    assert sorted(p for step in order(trace, EDIT) for p in step) == ([1, 2, 3, 4] if token == 6 else [])


class Doubts(ToyDenoiser):
    """Says 5 (.8) everywhere; of a mask between written tokens 5 (.9), but at position 2 it says 6 (.9)."""

    def scores(self, ids_BL, layout, rows_N, positions_N):
        alone_N = ((ids_BL == MASK) & (layout.region_BL >= 0)).sum(axis=1)[rows_N] == 1
        sure_N = np.where(alone_N, 0.9, 0.8)
        chance_NV = np.repeat((1 - sure_N[:, None]) / (self.vocabulary - 1), self.vocabulary, axis=1)
        chance_NV[np.arange(len(rows_N)), np.where(alone_N & (positions_N == 2), 6, 5)] = sure_N
        return np.log(chance_NV)


@pytest.mark.parametrize(
    ("settings", "back", "forwards", "final"),
    [
        # All at once; 2 is taken back and written again; nobody doubts it now, and one forward is left for nothing.
        ("share=0.75", [[], [2], []], 3, [5, 6, 5, 5]),
        # The last forward of the share writes what is masked, whatever the draft's policy would.
        ("share=0.67", [[], [2], []], 3, [5, 6, 5, 5]),
        ("share=0.85", [[], [2], []], 4, [5, 6, 5, 5]),
        # There must be one that takes back and one that writes.
        ("share=0.5", [[]], 1, [5, 5, 5, 5]),
        ("share=0.85,back=0.001", [[]], 2, [5, 5, 5, 5]),
        # .9 is doubtful here, but each position is taken back once, and two at a time: 2 is not alone again.
        ("share=0.9,back=0.95,most=2", [[], [2, 1], [], [3, 4], []], 6, [5, 5, 5, 5]),
    ],
)
def test_what_is_least_supported_by_all_others_is_written_again(settings, back, forwards, final):
    (trace,) = run(Doubts(vocabulary=9), [plain(4)], f"draft_redo:draft=threshold:tau=0.5,{settings}")
    check_trace(trace)
    assert trace.forwards == trace.steps == forwards
    # Forwards at the end that change nothing are steps too.
    assert order(trace, REMASK) == back + [[]] * (forwards - len(back))
    assert trace.final[1:] == final
    # Leave-one-out probabilities are asked for in an edit alone, and are query tokens there.
    assert [cost.queries for cost in trace.costs][:2] == [5, 9][: len(trace.costs)]


@pytest.mark.parametrize(
    ("share", "commits"),
    [(0, [1] * 9), (0.25, [1, 1, 2, 1, 1, 2, 1]), (0.5, [2, 2, 2, 2, 1]), (0.75, [4, 4, 1])],
)
def test_a_draft_that_follows_a_budget_leaves_the_share_of_its_forwards_to_the_edit(share, commits):
    policy = parse_policy(f"draft_edit:draft=low_confidence,share={share},edit=0")
    (trace,) = run(NeverContent(vocabulary=9), [plain(9)], policy)
    steps = [len(step) for step in order(trace, COMMIT)]
    assert steps[: len(commits)] == commits and not any(steps[len(commits) :])
    assert trace.forwards == len(commits) + round(len(commits) * share / (1 - share))


@pytest.mark.parametrize("share", [0, 0.25, 0.5, 0.75])
@pytest.mark.parametrize("form", ["draft_edit:draft=low_confidence,edit=0", "draft_redo:draft=random,back=1"])
def test_the_draft_and_its_edits_take_no_more_steps_than_the_budget_has(form, share):
    for steps in range(1, 31):
        model = NeverContent(vocabulary=9) if form.startswith("draft_edit") else Doubts(vocabulary=9)
        model.masked_only = False
        policy = parse_policy(f"{form},share={share}")
        (trace,) = decode_traces(model, [plain(19)], policy, budget=Budget(steps=steps))
        assert trace.steps == len(trace.costs) == trace.forwards <= steps
        # Something is always left to edit. A forward that drafts writes one token at least.
        assert form.startswith("draft_redo") or steps * (1 - share) > 19 or trace.forwards == steps


@pytest.mark.parametrize(
    "policy",
    [
        "draft_edit:draft=remdm", "draft_edit:draft=token_edit,share=0.9", "draft_redo:draft=wino,share=0.9,back=1",
        "draft_redo:draft=lopa:tau=0.4,share=0.8,back=1,most=3", "draft_redo:draft=refusion,share=0.7,back=1",
        "draft_redo:draft=multi_block:size=3,share=0.8,back=1", "draft_edit:draft=draft_redo,share=0.6",
        "draft_redo:draft=p2,share=0.9,back=1",
    ],
)  # fmt: skip
@pytest.mark.parametrize("length", [1, 9])
def test_every_draft_of_every_policy_ends_and_leaves_no_mask(policy, length):
    for denoiser in (NeverContent(vocabulary=9), HashDenoiser()):
        (trace,) = run(denoiser, [plain(length)], policy)
        check_trace(trace)
        assert MASK not in trace.final


def test_a_draft_is_named_with_its_settings_and_its_needs_are_those_of_both():
    policy = parse_policy("draft_redo:draft=lopa:tau=0.4+branches=3,back=0.2")
    assert parse_policy(policy_name(policy)) == policy
    with pytest.raises(InputError, match="needs several canvases in one forward"):
        check_needs(policy, HashDenoiser(), "prefix", 0)
    with pytest.raises(InputError, match="needs leave-one-out probabilities, which are not guided"):
        check_needs(parse_policy("draft_redo"), HashDenoiser(), "none", 1.0)
    with pytest.raises(InputError, match="unknown policy 'treshold'"):
        parse_policy("draft_edit:draft=treshold")
    with pytest.raises(InputError, match=r"'threshold': tau must be from 0 to 1, got 2\.0"):
        parse_policy("draft_edit:draft=threshold:tau=2")
    with pytest.raises(InputError, match="needs a budget"):
        decode_traces(HashDenoiser(), [plain(3)], parse_policy("draft_edit:draft=low_confidence"))
    with pytest.raises(InputError, match="sets its own pace"):
        decode_traces(HashDenoiser(), [plain(3)], parse_policy("draft_edit"), budget=Budget(tokens=1))
