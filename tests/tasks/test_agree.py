"""Sentences agree in name, gender, number and tense or are wrong, every wording counts, splits never mix."""

import itertools

import pytest

from nap.common.files import InputError
from nap.tasks.agree import CELLS, KIN, LINKS, THINGS, VOCABULARY, Agree, choices, sentences
from nap.tasks.registry import answer_text

ONE = Agree(count=1)


def right(words, text):
    return ONE.check(ONE.read("x", f"story 1 {words}"), text)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("Ann has just lost her keys , so she asks her brother for them", True),
        ("Ann has just lost her keys , so Ann asks her brother for them", True),
        ("Ann had just lost her keys , so she asked her brother for them", True),
        ("without his keys Tom was sad , and Tom begged his brother for them", True),
        ("Twins have just lost their keys , then they beg their brother for them", True),
        ("Ann has just lost her keys , so he asks her brother for them", False),  # gender
        ("Ann has just lost his keys , so she asks her brother for them", False),
        ("Ann has just lost her keys , so Eve asks her brother for them", False),  # name
        ("Ann has just lost her keys , so she asked her brother for them", False),  # tense
        ("Ann has just lost her keys , so she asks her brother for it", False),  # number of the thing
        ("Twins have just lost their keys , so they asks their brother for them", False),  # number of the person
        ("Twins has just lost their keys , so they ask their brother for them", False),
        ("without his keys Tom was lost , and Tom begged his brother for them", False),  # the other wording's word
        ("Ann has just lost her hats , so she asks her brother for them", False),  # not the words asked for
        ("Ann has just lost her keys , so she asks her brother", False),
        ("", False),
    ],
)
def test_a_sentence_is_right_only_if_everything_agrees(text, holds):
    assert right("keys brother", text) is holds


def test_every_sentence_that_the_grammar_knows_is_one_length_has_its_words_and_is_there_once():
    found = sentences(("keys", "brother"))
    assert len(found) == len(set(found)) == 12 * 2 * 12 * 3 * 2 * 2
    assert {len(words) for words in found} == {CELLS}
    assert all({"keys", "brother"} <= set(words) <= set(VOCABULARY) for words in found)


@pytest.mark.parametrize("words", [("so", "lost"), ("sad", "uncle"), ("cup", "then")])
def test_no_sentence_with_the_words_is_missing(words):
    every = {
        choice.words()
        for thing in (*THINGS,)
        for link in LINKS
        for choice in choices((thing, link))
        if choice.kin in KIN
    }
    assert {text for text in every if set(words) <= set(text)} == set(sentences(words))


def test_words_that_no_sentence_holds_together_are_refused():
    for words in ("sad lost", "keys hat", "so then", "keys nonsense"):
        with pytest.raises(InputError, match="no sentence holds the words"):
            ONE.read("x", f"story 1 {words}")
    with pytest.raises(InputError, match="1 stories of 2 words wanted"):
        ONE.read("x", "story 1 keys")


def test_a_sample_answers_its_own_problem_in_paths_and_as_a_chain():
    task = Agree()
    for index in range(30):
        sample = task.sample(0, index)
        paths = [path.text for path in sample.paths]
        assert task.check(sample.problem, answer_text(task, paths, sample.summary))
        assert answer_text(task, [" ".join(paths)], "done") == answer_text(task, paths, "done")
        assert task.valid(sample.problem, paths) == [True] * 3
        assert task.valid(sample.problem, [paths[1], paths[0], paths[2]]).count(True) < 3
        assert task.read(sample.problem.id, sample.problem.prompt, sample.problem.answer) == sample.problem


def test_the_words_of_the_test_are_never_together_in_training():
    def clues(split, problems):
        return {tuple(sorted(w)) for i in range(problems) for w in Agree().generate(0, i, split).meta["clues"]}

    test, train = clues("test", 100), clues("train", 1500)
    assert len(test) > 20 and len(train) > 300
    assert not test & train
    assert Agree().sample(1, 2) == Agree().sample(1, 2) != Agree().sample(1, 3)


def test_the_law_is_what_the_checker_takes():
    problem = ONE.generate(0, 0, "test")
    (law,) = ONE.law(problem)
    others = itertools.islice(sentences(("keys", "brother")), 500)
    assert all(ONE.valid(problem, [" ".join(content)]) == [True] for content in law.contents)
    assert [ONE.valid(problem, [" ".join(text)]) == [True] for text in others] == [
        text in law.contents for text in itertools.islice(sentences(("keys", "brother")), 500)
    ]


def test_a_number_of_stories_that_has_no_digit_is_refused():
    with pytest.raises(InputError, match="count must be from 1 to 9, got 10"):
        Agree(count=10)
