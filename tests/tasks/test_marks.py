"""Which of a text's answers is its answer: marks in the forms that models and people write, and where a text ends."""

import time

import pytest

from nap.tasks.answers import extract_answer, extract_number
from nap.tasks.marks import STOPS, boxes, extract_boxed, until
from nap.tasks.numbers import same_number, to_number
from nap.tasks.public import Gsm8k


@pytest.mark.parametrize(
    ("text", "number"),
    [
        # What follows the end of a chain of thought outranks a box inside it.
        (r"<think>Maybe \boxed{10}? No: 6*12=72.</think> The answer is 72.", "72"),
        (r"<think>Maybe \boxed{10}? No.</think> So there are 72 of them", "72"),
        (r"<|begin_of_thought|>\boxed{10}<|end_of_thought|>It is 72", "72"),
        (r"<think>The answer is \boxed{10}. Hmm, but I forgot", "10"),
        (r"<think>\boxed{10}</think>", "10"),
        (r"<think>\boxed{10}</think> That is it.", "10"),
        (r"<think>\boxed{10}</think> It is \boxed{}", None),
        # The last box counts, closed or cut.
        (r"\boxed{10}, no: \boxed{72", "72"),
        (r"\boxed{10} or \boxed{", "10"),
        (r"\fbox{460} dollars for 3 weeks", "460"),
        (r"$\boxed 5$ apples out of 7", "5"),
        (r"\boxed 1,234.", "1,234"),
        (r"\boxed-5", "-5"),
        (r"\boxed\frac{1}{2} of 7", "1/2"),
        (r"\boxed{\text{Week 2: }460}", "460"),
        (r"\boxed{460 \text{ dollars in 2 weeks}}", "460"),
        (r"\boxed{\text{460}}", "460"),
        # Chinese and Japanese.
        ("答案是-3", "-3"),
        ("答えは-3です", "-3"),
        ("答案：70,000元（共2步）", "70000"),
        ("最终答案为18。验证：9×2=18，3+4=7。", "18"),
        ("答：共有１８个，3天。", "18"),
        ("请回答：2个问题。答案为 **5** 个", "5"),
        ("70，000元", "70000"),
        ("答案是−5。", "-5"),
        ("温度是–5度", "-5"),
        ("7元-5元", "5"),
        # The same words in other ways and languages.
        ("The answer to the question is 12. It took 3 steps", "12"),
        ("The correct answer would be 12. See 3", "12"),
        ("The answer is therefore 12, as in 3", "12"),
        ("正解は42です。3回", "42"),
        ("정답은 42입니다. 3번", "42"),
        ("La respuesta es 42. Hay 3 pasos", "42"),
        ("Die Antwort lautet 42. Siehe 3", "42"),
        ("La réponse finale est 42. Etape 3", "42"),
        ("**Final Answer**\n\n12 apples. Checked 3 times.", "12"),
        ("### Answer\n12\n3 steps", "12"),
        # A heading of Markdown is no `#### 42`.
        ("#### Step 1: add\n40 + 2 = 42\n\n#### Step 2: conclude\nThe answer is 42.", "42"),
        ("#### 1. Set up\nx = 7\n#### 2. Solve\nSo it is 42", "42"),
        ("#### Final Answer\n42 apples, 3 of them green", "42"),
        ("**Answer: 42**\n#### Step 3. Total = 7\nas said", "42"),
        ("#### 42\n\nStep 3 was easy", "42"),
        ("#### x = 42\n3 steps", "42"),
        ("#### 42 apples\n3 steps", "42"),
        # JSON.
        ('{"answer": 12, "steps": 3}', "12"),
        ('{"final_answer": "$1,200", "steps": 3}', "1200"),
        # Ends of reasoning of other models.
        (r"[THINK]\boxed{3}[/THINK]12", "12"),
        (r"<seed:think>\boxed{3}</seed:think>12", "12"),
        (r"<thought>\boxed{3}</thought>12", "12"),
        (r"<reasoning>\boxed{3}</reasoning>12", "12"),
        (r"◁think▷\boxed{3}◁/think▷12", "12"),
        (r"<|channel|>analysis<|message|>\boxed{3}<|end|><|start|>assistant<|channel|>final<|message|>12", "12"),
        # Number words, and thousands as SI has them.
        ("The answer is $1.5 million.", "1500000"),
        ("The answer is 1.5 million.", "1.5"),
        ("答案是42万。", "420000"),
        ("The answer is 12\u202f345 of 3", "12345"),
        (r"\boxed{12\ 345}", "12345"),
        ("The answer is 12 000 of 3", "12000"),
        ("The answer is 12 345 of 3", "12"),
    ],
)
def test_the_number_that_a_text_gives(text, number):
    found = extract_number(text)
    assert found == number or same_number(found, number)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        # A remark after the number.
        ("#### 18 (9 * 2)", "18"),
        ("The answer is 18 (9 × 2).", "18"),
        ("**Answer: 18** (9×2)", "18"),
        ("最终答案：**18**（9×2）", "18"),
        ("#### 5 (check: 5 + 3 = 8)", "5"),
        ("答案是5（5+3=8）。", "5"),
        ("#### 1,234 (1,200 + 34", "1234"),
        (r"The answer is \(18\) (9 * 2)", "18"),
        # What a text goes on with once the number is said.
        ("The answer is 5. Check: 5 + 3 = 8", "5"),
        ("The answer is 18; 18*2 = 36.", "18"),
        ("The answer is 18, which is 9 * 2.", "18"),
        ("The answer is $18 per day because 9*4 = 36", "18"),
        ("The answer is x = 18. Then 2x = 36.", "18"),
        ("The answer is about 18. Then 2 * 18 = 36.", "18"),
        ("<answer>\n18\n\nThat is 36 / 2, and 18 * 2 = 36\n</answer>", "18"),
        ("The answer is 9 * 2 = 18. Check: 18 / 2 = 9", "18"),
        (r"The answer is $\frac{3}{4}$. So 8 * 3/4 = 6.", "3/4"),
        ("答案是18元，其中9×2=18，18÷2=9", "18"),
        # A worked answer is read to its end.
        ("Answer: 48/2 = 24 clips in May. Altogether 48+24 = 72.", "72"),
        ("Answer: She has 5 apples. Since she eats 2, 5 - 2 = 3.", "3"),
        ("The answer is 5 (five) + 3 = 8", "8"),
        (r"\boxed{5\;\text{cm}}", "5"),
    ],
)
def test_what_follows_a_marked_number_does_not_replace_it(text, number):
    assert same_number(extract_number(text), number)


@pytest.mark.parametrize("said", [r"\boxed{10-15}", "The answer is 10 to 15 minutes", "The answer is $10–$15."])
def test_a_range_is_neither_of_its_ends(said):
    assert not same_number(extract_number(said), "10") and not same_number(extract_number(said), "15")


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("It takes 10-15 minutes.", "10 15"), ("It takes $10 to $15", "10 15"), ("It is between 10 and 15", "10 15"),
        ("It takes 1.5 to 2 hours", "1.5 2"), ("About 10 to 15 million", "10 15 15000000"), ("大约10到15分钟", "15"),
        ("The answer is from 10 to 15", "10 15"), (r"#### 10 \text{ to } 15", "10 15"), ("10~15", "10 15"),
        ("The answer is 3 or 5.", "3 5"), ("It is either 3 or 5", "3 5"), (r"\boxed{3 \text{ or } 5}", "3 5"),
        (r"\boxed{x = 3 \text{ or } x = 5}", "3 5"), (r"\boxed{3} or \boxed{5}", "3 5"), (r"\boxed{\pm 3}", "3"),
        (r"\boxed{18, 20}", "18 20"), ("#### 18 and 20", "18 20"), ("3:1", "3 1"), ("The answer is 3:1", "3 1"),
    ],
)  # fmt: skip
def test_several_numbers_are_none_of_them(text, numbers):
    assert not any(same_number(extract_number(text), number) for number in numbers.split())
    assert Gsm8k().unusable(text), "nothing can be checked by it"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("The price rose from 10 to 15.", "15"), ("We add 10 to 15", "15"), ("half of 24 - 12", "12"), ("70-50", "50"),
        ("The answer is 1/2 or 0.5.", "0.5"), ("It is 0.5 or 50%", "50"), ("#### 3 hours or 180 minutes", "3"),
        (r"\boxed{1,234}", "1234"), ("#### 42 apples, 3 of them green", "42"), (r"\boxed{2:00 \text{ pm}}", "2"),
        ("She needs 10 or 15 more, so 20", "20"), ("The answer is 18, 3 more than 15", "18"),
    ],
)  # fmt: skip
def test_what_only_looks_like_several_numbers_is_one(text, number):
    assert same_number(extract_number(text), number)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("It costs Rs.500", "500"), ("Ans.18", "18"), ("It is No.3", "3"), ("approx.18", "18"), ("x=.5", "0.5"),
        ("The answer is minus 5", "-5"), ("The answer is negative 18.", "-18"), ("24 minus 5", "5"),
        ("答案是负5", "-5"),
        ("Die Antwort lautet 18,5", "18.5"), ("La réponse est 18,5.", "18.5"), ("La respuesta es 1.234,5", "1234.5"),
        ("La réponse est 3,000", "3000"), ("The answer is 18,5", None),
        ("1.234.567,5", "1234567.5"), ("1.234", "1.234"),
        ("The answer is 1 234 567", "1234567"), ("The answer is 1'800", "1800"),
        ("1_800", "1800"), ("1’234’567", "1234567"),
        ("The answer is $1.5M", "1500000"), ("#### $1.5M", "1.5"),
        ("The answer is 1.5k", "1500"), ("about 15k", "15000"),
        ("The answer is 3 M", "3"), ("300K", "300"), ("5 km", "5"), (r"\boxed{2k}", "2"), ("scores 100 200 300", "300"),
    ],
)  # fmt: skip
def test_numbers_in_common_spellings_are_read(text, value):
    assert same_number(extract_number(text), value) == (value is not None)
    assert value or not same_number(extract_number(text), "18")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3½", "7/2"), ("½", "1/2"), ("-2 ¾", "-11/4"), ("2 x 10^3", "2000"), (r"2.5 \times 10^{-2}", "1/40"),
        ("6.02×10³", "6020"), ("1,00,000", "100000"), ("12,34,567.5", "1234567.5"), ("–5", "-5"), ("－５", "-5"),
        ("1,00,00", None), ("3–5", None),
    ],
)  # fmt: skip
def test_numbers_of_typography_and_of_india_are_read(text, value):
    assert to_number(text) == (None if value is None else to_number(value))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"\boxed{1}, \boxed{-2}", ["1", "-2"]),
        (r"The roots are $\boxed{3}$, $\boxed{5}$, and $\boxed{7}$.", ["3", "5", "7"]),
        (r"x = \boxed{1} \text{ or } x = \boxed{2}", ["1", "2"]),
        (r"\boxed{4} 和 \boxed{5}", ["4", "5"]),
        (r"First \boxed{1}, then we go on: \boxed{2}", ["2"]),
        ("\\boxed{1}\n\n\\boxed{2}", ["2"]),
        (r"\boxed{5}, \boxed{5}, \boxed{5}", ["5"]),
        (r"\boxed{1}, \boxed{...}", ["1"]),
        ("none", []),
    ],
)
def test_neighbouring_boxes_are_one_list(text, found):
    assert boxes(text) == found and (extract_boxed(text) or "") == ", ".join(found)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is east.", "east"),
        ("So the answer is **New York City**!", "New York City"),
        ("The answer is obtained by adding all of 3 and 4.", "4"),
        ("The answer is the sum of them: 7", "7"),
        ("x = 7. The answer is the value of x.", "7"),
        ("The correct option is **B**.", "B**."),
    ],
)
def test_an_answer_in_words_ends_its_sentence(text, answer):
    assert extract_answer(text) == answer


NEXT = (
    "Question 2:", "Problem 2:", "Q2:", "### Question:", "**Question:**", "**Question 3**", "### Instruction:",
    "Input:", "Exercise:", "QUESTION:", "USER:", "user", "题目：", "问题：", "问：", "问题2：", "質問：", "질문:",
    "Frage:", "Pregunta:", "Problem #7.",
)  # fmt: skip


@pytest.mark.parametrize("heading", NEXT)
@pytest.mark.parametrize(
    "said", ["The answer is 18.", "So.\n#### 18", r"\boxed{18}", "<think>It is 3.</think>答案是18。"]
)
def test_a_next_question_under_any_heading_ends_the_text_once_it_has_its_answer(said, heading):
    assert until(f"{said}\n\n{heading}\nHow many? The answer is 3.", STOPS) == said + "\n"


@pytest.mark.parametrize(
    "text",
    [
        # Questions that the text asks itself on its way.
        "Question 1: How many had she? She had 3.\nQuestion 2: How many has she? The answer is 18.",
        "Question 1: How many had she? The answer is 3.\nQuestion 2: How many has she? The answer is 18.",
        "Let me see.\n**Problem:** find x.\n**Solution:** x = 18",
        "First the input.\nInput: 3 numbers\nThe answer is 18.",
        "<think>Perhaps the answer is 3.\nQuestion: what is x?\nUser: wants x</think>The answer is 18.",
        "Perhaps the answer is 3.\nProblem: it is not.</think>The answer is 18.",
        "I put the answer in \\boxed{}.\n**Problem:** find x.\n**Solution:** \\boxed{18}",
        "The answer is 18.\nInputs: none. Problems 2: none",
    ],
)
def test_a_question_that_a_text_asks_itself_does_not_end_it(text):
    assert until(text, STOPS) == text


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (" 9 * 2 = 18.\n#### 18\n\nQuestion: A robe\n#### 3", " 9 * 2 = 18.\n#### 18\n"),
        ("The answer is 18.\n\nQ: There are 15 trees", "The answer is 18.\n"),
        ("\nQuestion: what?\nIt is 5", "\nQuestion: what?\nIt is 5"),
        ("5<|endoftext|>6</s>", "5"),
        ("It is 5.\n\nHuman: and 7?", "It is 5.\n"),
        ("5\n<|user|>\n3", "5\n"),
        ("5<|im_start|>user 3", "5"),
        ("nothing", "nothing"),
    ],
)
def test_a_text_ends_where_a_base_model_goes_on_with_a_next_question(text, kept):
    assert until(text, STOPS) == kept


LONG = [
    r"\boxed{1}, ", r"\boxed 1,", "answer is a", "</think>", "答案是", "1½", "1 x 10^", "1,11", "\nQ:", r"\fbox{",
    ", $", r"\boxed{1} x_1 =", "answer\n", '"answer": "', "1 million", "1 to ", "12 000 ", "故选", "answer to the ",
    "#### 1 (", "#### 18（", "1 or ", "between 1 and ", "1:", "check: ", "1. a", "1, a ", "####ab ", "1 234 ", "1'000",
    "answer is A. ", "answer is a b c 1, ",
    "\nProblem 2:", "\nuser\n", "answer is 1\n# ", "\n**", "</think>\nQ:",
]  # fmt: skip


@pytest.mark.parametrize("part", LONG)
def test_hostile_texts_take_bounded_time(part):
    text = part * (10**6 // len(part))
    start = time.perf_counter()
    extract_number(text)
    extract_answer(text)
    until(text, STOPS)
    assert time.perf_counter() - start < 10
