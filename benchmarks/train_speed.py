"""Tokens a second of `nap train`'s batches and loss against a plain Trainer's, same model and data.

    OMP_NUM_THREADS=1 python benchmarks/train_speed.py                                        # docs/training.md
    OMP_NUM_THREADS=1 python benchmarks/train_speed.py --vocabulary 128 --longest-prompt 60   # less to gain

Both train the same random Llama on the same samples (a countdown solution in one slot of 48, a prompt of 10 letters to
--longest-prompt, a token a letter), with the Trainer's AdamW, in the number type that `nap train` would choose here.
The plain loop takes samples as they come, pads each batch to its longest row and gives every position's logits to the
loss, which is what a Trainer with a padding collator and labels does. Tokens are those of the canvases, without outer
padding. The runs take turns; the median of the turns counts, and all are printed. The machine's peak is the best
product of 1024 x 1024 matrices in that type on the same number of threads. A token costs 6 operations for each
parameter of the layers, and a masked one 6 more for each parameter of the head; attention scores are not counted.
Seconds are CPU seconds of the process, which with one thread equal the wall time on an idle core.
"""

import argparse
import json
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback

from nap.canvas.canvas import CanvasSpec
from nap.common.machine import DTYPES, fast_dtype
from nap.data.problems import Problem
from nap.data.samples import Path as Solution
from nap.data.samples import Sample
from nap.tasks.countdown import Countdown
from nap.training.batches import DiffusionBatches
from nap.training.trainer import run_trainer, training_arguments

WIDTH, LAYERS, BATCH = 256, 4, 16
SPEC = CanvasSpec(paths=1, path_tokens=48, summary_tokens=0, tags="none")


class Words:
    """A tokenizer of characters, which is all that a canvas needs."""

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """One id a character."""
        return [2 + ord(letter) % 126 for letter in text]

    def decode(self, ids: Any) -> str:
        """Not a text: no tag is ever looked for."""
        return " ".join(map(str, ids))


def draw(index: int, longest: int) -> Sample:
    """A short solution under a prompt of 10 letters or more."""
    sample = Countdown().sample(0, index)
    prompt = " ".join([sample.problem.prompt] * (1 + longest // 30))[: 10 + 37 * index % (longest - 9)]
    problem = Problem(id=sample.problem.id, prompt=prompt, answer=sample.problem.answer)
    return Sample(problem=problem, paths=(Solution(text=sample.paths[0].text[:48]),), summary="")


class Padded(DiffusionBatches):
    """The same stream in the order drawn, every row padded to the longest of its batch."""

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        rows = [self.canvas(index * self.batch_size + row) for row in range(self.batch_size)]
        longest = max(map(len, rows))
        ids_BL = torch.full((len(rows), longest), self.pad_id)
        slots_BL = torch.zeros(ids_BL.shape, dtype=torch.bool)
        for row, canvas in enumerate(rows):
            ids_BL[row, : len(canvas)] = torch.from_numpy(canvas.ids)
            slots_BL[row, : len(canvas)] = torch.from_numpy(canvas.region >= 0)
        lengths = torch.tensor([len(canvas) for canvas in rows])
        hidden_BL = torch.arange(longest) >= lengths[:, None]
        mask = torch.zeros(len(rows), 1, 1, longest).masked_fill(
            hidden_BL[:, None, None], torch.finfo(torch.float32).min
        )
        t_B1 = torch.rand(len(rows), 1, generator=torch.Generator().manual_seed(index)).clamp(min=1e-3)
        masked_BL = slots_BL & (torch.rand(ids_BL.shape, generator=torch.Generator().manual_seed(index)) < t_B1)
        return {
            "input_ids": ids_BL.masked_fill(masked_BL, self.mask_id),
            "attention_mask": mask.expand(-1, -1, longest, -1),
            "clean": ids_BL, "weight": masked_BL / t_B1 / slots_BL.sum(), "tokens": lengths.sum(),
        }  # fmt: skip


class PlainTrainer(Trainer):
    """The simplest trainer: all logits, and a loss over all positions."""

    def compute_loss(self, model: Any, inputs: dict[str, torch.Tensor], *args: Any, **options: Any) -> torch.Tensor:
        """The sum of the weighted cross-entropies."""
        logits_BLV = model(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False
        ).logits
        each_BL = cross_entropy(logits_BLV.flatten(0, 1).float(), inputs["clean"].flatten(), reduction="none")
        return (each_BL * inputs["weight"].flatten()).sum()


class Clock(TrainerCallback):
    """Processor seconds from the end of the first step, which warms up, to the end of the last."""

    started = seconds = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **options: Any) -> None:
        """Note the time."""
        now = time.process_time()
        self.started = self.started or now
        self.seconds = now - self.started


def build_model(vocabulary: int) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=WIDTH, intermediate_size=3 * WIDTH, num_hidden_layers=LAYERS,
        num_attention_heads=4, max_position_embeddings=512, tie_word_embeddings=True, pad_token_id=None,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    return LlamaForCausalLM(config)


class Speed(NamedTuple):
    """What a run did in its timed steps."""

    seconds: float
    tokens: int
    positions: int
    masked: int

    @property
    def rate(self) -> float:
        """Tokens a second."""
        return self.tokens / self.seconds


def speed(kind: type[DiffusionBatches], dtype: torch.dtype, options: argparse.Namespace) -> Speed:
    """The steps after the first step."""
    samples = partial(draw, longest=options.longest_prompt)
    batches = kind(samples, SPEC, Words(), mask_id=1, pad_id=0, batch_size=BATCH, batches=options.steps, seed=0)
    model, clock = build_model(options.vocabulary), Clock()
    with tempfile.TemporaryDirectory() as folder:
        arguments = training_arguments(
            Path(folder), batches, save_strategy="no", use_cpu=True, logging_steps=10**6, bf16=dtype == torch.bfloat16
        )
        if kind is Padded:
            PlainTrainer(
                model=model, args=arguments, train_dataset=batches, callbacks=[clock],
                data_collator=lambda items: items[0],
            ).train()  # fmt: skip
        else:
            run_trainer(model, batches, arguments, [clock])
    return Speed(clock.seconds, *counts(batches, options.steps))


def counts(batches: DiffusionBatches, steps: int) -> tuple[int, int, int]:
    """(tokens, positions, masked tokens) of the steps that are timed."""
    timed = [batches[step] for step in range(1, steps)]
    ids = [batch["input_ids"] for batch in timed]
    masked = sum(int((one == 1).sum()) for one in ids)
    return sum(int(batch["tokens"]) for batch in timed), sum(one.numel() for one in ids), masked


def peak(dtype: torch.dtype) -> float:
    """Operations a second of the best of thirty products."""
    left, best = torch.randn(1024, 1024, dtype=dtype), 0.0
    for _ in range(30):
        started = time.process_time()
        left @ left
        best = max(best, 2 * 1024**3 / (time.process_time() - started))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--longest-prompt", type=int, default=250)
    parser.add_argument("--dtype", default="auto", help="auto, float32 or bfloat16, for both")
    options = parser.parse_args()
    # As `nap train` chooses.
    dtype = DTYPES.get(options.dtype) or fast_dtype(torch.device("cpu"))
    machine, parameters = peak(dtype), sum(p.numel() for p in build_model(options.vocabulary).parameters())
    head, ours, plain = options.vocabulary * WIDTH, [], []
    for _ in range(options.turns):
        ours.append(speed(DiffusionBatches, dtype, options))
        plain.append(speed(Padded, dtype, options))
    machine = max(machine, peak(dtype))
    work = 6 * ((parameters - head) * ours[0].tokens + head * ours[0].masked)
    print(
        json.dumps(
            {
                "dtype": str(dtype), "nap_tokens_per_second": [round(one.rate) for one in ours],
                "plain_tokens_per_second": [round(one.rate) for one in plain],
                "ratios": [round(a.rate / b.rate, 2) for a, b in zip(ours, plain, strict=True)],
                "ratio": round(median(a.rate / b.rate for a, b in zip(ours, plain, strict=True)), 2),
                "padding": [round(1 - one[0].tokens / one[0].positions, 3) for one in (ours, plain)],
                "masked": round(ours[0].masked / ours[0].tokens, 3),
                "share_of_peak": round(median(work / one.seconds / machine for one in ours), 3),
                "peak_gflops": round(machine / 1e9), "parameters": parameters, "threads": torch.get_num_threads(),
            }
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
