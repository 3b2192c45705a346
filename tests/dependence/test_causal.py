"""The fast path gives what the reference gives, and that what two forwards a segment give."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

import nap.dependence.forest
from nap.dependence.causal import SHARING, CausalScorer, shares_forwards
from nap.dependence.load import open_scorer
from nap.dependence.scorer import Branch, Reading
from nap.dependence.segments import Row, segment
from nap.dependence.seqdep import MEASURES, measure, measure_corpus
from scorers import POEM, SIZE, brute_force, character_tokenizer, save_causal

KINDS = {
    "llama": ("Llama", {}),
    "qwen2": ("Qwen2", {}),
    "gpt2": ("GPT2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}),
    "mistral-window": ("Mistral", {"sliding_window": 8}),
    "qwen3-tied": ("Qwen3", {"tie_word_embeddings": True, "head_dim": 8}),
}

# No special token, so that nothing depends on which one, and experts for those that have some.
TINY = SIZE | {
    "head_dim": 8, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None, "num_experts": 4,
    "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "sliding_window": None,
    "shared_expert_intermediate_size": 16,
}  # fmt: skip


def saved(folder, kind):
    name, changes = KINDS[kind]
    model = getattr(transformers, f"{name}LMHeadModel", None) or getattr(transformers, f"{name}ForCausalLM")
    return save_causal(folder, model, getattr(transformers, f"{name}Config"), **changes)


def causal(folder: Path, **how: Any) -> CausalScorer:
    scorer = open_scorer(str(folder), **how)
    assert isinstance(scorer, CausalScorer)
    return scorer


def assert_equals_brute_force(scorer, folder, text):
    own = measure(scorer, text)
    with_history, alone = brute_force(folder, text)
    np.testing.assert_allclose(own.given_history, with_history, atol=1e-4, rtol=0)
    np.testing.assert_allclose(own.baseline["seqdep"], alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["lines", "tokens:7"])
def test_one_reading_gives_what_two_forwards_a_segment_give(tmp_path, kind, how):
    folder = saved(tmp_path / kind, kind)
    scorer = causal(folder)
    assert scorer.branches_share == (kind != "mistral-window")
    for prompt in ("", "What did the cat do?"):
        assert_equals_brute_force(scorer, folder, segment(Row("poem", prompt, POEM), how, scorer.encode))


@pytest.mark.parametrize("tokens", [1, 5, 16])
def test_the_size_of_a_forward_changes_no_number(llama, monkeypatch, tokens):
    scorer = open_scorer(str(llama))
    text = segment(Row("poem", "", POEM), "lines", scorer.encode)
    monkeypatch.setattr(nap.dependence.forest, "FORWARD", tokens)
    assert_equals_brute_force(scorer, llama, text)


def test_branches_leave_the_trunk_at_different_places_in_any_sequence(llama):
    scorer = open_scorer(str(llama))
    trunk, branches = tuple(range(3, 30)), [Branch(2, (5, 6)), Branch(27, (9,)), Branch(1, (1, 2, 3)), Branch(9, (8,))]
    [(_, together)] = scorer.score([Reading(trunk, branches, 5)])
    apart = [found.branches[0] for found in scorer.score([Reading(trunk, [branch], 5) for branch in branches])]
    np.testing.assert_allclose(together, apart, atol=1e-5)


@pytest.mark.parametrize("tokens", [4, 60, 200, 1000])
def test_texts_that_share_a_forward_change_no_number_of_each_other(llama, monkeypatch, tokens):
    monkeypatch.setattr(nap.dependence.forest, "FORWARD", tokens)
    apart, together = causal(llama), causal(llama)
    monkeypatch.setattr(apart, "score", apart.reference)
    texts = [segment(Row("", prompt, POEM[:end]), "tokens:5", apart.encode) for prompt in "ab" for end in (20, 60, 40)]
    for one, other in zip(measure_corpus(apart, texts), measure_corpus(together, texts), strict=True):
        np.testing.assert_allclose(other.given_history, one.given_history, atol=1e-4)
        for measure_name in MEASURES:
            np.testing.assert_allclose(other.baseline[measure_name], one.baseline[measure_name], atol=1e-4)
        assert np.isfinite(other.baseline["excess"]).any() and np.isfinite(other.baseline["control"]).any()


# Which models get the fast path


def random_scorer(kind, **changes):
    """A tiny model of that `model_type` in which no weight is where it starts: no bias 0, no scale 1."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **TINY | changes)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return CausalScorer(model, character_tokenizer(), kind)


@pytest.mark.parametrize("tokens", [8, 512])
@pytest.mark.parametrize("kind", SHARING)
def test_every_class_on_the_fast_path_gives_what_its_reference_gives(monkeypatch, kind, tokens):
    monkeypatch.setattr(nap.dependence.forest, "FORWARD", tokens)
    scorer, draw = random_scorer(kind), np.random.default_rng(0)
    assert scorer.branches_share

    def ids(count):
        return tuple(map(int, draw.integers(1, 90, count)))

    branches = [Branch(4, ids(6)), Branch(30, ids(9)), Branch(4, ids(1)), Branch(40, ids(5))]
    readings = [Reading(ids(40), branches, 2), Reading(ids(12), [Branch(11, ids(20))], 12), Reading(ids(30), [], 9)]
    for fast, slow in zip(scorer.score(readings), scorer.reference(readings), strict=True):
        np.testing.assert_allclose(fast.trunk, slow.trunk, atol=1e-4)
        np.testing.assert_allclose(fast.branches, slow.branches, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("mistral", {"sliding_window": 8}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0}),
        ("qwen3", {"num_hidden_layers": 2, "layer_types": ["full_attention", "sliding_attention"]}),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}}),
        ("gemma2", {}),
        ("bloom", {}),
        ("mpt", {}),
        ("rwkv", {}),
    ],
)
def test_a_model_that_is_not_known_to_see_all_and_to_count_as_it_is_told_gets_the_reference(kind, settings):
    assert not shares_forwards(AutoConfig.for_model(kind, **settings))


def test_text_that_looks_like_a_special_token_is_only_text(llama):
    scorer = open_scorer(str(llama))
    assert len(scorer.encode("a<unk>b")) == 7


def test_a_short_number_type_is_close_and_has_to_be_asked_for(llama):
    exact, short = causal(llama), causal(llama, dtype="bfloat16")
    assert exact.model.dtype == torch.float32 and short.model.dtype == torch.bfloat16
    text = segment(Row("poem", "", POEM), "lines", exact.encode)
    assert measure(short, text).per_token() == pytest.approx(measure(exact, text).per_token(), abs=0.1)


def test_the_character_tokenizer_of_these_tests_spells_everything_back():
    tokenizer = character_tokenizer()
    assert tokenizer.decode(tokenizer.encode(POEM)) == POEM
