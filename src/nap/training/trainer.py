"""Masked diffusion on transformers' Trainer: the loss, batches in a fixed order, and saves that are whole or absent.

A batch is a pure function of (seed, batch index): its samples, noise levels and masks do not depend on what ran before,
so a killed run resumes to the same model. A step may be split over processes and accumulated passes
(`DiffusionBatches`, `parts`); the Trainer averages the parts. Has no training loop of its own, and does not read files
of samples (corpus.py) or choose what to train (finetune.py).
"""

import json
import shutil
from collections.abc import Callable, Sequence
from operator import itemgetter
from pathlib import Path as FilePath
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn
from torch.utils.data import SequentialSampler
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments

from nap.common.files import InputError
from nap.common.text import say
from nap.models.denoiser import predicted_from
from nap.training import lora
from nap.training.batches import DiffusionBatches
from nap.training.checkpoints import forget_others, newest_checkpoint, not_saved, seal
from nap.training.loss import masked_loss
from nap.training.muon import muon_for
from nap.training.processes import own_environment


class _Picked:
    """A hook before the output head: while `at` is set, only the states of masked tokens go through the head.

    The head does most of the work of a small model with a large vocabulary, and half of a canvas is not masked.
    """

    at: tuple[Tensor, Tensor] | None = None
    states_ND: Tensor | None = None

    def __call__(self, head: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if self.at is None:
            return None
        self.states_ND = inputs[0][self.at]
        return self.states_ND, *inputs[1:]


class DiffusionTrainer(Trainer):
    """The Trainer with the masked-diffusion loss and batches in a fixed order.

    tokens   positions, without outer padding, that this process has trained on since it started
    summed   the sum of its losses since the last that was logged
    carried  that sum, and of how many steps, at the checkpoint that it goes on from, until its first step
    """

    tokens: int = 0
    summed: Tensor
    carried: tuple[float, int] | None = None

    def __init__(
        self,
        model: nn.Module,
        batches: DiffusionBatches,
        arguments: TrainingArguments,
        callbacks: Sequence[TrainerCallback],
        optimizer: torch.optim.Optimizer | None,
    ) -> None:
        super().__init__(
            model=model, args=arguments, train_dataset=batches, data_collator=itemgetter(0), callbacks=list(callbacks),
            optimizers=(optimizer, None),
        )  # fmt: skip
        # A processed model may count tokens and divide by them itself; here every part has its weights already.
        self.model_accepts_loss_kwargs = False
        self.picked: _Picked | None = None
        head = self.model.get_output_embeddings()  # pyright: ignore
        if not self.args.torch_compile and head is not None:
            self.picked = _Picked()
            head.register_forward_pre_hook(self.picked)

    def _get_train_sampler(self, *args: object, **kwargs: object) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)  # pyright: ignore[reportArgumentType]

    def carry(self, checkpoint: str | None) -> None:
        """Take the losses that were not logged yet from a checkpoint; earlier versions did not keep them."""
        kept = FilePath(checkpoint or "") / self._unlogged()
        if checkpoint and kept.is_file():
            said = json.loads(kept.read_text(encoding="utf-8"))
            self.carried = said["loss"], said["steps"]

    def _unlogged(self) -> str:
        return f"unlogged_{self.args.process_index}.json"

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """The loss of one part of a step, once its gradient is there."""
        loss = super().training_step(*args, **kwargs)
        if self.carried:
            (summed, steps), self.carried = self.carried, None
            self._globalstep_last_logged -= steps
            # The Trainer's own sum begins with this one: so it rounds as that of a run that was not killed.
            loss = torch.tensor(summed, device=loss.device) + loss
        return loss

    def _maybe_log_save_evaluate(self, tr_loss: Tensor, *args: Any, **kwargs: Any) -> None:
        self.summed = tr_loss
        super()._maybe_log_save_evaluate(tr_loss, *args, **kwargs)

    def compute_loss(self, model: nn.Module, inputs: dict[str, Tensor], *args: object, **kwargs: object) -> Tensor:
        """The loss of one part of a step."""
        logits_NV = self.predicted(model, inputs, inputs["rows"], inputs["positions"])
        return masked_loss(logits_NV, inputs["targets"], inputs["weights"])

    def predicted(self, model: nn.Module, inputs: dict[str, Tensor], rows_N: Tensor, positions_N: Tensor) -> Tensor:
        """logits_NV for the tokens at these places, in one forward, a model's shift undone."""
        self.tokens += int(inputs["tokens"])
        shift = bool(getattr(self.model.config, "shift_logits", False))  # pyright: ignore
        at = rows_N, predicted_from(positions_N, shift)
        if self.picked is None:
            return self._forward(model, inputs)[at]
        self.picked.at = at
        try:
            return self._forward(model, inputs)
        finally:
            self.picked.at = None

    def _forward(self, model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
        given = {name: inputs[name] for name in ("input_ids", "attention_mask", "position_ids") if name in inputs}
        return model(**given, use_cache=False).logits

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Warn of what a checkpoint lacks, but for the second name of a weight that has two, which no file holds."""
        weights = dict(self.model.named_parameters(remove_duplicate=False))  # pyright: ignore
        found = {id(weight) for name, weight in weights.items() if name not in load_result.missing_keys}
        load_result.missing_keys[:] = [name for name in load_result.missing_keys if id(weights.get(name)) not in found]
        super()._issue_warnings_after_load(load_result)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        if hasattr(self.model, "peft_config"):
            folder = FilePath(output_dir or str(self.args.output_dir))
            lora.save(self.model, folder, state_dict)  # pyright: ignore[reportArgumentType]
        else:
            super()._save(output_dir, state_dict)

    def _save_checkpoint(self, model: nn.Module, trial: object) -> None:
        """Save a whole checkpoint or none. Raises InputError if the disk does not take it."""
        folder = FilePath(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
        try:
            if self.args.should_save:
                # Left by a killed run, or damaged on the disk.
                shutil.rmtree(folder, ignore_errors=True)
            self.accelerator.wait_for_everyone()
            super()._save_checkpoint(model, trial)
            unlogged = {"loss": float(self.summed), "steps": self.state.global_step - self._globalstep_last_logged}
            (folder / self._unlogged()).write_text(json.dumps(unlogged), encoding="utf-8")
            # Each process writes a part.
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                seal(folder)
        except Exception as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise not_saved(folder, error) from error
        if self.args.should_save:
            forget_others(folder)


def train(
    model: PreTrainedModel,
    batches: DiffusionBatches,
    folder: FilePath,
    *,
    learning_rate: float,
    matrix_learning_rate: float,
    seed: int,
    bf16: bool,
    save_steps: int = 250,
    compile: bool = True,
    device: str = "cpu",
    callbacks: Sequence[TrainerCallback] = (),
) -> PreTrainedModel:
    """Train to the end of `batches` with Muon, resuming from the newest whole checkpoint in `folder` if there is one.

    learning_rate, matrix_learning_rate  peaks for AdamW's parameters and for the hidden matrices; cosine to 0
    device                               cpu, or cuda for the first GPU
    """
    with own_environment():
        arguments = training_arguments(
            folder,
            batches,
            learning_rate=learning_rate,
            warmup_steps=min(300, len(batches) // 10),
            bf16=bf16,
            use_cpu=device == "cpu",
            seed=seed,
            logging_steps=50,
            save_steps=save_steps,
            torch_compile=compile,
        )
        run_trainer(model, batches, arguments, callbacks, muon_for(model, learning_rate, matrix_learning_rate))
    return model


def training_arguments(folder: FilePath, batches: DiffusionBatches, **changes: Any) -> TrainingArguments:
    """Arguments that all trainings share; the batches give the number of steps and of parts.

    A process trains on one device. Given several, the Trainer would fetch a part for each and train on the first part.
    """
    folder.mkdir(parents=True, exist_ok=True)
    common: dict[str, Any] = {
        "max_steps": batches.batches, "per_device_train_batch_size": 1, "lr_scheduler_type": "cosine",
        "max_grad_norm": 1.0, "dataloader_num_workers": 0, "report_to": "none",
        "remove_unused_columns": False, "disable_tqdm": True,
    }  # fmt: skip
    arguments = TrainingArguments(output_dir=str(folder), **common | changes)
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def run_trainer(
    model: nn.Module,
    batches: DiffusionBatches,
    arguments: TrainingArguments,
    callbacks: Sequence[TrainerCallback] = (),
    optimizer: torch.optim.Optimizer | None = None,
    say: Callable[[str], None] = say,
    kind: type[DiffusionTrainer] = DiffusionTrainer,
) -> DiffusionTrainer:
    """Train to the end of `batches` from the newest whole checkpoint of the folder; AdamW if no optimizer is given.

    say   is told which checkpoints are damaged
    kind  the Trainer with the loss that is wanted
    """
    trainer = kind(model, batches, arguments, callbacks, optimizer)
    if arguments.fsdp and not trainer.is_fsdp_enabled:
        # accelerate would silently ignore it, and give every process the whole model.
        raise InputError("fsdp shards weights over GPUs, and this machine has none; leave --fsdp out")
    for callback in callbacks:
        callback.trainer = trainer  # pyright: ignore[reportAttributeAccessIssue]
    checkpoint = _agreed(trainer, say)
    trainer.carry(checkpoint)
    trainer.train(resume_from_checkpoint=checkpoint)
    return trainer


def _agreed(trainer: DiffusionTrainer, say: Callable[[str], None]) -> str | None:
    """The checkpoint to resume from. One process looks for it and tells the others."""
    folder = FilePath(str(trainer.args.output_dir))
    found = [newest_checkpoint(folder, say) if trainer.is_world_process_zero() else None]
    return broadcast_object_list(found)[0]
