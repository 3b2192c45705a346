"""log p of an answer: exact under a law and for short answers, by draws for longer ones, with an honest error."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch

from nap.canvas.visibility import Layout
from nap.common.files import InputError
from nap.data.trace import PROMPT
from nap.models.any import load
from nap.models.exact import ExactDenoiser
from nap.serving.likelihood import BATCH, all_masks, drawn_masks, log_likelihood
from tiny import QUESTION


@pytest.fixture(scope="module")
def law(tmp_path_factory: pytest.TempPathFactory) -> ExactDenoiser:
    text: Path = tmp_path_factory.mktemp("law") / "corpus.txt"
    lines = ("the cat saw a dog and the dog saw a cat", "a dog bit the cat and a cat fed the dog", "the dog fed a cat")
    text.write_text("\n".join(lines * 3))
    found = load(f"exact:{text},order=2")
    assert isinstance(found, ExactDenoiser)
    return found


def log_p(law: ExactDenoiser, prompt: list[int], answer: list[int]) -> float:
    begun = law.read(np.array(prompt), np.full(len(answer), law.mask_id)).log_p
    return law.read(np.array(prompt), np.array(answer)).log_p - begun


@pytest.mark.parametrize("words", ["cat", "cat saw", "dog bit the cat and", "cat saw a dog and the dog"])
def test_under_an_exact_law_a_short_answer_has_its_exact_probability(law, words):
    prompt, answer = law.tokenizer.encode("the"), law.tokenizer.encode(words)
    found = log_likelihood(law, prompt, answer)
    assert found.exact and found.standard_error == 0 and found.draws == 2 ** len(answer) - 1
    assert found.value == pytest.approx(log_p(law, prompt, answer), abs=1e-4)


def test_a_longer_answer_is_estimated_within_its_error_and_the_same_for_the_same_seed(law):
    prompt = law.tokenizer.encode("the")
    answer = law.tokenizer.encode("cat saw a dog and the dog saw a cat")
    found = [log_likelihood(law, prompt, answer, seed=seed) for seed in range(8)]
    truth = log_p(law, prompt, answer)
    assert not any(one.exact for one in found) and {one.draws for one in found} == {128}
    assert all(abs(one.value - truth) < 4 * one.standard_error for one in found)
    assert len({one.value for one in found}) == 8 and log_likelihood(law, prompt, answer, seed=3) == found[3]
    # More draws, a smaller error.
    assert log_likelihood(law, prompt, answer, draws=1024).standard_error < found[0].standard_error / 2


def test_of_a_model_it_is_the_mean_over_all_orders_of_writing_the_answer(tiny):
    denoiser = load(str(tiny))
    prompt, answer = denoiser.tokenizer.encode(QUESTION), denoiser.tokenizer.encode("Bob has 8")
    found = log_likelihood(denoiser, prompt, answer)
    orders = [sum(steps(denoiser, prompt, answer, order)) for order in permutations(range(len(answer)))]
    assert found.exact and found.value == pytest.approx(sum(orders) / len(orders), abs=1e-4)


def steps(denoiser, prompt, answer, order):
    region = np.where(np.arange(len(prompt) + len(answer)) < len(prompt), PROMPT, 0)[None]
    ids = torch.tensor([[*prompt, *[denoiser.mask_id] * len(answer)]])
    for place in order:
        at = torch.tensor([0]), torch.tensor([len(prompt) + place])
        with torch.inference_mode():
            logits_V = denoiser.logits(ids, Layout(region), at)[0]
        yield float(torch.log_softmax(logits_V.double(), -1)[answer[place]])
        ids[0, len(prompt) + place] = answer[place]


@pytest.mark.parametrize("length", [8, 10, 33, 100])
def test_every_batch_of_draws_spreads_the_number_of_masks_from_one_to_all(length):
    masks = drawn_masks(length, 128, np.random.default_rng(0))
    for start in range(0, 128, BATCH):
        counts = np.sort(masks[start : start + BATCH].sum(axis=1))
        assert counts.min() >= 1 and counts.max() <= length
        # Evenly: no gap is wider than what evenly spaced counts, rounded, may leave.
        assert np.diff(counts).max() <= length / BATCH + 1 + 1e-9 and counts[-1] - counts[0] >= length * 0.9 - 1
    assert len({row.tobytes() for row in masks}) > 64


def test_all_masks_are_all_of_them_once():
    assert sorted(map(tuple, all_masks(3).astype(int).tolist())) == [
        (0, 0, 1), (0, 1, 0), (0, 1, 1), (1, 0, 0), (1, 0, 1), (1, 1, 0), (1, 1, 1),
    ]  # fmt: skip


def test_what_cannot_be_scored_is_named_in_one_line(tiny):
    denoiser = load(str(tiny))
    with pytest.raises(InputError, match="needs at least one token, got none"):
        log_likelihood(denoiser, [5], [])
    with pytest.raises(InputError, match="draws must be at least 2"):
        log_likelihood(denoiser, [5], [6], draws=1)
    with pytest.raises(InputError, match="a canvas of 201 tokens is too long"):
        log_likelihood(denoiser, [5], [6] * 200)
