"""SeqDep is what its equation says, and excess dependence is zero where it must be."""

import itertools
import math
import zlib

import numpy as np
import pytest

from nap.common.files import InputError
from nap.dependence.scorer import Scores
from nap.dependence.segments import Row
from nap.dependence.seqdep import cut_rows, measure_corpus, measure_sample, repeated
from nap.dependence.summary import summarise

LETTERS = "abcd"
# A chain repeats its last letter, or else draws one of all four: p of the same letter, and of each other.
SAME, OTHER = 0.8 + 0.2 / 4, 0.2 / 4


class ToyScorer:
    """One token a character, and a probability of each after what stands before it."""

    name = "toy"
    start: tuple[int, ...] = ()
    max_length: int | None = None

    def encode(self, text):
        return [ord(c) for c in text]

    def score(self, readings):
        return [Scores(*self.score_one(*reading)) for reading in readings]

    def log_p(self, before: tuple[int, ...], token: int) -> float:
        raise NotImplementedError

    def score_one(self, trunk, branches, scored_from):
        own = [self.log_p(trunk[:i], trunk[i]) for i in range(scored_from, len(trunk))]
        rows = [(trunk[:after] + ids, after) for after, ids in branches]
        return np.array(own), np.array([sum(self.log_p(r[:i], r[i]) for i in range(n, len(r))) for r, n in rows])


class Copier(ToyScorer):
    """It takes every text for a chain, and right after a prompt it expects a heading: letters are half as likely."""

    def log_p(self, before, token):
        if before[-1] == ord("\n"):
            return math.log(0.5 / 4)
        return math.log(SAME if token == before[-1] else OTHER)


class Arbitrary(ToyScorer):
    """A number of its own for each token after each history: no model of anything."""

    def log_p(self, before, token):
        return -10 * zlib.crc32(bytes([*before, token])) / 2**32


def chain(generator, length):
    letters = [generator.choice(list(LETTERS))]
    while len(letters) < length:
        letters.append(letters[-1] if generator.random() < 0.8 else generator.choice(list(LETTERS)))
    return "".join(letters)


def independent(generator, length):
    return "".join(generator.choice(list(LETTERS), length))


def measured(scorer, write, prompts=150, samples=4, length=6):
    generator = np.random.default_rng(0)
    rows = [Row("", f"x{n}", write(generator, length)) for n in range(prompts) for _ in range(samples)]
    texts = cut_rows(scorer, rows, "tokens:1").texts
    return summarise(texts, measure_corpus(scorer, texts))


def assert_estimates(estimate, value, width):
    """The interval is at most so wide and, made half as wide again, holds the value: 1 seed in 300 fails by chance."""
    low, high = estimate.interval
    assert high - low < width
    assert abs(estimate.mean - value) < 0.75 * (high - low)


def test_a_chains_measures_are_those_of_its_closed_form():
    found = measured(Copier(), chain)
    entropy = SAME * math.log(SAME) + 3 * OTHER * math.log(OTHER)
    assert_estimates(found.measures["seqdep"].per_segment, entropy - math.log(0.5 / 4), 0.1)
    # Another sample's last letter is the same one by chance, 1 in 4.
    excess = (SAME - 1 / 4) * math.log(SAME / OTHER)
    for measure in (found.measures["excess"], found.measures["control"]):
        assert_estimates(measure.per_segment, excess, 0.3)
        assert_estimates(measure.per_token, excess, 0.3)


def test_independent_segments_have_seqdep_but_no_excess():
    found = measured(Copier(), independent)
    plain = (math.log(SAME) + 3 * math.log(OTHER)) / 4 - math.log(0.5 / 4)
    assert_estimates(found.measures["seqdep"].per_segment, plain, 0.3)
    ends = found.measures["seqdep"].per_segment.interval
    assert ends and ends.high < -0.1
    assert_estimates(found.measures["excess"].per_segment, 0, 0.4)
    credulous = measured(Arbitrary(), independent)
    assert_estimates(credulous.measures["excess"].per_segment, 0, 0.6)


def test_the_excess_over_all_pairs_of_independent_samples_is_zero_under_any_scorer():
    """Every pair of three paths each is equally likely: the expectation is the sum, and it is exactly zero."""
    scorer, draws = Arbitrary(), list(itertools.product(["a", "bbb"], repeat=3))
    totals, single = np.zeros(2), []
    for one, other in itertools.product(draws, draws):
        texts = cut_rows(scorer, [Row("", "x", list(one)), Row("", "x", list(other))], "paths").texts
        for own in measure_corpus(scorer, texts):
            totals += own.totals("excess")
            single.append(abs(own.totals("excess")[0]))
    assert abs(totals[0]) < 1e-8 and totals[1] > 0
    assert max(single) > 1


def test_a_repeated_row_is_no_other_sample_and_changes_no_excess():
    scorer, rows = Arbitrary(), [Row("", "x", "abca"), Row("", "x", "bbca"), Row("", "y", "caba"), Row("", "y", "caba")]
    texts, twice = (cut_rows(scorer, some, "tokens:1").texts for some in (rows, [rows[0], *rows]))
    once, doubled = (measure_corpus(scorer, some, draws=False) for some in (texts, twice))
    assert [repeated(texts), repeated(twice)] == [1, 2] and abs(once[0].per_segment("excess")) > 0.1
    kept = [own.per_segment("excess") for own in (doubled[0], *doubled[2:])]
    assert kept == pytest.approx([own.per_segment("excess") for own in once], nan_ok=True)
    assert all(np.isnan(own.per_segment("excess")) for own in (doubled[1], *once[2:]))
    assert [own.per_segment("excess") for own in measure_corpus(scorer, texts)[2:]] == [0, 0], "draws may be alike"


def test_texts_that_only_begin_alike_are_no_samples_of_one_prompt():
    rows = [Row("", "", "Below is a task\naa\nbb"), Row("", "", "Below is a task\ncb\nab")]
    texts = cut_rows(Arbitrary(), rows, "lines", 99).texts
    assert texts[0].prompt == texts[1].prompt and not texts[0].asked and repeated([*texts, *texts]) == 0
    measured = measure_corpus(Arbitrary(), texts)
    assert all(np.isnan(own.per_segment("excess")) and np.isfinite(own.per_segment("control")) for own in measured)
    assert summarise(texts, measured).prompts == 2


def test_seqdep_is_the_mean_gain_of_the_segments_after_the_first():
    found = measure_sample(Copier(), "aabc", prompt="x", segments="tokens:1")
    assert found is not None
    alone = math.log(0.5 / 4)
    gains = [math.log(SAME) - alone, math.log(OTHER) - alone, math.log(OTHER) - alone]
    assert found.per_segment() == pytest.approx(sum(gains) / 3)
    assert found.difference().tolist() == pytest.approx(gains)
    assert found.rise() == pytest.approx(gains[2] - gains[0])
    assert found.part(3, 4).difference().tolist() == pytest.approx(gains[1:])


def test_per_token_divides_by_the_tokens_of_the_segments_that_were_measured():
    found = measure_sample(Arbitrary(), ["a", "bbb", "cc"], prompt="x", segments="paths")
    assert found is not None and found.tokens.tolist() == [4, 3]
    assert found.per_token() == pytest.approx(found.difference().sum() / 7)


def test_a_sample_without_a_second_segment_has_no_history():
    assert measure_sample(Copier(), "one line", prompt="x") is None
    assert measure_sample(Copier(), ["one path"], prompt="x", segments="paths") is None


def test_the_control_is_a_text_with_another_prompt_and_there_is_none_without_one():
    scorer = Copier()
    rows = [Row("", "x", "aaaa"), Row("", "x", "aaab"), Row("", "y", "bbbb")]
    texts = cut_rows(scorer, rows, "tokens:1").texts
    first, second, third = measure_corpus(scorer, texts)
    assert first.baseline["control"].tolist() == pytest.approx([math.log(OTHER)] * 3)
    assert np.isfinite(third.baseline["control"]).all() and np.isnan(third.baseline["excess"]).all()
    assert np.isfinite(second.baseline["excess"]).all()
    for own in measure_corpus(scorer, texts[:2], excess=False):
        assert np.isnan(own.baseline["control"]).all() and np.isnan(own.baseline["excess"]).all()


def test_a_prompt_counts_once_however_many_samples_it_has():
    scorer = Copier()
    rows = [Row("", "x", "aa")] * 9 + [Row("", "y", "ab")]
    texts = cut_rows(scorer, rows, "tokens:1").texts
    found = summarise(texts, measure_corpus(scorer, texts)).measures["seqdep"]
    expected = (math.log(SAME) + math.log(OTHER)) / 2 - math.log(0.5 / 4)
    assert found.per_segment.mean == pytest.approx(expected) == found.per_token.mean
    assert found.per_segment.prompts == 2


def test_the_curve_has_every_early_segment_and_then_spans_that_double():
    scorer = Copier()
    texts = cut_rows(scorer, [Row("", "x", "ab" * 20), Row("", "y", "ab" * 20)], "tokens:1").texts
    curve = summarise(texts, measure_corpus(scorer, texts)).measures["seqdep"].curve
    spans = [point.segments for point in curve]
    assert spans == [(n, n) for n in range(2, 9)] + [(9, 16), (17, 32), (33, 64)]
    assert all(point.per_token.mean == pytest.approx(math.log(OTHER / 0.125)) for point in curve)


def test_rows_are_cut_to_the_context_and_those_without_a_history_left_out():
    scorer = Copier()
    scorer.max_length = 6
    rows = [Row("short", "x", "ab"), Row("long", "x", "abcdef"), Row("none", "x", "a")]
    corpus = cut_rows(scorer, rows, "tokens:1")
    assert corpus.rows == [0, 1] and corpus.shortened == 1 and len(corpus.texts[1].ids) == 6
    assert cut_rows(scorer, rows, "tokens:1", 4).rows == [0, 1]
    with pytest.raises(InputError, match="no history to measure"):
        cut_rows(scorer, rows, "tokens:1", 3)
    with pytest.raises(InputError, match="too long for toy"):
        measure_sample(scorer, "abcdef", prompt="x", segments="tokens:1")
