"""The fast scorer gives what two forwards a segment give."""

import numpy as np
import pytest
import torch
import transformers

import nap.dependence.causal
from nap.dependence.load import open_scorer
from nap.dependence.scorer import Branch, Reading
from nap.dependence.segments import Row, segment
from nap.dependence.seqdep import MEASURES, measure, measure_corpus
from scorers import POEM, brute_force, character_tokenizer, save_causal

KINDS = {
    "llama": ("Llama", {}),
    "qwen2": ("Qwen2", {}),
    "gpt2": ("GPT2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}),
    "mistral-window": ("Mistral", {"sliding_window": 8}),
    "qwen3-tied": ("Qwen3", {"tie_word_embeddings": True, "head_dim": 8}),
}


def saved(folder, kind):
    name, changes = KINDS[kind]
    model = getattr(transformers, f"{name}LMHeadModel", None) or getattr(transformers, f"{name}ForCausalLM")
    return save_causal(folder, model, getattr(transformers, f"{name}Config"), **changes)


def assert_equals_brute_force(scorer, folder, text):
    own = measure(scorer, text)
    with_history, alone = brute_force(folder, text)
    np.testing.assert_allclose(own.given_history, with_history, atol=1e-4, rtol=0)
    np.testing.assert_allclose(own.baseline["seqdep"], alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["lines", "tokens:7"])
def test_one_reading_gives_what_two_forwards_a_segment_give(tmp_path, kind, how):
    folder = saved(tmp_path / kind, kind)
    scorer = open_scorer(str(folder))
    assert scorer.branches_share == (kind != "mistral-window")
    for prompt in ("", "What did the cat do?"):
        assert_equals_brute_force(scorer, folder, segment(Row("poem", prompt, POEM), how, scorer.encode))


@pytest.mark.parametrize("tokens", [1, 5, 16])
def test_the_size_of_a_forward_changes_no_number(llama, monkeypatch, tokens):
    scorer = open_scorer(str(llama))
    text = segment(Row("poem", "", POEM), "lines", scorer.encode)
    monkeypatch.setattr(nap.dependence.causal, "FORWARD", tokens)
    assert_equals_brute_force(scorer, llama, text)


def test_branches_leave_the_trunk_at_different_places_in_any_sequence(llama):
    scorer = open_scorer(str(llama))
    trunk, branches = tuple(range(3, 30)), [Branch(2, (5, 6)), Branch(27, (9,)), Branch(1, (1, 2, 3)), Branch(9, (8,))]
    [(_, together)] = scorer.score([Reading(trunk, branches, 5)])
    apart = [found.branches[0] for found in scorer.score([Reading(trunk, [branch], 5) for branch in branches])]
    whole = [scorer.score([Reading(trunk[:after] + ids, [], after)])[0].trunk.sum() for after, ids in branches]
    np.testing.assert_allclose(together, apart, atol=1e-5)
    np.testing.assert_allclose(together, whole, atol=1e-5)


@pytest.mark.parametrize("tokens", [4, 60, 200, 1000])
def test_texts_that_share_a_forward_change_no_number_of_each_other(llama, monkeypatch, tokens):
    apart, together = open_scorer(str(llama)), open_scorer(str(llama))
    texts = [segment(Row("", prompt, POEM[:end]), "tokens:5", apart.encode) for prompt in "ab" for end in (20, 60, 40)]
    apart.branches_share = False
    monkeypatch.setattr(nap.dependence.causal, "FORWARD", tokens)
    for one, other in zip(measure_corpus(apart, texts), measure_corpus(together, texts), strict=True):
        np.testing.assert_allclose(other.given_history, one.given_history, atol=1e-4)
        for measure_name in MEASURES:
            np.testing.assert_allclose(other.baseline[measure_name], one.baseline[measure_name], atol=1e-4)
        assert np.isfinite(other.baseline["excess"]).any() and np.isfinite(other.baseline["control"]).any()


def test_text_that_looks_like_a_special_token_is_only_text(llama):
    scorer = open_scorer(str(llama))
    assert len(scorer.encode("a<unk>b")) == 7


def test_a_short_number_type_is_close_and_has_to_be_asked_for(llama):
    exact, short = open_scorer(str(llama)), open_scorer(str(llama), dtype="bfloat16")
    assert exact.model.dtype == torch.float32 and short.model.dtype == torch.bfloat16
    text = segment(Row("poem", "", POEM), "lines", exact.encode)
    assert measure(short, text).per_token() == pytest.approx(measure(exact, text).per_token(), abs=0.1)


def test_the_character_tokenizer_of_these_tests_spells_everything_back():
    tokenizer = character_tokenizer()
    assert tokenizer.decode(tokenizer.encode(POEM)) == POEM
