"""Majority vote: who wins, what each way of voting costs, and what the command says."""

import itertools
import json
from functools import partial

import pytest

from nap.canvas.canvas import CanvasSpec
from nap.common.files import InputError
from nap.data.problems import Problem
from nap.decoding import decode
from nap.decoding.batches import Fit
from nap.decoding.budget import Budget, Sampling
from nap.decoding.policies.registry import parse_policy
from nap.evaluation.vote import Vote, Voter, ballots, tallies, winner
from nap.models.load import load
from nap.tasks.registry import Alike, Votes, load_task, path_reader
from tiny import QUESTION, SPEC, nap

RIGHT, WRONG, OTHER, NOTHING = Vote("8", True), Vote("5", False), Vote("3", False), Vote(None, False)


@pytest.mark.parametrize(
    ("votes", "wins"),
    [
        ([RIGHT], RIGHT), ([WRONG, RIGHT, RIGHT], RIGHT), ([RIGHT, WRONG, WRONG], WRONG),
        # Of equals the first; who says nothing has no vote.
        ([WRONG, RIGHT], WRONG), ([RIGHT, WRONG, OTHER], RIGHT), ([NOTHING, NOTHING, RIGHT], RIGHT),
        ([NOTHING, OTHER, NOTHING, WRONG, WRONG], WRONG), ([NOTHING], NOTHING), ([], NOTHING),
    ],
)  # fmt: skip
def test_the_answer_with_most_votes_wins(votes, wins):
    assert winner(votes) == wins


def test_every_way_of_voting_by_hand():
    first = [Voter(WRONG, (RIGHT, RIGHT, WRONG), 4, 40), Voter(RIGHT, (WRONG, OTHER, NOTHING), 6, 60)]
    second = [Voter(RIGHT, (RIGHT, NOTHING, NOTHING), 2, 20), Voter(NOTHING, (WRONG, WRONG, OTHER), 4, 40)]
    found = [
        (tally.way, tally.canvases, tally.right, tally.forwards, tally.queries)
        for tally in tallies([first, second], [1, 2])
    ]
    assert found == [
        # Alone the first canvas is wrong and its paths right; two canvases of two minds: the first of equals.
        ("own", 1, 1, 3.0, 30.0), ("paths", 1, 2, 3.0, 30.0),
        # All six paths: two 8s, two 5s, a 3; and one 8, two 5s, a 3.
        ("own", 2, 1, 8.0, 80.0), ("paths", 2, 1, 8.0, 80.0),
    ]  # fmt: skip


def test_where_no_path_can_be_read_only_canvases_vote():
    assert [tally.way for tally in tallies([[Voter(RIGHT, (), 1, 10)]], [1])] == ["own"]
    assert not isinstance(load_task("countdown"), Votes)


@pytest.mark.parametrize(
    ("task", "path", "vote"),
    [
        ("arith", "Ann 5 ; Bob 5 + 3 = 8", "8"), ("arith", "Bob Ann + x", None),
        ("gsm8k", "She has 12 + 30 = 42. #### 42", "42"),
        ("math500", r"so it is \boxed{\frac{1}{2}}", r"\boxed{\frac{1}{2}}"),
    ],
)  # fmt: skip
def test_a_path_read_alone_votes_for_what_its_task_reads_and_can_check(task, path, vote):
    known = load_task(task)
    assert isinstance(known, Votes)
    problem = Problem(id="p", prompt="?", answer={"math500": r"\frac{1}{2}"}.get(task, vote or "0"))
    assert known.vote(problem, path) == vote
    assert vote is None or known.check(problem, vote)


@pytest.mark.parametrize(
    ("task", "said", "wins"),
    [
        ("gsm8k", ["$1,000", "5", "#### 1000", "5", r"\boxed{1000.00}"], "1,000"),
        ("math500", [r"\boxed{\frac{1}{2}}", *2 * [r"\boxed{3}"], r"\boxed{\frac12}", r"\boxed{0.5}"], r"\frac{1}{2}"),
        ("jsonl", ["The answer is Paris.", "The answer is Rome.", "Rome", "paris", "**Paris**"], "Paris"),
    ],
)  # fmt: skip
def test_answers_that_the_task_calls_equal_count_together(task, said, wins):
    known, alike = load_task(task), Alike(load_task(task))
    problem = Problem(id="p", prompt="?", answer=wins)
    votes = [Vote(alike(known.extract(problem, text)), known.check(problem, text)) for text in said]
    assert winner(votes).correct and len({vote.answer for vote in votes}) == 2
    if isinstance(known, Votes):
        reads = path_reader(known, [problem])
        assert reads and len({reads("p", text) for text in said}) == 2


@pytest.mark.parametrize("task", ["gsm8k", "jsonl"])
def test_the_order_of_the_voters_decides_only_between_equals(task):
    known, problem = load_task(task), Problem(id="p", prompt="How many dollars?", answer="2000000")
    said = ["The answer is 2 million", *["The answer is 2"] * 3]
    assert known.check(problem, said[0])
    for texts in itertools.permutations(said):
        alike = Alike(known)
        votes = [Vote(alike(known.extract(problem, text)), known.check(problem, text)) for text in texts]
        assert winner(votes) == Vote("2", False)


def test_any_number_of_canvases_is_decoded_in_batches_that_fit(tiny, monkeypatch):
    denoiser, task = load(str(tiny)), load_task("arith")
    told = {"budget": Budget(tokens=5), "sampling": Sampling(temperature=1.0)}
    asked = partial(
        ballots, denoiser, task, [Problem(id="p", prompt=QUESTION, answer="8")], 5, SPEC, parse_policy("low_confidence")
    )
    together, sizes = asked(**told), []

    def decode_traces(denoiser, canvases, *rest, whole=decode.decode_traces, **settings):
        sizes.append(len(canvases))
        return whole(denoiser, canvases, *rest, **settings)

    monkeypatch.setattr(decode, "fitting_batch", lambda *_: Fit(rows=2, row=1, free=1))
    monkeypatch.setattr(decode, "decode_traces", decode_traces)
    assert asked(**told) == together and sizes == [2, 2, 1]


def test_canvases_of_a_problem_are_drawn_each_by_itself_and_counted(tiny):
    denoiser, task = load(str(tiny)), load_task("arith")
    problem = Problem(id="p", prompt=QUESTION, answer="8")
    told = {"budget": Budget(tokens=5), "sampling": Sampling(temperature=1.0)}
    (three,) = ballots(denoiser, task, [problem], 3, SPEC, parse_policy("low_confidence"), **told)
    assert len({(voter.own, voter.paths) for voter in three}) > 1
    assert {voter.forwards for voter in three} == {4} and all(len(voter.paths) == 3 for voter in three)
    (again,) = ballots(denoiser, task, [problem], 2, SPEC, parse_policy("low_confidence"), **told)
    assert again == three[:2], "the first canvases are the same, however many there are"


@pytest.mark.parametrize(
    ("count", "said"), [(0, "canvases must be at least 1"), (2, "would all be the same; give a temp")]
)
def test_a_vote_that_is_none_is_refused(count, said, tiny):
    spec = CanvasSpec(paths=1, path_tokens=3, summary_tokens=0, tags="none")
    with pytest.raises(InputError, match=said):
        ballots(load(str(tiny)), load_task("arith"), [], count, spec, parse_policy("threshold"))


def test_the_command_prints_every_way_with_its_cost(tiny):
    told = ("vote", "--models", tiny, "--task", "arith", "--problems", 2, "--canvases", 1, 2, "--temperature", 1)
    process = nap(*told, "--json")
    assert process.returncode == 0, process.stderr
    lines = [json.loads(line) for line in process.stdout.splitlines()]
    assert [(line["canvases"], line["way"]) for line in lines] == [(1, "own"), (1, "paths"), (2, "own"), (2, "paths")]
    assert lines[2]["forwards"] > lines[0]["forwards"] and lines[0]["problems"] == 2
    process = nap("vote", "--models", tiny, "--task", "arith", "--problems", 2)
    assert process.returncode == 2 and "would all be the same" in process.stderr and process.stderr.count("\n") == 1
