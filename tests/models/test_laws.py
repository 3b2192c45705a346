"""Laws are exact: against the enumeration of every content, whatever is written; and fast enough to be decoded."""

import itertools
import time
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nap.common.files import InputError
from nap.models.fitting import fit_hmm, fit_ngram
from nap.models.laws import MASKED, Law, Reader

V, LENGTH = 4, 4
TEXTS = [np.random.default_rng(n).integers(0, 3, 9).tolist() for n in range(20)]
MADE = {
    "order 1": lambda: fit_ngram(TEXTS, V, 1),
    "order 2": lambda: fit_ngram(TEXTS, V, 2, backoff=0.3),
    "order 3": lambda: fit_ngram(TEXTS, V, 3),
    "hmm": lambda: fit_hmm(TEXTS, V, 3),
}


@cache
def made(name: str) -> Law:
    return MADE[name]()


@cache
def chances(name: str) -> dict[tuple[int, ...], float]:
    """Of every content its probability, one token after the other."""
    law, found = made(name), {}
    for content in itertools.product(range(V), repeat=LENGTH):
        state, chance = law.start_S, 1.0
        for token in content:
            state = law.step(state)
            given_S = law.given(state, token)
            chance, state = chance * given_S.sum() / state.sum(), given_S / given_S.sum()
        found[content] = chance
    return found


def enumerated(name, ids):
    """(marginals, probability) of a sequence in which some tokens are open."""
    fits = {c: p for c, p in chances(name).items() if all(w in (MASKED, t) for t, w in zip(c, ids, strict=True))}
    marginals = np.zeros((LENGTH, V))
    for content, chance in fits.items():
        marginals[np.arange(LENGTH), content] += chance
    return marginals / sum(fits.values()), sum(fits.values())


@pytest.mark.parametrize("name", MADE)
def test_the_chances_of_all_contents_add_up_to_one(name):
    assert sum(chances(name).values()) == pytest.approx(1, abs=1e-12)
    assert min(chances(name).values()) > 0, "nothing is impossible, not even a token that no text has"


@pytest.mark.parametrize("name", MADE)
@given(ids=st.lists(st.integers(MASKED, V - 1), min_size=LENGTH, max_size=LENGTH))
@settings(deadline=None, max_examples=40)
def test_marginals_and_probability_are_exact_under_any_written_positions(name, ids):
    found = made(name).read(np.array(ids))
    marginals, chance = enumerated(name, ids)
    assert found.marginals_LV == pytest.approx(marginals, abs=1e-12)
    assert found.log_p == pytest.approx(np.log(chance), abs=1e-9)


@pytest.mark.parametrize("name", MADE)
@given(changes=st.lists(st.tuples(st.integers(0, LENGTH - 1), st.integers(MASKED, V - 1)), max_size=8))
@settings(deadline=None, max_examples=30)
def test_a_reader_that_goes_on_says_what_a_new_one_says(name, changes):
    ids = np.full(LENGTH, MASKED)
    reader = Reader(made(name), LENGTH)
    for position, token in changes:
        ids = ids.copy()
        ids[position] = token
        one, other = reader.read(ids), made(name).read(ids)
        assert one.marginals_LV == pytest.approx(other.marginals_LV, abs=1e-12)
        assert one.log_p == pytest.approx(other.log_p, abs=1e-12)


def test_an_ngram_has_the_counts_of_its_texts():
    law = fit_ngram([[0, 1, 0, 1, 0, 2]], 3, order=2, backoff=0.1)
    after_0 = law.read(np.array([0, MASKED])).marginals_LV[1]
    # After 0 came 1 twice and 2 once; backing off there are 3, 2 and 1 of 6 tokens, and half a token of each more.
    assert after_0 == pytest.approx(0.9 * np.array([0, 2 / 3, 1 / 3]) + 0.1 * np.array([3.5, 2.5, 1.5]) / 7.5)


def test_a_hidden_markov_model_learns_what_alternates():
    law = fit_hmm([[0, 1] * 30 for _ in range(20)], 3, states=4)
    assert law.read(np.array([0, MASKED, MASKED, MASKED])).marginals_LV[[1, 2, 3], [1, 0, 1]] == pytest.approx(
        1, abs=0.05
    )


def test_a_text_goes_on_from_what_stands_before_it():
    law = made("order 3")
    alone = law.read(np.array([2, 1, MASKED, MASKED])).marginals_LV[2:]
    assert law.read(np.array([MASKED, MASKED]), law.after([2, 1])).marginals_LV == pytest.approx(alone)


@pytest.mark.parametrize("fit", [fit_ngram, fit_hmm])
def test_a_fit_that_cannot_be_is_refused(fit):
    with pytest.raises(InputError, match="these hold no token"):
        fit([[]], 3)
    with pytest.raises(InputError, match="vocabulary must be from 1 to 4096, got 5000"):
        fit([[0]], 5000)
    with pytest.raises(InputError, match="backoff must be above 0 and below 1"):
        fit_ngram([[0]], 3, backoff=1.0)


@pytest.mark.parametrize("kind", ["order 2", "hmm"])
def test_a_step_of_a_large_vocabulary_takes_under_50_ms_of_a_core(kind):
    rng = np.random.default_rng(0)
    text = np.minimum(rng.zipf(1.3, 60_000), 4096) - 1
    law = fit_ngram([text.tolist()], 4096, 2) if kind == "order 2" else fit_hmm([text[:6000].tolist()], 4096, 64)
    reader, ids = Reader(law, 256), np.full(256, MASKED)
    reader.read(ids)
    seconds = []
    for position in rng.permutation(256)[:20]:
        ids = ids.copy()
        ids[position] = text[position]
        started = time.process_time()
        reader.read(ids)
        seconds.append(time.process_time() - started)
    assert np.median(seconds) < 0.05
