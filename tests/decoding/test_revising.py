"""A trained editor's operations: what a script makes of a slot, what a policy writes of it, and who may use it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_decode import order, plain
from test_stateful import NeverContent, run

from nap.common.files import InputError
from nap.data.trace import EDIT, check_trace
from nap.decoding.decode import decode_traces
from nap.decoding.editor import Editor, EditorSetting, Says, open_editor, save_editor
from nap.decoding.guides import fingerprint
from nap.decoding.policies.registry import parse_policy, policy_name
from nap.decoding.policies.revising import DELETE, DraftRevise, revised, script
from nap.models.load import load
from toys import MASK, PAD, HashDenoiser, TableDenoiser, ToyDenoiser

D, P = DELETE, PAD
SETTING, WEIGHTS = "editor.json", "editor.safetensors"


@pytest.mark.parametrize(
    ("tokens", "c", "n", "found"),
    [
        ([5, 6, 7, P], [5, 6, 7, P], [6, 7, P, P], [5, 6, 7, P]),
        ([5, 6, 7, P], [5, 8, 7, P], [8, 7, P, P], [5, 8, 7, P]),
        # 6 goes, and what stands behind moves; 5 is followed by 7 then, which is what it says.
        ([5, 6, 7, P], [5, D, 7, P], [7, 9, P, P], [5, 7, P, P]),
        ([5, 7, P, P], [5, 7, P, P], [6, P, P, P], [5, 6, 7, P]),
        # There is no room for 6, and after a deletion there is.
        ([5, 7, 8, 9], [5, 7, 8, 9], [6, 8, 9, P], [5, 7, 8, 9]),
        ([5, 7, 8, 9], [5, 7, D, 9], [6, 9, P, P], [5, 6, 7, 9]),
        # Where it is not said what follows, nothing is inserted; padding is no insertion, and may be replaced.
        ([5, 7, P, P], [5, 7, P, P], [D, D, P, P], [5, 7, P, P]),
        ([P, P, P, P], [5, 9, 9, 9], [6, 9, 9, 9], [5, 6, P, P]),
        ([5, 6, 7, P], [D, D, D, P], [P, P, P, P], [P, P, P, P]),
    ],
)
def test_a_slot_becomes_what_its_script_says(tokens, c, n, found):
    assert revised(tokens, c, n, PAD) == found


@pytest.mark.parametrize(
    ("tokens", "wanted", "c", "n"),
    [
        ([5, 6, 7], [5, 6, 7], [5, 6, 7], [6, 7, P]),
        ([5, 9, 7], [5, 6, 7], [5, 6, 7], [6, 7, P]),
        ([5, 9, 7, P], [5, 7, P, P], [5, D, 7, P], [7, 7, P, P]),
        ([5, 7, P, P], [5, 6, 7, P], [5, 7, P, P], [6, P, P, P]),
        # Two are missing: the first of them now. Behind equal tokens it goes last, where it can be told.
        ([5, 7, P, P], [5, 8, 6, 7], [5, 7, P, P], [8, P, P, P]),
        ([5, 6, 7, P], [5, 6, 6, 7], [5, 6, 7, P], [6, 6, P, P]),
        # Nothing can be inserted before the first token.
        ([6, P, P], [5, 6, P], [5, P, P], [6, P, P]),
    ],
)
def test_a_script_is_the_shortest_that_makes_a_slot_what_is_wanted(tokens, wanted, c, n):
    assert script(tokens, wanted, PAD) == (c, n)


def slots(length):
    texts = st.lists(st.integers(4, 6), max_size=length)
    return texts.map(lambda text: text + [PAD] * (length - len(text)))


@given(st.integers(1, 8).flatmap(lambda length: st.tuples(slots(length), slots(length))))
def test_scripts_one_after_the_other_make_any_slot_any_other_and_then_change_nothing(pair):
    tokens, wanted = pair
    for _ in range(len(wanted) + 1):
        tokens = revised(tokens, *script(tokens, wanted, PAD), PAD)
    assert tokens == wanted == revised(tokens, *script(tokens, wanted, PAD), PAD)


class Stated(TableDenoiser):
    """Says its states, which are its logits; of what is written, that it stays."""

    gives = ToyDenoiser.gives | {"states"}

    def scores(self, ids_BL, layout, rows_N, positions_N):
        found = super().scores(ids_BL, layout, rows_N, positions_N).copy()
        now_N = ids_BL[rows_N, positions_N]
        written = np.flatnonzero(now_N != MASK)
        found[written, now_N[written]] = 20.0
        return found


class Knows(Editor):
    """An editor that is given, forward by forward, (deleted, what follows) of each token; then it is content."""

    def __init__(self, *forwards):
        super().__init__(EditorSetting(model="", width=1, vocabulary=99, pad_id=PAD), "knows")
        self.forwards = [*forwards]

    def check(self, denoiser):
        """Any model."""

    def says(self, states_ND):
        content = [(0.0, PAD, 0.0)] * len(states_ND)
        said = self.forwards.pop(0) if self.forwards else content
        delete, following, chance = zip(*said, strict=True)
        return Says(np.array(delete), np.array(following), np.array(chance))


def test_an_edit_deletes_and_inserts_from_left_to_right_until_it_edits_nothing():
    # One token a position, so sure that the draft is one forward: 4 5 6 7 and padding.
    table = np.full((6, 9), 0.0)
    table[np.arange(6), [0, 4, 5, 6, 7, PAD]] = 20
    nothing = (0.0, PAD, 0.0)
    guide = Knows(
        # 5 goes; 8 behind 4, which is as sure as it must be; behind 7 comes nothing as sure.
        [(0.0, 8, 0.9), (0.9, 8, 0.9), nothing, (0.0, 8, 0.5), nothing],
        [(0.0, 8, 0.9), (0.4, 6, 0.9), (0.0, 7, 0.9), nothing, nothing],
    )
    (trace,) = run(Stated(table), [plain(5)], DraftRevise(guide=guide, share=0.9))
    check_trace(trace)
    assert trace.final[1:] == [4, 8, 6, 7, PAD]
    assert order(trace, EDIT) == [[], [2], []] and trace.forwards == 3
    assert [cost.guide_calls for cost in trace.costs] == [0, 1, 1]


class Never(Knows):
    """Deletes every second token and inserts behind every other, whatever stands there."""

    def says(self, states_ND):
        count = np.arange(len(states_ND))
        return Says((count % 2).astype(np.float64), 4 + (count + len(self.forwards)) % 3, np.ones(len(count)))


@pytest.mark.parametrize("length", [1, 9])
def test_every_decode_ends_even_where_the_editor_is_never_content(length):
    model = NeverContent(vocabulary=9)
    model.gives = Stated.gives
    for share in (0.25, 0.9):
        (trace,) = run(model, [plain(length)], DraftRevise(guide=Never(), share=share))
        check_trace(trace)
        assert MASK not in trace.final


def editor_of(denoiser, width=16):
    torch.manual_seed(0)
    setting = EditorSetting(
        model=fingerprint(denoiser), width=width, vocabulary=denoiser.vocabulary, pad_id=denoiser.pad_id
    )
    return Editor(setting)


def test_an_editor_is_read_back_and_refused_for_another_model_and_where_it_is_damaged(tiny, tmp_path):
    denoiser = load(str(tiny))
    save_editor(editor_of(denoiser), tmp_path)
    policy = parse_policy(f"draft_revise:guide={tmp_path},draft=threshold:tau=0.1,share=0.5")
    assert policy_name(policy) == f"draft_revise:draft=threshold:tau=0.1,share=0.5,guide={tmp_path}"
    row = plain(5)
    row = replace(row, ids=np.where(row.ids == MASK, denoiser.mask_id, row.ids))
    (trace,) = decode_traces(denoiser, [row], policy)
    assert denoiser.mask_id not in trace.final and trace.costs[-1].guide_calls == 1
    with pytest.raises(InputError, match="was trained on another model"):
        decode_traces(HashDenoiser(), [plain(5)], policy)
    with pytest.raises(InputError, match="holds no editor"):
        open_editor(str(tmp_path / "none"))
    kept = json.loads((tmp_path / SETTING).read_text())
    for wrong in ({"width": 10**9}, {"vocabulary": 0}, {"pad_id": -1}, {"width": 17}, {"more": 1}):
        (tmp_path / SETTING).write_text(json.dumps(kept | wrong))
        with pytest.raises(InputError, match=r"an editor's|no editor that can be opened"):
            open_editor(str(tmp_path))
    (tmp_path / SETTING).write_text(json.dumps(kept))
    (tmp_path / WEIGHTS).write_bytes(b"{}")
    with pytest.raises(InputError, match="no editor that can be opened"):
        open_editor(str(tmp_path))
