"""The gate of the models that reason: which words count as values, who is right about them, what passes."""

import sys
from functools import partial

import pytest
import torch

from nap.data.trace import OUTSIDE
from nap.tasks.igsm import BASE, OPERATIONS, Igsm
from nap.training.batches import lay_out
from tiny import RECIPES, recipe

sys.path.insert(0, str(RECIPES))
REASONING = recipe("reasoning")
build_model = recipe("bundled").build_model
SMALL = Igsm(least=2, most=2, shortest=17, longest=28)


class Reckons:
    """Works each value out from the words of its sentence, and `by` more."""

    max_length = canvas = None
    device = torch.device("cpu")

    def __init__(self, by=0):
        self.by, self.tokenizer, self.setting = by, REASONING.build_tokenizer("igsm"), {"model": "reckons"}
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


@pytest.mark.parametrize("arm", [*REASONING.ARMS.values(), REASONING.ONE], ids=[*REASONING.ARMS, "one"])
def test_samples_fit_the_canvas(arm):
    tokenizer, task = REASONING.build_tokenizer("igsm"), Igsm()
    for index in range(20):
        sample = arm.view(task.sample(0, index, arm.paths))
        canvas = lay_out(sample, arm.canvas(task), tokenizer, 0, tokenizer.pad_token_id)
        assert tokenizer.unk_token_id not in canvas.ids and len(canvas) <= 512


def test_values_are_the_words_that_a_step_computes():
    text = "Ann is 3 . so with 3 7 the gap makes Tom 4 . good . 4 to 3 is sum 7 , so Eve 7 ."
    assert [text.split()[place] for place in REASONING.value_places(text)] == ["4", "7"]


@pytest.mark.parametrize(("by", "share"), [(0, 1.0), (1, 0.0)])
@pytest.mark.parametrize("arm", [*REASONING.ARMS.values(), REASONING.ONE], ids=[*REASONING.ARMS, "one"])
def test_who_works_every_value_out_is_right_about_all_and_who_errs_about_none(arm, by, share, monkeypatch):
    monkeypatch.setattr(REASONING, "CHECKED", 32)
    reckons = Reckons(by)
    assert REASONING.value_accuracy(reckons, arm, SMALL, partial(REASONING.likeliest, reckons)) == share


def test_an_autoregressive_start_is_asked_about_what_stands_before(tmp_path):
    tokenizer, task = REASONING.build_tokenizer("igsm"), Igsm()
    recipe_of = REASONING.Recipe(steps=1, width=32, heads=2, layers=2, shift=True)
    model = build_model(tokenizer, recipe_of, seed=0)
    model.save_pretrained(tmp_path)
    sample = task.sample(0, 0, 1)
    canvas = lay_out(sample, REASONING.ONE.canvas(task), tokenizer, tokenizer.mask_token_id, tokenizer.pad_token_id)
    with torch.inference_mode():
        wanted = model(torch.from_numpy(canvas.ids[None])).logits[0].argmax(1)
    assert REASONING.causal_tokens(tmp_path)([canvas, canvas], [60, 90]) == [int(wanted[59]), int(wanted[89])]


def test_a_condition_of_the_gate_fails_alone():
    fine = {"right": 0.9, "sure": 0.1, "tau_b": 0.5, "arness": 0.5}
    rows = {f"{policy} at {pace}": dict(fine) for policy, pace in REASONING.DECODERS}
    rows[f"{REASONING.AO} at 4"]["right"] = rows["random at 1"]["right"] = 0.7
    rows[REASONING.MASKED] = {"right": 0.15}
    assert all(holds for _, holds in REASONING.verdicts(rows, 0.12).values())
    changes = [
        (f"{REASONING.AO} at 1", "sure", 0.3), (f"{REASONING.AO}:within=0.01,prefer=left at 1", "tau_b", 0.2),
        (f"{REASONING.AO} at 1", "arness", 0.3), ("random at 1", "right", 0.85),
        (f"{REASONING.AO} at 4", "right", 0.85), (REASONING.MASKED, "right", 0.3),
    ]  # fmt: skip
    for number, (name, column, value) in enumerate(changes):
        changed = {key: dict(row) for key, row in rows.items()}
        changed[name][column] = value
        assert [holds for _, holds in REASONING.verdicts(changed, 0.12).values()].index(False) == number
