"""The study's arms share their trajectories, votes count as they should, and a model's rows become its page."""

import json
import sys
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from nap.common.files import InputError
from nap.tasks.registry import load_task
from tiny import RECIPES, recipe

sys.path.insert(0, str(RECIPES))


def part(name: str) -> Any:
    """A recipe as its parts import it, so that what is changed in it is changed for them."""
    return import_module(name)


Study = part("agreement_parts.findings").Study
STUDY, PAGE, USED = part("study"), part("study_page"), part("paths_used")
ROWS, CLAIMS, CONTRASTS, TABLES = (part(f"study_parts.{name}") for name in ("rows", "claims", "contrasts", "tables"))
FALLS, FRONT, BANDS, GRAPHS, BESIDE, MECHANISM = (
    part(f"study_parts.{name}") for name in ("falls", "front", "bands", "graphs", "beside", "mechanism")
)


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
    monkeypatch.setattr(PAGE, "PAGE", tmp_path / "study.md")
    monkeypatch.setattr(PAGE, "DETAILS", tmp_path / "study_details.md")
    monkeypatch.setattr("torch.compile", lambda model, **options: model)
    small = STUDY.Recipe
    monkeypatch.setattr(STUDY, "Recipe", lambda **given: small(**given, width=32, layers=1, batch_size=4))
    return tmp_path


def test_a_model_is_trained_evaluated_and_shown_and_then_is_done(results, monkeypatch, capsys):
    monkeypatch.setattr(STUDY, "PACES", (8,))
    arguments = ["study.py", "--runs", str(results / "runs"), "--steps", "2", "--problems", "3"]
    for name in ("countdown-short-1", "countdown-nap-1"):
        monkeypatch.setattr(sys, "argv", [*arguments, "--only", name])
        assert STUDY.main() == 0
    monkeypatch.setattr(sys, "argv", ["study.py", "--list"])
    assert STUDY.main() == 0
    listed = capsys.readouterr().out.splitlines()
    assert {line.split()[1] for line in listed if line.startswith("done")} == {"countdown-short-1", "countdown-nap-1"}
    rows = ROWS.read("countdown")
    short = ROWS.Setting("short", "vote of 3", "8/step")
    assert rows.column(short, "correct").shape == (1, 3)
    single = rows.column(ROWS.Setting("short", "low_confidence", "8/step"), "forwards")
    assert (rows.column(short, "forwards") >= 3 * single.min()).all()
    assert "| short | vote of 3 | 1 |" in PAGE.details()


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
    for task in ROWS.TASKS:
        by_seed = [
            np.mean([row["correct"] for row in rows if (row["policy"], row["pace"]) == ("parallel_forced", "4/step")])
            - np.mean([row["correct"] for row in chain if (row["policy"], row["pace"]) == ("low_confidence", "4/step")])
            for rows, chain in (
                [pq.read_table(STUDY.RESULTS / f"{task}-{arm}-{seed}.parquet").to_pylist() for arm in ("nap", "long")]
                for seed in range(3)
            )
        ]
        gaps[task] = by_seed.index(sorted(by_seed)[1])
    assert CLAIMS.bundled_seeds({task: ROWS.read(task) for task in ROWS.TASKS}) == gaps
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
    found = {(setting.policy, setting.pace) for setting in ROWS.read("countdown").by_setting}
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
    (found,) = CONTRASTS.differences(ROWS.read("arith"))
    assert found.contrast.question.startswith("data") and found.pace == 4 and found.seeds == 1
    assert found.mean == pytest.approx(0.5) and found.interval.low > 0.3 and found.p_value == pytest.approx(2 * 0.5**20)
    assert "**+50 [+35, +65]**" in CONTRASTS.contrast_table([found])
    assert json.loads(pq.read_schema(results / "study/arith-nap-0.parquet").metadata[b"setting"])["arm"] == "nap"


def claim_of(name):
    (found, *_) = (claim for claim in CLAIMS.CLAIMS if claim.contrast == CONTRASTS.CONTRASTS[name])
    return found


@pytest.mark.parametrize(
    ("gains", "verdict"), [((20, 21, 22), "holds"), ((5, 20, 35), "open"), ((-3, -4, -5), "refuted")]
)
def test_a_claim_is_judged_by_students_interval_of_its_seeds(results, gains, verdict):
    for seed, gain in enumerate(gains):
        stored("long", first_of_100(40), seed)
        stored("nap", first_of_100(40 + gain), seed)
    rows = ROWS.read("arith")
    found = CLAIMS.judged(claim_of("data"), rows)
    # t of two degrees is 4.303.
    half = 4.303 * np.std(gains, ddof=1) / 3**0.5
    assert found.by_t == pytest.approx((found.mean - half, found.mean + half), abs=0.01) and found.verdict == verdict
    each = ", ".join(f"{gain:+}" for gain in gains)
    assert CLAIMS.shown(claim_of("data"), rows).endswith(f"], by seed {each}")
    seeds = f"long 40/40/40, nap {'/'.join(str(40 + gain) for gain in gains)}"
    assert CLAIMS.by_seed(rows) == seeds
    assert CLAIMS.shown(claim_of("chain"), rows) == "-"


def test_one_seed_has_no_verdict_however_large_its_difference(results):
    stored("long", first_of_100(10))
    stored("long", first_of_100(60), seed=1)
    stored("brief", first_of_100(90))
    found = CLAIMS.judged(claim_of("brevity"), ROWS.read("arith"))
    assert (found.verdict, found.mean, found.apart) == ("one seed", 80, 50)
    assert str(found).startswith("+80.0 (over problems alone [+") and str(found).endswith("up to 50.0 apart)")


def test_arness_is_normalised_by_its_random_order():
    arness, random = np.array([0.1, 0.55, 1.0, 1.0]), np.array([0.1, 0.1, 0.1, 1.0])
    assert CLAIMS.normalised(arness, random)[:3] == pytest.approx([0, 0.5, 1])
    assert np.isnan(CLAIMS.normalised(arness, random)[3]), "one token is left to right by itself"


def test_a_bootstrap_of_three_seeds_covers_less_than_it_says():
    assert 0.7 < CLAIMS.coverage(3) < 0.8 and 0.9 < CLAIMS.coverage(30) < 0.96


def store_falls(chain, forced):
    """Three seeds that are right in 80 % at one token a step and lose so many points to four."""
    for seed, (one, other) in enumerate(zip(chain, forced, strict=True)):
        for arm, policy, lost in (("long", "low_confidence", one), ("nap", "parallel_forced", other)):
            model = STUDY.Model(task="arith", arm=arm, seed=seed)
            columns = {name: 0.5 for name in STUDY.COLUMNS} | {"policy": policy}
            rows = [
                columns | {"pace": f"{pace}/step", "index": i, "correct": i < right}
                for pace, right in ((1, 80), (4, 80 - lost)) for i in range(100)
            ]  # fmt: skip
            STUDY.write_results(model, model.results, rows, {})


@pytest.mark.parametrize(
    ("chain", "forced", "verdict"),
    [
        ((31, 32, 33), (22, 23, 24), "NAP loses less"),
        ((1, 2, 0), (0, 1, 0), "open"),
        ((0, 1, 0), (8, 9, 9), "NAP loses more"),
    ],
)
def test_the_headline_is_the_chains_fall_less_naps_by_students_interval(results, chain, forced, verdict):
    store_falls(chain, forced)
    found = FALLS.falls(ROWS.read("arith"))
    assert found.each == pytest.approx([a - b for a, b in zip(chain, forced, strict=True)])
    spread = np.std(found.each, ddof=1)
    assert found.by_t.high - found.mean == pytest.approx(4.303 * spread / 3**0.5, abs=0.01)
    assert found.verdict == verdict
    table = FALLS.fall_table({"arith": ROWS.read("arith")})
    assert "| Dream-7B, GSM8K (paper) | 31.5 | 22.7 | **+8.8** |" in table and verdict in table
    assert "46.5 / 60.9" in FALLS.paper_table({"arith": ROWS.read("arith")})


def test_one_seed_has_no_difference_of_falls(results):
    stored("long", first_of_100(10), paces=("1/step", "4/step"))
    stored("nap", first_of_100(10), policy="parallel_forced", paces=("1/step", "4/step"))
    assert FALLS.falls(ROWS.read("arith")) is None


def tied(arm, choice, tau, policy="low_confidence", columns=None):
    names = ("tau_b_matched", "global_arness@1", "global_arness@1_random", "global_arness@1_matched")
    known = dict.fromkeys((*names, "third_arness@1", "third_arness@1_random", "sure"), 0.1)
    key = {"task": "arith", "arm": arm, "policy": policy, "choice": choice}
    return [key | {"index": i, "tau_b": tau} | known | (columns or {}) for i in range(4)]


def test_a_difference_that_is_smaller_than_what_ties_move_is_not_identified(results, monkeypatch):
    import pyarrow as pa

    monkeypatch.setattr(BANDS.tie_bands, "BANDS", results / "ties.parquet")
    rows = [
        *tied("long", "own", 0.1), *tied("long", "left", 0.2), *tied("long", "right", 0.1),
        *tied("nap", "own", 0.15, columns={"third_arness@1": 0.3}), *tied("nap", "left", 0.5),
        *tied("nap", "right", -0.3),
        *tied("long", "own", 0.1, "parallel_forced", {"global_arness@1": 0.28, "global_arness@1_matched": 0.2}),
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), results / "ties.parquet")
    BANDS.read_bands.cache_clear()
    try:
        told = BANDS.band_table()
        assert "| arith | nap | 10 | 0.15 (-0.30 to 0.50) | 0.10 (0.10 to 0.10) |" in told
        assert "| arith | nap less long |  | +0.05, *not identified* (ties move it by 0.80) | +0.00, *not id" in told
        assert BANDS.identified(BANDS.Band(0.1, 0.1, 0.2), BANDS.Band(0.6, 0.6, 0.6)) == "+0.50"
        assert "| arith | long | parallel_forced | 0.280 | 0.100 | 0.200 | 0.100 |" in BANDS.baseline_table()
        assert BANDS.thirds("arith") == (pytest.approx(20), pytest.approx((20, 20)))
    finally:
        BANDS.read_bands.cache_clear()


def test_accuracy_is_split_by_how_often_training_had_a_graph():
    correct, counts = np.array([1.0, 0, 1, 1, 0, 0]), np.array([9, 0, 9, 5, 1, 5])
    assert GRAPHS.thirds(correct, counts) == [0.0, 0.5, 1.0]


def test_a_graph_under_other_names_is_counted_and_its_distractors_are_not():
    seen = part("graphs_seen")
    counts = seen.seen(0, 200, 50)
    assert len(counts) == 50 and 0 < sum(count > 0 for count in counts) < 50


def test_answers_beside_a_wrong_equation_are_counted(results):
    model = STUDY.Model(task="countdown", arm="nap", seed=0)
    columns = {name: 1.0 for name in STUDY.COLUMNS} | {"policy": "low_confidence", "pace": "4/step"}
    held = [1.0] * 5 + [0.5] * 4 + [None]
    rows = [columns | {"index": i, "correct": i > 2, "equations_right": x} for i, x in enumerate(held)]
    STUDY.write_results(model, model.results, rows, {})
    rows = ROWS.read("countdown")
    found = TABLES.reasoning(rows, "nap", "low_confidence")
    assert found.right == [True] * 4 and found.beside == pytest.approx(0.4) and found.held == pytest.approx(7 / 9)
    assert "| nap | low_confidence | 1 | 78 | 40 | 100 [51, 100] |" in TABLES.reasoning_table(rows)
    assert TABLES.reasoning(rows, "nap", "parallel_forced") is None


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
    monkeypatch.setattr(USED, "USED", tmp_path / "used.parquet")
    assert "| arith | nap | " in BESIDE.used_table() and " | 100 [51, 100] | " in BESIDE.used_table()


def test_letters_are_shown_over_seeds_with_the_band_of_their_ties(tmp_path, monkeypatch):
    text_order, write_rows = recipe("text_order"), part("agreement").write_rows
    monkeypatch.setattr(BESIDE.text_order, "RESULTS", tmp_path)
    for seed, tau in ((0, 0.2), (1, 0.4)):
        of = {"low_confidence": tau, "random": 0.0, **dict(zip(text_order.TIES, (0.5, 0.1), strict=True))}
        rows = [{"policy": policy, "tau_b": value, "third_arness@1": None} for policy, value in of.items()]
        write_rows(rows, tmp_path / f"text-{seed}.parquet", {})
    lines = BESIDE.text_table().splitlines()
    (own,) = [line for line in lines if line.startswith("| as it stands | low_confidence | 2 |")]
    # Student's t of .2 and .4: .3 +- 12.706 x .1.
    assert "0.300 [-0.971, 1.571] | 0.100 to 0.500 |" in own
    assert "| words in random order | low_confidence | 0 | - | - | - | - | - | - |" in lines


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


def test_the_first_page_leads_with_the_falls_and_withdraws_what_does_not_stand(results, monkeypatch):
    monkeypatch.setattr(USED, "USED", results / "paths-used.parquet")
    store_falls((1, 2, 0), (0, 1, 0))
    stored("long", first_of_100(40), policy="random", paces=("1/step",))
    tasks = {"arith": ROWS.read("arith"), "countdown": ROWS.Rows({})}
    told = FRONT.front(tasks, Study(results, []), Study(results, []))
    assert told.index("### Answers that must agree") < told.index("### Models that have to reason")
    assert (
        told.index("difference in differences |") < told.index("**The positive control") < told.index("### Withdrawn")
    )
    for claim, refuted in (*MECHANISM.AGREEING.values(), *MECHANISM.REASONING.values()):
        assert f"| {claim} | not run yet | 0 |  | {refuted} |" in told
    assert "+1.0 on `arith` points from 1 to 4 tokens a step" in told and "countdown`" not in told
    assert "as by confidence, -40.0 (over problems alone" in told
    said = '"NAP, data and decoder, is more accurate: yes in these models (`arith`)" as a finding about parallelism'
    assert said in told and FRONT.withdrawn(tasks)[said].startswith("It is a gap between training runs")


def test_the_stored_pages_are_as_the_rows_make_them_and_the_first_is_read_in_six_minutes():
    text = (STUDY.ROOT / "docs/study.md").read_text()
    assert PAGE.page() == text
    # 200 words a minute, the tables' included.
    assert sum(any(map(str.isalnum, word)) for word in text.split()) < 1200
    assert PAGE.details() == (STUDY.ROOT / "docs/study_details.md").read_text()


@pytest.mark.parametrize("share", [0, 0.25, 1])
def test_seqdep_of_rewritten_paths_is_their_mutual_information(share):
    from nap.tasks.countdown import Countdown

    task = Countdown(rewrites=share)
    amounts = [len(task.written(task.generate(0, index, "train"))) for index in range(300)]
    if share == 0:
        assert BESIDE.ideal_seqdep(share) == pytest.approx(0)
    elif share == 1:
        assert BESIDE.ideal_seqdep(share) == pytest.approx(np.mean(np.log(amounts)))
    else:
        joint = [np.full((k, k), (1 - share) / k**2) + np.eye(k) * share / k for k in amounts]
        information = [(p * np.log(p * len(p) ** 2)).sum() for p in joint]
        assert BESIDE.ideal_seqdep(share) == pytest.approx(np.mean(information))


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
