"""Train a small denoiser on generated samples with transformers' Trainer.

A batch is a pure function of (seed, batch index): the same samples, noise levels and masks whatever ran before, so a
killed run resumes to the same model. Has no training loop of its own, no LoRA and no other losses yet.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, SequentialSampler
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments

from nap.canvas import Canvas, CanvasSpec, Tokenizer, collate, fill, layout
from nap.loss import mask_tokens, masked_loss, stratified_times
from nap.optim import muon_for
from nap.schema import OUTSIDE, Sample

# Batches that are drawn together, sorted by length and dealt out, so that little of a batch is padding.
CHUNK = 8


class DiffusionBatches(Dataset[dict[str, Tensor]]):
    """Item i is batch i: `draw(index)` gives sample `index` of an endless stream."""

    def __init__(
        self,
        draw: Callable[[int], Sample],
        spec: CanvasSpec,
        tokenizer: Tokenizer,
        *,
        mask_id: int,
        pad_id: int,
        batch_size: int,
        batches: int,
        seed: int,
    ) -> None:
        self.draw, self.spec, self.tokenizer = draw, spec, tokenizer
        self.mask_id, self.pad_id, self.batch_size, self.batches, self.seed = mask_id, pad_id, batch_size, batches, seed
        self._chunk = functools.lru_cache(maxsize=2)(self._draw_chunk)

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """input_ids, labels, masked, maskable (all BL), t (B) and an attention mask (B, 1, 1, L)."""
        canvases = self._chunk(index // CHUNK)[index % CHUNK]
        ids, where = collate(canvases, self.pad_id)
        ids_BL, region_BL = torch.from_numpy(ids), torch.from_numpy(where.region_BL)
        generator = torch.Generator().manual_seed(int(np.random.SeedSequence([self.seed, index]).generate_state(1)[0]))
        t_B = stratified_times(len(canvases), generator)
        noisy_BL, masked_BL = mask_tokens(ids_BL, region_BL >= 0, t_B, self.mask_id, generator)
        blocked = torch.zeros(region_BL.shape).masked_fill(region_BL == OUTSIDE, torch.finfo(torch.float32).min)
        return {
            "input_ids": noisy_BL,
            "labels": ids_BL,
            "masked": masked_BL,
            "maskable": region_BL >= 0,
            "t": t_B,
            "attention_mask": blocked[:, None, None, :].expand(-1, -1, ids_BL.shape[1], -1),
        }

    def _draw_chunk(self, chunk: int) -> list[list[Canvas]]:
        start = chunk * CHUNK * self.batch_size
        canvases = [self._lay_out(self.draw(start + offset)) for offset in range(CHUNK * self.batch_size)]
        canvases.sort(key=len)
        dealt = [canvases[i : i + self.batch_size] for i in range(0, len(canvases), self.batch_size)]
        # Sorted batches would always come short to long.
        order = np.random.default_rng([self.seed, chunk]).permutation(CHUNK)
        return [dealt[i] for i in order]

    def _lay_out(self, sample: Sample) -> Canvas:
        prompt = self.tokenizer.encode(sample.problem.prompt, add_special_tokens=False)
        empty = layout(prompt, self.spec, self.tokenizer, self.mask_id)
        texts = [path.text for path in sample.paths] + [sample.summary]
        return Canvas(ids=fill(empty, texts, self.tokenizer, self.pad_id), region=empty.region, spec=self.spec)


class DiffusionTrainer(Trainer):
    """The Trainer with the masked-diffusion loss and batches in their own order."""

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)  # pyright: ignore[reportArgumentType]

    def compute_loss(self, model: Any, inputs: dict[str, Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """The loss of one batch, in nats a maskable token."""
        logits_BLV = model(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False
        ).logits
        return masked_loss(logits_BLV, inputs["labels"], inputs["masked"], inputs["maskable"], inputs["t"])


def _only(items: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return items[0]


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
    callbacks: Sequence[TrainerCallback] = (),
) -> PreTrainedModel:
    """Train to the end of `batches` with Muon, resuming from the newest whole checkpoint in `folder` if there is one.

    learning_rate, matrix_learning_rate  peaks for AdamW's parameters and for the hidden matrices; cosine to 0
    """
    folder.mkdir(parents=True, exist_ok=True)
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=len(batches),
        per_device_train_batch_size=1,
        learning_rate=learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=min(300, len(batches) // 10),
        max_grad_norm=1.0,
        bf16=bf16,
        use_cpu=True,
        seed=seed,
        logging_steps=50,
        save_steps=save_steps,
        save_total_limit=2,
        dataloader_num_workers=0,
        report_to="none",
        torch_compile=compile,
        remove_unused_columns=False,
        disable_tqdm=True,
    )
    trainer = DiffusionTrainer(
        model=model,
        args=arguments,
        train_dataset=batches,
        data_collator=_only,
        callbacks=list(callbacks),
        optimizers=(muon_for(model, learning_rate, matrix_learning_rate), None),
    )
    trainer.train(resume_from_checkpoint=newest_checkpoint(folder))
    return model


def newest_checkpoint(folder: FilePath) -> str | None:
    """The checkpoint of the most steps that is whole: the Trainer writes its state last, and a kill may come before."""
    whole = [path for path in folder.glob("checkpoint-*") if (path / "trainer_state.json").is_file()]
    return str(max(whole, key=lambda path: int(path.name.rpartition("-")[2]))) if whole else None
