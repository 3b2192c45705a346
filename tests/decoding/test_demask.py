"""DEMASK: the greedy set under the bound, the exact influence by hand, and a head that learns it."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from test_decode import SURE, canvas, oracle, order, plain
from test_stateful import NeverContent, run

from nap.common.files import InputError
from nap.data.trace import check_trace
from nap.decoding.guides import fingerprint
from nap.decoding.influence import Exact, Influence, InfluenceSetting, open_influence, save_influence
from nap.decoding.policies.demask import Demask, independent
from nap.decoding.policies.registry import parse_policy, policy_name
from nap.models.load import load
from nap.training.influenced import effects, influence_loss, partly
from toys import MASK, HashDenoiser, ToyDenoiser


@dataclass
class Told:
    """A guide that knows of some pairs."""

    pairs: tuple[tuple[int, int, float], ...]
    name: str = "told"

    def between(self, canvas, ids_L, position_N, token_N, states_ND):
        assert (np.diff(position_N) > 0).all() and len(states_ND) == len(position_N) == len(token_N)
        found_NN = np.zeros((len(position_N), len(position_N)))
        for giver, taker, value in self.pairs:
            found_NN[np.ix_(position_N == giver, position_N == taker)] = value
        return found_NN


@pytest.mark.parametrize(
    ("pairs", "settings", "commits"),
    [
        # By confidence: 11 8 5 4 12 7 3 9. Nothing depends on anything.
        ((), {}, [[11, 8, 5, 4, 12, 7, 3, 9]]),
        ((), {"least": 0.9}, [[11, 8, 5, 4], [12], [7], [3], [9]]),
        ((), {"block": 4}, [[5, 4, 7, 3], [11, 8, 12, 9]]),
        # 8 depends on 11, which is surer; the other way round it does not count.
        (((11, 8, 0.3),), {"tau": 0.2}, [[11, 5, 4, 12, 7, 3, 9], [8]]),
        (((8, 11, 0.3),), {"tau": 0.2}, [[11, 8, 5, 4, 12, 7, 3, 9]]),
        # Two of .15 are too much for one step, and one is not.
        (((11, 5, 0.15), (8, 12, 0.15)), {"tau": 0.2}, [[11, 8, 5, 4, 7, 3, 9], [12]]),
        (((11, 5, 0.15), (8, 12, 0.15)), {"tau": 0.3}, [[11, 8, 5, 4, 12, 7, 3, 9]]),
        (((11, 9, 0.1), (8, 9, 0.1), (4, 9, 0.1)), {"tau": 0.25}, [[11, 8, 5, 4, 12, 7, 3], [9]]),
    ],
)
def test_what_is_committed_together_influences_each_other_little_enough(pairs, settings, commits):
    one = canvas()
    known = oracle(one, ["a b", "c d", "e"], SURE)
    known.gives |= {"states"}
    (trace,) = run(known, [one], Demask(guide=Told(pairs), **settings))
    assert order(trace) == commits
    assert [cost.guide_calls for cost in trace.costs] == [1] * len(commits)


def test_the_greedy_set_by_hand():
    influence = np.array([[0, 0.2, 0.2], [0, 0, 0], [0, 0, 0]])
    assert independent(influence, 0.1).tolist() == [0]
    assert independent(influence, 0.2).tolist() == [0, 1]
    assert independent(influence, 0.4).tolist() == [0, 1, 2]


class Follows(ToyDenoiser):
    """Position 2 is what position 1 is, once that is known; before, 5 (.5) or 6 (.3). Position 3 knows nobody."""

    masked_only = False

    def scores(self, ids_BL, layout, rows_N, positions_N):
        chance_NV = np.full((len(rows_N), self.vocabulary), 1e-9)
        chance_NV[:, 5], chance_NV[:, 6] = 0.5, 0.5 - 2e-1
        chance_NV[:, 7] = 0.2
        known_N = ids_BL[rows_N, 1]
        follows = np.flatnonzero((positions_N == 2) & (known_N != MASK))
        chance_NV[follows] = 1e-9
        chance_NV[follows, known_N[follows]] = 1.0
        return np.log(chance_NV)


def test_the_exact_influence_by_hand():
    one = plain(3)
    found = Exact(Follows(vocabulary=9)).between(one, one.ids, np.array([1, 2, 3]), np.array([5, 5, 5]), torch.empty(0))
    # TV of (.5, .3, .2) and (1, 0, 0); nobody else influences anybody.
    assert found == pytest.approx(np.array([[0, 0.5, 0], [0, 0, 0], [0, 0, 0]]), abs=1e-6)


def head_of(denoiser, states=16):
    torch.manual_seed(0)
    return Influence(InfluenceSetting(model=fingerprint(denoiser), states=states, width=8))


@pytest.mark.parametrize("length", [1, 9])
def test_every_decode_of_an_untrained_head_ends(length):
    model = NeverContent(vocabulary=9)
    model.gives |= {"states"}
    for tau in (0.0, 0.5, 99.0):
        (trace,) = run(model, [plain(length)], Demask(guide=head_of(model, states=9), tau=tau))
        check_trace(trace)
        assert MASK not in trace.final


def test_a_head_learns_the_exact_influence_of_its_model(tiny):
    denoiser, rng = load(str(tiny)), np.random.default_rng(0)
    one = plain(8)
    full = one.ids.copy()
    full[1:] = rng.integers(5, denoiser.vocabulary, 8)
    seen = [effects(denoiser, one, partly(one, full, denoiser.mask_id, rng), 6, rng) for _ in range(12)]
    assert all(len(found.position_N) <= 6 for found in seen)
    head = head_of(denoiser)
    optimiser = torch.optim.AdamW(head.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        loss = influence_loss(head, seen)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


def test_a_head_is_read_back_and_refused_for_another_model_and_where_it_is_damaged(tiny, tmp_path):
    denoiser = load(str(tiny))
    save_influence(head_of(denoiser), tmp_path)
    policy = parse_policy(f"demask:guide={tmp_path},tau=0.2")
    assert policy_name(policy) == f"demask:guide={tmp_path},tau=0.2"
    assert open_influence(str(tmp_path)).digest == head_of(denoiser).digest
    with pytest.raises(InputError, match=r"influence head .* was trained on another model .*recipes/influence\.py"):
        run(HashDenoiser(), [plain(5)], policy)
    with pytest.raises(InputError, match="policy 'demask' needs guide"):
        parse_policy("demask")
    with pytest.raises(InputError, match="tau must be at least 0, got -1"):
        parse_policy(f"demask:guide={tmp_path},tau=-1")
    setting = tmp_path / "influence.json"
    kept = json.loads(setting.read_text())
    for wrong in ({"states": 10**9}, {"width": 0}, {"width": 9}, {"more": 1}):
        setting.write_text(json.dumps(kept | wrong))
        with pytest.raises(InputError, match=r"an influence head's|no influence head that can be opened"):
            open_influence(str(tmp_path))
