"""The edit objective: what drafts and scripts a step learns from, its loss, and the folder that it makes."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_finetune import WATCH, decoded, job, place, quiet

from nap.common.files import InputError
from nap.decoding.decode import decode_traces
from nap.decoding.editor import Editor, EditorSetting, open_editor
from nap.decoding.policies.registry import parse_policy
from nap.decoding.policies.revising import DELETE
from nap.decoding.prompt import asked_canvas, canvas_of
from nap.models.load import load
from nap.tasks.arith import Arith
from nap.training.edit import Targets, corrupted, drawn, edit_loss, shaken
from nap.training.finetune import fine_tune
from nap.training.settings import Objective

PAD = 1
__all__ = ["place"]


def editing(place, **changes):
    return replace(job(place, **changes), objective=Objective(objective="edit"))


def test_a_draft_is_drawn_from_what_was_predicted_and_never_is_a_mask():
    noisy = torch.tensor([[9, 0, 0, 7]])
    inputs = {"input_ids": noisy, "rows": torch.tensor([0, 0]), "positions": torch.tensor([1, 2])}
    inputs["mask_id"] = torch.tensor(0)
    logits = torch.full((2, 10), -30.0)
    logits[0, 4], logits[1, [5, 6]], logits[:, 0] = 0.0, 0.0, 9.0
    found = {tuple(drawn(inputs, logits, np.random.default_rng(n))[0].tolist()) for n in range(20)}
    assert found == {(9, 4, 5, 7), (9, 4, 6, 7)}


def test_what_is_shaken_keeps_its_room_and_its_targets_make_it_the_sample_again():
    assert shaken([5, 6, PAD], PAD, 0.0, np.random.default_rng(0)) == [5, 6, PAD]
    many = [shaken([5, 6, 7, PAD], PAD, 0.8, np.random.default_rng(n)) for n in range(40)]
    assert {len(slot) for slot in many} == {4} and [5, 6, 7, PAD] in many and [5, 5, 6, 6] in many
    clean = torch.tensor([[9, 5, 6, 7, PAD]])
    inputs = {"clean": clean, "region": torch.tensor([[-1, 0, 0, 0, 0]]), "pad_id": torch.tensor(PAD)}
    inputs["corrupt"] = torch.tensor(0.0)
    draft, targets = corrupted(torch.tensor([[9, 5, 8, PAD, PAD]]), inputs, np.random.default_rng(0))
    assert draft.tolist() == [[9, 5, 8, PAD, PAD]]
    assert targets.c_M.tolist() == [5, 6, PAD, PAD] and targets.n_M.tolist() == [6, 7, PAD, PAD]


def test_the_loss_is_the_mean_of_minus_the_log_of_what_a_script_says():
    editor = Editor(EditorSetting(model="", width=2, vocabulary=3, pad_id=PAD))
    with torch.no_grad():
        editor.delete.weight.copy_(torch.tensor([[1.0, 0.0]]))
        editor.delete.bias.zero_()
        editor.next.weight.copy_(torch.tensor([[0.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
    states = torch.tensor([[2.0, 1.0], [-2.0, 0.0]])
    logits = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    found = edit_loss(logits, editor, states, Targets(torch.tensor([DELETE, 1]), torch.tensor([1, 2])))
    goes, stays = 1 / (1 + np.exp(-2.0)), 1 / (1 + np.exp(-2.0))
    one = np.exp(1) / (np.exp(1) + 2)
    wanted = -(np.log(goes) + np.log(one) + np.log(stays * one) + np.log(1 / 3)) / 2
    assert float(found.detach()) == pytest.approx(wanted, abs=1e-6)


def test_the_folder_is_a_model_and_its_editor_and_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(place):
    fine_tune(editing(place), place / "edited", WATCH, quiet)
    final = place / "edited" / "final"
    denoiser = decoded(final)
    open_editor(str(final)).check(denoiser)
    with pytest.raises(InputError, match="trained on another model"):
        open_editor(str(final)).check(load(str(place / "model")))
    assert json.loads((final / "training.json").read_text())["objective"]["objective"] == "edit"
    problems = Arith().load("test", 2, None)
    canvases = [canvas_of(denoiser, problem, asked_canvas(denoiser, None, None)) for problem in problems]
    policy = parse_policy(f"draft_revise:guide={final},draft=threshold:tau=0.1,share=0.8,edit=0.05")
    for trace in decode_traces(denoiser, canvases, policy):
        assert denoiser.mask_id not in trace.final and sum(cost.guide_calls for cost in trace.costs)
    # As if it had been killed behind the checkpoint of step 3.
    again = shutil.copytree(place / "edited", place / "again")
    for folder in (again / "final", again / "checkpoint-6"):
        shutil.rmtree(folder)
    fine_tune(editing(place), again, WATCH, quiet)
    for name in ("model.safetensors", "editor.safetensors"):
        whole, resumed = (load_file(folder / "final" / name) for folder in (place / "edited", again))
        assert whole.keys() == resumed.keys() and all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_what_the_edit_objective_cannot_be_trained_with_is_refused(place):
    with pytest.raises(InputError, match="trains all weights in one process"):
        fine_tune(editing(place, lora=4), place / "refused", WATCH, quiet)
    with pytest.raises(InputError, match=r"corrupt 0\.2 changes nothing with the objective mask"):
        Objective(corrupt=0.2)
    with pytest.raises(InputError, match=r"corrupt must be from 0 to 1, got 1\.5"):
        Objective(objective="edit", corrupt=1.5)
