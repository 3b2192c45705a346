"""`nap curate` end to end: every stage by what it lets through, and runs that are killed, repeated and replayed."""

import hashlib
import importlib.util
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aiohttp")

from hypothesis import given
from hypothesis import strategies as st

from nap.cli import run
from nap.common.files import InputError
from nap.common.templates import FOLDER, fill, load_prompt
from nap.curation.card import Card
from nap.curation.choose import Choose, clean, count_tokens
from nap.curation.curate import Work, curate
from nap.curation.journal import FAILED, Journal, Reply
from nap.curation.plan import Plan
from nap.curation.selection import distinct, overlaps, select, spread
from nap.curation.solutions import Solved, read_problems
from nap.curation.teacher import Asking, Endpoint
from nap.data.problems import Problem
from nap.data.samples import Path as SamplePath
from nap.data.samples import Sample, concatenated, read_samples, write_samples
from stub_teacher import Answer, Raw, Said, Server, stub

QUICK = Work(asking=Asking(concurrency=4, retries=1, backoff=0.01, timeout=5))
PLAN = Plan(task="jsonl", models=("m",), paths=2, limit=6)
# Different words for each reply, so that none is taken for another's double.
WORDS = ["apple", "bread", "cider", "dates", "eggs", "flour", "grape", "honey", "iced", "jelly", "kale", "lemon"]


def told(number: int, answer: object) -> str:
    words = " ".join(WORDS[(number * 5 + k * (number + 1)) % len(WORDS)] + str(number) for k in range(8))
    return f"We count {words}. So it is \\boxed{{{answer}}}."


def right(body: dict, number: int) -> str:
    """The right answer to `What is N plus 1?`."""
    return told(body["seed"] * 100 + number, int(body["messages"][0]["content"].split()[2]) + 1)


@pytest.fixture
def problems(tmp_path: Path) -> str:
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"What is {n} plus 1?", "answer": n + 1}) + "\n" for n in range(40)))
    return str(path)


def make(server: Server, folder: Path, problems: str, work: Work = QUICK, **changes) -> Card:
    plan = replace(PLAN, data=problems, **changes)
    return curate(plan, folder, [Endpoint(url=server.url, model=model) for model in plan.models], work=work)


def bytes_of(folder: Path) -> dict[str, str]:
    names = ("samples.parquet", "longchain.parquet", "card.json", "README.md")
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


# End to end


def test_samples_have_the_paths_the_checked_answers_and_the_summary_of_the_paper(tmp_path, problems) -> None:
    with stub(right) as server:
        card = make(server, tmp_path / "run", problems)
    samples = list(read_samples(tmp_path / "run/samples.parquet"))
    assert [sample.problem.prompt for sample in samples] == [f"What is {n} plus 1?" for n in range(6)]
    for n, sample in enumerate(samples):
        assert [(path.answer, path.correct, path.source) for path in sample.paths] == [(str(n + 1), True, "m")] * 2
        assert sample.summary.endswith(f"I concluded that: The final answer is {n + 1}.")
    assert list(read_samples(tmp_path / "run/longchain.parquet")) == [concatenated(sample) for sample in samples]
    assert card.problems["sample"] == 6 and card.replies["used"] == 12 and card.usage.prompt_tokens == 84


def test_the_card_names_what_the_data_is_made_of(tmp_path, problems) -> None:
    with stub(right) as server:
        make(server, tmp_path / "run", problems, licences=(("data", "mit"), ("problems", "x"), ("teacher", "apache")))
    text = (tmp_path / "run/README.md").read_text()
    digest = hashlib.sha256((tmp_path / "run/samples.parquet").read_bytes()).hexdigest()
    for part in (
        'license: "mit"',
        "Please reason step by step",
        "apache",
        digest,
        '"temperature": 1.0',
        "12 of 12",
        "Add `--attention paths`",
    ):
        assert part in text
    assert server.url not in text


def test_a_run_killed_at_any_moment_resumes_without_asking_twice(tmp_path, problems) -> None:
    with stub(right, latency=0.05) as server:
        command = [sys.executable, "-m", "nap", "curate", "--task", "jsonl", "--data", problems, "--paths", "2"]
        command += ["--teacher", server.url, "--model", "m", "--concurrency", "2", "--out", str(tmp_path / "run")]
        for _ in range(3):
            before = len(server.asked)
            with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as child:
                while len(server.asked) < before + 8:
                    assert child.poll() is None
                    time.sleep(0.01)
                child.send_signal(signal.SIGKILL)
        subprocess.run(command, check=True, capture_output=True)
        keys = [(body["messages"][0]["content"], body["seed"]) for body in server.asked]
        # What was in flight when it was killed had no reply yet: at most two requests a kill.
        assert len(set(keys)) == 80 and len(keys) <= 80 + 3 * 2
    assert sum(1 for _ in read_samples(tmp_path / "run/samples.parquet")) == 40


def test_a_finished_run_is_made_again_offline_byte_for_byte(tmp_path, problems) -> None:
    folder = tmp_path / "run"
    with stub(right) as server:
        make(server, folder, problems)
    before = bytes_of(folder)
    for name in before:
        (folder / name).unlink()
    make(Server(url="http://127.0.0.1:9/v1"), folder, problems)
    assert bytes_of(folder) == before
    make(Server(url="http://127.0.0.1:9/v1"), tmp_path / "copy", problems, Work(offline=True), limit=6)
    card = json.loads((tmp_path / "copy/card.json").read_text())
    assert card["replies"]["failed"] == 12, "an empty journal was not noticed"


@pytest.mark.parametrize(
    ("part", "value"),
    [("problems", {"x": 1}), ("accuracy", None), ("replies", {"failed": 0, "refused": "x"}), ("models", {})],
)
def test_a_card_that_somebody_changed_is_made_again(tmp_path, problems, part: str, value: object) -> None:
    with stub(right) as server:
        made = make(server, tmp_path / "run", problems)
    before = bytes_of(tmp_path / "run")
    path = tmp_path / "run/card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {part: value}))
    assert make(Server(url=""), tmp_path / "run", problems, Work(offline=True)) == made
    assert bytes_of(tmp_path / "run") == before


@pytest.mark.parametrize("backend", ["threads", "processes"])
def test_workers_change_no_byte(tmp_path, problems, backend) -> None:
    with stub(right) as server:
        make(server, tmp_path / "run", problems)
    before = bytes_of(tmp_path / "run")
    (tmp_path / "run/card.json").unlink()
    work = Work(offline=True, workers=2, backend=backend)
    make(Server(url=""), tmp_path / "run", problems, work)
    assert bytes_of(tmp_path / "run") == before


def test_a_folder_of_another_plan_is_refused_unless_nothing_came_of_it(tmp_path, problems) -> None:
    def answer(body: dict, number: int) -> Answer:
        return right(body, number) if body["model"] == "m" else Raw(404, b"{}")

    with stub(answer, models=["m"]) as server:
        with pytest.raises(InputError, match="has no 'n'"):
            make(server, tmp_path / "run", problems, models=("n",))
        make(server, tmp_path / "run", problems)
        with pytest.raises(InputError, match=r"another setting \(paths 2, now 1\)"):
            make(server, tmp_path / "run", problems, paths=1)


def test_two_runs_on_one_journal_are_refused(tmp_path, problems) -> None:
    with Journal(tmp_path / "run/journal.sqlite"), pytest.raises(InputError, match="another process is at work"):
        make(Server(url="http://127.0.0.1:9/v1"), tmp_path / "run", problems)


@pytest.mark.parametrize("kind", ["eval", "train", None])
def test_a_folder_of_another_run_or_of_a_user_is_refused_and_nothing_in_it_is_changed(tmp_path, problems, kind) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "README.md").write_text("mine")
    if kind:
        (folder / "setting.json").write_text(json.dumps({"kind": kind, "task": "jsonl"}))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with stub(right) as server, pytest.raises(InputError, match=r"choose another"):
        make(server, folder, problems)
    assert not server.asked and {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_two_runs_in_one_folder_pay_for_one(tmp_path, problems) -> None:
    """Each with a journal of its own."""
    with stub(right, latency=0.1) as server:
        command = [sys.executable, "-m", "nap", "curate", "--task", "jsonl", "--data", problems, "--paths", "2"]
        command += ["--teacher", server.url, "--model", "m", "--concurrency", "4", "--problems", "30"]
        command += ["--out", str(tmp_path / "run"), "--journal"]
        with subprocess.Popen([*command, str(tmp_path / "a.sqlite")], stdout=subprocess.DEVNULL) as first:
            while not server.asked:
                assert first.poll() is None
                time.sleep(0.01)
            second = subprocess.run([*command, str(tmp_path / "b.sqlite")], capture_output=True, text=True)
        assert second.returncode == 2 and "another process is at work in" in second.stderr
        assert first.returncode == 0 and len(server.asked) == 60
    assert not (tmp_path / "b.sqlite").exists()


def test_one_journal_under_two_names_is_one(tmp_path, problems) -> None:
    (tmp_path / "other.sqlite").symlink_to(tmp_path / "journal.sqlite")
    with Journal(tmp_path / "journal.sqlite"), pytest.raises(InputError, match="another process is at work"):
        Journal(tmp_path / "other.sqlite").__enter__()


def test_plans_that_ask_the_same_share_a_journal(tmp_path, problems) -> None:
    journal = tmp_path / "journal.sqlite"
    with stub(right) as server:
        teachers = [Endpoint(url=server.url, model="m")]
        for rule in ("all", "correct"):
            plan = replace(PLAN, data=problems, select=rule)
            curate(plan, tmp_path / rule, teachers, work=QUICK, journal=journal)
        assert len(server.asked) == 12


# Teachers


def test_a_question_that_stands_in_several_rows_is_asked_and_paid_for_once(tmp_path: Path, capsys) -> None:
    path = tmp_path / "problems.jsonl"
    rows = [("What is 1 plus 1?", 2), ("What is 3 plus 1?", 4), ("What is 1 plus 1?", "2.0"), ("What is 1 plus 1?", 2),
            ("What is 5 plus 1?", 6), ("What is 5 plus 1?", 7)]  # fmt: skip
    path.write_text("".join(json.dumps({"prompt": prompt, "answer": answer}) + "\n" for prompt, answer in rows))
    flags = ["curate", "--task", "jsonl", "--data", str(path), "--paths", "2", "--model", "m", "--teacher"]
    with stub(right) as server:
        run([*flags, server.url, "--price-completion", "1e6", "--out", str(tmp_path / "run")])
        assert len(server.asked) == 4
        with pytest.raises(InputError, match="problem 'jsonl-3' asks what 'jsonl-1' asks"):
            run([*flags, server.url, "--strict", "--out", str(tmp_path / "strict")])
    card = json.loads((tmp_path / "run/card.json").read_text())
    assert (card["problems"]["all"], card["replies"]["all"], card["usage"]["cost"]) == (2, 4, 44.0)
    assert [sample.problem.id for sample in read_samples(tmp_path / "run/samples.parquet")] == ["jsonl-1", "jsonl-2"]
    reasons = [json.loads(line)["reason"] for line in (tmp_path / "run/left_out.jsonl").read_text().splitlines()]
    assert [reason.partition(": ")[2] for reason in reasons[:2]] == [
        "problem 'jsonl-3' asks what 'jsonl-1' asks", "problem 'jsonl-4' asks what 'jsonl-1' asks"
    ]  # fmt: skip
    assert "two answers to problem 'jsonl-5': '6' and, in 'jsonl-6', '7'" in reasons[2]
    assert "3 rows left out, see left_out.jsonl (--strict refuses them)" in capsys.readouterr().out


def test_two_solutions_of_one_puzzle_are_no_two_answers() -> None:
    found = read_problems(Plan(task="agree", split="test", models=("m",), limit=200))
    repeated = [reason for reason in found.left_out if "asks what" in reason]
    assert repeated and len(repeated) == len(found.left_out)


def test_a_generator_is_not_told_to_be_strict(tmp_path: Path, capsys) -> None:
    flags = ["curate", "--task", "agree", "--split", "test", "--problems", "200", "--teacher", "http://127.0.0.1:9/v1"]
    with pytest.raises(InputError, match="no sample was made"):
        run([*flags, "--model", "m", "--offline", "--out", str(tmp_path / "run")])
    assert "rows left out, see left_out.jsonl\n" in capsys.readouterr().out


def test_the_paths_of_a_problem_go_round_endpoints_and_prompts(tmp_path, problems) -> None:
    (tmp_path / "other.txt").write_text("Think first. {problem}")

    def answer(body: dict, number: int) -> str:
        asked = body["messages"][0]["content"].removeprefix("Think first. ")
        return told(100 * body["seed"] + number, int(asked.split()[2]) + 1)

    with stub(answer) as a, stub(answer) as b:
        plan = replace(PLAN, data=problems, models=("one", "two"), prompts=("boxed", str(tmp_path / "other.txt")))
        teachers = [Endpoint(url=a.url, model="one"), Endpoint(url=b.url, model="two")]
        curate(plan, tmp_path / "run", teachers, work=QUICK)
    assert {body["model"] for body in a.asked} == {"one"} and len(a.asked) == len(b.asked) == 6
    assert all(body["messages"][0]["content"].startswith("Think first.") for body in b.asked)
    for sample in read_samples(tmp_path / "run/samples.parquet"):
        assert [path.source for path in sample.paths] == ["one", "two"]


@pytest.mark.parametrize(("models", "calls"), [(("m",), 2), (("m", "m"), 2), (("m", "m", "m"), 6)])
def test_samples_of_one_prompt_come_in_one_call_whatever_their_order(tmp_path, problems, models, calls: int) -> None:
    (tmp_path / "other.txt").write_text("Think. {problem}")
    work = Work(asking=replace(QUICK.asking, together=True))
    changes: dict[str, Any] = {"samples": 12, "models": models, "prompts": ("boxed", str(tmp_path / "other.txt"))}
    with stub(lambda body, number: told(number, 1)) as server:
        make(server, tmp_path / "run", problems, work, limit=1, **changes)
    assert len(server.asked) == calls and sum(body.get("n", 1) for body in server.asked) == 12


@pytest.mark.parametrize(
    ("usage", "cost", "uncounted"),
    [
        ([{"prompt_tokens": 10.0, "completion_tokens": "100"}] * 2, 0.00042, 0),
        ([{"prompt_tokens": 10, "completion_tokens": 100}, {"prompt_tokens": 10}], None, 1),
        ([{"prompt_tokens": 0, "completion_tokens": 0}] * 2, None, 2),
        ([{"prompt_tokens": "ten", "completion_tokens": 1e400}, "none"], None, 2),
    ],
)
def test_tokens_that_the_server_does_not_count_have_no_known_cost(
    tmp_path, problems, capsys, usage, cost: float | None, uncounted: int
) -> None:
    flags = ["curate", "--task", "jsonl", "--data", problems, "--problems", "1", "--paths", "2", "--model", "m"]
    flags += ["--price-prompt", "1", "--price-completion", "2", "--out", str(tmp_path / "run"), "--teacher"]
    with stub(lambda body, number: Said(right(body, number), usage=usage[body["seed"]])) as server:
        run([*flags, server.url])
    found = json.loads((tmp_path / "run/card.json").read_text())["usage"]
    assert (found["cost"], found["uncounted"]) == (cost, uncounted)
    said = f"The server did not count the tokens of {uncounted} replies, so the cost is unknown."
    for text in (capsys.readouterr().out, (tmp_path / "run/README.md").read_text()):
        assert (said in text) == (cost is None)


def test_a_file_of_solutions_needs_no_teacher(tmp_path) -> None:
    rows = [
        {"question": "6*7?", "subject": "x", "answer": "42", "code": [told(0, 42), told(1, 41), told(2, 42)]},
        {"question": "6*8?", "answer": "48", "code": [told(3, 48), told(3, 48)]},
    ]
    path = tmp_path / "solutions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    card = curate(Plan(task="math500", solutions=str(path), paths=2), tmp_path / "run")
    [sample] = read_samples(tmp_path / "run/samples.parquet")
    assert [path.correct for path in sample.paths] == [True, False] and sample.summary.endswith("answer is 42.")
    assert sample.problem.meta == {"subject": "x"}
    assert card.replies["duplicate"] == 1 and card.replies["unused"] == 2
    assert card.problems["too_few_paths"] == 1


def test_solutions_may_stand_one_a_row(tmp_path) -> None:
    path = tmp_path / "solutions.jsonl"
    rows = [{"prompt": f"P{n % 2}", "answer": 42, "text": f"solution {n}"} for n in range(6)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_problems(Plan(task="jsonl", solutions=str(path), field="text"))
    assert [[reply.text for _, reply in solved.replies] for solved in found.solved] == [
        ["solution 0", "solution 2", "solution 4"], ["solution 1", "solution 3", "solution 5"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"prompt": "P", "answer": 1}], "no solutions"),
        ([{"prompt": "P", "answer": 1, "solutions": [1, 2]}], "no solutions"),
        ([{"prompt": "P", "solutions": ["a"]}], "a row needs the right answer in one of"),
        ([{"prompt": "P", "answer": n, "solutions": ["a"]} for n in (1, 2)], "two answers to problem"),
        ([], "no problems"),
        ([{"prompt": "P\ud800", "answer": 1, "solutions": ["a"]}], "is not valid text"),
        (
            [{"prompt": p, "answer": 1, "id": "x", "solutions": ["a"]} for p in "PQ"],
            "2 problems of task 'jsonl' have the id 'x'; give each its own",
        ),
    ],
)
def test_files_that_cannot_be_curated_are_named(tmp_path, rows, said) -> None:
    path = tmp_path / "solutions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match=said):
        curate(Plan(task="jsonl", solutions=str(path)), tmp_path / "run")


def test_a_teacher_writes_the_summary_from_the_paths_and_a_wrong_one_is_left_out(tmp_path, problems) -> None:
    def answer(body: dict, number: int) -> Answer:
        asked = body["messages"][0]["content"]
        if not asked.startswith("Here is a problem"):
            return right(body, number)
        assert asked.count("Attempt") == 2 and "So it is" in asked
        if "What is 0 plus" in asked:
            return "The attempts disagree. The final answer is 7."
        if "What is 1 plus" in asked:
            return Said("The attempts", "length")
        return f"Both agree. The final answer is {int(asked.split('What is ')[1].split()[0]) + 1}."

    with stub(answer) as server:
        card = make(server, tmp_path / "run", problems, summary="teacher")
    assert {**card.problems, "summary_wrong": 1, "no_summary": 1, "sample": 4} == card.problems
    assert {**card.replies, "used": 8, "unused": 4} == card.replies
    summaries = [sample.summary for sample in read_samples(tmp_path / "run/samples.parquet")]
    assert summaries[0] == "Both agree. The final answer is 3."


# Replies are untrusted


def outcome_of(*texts: str | Reply, answer: str = "42", task: str = "math500", **changes: Any):
    replies = tuple(("m", Reply(text=text) if isinstance(text, str) else text) for text in texts)
    shape: dict[str, Any] = {"paths": len(texts)}
    plan = Plan(task=task, models=("m",), samples=len(texts), **shape | changes)
    return Choose(plan)(Solved(Problem(id="p", prompt="?", answer=answer), replies))


@pytest.mark.parametrize(
    ("reply", "fate"),
    [
        (Reply(finish=FAILED), "failed"),
        (Reply(finish="refused"), "refused"),
        (Reply(text="so far", finish="length"), "cut"),
        ("9" * 1_000_000, "cut"),
        ("9" * 90_000, "too_long"),
        (" \n\x00", "empty"),
        ("<think 1> a </think 1> \\boxed{42}", "tagged"),
        ("< " + " " * 90_000 + "summary>\\boxed{42}", "tagged"),
        ("word " * 400, "too_long"),
        ("fine \\boxed{42}", "used"),
    ],
)
def test_a_reply_that_cannot_be_a_path_says_why(reply, fate) -> None:
    assert {name for name, count in outcome_of(reply).fates.items() if count} == {fate}


def test_a_reply_is_kept_without_what_no_tokenizer_needs() -> None:
    assert clean(" a\x1b[31m\x00b\ud800\tc\n\n") == "a[31mb?\tc"


def test_a_models_name_is_untrusted_too() -> None:
    outcome = outcome_of(Reply(text="\\boxed{42}", model="m\x1b\ud8001"))
    assert outcome.paths[0].source == "m?1" and dict(outcome.models) == {"m?1": 1}


@pytest.mark.skipif(importlib.util.find_spec("math_verify") is None, reason="needs math-verify")
def test_a_latex_bomb_is_a_wrong_answer_and_no_more() -> None:
    outcome = outcome_of("so \\boxed{9^{9^{9^{9^{9}}}}}", told(1, 42))
    assert [path.correct for path in outcome.paths] == [False, True]


def test_bad_replies_end_no_run(tmp_path, problems) -> None:
    bad = ["\x00\x07", Said("never en", "length"), "<summary>42</summary>", "7" * 10**6, Raw(400, b"{}"), Raw(500)]
    with stub(lambda body, number: bad[int(body["messages"][0]["content"].split()[2])]) as server:
        card = make(server, tmp_path / "run", problems)
    assert card.problems["too_few_paths"] == 6 and card.files["samples.parquet"].rows == 0
    fates = {name: count for name, count in card.replies.items() if count}
    assert fates == {"all": 12, "failed": 2, "refused": 2, "cut": 4, "empty": 2, "tagged": 2}
    assert list(read_samples(tmp_path / "run/samples.parquet")) == []


# Choosing


@given(st.lists(st.booleans(), max_size=8), st.integers(1, 4), st.integers(0, 4))
def test_a_selection_obeys_its_rule_and_finds_one_where_there_is_one(correct, wanted, wrong) -> None:
    wrong = min(wrong, wanted)
    rights, wrongs = sum(correct), len(correct) - sum(correct)
    possible = {
        "all": len(correct) >= wanted,
        "correct": rights >= wanted,
        "quota": wrongs >= wrong and rights >= wanted - wrong,
        "mixed": len(correct) >= wanted >= 2 and rights > 0 and wrongs > 0,
    }
    for rule, there_is in possible.items():
        chosen = select(correct, wanted, rule, wrong)  # pyright: ignore[reportArgumentType]
        assert (chosen is not None) == there_is
        if chosen is not None:
            found = [correct[i] for i in chosen]
            assert chosen == sorted(set(chosen)) and len(chosen) == wanted
            assert rule != "correct" or all(found)
            assert rule != "quota" or found.count(False) == wrong
            assert rule != "mixed" or {*found} == {True, False}


def test_doubles_are_dropped_and_the_least_alike_come_first() -> None:
    texts = ["one two three four five six", "one two three four five seven", "a b c d e f", "ONE two, three four"]
    similar = overlaps(texts)
    assert similar[0][1] == pytest.approx(2 / 3) and similar[0][2] == 0.0
    assert distinct(4, (similar, 0.5)) == [0, 2, 3]
    assert distinct(4, (similar, 1.0)) == [0, 1, 2, 3]
    assert spread(similar, [0, 1, 2]) == [0, 2, 1]
    assert overlaps(["x", "x"]) == [[1.0, 1.0], [1.0, 1.0]]


def test_of_more_replies_than_needed_the_first_or_the_least_alike_are_taken() -> None:
    texts = ["one two three four five six 42", "one two three four five seven 42", "a b c d e f 42"]
    first = outcome_of(*texts, paths=2, max_overlap=1.0)
    apart = outcome_of(*texts, paths=2, max_overlap=1.0, diverse=True)
    assert [path.text for path in first.paths] == texts[:2]
    assert {path.text for path in apart.paths} == {texts[0], texts[2]}


def test_embeddings_can_call_two_texts_alike(tiny: Path) -> None:
    texts = ("6 7 42", "7 6 42")
    assert len(outcome_of(*texts, task="jsonl").paths) == 2
    assert not outcome_of(*texts, task="jsonl", embedder=str(tiny), max_similarity=0.0).paths


def test_tokens_are_counted_by_the_tokenizer_with_room_for_the_closing_tag(tiny: Path) -> None:
    closing = count_tokens("", str(tiny))
    assert closing >= 1
    assert count_tokens("6 + 7 = 13", str(tiny)) > closing
    with pytest.raises(InputError, match="no tokenizer at"):
        count_tokens("6", str(tiny / "absent"))


# Prompts, plans and files


def test_prompts_are_filled_in_once_and_other_braces_stay() -> None:
    assert fill(load_prompt("boxed", "problem"), problem="{answer} {x}").startswith("{answer} {x}\n")
    assert "\\boxed{}" in load_prompt("boxed")
    assert {path.stem for path in FOLDER.iterdir()} == {"boxed", "summary", "summarize"}


def test_prompts_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    (tmp_path / "bare.txt").write_text("Solve it.")
    with pytest.raises(InputError, match=r"lacks \{problem\}"):
        load_prompt(str(tmp_path / "bare.txt"), "problem")
    with pytest.raises(InputError, match="one of: boxed, summarize, summary"):
        load_prompt("boxd")


@pytest.mark.parametrize(
    "changes",
    [
        {"paths": 0}, {"samples": 1}, {"select": "best"}, {"max_overlap": 2}, {"temperature": -1}, {"models": ()},
        {"solutions": "f"}, {"select": "quota", "wrong": 3}, {"top_p": 0}, {"max_tokens": 0},
        {"select": "mixed", "paths": 1}, {"prompts": ("boxed", "boxed")},
    ],
)  # fmt: skip
def test_plans_that_make_no_sense_are_refused(changes) -> None:
    with pytest.raises(InputError):
        replace(PLAN, **changes)


def test_samples_come_back_from_parquet_as_they_were(tmp_path: Path) -> None:
    problem = Problem(id="1", prompt="é?", answer="4", task="t", meta={"a": [1, {"b": None}]})
    path = SamplePath(text="4 \n", answer="4", correct=True, source="m")
    samples = [Sample(problem=problem, paths=(path, SamplePath(text="5")), summary="4")] * 3
    assert write_samples(samples, tmp_path / "s.parquet") == 3
    assert list(read_samples(tmp_path / "s.parquet")) == samples
    (tmp_path / "s.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(InputError, match="is not a whole Parquet file"):
        list(read_samples(tmp_path / "s.parquet"))
    with pytest.raises(InputError, match="no such file"):
        list(read_samples(tmp_path / "absent.parquet"))


def test_the_command_prints_counts_or_the_card(tmp_path, problems, capsys) -> None:
    with stub(right) as server:
        flags = ["curate", "--task", "jsonl", "--data", problems, "--problems", "4", "--paths", "2"]
        flags += ["--teacher", server.url, "--model", "m", "--out", str(tmp_path / "run")]
        run(flags)
        assert "4 sample" in capsys.readouterr().out
        run([*flags, "--json"])
    assert json.loads(capsys.readouterr().out)["problems"]["sample"] == 4


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--teacher", "http://a/v1"], "1 of --teacher and 0 of --model"),
        ([], "give one"),
        (["--solutions", "f", "--wrong", "1"], "--wrong changes nothing"),
        (["--solutions", "f", "--max-seqdep", "1"], "go together"),
        (["--solutions", "f", "--max-seqdep", "nan", "--scorer", "f"], "max-seqdep must be a finite number"),
        (["--solutions", "f", "--select", "mixed", "--paths", "1"], "a right and a wrong path in a sample"),
        (["--teacher", "http://a/v1", "--model", "m", "--prompts", "x.txt", "x.txt"], "'x.txt' is named twice"),
        (["--teacher", "http://a/v1", "--model", "m", "--timeout", "1e400"], "timeout must be .* finite, got inf"),
        (["--solutions", "f", "--data", "none.jsonl"], "data is for teachers, and the paths come from f"),
        (["--solutions", "f", "--split", "foo"], "split is for teachers"),
        (["--solutions", "f", "--prompts", "none"], "prompts is for teachers"),
        (["--solutions", "f", "--seed", "1"], "seed is for teachers"),
        (["--solutions", "f", "--per-minute", "9"], "--per-minute is for teachers, and the paths come from f"),
        (["--solutions", "f", "--max-similarity", ".9"], "max_similarity 0.9 changes nothing without an embedder"),
        (["--teacher", "http://a/v1", "--model", "m", "--field", "x"], "field 'x' is of a file of solutions"),
    ],
)
def test_flags_that_do_not_fit_are_named(tmp_path, flags, said) -> None:
    with pytest.raises(InputError, match=said):
        run(["curate", "--task", "jsonl", "--out", str(tmp_path), *flags])


def test_samples_that_are_too_sequential_are_left_out(tmp_path, problems) -> None:
    from scorers import save_causal

    model = str(save_causal(tmp_path / "scorer"))
    with stub(right) as server:
        flags = ["curate", "--task", "jsonl", "--data", problems, "--problems", "2", "--paths", "2", "--scorer", model]
        flags += ["--teacher", server.url, "--model", "m", "--journal", str(tmp_path / "journal.sqlite")]
        run([*flags, "--max-seqdep", "99", "--out", str(tmp_path / "all")])
        with pytest.raises(InputError, match=r"no sample was made: 2 problems: more sequential .* raise --max-seqdep"):
            run([*flags, "--max-seqdep", "-99", "--out", str(tmp_path / "none")])
        assert len(server.asked) == 4
    ends = [json.loads((tmp_path / name / "card.json").read_text())["problems"] for name in ("all", "none")]
    assert [end["sample"] for end in ends] == [2, 0] and ends[1]["too_sequential"] == 2
