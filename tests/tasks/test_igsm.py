"""The answer follows from the prompt alone, every path says what is true and in a right order, splits never mix."""

import re

import numpy as np
import pytest

from nap.common.files import InputError
from nap.tasks.igsm import CLOSING, FILLERS, OPERATIONS, Igsm
from nap.tasks.registry import load_task

TASK = Igsm()
DRAWN = [TASK.sample(0, index) for index in range(60)]


def solved(prompt):
    """Every value, worked out from the words of the prompt."""
    *sentences, asked = prompt.split(" . ")
    told = {s.split()[0]: s.split()[2:] for s in sentences}

    def value(name):
        first, *names = told[name]
        return OPERATIONS[first](*map(value, names)) if names else int(first)

    return {name: value(name) for name in told}, asked.split()[0]


def test_the_answer_is_that_of_the_prompt():
    for sample in DRAWN:
        values, asked = solved(sample.problem.prompt)
        assert str(values[asked]) == sample.problem.answer == sample.summary


def test_the_operations_do_not_associate():
    for operation in ("gap", "turn"):
        f = OPERATIONS[operation]
        assert f(f(9, 3), 5) != f(9, f(3, 5))
    gap, add = OPERATIONS["gap"], OPERATIONS["sum"]
    assert gap(add(9, 3), 5) != add(gap(9, 5), 3)


def test_each_path_says_all_steps_truly_and_each_after_those_that_it_takes():
    for sample in DRAWN:
        values, _ = solved(sample.problem.prompt)
        given = set(re.findall(r"(\w+) is \d \.", sample.problem.prompt))
        for path in sample.paths:
            known = {values[name] for name in given}
            computed = [sentence.split() for sentence in path.text.split(" .") if len(re.findall(r"\d", sentence)) >= 3]
            assert len(computed) == sample.problem.meta["operations"]
            for words in computed:
                first, second, result = [int(word) for word in words if word.isdigit()][:3]
                (operation,) = set(words) & set(OPERATIONS)
                assert OPERATIONS[operation](first, second) == result
                assert {first, second} <= known
                known.add(result)


def test_paths_fit_their_slot_are_worded_anew_and_answer_alike():
    lengths = [len(path.text.split()) for sample in DRAWN for path in sample.paths]
    assert min(lengths) >= 40 and max(lengths) <= TASK.longest
    for sample in DRAWN:
        assert len({path.text for path in sample.paths}) == 3
        assert {TASK.vote(sample.problem, path.text) for path in sample.paths} == {sample.problem.answer}


def test_the_shortest_paths_are_found_however_rare_they_are():
    tight = Igsm(longest=64, fillers=0.5)
    lengths = [len(path.text.split()) for index in range(20) for path in tight.sample(0, index).paths]
    assert max(lengths) == 64
    with pytest.raises(InputError, match="8 operations may need 64 words, got longest=63; allow more"):
        Igsm(longest=63)
    with pytest.raises(InputError, match=r"0 to 0\.5, got 0\.9"):
        Igsm(fillers=0.9)


def test_a_path_has_its_steps_alone_and_does_not_repeat_what_is_given():
    for sample in DRAWN:
        for path in sample.paths:
            sentences = path.text.split(" .")[:-1]
            assert [len(re.findall(r"\d", s)) for s in sentences] == [3] * sample.problem.meta["operations"]


def test_the_solutions_of_a_problem_share_how_many_fillers_they_have_and_problems_differ():
    def often(path):
        words = path.text.split()
        return sum(word in FILLERS for word in words) / len(words)

    shares = np.array([[often(path) for path in sample.paths] for sample in DRAWN])
    assert shares.mean(1).min() < 0.05 and shares.mean(1).max() > 0.15
    assert shares.std(1).mean() < shares.mean(1).std() / 2


def orders(needs, done=frozenset()):
    """In how many orders steps can be taken, of which each needs some others."""
    ready = [step for step, others in needs.items() if step not in done and others <= done]
    return sum(orders(needs, done | {step}) for step in ready) or 1


def test_steps_come_one_after_the_other_and_of_three_problems_in_four_in_one_order_alone():
    # What docs/reasoning.md says of 1,000 graphs.
    counts, depths = [], []
    for index in range(1000):
        problem = TASK.generate(0, index, "test")
        told = re.findall(r"(\w+) is (?:gap|sum|turn) (\w+) (\w+) \.", problem.prompt)
        names = {name for name, *_ in told}
        counts.append(orders({name: set(taken) & names for name, *taken in told}))
        depths.append(problem.meta["critical_path"])
    assert round(np.mean(np.equal(counts, 1)), 2) == 0.75
    assert [round(np.mean(np.greater_equal(depths, least)), 2) for least in (6, 7)] == [0.88, 0.56]


def test_the_last_operation_is_not_the_one_whose_results_are_easily_guessed():
    assert not any(re.search(rf"{s.problem.meta['asked']} is gap ", s.problem.prompt) for s in DRAWN)


def test_a_lengthened_text_has_so_many_words_and_ends_in_closing_words_with_fillers_between():
    text = DRAWN[0].paths[0].text
    longer = TASK.lengthened(text, 150)
    assert len(longer.split()) == 150 and longer == TASK.lengthened(text, 150)
    after = [word for word in longer.removeprefix(text).split() if word not in FILLERS]
    said = [word for word in CLOSING.split() * 3 if word not in FILLERS]
    assert longer.startswith(text) and after == said[: len(after)]
    assert TASK.lengthened(text, len(text.split())) == text


def test_all_words_are_known():
    words = {word for sample in DRAWN for path in sample.paths for word in path.text.split()}
    words |= {word for sample in DRAWN for word in sample.problem.prompt.split()}
    assert words <= set(TASK.words)


def test_no_graph_of_the_test_is_in_training():
    def graph(problem):
        return tuple(sorted(problem.prompt.removesuffix(" ?").split(" . ")))

    small = Igsm(least=1, most=1, longest=40)
    seen = {graph(small.generate(0, index, "train")) for index in range(3000)}
    assert not seen & {graph(small.generate(1, index, "test")) for index in range(300)}


def test_only_the_exact_digit_is_right():
    problem = DRAWN[0].problem
    assert TASK.check(problem, f"{problem.answer} </summary>")
    assert not TASK.check(problem, str((int(problem.answer) + 1) % 10)) and not TASK.check(problem, "")


def test_a_problem_is_the_same_for_the_same_arguments():
    task = load_task("igsm")
    assert task.load("test", 2) == [TASK.generate(0, index, "test") for index in range(2)]


def test_settings_out_of_range_are_refused():
    with pytest.raises(InputError, match="least and most"):
        Igsm(least=5, most=4)
    with pytest.raises(InputError, match="drop the file"):
        TASK.load(path="x.jsonl")
