"""Rejection mixing: what is fed in place of masks, when it is taken back, and who cannot be fed it."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from test_decode import order, plain
from test_stateful import run

from nap.common.files import InputError
from nap.decoding.decode import decode_traces
from nap.decoding.needs import check_needs
from nap.decoding.policies.mixing import divergence
from nap.decoding.policies.policy import Edits, Selecting
from nap.decoding.policies.registry import parse_policy
from nap.models.denoiser import NativeDenoiser
from nap.models.load import load
from nap.models.session import Mix, Question, open_session
from nap.models.silent import Silent
from toys import MASK, HashDenoiser, ToyDenoiser

A, B = 5, 6


class Leans(ToyDenoiser):
    """Of positions 1, 2, 3: sure of A; surer of A once it is fed what it said; says A to a mask and B to a mix."""

    def __init__(self):
        super().__init__(vocabulary=9)
        self.fed = []

    def scores(self, ids_BL, layout, rows_N, positions_N):
        places = [] if self.soft is None else self.soft.places_N.tolist()
        self.fed.append((places, None if self.soft is None else self.soft.weight_NV.clone()))
        said = {(1, False): (A, 0.95), (1, True): (A, 0.95), (2, False): (A, 0.6), (2, True): (A, 0.9)}
        said |= {(3, False): (A, 0.7), (3, True): (B, 0.7)}
        chance_NV = np.empty((len(rows_N), self.vocabulary))
        for line, at in zip(chance_NV, positions_N.tolist(), strict=True):
            token, chance = said[at, at in places]
            line[:] = (1 - chance) / (self.vocabulary - 1)
            line[token] = chance
        return np.log(chance_NV)


@pytest.mark.parametrize(
    ("policy", "fed", "commits", "final"),
    [
        # What 3 said of a mix is not what it said of the mask, so it is a mask again.
        ("remix:after=1", [[], [2, 3], []], [[1], [2], [3]], [A, A, A]),
        # That its word changed is allowed: it stays mixed, and the mix wins.
        ("remix:after=1,back=0.7", [[], [2, 3], [3]], [[1], [2], [3]], [A, A, B]),
        # By default the first two forwards are fed nothing, and the best is committed where nothing is sure.
        ("remix", [[], [], [2]], [[1], [3], [2]], [A, A, A]),
        ("remix:after=0,tau=0.5", [[]], [[1, 3, 2]], [A, A, A]),
        # A mix that weighs nothing is the mask, but a toy hears that it is there.
        ("remix:after=1,share=0", [[], [2, 3], []], [[1], [2], [3]], [A, A, A]),
        ("remix:after=0,tau=0.92,block=1", [[], [], []], [[1], [2], [3]], [A, A, A]),
    ],
)
def test_a_mask_that_is_not_sure_is_fed_what_was_said_of_it_until_that_changes_too_much(policy, fed, commits, final):
    known = Leans()
    (trace,) = run(known, [plain(3)], policy)
    assert [places for places, _ in known.fed] == fed
    assert order(trace) == commits and list(trace.final[1:]) == final


def test_a_mix_is_the_mask_and_the_most_probable_tokens_in_their_shares():
    known = Leans()
    run(known, [plain(3)], "remix:after=1,top=0.5,share=0.4")
    weights = known.fed[1][1]
    wanted = torch.zeros(2, 9)
    wanted[:, MASK], wanted[:, A] = 0.6, 0.4
    assert torch.allclose(weights, wanted, atol=1e-6)
    known = Leans()
    run(known, [plain(3)], "remix:after=1,top=1,share=0.5")
    assert known.fed[1][1][0, [MASK, A, B]].tolist() == pytest.approx([0.5 + 0.025, 0.3, 0.025], abs=1e-6)


def test_the_divergence_is_jensen_and_shannons():
    one, other = torch.tensor([[1.0, 0.0], [0.5, 0.5]]), torch.tensor([[0.0, 1.0], [0.5, 0.5]])
    assert divergence(one, other) == pytest.approx([np.log(2), 0], abs=1e-6)


def of(denoiser, row):
    """The canvas with the model's own masks."""
    return replace(row, ids=np.where(row.ids == MASK, denoiser.mask_id, row.ids))


def states(denoiser, ids, mix=None, at=(3,), also=()):
    session = open_session(denoiser)
    session.admit(0, replace(plain(5), ids=ids))
    return session.ask([Question(0, ids, np.array(at), 1, 6, also, mix)]).states_ND


def test_a_mix_of_one_token_is_that_token_and_a_mix_of_two_their_mean_embedding(tiny):
    denoiser = load(str(tiny))
    assert isinstance(denoiser, NativeDenoiser)
    ids = plain(5).ids.copy()
    ids[1:] = [7, denoiser.mask_id, denoiser.mask_id, 11, 8]
    only = torch.nn.functional.one_hot(torch.tensor([12]), denoiser.vocabulary).float()
    written = ids.copy()
    written[2] = 12
    for also in ((), ("without",)):
        mixed = states(denoiser, ids, Mix(np.array([2]), only), also=also)
        assert torch.allclose(mixed, states(denoiser, written), atol=1e-5)
    assert not torch.allclose(states(denoiser, ids), states(denoiser, written), atol=1e-3)
    half = torch.zeros(1, denoiser.vocabulary)
    half[0, [12, 13]] = 0.5
    table: Any = denoiser.model.get_input_embeddings().weight
    kept = table[12].clone()
    mean = (table[12] + table[13]).detach() / 2
    mixed = states(denoiser, ids, Mix(np.array([2]), half))
    with torch.no_grad():
        table[12] = mean
        assert torch.allclose(mixed, states(denoiser, written), atol=1e-5)
        table[12] = kept


def test_a_mix_of_nothing_but_the_mask_decodes_as_a_threshold_does(tiny):
    denoiser = load(str(tiny))
    rows = [of(denoiser, plain(9, "a")), of(denoiser, plain(7, "b"))]
    names = "remix:tau=0.3,share=0,after=0", "threshold:tau=0.3"
    (remix, threshold) = (decode_traces(denoiser, rows, parse_policy(name)) for name in names)
    assert all(trace.forwards > 1 for trace in remix)
    assert [[e[:4] for e in t.events] for t in remix] == [[e[:4] for e in t.events] for t in threshold]


def test_a_row_that_is_mixed_and_its_neighbours_do_not_change_each_other(tiny):
    denoiser, policy = load(str(tiny)), parse_policy("remix:tau=0.9,after=0")
    # Nine masks have candidates that agree to six digits, and batches are rounded in another order.
    rows = [of(denoiser, plain(length, letter)) for length, letter in ((7, "b"), (3, "c"))]
    together = decode_traces(denoiser, rows, policy)
    unmixed = decode_traces(denoiser, rows, parse_policy("remix:tau=0.9,share=0"))
    assert [t.final for t in together] != [t.final for t in unmixed], "the mix says something"
    for row, trace in zip(rows, together, strict=True):
        (alone,) = decode_traces(denoiser, [row], policy)
        assert [e[:4] for e in alone.events] == [e[:4] for e in trace.events]


def test_who_cannot_be_fed_a_mix_says_so_before_the_first_forward(tiny):
    policy = parse_policy("remix")
    with pytest.raises(InputError, match="'remix' needs mixes of token embeddings as its input, which silent does not"):
        check_needs(policy, Silent(0, 1, 9), "none", 0)
    with pytest.raises(InputError, match="a forward with the cache 'prefix' does not give; use the cache 'none'"):
        check_needs(policy, load(str(tiny)), "prefix", 0)
    check_needs(policy, load(str(tiny)), "none", 1.5)


@dataclass(frozen=True, kw_only=True)
class Mixer(Selecting):
    """Mixes what it is told to."""

    paced = False
    needs = ("mixes",)
    at: tuple[int, ...] = (1,)
    weight: float = 1.0
    tokens: int = 9

    def mixes(self, row):
        weight_NV = torch.zeros(len(self.at), self.tokens)
        weight_NV[:, 0], weight_NV[:, 1] = self.weight, 1 - self.weight if self.weight < 0 else 0
        return Mix(np.array(self.at), weight_NV)

    def act(self, row, said):
        return Edits(said.position_N[:1], said.token_N[:1])


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"at": (0,)}, "mixes at what is not masked"), ({"at": (1, 1)}, "or twice at one position"),
        ({"weight": 0.5}, "mixes by weights that are no probabilities"), ({"weight": -1.0}, "no probabilities"),
        ({"weight": float("nan")}, "no probabilities"), 
        ({"tokens": 8}, r"mixes 1 positions by weights of shape \(1, 8\)"),
    ],
)  # fmt: skip
def test_a_mix_that_cannot_be_is_named_in_one_line(told, said):
    with pytest.raises(InputError, match=said):
        run(HashDenoiser(vocabulary=9), [plain(4)], Mixer(**told))
