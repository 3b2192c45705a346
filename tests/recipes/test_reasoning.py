"""The gate of the models that reason: which words count as values, who is right about them, what passes."""

import dataclasses
import importlib
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from nap.data.trace import OUTSIDE, PROMPT
from nap.tasks.igsm import BASE, CLOSING, FILLERS, OPERATIONS, Igsm
from nap.training.batches import lay_out
from tiny import RECIPES, recipe

sys.path.insert(0, str(RECIPES))
REASONING = recipe("reasoning")
MEASURE = importlib.import_module("reasoning_parts.measure")
PAGE = recipe("reasoning_page")
build_model = recipe("bundled").build_model
SMALL = Igsm(least=2, most=2, longest=48)
PROBLEMS = [SMALL.generate(seed, index, "test") for index in range(3) for seed in (0, 1)]


class Reckons:
    """Works each value out from the words of its sentence, and `by` more."""

    max_length = canvas = None
    eos_ids = ()
    device = torch.device("cpu")

    def __init__(self, by=0):
        self.by, self.tokenizer, self.setting = by, REASONING.words(), {"model": "reckons"}
        self.mask_id, self.pad_id = self.tokenizer.mask_token_id, self.tokenizer.pad_token_id
        self.vocabulary = len(self.tokenizer)

    def states(self, ids_BL, layout, at):
        said = []
        for row, position in zip(*at, strict=True):
            assert ids_BL[row, position] == self.mask_id
            behind = ids_BL[row, position:][torch.from_numpy(layout.region_BL[row, position:] >= 0)]
            assert set(behind.tolist()) == {self.mask_id} and layout.region_BL[row, position] != OUTSIDE
            words = self.tokenizer.decode(ids_BL[row, :position].tolist()).split()
            sentence = " ".join(words).rpartition(" . ")[2].split("<path-1>")[-1].split()
            first, second = [int(word) for word in sentence if word.isdigit()][:2]
            (operation,) = set(sentence) & set(OPERATIONS)
            value = (OPERATIONS[operation](first, second) + self.by) % BASE
            said.append(self.tokenizer.convert_tokens_to_ids(str(value)))
        return torch.nn.functional.one_hot(torch.tensor(said), len(self.tokenizer)).float()

    def head(self, states_ND):
        return states_ND


class Answers(Reckons):
    """Writes the answer, or by another digit, wherever the summary begins, and padding or a word elsewhere."""

    elsewhere = "<pad>"

    def states(self, ids_BL, layout, at):
        said = []
        for row, position in zip(*at, strict=True):
            region = layout.region_BL[row]
            prompt = self.tokenizer.decode(ids_BL[row, torch.from_numpy(region == PROMPT)].tolist())
            answer = next(problem.answer for problem in PROBLEMS if problem.prompt in prompt)
            first = position == (region == region.max()).nonzero()[0][0]
            said.append(
                self.tokenizer.convert_tokens_to_ids(str((int(answer) + self.by) % BASE) if first else self.elsewhere)
            )
        return 50 * torch.nn.functional.one_hot(torch.tensor(said), len(self.tokenizer)).float()


@pytest.mark.parametrize("arm", [*REASONING.ARMS.values(), REASONING.ONE], ids=[*REASONING.ARMS, "one"])
def test_samples_fit_the_canvas(arm):
    tokenizer, task = REASONING.words(), Igsm()
    for index in range(20):
        sample = arm.view(task.sample(0, index, arm.paths), task)
        canvas = lay_out(sample, arm.canvas(task), tokenizer, 0, tokenizer.pad_token_id)
        assert tokenizer.unk_token_id not in canvas.ids and len(canvas) <= 1024
        # The end of a slot says nothing of where its text ends: there is no padding.
        assert tokenizer.pad_token_id not in canvas.ids[(canvas.region >= 0) & (canvas.region < arm.slots)]
        assert canvas.spec.paths == arm.slots == len(sample.paths)


def test_marks_stand_before_every_solution_but_the_first():
    sample = Igsm().sample(0, 0)
    (joined,), (chained,) = (REASONING.ARMS[name].view(sample, Igsm()).paths for name in ("floating", "chain"))
    first, second, third = (path.text for path in sample.paths)
    for text, written in ((joined.text, f"{first} | {second} | {third}"), (chained.text, f"{first} {second} {third}")):
        after = text.removeprefix(written).split()
        assert text.startswith(f"{written} ") and after and set(after) <= {*FILLERS, *CLOSING.split()}


def test_values_are_the_words_that_a_step_computes():
    text = "Ann is 3 . so with 3 7 the gap makes Tom 4 . good . 4 to 3 is sum 7 , so Eve 7 ."
    assert [text.split()[place] for place in REASONING.value_places(text)] == ["4", "7"]


@pytest.mark.parametrize(("by", "share"), [(0, 1.0), (1, 0.0)])
@pytest.mark.parametrize("arm", [*REASONING.ARMS.values(), REASONING.ONE], ids=[*REASONING.ARMS, "one"])
def test_who_works_every_value_out_is_right_about_all_and_who_errs_about_none(arm, by, share, monkeypatch):
    monkeypatch.setattr(REASONING, "CHECKED", 32)
    assert REASONING.value_accuracy(REASONING.Masked(Reckons(by)), arm, SMALL) == share


def test_the_bundled_chain_works_values_out(monkeypatch):
    monkeypatch.setattr(REASONING, "CHECKED", 48)
    model = REASONING.open_model(REASONING.Path("igsm-longcot"))
    assert REASONING.value_accuracy(REASONING.Masked(model), REASONING.ARMS["chain"], Igsm()) > 0.9


@pytest.mark.parametrize("by", [0, 1])
def test_answers_are_written_from_left_to_right_and_checked(by, monkeypatch):
    monkeypatch.setattr(REASONING, "ANSWERED", 3)
    writer = REASONING.Masked(Answers(by))
    assert REASONING.answer_accuracy(writer, REASONING.ONE, SMALL) == 1 - by


def test_an_autoregressive_model_sees_what_stands_before_and_writes_on_from_it(tmp_path):
    tokenizer, task = REASONING.words(), Igsm()
    recipe_of = REASONING.Recipe(steps=1, width=32, heads=2, layers=2, shift=True)
    model = build_model(tokenizer, recipe_of, seed=0)
    model.save_pretrained(tmp_path)
    sample, spec = task.sample(0, 0, 1), REASONING.ONE.canvas(task)
    canvas = lay_out(sample, spec, tokenizer, tokenizer.mask_token_id, tokenizer.pad_token_id)
    writer = REASONING.Causal(Reckons(), tmp_path)
    (written,) = writer.written([canvas])
    with torch.inference_mode():
        said = model(torch.tensor([written])).logits[0].argmax(1)
    places = [at for at in range(len(canvas)) if canvas.region[at] >= 0]
    assert [written[at] for at in places] == [int(said[at - 1]) for at in places]
    assert [written[at] for at in range(len(canvas)) if canvas.region[at] < 0] == canvas.ids[canvas.region < 0].tolist()
    filled = dataclasses.replace(canvas, ids=np.array(written))
    assert writer.said([filled, filled], places[7:9]) == [written[at] for at in places[7:9]]


def test_a_row_says_who_is_right_and_in_which_order(monkeypatch):
    monkeypatch.setattr(MEASURE, "COMPARED", 3)
    monkeypatch.setattr(MEASURE, "FEW", 2)
    rows = {}
    for by in (0, 1):
        arm = REASONING.ARMS["chain"]
        measure = MEASURE.Measure.of(Answers(by), SMALL, arm.canvas(SMALL))
        rows[by] = [measure.row(*setting) for setting in ((MEASURE.AO, 4), (MEASURE.MASKED, 1), ("random", 8))]
    for by, (ao, masked, random) in rows.items():
        assert [ao["problems"], masked["problems"], random["problems"]] == [3, 2, 2]
        assert ao["valid"] == masked["valid"] == random["valid"] == 1 - by and ao["each"] == [not by] * 3
        assert ao["sure"] == 1 and masked["sure"] is None and masked["forwards"] == 2 * 2
        assert {*ao} == {*masked} and ao["global_arness@1"] is not None


def test_a_condition_of_the_gate_fails_alone():
    fine = {"sure": 0.1, "tau_b": 0.5, "global_arness@1": 0.5, "global_arness@1_random": 0.02}
    settings = [*MEASURE.settings_of("chain", 0)]

    def measured(**changes):
        rows = [{"policy": policy, "pace": pace, **fine} for policy, pace in settings]
        for row in rows:
            paced = {"random": 0.7, MEASURE.MASKED: 0.15}.get(row["policy"], 0.7 if row["pace"] == 4 else 0.9)
            row |= {"valid": paced} | changes.get(f"{row['policy']} {row['pace']}", {})
            row["each"] = [row["valid"]] * 5
        return [holds for _, holds in MEASURE.gate(rows, 0.12).values()]

    assert measured() == [True] * 6
    changes = [
        (f"{MEASURE.AO} 1", "sure", 0.3), (f"{MEASURE.TIES[0]} 1", "tau_b", 0.2),
        (f"{MEASURE.AO} 1", "global_arness@1", 0.3), ("random 1", "valid", 0.85),
        (f"{MEASURE.AO} 4", "valid", 0.85), (f"{MEASURE.MASKED} 1", "valid", 0.3),
    ]  # fmt: skip
    for number, (setting, column, value) in enumerate(changes):
        assert measured(**{setting: {column: value}}) == [at != number for at in range(6)]


def test_a_chain_that_is_trained_is_put_to_the_gate_again(monkeypatch, capsys):
    monkeypatch.setattr(REASONING, "FEW", 2)
    monkeypatch.setattr(REASONING, "Igsm", lambda: SMALL)
    monkeypatch.setattr(REASONING, "open_model", lambda path: Answers() if path.name == "mine" else None)
    monkeypatch.setattr(Answers, "elsewhere", "so")
    monkeypatch.setattr(REASONING, "map_rows", lambda fn, rows, **_: map(fn, rows))
    monkeypatch.setattr(sys, "argv", ["reasoning.py", "--gate", "models/mine"])
    assert REASONING.main() == 0
    said = capsys.readouterr().out
    # Sure of everything, and right without any path: the last number of a line is what was measured.
    assert "NO    1.000  at most 20 % of commits" in said and "NO    0.000  random order at least 10 points" in said
    assert "over masked paths at most 10 points above chance" in said.splitlines()[-1]


def test_arms_of_a_seed_side_by_side_train_once_what_they_have_in_common(monkeypatch, tmp_path):
    busy, most = [], []

    def long_enough(arm, phase, folder, seed, **options):
        busy.append(folder.name)
        most.append([*busy])
        time.sleep(0.05)
        busy.remove(folder.name)
        return folder

    monkeypatch.setattr(REASONING, "long_enough", long_enough)
    models = [REASONING.Model(arm=arm, seed=seed) for arm in ("chain", "nap") for seed in (3, 4)]
    with ThreadPoolExecutor(4) as pool:
        found = [*pool.map(lambda model: REASONING.train_model(model, tmp_path / "runs").name, models)]
    assert found == ["chain-3", "chain-4", "nap-3", "nap-4"]
    for seed in (3, 4):
        common = {f"causal-{seed}", f"masked-{seed}"}
        assert any(common & {*now} for now in most) and all(len(common & {*now}) <= 1 for now in most)
        assert max(now.count(name) for now in most for name in common) == 1


def test_of_each_arm_is_measured_what_the_rules_read_and_of_the_first_pair_more():
    settings = {(arm, seed): [*MEASURE.settings_of(arm, seed)] for arm in REASONING.ARMS for seed in (0, 1)}
    assert all(len({*each}) == len(each) for each in settings.values())
    for arm in ("chain", "nap"):
        paces = [pace for policy, pace in settings[arm, 0] if policy == MEASURE.FORCED]
        assert paces == [1, 2, 3, 4, 6] and ("threshold:tau=0.9", None) in settings[arm, 0]
    own = {(MEASURE.MASKED, 1), ("parallel_threshold:tau=0.9", None)}
    by, forced = ({(policy, pace) for pace in (1, 4)} for policy in (MEASURE.AO, MEASURE.FORCED))
    assert {*settings["chain", 1]} == {*MEASURE.GATE} | own | by | forced
    assert {*settings["nap", 1]} == own | by | forced and {*settings["paths", 0]} == own | forced
    others = REASONING.ARMS.keys() - {"chain", "nap", "paths"}
    assert all({*settings[arm, seed]} == own | by for arm in others for seed in (0, 1))


def test_the_rules_find_all_that_they_read_in_what_is_measured(tmp_path):
    for arm in REASONING.ARMS:
        for seed in (1, 2):
            write_arm(tmp_path, arm, seed, 0.6, 0.5)
    study = PAGE.Study(tmp_path, REASONING.queue())
    assert [finding.line(study).split("|")[4].strip() for finding in PAGE.findings(study)] == ["2"] * 11
    assert PAGE.page(study).count("not run yet") == 0


def test_a_mean_over_some_of_an_arms_seeds_names_them(tmp_path):
    for seed, arness in enumerate((0.5, 0.1)):
        write_arm(tmp_path, "nap", seed, 0.6, arness)
    text = PAGE.page(PAGE.Study(tmp_path, REASONING.queue()))
    assert "| `nap` | .900 | .900, seed 0 | .900, seed 0 | .600 | .900, seed 0 |" in text
    # Ties were measured of seed 0, whose ARness is .5; the mean of both is .3.
    assert "| `nap` | +0.30 (seed 0: +0.50, ties +0.50 to +0.50) |" in text


def test_the_median_of_what_every_seed_has_is_bundled(tmp_path, monkeypatch, capsys):
    for seed, at_4 in enumerate((0.6, 0.1, 0.3)):
        write_arm(tmp_path, "nap", seed, at_4, 0.5)
        (tmp_path / f"nap-{seed}/3000").mkdir(parents=True)
    agreement = sys.modules[REASONING.work_through.__module__]
    monkeypatch.setattr(agreement, "newest", lambda folder: folder / "3000/final")
    monkeypatch.setattr(agreement, "bundle", lambda *asked: print(*asked))
    flags = ["--install", "igsm-nap", "--runs", str(tmp_path), "--results", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["reasoning.py", *flags])
    assert REASONING.main() == 0
    assert capsys.readouterr().out.splitlines() == [
        f"igsm-nap {tmp_path}/nap-2/3000/final nap-2",
        "igsm-nap is seed 2 of nap",
    ]


def write_arm(folder, arm, seed, valid_at_4, arness):
    """Rows of a model that is right on .9 at one token a step, and on so many at four."""
    rows = []
    for policy, pace in MEASURE.settings_of(arm, seed):
        right = 0.9 if pace != 4 else valid_at_4
        orders = {f"{scope}global_arness@1": arness for scope in ("", "path_", "third_")}
        chances = {f"{scope}global_arness@1_random": 0.0 for scope in ("", "path_", "third_")}
        row = {
            "policy": policy,
            "pace": pace,
            "valid": right,
            "forwards": 10,
            "tokens": 20,
            "each": [True] * round(200 * right) + [False] * (200 - round(200 * right)),
            "sure": 0.1,
        }
        rows.append(row | {"tau_b": 0.1} | orders | chances)
    REASONING.write_rows(rows, folder / f"{arm}-{seed}.parquet", {})


@pytest.mark.parametrize(
    ("nap_at_4", "verdict"),
    [(0.79, "supported; Dream's size not refuted"), (0.595, "open; Dream's size refuted")],
)
def test_the_page_decides_by_the_rules_of_the_protocol(tmp_path, nap_at_4, verdict):
    for seed, noise in enumerate((-0.005, 0.0, 0.005)):
        write_arm(tmp_path, "chain", seed, 0.6, 0.5)
        write_arm(tmp_path, "nap", seed, nap_at_4 + noise, 0.3)
    text = PAGE.page(PAGE.Study(tmp_path, REASONING.queue()))
    first = next(line for line in text.splitlines() if line.startswith("| R1 ") and "forced" in line)
    assert first.endswith(f"| 3 | {verdict} |")
    # Here the chain is as right under either decoder, so both say the same.
    assert next(line for line in text.splitlines() if "both forced" in line).endswith(f"| 3 | {verdict} |")
    assert "| R2 | ARness in thirds, chain less NAP | +0.200 [+0.200, +0.200] | 3 | lowers order |" in text
    assert "| R3 | cannot see each other, forced at 4 | not run yet | 0 | |" in text


def test_the_page_says_in_short_what_each_seed_loses_with_intervals_over_its_problems(tmp_path):
    for arm, at_4 in (("chain", 0.6), ("nap", 0.9)):
        write_arm(tmp_path, arm, 1, at_4, 0.5)
    (line,) = PAGE.in_short(PAGE.Study(tmp_path, REASONING.queue()))
    # 60 of 200 problems are lost: a spread of sqrt(.3 .7 200 / 199), and a half width of 1.972 times that / sqrt(200).
    assert "the chain 30.0 [23.6, 36.4] by confidence" in line and "NAP's paths 0.0 [0.0, 0.0] forced" in line
    assert line.startswith("- Seed 1, ") and "loses 30.0 [23.6, 36.4] more than NAP (forced)" in line


def test_the_page_is_as_the_rows_make_it(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["reasoning_page.py", "--check"])
    assert PAGE.main() == 0, capsys.readouterr().out
