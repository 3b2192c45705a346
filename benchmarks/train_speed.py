"""Tokens a second of `nap train`'s batches and loss against a plain Trainer's, same model and data.

    OMP_NUM_THREADS=1 python benchmarks/train_speed.py --steps 12

Both train the same random Llama on the same samples (countdown, one to four paths in one slot, so that lengths differ).
The plain loop takes samples as they come, pads each batch to its longest row and gives every position's logits to the
loss, which is what a Trainer with a padding collator and labels does. Tokens are those of the canvases, padding outside
not counted. The runs take turns, three each, and the best of each counts. The machine's peak is the best float32
product of 1024 x 1024 matrices on as many threads; a token costs 6 operations a parameter of the layers, a masked one 6
more a parameter of the head, attention scores not counted.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback

from nap.batches import DiffusionBatches
from nap.canvas import CanvasSpec
from nap.schema import Path as Solution
from nap.schema import Problem, Sample
from nap.tasks.countdown import Countdown
from nap.train import run_trainer, training_arguments

VOCABULARY, WIDTH, LAYERS, BATCH = 8192, 256, 4, 16
SPEC = CanvasSpec(paths=1, path_tokens=48, summary_tokens=0, tags="none")


class Words:
    """A tokenizer of characters, which is all that a canvas needs."""

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """One id a character."""
        return [2 + ord(letter) % 8000 for letter in text]

    def decode(self, ids: Any) -> str:
        """Not a text: no tag is ever looked for."""
        return " ".join(map(str, ids))


def draw(index: int) -> Sample:
    """A short solution under a prompt of 10 to 250 characters."""
    sample = Countdown().sample(0, index)
    prompt = " ".join([sample.problem.prompt] * 8)[: 10 + 37 * index % 240]
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
    """What one writes first: all logits, and a loss over all positions."""

    def compute_loss(self, model: Any, inputs: dict[str, torch.Tensor], *args: Any, **options: Any) -> torch.Tensor:
        """The sum of the weighed cross-entropies."""
        logits_BLV = model(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False
        ).logits
        each_BL = cross_entropy(logits_BLV.flatten(0, 1).float(), inputs["clean"].flatten(), reduction="none")
        return (each_BL * inputs["weight"].flatten()).sum()


class Clock(TrainerCallback):
    """Seconds from the end of the first step, which warms up, to the end of the last."""

    started = seconds = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **options: Any) -> None:
        """Note the time."""
        now = time.perf_counter()
        self.started = self.started or now
        self.seconds = now - self.started


def build_model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=3 * WIDTH, num_hidden_layers=LAYERS,
        num_attention_heads=4, max_position_embeddings=512, tie_word_embeddings=True, pad_token_id=None,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    return LlamaForCausalLM(config)


class Speed(NamedTuple):
    """What a run did in its timed steps."""

    seconds: float
    tokens: int
    masked: int

    @property
    def rate(self) -> float:
        """Tokens a second."""
        return self.tokens / self.seconds


def speed(kind: type[DiffusionBatches], steps: int) -> Speed:
    """The steps after the first step."""
    batches = kind(draw, SPEC, Words(), mask_id=1, pad_id=0, batch_size=BATCH, batches=steps, seed=0)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        arguments = training_arguments(Path(folder), batches, save_strategy="no", use_cpu=True, logging_steps=10**6)
        if kind is Padded:
            PlainTrainer(
                model=build_model(), args=arguments, train_dataset=batches, callbacks=[clock],
                data_collator=lambda items: items[0],
            ).train()  # fmt: skip
        else:
            run_trainer(build_model(), batches, arguments, [clock])
    return Speed(clock.seconds, *counts(batches, steps))


def counts(batches: DiffusionBatches, steps: int) -> tuple[int, int]:
    """(tokens, masked tokens) of the steps that are timed."""
    timed = [batches[step] for step in range(1, steps)]
    masked = (int((batch["input_ids"] == 1).sum()) for batch in timed)
    return sum(int(batch["tokens"]) for batch in timed), sum(masked)


def peak() -> float:
    """Operations a second of the best of ten float32 products."""
    left, best = torch.randn(1024, 1024), 0.0
    for _ in range(10):
        started = time.perf_counter()
        left @ left
        best = max(best, 2 * 1024**3 / (time.perf_counter() - started))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    runs = [(speed(DiffusionBatches, options.steps), speed(Padded, options.steps)) for _ in range(options.turns)]
    ours, plain = (max((run[side] for run in runs), key=lambda one: one.rate) for side in (0, 1))
    machine, parameters, head = peak(), sum(p.numel() for p in build_model().parameters()), VOCABULARY * WIDTH
    work = 6 * ((parameters - head) * ours.tokens + head * ours.masked)
    print(
        json.dumps(
            {
                "nap_tokens_per_second": round(ours.rate), "plain_tokens_per_second": round(plain.rate),
                "ratio": round(ours.rate / plain.rate, 2), "ratios": [round(a.rate / b.rate, 2) for a, b in runs],
                "share_of_peak": round(work / ours.seconds / machine, 2), "peak_gflops": round(machine / 1e9, 1),
                "parameters": parameters, "threads": torch.get_num_threads(),
            }
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
