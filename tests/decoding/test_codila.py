"""CoDiLA: the joint block by hand and by enumeration, what an untrained small model writes, and that one learns."""

import json
from itertools import product

import numpy as np
import pytest
import torch
from test_decode import SURE, canvas, oracle, order, plain
from test_stateful import NeverContent, run

from nap.common.files import InputError
from nap.data.trace import check_trace
from nap.decoding.coherent import Coherent, CoherentSetting, open_coherent, save_coherent
from nap.decoding.guides import fingerprint
from nap.decoding.policies.codila import Codila
from nap.decoding.policies.registry import parse_policy, policy_name
from nap.models.load import load
from nap.training.coherent import Block, block_loss, blocks
from toys import MASK, HashDenoiser, TableDenoiser

A, B = 5, 6


def small(denoiser, block=4, seed=0, scale=0.0):
    torch.manual_seed(seed)
    setting = CoherentSetting(
        model=fingerprint(denoiser), vocabulary=denoiser.vocabulary, block=block, width=16, heads=2, layers=2
    )
    guide = Coherent(setting).eval()
    torch.nn.init.normal_(guide.out.weight, std=scale)
    return guide


class Agree(Coherent):
    """Knows that all tokens of a block are the same one."""

    def __init__(self, denoiser):
        super().__init__(small(denoiser).setting, "agree")

    def forward(self, chance_BNV, token_BN):
        logits = (chance_BNV + 1e-9).log()
        for at in range(1, token_BN.shape[1]):
            other = torch.ones_like(logits[:, at], dtype=torch.bool).scatter(1, token_BN[:, at - 1 : at], False)
            logits[:, at][other] = -1e9
        return logits


def table(*chances):
    """Of each position the chances of A and B, as logits; position 0 is the prompt."""
    found = np.full((len(chances) + 1, 9), 1e-6)
    for line, (a, b) in zip(found[1:], chances, strict=True):
        line[[A, B]] = a, b
    return np.log(found)


@pytest.mark.parametrize(
    ("beam", "tokens"),
    [
        # Alone the two would be A and B. From left to right A, then A (.5 * 1); jointly B, B: the guide's own
        # probability of a block, in which the second follows the first in any case, is .5 for A A and .4 for B B.
        (1, [A, A]),
        (4, [A, A]),
    ],
)
def test_a_block_is_written_jointly(beam, tokens):
    model = TableDenoiser(table((0.5, 0.4), (0.3, 0.6)))
    (trace,) = run(model, [plain(2)], Codila(guide=Agree(model), block=2, beam=beam))
    assert trace.final[1:] == tokens and trace.forwards == 1
    assert [event.probability for event in trace.events] == pytest.approx([0.5 / 0.900007, 0.3 / 0.900007], abs=1e-5)


def test_with_room_for_all_beams_the_block_is_the_best_of_all_blocks():
    model = TableDenoiser(table((0.5, 0.4)), tokenizer=None)
    for seed in range(5):
        guide, generator = small(model, block=3, seed=seed, scale=2.0), torch.Generator().manual_seed(seed)
        chance = torch.rand(3, 9, generator=generator)
        chance[:, [0, 4]] = 0
        chance /= chance.sum(dim=-1, keepdim=True)
        every = torch.tensor(list(product(range(9), repeat=3)))
        with torch.no_grad():
            said = guide(chance.expand(len(every), -1, -1), every).double()
            said = said.masked_fill(chance <= 0, -torch.inf).log_softmax(dim=-1)
        scores = said.gather(2, every[..., None])[..., 0].sum(dim=-1)
        best = every[scores.argmax()].tolist()
        assert guide.decode(chance, 4096).tolist() == best
        greedy = guide.decode(chance, 1).tolist()
        place = next(n for n, tokens in enumerate(every.tolist()) if tokens == greedy)
        assert scores[place] <= scores.max() and 0 not in greedy and 4 not in greedy


def test_a_token_is_said_by_those_before_it_alone():
    guide = small(HashDenoiser(), scale=1.0)
    chance = torch.softmax(torch.randn(1, 4, HashDenoiser().vocabulary), dim=-1)
    one = torch.tensor([[5, 6, 7, 8]])
    other = torch.tensor([[5, 9, 7, 8]])
    with torch.no_grad():
        same, changed = guide(chance, one), guide(chance, other)
    assert torch.allclose(same[:, :2], changed[:, :2]) and not torch.allclose(same[:, 2], changed[:, 2], atol=1e-4)


def test_an_untrained_one_writes_what_the_model_says_of_each_position_block_by_block():
    one = canvas()
    known = oracle(one, ["a b", "c d", "e"], SURE)
    (trace,) = run(known, [one], Codila(guide=small(known), block=4))
    assert order(trace) == [[3, 4, 5, 7], [8, 9, 11, 12]]
    assert trace.final == run(known, [one], "threshold:tau=0")[0].final
    assert [cost.guide_calls for cost in trace.costs] == [1, 1]


@pytest.mark.parametrize("length", [1, 9])
def test_every_decode_ends(length):
    model = NeverContent(vocabulary=9)
    (trace,) = run(model, [plain(length)], Codila(guide=small(model, scale=3.0), block=2, beam=3))
    check_trace(trace)
    assert MASK not in trace.final and trace.forwards == (length + 1) // 2


def test_it_learns_what_marginals_cannot_say(tiny):
    # Two tokens that are always the same, each as likely A as B: alone ln 2 each, jointly ln 2 for both.
    chance = torch.zeros(2, 9)
    chance[:, [A, B]] = 0.5
    seen = [Block(chance, torch.tensor([token, token])) for token in (A, B)]
    guide = small(TableDenoiser(table((0.5, 0.5))))
    optimiser = torch.optim.AdamW(guide.parameters(), lr=1e-2)
    assert float(block_loss(guide, seen).detach()) == pytest.approx(np.log(2), abs=1e-3)
    for _ in range(60):
        loss = block_loss(guide, seen)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(block_loss(guide, seen).detach()) == pytest.approx(np.log(2) / 2, abs=0.02)


def test_blocks_are_those_that_a_decode_comes_through(tiny):
    denoiser, rng = load(str(tiny)), np.random.default_rng(0)
    one = plain(6)
    full = one.ids.copy()
    full[1:] = [5, 6, 7, 8, 9, 10]
    found = blocks(denoiser, [(one, full)] * 8, 4, rng)
    assert {tuple(block.token_N.tolist()) for block in found} == {(5, 6, 7, 8), (9, 10)}
    assert all((block.chance_NV[:, denoiser.mask_id] == 0).all() for block in found)
    assert float(block_loss(small(denoiser), found).detach()) > 0


def test_it_is_read_back_and_refused_for_another_model_a_longer_block_and_where_it_is_damaged(tiny, tmp_path):
    denoiser = load(str(tiny))
    save_coherent(small(denoiser), tmp_path)
    policy = parse_policy(f"codila:guide={tmp_path},block=2,beam=3")
    assert policy_name(policy) == f"codila:guide={tmp_path},block=2,beam=3"
    with pytest.raises(InputError, match=r"was trained on another model .*recipes/coherent\.py"):
        run(HashDenoiser(), [plain(5)], policy)
    with pytest.raises(InputError, match="block must be from 1 to 4, as its guide's is, got 5"):
        parse_policy(f"codila:guide={tmp_path},block=5")
    setting = tmp_path / "coherent.json"
    kept = json.loads(setting.read_text())
    for wrong in ({"vocabulary": 10**9}, {"layers": 99}, {"heads": 3}, {"width": 18}, {"more": 1}):
        setting.write_text(json.dumps(kept | wrong))
        with pytest.raises(InputError, match=r"a block's model's|no block's model that can be opened"):
            open_coherent(str(tmp_path))
