"""Policies that remember, take tokens back, edit, keep several blocks open or ask a second model."""

from dataclasses import dataclass, fields
from types import SimpleNamespace
from typing import ClassVar, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_decode import SURE, canvas, oracle, order, plain

from nap.canvas.canvas import fill
from nap.common.files import InputError
from nap.data.trace import COMMIT, EDIT, REMASK, check_trace
from nap.decoding.budget import Budget, Sampling
from nap.decoding.decode import decode_traces
from nap.decoding.policies.blocks import MultiBlock, Opened
from nap.decoding.policies.policy import MOST_STEPS_PER_TOKEN, Based, Edits, RowView, Selecting, best
from nap.decoding.policies.registry import POLICIES, parse_policy, policy_name
from toys import MASK, PAD, WORDS, HashDenoiser, ToyDenoiser

STATEFUL = [
    "klass:tau=0.3,eps=5",
    "multi_block:size=3,entropy=2",
    "remdm:ratio=0.5,loops=3,k=2",
    "token_edit:tau=0.2,edit=0.1,size=4",
    "credit:tau=0.6",
    "prophet:early=1.5,middle=1,late=0.5",
    "saber",
    "saber:n=3,block=4",
    "p2",
    "dawn:low=0.2,tau=0.5,sink=1,edge=0.05",
    "wino:tau=0.3,back=0.3",
    "wino:tau=0.2,back=0.9,block=3",
    "lopa:tau=0.4,branches=3,weight=0.2",
    "self_speculative:ahead=3",
    "remix:tau=0.5,after=0",
    "refusion:size=3,first=0.3,ahead=3",
    "refusion:size=2,block=3",
    "draft_edit:draft=threshold:tau=0.4,share=0.5,edit=0.2",
    "draft_redo:draft=wino:tau=0.3+block=4,share=0.7",
]


def run(denoiser, canvases, policy, **given_settings):
    denoiser.masked_only = False
    policy = parse_policy(policy) if isinstance(policy, str) else policy
    budget = Budget(tokens=1) if policy.paced else None
    return decode_traces(denoiser, canvases, policy, budget=budget, **given_settings)


# By hand. Writable: 3 4 5, 7 8 9 and 11 12; how sure the oracle is of each never changes: SURE.


@pytest.mark.parametrize(
    ("policy", "commits"),
    [
        # Steady from the third step on, when two changes are known to be none: then 5 and 4, which are above .9.
        ("klass", [[11], [8], [5, 4], [12], [7], [3], [9]]),
        ("klass:history=3", [[11], [8], [5], [4], [12], [7], [3], [9]]),
        # Blocks 3 4 5 7 and 8 9 11 12. Sure are 11, 8 and 5; the second opens when half of the first is written, and
        # from then on the first commits its surest, too.
        ("multi_block:size=4", [[5], [4], [11, 8, 7], [12, 3], [9]]),
        ("multi_block:size=4,add=1", [[5], [4], [7], [3], [11, 8], [12], [9]]),
        ("remdm:ratio=0.5,loops=2,k=2", [[11, 8], [5, 4], [], [5, 4], [], [5, 4], [12, 7], [3, 9]]),
        ("remdm:ratio=1,loops=0", [[11], [8], [5], [4], [12], [7], [3], [9]]),
        # By hand: p (1 + C)^3 to the rest, C = p^.2 at first, so that .6 is .912, .5 is .867 and .3 is .709.
        ("credit:alpha=3", [[11, 8, 5, 4, 12, 7], [3], [9]]),
        ("credit:alpha=0", [[11, 8, 5, 4], [12], [7], [3], [9]]),
        ("credit:alpha=3,block=4", [[5, 4, 7], [3], [11, 8, 12], [9]]),
        # The answer is the summary; from the sixth step on the budget has come through two thirds.
        ("prophet:early=99,middle=99,late=0", [[11], [8], [5], [4], [12], [7, 3, 9]]),
        ("prophet:early=99,middle=0,late=99", [[11], [8], [5, 4, 12, 7, 3, 9]]),
        ("prophet:early=99,middle=99,late=99", [[11], [8], [5], [4], [12], [7], [3], [9]]),
        # Of the best two one is taken back: the less sure, and once nothing changes the leftmost that is written.
        ("saber", [[11], [8], [5], [12], [7], [4], [3, 9]]),
        # By the least sure half alone: 7 is tried beside 3 and 9, and leaves what the row itself would leave.
        ("lopa:weight=0", [[11, 8, 5, 4], [12], [7, 3], [9]]),
        ("lopa", [[11, 8, 5, 4], [12], [7], [3], [9]]),
        ("lopa:branches=1,block=4", [[5, 4], [7], [3], [11, 8], [12], [9]]),
        # Every guess holds, and the first forward has none.
        ("self_speculative", [[11], [8, 5, 4, 12], [7, 3, 9]]),
        ("self_speculative:ahead=1", [[11], [8], [5], [4], [12], [7], [3], [9]]),
        ("self_speculative:block=4", [[5], [4, 7, 3, 11], [8, 12, 9]]),
        ("wino:tau=0.7", [[11, 8, 5, 4, 12], [7], [3], [9]]),
        # 12 is taken back when two are committed: without itself it has .8 of the .9 that it needs.
        ("wino:tau=0.45", [[11, 8, 5, 4, 12], [7, 3], [12], [9]]),
        ("wino:tau=0.45,back=0.7", [[11, 8, 5, 4, 12], [7, 3], [9]]),
        ("p2", [[11], [8], [5], [4], [12], [7], [3], [9]]),
        # Its last forward finds nothing to change.
        ("token_edit", [[11, 8, 5, 4, 12], [7], [3], [9], []]),
        ("token_edit:size=8", [[5, 4], [7], [3], [], [11, 8, 12], [9], []]),
    ],
)
def test_an_oracle_is_decoded_in_exactly_the_known_order(policy, commits):
    one = canvas()
    (trace,) = run(oracle(one, ["a b", "c d", "e"], SURE), [one], policy)
    assert order(trace, COMMIT) == commits
    assert trace.final == fill(one, ["a b", "c d", "e"], WORDS, PAD).tolist()


def test_remdm_takes_back_what_is_least_probable_now():
    one = canvas()
    (trace,) = run(oracle(one, ["a b", "c d", "e"], SURE), [one], "remdm:ratio=0.5,loops=2,k=2")
    assert order(trace, REMASK) == [[], [], [4, 5], [], [4, 5], [], [], []]


class ChangesItsMind(ToyDenoiser):
    """Says token 5 (.8) while anything is masked, and 6 (.9) when all is written."""

    def scores(self, ids_BL, layout, rows_N, positions_N):
        open_B = ((ids_BL == MASK) & (layout.region_BL >= 0)).any(axis=1)
        chance_NV = np.full((len(rows_N), self.vocabulary), 1e-3)
        token_N = np.where(open_B[rows_N], 5, 6)
        chance_NV[np.arange(len(rows_N)), token_N] = np.where(open_B[rows_N], 0.8, 0.9)
        return np.log(chance_NV / chance_NV.sum(axis=1, keepdims=True))


def test_token_edit_replaces_what_the_model_has_changed_its_mind_about_and_then_ends():
    (trace,) = run(ChangesItsMind(vocabulary=9), [plain(4)], "token_edit")
    check_trace(trace)
    assert order(trace, COMMIT)[0] == [1, 2, 3, 4] and order(trace, EDIT)[1] == [1, 2, 3, 4]
    assert trace.final[1:] == [6] * 4
    assert trace.forwards == 3, "one that drafts, one that edits, one that finds nothing to edit"


class NeverContent(ToyDenoiser):
    """Is sure of another token than the one that stands there, whatever it is."""

    def scores(self, ids_BL, layout, rows_N, positions_N):
        wanted_N = 5 + (ids_BL[rows_N, positions_N] + positions_N) % 2
        chance_NV = np.full((len(rows_N), self.vocabulary), 1e-6)
        chance_NV[
            np.arange(len(rows_N)), np.where(ids_BL[rows_N, positions_N] == wanted_N, 11 - wanted_N, wanted_N)
        ] = 1
        return np.log(chance_NV / chance_NV.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("block", ["", ",block=3"])
def test_credit_that_counts_for_nothing_is_a_threshold(block):
    rows = [plain(9, "a"), plain(7, "b")]
    (credit, threshold) = (
        run(HashDenoiser(), rows, f"{name}tau=0.3{block}") for name in ("credit:alpha=0,", "threshold:")
    )
    assert [[e[:4] for e in t.events] for t in credit] == [[e[:4] for e in t.events] for t in threshold]


def test_what_credit_lifts_is_drawn_in_the_rows_way():
    one = plain(6)
    drawn = {
        tuple(run(HashDenoiser(), [one], "credit:tau=0.3", sampling=Sampling(temperature=3.0), seed=n)[0].final)
        for n in range(5)
    }
    assert len(drawn) > 1


def test_prophet_looks_at_the_answer_alone():
    # Position 11 is sure (.99), 9 is not (.3): the gaps differ by what their odds differ.
    one = canvas()
    for place, steps in ((6, 1), (5, 8)):
        policy = f"prophet:early=6,middle=6,late=6,at={place},answer=1"
        (trace,) = run(oracle(one, ["a b", "c d", "e"], SURE), [one], policy)
        assert trace.forwards == steps


@pytest.mark.parametrize("policy", [*STATEFUL, "token_edit", "remdm"])
def test_every_decode_ends_even_where_the_model_is_never_content(policy):
    for length in (1, 9):
        (trace,) = run(NeverContent(vocabulary=9), [plain(length)], policy)
        check_trace(trace)
        assert MASK not in trace.final
        assert trace.forwards < MOST_STEPS_PER_TOKEN * length


@settings(max_examples=40)
@given(
    st.sampled_from(STATEFUL), st.lists(st.integers(1, 9), min_size=1, max_size=4), st.randoms(use_true_random=False)
)
def test_a_row_gives_the_same_events_alone_and_in_any_batch_and_its_trace_replays(policy, lengths, random):
    rows = [plain(length, "abcd"[n]) for n, length in enumerate(lengths)]
    together = run(HashDenoiser(), rows, policy)
    shuffled = random.sample(range(len(rows)), len(rows))
    again = run(HashDenoiser(), [rows[n] for n in shuffled], policy)
    for place, n in enumerate(shuffled):
        (alone,) = run(HashDenoiser(), [rows[n]], policy)
        for other in (again[place], alone):
            assert [e[:4] for e in other.events] == [e[:4] for e in together[n].events]
            assert other.costs == together[n].costs
        check_trace(together[n])
        assert MASK not in together[n].final


# A second model


@dataclass(frozen=True)
class Parity:
    """A toy guide: it lets positions through whose parity it is named after."""

    name: str

    def allows(self, position_N):
        return position_N % 2 == {"even": 0, "odd": 1}[self.name]


@dataclass(frozen=True, kw_only=True)
class Guided(Based):
    """Commits the most probable position that the guide allows, the most probable of all where it allows none."""

    guide: Parity
    known: ClassVar[tuple[str, ...]] = ("even", "odd")

    @staticmethod
    def open_guide(name):
        if name not in Guided.known:
            raise InputError(f"no guide {name!r}; known: even, odd")
        return Parity(name)

    def ask(self, row):
        return row.masked_N

    def act(self, row, said):
        allowed = self.guide.allows(said.position_N)
        score_N = said.probability_N + allowed if allowed.any() else said.probability_N
        chosen = best(score_N, 1)
        return Edits(said.position_N[chosen], said.token_N[chosen], guide_calls=1)


@pytest.fixture
def guided(monkeypatch):
    class Point:
        name = "guided"
        load = staticmethod(lambda: Guided)

    monkeypatch.setattr("nap.decoding.policies.registry.entry_points", lambda group: [Point])


def test_a_guide_is_opened_by_its_name_and_its_calls_are_counted(guided):
    policy = parse_policy("guided:guide=odd")
    assert policy == Guided(guide=Parity("odd")) and policy_name(policy) == "guided:guide=odd"
    one = canvas()
    (trace,) = run(oracle(one, ["a b", "c d", "e"], SURE), [one], policy)
    assert order(trace) == [[11], [5], [7], [3], [9], [8], [4], [12]]
    assert [cost.guide_calls for cost in trace.costs] == [1] * 8


def test_a_guide_that_is_not_named_or_not_known_is_said_in_one_line(guided):
    with pytest.raises(InputError, match=r"policy 'guided' needs guide; write guided:guide=\.\.\."):
        parse_policy("guided")
    with pytest.raises(InputError, match="no guide 'left'; known: even, odd"):
        parse_policy("guided:guide=left")


# What a policy may not do


@dataclass(frozen=True, kw_only=True)
class Rogue(Based):
    """Asks and writes what it is told to."""

    wants: tuple[int, ...] = (1,)
    writes: tuple[tuple[int, int], ...] = ((1, 5),)

    def ask(self, row):
        return np.array(self.wants, np.int64)

    def act(self, row, said):
        return Edits(np.array([p for p, _ in self.writes]), np.array([t for _, t in self.writes]))


@pytest.mark.parametrize(
    ("settings_of", "said"),
    [
        ({"wants": (0,)}, "asks about a position that is in no slot, or was given"),
        ({"wants": (9,)}, "asks about a position that is in no slot"),
        ({"wants": (-1,)}, "asks about a position that is in no slot"),
        ({"wants": (2, 1)}, "asks about positions that do not rise"),
        ({"wants": (1, 1)}, "asks about positions that do not rise"),
        ({"wants": ()}, "asks about nothing while there are masks"),
        ({"writes": ((0, 5),)}, "writes outside the slots, or over what was given"),
        ({"writes": ((7, 5),)}, "writes outside the slots"),
        ({"writes": ((1, 5), (1, 6))}, "writes a position twice"),
        ({"writes": ((1, -5),)}, "writes a token that is not from 0 to "),
        ({"writes": ((1, 10**6),)}, "writes a token that is not from 0 to "),
        ({"wants": ((1,), (2,))}, "asks about positions of shape (2, 1), which are no list"),
        ({"writes": ()}, "committed nothing"),
    ],
)
def test_a_policy_that_does_what_it_may_not_is_named_in_one_line(settings_of, said):
    with pytest.raises(InputError, match=r"policy 'Rogue.*, step 0: it ") as caught:
        run(HashDenoiser(), [plain(4)], Rogue(**settings_of))
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("remdm:ratio=0", "'remdm': ratio must be above 0 and at most 1, got 0.0"),
        ("remdm:k=0", "k must be at least 1, got 0"), ("token_edit:size=0", "size must be at least 1"),
        ("token_edit:patience=32", "patience must be from 1 to 31"), ("multi_block:add=2", "add must be from 0 to 1"),
        ("klass:block=0", "block must be at least 1"), ("klass:history=0", "history must be from 1 to 1024"),
        ("credit:beta=1.1", "beta must be from 0 to 1"), ("saber:n=0", "n must be at least 1"),
        ("wino:back=-0.1", "back must be from 0 to 1"), ("prophet:answer=0", "answer must be at least 1"),
        ("dilated:base=1", "base must be at least 2"),
        ("localleap:radius=-1", "radius must be at least 0"), ("threshold:tau=1.5", "tau must be from 0 to 1"),
        ("factor:f=-1", "f must be at least 0"),
        ("entropy_bound:gamma=nan", "gamma must be at least 0, got nan"),
        ("bounded:delta=2", "delta must be from -1"),
        ("remix:top=0", "top must be above 0 and at most 1"), ("remix:back=-1", "back must be at least 0"),
        ("refusion:size=0", "size must be at least 1"), ("refusion:ahead=65", "ahead must be from 1 to 64"),
        ("draft_edit:share=1", "share must be from 0 to 0.9"), ("draft_redo:most=0", "most must be at least 1"),
        ("multi_block:size=99999999999999999999", "size must be from 1 to 1048576, got 9999"),
    ],
)  # fmt: skip
def test_a_setting_out_of_range_names_its_range(text, said):
    with pytest.raises(InputError, match=said):
        parse_policy(text)


@pytest.mark.parametrize("name", [name for name, kind in POLICIES.items() if not hasattr(kind, "open_guide")])
def test_a_whole_number_larger_than_any_canvas_is_refused(name):
    own = [field.name for field in fields(POLICIES[name])]
    values = vars(parse_policy(name))
    for field in (field for field in own if type(values.get(field)) is int or field == "block"):
        with pytest.raises(InputError, match=rf"'{name}': {field} must be from \d+ to \d+, got 9999"):
            parse_policy(f"{name}:{field}=99999999999999999999")


def test_prophet_refuses_a_place_outside_of_the_canvas_before_the_first_forward():
    with pytest.raises(InputError, match=r"'prophet': at must be below 4, the canvas's masks, got 4"):
        run(HashDenoiser(), [plain(4)], "prophet:at=4")


@pytest.mark.parametrize("chosen", [[9], np.array([0.5]), np.int64(0), None, [[0]], np.zeros(3, bool)])
def test_a_choice_that_is_no_indices_into_the_view_names_its_policy(chosen):
    @dataclass(frozen=True, kw_only=True)
    class Chooses(Selecting):
        paced: bool = False
        block: int | None = None

        def select(self, view):
            return chosen

    with pytest.raises(InputError, match="policy 'Chooses': select must give indices from 0 to 3 in a list or an arra"):
        decode_traces(HashDenoiser(), [plain(4)], Chooses())


@pytest.mark.parametrize(("written", "asked", "count"), [(3, [3, 4, 5], 2), (6, [6, 7, 8], 3), (9, [], 3)])
def test_blocks_that_an_end_of_text_filled_do_not_keep_the_next_one_closed(written, asked, count):
    policy, ids_L = MultiBlock(size=3), np.array([5] * written + [0] * (9 - written))
    row = SimpleNamespace(
        ids_L=ids_L, block_L=np.zeros(9, np.int64), masked_N=np.flatnonzero(ids_L == 0), mask_id=0, state=Opened(1)
    )
    assert policy.ask(cast(RowView, row)).tolist() == asked and row.state.count == count
