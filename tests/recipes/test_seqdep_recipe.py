"""The figures of docs/seqdep.md: every corpus is measured, and the page shows what was found."""

import dataclasses
import json
import sys

import pytest

from nap.data.problems import Problem
from nap.data.samples import Path, Sample, write_samples
from nap.dependence.load import open_scorer
from scorers import save_causal
from tiny import RECIPES, recipe

sys.path.insert(0, str(RECIPES))


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
