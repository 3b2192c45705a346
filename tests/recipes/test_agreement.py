"""The arms of the agreement study hold the same grids, and what is said to be exact is: against brute force."""

import importlib
import itertools
import json
import sys
from collections import Counter
from math import log

import numpy as np
import pyarrow.parquet as pq
import pytest

from nap.data.trace import COMMIT, Event, Trace
from nap.models.exact_task import Part
from nap.training.batches import lay_out
from tiny import RECIPES, recipe
from toys import MASK

sys.path.insert(0, str(RECIPES))
AGREEMENT = recipe("agreement")
LAW, MEASURE = (importlib.import_module(name) for name in ("agreement_parts.law", "agreement_parts.measure"))
FINDINGS = importlib.import_module("agreement_parts.findings")
PAGE = recipe("agreement_page")
TRAINED = [arm for arm in AGREEMENT.ARMS.values() if not arm.exact]


@pytest.mark.parametrize("arm", AGREEMENT.ARMS.values(), ids=AGREEMENT.ARMS)
def test_every_sample_of_an_arm_fits_its_canvas_and_every_slot_is_even(arm):
    tokenizer = AGREEMENT.tokenizer_of(arm)
    for index in range(10):
        sample = arm.view(arm.load().sample(0, index))
        canvas = lay_out(sample, arm.canvas, tokenizer, tokenizer.mask_token_id, tokenizer.pad_token_id)
        assert tokenizer.unk_token_id not in canvas.ids and len(canvas) <= 256
    assert all(tokens % 2 == 0 for _, tokens, *_ in arm.canvas.slots[:-1])


def test_the_chain_holds_the_grids_of_the_paths():
    for index in range(5):
        apart, joined = (
            AGREEMENT.ARMS[name].view(AGREEMENT.ARMS[name].load().sample(1, index)) for name in ("grids-3", "chain-3")
        )
        assert apart.problem == joined.problem
        assert joined.paths[0].text == " ".join(path.text for path in apart.paths)


def test_the_queue_has_every_arm_and_seed_once_and_its_core_first():
    names = [model.name for model in AGREEMENT.queue()]
    assert len(names) == len(set(names)) == sum(arm.seeds for arm in AGREEMENT.ARMS.values())
    # What needs no training, then the core: three arms of five seeds, seed by seed.
    assert all(name.startswith("exact-") for name in names[:8])
    assert names[8:14] == ["one-0", "grids-3-0", "chain-3-0", "one-1", "grids-3-1", "chain-3-1"]


def test_a_model_is_measured_up_to_eight_tokens_a_step_and_grid():
    assert MEASURE.paces(1) == [1, 2, 3, 4, 8]
    assert MEASURE.paces(3) == [1, 2, 3, 4, 6, 9, 12, 24]
    assert all(max(MEASURE.paces(count)) == 8 * count for count in (1, 2, 3, 4, 6))


# The law


def by_hand(contents):
    """Total correlation from the definition, in nats."""

    def entropy(values):
        return -sum(n / len(values) * log(n / len(values)) for n in Counter(values).values())

    return sum(entropy([row[i] for row in contents]) for i in range(len(contents[0]))) - entropy(contents)


@pytest.mark.parametrize(
    ("contents", "nats"),
    [
        ([(1, 1), (2, 2)], log(2)),  # all shared
        ([*itertools.product((1, 2), (3, 4))], 0.0),  # independent
        ([(1, 2, 3), (2, 3, 1), (3, 1, 2)], 2 * log(3)),
        ([(1,), (2,)], 0.0),
        ([(1, 2)], 0.0),
    ],
)
def test_total_correlation_by_hand(contents, nats):
    assert LAW.total_correlation(np.array(contents)) == pytest.approx(nats)
    assert by_hand(contents) == pytest.approx(nats)


def trace_of(*steps):
    """Commits of {position: token}, a step each."""
    events = [Event(i, COMMIT, at, token, 0.5) for i, step in enumerate(steps) for at, token in step.items()]
    return Trace(
        problem_id="x", initial=(MASK,) * 4, region=(0,) * 4, events=tuple(events), forwards=len(steps), mask_id=MASK
    )  # fmt: skip


PAIRS = Part(np.array([0, 1, 2]), np.array([(1, 1, 5), (2, 2, 5), (1, 1, 6), (2, 2, 6)]))


@pytest.mark.parametrize(
    ("steps", "cost"),
    [
        ([{0: 1}, {1: 1}, {2: 5}], (0, 0, 0)),
        ([{0: 1, 1: 1}, {2: 5}], (log(2), 0, 0)),
        ([{0: 1, 2: 5}, {1: 1}], (0, 0, 0)),  # independent cells cost nothing together
        ([{0: 1, 1: 2}, {2: 5}], (log(2), 1, 0)),  # each possible, not together; what comes later is not counted
        ([{0: 1}, {1: 2}, {2: 5}], (0, 0, 1)),  # impossible by itself by now
        ([{2: 9, 0: 1}, {1: 1}], (0, 0, 1)),
        ([{3: 7}, {0: 1, 1: 1, 2: 6}], (log(2), 0, 0)),  # what is in no part is free
    ],
)
def test_a_commit_costs_what_its_tokens_share_and_a_part_dies_once(steps, cost):
    assert LAW.cost_of(trace_of(*steps), [PAIRS]) == pytest.approx(cost)


def test_the_exact_law_is_lossless_one_token_a_step_in_any_order_and_not_in_parallel(monkeypatch):
    monkeypatch.setattr(MEASURE, "MEASURED", 60)
    work = AGREEMENT.work_of(AGREEMENT.Model(arm="exact-3", seed=0), None, 0)
    for policy in ("low_confidence", "random", "ar"):
        row = work.row(policy, 1)
        assert (row["valid"], row["correlation"], row["conflicts"], row["mistakes"]) == (1.0, 0.0, 0, 0)
    wide = work.row("low_confidence", 24)
    assert wide["valid"] < 0.6 and wide["correlation"] > 0.5 and wide["mistakes"] == 0
    assert wide["conflicts"] == round((1 - wide["valid"]) * wide["units"])
    assert sum(wide["each"]) == wide["units"] - wide["conflicts"]


def test_a_killed_measurement_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(MEASURE, "MEASURED", 6)
    monkeypatch.setattr(AGREEMENT, "settings_of", lambda count: [("low_confidence", 6), ("threshold:tau=0.9", None)])
    model = AGREEMENT.Model(arm="exact-3", seed=0)
    rows = AGREEMENT.measure_model(model, None, tmp_path)
    lines = (tmp_path / "rows.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "rows.jsonl").write_text(lines[0] + lines[1][:20])
    assert AGREEMENT.measure_model(model, None, tmp_path) == rows
    assert (tmp_path / "rows.jsonl").read_text().splitlines(keepends=True) == lines


def test_rows_are_on_the_disk_while_the_next_is_made_so_that_no_kill_loses_them(tmp_path):
    journal, seen = tmp_path / "rows.jsonl", []

    def row(policy, pace):
        seen.append(journal.read_text().count("\n"))
        return {"policy": policy, "pace": pace}

    settings = [("ar", pace) for pace in (1, 2, 3)]
    AGREEMENT.journaled(settings[:1], row, tmp_path)
    AGREEMENT.journaled(settings[:2], row, tmp_path)
    with journal.open("a") as file:
        file.write('{"policy": "ar", "pa')
    assert AGREEMENT.journaled(settings, row, tmp_path) == [{"policy": "ar", "pace": pace} for pace in (1, 2, 3)]
    assert seen == [0, 1, 2]


def test_a_model_is_trained_from_scratch_by_longer_schedules_until_it_is_right_or_not_measured(tmp_path, monkeypatch):
    made = []

    def fit(tokenizer, spec, draw, folder, recipe, *, seed, dtype, device):
        made.append((folder.name, recipe.steps, recipe.lr, draw(0).problem.id, dtype, device))
        return folder / "final"

    monkeypatch.setattr(AGREEMENT, "fit", fit)
    monkeypatch.setattr(AGREEMENT, "validity", lambda model, trained, device: 0.5 if len(made) < 2 else 0.98)
    found = AGREEMENT.train_model(AGREEMENT.Model(arm="one", seed=0), tmp_path, "float32", "cuda")
    assert found == tmp_path / "slow-3600/final"
    assert made == [
        ("stage-0", 900, 3e-3, "grids-train-0-0", "float32", "cuda"),
        ("slow-3600", 3600, 1e-3, "grids-train-0-0", "float32", "cuda"),
    ]
    monkeypatch.setattr(AGREEMENT, "validity", lambda model, trained, device: 0.5)
    with pytest.raises(AGREEMENT.InputError, match="one-0 is not right on 97% of held-out grids after 7200 steps"):
        AGREEMENT.train_model(AGREEMENT.Model(arm="one", seed=0), tmp_path)


def test_rows_say_in_what_type_their_model_was_trained(tmp_path, monkeypatch):
    def train_model(model, folder, dtype, device):
        folder.mkdir()
        (folder / "training.json").write_text(json.dumps({"steps": 900, "dtype": f"torch.{dtype}", "device": device}))
        return folder

    monkeypatch.setattr(AGREEMENT, "train_model", train_model)
    monkeypatch.setattr(AGREEMENT, "measure_model", lambda *_: [{"policy": "ar", "pace": 1, "valid": 1.0}])
    flags = ["--only", "one-0", "--dtype", "float32", "--runs", str(tmp_path), "--results", str(tmp_path / "rows")]
    monkeypatch.setattr(sys, "argv", ["agreement.py", *flags])
    assert AGREEMENT.main() == 0
    told = json.loads(pq.read_schema(tmp_path / "rows/one-0.parquet").metadata[b"setting"])
    assert (told["steps"], told["dtype"], told["device"]) == (900, "torch.float32", "cpu")
    said = FINDINGS.Study(tmp_path / "rows").told(["one"])
    assert said.startswith("Models measured: `one` 1.") and said.endswith("all others in bfloat16: `one-0`.")


# The page


def rows_of(policy, **valid):
    return {(policy, int(pace[1:])): {"policy": policy, "pace": int(pace[1:]), "valid": v} for pace, v in valid.items()}


@pytest.mark.parametrize(
    ("valid", "pace"),
    [
        ({"p1": 1.0, "p2": 0.75, "p4": 0.25}, 2 * 2**0.5),  # half way from 2 to 4 in log2
        ({"p1": 0.8, "p2": 0.4, "p4": 0.0}, 2.0),  # half of what it is at one token a step
        ({"p1": 1.0, "p2": 0.9, "p8": 0.6}, 8.0),  # never: the largest that was measured
        ({"p1": 1.0, "p2": 0.4, "p4": 0.9}, 2 ** (0.5 / 0.6)),  # the first crossing
    ],
)
def test_k50_by_hand(valid, pace):
    assert FINDINGS.k50(rows_of("ar", **valid), "ar") == pytest.approx(pace)


def test_a_pace_in_proportion_to_the_grids_has_slope_1_and_one_that_stays_slope_0():
    models = [{"width": width} for width in FINDINGS.WIDTHS]
    assert FINDINGS.width_slope(lambda rows: 2.5 * rows["width"], *models) == pytest.approx(1)
    assert FINDINGS.width_slope(lambda rows: 2.5, *models) == pytest.approx(0)


@pytest.mark.parametrize(
    ("rule", "interval", "verdict"),
    [
        ("proportional", (0.85, 1.15), "equal"),
        ("proportional", (0.3, 0.7), "less"),
        ("proportional", (-0.1, 0.1), "not at all"),
        ("proportional", (0.7, 1.1), "open"),
        ("above_zero", (0.1, 0.2), "supported"),
        ("above_zero", (-0.2, -0.1), "refuted"),
        ("above_zero", (-0.1, 0.1), "open"),
        ("unneeded", (-0.02, 0.03), "no"),
        ("unneeded", (0.01, 0.09), "yes"),
        ("unneeded", (-0.09, 0.01), "open"),
        ("predicts", (-0.99, -0.9), "supported"),
        ("predicts", (-0.6, 0.1), "refuted"),
        ("mostly", (0.81, 0.9), "supported"),
    ],
)
def test_a_verdict_follows_from_its_interval_as_the_protocol_says(rule, interval, verdict):
    assert getattr(FINDINGS, rule)(FINDINGS.Interval(*interval)) == verdict


def test_a_page_without_rows_says_that_nothing_was_run_and_one_seed_gives_no_verdict(tmp_path):
    assert PAGE.page(PAGE.Study(tmp_path)).count("not run yet") == len(PAGE.findings(PAGE.Study(tmp_path)))
    rows = {("random", 2): {"valid": 0.5}, (PAGE.AO, 2): {"valid": 0.25}}
    study = PAGE.Study(tmp_path)
    finding = next(finding for finding in PAGE.findings(study) if finding.number == "Q10")
    study.rows["one", 0] = rows
    assert "| +25.00 points | 1 | one seed: no verdict |" in finding.line(study)
    study.rows |= {("one", 1): rows, ("one", 2): rows}
    assert "| +25.00 points [+25.00, +25.00] | 3 | supported |" in finding.line(study)


def test_an_arm_counts_in_the_question_about_all_arms_once_three_seeds_of_it_are_measured():
    study = FINDINGS.Study(AGREEMENT.RESULTS)

    def arms() -> tuple[str, ...]:
        return next(finding.arms for finding in FINDINGS.findings(study) if finding.number == "Q8")

    assert "one" in arms() and all(len(study.seeds(arm)) >= 3 for arm in arms())
    for seed in study.seeds("corners-3")[2:]:
        del study.rows["corners-3", seed]
    assert "corners-3" not in arms() and "one" in arms()


def test_the_page_is_as_the_rows_make_it(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["agreement_page.py", "--check"])
    assert PAGE.main() == 0


def test_the_picture_has_a_line_for_a_paced_decoder_and_a_point_for_one_at_its_own_pace(tmp_path):
    row = {"valid": 0.5, "tokens": 30, "forwards": 10}
    study = FINDINGS.Study(tmp_path)
    study.rows["grids-3", 0] = {(PAGE.AO, 3): row, (PAGE.AO, 1): row | {"valid": 1.0, "forwards": 30}} | {
        (PAGE.THRESHOLD, None): row | {"valid": 0.9}
    }
    assert PAGE.curve(study, "grids-3", PAGE.AO) == ([1.0, 3.0], [1.0, 0.5])
    assert PAGE.curve(study, "grids-3", PAGE.THRESHOLD) == ([3.0], [0.9])
    assert PAGE.curve(study, "chain-3", PAGE.AO) == ([], [])
    PAGE.draw(study, tmp_path / "images/a.svg")
    first = (tmp_path / "images/a.svg").read_bytes()
    PAGE.draw(study, tmp_path / "images/a.svg")
    assert (tmp_path / "images/a.svg").read_bytes() == first
