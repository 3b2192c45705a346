"""SeqDep is what its equation says, excess dependence is zero where it must be, and the command says both."""

import dataclasses
import itertools
import json
import math
import sys
import zlib

import numpy as np
import pytest

from nap.cli import main
from nap.common.files import InputError
from nap.data.problems import Problem
from nap.data.samples import Path, Sample, write_samples
from nap.dependence.scorer import open_scorer
from nap.dependence.segments import Row
from nap.dependence.seqdep import Scores, cut_rows, measure_corpus, measure_sample, summarise
from scorers import brute_force, save_causal
from tiny import RECIPES, recipe

LETTERS = "abcd"
# A chain repeats its last letter, or else draws one of all four: p of the same letter, and of each other.
SAME, OTHER = 0.8 + 0.2 / 4, 0.2 / 4


class ToyScorer:
    """One token a character, and a probability of each after what stands before it."""

    name, start, max_length = "toy", (), None

    def encode(self, text):
        return [ord(c) for c in text]

    def score(self, readings):
        return [Scores(*self.score_one(*reading)) for reading in readings]

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
    low, high = estimate["interval"]
    assert high - low < width
    assert abs(estimate["mean"] - value) < 0.75 * (high - low)


def test_a_chains_measures_are_those_of_its_closed_form():
    found = measured(Copier(), chain)
    entropy = SAME * math.log(SAME) + 3 * OTHER * math.log(OTHER)
    assert_estimates(found["seqdep"]["per_segment"], entropy - math.log(0.5 / 4), 0.1)
    # Another sample's last letter is the same one by chance, 1 in 4.
    excess = (SAME - 1 / 4) * math.log(SAME / OTHER)
    for measure in ("excess", "control"):
        assert_estimates(found[measure]["per_segment"], excess, 0.3)
        assert_estimates(found[measure]["per_token"], excess, 0.3)


def test_independent_segments_have_seqdep_but_no_excess():
    found = measured(Copier(), independent)
    plain = (math.log(SAME) + 3 * math.log(OTHER)) / 4 - math.log(0.5 / 4)
    assert_estimates(found["seqdep"]["per_segment"], plain, 0.3)
    assert found["seqdep"]["per_segment"]["interval"][1] < -0.1
    assert_estimates(found["excess"]["per_segment"], 0, 0.4)
    credulous = measured(Arbitrary(), independent)
    assert_estimates(credulous["excess"]["per_segment"], 0, 0.6)


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


def test_seqdep_is_the_mean_gain_of_the_segments_after_the_first():
    found = measure_sample(Copier(), "aabc", prompt="x", segments="tokens:1")
    alone = math.log(0.5 / 4)
    gains = [math.log(SAME) - alone, math.log(OTHER) - alone, math.log(OTHER) - alone]
    assert found.per_segment() == pytest.approx(sum(gains) / 3)
    assert found.difference().tolist() == pytest.approx(gains)
    assert found.rise() == pytest.approx(gains[2] - gains[0])
    assert found.part(3, 4).difference().tolist() == pytest.approx(gains[1:])


def test_per_token_divides_by_the_tokens_of_the_segments_that_were_measured():
    found = measure_sample(Arbitrary(), ["a", "bbb", "cc"], prompt="x", segments="paths")
    assert found.tokens.tolist() == [4, 3]
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
    found = summarise(texts, measure_corpus(scorer, texts))["seqdep"]
    expected = (math.log(SAME) + math.log(OTHER)) / 2 - math.log(0.5 / 4)
    assert found["per_segment"]["mean"] == pytest.approx(expected) == found["per_token"]["mean"]
    assert found["per_segment"]["prompts"] == 2


def test_the_curve_has_every_early_segment_and_then_spans_that_double():
    scorer = Copier()
    texts = cut_rows(scorer, [Row("", "x", "ab" * 20), Row("", "y", "ab" * 20)], "tokens:1").texts
    curve = summarise(texts, measure_corpus(scorer, texts))["seqdep"]["curve"]
    spans = [point["segments"] for point in curve]
    assert spans == [[n, n] for n in range(2, 9)] + [[9, 16], [17, 32], [33, 64]]
    assert all(point["per_token"]["mean"] == pytest.approx(math.log(OTHER / 0.125)) for point in curve)


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


# The command


POEMS = [
    {"prompt": "A cat?", "text": "the cat\nsat on\na mat", "id": 1},
    {"prompt": "A cat?", "text": "no cat\nsat here", "id": 2},
    {"prompt": "A dog?", "text": "the dog\nran off\nand on", "id": 3},
    {"prompt": "A bee?", "text": "one line", "id": 4},
]


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return save_causal(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture
def run(tmp_path, monkeypatch, capsys, llama):
    """Call `nap seqdep` on POEMS with the tiny scorer: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "poems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in POEMS))

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["nap", "seqdep", *map(str, arguments), "--scorer", str(llama)])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return call


def test_json_has_a_line_a_row_and_all_last_and_equals_the_brute_force(run, llama):
    code, out, _ = run("poems.jsonl", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [row["id"] for row in rows] == [f"poems.jsonl:{n}" for n in (1, 2, 3)] + ["all"]
    texts = cut_rows(open_scorer(str(llama)), [Row("", r["prompt"], r["text"]) for r in POEMS], "lines").texts
    for row, text in zip(rows, texts, strict=False):
        with_history, alone = brute_force(llama, text)
        assert row["seqdep"]["per_segment"] == pytest.approx((with_history - alone).mean(), abs=1e-4)
    assert [set(row) & {"control", "excess"} for row in rows[:3]] == [{"control", "excess"}] * 2 + [{"control"}]
    total = rows[-1]
    assert total["left_out"] == 1 and total["samples"] == 3 and total["prompts"] == 2
    assert total["seqdep"]["per_token"]["interval"] and total["excess"]["per_token"]["interval"] is None


def test_the_tables_name_every_measure_with_its_question(run):
    code, out, err = run("poems.jsonl")
    assert code == 0 and "3/3 measured" in err
    for name in ("seqdep", "control", "excess"):
        assert sum(line.startswith(name) for line in out.splitlines()) == 2
    assert "left out for having no history: 1" in out


def test_filter_keeps_the_least_sequential_rows_and_those_without_a_history(run, tmp_path):
    _, out, _ = run("poems.jsonl", "--json")
    values = {n: json.loads(line)["seqdep"]["per_token"] for n, line in enumerate(out.splitlines()[:3], 1)}
    limit = sorted(values.values())[1]
    code, out, _ = run("filter", "poems.jsonl", "--out", "kept.jsonl", "--keep", "0.5")
    kept = [json.loads(line) for line in (tmp_path / "kept.jsonl").read_text().splitlines()]
    assert code == 0 and "3 of 4 rows" in out
    assert {row["id"] for row in kept} == {n for n, value in values.items() if value <= limit + 1e-6} | {4}
    for row in kept:
        assert row["seqdep"] == (pytest.approx(values[row["id"]], abs=1e-5) if row["id"] in values else None)
        assert {key: row[key] for key in POEMS[0]} == POEMS[row["id"] - 1]


def test_weights_drop_nothing_and_fall_with_dependence(run, tmp_path):
    assert run("filter", "poems.jsonl", "--out", "w.jsonl", "--max-seqdep", "0.001", "--weight")[0] == 0
    rows = [json.loads(line) for line in (tmp_path / "w.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [1, 2, 3, 4]
    for row in rows:
        above = row["seqdep"] is not None and row["seqdep"] > 0.001
        assert row["weight"] == pytest.approx(0.001 / row["seqdep"] if above else 1)
    assert any(row["weight"] < 1 for row in rows)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["poems.jsonl", "--segments", "line"], "did you mean 'lines'"),
        (["poems.jsonl", "--segments", "paths"], "try --segments lines"),
        (["poems.jsonl", "--limit", "0"], "--limit must be at least 1"),
        (["poems.jsonl", "--max-tokens", "1"], "--max-tokens must be at least 2"),
        (["poems.jsonl", "--max-tokens", "9"], "no history to measure"),
        (["absent.jsonl"], "no such file: absent.jsonl"),
        (["filter", "poems.jsonl", "--out", "o.jsonl"], "give one of --max-seqdep"),
        (["filter", "poems.jsonl", "--out", "o.jsonl", "--keep", "2"], "--keep is a share"),
        (["filter", "poems.jsonl", "--out", "o.jsonl", "--max-seqdep", "nan"], "a finite number"),
        (["filter", "poems.jsonl", "--out", "o.jsonl", "--keep", "0.5", "--weight"], "--weight needs"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(run, tmp_path, arguments, said):
    code, out, err = run(*arguments)
    assert code == 2 and not out and said in err and err.count("\n") == 1
    assert not (tmp_path / "o.jsonl").exists()


# The figures


@pytest.fixture(scope="module")
def runs(tmp_path_factory, nap_data):
    """The folder of the recipe's results, every corpus by a tiny scorer of characters at two prompts."""
    made = recipe("seqdep")
    folder = tmp_path_factory.mktemp("runs")
    scorer = open_scorer(str(save_causal(folder / "long", max_position_embeddings=4096)))
    curated = folder / "curated.parquet"
    problems = [Problem(id=str(n), task="gsm8k", prompt=f"What is {n} + 1?", answer=str(n + 1)) for n in range(2)]
    texts = "It is\neasy: {}", "Count\non to {}", "One more\nthan that: {}"
    write_samples(
        (Sample(problem=p, paths=tuple(Path(text=t.format(p.answer)) for t in texts), summary="") for p in problems),
        curated,
    )
    for name, corpus in made.corpora(folder, scorer, curated).items():
        found = made.measured(scorer, dataclasses.replace(corpus, most=min(4 * corpus.most, 1600)), 2)
        (folder / f"{name}.json").write_text(json.dumps(found))
    return folder


def test_the_recipe_measures_every_corpus_and_excess_where_samples_are_draws_from_one_source(runs):
    made = recipe("seqdep")
    found, asked = made.read_runs(runs), made.corpora(runs, None)
    assert list(found) == list(asked)
    for name, corpus in asked.items():
        assert found[name]["seqdep"]["per_token"]["prompts"] == 2, name
        assert (found[name]["excess"] is not None) == corpus.excess, name


def test_the_scorers_own_texts_are_drawn_once(runs, monkeypatch):
    made = recipe("seqdep")
    monkeypatch.setattr(made, "continuations", None)
    solved = made.own_solved(2, runs, None)
    assert len({text for _, texts in solved for text in texts}) == 12


def test_the_page_gets_a_line_a_corpus_between_its_marks(runs, tmp_path):
    made, page = recipe("seqdep"), tmp_path / "page.md"
    page.write_text(f"before\n{made.MARK}\nold\n{made.MARK}\nafter\n")
    made.write(tmp_path, page)
    assert "Nothing has been measured yet" in page.read_text()
    made.write(runs, page)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert all(text.count(f"| `{name}`") == 2 for name in made.corpora(runs, None))
    made.write(runs, page)
    assert page.read_text() == text


def test_the_tables_of_the_documentation_are_those_of_its_figures():
    made, page = recipe("seqdep"), RECIPES.parent / "docs/seqdep.md"
    text = page.read_text()
    assert made.written(text, json.loads(page.with_suffix(".json").read_text())) == text
