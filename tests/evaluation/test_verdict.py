"""The verdict follows its rule: No above 0, Yes below the margin, else not settled; and says who is best unasked."""

import pytest

from nap.common.files import InputError
from nap.common.stats import paired_interval
from nap.evaluation.summary import summarise
from nap.evaluation.verdict import MARGIN, Said, verdict
from samples import row


def cell(policy, tokens, right, problems=200, model="m", tpf=None):
    """Rows of a cell of which the first `right` problems are solved."""
    return [
        row(model, policy, f"{tokens}/step" if tokens else "own", f"p{i}", i < right, tpf=tpf or tokens or 3.0)
        for i in range(problems)
    ]


def said(*cells):
    rows = [row for rows in cells for row in rows]
    found = verdict(rows, summarise(rows))
    assert found
    return found


@pytest.mark.parametrize(
    ("fast", "problems", "answer"),
    [(100, 200, "No"), (160, 200, "Yes"), (170, 200, "Yes"), (40, 50, "Not settled"), (15, 20, "Not settled")],
)
def test_the_answer_is_where_the_interval_of_the_loss_lies(fast, problems, answer):
    slow = round(0.8 * problems)
    found = said(cell("parallel_forced", 1, slow, problems), cell("parallel_forced", 8, fast, problems)).headline
    assert found.answer == answer
    low, high = paired_interval([i < slow for i in range(problems)], [i < fast for i in range(problems)])
    assert (high < 0) == (answer == "No") and (low > -MARGIN) == (answer == "Yes")


def test_the_sentence_says_what_is_lost_where_and_against_what():
    found = said(cell("parallel_forced", 1, 160), cell("parallel_forced", 4, 150), cell("parallel_forced", 8, 118))
    assert found.headline == Said(
        "No",
        "at 8 tokens a step (8.0 tokens a forward) m under parallel_forced loses 21 points [15, 27] against 1 token "
        "a step.",
    )
    gained = said(cell("ar", 1, 100), cell("ar", 8, 120)).headline
    assert "gains 10 points [6, 14]" in gained.sentence and gained.answer == "Yes"


def test_a_model_that_loses_is_told_up_to_where_no_loss_shows():
    paces = {1: 160, 2: 160, 3: 159, 4: 130, 8: 100}

    def headline(*some):
        return said(*(cell("parallel_forced", pace, paces[pace]) for pace in some)).headline

    found = headline(1, 2, 3, 4, 8)
    assert found.answer == "Up to 3.0 tokens a forward" and found.sentence == (
        "at 3 tokens a step m under parallel_forced loses 0.5 points [-1, 2] against 1 token a step, which may be "
        "chance. At 8 tokens a step (8.0 tokens a forward) it loses 30 points [23, 36]."
    )
    assert headline(1, 2, 4, 8).sentence.startswith(
        "at 2 tokens a step m under parallel_forced is as often right as at 1 token a step ([-1, 1] points). At 8"
    )
    # The first pace that loses decides, and not the last one that somebody tried.
    assert headline(1, 4, 8).answer == headline(1, 8).answer == "No"
    assert headline(1, 2, 4).answer == headline(1, 2, 8).answer == "Up to 2.0 tokens a forward"
    paces[6] = 160
    assert headline(1, 2, 4, 6, 8).answer == "Up to 2.0 tokens a forward"


def test_no_agreement_of_few_problems_is_proof():
    assert said(cell("ar", 1, 4, 6), cell("ar", 8, 4, 6)).headline.answer == "Not settled"
    low, high = paired_interval([True] * 6, [True] * 6)
    assert low < -MARGIN < MARGIN < high


def test_a_model_is_judged_under_the_proposed_policy_then_the_default_then_the_first_with_several_paces():
    proposed = cell("parallel_forced", 1, 9, 9), cell("parallel_forced", 2, 9, 9)
    default = cell("low_confidence", 1, 9, 9), cell("low_confidence", 2, 9, 9)
    first = cell("ar", 1, 9, 9), cell("ar", 2, 9, 9)
    for cells, policy in (
        ([*first, *default, *proposed], "parallel_forced"),
        ([*first, *default, proposed[0]], "low_confidence"),
        ([cell("threshold", 0, 9, 9), *first], "ar"),
    ):
        assert f"m under {policy} " in said(*cells).headline.sentence


def test_a_policy_of_its_own_pace_is_compared_with_the_slowest_under_the_default():
    found = said(cell("low_confidence", 1, 160), cell("threshold", 0, 80))
    assert found.headline.answer == "No" and "low_confidence at 1 token a step" in found.headline.sentence
    assert said(cell("threshold", 0, 80)).headline.answer == "Not measured"


def test_the_headline_is_of_the_last_model_and_the_others_stand_below():
    found = said(*(cell("ar", k, 100, model=model) for model in ("one", "two") for k in (1, 8)))
    assert "two under ar" in found.headline.sentence
    assert [other.sentence.count("one under ar") for other in found.others] == [1]


def test_values_of_one_setting_are_the_paces_of_a_policy_that_sets_its_own():
    cells = [
        cell(f"threshold:tau={tau}", 0, right, tpf=tpf)
        for tau, right, tpf in ((0.9, 160, 1.6), (0.7, 159, 2.5), (0.5, 90, 3.5))
    ]
    found = said(*cells)
    assert found.headline == Said(
        "Up to 2.5 tokens a forward",
        "at its own pace m under threshold:tau=0.7 loses 0.5 points [-1, 2] against threshold:tau=0.9 at its own pace, "
        "which may be chance. Under threshold:tau=0.5 at its own pace (3.5 tokens a forward) it loses 35 points "
        "[28, 41].",
    )
    assert [key[1:] for key in found.series] == [("m", "threshold:tau=*")]
    # Another block is another curve, and so is another model.
    records = summarise([one for rows in (*cells, cell("threshold:tau=0.5,block=4", 0, 9)) for one in rows])
    assert [record.curve for record in records] == ["threshold:tau=*"] * 3 + ["threshold:tau=0.5,block=4"]
    assert len({record.aup for record in records[:3]}) == 1 != len({record.aup for record in records})


def test_another_policy_that_is_faster_without_a_visible_loss_is_named():
    paced = [cell("low_confidence", k, right) for k, right in ((1, 160), (2, 90))]
    found = said(*paced, cell("threshold:tau=0.9", 0, 159, tpf=1.6), cell("threshold:tau=0.5", 0, 90, tpf=4.0))
    assert found.headline.answer == "Not under low_confidence" and found.best.endswith(
        "Of the other policies threshold:tau=0.9 is the fastest without a visible loss: 1.6 tokens a forward at its "
        "own pace, where it loses 0.5 points [-1, 2]."
    )
    assert found.series[1:] == [("the fastest without a visible loss", "m", "threshold:tau=*")]
    assert "Of the other" not in said(*paced, cell("threshold", 0, 159, tpf=1.1)).best


def test_an_exact_law_is_a_reference_and_not_what_a_run_is_about():
    cells = [cell("ar", k, 100, model=model) for model in ("one", "exact:grids") for k in (1, 8)]
    assert "one under ar" in said(*cells).headline.sentence
    assert "exact:grids under ar" in said(*cells[2:]).headline.sentence


def test_a_best_policy_that_nobody_asked_for_is_said_to_be_one():
    base = [cell("low_confidence", 1, 100), cell("parallel_forced", 1, 101), cell("parallel_forced", 8, 90)]
    found = said(*base, cell("random", 1, 140))
    assert found.best.startswith("Nobody asked for random, yet it is best: neither the default (low_confidence) nor ")
    assert "it gains 19.5 points" in found.best and "chance" not in found.best
    assert "do not tell from chance" in said(*base, cell("random", 1, 102)).best
    assert said(*base).best.startswith("The best accuracy is 50.5 % [44, 57], of m under parallel_forced at 1 token a")


def test_the_picture_has_the_default_the_proposed_the_best_and_how_other_models_do_each_once():
    policies = ("ar", 9), ("low_confidence", 5), ("parallel_forced", 4)
    cells = [cell(p, k, right, 9, model=m) for m in "ab" for p, right in policies for k in (1, 8)]
    default, proposed = ("the default", "a", "low_confidence"), ("the proposed policy", "b", "parallel_forced")
    other = ("", "a", "parallel_forced")
    assert said(*cells).series == [default, proposed, ("the best", "a", "ar"), other]
    many = [cell("parallel_forced", k, 9, model=str(m)) for m in range(9) for k in (1, 8)]
    assert [model for _, model, _ in said(*many).series] == ["0", "8", "1", "2", "3", "4"]
    assert said(cell("low_confidence", 1, 9, 9), cell("low_confidence", 8, 9, 9)).series == [
        ("the default, the policy judged and the best", "m", "low_confidence")
    ]


def test_without_right_answers_speeds_or_rows_nothing_is_settled():
    nothing = said(cell("ar", 1, 0), cell("ar", 8, 0), cell("threshold", 0, 0, tpf=20.0))
    assert nothing.headline.answer == "Not settled" and not nothing.best
    assert verdict([], []) is None
    rows = [row("m", "ar", f"{k}/step", "p", True, tpf=None) for k in (1, 8)]
    found = verdict(rows, summarise(rows))
    assert found and found.headline.answer == "Not measured"


def test_other_problems_at_the_other_pace_are_not_compared():
    fast = [row("m", "ar", "8/step", f"q{i}", True, tpf=8.0) for i in range(9)]
    records = [*summarise(cell("ar", 1, 9, 9)), *summarise(fast)]
    found = verdict([*cell("ar", 1, 9, 9), *fast], records)
    assert found and found.headline.answer == "Not measured" and "same problems" in found.headline.sentence


def test_an_interval_of_a_difference_needs_problems():
    with pytest.raises(InputError, match="at least one problem"):
        paired_interval([], [])
    # Bonett and Price (2012): (b + 1 - (c + 1)) / (n + 2) and its standard error.
    low, high = paired_interval([True] * 30 + [False] * 70, [True] * 20 + [False] * 50 + [True] * 30)
    middle, half = 20 / 102, 1.959964 * ((42 / 102 - (20 / 102) ** 2) / 102) ** 0.5
    assert (low, high) == pytest.approx((middle - half, middle + half), abs=1e-6)
