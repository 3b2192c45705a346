"""The study's arms share their trajectories, votes count as they should, and a model's rows become its page."""

import json
import sys
from functools import partial
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from nap.common.files import InputError
from nap.tasks.registry import load_task
from tiny import RECIPES, recipe

sys.path.insert(0, str(RECIPES))
STUDY, PAGE, USED = recipe("study"), recipe("study_page"), recipe("paths_used")


def sample(arm, task, index=3):
    chosen = STUDY.ARMS[arm]
    drawn: Any = load_task(task, **chosen.task)
    return chosen.view(drawn.sample(0, index, chosen.written))


@pytest.mark.parametrize("model", STUDY.queue(), ids=lambda model: model.name)
def test_every_sample_of_an_arm_fits_its_canvas(model):
    from nap.training.batches import lay_out

    arm = STUDY.ARMS[model.arm]
    tokenizer = STUDY.tokenizer_of(model)
    for index in range(20):
        found = sample(model.arm, model.task, index)
        canvas = lay_out(
            found, arm.canvas(model.task), tokenizer, tokenizer.mask_token_id, tokenizer.pad_token_id
        )  # fmt: skip
        assert tokenizer.unk_token_id not in canvas.ids and len(canvas) <= 256


@pytest.mark.parametrize("task", ["arith", "countdown"])
def test_the_arms_that_are_compared_hold_the_same_trajectories(task):
    paths = [path.text for path in sample("nap", task).paths]
    assert [path.text for path in sample("paths", task).paths] == paths
    assert sample("long", task).paths[0].text == " ; ".join(paths)
    assert sample("short", task).paths[0].text == paths[0]
    assert len({sample(arm, task).summary for arm in ("nap", "paths", "long", "short")}) == 1
    lengths = [sum(n for _, n, *_ in STUDY.ARMS[arm].canvas(task).slots) for arm in ("nap", "paths", "long")]
    # A long chain has two separators where the others have two headers.
    assert lengths[0] == lengths[1] == lengths[2] - 2


def test_the_widths_share_one_room():
    rooms = {STUDY.ARMS[f"width-{n}"].canvas("countdown").path_tokens * n for n in (1, 2, 3, 4, 6)}
    assert rooms == {132}


def test_six_paths_are_independent_or_copies():
    for arm, least, most in (("width-6", 15, 50), ("copied", 90, 100)):
        paths = [[path.text for path in sample(arm, "countdown", i).paths] for i in range(100)]
        # By chance one in three: that many derivations have most problems.
        same = [sum(each[j] == each[j + 3] for each in paths) for j in range(3)]
        assert least < min(same) and max(same) <= most


def row(answer, correct, index=0):
    return {
        "policy": "low_confidence",
        "index": index,
        "answer": answer,
        "correct": correct,
        "forwards": 5,
        "n_tokens": 9,
    }


@pytest.mark.parametrize(
    ("answers", "winner"),
    [("aab", "a"), ("baa", "a"), ("abc", "a"), ((None, None, "c"), "c"), ((None, None, None), None)],
)
def test_a_vote_goes_to_the_most_frequent_answer_and_then_to_the_first(answers, winner):
    voted = STUDY.vote([[row(answer, answer == "a")] for answer in answers])
    assert [(v["answer"], v["correct"], v["forwards"], v["n_tokens"]) for v in voted] == [
        (winner, winner == "a", 15, 27)
    ]


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(STUDY, "RESULTS", tmp_path / "study")
    monkeypatch.setattr(PAGE, "RESULTS", tmp_path / "study")
    monkeypatch.setattr(PAGE, "PAGE", tmp_path / "study.md")
    monkeypatch.setattr("torch.compile", lambda model, **options: model)
    small = STUDY.Recipe
    monkeypatch.setattr(STUDY, "Recipe", lambda **given: small(**given, width=32, layers=1, batch_size=4))
    return tmp_path


def test_a_model_is_trained_evaluated_and_shown_and_then_is_done(results, monkeypatch, capsys):
    monkeypatch.setattr(STUDY, "PACES", (8,))
    monkeypatch.setattr(PAGE, "PACES", (8,))
    arguments = ["study.py", "--runs", str(results / "runs"), "--steps", "2", "--problems", "3"]
    for name in ("countdown-short-1", "countdown-nap-1"):
        monkeypatch.setattr(sys, "argv", [*arguments, "--only", name])
        assert STUDY.main() == 0
    monkeypatch.setattr(sys, "argv", ["study.py", "--list"])
    assert STUDY.main() == 0
    listed = capsys.readouterr().out.splitlines()
    assert {line.split()[1] for line in listed if line.startswith("done")} == {"countdown-short-1", "countdown-nap-1"}
    rows = PAGE.read("countdown")
    short = PAGE.Setting("short", "vote of 3", "8/step")
    assert rows.column(short, "correct").shape == (1, 3)
    single = rows.column(PAGE.Setting("short", "low_confidence", "8/step"), "forwards")
    assert (rows.column(short, "forwards") >= 3 * single.min()).all()
    assert "| short | vote of 3 | 1 |" in PAGE.page()


def test_a_model_is_trained_and_decoded_on_a_gpu_or_nothing_is_written(results, monkeypatch):
    monkeypatch.setattr(STUDY, "PACES", (8,))
    arguments = ["study.py", "--runs", str(results / "runs"), "--steps", "2", "--problems", "3", "--device", "cuda"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--only", "countdown-nap-1"])
    if torch.cuda.is_available():
        assert STUDY.main() == 0
        setting = pq.read_metadata(STUDY.RESULTS / "countdown-nap-1.parquet").metadata[b"setting"]
        assert json.loads(setting)["device"] == "cuda"
    else:
        with pytest.raises(InputError, match="device 'cuda' is not usable here"):
            STUDY.main()
        assert not (results / "runs").exists() and not STUDY.RESULTS.exists()


def test_the_bundled_models_are_the_first_seeds_and_only_those(results, monkeypatch):
    monkeypatch.undo()

    def fitted(*args, **options):
        raise LookupError

    monkeypatch.setattr(STUDY, "fit", fitted)
    model = partial(STUDY.Model, task="arith")
    steps = STUDY.STEPS["arith"]
    assert STUDY.train_model(model(arm="long", seed=0), results, steps).name == "arith-longcot"
    for other, least in ((model(arm="nap", seed=1), steps), (model(arm="paths", seed=0), steps),
                         (model(arm="nap", seed=0), steps - 1)):  # fmt: skip
        with pytest.raises(LookupError):
            STUDY.train_model(other, results, least)


def test_the_bundled_pairs_are_those_of_the_median_gap():
    gaps = {}
    for task in PAGE.TASKS:
        by_seed = [
            np.mean([row["correct"] for row in rows if (row["policy"], row["pace"]) == ("parallel_forced", "4/step")])
            - np.mean([row["correct"] for row in chain if (row["policy"], row["pace"]) == ("low_confidence", "4/step")])
            for rows, chain in (
                [pq.read_table(STUDY.RESULTS / f"{task}-{arm}-{seed}.parquet").to_pylist() for arm in ("nap", "long")]
                for seed in range(3)
            )
        ]
        gaps[task] = by_seed.index(sorted(by_seed)[1])
    assert PAGE.bundled_seeds({task: PAGE.read(task) for task in PAGE.TASKS}) == gaps
    for task, seed in gaps.items():
        for kind in STUDY.BUNDLED.values():
            made = json.loads((STUDY.ROOT / f"src/nap/assets/{task}-{kind}/training.json").read_text())
            assert made["seed"] == seed


def test_further_decoders_are_rows_of_their_own(results, monkeypatch):
    changed = {"PACES": (8,), "MORE_PACES": {"paths": (12,)}, "MORE_DECODERS": ("ar", "threshold:tau=0.5")}
    for name, value in changed.items():
        monkeypatch.setattr(STUDY, name, value)
    arguments = ["study.py", "--runs", str(results / "runs"), "--steps", "2", "--problems", "3", "--only"]
    name = "countdown-paths-2"
    done = []
    for more in (["--core"], []):
        monkeypatch.setattr(sys, "argv", [*arguments, name, *more])
        assert STUDY.main() == 0
        done.append(next(model for model in STUDY.queue() if model.name == name).done)
    assert done == [False, True]
    found = {(setting.policy, setting.pace) for setting in PAGE.read("countdown").by_setting}
    assert found == {
        ("low_confidence", "8/step"), ("parallel_forced", "8/step"), ("ar", "12/step"), ("threshold:tau=0.5", "own"),
    }  # fmt: skip
    # Its weights gone, it is not trained again to stand for those that made the rows.
    chosen = next(model for model in STUDY.queue() if model.name == name)
    chosen.more_results.unlink()
    (results / "runs" / name / "final/training.json").unlink()
    with pytest.raises(InputError, match="lacks their weights"):
        STUDY.main()


def test_an_autoregressive_start_sees_only_what_stands_before_and_becomes_a_shifted_diffusion_model(
    results, monkeypatch
):
    seen = []
    made = STUDY.fit.__globals__["causal_batches"]()

    class Watched(made):
        def __getitem__(self, index):
            seen.append((self.step(index), super().__getitem__(index)))
            return seen[-1][1]

    monkeypatch.setitem(STUDY.fit.__globals__, "causal_batches", lambda: Watched)
    monkeypatch.setattr(STUDY, "PACES", (12,))
    arguments = ["study.py", "--runs", str(results / "runs"), "--steps", "3", "--problems", "2", "--core", "--only"]
    monkeypatch.setattr(sys, "argv", [*arguments, "countdown-ar-nap-0"])
    assert STUDY.main() == 0
    ((step, item),) = seen
    assert torch.equal(item["attention_mask"][0, 0] == 0, torch.ones(item["attention_mask"].shape[-2:]).tril() > 0)
    assert torch.equal(item["input_ids"], step.ids_BL) and len(item["targets"]) == (step.region_BL >= 0).sum()
    final = results / "runs/countdown-ar-nap-0/final"
    assert json.loads((final / "config.json").read_text())["shift_logits"] is True
    assert json.loads((final / "training.json").read_text())["steps"] == 2
    assert STUDY.Model(task="countdown", arm="ar-nap", seed=0).done


def stored(arm, correct, seed=0, policy="low_confidence", paces=("4/step",), arness=1.0):
    """Rows of an `arith` model, a problem for each of `correct`; whatever else is measured is 1."""
    model = STUDY.Model(task="arith", arm=arm, seed=seed)
    columns = {name: 1.0 for name in STUDY.COLUMNS} | {"policy": policy, "global_arness@1": arness}
    rows = [columns | {"pace": pace, "index": i, "correct": x} for pace in paces for i, x in enumerate(correct)]
    path = model.results if policy == "low_confidence" else STUDY.RESULTS / f"{model.name}-{policy}.parquet"
    STUDY.write_results(model, path, rows, {})


def first_of_100(right):
    return [i < right for i in range(100)]


def test_a_contrast_is_the_paired_difference_of_its_settings(results):
    stored("long", [i < 10 for i in range(40)])
    stored("nap", [i < 30 for i in range(40)])
    (found,) = PAGE.differences(PAGE.read("arith"))
    assert found.contrast.question.startswith("data") and found.pace == 4 and found.seeds == 1
    assert found.mean == pytest.approx(0.5) and found.interval.low > 0.3 and found.p_value == pytest.approx(2 * 0.5**20)
    assert "**+50 [+35, +65]**" in PAGE.contrast_table([found])
    assert json.loads(PAGE.pq.read_schema(results / "study/arith-nap-0.parquet").metadata[b"setting"])["arm"] == "nap"


def test_a_claim_is_judged_by_its_interval(results):
    tenth = first_of_100(10)
    stored("long", tenth)
    stored("nap", first_of_100(90))
    stored("nap", tenth[1:] + tenth[:1], policy="parallel_forced")
    rows = PAGE.read("arith")
    told = {claim.says: PAGE.shown(claim, rows) for claim in PAGE.CLAIMS}
    assert told["the data alone is"].startswith("**holds**: +80.0 [")
    assert told["forced decoding adds to it"].startswith("**refuted**: -80.0 [")
    assert told["NAP's data and decoder together are more accurate than the long chain"].startswith("**open**: +0.0")
    assert told["forced decoding alone costs the chain"] == "-"
    assert "10 [" in PAGE.paper_table({"arith": rows}) and "46.5 / 60.9" in PAGE.paper_table({"arith": rows})


@pytest.mark.parametrize(("gains", "verdict"), [((20, 21, 22), "holds"), ((5, 20, 35), "open")])
def test_a_claim_on_three_seeds_needs_students_interval_too(results, gains, verdict):
    for seed, gain in enumerate(gains):
        stored("long", first_of_100(40), seed)
        stored("nap", first_of_100(40 + gain), seed)
    (claim,) = (claim for claim in PAGE.CLAIMS if claim.asks == "Are its data alone?")
    rows = PAGE.read("arith")
    found = PAGE.judged(claim, rows)
    assert (found.here, found.verdict) == ("holds", verdict) and found.low > 0
    assert PAGE.answer(found) == ("yes" if verdict == "holds" else "yes in these models, not settled for other seeds")
    # t of two degrees is 4.303.
    half = 4.303 * np.std(gains, ddof=1) / 3**0.5
    told = ", ".join(f"+{gain}" for gain in gains)
    assert found.basis == f"by seed {told}, by t [{found.mean - half:+.0f}, {found.mean + half:+.0f}]"
    opening = PAGE.opening({"arith": rows}).splitlines()[0]
    assert opening.startswith(
        "- How far apart are training seeds? Right in %, seed by seed, under AO at 4 tokens a step: on `arith` "
        f"long 40/40/40, nap {'/'.join(str(40 + gain) for gain in gains)}. "
    )


@pytest.mark.parametrize(("right", "verdict"), [(60, "open"), (70, "holds")])
def test_a_claim_on_one_seed_needs_more_than_seeds_are_apart(results, right, verdict):
    stored("long", first_of_100(10))
    stored("long", first_of_100(60), seed=1)
    stored("brief", first_of_100(right))
    (claim,) = (claim for claim in PAGE.CLAIMS if claim.contrast == PAGE.CONTRASTS["brevity"])
    found = PAGE.judged(claim, PAGE.read("arith"))
    assert found.verdict == verdict and found.mean == right - 10 and found.apart == 50
    assert found.basis == "one seed (two of one core arm are up to 50.0 apart)"


def test_answers_beside_a_wrong_equation_are_counted(results):
    model = STUDY.Model(task="countdown", arm="nap", seed=0)
    columns = {name: 1.0 for name in STUDY.COLUMNS} | {"policy": "low_confidence", "pace": "4/step"}
    held = [1.0] * 5 + [0.5] * 4 + [None]
    rows = [columns | {"index": i, "correct": i > 2, "equations_right": x} for i, x in enumerate(held)]
    STUDY.write_results(model, model.results, rows, {})
    rows = PAGE.read("countdown")
    found = PAGE.reasoning(rows, "nap", "low_confidence")
    assert found.right == [True] * 4 and found.beside == pytest.approx(0.4) and found.held == pytest.approx(7 / 9)
    assert "| nap | low_confidence | 1 | 78 | 40 | 100 [51, 100] |" in PAGE.reasoning_table(rows)
    assert PAGE.reasoning(rows, "nap", "parallel_forced") is None


def test_a_bundled_model_follows_the_paths_that_are_put_there(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(USED, "SLOTS", ("arith",))
    monkeypatch.setattr(USED, "BUNDLED", {"nap": "nap"})
    monkeypatch.setattr(sys, "argv", ["paths_used.py", "--problems", "4", "--out", str(tmp_path / "used.parquet")])
    assert USED.main() == 0
    assert "arith-nap, over right ones: 4 of 4 right" in capsys.readouterr().out
    rows = pq.read_table(tmp_path / "used.parquet").to_pylist()
    assert len(rows) == 4 * len(USED.GIVEN)
    assert sum(row["follows"] for row in rows if row["given"] == USED.OTHER) >= 3
    assert not any(row["follows"] and row["correct"] for row in rows), "the other problem has another answer"
    monkeypatch.setattr(PAGE, "USED", tmp_path / "used.parquet")
    assert "| arith | nap | " in PAGE.used_table() and " | 100 [51, 100] | " in PAGE.used_table()
    told = PAGE.opening({"arith": PAGE.Rows({})})
    nothing, right = (sum(row["correct"] for row in rows if row["given"] == given) for given in ("nothing", USED.RIGHT))
    assert f"over right ones `arith` {25 * (right - nothing):+.1f} [" in told


def test_the_other_problem_has_another_answer_and_not_only_another_summary():
    samples = [sample("nap", "arith", index) for index in range(40)]
    found = USED.others(load_task("arith"), samples)
    assert all(one.problem.answer != other.problem.answer for one, other in zip(samples, found, strict=True))


def test_only_the_summary_is_written_over_paths_that_stand():
    from nap.canvas.canvas import fill, layout

    model, one = STUDY.Model(task="countdown", arm="nap", seed=0), sample("nap", "countdown")
    tokenizer = STUDY.tokenizer_of(model)
    canvas = layout(
        tokenizer.encode(one.problem.prompt), STUDY.ARMS["nap"].canvas("countdown"), tokenizer, tokenizer.mask_token_id
    )  # fmt: skip
    ids = fill(canvas, [*(path.text for path in one.paths), one.summary], tokenizer, tokenizer.pad_token_id)
    put = USED.over(canvas, ids)
    summary = canvas.region == canvas.spec.paths
    assert ((put.region >= 0) == summary).all() and (put.ids[summary] == tokenizer.mask_token_id).all()
    assert (put.ids[~summary] == ids[~summary]).all()


@pytest.mark.parametrize("lower", [0.0, 0.5])
def test_the_page_opens_with_what_the_numbers_say(results, monkeypatch, lower):
    monkeypatch.setattr(PAGE, "text_results", lambda view: results / f"text-{view}.parquet")
    monkeypatch.setattr(PAGE, "USED", results / "paths-used.parquet")
    for arm, policy, right, order in (("long", "low_confidence", 10, 0.9), ("nap", "low_confidence", 50, 0.9 - lower),
                                      ("nap", "parallel_forced", 90, 0.9)):  # fmt: skip
        stored(arm, first_of_100(right), policy=policy, paces=("1/step", "4/step"), arness=order)
    told = PAGE.opening({"arith": PAGE.read("arith"), "countdown": PAGE.Rows({})}).splitlines()
    assert len(told) == 4 and "countdown" not in "".join(told)
    assert told[0].startswith("- Is NAP, data and decoder,") and "On `arith` yes, +80.0 [" in told[0]
    assert told[0].endswith(" points, one seed (the paper: +14.4).")
    assert "On `arith` yes, +40.0 [" in told[1]
    if lower:
        assert "On `arith` yes, -50.0 [-50.0, -50.0] points, one seed." in told[3]
    else:
        assert told[3].endswith("decoding less left to right is not what makes it.") and "lower by 0.0 of" in told[3]


@pytest.mark.parametrize("share", [0, 0.25, 1])
def test_seqdep_of_rewritten_paths_is_their_mutual_information(share):
    from nap.tasks.countdown import Countdown

    task = Countdown(rewrites=share)
    amounts = [len(task.written(task.generate(0, index, "train"))) for index in range(300)]
    if share == 0:
        assert PAGE.ideal_seqdep(share) == pytest.approx(0)
    elif share == 1:
        assert PAGE.ideal_seqdep(share) == pytest.approx(np.mean(np.log(amounts)))
    else:
        joint = [np.full((k, k), (1 - share) / k**2) + np.eye(k) * share / k for k in amounts]
        information = [(p * np.log(p * len(p) ** 2)).sum() for p in joint]
        assert PAGE.ideal_seqdep(share) == pytest.approx(np.mean(information))


def test_the_views_of_a_text_differ_in_order_alone():
    rng = np.random.default_rng(0)
    text = "ay, that we may see; no more of this, good"
    words, letters = (recipe("text_order").view_of(text, view, rng) for view in ("words", "letters"))
    assert recipe("text_order").view_of(text, "text", rng) == text
    assert sorted(words) == sorted(letters) == sorted(text) and words != text != letters
    assert sorted(words.split()) == sorted(text.split()) != sorted(letters.split())


def test_passages_are_three_windows_each_after_its_share_of_the_prompt():
    from nap.order.order import bare_order

    text_order = recipe("text_order")
    text = "".join(chr(0x4E00 + i) for i in range(5000))
    found = text_order.sample(text, "passages", 0, 7)
    (slot,), at = [path.text for path in found.paths], 0
    assert (len(found.problem.prompt), len(slot)) == (text_order.PROMPT, text_order.SLOT)
    for i, lead in enumerate(text_order.LEADS):
        window = found.problem.prompt[at : at + lead] + slot[32 * i : 32 * (i + 1)]
        assert window in text
        at += lead
    turns = bare_order([(32 + 32 * third + i, 3 * i + third) for third in range(3) for i in range(32)])
    assert text_order.third_arness(turns) == 1
    backwards = bare_order([(32 + i, 95 - i) for i in range(96)])
    assert text_order.third_arness(backwards) == pytest.approx(1 / 32)
