"""A killed training goes on as if nothing had happened, and the Trainer's own generators are asked for nothing."""

import shutil
from functools import partial
from typing import Any

import pytest
import torch

import nap.training.trainer
from nap.training.batches import DiffusionBatches
from nap.training.loss import masked_loss
from nap.training.trainer import train
from tiny import recipe, tiny_model

BUNDLED = recipe("bundled")
TOKENIZER = BUNDLED.build_tokenizer("arith")
PAD, MASK = TOKENIZER.pad_token_id, TOKENIZER.mask_token_id


def batches_of(batch_size=4, batches=6, seed=3, **options):
    return DiffusionBatches(
        partial(BUNDLED.draw, "arith", "nap", seed), BUNDLED.canvas_of("arith", "nap"), TOKENIZER, mask_id=MASK,
        pad_id=PAD, batch_size=batch_size, batches=batches, seed=seed, **options,
    )  # fmt: skip


class Killed(BaseException):
    """Ends a training at once, as a kill does."""


@pytest.fixture
def losses(monkeypatch):
    """Every loss that is computed; `losses.kill_at` is the index of one that is not survived."""

    class Losses(list):
        kill_at = None

    seen = Losses()

    def recorded(*args):
        if len(seen) == seen.kill_at:
            raise Killed
        seen.append(masked_loss(*args))
        return seen[-1]

    monkeypatch.setattr(nap.training.trainer, "masked_loss", recorded)
    return seen


def run(folder, **changes: Any):
    model = tiny_model(TOKENIZER, seed=changes.pop("init", 0), initializer_range=0.1, attn_implementation="eager")
    rates: dict[str, Any] = {"learning_rate": 1e-2, "matrix_learning_rate": 2e-2}
    settings = rates | {"seed": 0, "bf16": False, "save_steps": 3, "compile": False} | changes
    return train(model, batches_of(), folder, **settings).state_dict()


def test_a_killed_training_resumes_to_the_same_losses_and_weights_bit_by_bit(tmp_path, losses):
    whole = run(tmp_path / "whole")
    expected = [loss.item() for loss in losses]
    assert len(expected) == 6 and expected[-1] < expected[0]

    losses.clear()
    losses.kill_at = 4
    with pytest.raises(Killed):
        run(tmp_path / "killed")
    # Killed in the middle of writing another checkpoint, too.
    shutil.copytree(tmp_path / "killed/checkpoint-3", tmp_path / "killed/checkpoint-4")
    (tmp_path / "killed/checkpoint-4/trainer_state.json").unlink()
    (tmp_path / "killed/checkpoint-4/model.safetensors").write_bytes(b"cut")

    losses.clear()
    losses.kill_at = None
    resumed = run(tmp_path / "killed", init=1)  # what it starts from does not matter
    assert [loss.item() for loss in losses] == expected[3:]
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_trainer_and_its_seed_change_no_batch(tmp_path, losses):
    """Its own generators are not asked for anything."""
    run(tmp_path / "one")
    first = [loss.item() for loss in losses]
    losses.clear()
    run(tmp_path / "other", seed=1)
    assert [loss.item() for loss in losses] == first
