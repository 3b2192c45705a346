"""The comparison of docs/anticipation.md: its texts, its rank correlations, and the page that shows them."""

import sys

import pytest

from nap.common.files import InputError
from tiny import RECIPES, recipe

sys.path.insert(0, str(RECIPES))
MADE, DOMAINS = recipe("anticipation"), recipe("anticipation_domains")
PAGE = RECIPES.parent / "docs/anticipation.md"
TRUE = {"arith-nap": 0.1, "arith-longcot": 0.2, "text-words": 0.3, "text-text": 0.4}


def found(**predictions):
    """Numbers of four corpora whose models' order rises, and of what was predicted of each."""
    return {
        name: {
            "predicted": {p.key: [predictions.get(p.key, (1, 2, 3, 4))[i], None, None] for p in MADE.PREDICTORS},
            "trained": {"arness": value, "tau_b": -value, "identified": None},
        }
        for i, (name, value) in enumerate(TRUE.items())
    }  # fmt: skip


def test_a_prediction_that_ranks_the_corpora_as_the_models_do_agrees_wholly_and_its_reverse_not_at_all():
    numbers = found(order=(1, 5, 6, 9), seqdep=(4, 3, 2, 1))
    assert MADE.agreement(numbers, [*TRUE], "order", "arness")[0] == 1
    assert MADE.agreement(numbers, [*TRUE], "order", "tau_b")[0] == -1
    tau, p = MADE.agreement(numbers, [*TRUE], "seqdep", "arness")
    assert tau == -1 and p == pytest.approx(2 / 24)


def test_an_order_that_ties_leave_unidentified_is_said_to_be_so():
    numbers = found()
    numbers["arith-nap"]["trained"] |= {"identified": False, "ties": [-0.05, 0.4]}
    (line,) = [
        line for line in MADE.tables(numbers).splitlines() if line.startswith("| arith, three solutions as three")
    ]
    assert "0.10 (ties -0.05 to 0.40), not identified" in line


def test_an_end_of_each_tie_band_can_change_how_the_corpora_are_ranked():
    numbers = found(order=(1, 2, 3, 4))
    numbers["arith-nap"]["trained"] |= {"ties": [0.0, 0.5]}
    assert MADE.agreement(MADE.at_ties(numbers, 0), [*TRUE], "order", "arness")[0] == 1
    assert MADE.agreement(MADE.at_ties(numbers, -1), [*TRUE], "order", "arness")[0] == 0
    assert numbers["arith-nap"]["trained"]["arness"] == 0.1


def test_paths_stay_paths_and_a_chain_joins_them_as_its_model_learned_them():
    paths, chain = (MADE.rows_of(f"grids-{form}")[0].content for form in ("nap", "longcot"))
    assert len(paths) == 3 and chain == " ".join(paths)
    paths, chain = (MADE.rows_of(f"arith-{form}")[0].content for form in ("nap", "longcot"))
    assert chain == " ; ".join(paths)


def test_the_tables_of_the_documentation_are_those_of_its_figures():
    text = PAGE.read_text()
    assert MADE.written(text, MADE.known()) == text
    with pytest.raises(InputError, match="two lines"):
        MADE.written("no mark", {})


def test_a_domain_has_the_same_texts_in_a_chain_and_on_three_paths():
    chain, paths = (DOMAINS.rows_of("table", form) for form in DOMAINS.FORMS)
    assert len(chain) == len(paths) == DOMAINS.ROWS and all(len(row.content) == DOMAINS.TEXTS for row in paths)
    assert [row.content for row in chain] == ["\n\n".join(row.content) for row in paths]
    header, *rows = paths[0].content[0].splitlines()[:-1]
    assert all(a + b == s and a * b == p for a, b, s, p in (map(int, row.strip("| ").split(" | ")) for row in rows))
    assert header == "| a | b | a + b | a * b |"


def test_the_table_of_domains_is_that_of_its_figures():
    import json

    stored, text = json.loads(DOMAINS.STORED.read_text()), PAGE.read_text()
    assert len(stored) == 8 and "\n".join(DOMAINS.table(stored)) in text
    cells = {"first": [0.5, 0.25, 0.75], "canvas": None}
    said = {name: [0.1, 0.0, 0.2] for name in [*DOMAINS.SHOWN, *(f"top {d}" for d in DOMAINS.DISTANCES)]} | cells
    assert (
        "| wikitext-2, paragraphs: one chain | 0.50 [0.25, 0.75] | 0.10" in [*DOMAINS.table({"text chain": said})][-1]
    )
