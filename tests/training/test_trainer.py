"""A killed training goes on as if nothing had happened, and the Trainer's own generators are asked for nothing."""

import os
import shutil
from functools import partial
from typing import Any

import pytest
import torch
import transformers.trainer
from transformers import TrainingArguments

import nap.training.trainer
from nap.training.batches import DiffusionBatches
from nap.training.loss import masked_loss
from nap.training.trainer import DiffusionTrainer, train, training_arguments
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


def test_several_visible_gpus_drop_no_part_of_a_step(tmp_path, losses, monkeypatch):
    """transformers fetches a part for each GPU, of which a training in one process would use the first."""
    run(tmp_path / "one")
    expected = [loss.item() for loss in losses]
    made = TrainingArguments.__post_init__

    def with_two(self):
        made(self)
        self._n_gpu = 2

    monkeypatch.setattr(TrainingArguments, "__post_init__", with_two)
    losses.clear()
    run(tmp_path / "two")
    assert [loss.item() for loss in losses] == expected


@pytest.mark.parametrize(
    ("lacks", "named"),
    [
        (["lm_head.weight"], []),
        (["lm_head.weight", "model.norm.weight"], ["model.norm.weight"]),
        (["lm_head.weight", "model.embed_tokens.weight"], ["model.embed_tokens.weight", "lm_head.weight"]),
    ],
    ids=str,
)
def test_the_second_name_of_a_weight_is_not_called_missing_and_all_else_is(tmp_path, monkeypatch, lacks, named):
    model = tiny_model(TOKENIZER, tie_word_embeddings=True)
    trainer = DiffusionTrainer(model, batches_of(), training_arguments(tmp_path, batches_of(), use_cpu=True), [], None)
    said = []
    monkeypatch.setattr(transformers.trainer.logger, "warning", said.append)
    weights = {name: weight for name, weight in model.state_dict().items() if name not in lacks}
    trainer._issue_warnings_after_load(model.load_state_dict(weights, strict=False))
    assert said == [f"There were missing keys in the checkpoint model loaded: {named}."] * bool(named)


def test_a_number_type_in_the_environment_changes_no_product(tmp_path, losses, monkeypatch):
    """`accelerate launch` exports that of its own configuration."""
    run(tmp_path / "plain")
    expected = [loss.item() for loss in losses]
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    losses.clear()
    run(tmp_path / "set")
    assert [loss.item() for loss in losses] == expected
    assert os.environ["ACCELERATE_MIXED_PRECISION"] == "bf16"


def test_the_trainer_and_its_seed_change_no_batch(tmp_path, losses):
    """Its own generators are not asked for anything."""
    run(tmp_path / "one")
    first = [loss.item() for loss in losses]
    losses.clear()
    run(tmp_path / "other", seed=1)
    assert [loss.item() for loss in losses] == first
