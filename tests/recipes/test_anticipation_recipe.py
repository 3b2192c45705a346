"""The comparison of docs/anticipation.md: its texts, its rank correlations, and the page that shows them."""

import sys

import pytest

from nap.common.files import InputError
from tiny import RECIPES, recipe

sys.path.insert(0, str(RECIPES))
MADE = recipe("anticipation")
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
