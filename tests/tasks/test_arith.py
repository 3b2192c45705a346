"""The answers are what a reader of the sentences computes, every line of every solution holds, and no problem leaks."""

import random
import re

import pytest

from nap.tasks.arith import Arith, Graph, Person, forward, misreadings

TASK = Arith()
SENTENCES = {
    "fact": r"(\w+) has (\d+) \w+ \.",
    "more": r"(\w+) has (\d+) more than (\w+) \.",
    "fewer": r"(\w+) has (\d+) fewer than (\w+) \.",
    "both": r"(\w+) has (\w+) and (\w+) together \.",
}


def holds(path):
    """Whether every line with an equals sign adds up."""
    equations = [line.split(" = ") for line in path.text.split(" ; ") if "=" in line]
    sums = [re.findall(r"(?:([+-]) )?(\d+)", left) for left, _ in equations]
    return [sum(-int(n) if sign == "-" else int(n) for sign, n in terms) for terms in sums] == [
        int(right) for _, right in equations
    ]


def read(prompt):
    """Every person's value, found without the graph: sentences are used as soon as they can be."""
    *sentences, question = re.findall(r"[^.?]+[.?]", prompt)
    values, waiting = {}, [s.strip() for s in sentences]
    while waiting:
        for sentence in waiting:
            kind, found = next((k, m) for k, p in SENTENCES.items() if (m := re.fullmatch(p, sentence)))
            name, *rest = found.groups()
            known = {"fact": [], "more": rest[1:], "fewer": rest[1:], "both": rest}[kind]
            if all(x in values for x in known):
                number = int(rest[0]) if kind != "both" else 0
                values[name] = {
                    "fact": lambda n=number: n,
                    "more": lambda n=number, k=known: values[k[0]] + n,
                    "fewer": lambda n=number, k=known: values[k[0]] - n,
                    "both": lambda k=known: values[k[0]] + values[k[1]],
                }[kind]()
                waiting.remove(sentence)
                break
        else:
            raise AssertionError(f"no order in {prompt}")
    return values, values[question.split()[3]]


def test_the_answer_is_what_the_sentences_say():
    for index in range(300):
        problem = TASK.generate(5, index, "train")
        values, answer = read(problem.prompt)
        assert str(answer) == problem.answer
        assert all(0 <= value <= TASK.largest for value in values.values())


def test_every_line_of_every_solution_holds_and_the_last_number_is_the_answer():
    for index in range(300):
        sample = TASK.sample(5, index)
        assert len({path.text for path in sample.paths}) > 1
        for path in sample.paths:
            assert path.correct and path.answer == sample.problem.answer
            assert path.text.split()[-1] == sample.problem.answer
            assert len(path.text.split()) <= TASK.longest
            assert holds(path)
        assert TASK.check(sample.problem, sample.summary)


def test_the_longest_chain_of_operations_is_the_critical_path():
    chain = Graph(
        (Person("A", 1), Person("B", "A", "+", 2), Person("C", "B", "-", 1), Person("D", "A", "+", "A")), goal="C"
    )
    assert chain.critical_path == 2 and [p.name for p in chain.needed] == ["A", "B", "C"]
    joined = Graph((Person("A", 1), Person("B", 2), Person("C", "A", "+", "B")), goal="C")
    assert joined.critical_path == 1 and joined.values["C"] == 3
    for index in range(100):
        meta = TASK.generate(1, index, "test").meta
        assert 1 <= meta["critical_path"] <= meta["operations"] <= TASK.operations


def test_the_same_arguments_give_the_same_problem_and_no_problem_is_in_both_splits():
    assert TASK.sample(3, 7) == Arith().sample(3, 7) != TASK.sample(4, 7)

    def content(problem):
        *sentences, question = re.findall(r"[^.?]+[.?]", problem.prompt)
        return (*sorted(s.strip() for s in sentences), question)

    train = {content(TASK.sample(0, index).problem) for index in range(3000)}
    assert not train & {content(problem) for problem in TASK.load(limit=300)}


@pytest.mark.parametrize(("text", "right"), [("8 pears", True), ("pears 8", True), ("9 pears", False), ("", False)])
def test_the_first_number_of_the_summary_is_the_answer(text, right):
    problem = next(p for i in range(99) if (p := TASK.generate(0, i, "test")).answer == "8")
    assert TASK.check(problem, text) is right


def test_a_misread_number_changes_the_answer_and_nothing_else_goes_wrong():
    graph = Graph((Person("Ann", 5), Person("Bob", "Ann", "-", 3), Person("Cat", 2)), goal="Bob")
    assert {g.values["Bob"] for g in misreadings(graph, 10)} == {0, 1, 3, 4, 5, 6}
    samples = [Arith(wrong=0.5).sample(2, index) for index in range(200)]
    wrong = [path for sample in samples for path in sample.paths if not path.correct]
    assert 0.4 < len(wrong) / 600 < 0.55
    for sample in samples:
        for path in sample.paths:
            assert path.text.split()[-1] == path.answer
            assert path.correct == (path.answer == sample.problem.answer)
            assert holds(path)
    assert forward(graph, random.Random(0)) == "Ann 5 ; Bob 5 - 3 = 2"


def test_a_graphs_form_knows_neither_names_nor_distractors_nor_the_sequence_of_a_sum():
    ann, bob = Person("Ann", 2), Person("Bob", "Ann", "+", 3)
    graph = Graph((ann, bob, Person("Cat", "Ann", "+", "Bob")), "Cat")
    renamed = (Person("Zoe", 2), Person("Yan", "Zoe", "+", 3), Person("Xia", "Yan", "+", "Zoe"))
    assert Graph(renamed, "Xia").form == graph.form
    assert Graph((*graph.people, Person("Dan", 7)), "Cat").form == graph.form
    copied = Graph((ann, bob, Person("Eve", 2), Person("Cat", "Eve", "+", "Bob")), "Cat")
    others = [
        copied, Graph((ann, Person("Bob", "Ann", "+", 4), Person("Cat", "Ann", "+", "Bob")), "Cat"),
        Graph((ann, Person("Bob", "Ann", "-", 3), Person("Cat", "Ann", "+", "Bob")), "Cat"), Graph((ann, bob), "Bob"),
    ]  # fmt: skip
    assert len({graph.form, *(other.form for other in others)}) == 5


def test_the_graph_of_a_problem_is_that_of_its_answer():
    for index in range(20):
        graph, problem = TASK.graph(3, index, "test"), TASK.generate(3, index, "test")
        assert str(graph.values[graph.goal]) == problem.answer
