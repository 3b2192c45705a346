"""The leaderboard: the same effort for each decoder, settings chosen on other problems, resumable, easy to add to."""

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nap.common.files import InputError
from nap.common.parquet import read_parquet
from nap.data.trace_files import read_traces
from nap.decoding.policies.registry import POLICIES
from nap.evaluation import leaderboard
from nap.evaluation.decoders import CONTESTS, EFFORT, KNOBS, Contest, Decoder, decoders, read_contest, usual
from nap.evaluation.leaderboard import (
    TEST,
    TIMED,
    TIMED_PROBLEMS,
    VALIDATION,
    Board,
    Point,
    Score,
    at_least,
    choose,
    run_boards,
)
from nap.evaluation.leaderboard_default import REFERENCE, nearest, proposed
from nap.evaluation.leaderboard_page import default_of, default_said, page
from nap.evaluation.rows import Row
from nap.evaluation.run import run_sweep
from nap.evaluation.summary import Mean, summarise
from nap.evaluation.sweep import Sweep
from nap.models.any import load
from nap.models.exact import ExactDenoiser
from nap.models.exact_cost import cost_of, nats_of
from nap.models.remembering import remembering
from samples import row
from tiny import nap

HALVES = '''
from dataclasses import dataclass

from nap.decoding.policies.policy import Selecting, best


@dataclass(frozen=True, kw_only=True)
class TwoSurest(Selecting):
    """The two surest, whatever the budget."""

    paced = False

    def select(self, view):
        return best(view.probability_N, 2)
'''


def run_one(sweep: Sweep, folder: Path, /, **settings: Any) -> list[Row]:
    return run_sweep(sweep, folder, **settings)


def boards(folder: Path, *texts: str, models: tuple[str, ...] = ("grids=exact:grids",), problems=4, validation=3):
    contests = [read_contest(text) for text in models]
    return [*run_boards(contests, decoders(texts), folder, run_one, problems=problems, validation=validation)]


def page_of(found: list[Board]) -> str:
    return page(found, default=default_of(found), command="nap leaderboard", date="today")


# What is compared


def test_every_decoder_has_at_most_as_many_settings_as_a_budget_has_paces():
    found = decoders(usual())
    assert {decoder.name for decoder in found} >= {*KNOBS, "ar", "low_confidence", "parallel_forced"}
    assert all(1 <= len(decoder.settings) <= EFFORT for decoder in found)
    assert not [name for name in usual() if name not in POLICIES]


def test_settings_of_one_policy_are_one_decoder_and_more_than_four_are_refused():
    (found,) = decoders(["threshold:tau=0.6", "threshold:tau=0.8", "threshold:tau=0.6"])
    assert found.settings == (("threshold:tau=0.6", "own"), ("threshold:tau=0.8", "own"))
    with pytest.raises(InputError, match="'threshold' has 5 settings, and each has at most 4"):
        decoders(["threshold", "threshold:tau=0.6"])
    with pytest.raises(InputError, match="'entropy' has 8 settings"):
        decoders(["entropy", "entropy:block=8"])


@pytest.fixture
def opened(monkeypatch):
    """Policies with a guide can be named without one."""
    guided = SimpleNamespace(paced=False)
    monkeypatch.setattr("nap.evaluation.decoders.parse_policy", lambda text: guided)


def test_a_second_model_is_of_one_decoder_whose_settings_follow_from_it(opened):
    found = decoders(["demask:guide=a/heads", "demask:guide=b/other,tau=0.3", "codila:guide=a/heads,block=2,beam=8"])
    assert [one.name for one in found] == ["demask (heads)", "demask (other)", "codila (heads)"]
    assert found[0].policies == tuple(f"demask:guide=a/heads,tau={tau}" for tau in ("0.05", "0.2", "0.5", "2"))
    assert [one.policies for one in found[1:]] == [
        ("demask:guide=b/other,tau=0.3",), ("codila:guide=a/heads,block=2,beam=8",)
    ]  # fmt: skip
    # What is told beside the guide and is not the number that four values are run of holds for all four.
    (wide,) = decoders(["codila:guide=a/heads,beam=8"])
    assert wide.policies == tuple(f"codila:guide=a/heads,beam=8,block={block}" for block in (1, 2, 4, 8))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("arith-nap", "is TASK=MODEL, such as arith=my-folder, got 'arith-nap'"), ("arith=", "is TASK=MODEL"),
        ("arihm=arith-nap", "unknown task 'arihm'; did you mean 'arith'?"),
        ("law=arith-nap", "law= takes an exact law, law=exact:FILE"),
    ],
)  # fmt: skip
def test_a_model_of_a_leaderboard_that_is_none_is_named_in_one_line(text, said):
    with pytest.raises(InputError, match=said.replace("?", r"\?")):
        read_contest(text)


def test_a_contest_is_read_back_and_has_a_folder_of_its_own():
    texts = [*CONTESTS, "jsonl@my/problems.jsonl=../my/model", "jsonl@other.jsonl=../my/model", "gsm8k=../../x/.."]
    assert [str(read_contest(text)) for text in texts] == texts
    places = [read_contest(text).place for text in texts]
    assert len({*places}) == len(texts) and not [place for place in places if "/" in place or place.startswith(".")]


# The rule


def point(policy: str, right: int, tpf: float, filled: float, problems: int = 100, per_query: float = 1.0) -> Point:
    rows = [
        row("m", policy, "own", str(i), i < right, tpf=tpf, n_tokens=10, queries=round(10 / per_query))
        for i in range(problems)
    ]
    (record,) = summarise(rows)
    return Point(score=Score(record.accuracy, record.accuracy_interval), filled=filled, record=record)


def test_the_fastest_within_one_point_is_chosen_and_the_most_accurate_of_those_fast_enough():
    points = {
        "slow": point("slow", 90, 1.0, 1.0, per_query=0.1), "near": point("near", 89, 2.0, 2.1, per_query=0.4),
        "fast": point("fast", 80, 4.0, 4.2, per_query=0.9), "wild": point("wild", 20, 6.0, 5.8, per_query=0.5),
    }  # fmt: skip
    assert choose([*points], points, 0.01, lambda p: p.tpf) == "near"
    assert choose([*points], points, 0.1, lambda p: p.tpf) == "fast"
    assert choose([*points], points, 1.0, lambda p: p.per_query) == "fast"
    assert [at_least(k, [*points], points) for k in (1, 2, 4, 8)] == ["slow", "near", "fast", "wild"]
    assert at_least(16, [*points], points) is None


def test_settings_are_chosen_on_problems_that_nothing_is_measured_on(tmp_path):
    (board,) = boards(tmp_path, "low_confidence", "parallel_threshold")
    place = tmp_path / board.contest.place
    rows = [read_parquet(place / part / "rows.parquet") for part in (VALIDATION, TEST)]
    parts = [[*dict.fromkeys(row["problem_id"] for row in part)] for part in rows]
    whole = [problem.id for problem in Sweep(task="grids", models=("m",), policies=("threshold",)).load_problems()]
    assert parts == [whole[:3], whole[3:7]]
    assert {row.problem_id for row in board.rows} == {*parts[1]}


# Running


def test_a_decoder_that_a_model_cannot_run_is_left_out_with_the_reason(tmp_path):
    (board,) = boards(tmp_path, "low_confidence", "wino", problems=1, validation=1)
    assert [one.decoder for one in board.standings] == ["low_confidence"]
    assert "leave-one-out probabilities, which exact:grids does not give" in board.refused["wino"]
    assert "Not run: wino" in page_of([board])
    with pytest.raises(InputError, match="exact:grids can run none of these decoders"):
        boards(tmp_path / "other", "wino")


def test_decoders_of_other_models_are_named_in_one_line(tmp_path):
    (board,) = boards(tmp_path / "b", "low_confidence", problems=1, validation=1)
    others = dict.fromkeys(["demask (a)", "codila (b)"], "was trained on another model (fingerprint 1)")
    text = page_of([replace(board, refused={"dawn": "needs attention weights"} | others)])
    assert "Not run: dawn: needs attention weights.\n" in text and "fingerprint" not in text
    assert "Not run, as their second model is of another one: demask (a), codila (b).\n" in text


def test_the_page_names_every_decoder_that_nobody_asked_for(tmp_path):
    (board,) = boards(tmp_path, "low_confidence", "wino", problems=1, validation=1)
    text = page_of([board])
    line = next(line for line in text.splitlines() if line.startswith("**Not in this run.**"))
    named = {*re.findall(r"\w+", line)}
    assert {*POLICIES} - named == {"low_confidence", "wino"} and not {"low_confidence", "wino"} & named


def test_seconds_are_of_problems_decoded_alone_and_a_canvas_is_computed_once(tmp_path, tiny, monkeypatch):
    made = list[Any]()
    monkeypatch.setattr(leaderboard, "remembering", lambda denoiser: made.append(remembering(denoiser)) or made[-1])
    given = list[tuple[str, dict[str, Any]]]()

    def told(sweep: Sweep, folder: Path, /, **settings: Any) -> list[Row]:
        given.append((folder.name, settings))
        return run_one(sweep, folder, **settings)

    contests, found = [read_contest(f"arith={tiny}")], decoders(["low_confidence", "prophet"])
    (board,) = run_boards(contests, found, tmp_path / "b", told, problems=6, validation=2)
    assert [name for name, _ in given] == [TIMED, VALIDATION, TEST]
    assert given[0][1]["batch_size"] == 1 and all(settings["by_problem"] for _, settings in given[1:])
    timed = read_parquet(tmp_path / "b" / board.contest.place / TIMED / "seconds.parquet")
    assert len({one["problem_id"] for one in timed}) == TIMED_PROBLEMS
    forwards = sum(row.forwards or 0 for row in board.rows)
    assert made[0].computed < 0.75 * forwards * 8 / 6
    assert all(point.record.seconds for point in board.points[TEST].values())


def test_a_leaderboard_that_was_killed_goes_on_and_ends_in_the_same_page(tmp_path):
    done = boards(tmp_path / "whole", "low_confidence", "parallel_threshold")

    def killed(sweep: Sweep, folder: Path, /, **settings: Any) -> list[Row]:
        if folder.name == TEST:
            raise KeyboardInterrupt
        return run_one(sweep, folder, **settings)

    contests, found = [read_contest("grids=exact:grids")], decoders(["low_confidence", "parallel_threshold"])
    with pytest.raises(KeyboardInterrupt):
        list(run_boards(contests, found, tmp_path / "cut", killed, problems=4, validation=3))
    again = boards(tmp_path / "cut", "low_confidence", "parallel_threshold")
    assert [one.points[TEST].keys() for one in again] == [one.points[TEST].keys() for one in done]
    assert without_seconds(again) == without_seconds(done)
    # And it grows: more problems and another decoder use what there is.
    more = boards(tmp_path / "cut", "low_confidence", "parallel_threshold", "threshold", problems=6)
    assert {row.problem_id for row in more[0].rows} > {row.problem_id for row in done[0].rows}


def without_seconds(found: list[Board]) -> list[list[str]]:
    lines = page_of(found).splitlines()
    return [line.split("|")[:-2] if line.startswith("|") else [line] for line in lines]


def test_the_score_of_an_exact_law_is_its_exact_log_loss(tmp_path):
    text = tmp_path / "corpus.txt"
    text.write_text("".join(f"the cat {verb} the dog and the dog {verb} a cat\n" for verb in ("saw", "bit", "fed") * 4))
    name = f"exact:{text},order=2"
    (board,) = boards(tmp_path / "b", "ar", "low_confidence", "remdm", models=(f"law={name}",), problems=3)
    law = load(name)
    assert isinstance(law, ExactDenoiser)
    traces = [*read_traces(tmp_path / "b" / board.contest.place / TEST / "traces.jsonl")]
    plain = [trace for trace in traces if trace.setting["policy"] == "ar"][:3]
    for trace in plain:
        assert nats_of(law, trace) == pytest.approx(cost_of(law, trace, correlation=False)[:2])
    at_one = board.points[TEST][f"{name} | ar | 1/step"].score
    costs = [cost_of(law, trace, correlation=False) for trace in plain]
    assert -at_one.value == pytest.approx(sum(cost.nats / cost.tokens for cost in costs) / 3)
    assert "nats a token" in page_of([board])
    # Also of texts that were taken back in between, whose steps no law can sum over.
    assert any(event.kind != "commit" for trace in traces for event in trace.events)
    with pytest.raises(
        InputError, match="has 12 lines of more than 3 words that the law knows the first of, and 40 are asked for"
    ):
        boards(tmp_path / "many", "ar", models=(f"law={name}",), problems=30, validation=10)


def test_a_law_is_asked_no_prompt_with_a_word_that_it_left_out(tmp_path):
    text = tmp_path / "corpus.txt"
    text.write_text("the aery cat saw the dog\n" + "the cat saw the dog and the dog bit the cat\n" * 9)
    name = f"exact:{text},order=2,vocabulary=7"
    (board,) = boards(tmp_path / "b", "ar", models=(f"law={name}",), problems=4, validation=2)
    prompts = (tmp_path / "b" / board.contest.place / "prompts.jsonl").read_text()
    assert prompts.count("the cat saw") == 6 and "aery" not in prompts


def test_a_law_of_letters_is_asked_to_go_on_from_the_same_words(tmp_path):
    text = tmp_path / "corpus.txt"
    text.write_text("the cat saw a dog\n" * 9 + "the caf\N{LATIN SMALL LETTER E WITH ACUTE} was shut\n")
    (board,) = boards(tmp_path / "b", "ar", models=(f"law=exact:{text},unit=letter,vocabulary=14",), problems=6)
    prompts = (tmp_path / "b" / board.contest.place / "prompts.jsonl").read_text()
    assert prompts.count("the cat saw") == 9 and "shut" not in prompts and "caf" not in prompts
    at_one = board.points[TEST][f"{board.contest.model} | ar | 1/step"].score
    assert 0 < -at_one.value < 1


# The default


def board_of(model: str, solved: dict[tuple[str, str], tuple[int, float]], problems: int = 40) -> Board:
    """A board on which each setting solves the first so many problems, in both parts, at so many tokens a forward."""
    rows = [
        row(model, policy, pace, str(i), i < right, tpf=tpf)
        for (policy, pace), (right, tpf) in solved.items() for i in range(problems)
    ]  # fmt: skip
    points = {
        r.cell: Point(score=Score(r.accuracy, r.accuracy_interval), filled=1.0, record=r) for r in summarise(rows)
    }
    contest = Contest(task="arith", model=model)
    return Board(contest=contest, standings=(), refused={}, points={VALIDATION: points, TEST: points}, rows=rows)


def restoring(folder: Path, *answers: str) -> tuple[str, ...]:
    """A contest of texts with three masked tokens each."""
    texts = [{"text": "Ann has [MASK] pears . Bob has [MASK:2]", "answer": answer} for answer in answers]
    (folder / "t.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts))
    return (f"restore@{folder / 't.jsonl'}=arith-nap",)


def test_the_score_of_restored_texts_is_the_share_of_masked_tokens(tmp_path):
    answers = ["Ann has 2 pears . Bob has 3 .", "Ann has 3 pears . Bob has 2 more", "Ann has 2 pears . Bob has more ."]
    contest = restoring(tmp_path, *answers)
    (board,) = boards(tmp_path / "b", "low_confidence", models=contest, problems=2, validation=1)
    said = {entry.problem_id: entry.tokens or () for entry in board.rows if entry.pace == "1/step"}
    encode = load("arith-nap").tokenizer.encode
    truth = {f"restore-{n}": encode(answer, add_special_tokens=False) for n, answer in enumerate(answers, 1)}
    shares = [sum(tokens[i] == truth[name][i] for i in (2, 7, 8)) / 3 for name, tokens in said.items()]
    (point,) = (point for point in board.points[TEST].values() if point.record.pace == "1/step")
    assert [*said] == ["restore-2", "restore-3"] and point.score.value == sum(shares) / 2
    text = page_of([board])
    assert "Score: masked tokens that are restored, in %." in text
    # It has no right answers that a default could lose.
    assert proposed([board]) is None and "What the default should be" not in text


def test_an_answer_that_is_not_its_text_with_the_gaps_filled_is_refused(tmp_path):
    contest = restoring(tmp_path, "Ann has 2 pears . Bob has 3", "Ann has 2 pears . Bob has 3 .")
    with pytest.raises(InputError, match="restore-1: its answer is not its text with 3 tokens in the gaps"):
        boards(tmp_path / "b", "low_confidence", models=contest, problems=1, validation=1)


def test_the_fastest_setting_without_a_loss_on_any_model_is_proposed():
    sure, wild = ("parallel_threshold:tau=0.9", "own"), ("threshold:tau=0.5", "own")
    first = board_of("a", {REFERENCE: (36, 1.0), sure: (36, 4.0), wild: (36, 9.0)})
    second = board_of("b", {REFERENCE: (30, 1.0), sure: (30, 9.0), wild: (20, 16.0)})
    found = proposed([first, second])
    assert found is not None and (found.policy, found.pace) == sure
    assert found.faster == pytest.approx(6.0) and found.holds
    assert found.gains["a"].value == 0
    assert "`parallel_threshold:tau=0.9`, 6.0 times" in default_said(found) and "So it holds" in default_said(found)
    assert "the default stays until it holds on arith-longcot, arith-nap" in default_said(found)
    bundled = [read_contest(text) for text in CONTESTS if "exact:" not in text]
    every = [board_of(one.model, {REFERENCE: (36, 1.0), sure: (36, 4.0)}) for one in bundled]
    assert default_said(proposed(every)).endswith("So it holds.")
    # Only wild is left: it loses ten problems on the second model.
    short = [
        board_of(b.contest.model, {k: v for k, v in known.items() if k != sure})
        for b, known in zip([first, second], ({REFERENCE: (36, 1.0), wild: (36, 9.0)},
                                              {REFERENCE: (30, 1.0), wild: (20, 16.0)}), strict=True)
    ]  # fmt: skip
    assert proposed(short) is None and "the default stays" in default_said(None)


def test_where_nothing_is_without_loss_the_nearest_is_named():
    wild, calm, slow = (("threshold:tau=0.5", "own"), ("ar", "2/step"), ("ar", "1/step"))
    first = board_of("a", {REFERENCE: (36, 1.0), wild: (36, 9.0), calm: (30, 2.0), slow: (36, 1.0)})
    second = board_of("b", {REFERENCE: (36, 1.0), wild: (16, 4.0), calm: (36, 2.0), slow: (36, 2.0)})
    assert proposed([first, second]) is None
    found = nearest([first, second])
    assert found is not None and (found.policy, found.pace, found.model) == (*calm, "a")
    said = default_said(None, found)
    assert "Nearest comes `ar` at 2/step: 2.0 times the tokens a forward" in said and "with a, -15.0 points" in said
    assert nearest([board_of("a", {REFERENCE: (36, 1.0), slow: (36, 1.0)})]) is None


def test_where_the_present_default_did_not_run_nothing_is_said_of_it():
    both = [board_of("a", {REFERENCE: (36, 1.0)}), board_of("b", {("ar", "1/step"): (36, 1.0)})]
    assert default_of(both) == (
        "Nothing is said of the default: parallel_forced at 1/step, which is the present one, did not run with b. "
        "Ask for it with --add-decoders parallel_forced."
    )
    assert "the default stays" in default_of(both[:1])


def test_a_proposal_that_loses_on_the_test_problems_does_not_hold():
    sure = ("parallel_threshold:tau=0.9", "own")
    board = board_of("a", {REFERENCE: (36, 1.0), sure: (36, 4.0)})
    rows = [
        r if r.policy != sure[0] else row("a", *sure, r.problem_id, int(r.problem_id) < 20, tpf=4.0) for r in board.rows
    ]
    found = proposed([Board(contest=board.contest, standings=(), refused={}, points=board.points, rows=rows)])
    assert found is not None and not found.holds and found.gains["a"].value == pytest.approx(-0.4)
    assert isinstance(found.together, Mean) and "the default stays" in default_said(found)


def test_exact_laws_have_no_say_in_the_default():
    sure = ("parallel_threshold:tau=0.9", "own")
    exact = board_of("exact:grids", {REFERENCE: (36, 1.0), sure: (0, 4.0)})
    assert proposed([exact]) is None
    assert default_of([exact]) == "" and "What the default should be" not in page_of([exact])
    both = [exact, board_of("a", {REFERENCE: (36, 1.0), sure: (36, 4.0)})]
    found = proposed(both)
    assert found is not None and [*found.gains] == ["a"]
    # What the terminal says is what the page says.
    assert default_of(both) == default_said(found) and f"\n{default_said(found)}\n" in page_of(both)


# The command


def test_one_flag_adds_a_model_and_one_file_a_decoder(tmp_path, tiny):
    file = tmp_path / "mine.py"
    file.write_text(HALVES)
    other = tmp_path / "other.py"
    other.write_text(HALVES.replace("TwoSurest", "ThreeSurest").replace("_N, 2)", "_N, 3)"))
    arguments = (
        "leaderboard", "--models", "grids=exact:grids", "--add-models", f"arith={tiny}", "--decoders", "low_confidence",
        other, "--add-decoders", file, "--problems", 2, "--validation", 2, "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    done = nap(*arguments, "--page", tmp_path / "page.md")
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert {(one["model"], one["decoder"]) for one in told} == {
        (model, decoder)
        for model in ("exact:grids", str(tiny))
        for decoder in ("low_confidence", "two_surest", "three_surest")
    }
    mine = next(one for one in told if one["decoder"] == "two_surest" and one["model"] == "exact:grids")
    assert mine["at"]["2"]["filled"] == pytest.approx(2.0) and mine["at"]["8"] is None
    text = (tmp_path / "page.md").read_text()
    assert "| two_surest |" in text and f"--add-decoders {file}" in text and str(tmp_path / "out") not in text
    assert (tmp_path / "out/leaderboard.html").read_text().count("two_surest")
    # The rows of another version of the file are not this one's.
    file.write_text(HALVES.replace("probability_N, 2", "probability_N, 3"))
    again = nap(*arguments)
    assert (again.returncode, len(again.stderr.splitlines())) == (2, 1)
    assert "holds a run with another setting (decoder.two_surest" in again.stderr


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--page", "board.html"], "--page must end in .md, got 'board.html'"),
        (["--models", "arith"], "is TASK=MODEL"), (["--decoders", "treshold"], "did you mean 'threshold'?"),
        (["--add-decoders", "nowhere.py"], "there is no file nowhere.py with a decoder"),
        (["--decoders", "learned"], "'learned' needs guide"), (["--problems", "0"], "problems must be at least 1"),
        (["--validation", "0"], "validation must be at least 1"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_before_anything_runs(tmp_path, flags, said):
    done = nap("leaderboard", *flags, "--out", tmp_path / "out")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done.stderr
    assert said in done.stderr and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1", "defines no policy"), ("raise ValueError('no')", "cannot be run: ValueError: no"),
        ("def f(:", "cannot be run: SyntaxError"),
        (HALVES.replace("TwoSurest", "Threshold"), "there is a policy 'threshold' already"),
    ],
)  # fmt: skip
def test_a_file_without_a_decoder_is_named_in_one_line(tmp_path, text, said):
    (tmp_path / "mine.py").write_text(text)
    done = nap("leaderboard", "--add-decoders", tmp_path / "mine.py", "--out", tmp_path / "out")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1) and said in done.stderr


def test_problems_may_be_left_out_from_the_start(tmp_path):
    some = Sweep(task="grids", models=("m",), policies=("threshold",), problems=2, skip=3).load_problems()
    whole = Sweep(task="grids", models=("m",), policies=("threshold",), problems=5).load_problems()
    assert some == whole[3:]
    with pytest.raises(InputError, match="skip must be at least 0"):
        Sweep(task="grids", models=("m",), policies=("threshold",), skip=-1)


def test_a_decoder_names_its_cells_as_rows_do():
    assert Decoder(name="entropy", policies=("entropy",)).cells("m")[:2] == [
        "m | entropy | 1/step",
        "m | entropy | 2/step",
    ]
