"""Memory and time of turning logits into candidates at LLaDA's scale: a vocabulary of 126,464, 1,022 masked positions.

    python benchmarks/memory.py

Each row is measured in a process of its own: peak resident memory above that of the open model, and processor seconds a
step, which other processes hardly change (one thread; a step is a forward of the whole canvas and the candidates at
every masked position). The model is random and small (width 256, 4 layers), so that the vocabulary dominates.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

VOCABULARY, MASKED, PROMPT, MASK_ID = 126_464, 1022, 2, 126_336
# The policy of each row, and the flags of its sampling.
CASES = {
    "greedy": ("low_confidence", {}),
    "entropy": ("entropy", {}),
    "temperature": ("low_confidence", {"temperature": 1.0}),
    "top-p": ("low_confidence", {"temperature": 1.0, "top_p": 0.9}),
}


def make_model(folder: Path) -> None:
    """A random Llama with LLaDA's vocabulary."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=256, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4,
        max_position_embeddings=2048, pad_token_id=1, eos_token_id=2, tie_word_embeddings=False,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)


def measure(folder: str, case: str, batch: int, steps: int) -> dict[str, float]:
    """Peak memory above the model's, MiB, and processor seconds a step."""
    import torch

    from nap.canvas.canvas import CanvasSpec, layout
    from nap.common.memory import keep_memory
    from nap.decoding.budget import Budget, Sampling
    from nap.decoding.engine import Engine
    from nap.decoding.policies.registry import parse_policy
    from nap.models.load import load

    torch.set_num_threads(1)
    keep_memory()
    policy, sampling = CASES[case]
    denoiser = load(folder, mask_id=MASK_ID, dtype="float32")
    spec, engine = CanvasSpec(paths=1, path_tokens=MASKED, summary_tokens=0, tags="none"), Engine(denoiser)
    for row in range(batch):
        prompt = np.random.default_rng(row).integers(3, 126_000, PROMPT).tolist()
        canvas = layout(prompt, spec, denoiser.tokenizer, MASK_ID, problem_id=str(row))
        engine.add(canvas, parse_policy(policy), budget=Budget(tokens=1), sampling=Sampling(**sampling))
    before, seconds = _peak(), []
    for _ in range(steps):
        started = time.process_time()
        engine.step()
        seconds.append(time.process_time() - started)
    return {"peak_mb": _peak() - before, "seconds": float(np.median(seconds))}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--model", help=argparse.SUPPRESS)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.model:
        print(json.dumps(measure(options.model, options.case, options.batches[0], options.steps)))
        return
    with tempfile.TemporaryDirectory() as folder:
        make_model(Path(folder))
        for batch in options.batches:
            for case in CASES:
                told = ["--model", folder, "--case", case, "--batches", str(batch), "--steps", str(options.steps)]
                found = json.loads(subprocess.check_output([sys.executable, __file__, *told], text=True))
                said = f"{found['peak_mb']:7.0f} MiB  {found['seconds']:6.2f} CPU s a step"
                print(f"B={batch} {case:12s} {said}", flush=True)


if __name__ == "__main__":
    main()
