"""An autoregressive checkpoint becomes a diffusion model: SmolLM2-135M-Instruct on worked solutions of GSM8K.

    python recipes/ar_to_diffusion.py --model models/smollm2-135m --gsm8k data/gsm8k              # 200 steps, resumable
    python recipes/ar_to_diffusion.py --model models/smollm2-135m --gsm8k data/gsm8k --measure    # loss before and now
    python recipes/ar_to_diffusion.py --model models/smollm2-135m --curated samples.parquet       # of `nap curate`

The training is `nap train` itself: the checkpoint gets a mask, tags and shifted logits, as in Dream, which was made
from Qwen2.5. Measured is the masked loss (1/t, nats a token, with and without padding) of 64 held-out problems, each at
8 fixed noise levels, with an interval over the problems. No accuracy is promised after 200 steps. Expected wall time
and number: docs/training.md. Needs about 4 GB of memory.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from nap.canvas.canvas import CanvasSpec
from nap.commands.flags import CanvasFlags
from nap.commands.train import Train
from nap.data.problems import Problem
from nap.data.samples import Path as Solution
from nap.data.samples import Sample, read_samples
from nap.training.settings import Hyper, Watch

CANVAS = CanvasFlags(canvas="longcot", path_tokens=112, summary_tokens=16)
# The slots that a curated set is made for.
CURATED_CANVAS = CanvasFlags(canvas="longcot", path_tokens=330, summary_tokens=32)
# Long problems cost most of the time of a step and teach nothing else here.
LONGEST_PROMPT, LONGEST_SOLUTION = 260, 330
HELD_OUT, DRAWS = 64, 8
# Below --out, beside its samples: a training writes into a folder of its own.
RUN = "run"


def curated(path: Path, held_out: bool) -> Iterator[Sample]:
    """Each path of a curated set as a sample of its own; those of every eighth problem are held out."""
    for number, sample in enumerate(read_samples(path)):
        if (number % 8 == 7) == held_out:
            yield from (replace(sample, paths=(solution,)) for solution in sample.paths)


def worked(folder: Path, held_out: bool) -> Iterator[Sample]:
    """The short problems of GSM8K: the worked solution without its calculator marks, and a summary."""
    path = folder / ("test.jsonl" if held_out else "train.jsonl")
    for number, line in enumerate(path.read_text().splitlines()):
        row = json.loads(line)
        solution, answer = without_marks(row["answer"])
        if len(row["question"]) > LONGEST_PROMPT or len(solution) > LONGEST_SOLUTION:
            continue
        problem = Problem(id=f"gsm8k-{path.stem}-{number}", prompt=row["question"], answer=answer, task="gsm8k")
        yield Sample(problem=problem, paths=(Solution(text=solution),), summary=f"The final answer is {answer}.")


def without_marks(text: str) -> tuple[str, str]:
    """The solution of GSM8K's `answer` without the marks of its calculator, and the answer alone."""
    import re

    solution, _, answer = text.partition("\n#### ")
    return re.sub(r"<<.*?>>", "", solution), answer


def masked_losses(model: Any, start: Any, spec: CanvasSpec, held_out: list[Sample]) -> dict[str, list[float]]:
    """Nats a token of each held-out sample, at the same noise and masks for every model: of all the slots, and of what
    is no padding in them.
    """
    import torch
    from torch.nn.functional import cross_entropy

    from nap.common.machine import fast_float32
    from nap.models.denoiser import predicted_from
    from nap.training.batches import DiffusionBatches

    # A batch is one sample at noise levels that cover them all; some more are drawn with the last, and not asked for.
    batches = DiffusionBatches(
        lambda index: held_out[index // DRAWS % len(held_out)], spec, start.tokenizer, mask_id=start.ids.mask_id,
        pad_id=start.ids.pad_id, batch_size=DRAWS, batches=len(held_out), seed=0,
    )  # fmt: skip
    losses: dict[str, list[float]] = {"slots": [], "text": []}
    with torch.no_grad(), fast_float32():
        for number in range(len(batches)):
            batch, step = batches[number], batches.step(number)
            inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
            states_BLD = model.model(**inputs, use_cache=False).last_hidden_state
            at = batch["rows"], predicted_from(batch["positions"], start.shift)
            logits_NV, targets_N = model.lm_head(states_BLD[at]), batch["targets"]
            each_N = cross_entropy(logits_NV, targets_N, reduction="none") * batch["weights"]
            share = (step.ids_BL[step.region_BL >= 0] != start.ids.pad_id).float().mean()
            losses["slots"].append(each_N.sum().item())
            losses["text"].append((each_N[targets_N != start.ids.pad_id].sum() / share).item())
    return losses


def measure(model: str, data: Callable[[bool], Iterator[Sample]], canvas: CanvasFlags, out: Path) -> dict[str, Any]:
    """The masked losses before the training and at the newest whole checkpoint, and their differences."""
    import torch
    from safetensors.torch import load_file

    from nap.common.stats import bootstrap_mean, paired_bootstrap
    from nap.data.samples import write_samples
    from nap.training.batches import lay_out
    from nap.training.checkpoints import newest_checkpoint
    from nap.training.corpus import read_corpus
    from nap.training.start import open_start

    spec = canvas.spec()
    assert spec is not None
    start = open_start(model, None, spec.special_tokens, shift=None, dtype=torch.float32)
    start.model.eval()
    write_samples(data(True), out / "test.parquet")
    ids = start.ids
    fits = read_corpus(
        out / "test.parquet", 1, lambda one: lay_out(one, spec, start.tokenizer, ids.mask_id, ids.pad_id)
    )
    held_out = fits.samples[:HELD_OUT]
    before = masked_losses(start.model, start, spec, held_out)
    found: dict[str, Any] = {name: {"step 0": [fmean(x), *bootstrap_mean(x)]} for name, x in before.items()}
    newest = newest_checkpoint(out / RUN)
    if newest is not None:
        start.model.load_state_dict(load_file(f"{newest}/model.safetensors"), strict=False)
        start.model.tie_weights()
        for name, x in masked_losses(start.model, start, spec, held_out).items():
            found[name][f"step {newest.rpartition('-')[2]}"] = [fmean(x), *bootstrap_mean(x)]
            lowered = [old - new for old, new in zip(before[name], x, strict=True)]
            found[name]["lowered by"] = [fmean(lowered), *paired_bootstrap(x, before[name])]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the autoregressive checkpoint's folder")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--gsm8k", type=Path, help="a folder with train.jsonl and test.jsonl")
    source.add_argument("--curated", type=Path, help="a file of `nap curate`, its paths one by one")
    parser.add_argument("--out", type=Path, default=Path("runs/ar-to-diffusion"))
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--measure", action="store_true", help="measure the masked loss and stop")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    of_problems = partial(curated, options.curated) if options.curated else partial(worked, options.gsm8k)
    canvas = CURATED_CANVAS if options.curated else CANVAS
    if options.measure:
        print(json.dumps(measure(options.model, of_problems, canvas, options.out)))
        return 0
    from nap.data.samples import write_samples

    data = options.out / "train.parquet"
    if not data.exists():
        write_samples(of_problems(False), data)
    hyper = Hyper(steps=options.steps, batch_size=options.batch_size, rows=options.batch_size, learning_rate=1e-4)
    Train(
        model=options.model, data=str(data), out=str(options.out / RUN), canvas=canvas, hyper=hyper,
        watch=Watch(log_every=5, save_every=25),
    ).run()  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
