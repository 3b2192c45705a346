"""The jsonl task: letters of multiple choices, words and yes or no, in the forms that models give them."""

import pytest

from nap.data.problems import Problem
from nap.tasks.jsonl import Jsonl


def check(text, gold):
    return Jsonl().check(Problem(id="1", prompt="?", answer=gold), text)


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        ("The answer is D. photosynthesis", "D"),
        (r"\boxed{E: A polygenic risk score}", "E"),
        (r"\boxed{\text{E}}", "E"),
        (r"We need \boxed{\langle H\rangle \ll \Delta E}." + "\n\n**Answer: D**", "D"),
        ("Answer: (B)", "B"),
        ("The correct answer is (B) because A is too small.", "B"),
        ("The correct option is **B**.", "B"),
        ("Answer: B\n", "(B)"),
        ("<answer>B) Paris</answer>", "B"),
        ("<answer>B) Paris</answer>", "Paris"),
        ("B.", "B"),
        ("I compare them.\n(C)", "C"),
        ("The answer is Paris.", "Paris"),
        ("So the answer is yes.", "Yes"),
        ("Therefore, yes.", "Yes"),
        ("No, because it is odd.", "no"),
        (r"\boxed{\text{True}}", "true"),
        ("<think>Perhaps the answer is Rome.</think>\nThe answer is Paris.", "Paris"),
        ("The correct answer is option B.", "B"),
        ("正确答案是（B）。", "B"),
        ("故选B。", "B"),
        ("选择 B", "B"),
        ("答えはBです。", "B"),
        ("Answer: [[B]]", "B"),
        ("I choose B.", "B"),
        ("The statement is true.", "True"),
        ("The answer is yes, because 3 > 2", "yes"),
        ("The answer is **no**, as 2 is even.", "No"),
        ("The answer is H2O.", "H2O"),
        ("Answer: the Pythagorean theorem", "Pythagorean theorem"),
        ("The answer is: Paris", "Paris"),
        ("答えはパリです。", "パリ"),
        (r"\boxed{x = 5}", "x=5"),
        ('{"answer": "Paris", "sure": true}', "Paris"),
        ("The answer is A, I think.", "A"),
        ("The answer is B, C is too small.", "B"),
        ("#### Step 1: compare\nB is larger.\n\n#### Step 2: conclude\nThe answer is B.", "B"),
        ("The answer is Paris.\n\nQ: And of Italy?\nThe answer is Rome.", "Paris"),
    ],
)
def test_the_usual_forms_are_right(text, gold):
    assert check(text, gold)


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        ("The answer is A good question", "A"),
        *[
            (f"The answer is {several}.", "A")
            for several in ("A and B", "A, B, C and D", "(A) and (B)", "A/B", "A or I")
        ],
        (r"\boxed{A, B}", "A"),
        (r"\boxed{A}, \boxed{B}", "A"),
        ("The answer is C.", "B"),
        ("Bananas", "B"),
        ("The answer is Paris or Rome.", "Paris"),
        ("No.", "Yes"),
        ("Nothing is known", "no"),
        ("Vitamin A", "Vitamin"),
        ("The answer is no longer known to anybody here", "no"),
        ("I think so", "I"),
        ("It is not known whether it is true or not", "True"),
        ("选择题的答案", "B"),
        ("", "B"),
        ("", "Yes"),
    ],
)
def test_near_misses_are_wrong(text, gold):
    assert not check(text, gold)


@pytest.mark.parametrize(
    "words",
    [
        "Eiffel Tower", "none of the above", "December 25, 2020", "Martin Luther King Jr.", "Theodor W. Adorno",
        "Apollo 11", "J. K. Rowling", "Statue of Liberty", "pancreas",
    ],
)  # fmt: skip
def test_an_answer_of_a_few_words_is_read_after_the_answer_is(words):
    article = "the " if words in ("Eiffel Tower", "Statue of Liberty", "pancreas") else ""
    assert check(f"I compare.\nThe answer is {article}{words.rstrip('.')}. That is all, as we saw", words)
    assert check(f"So the answer is **{article}{words}**", words) and not check(
        f"The answer is {words} or Rome.", words
    )


# The last ones have an explanation below the letter.
CHOSEN = (
    "The answer is B (Paris)", "The answer is B - Paris", "The answer is `B`.", "'B'", "The answer is “B”.",
    "The answer is B;", "The answer is B = Paris", r"\boxed{b}", r"\boxed{\bf B}", "answer: b", "The answer is (b).",
    "Ans: B", "(b) Paris", "I would go with B.", "I'd choose B", "答案是B：巴黎", "选项B", "所以选择B选项。",
    "【答案】B", "故答案为：B．", "Ｂ", "정답은 B입니다.", "La risposta corretta è B", "A resposta correta é B",
    "La réponse correcte est B.", "B\n\nExplanation: A is wrong..", "B\n\nA is wrong", "B. Paris\nBecause A is far",
    "**B**\n\nC is not.", "(B)\nSince 2 > 1.",
)  # fmt: skip


@pytest.mark.parametrize("text", CHOSEN)
def test_a_choice_is_read_in_everyday_forms(text):
    assert check(text, "B") and check(text, "(b)") and not check(text, "A")


@pytest.mark.parametrize(
    ("text", "gold", "right"),
    [
        ("Yes\n\nBecause the sky is blue.", "yes", True),
        ("Yes.\nNo clouds are there", "yes", True),
        ("Nothing is known.\nNo", "no", True),
        ("Yes\n\nBecause", "Paris", False),
        # A list of choices, an expression, an article and several letters choose nothing.
        ("A. x\nB. y\nC. z\nI do not know", "A", False),
        ("A\nNo, it is\nC", "A", False),
        (r"\boxed{B = 5}", "B", False),
        (r"\boxed{A - B}", "A", False),
        ("B(x) = 5", "B", False),
        ("(a) and (b)", "A", False),
        ("The answer is a good question", "A", False),
        ("选项B是错误的", "B", False),
        ("选项B：不对\n因此C", "B", False),
    ],
)
def test_a_first_line_counts_where_it_is_an_answer_and_what_only_looks_like_a_choice_does_not(text, gold, right):
    assert check(text, gold) == right


OWN = (
    "She has 3 + 2 = 5.\n#### 5", r"\boxed{5}", r"So it is $\boxed{\text{Paris}}$.", "<answer>B</answer>", "B.", "(b)",
    "B. Paris", "(B) Paris", "B.Paris", "Option B", "E. coli", "J. K. Rowling", "The answer is yes.", "A is for Apple",
)  # fmt: skip


@pytest.mark.parametrize("gold", OWN)
def test_a_right_answer_is_right_in_its_own_form_and_after_the_answer_is(gold):
    assert check(gold, gold) and check(f"<answer>{gold}</answer>", gold)


@pytest.mark.parametrize(
    ("text", "gold", "right"),
    [
        ("The answer is 5.", "She has 3 + 2 = 5.\n#### 5", True),
        ("The answer is 3.", "She has 3 + 2 = 5.\n#### 5", False),
        ("The answer is Paris.", r"\boxed{\text{Paris}}", True),
        ("B", "B. Paris", True),
        ("The answer is (B) because it is larger.", "B) Paris", True),
        ("The answer is Paris.", "(B) Paris", True),
        ("The answer is B. Paris, as we saw", "B: Paris", True),
        ("The answer is A.", "B. Paris", False),
        ("The answer is D. Paris", "B. Paris", False),
        ("The answer is B. Rome", "B. Paris", False),
        ("The answer is E. histolytica", "E. coli", False),
        ("(B) because", "(b)", True),
        ("(A) because", "(b)", False),
    ],
)
def test_a_right_answer_with_its_solution_or_the_words_of_its_choice_is_read_as_it_is_meant(text, gold, right):
    assert check(text, gold) == right


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("B) Paris", "Paris", True),
        ("(B) Paris.", "B: paris", True),
        ("B) Paris", "B", False),
        ("B) Paris", "B) Rome", False),
        ("Paris", "Rome", False),
        ("A", "B", False),
    ],
)
def test_answers_that_differ_in_the_letter_of_the_choice_before_them_alone_are_one_vote(one, other, equal):
    assert Jsonl().same(one, other) == Jsonl().same(other, one) == equal
