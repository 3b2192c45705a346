"""Policies that look inside a forward: attention weights (dawn) and leave-one-out probabilities (wino)."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_decode import SURE, canvas, oracle, order, plain
from test_published import RECORDS, Ours, decoded
from test_stateful import run

import nap.decoding.policies.dawn as dawn
from conftest import DATA
from nap.canvas.canvas import CanvasSpec, layout
from nap.common.files import InputError
from nap.decoding.budget import Sampling
from nap.decoding.decode import decode_traces
from nap.decoding.engine import Engine
from nap.decoding.needs import check_needs
from nap.decoding.policies.registry import parse_policy
from nap.models.attention import Decoder
from nap.models.denoiser import NativeDenoiser
from nap.models.load import load
from nap.models.session import Question, open_session
from toys import HashDenoiser, OracleDenoiser, UniformDenoiser


class Looks(OracleDenoiser):
    """An oracle that looks at nothing but what `edges` say: (query, key) of weight .2."""

    def __init__(self, edges: tuple[tuple[int, int], ...], known: OracleDenoiser) -> None:
        super().__init__([], [], [], tokenizer=known.tokenizer)
        self.edges, self.known = edges, known.known

    def weights(self, ids_BL, layout):
        weights = np.zeros((*ids_BL.shape, ids_BL.shape[1]))
        for query, key in self.edges:
            weights[:, query, key] = 0.2
        return weights


@pytest.mark.parametrize(
    ("edges", "policy", "commits"),
    [
        # Nothing depends on anything: the sure ones and all of .7 or more.
        ((), "dawn", [[11, 8, 5, 4, 12], [7], [3], [9]]),
        ((), "dawn:low=0.45", [[11, 8, 5, 4, 12, 7, 3], [9]]),
        ((), "dawn:low=0.45,block=4", [[5, 4, 7, 3], [11, 8, 12], [9]]),
        # 7 depends on 12 and is not committed with it, whichever looks at the other.
        (((7, 12),), "dawn:low=0.45,sink=0.05", [[11, 8, 5, 4, 12, 3], [7], [9]]),
        (((12, 7),), "dawn:low=0.45,sink=0.05", [[11, 8, 5, 4, 12, 3], [7], [9]]),
        # 9 looks at 11, which is decoded after the first step; the other way round does not count.
        (((7, 12), (9, 11)), "dawn:low=0.45,induce=0.25,sink=0.05", [[11, 8, 5, 4, 12, 3], [7, 9]]),
        (((7, 12), (11, 9)), "dawn:low=0.45,induce=0.25,sink=0.05", [[11, 8, 5, 4, 12, 3], [7], [9]]),
        # One query's weight of .2 is .2/13 of the mean: above the usual sink, so that 12 does not count.
        (((7, 12),), "dawn:low=0.45", [[11, 8, 5, 4, 12, 7, 3], [9]]),
        # An edge of .2 is none where more is asked.
        (((7, 12),), "dawn:low=0.45,sink=0.05,edge=0.3", [[11, 8, 5, 4, 12, 7, 3], [9]]),
    ],
)
def test_dawn_does_not_commit_together_what_looks_at_each_other(edges, policy, commits):
    one = canvas()
    known = oracle(one, ["a b", "c d", "e"], SURE)
    looking = Looks(edges, known)
    (trace,) = run(looking, [one], policy)
    assert order(trace) == commits


class WritesOverThePrompt:
    """The published code's flaw: where its greedy set runs out of candidates it takes position 0, a prompt's token."""

    def __init__(self, monkeypatch):
        self.best: int | None = None
        self.written: int | None = None
        self.ran_out = False
        free, more = dawn._free, NativeDenoiser.more

        def flawed_free(tied_NN, rest_N, chance_N):
            found = free(tied_NN, rest_N, chance_N)
            self.ran_out = bool(found.sum() < rest_N.sum())
            return found

        def flawed_more(denoiser, ids_BL, layout, shadow_BS, attention, soft=None):
            if self.ran_out:
                self.written = self.best
            if self.written is not None:
                ids_BL = ids_BL.index_fill(1, torch.tensor([0]), self.written)
            found = more(denoiser, ids_BL, layout, shadow_BS, attention, soft)
            self.best = int(denoiser.head(found.states_BLD[0, :1]).argmax())
            return found

        monkeypatch.setattr(dawn, "_free", flawed_free)
        monkeypatch.setattr(NativeDenoiser, "more", flawed_more)


@pytest.mark.parametrize("record", [r for r in RECORDS if r["name"].startswith("dawn")], ids=lambda r: r["name"])
def test_dawn_is_the_published_code_but_for_its_writing_over_the_prompt(record, nap_data, monkeypatch):
    told, block = record["settings"], record["block_length"]
    settings = f"induce={told['tau_induce']},low={told['tau_low']},edge={told['tau_edge']},sink={told['tau_sink']}"
    denoiser = load(str(DATA / "reference" / record["checkpoint"]))
    flaw = WritesOverThePrompt(monkeypatch)
    wanted = Ours(f"dawn:{settings},late=1,block={block}")
    ((tokens, steps, forwards, _),) = decoded(record, wanted, lambda name, **own: denoiser)
    assert (tokens, steps, forwards) == (record["tokens"], record["commit_step"], record["forwards"])
    assert flaw.written == record["full_sequence"][0] != record["prompt"][0]


def test_a_shadow_says_what_would_be_there_if_the_token_were_masked(tiny):
    """One layer: nothing but the position itself knows its token, so that leaving one out is exact."""
    denoiser, one = load(str(tiny)), plain(5)
    ids = one.ids.copy()
    ids[1:] = [7, 9, denoiser.mask_id, 11, 8]
    for at in (1, 2, 5):
        session = open_session(denoiser)
        session.admit(0, replace(one, ids=ids))
        answer = session.ask([Question(0, ids, np.array([at]), 1, 6, ("without",))])
        assert answer.queries_B == [len(ids) + 1]
        masked = ids.copy()
        masked[at] = denoiser.mask_id
        exact = session.ask([Question(0, masked, np.array([at]), 1, 6)]).states_ND
        assert answer.without_ND is not None
        assert torch.allclose(answer.without_ND, exact, atol=1e-5)
        plainly = session.ask([Question(0, ids, np.array([at]), 1, 6)]).states_ND
        assert torch.allclose(answer.states_ND, plainly, atol=1e-5), "and what it says of the canvas does not change"


def test_recorded_weights_are_those_that_mix_the_values(tiny):
    denoiser = load(str(tiny))
    assert isinstance(denoiser, NativeDenoiser) and isinstance(denoiser.body, Decoder)
    ids_BL = torch.tensor([[5, 6, denoiser.mask_id, 7]])
    maps: list[torch.Tensor] = []
    looked = denoiser.body(ids_BL, None, maps=maps)
    assert torch.allclose(looked, denoiser.body(ids_BL, None), atol=1e-5)
    assert len(maps) == 1 and maps[0].shape == (1, 4, 4)
    assert torch.allclose(maps[0].sum(-1), torch.ones(1, 4), atol=1e-5)


@pytest.mark.parametrize("attention", ["as it loads", "sdpa"])
def test_recording_weights_changes_no_forward_of_another_thread(tiny, attention):
    denoiser = load(str(tiny))
    assert isinstance(denoiser, NativeDenoiser) and isinstance(denoiser.body, Decoder)
    body = denoiser.body
    if attention == "sdpa":
        denoiser.model.config._attn_implementation = "sdpa"
    ids_BL, other_BL = torch.tensor([[5, 6, denoiser.mask_id, 7]]), torch.tensor([[7, 6, 5]])
    alone = body(other_BL, None)
    meanwhile: list[torch.Tensor] = []

    def during(module: object, arguments: object, output: object) -> None:
        hook.remove()
        with ThreadPoolExecutor(1) as pool:
            meanwhile.append(pool.submit(body, other_BL, None).result())

    hook = denoiser.model.model.norm.register_forward_hook(during)
    maps: list[torch.Tensor] = []
    body(ids_BL, None, maps=maps)
    assert len(maps) == 1, "the other's weights are not recorded"
    assert torch.equal(meanwhile[0], alone) and torch.equal(body(other_BL, None), alone)


class Mute(UniformDenoiser):
    """Gives logits and nothing else."""

    gives = frozenset()


@pytest.mark.parametrize(("policy", "need"), [("dawn", "attention weights"), ("wino", "leave-one-out probabilities")])
def test_what_a_model_or_a_cache_cannot_give_is_said_before_the_first_forward(policy, need, tiny):
    mute = Mute()
    with pytest.raises(InputError, match=f"policy '{policy}' needs {need}, which Mute does not give"):
        run(mute, [plain(4)], policy)
    assert mute.calls == []
    denoiser = load(str(tiny))
    with pytest.raises(InputError, match=f"policy '{policy}' needs {need}, which a forward with the cache 'dual'"):
        decode_traces(denoiser, [plain(4)], parse_policy(policy), cache="dual")


def test_a_model_with_shifted_logits_has_weights_and_no_shadows(tiny):
    shifted = load(str(tiny), shift=True)
    with pytest.raises(InputError, match=r"does not give; use a model .* whose logits are not shifted"):
        check_needs(parse_policy("wino"), shifted, "none", 0.0)
    check_needs(parse_policy("dawn"), shifted, "none", 0.0)


@pytest.mark.parametrize(("policy", "need"), [("dawn", "attention weights"), ("wino", "leave-one-out probabilities")])
def test_what_is_not_guided_is_said_before_the_first_forward(policy, need):
    with pytest.raises(InputError, match=f"needs {need}, which are not guided; drop the guidance"):
        run(HashDenoiser(), [plain(4)], policy, sampling=Sampling(guidance=1.0))


@pytest.mark.parametrize("policy", ["dawn:edge=0.02,sink=0.5", "wino"])
def test_a_row_that_looks_inside_goes_on_beside_a_guided_one(policy, tiny):
    denoiser, found = load(str(tiny)), {}
    row = layout([5, 6], CanvasSpec(paths=1, path_tokens=6, summary_tokens=0, tags="none"), None, denoiser.mask_id)
    engine = Engine(denoiser)
    engine.add(row, parse_policy("threshold"), sampling=Sampling(guidance=1.0))
    engine.add(row, parse_policy(policy))
    while engine.running:
        for step in engine.step():
            found.setdefault(step.row, []).extend(step.events)
    (alone,) = decode_traces(denoiser, [row], parse_policy(policy))
    assert [event[:4] for event in found[1]] == [event[:4] for event in alone.events]


def test_a_row_that_looks_inside_does_not_change_its_neighbours(tiny):
    denoiser = load(str(tiny))
    specs = [CanvasSpec(paths=1, path_tokens=n, summary_tokens=0, tags="none") for n in (5, 7)]
    rows = [layout([5, 6], spec, None, denoiser.mask_id) for spec in specs]
    alone = [decode_traces(denoiser, [row], parse_policy("dawn:edge=0.02,sink=0.5"))[0] for row in rows]
    together = decode_traces(denoiser, rows, parse_policy("dawn:edge=0.02,sink=0.5"))
    assert [len(trace.events) for trace in together] == [5, 7]
    assert [[e[:4] for e in t.events] for t in together] == [[e[:4] for e in t.events] for t in alone]
