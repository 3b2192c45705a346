"""An autoregressive checkpoint becomes a diffusion model: SmolLM2-135M-Instruct on GSM8K's worked solutions.

    python recipes/ar_to_diffusion.py --model models/smollm2-135m --gsm8k data/gsm8k              # 200 steps, resumable
    python recipes/ar_to_diffusion.py --model models/smollm2-135m --gsm8k data/gsm8k --measure    # loss before and now

The training is `nap train` itself: the checkpoint is given a mask, tags and shifted logits, as Dream had them from
Qwen2.5. Measured is the masked loss, in nats a token of the slots, on 32 held-out problems at fixed noise. No accuracy
is promised after 200 steps. Expected wall time: docs/training.md says what was measured. Needs about 3 GB of memory.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nap.canvas import CanvasSpec
from nap.commands.flags import CanvasFlags
from nap.commands.train import Train
from nap.finetune import Hyper, Watch
from nap.schema import Path as Solution
from nap.schema import Problem, Sample

CANVAS = CanvasFlags(canvas="longcot", path_tokens=112, summary_tokens=16)
# Long problems cost most of the time of a step and teach nothing else here.
LONGEST_PROMPT, LONGEST_SOLUTION, HELD_OUT = 260, 330, 32


def samples(path: Path) -> Iterator[Sample]:
    """The short problems of a GSM8K file: the worked solution without its calculator marks, and a summary."""
    import re

    for number, line in enumerate(path.read_text().splitlines()):
        row = json.loads(line)
        solution, _, answer = row["answer"].partition("\n#### ")
        solution = re.sub(r"<<.*?>>", "", solution)
        if len(row["question"]) > LONGEST_PROMPT or len(solution) > LONGEST_SOLUTION:
            continue
        problem = Problem(id=f"gsm8k-{path.stem}-{number}", prompt=row["question"], answer=answer, task="gsm8k")
        yield Sample(problem=problem, paths=(Solution(text=solution),), summary=f"The final answer is {answer}.")


def masked_loss_of(model: Any, start: Any, spec: CanvasSpec, held_out: list[Sample]) -> float:
    """Nats a token of the slots on the held-out samples, at the same noise and masks for every model."""
    import torch

    from nap.batches import DiffusionBatches
    from nap.denoiser import predicted_from
    from nap.loss import masked_loss

    batches = DiffusionBatches(
        lambda index: held_out[index % len(held_out)], spec, start.tokenizer, mask_id=start.ids.mask_id,
        pad_id=start.ids.pad_id, batch_size=4, batches=len(held_out) // 4, seed=0,
    )  # fmt: skip
    total = 0.0
    with torch.no_grad():
        for number in range(len(batches)):
            batch = batches[number]
            inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
            states_BLD = model.model(**inputs, use_cache=False).last_hidden_state
            at = batch["rows"], predicted_from(batch["positions"], start.shift)
            total += masked_loss(model.lm_head(states_BLD[at]), batch["targets"], batch["weights"]).item()
    return total / len(batches)


def measure(model: str, gsm8k: Path, out: Path) -> dict[str, float]:
    """The masked loss before the training, and at the newest whole checkpoint or the end."""
    import torch
    from safetensors.torch import load_file

    from nap.batches import lay_out
    from nap.corpus import read_corpus
    from nap.grow import open_start
    from nap.schema import write_samples
    from nap.train import newest_checkpoint

    spec = CANVAS.spec()
    assert spec is not None
    start = open_start(model, None, spec.special_tokens, shift=None, dtype=torch.float32)
    write_samples(samples(gsm8k / "test.jsonl"), out / "test.parquet")
    ids = start.ids
    fits = read_corpus(
        out / "test.parquet", 1, lambda one: lay_out(one, spec, start.tokenizer, ids.mask_id, ids.pad_id)
    )
    held_out = fits.samples[:HELD_OUT]
    found = {"step 0": masked_loss_of(start.model, start, spec, held_out)}
    newest = newest_checkpoint(out)
    if newest is not None:
        start.model.load_state_dict(load_file(f"{newest}/model.safetensors"), strict=False)
        start.model.tie_weights()
        found[f"step {newest.rpartition('-')[2]}"] = masked_loss_of(start.model, start, spec, held_out)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the autoregressive checkpoint's folder")
    parser.add_argument("--gsm8k", type=Path, required=True, help="a folder with train.jsonl and test.jsonl")
    parser.add_argument("--out", type=Path, default=Path("runs/ar-to-diffusion"))
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--measure", action="store_true", help="measure the masked loss and stop")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.measure:
        print(json.dumps(measure(options.model, options.gsm8k, options.out)))
        return 0
    from nap.schema import write_samples

    data = options.out / "train.parquet"
    if not data.exists():
        write_samples(samples(options.gsm8k / "train.jsonl"), data)
    hyper = Hyper(steps=options.steps, batch_size=options.batch_size, rows=options.batch_size, learning_rate=1e-4)
    Train(
        model=options.model, data=str(data), out=str(options.out), canvas=CANVAS, hyper=hyper,
        watch=Watch(log_every=5, save_every=25),
    ).run()  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
