"""How much faster one request is over several processes, on a random model: time of one worker over that of N.

    python benchmarks/path_workers.py                          # width 512, 8 layers, 8 paths, 2 workers: 3 minutes
    python benchmarks/path_workers.py --paths 4 --workers 4 --json

Every worker opens the model, writes once to warm up, waits for the others and writes its paths. A request takes as long
as its slowest worker, and then its summary, which one process writes. One worker and N workers are measured in turn; a
figure is the median of `--runs` ratios, with the smallest and the largest, of the paths alone and of the whole request.
The one-time cost of starting processes and opening models is left out. It needs a quiet machine with as many cores as
workers. Not a test. What it means: docs/scaling.md.
"""

import argparse
import importlib
import json
import statistics
import sys
import time
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
from decode import BLOCK, Shape

from nap.canvas.canvas import CanvasSpec, layout
from nap.decoding.budget import Budget
from nap.decoding.decode import decode
from nap.decoding.path_workers import PathWork, request_of
from nap.decoding.policies.registry import parse_policy
from nap.models.any import load

# A summary is a quarter of a path, as in the bundled models (7 tokens of 30).
SPEC: dict[str, Any] = {"path_tokens": BLOCK, "summary_tokens": BLOCK // 4, "attention": "paths"}


def folder_of(shape: Shape) -> Path:
    """Where the random model is kept, with a tokenizer that has the tags."""
    return Path(f"runs/benchmark-workers-{shape.width}x{shape.layers}-{shape.vocab}-{shape.paths}")


def make(shape: Shape) -> None:
    """The model, on the first call: the bundled models' recipe at another size."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    sys.path.append(str(Path(__file__).parent.parent / "recipes"))
    bundled = importlib.import_module("bundled")
    folder = folder_of(shape)
    if (folder / "training.json").exists():
        return
    tokenizer = bundled.build_tokenizer("arith", shape.paths)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=shape.vocab, hidden_size=shape.width, intermediate_size=3 * shape.width,
        num_hidden_layers=shape.layers, num_attention_heads=shape.width // 64,
        num_key_value_heads=shape.width // 64, max_position_embeddings=8192, tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.pad_token_id, bos_token_id=None,
    )  # fmt: skip
    bundled.save(LlamaForCausalLM(config), tokenizer, CanvasSpec(paths=shape.paths, **SPEC), folder, {})


def work_of(shape: Shape) -> PathWork:
    """A worker's settings: forced, a token a path and step."""
    spec = CanvasSpec(paths=shape.paths, **SPEC)
    opening = (("name", str(folder_of(shape))),)
    budget = Budget(tokens=shape.paths)
    return PathWork(opening=opening, spec=spec, policy="parallel_forced", budget=budget, eos="count")


def serve(shape: Shape, request: bytes, runs: int, barrier: Barrier, out: Connection) -> None:
    """Write the paths of a request again and again, all workers at once; send the seconds of each time."""
    import torch

    torch.set_num_threads(1)
    work = work_of(shape)
    work(request)
    for _ in range(runs):
        barrier.wait()
        started = time.perf_counter()
        work(request)
        out.send(time.perf_counter() - started)


def seconds_of(shape: Shape, workers: int, prompt: list[int], runs: int) -> list[float]:
    """Of each run the time of its slowest worker."""
    context = get_context("spawn")
    barrier, pipes = context.Barrier(workers), []
    for first in range(workers):
        mine, theirs = context.Pipe(duplex=False)
        request = request_of(prompt, range(first, shape.paths, workers))
        context.Process(target=serve, args=(shape, request, runs, barrier, theirs), daemon=True).start()
        pipes.append(mine)
    return [max(pipe.recv() for pipe in pipes) for _ in range(runs)]


def seconds_of_summary(shape: Shape, prompt: list[int]) -> float:
    """The time of the summary of a canvas whose paths are written."""
    import torch

    torch.set_num_threads(1)
    work = work_of(shape)
    denoiser = load(**dict(work.opening))
    canvas = layout(prompt, work.spec, denoiser.tokenizer, denoiser.mask_id)
    open_L = np.isin(canvas.region, range(shape.paths)) & (canvas.ids == denoiser.mask_id)
    written = replace(canvas, ids=np.where(open_L, 20, canvas.ids))
    policy, times = parse_policy(work.policy), []
    for _ in range(4):
        started = time.perf_counter()
        for _ in decode(denoiser, [written], policy, budget=work.budget, eos=work.eos, cache="exact"):
            pass
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--vocab", type=int, default=32_768)
    parser.add_argument("--prompt", type=int, default=64)
    parser.add_argument("--paths", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    shape = Shape(
        width=options.width, layers=options.layers, vocab=options.vocab, prompt=options.prompt, paths=options.paths
    )
    make(shape)
    prompt = np.random.default_rng(0).integers(20, 40, shape.prompt).tolist()
    # One worker and several in turn, so that what else the machine does is shared.
    one, several = [], []
    for _ in range(options.runs):
        one += seconds_of(shape, 1, prompt, 1)
        several += seconds_of(shape, options.workers, prompt, 1)
    told = {"workers": options.workers, "paths": shape.paths, "step_ms": 1000 * statistics.median(one) / BLOCK}
    for name, rest in (("of_paths", 0.0), ("of_request", seconds_of_summary(shape, prompt))):
        ratios = sorted((a + rest) / (b + rest) for a, b in zip(one, several, strict=True))
        told |= {name: statistics.median(ratios), f"{name}_least": ratios[0], f"{name}_most": ratios[-1]}
    print(json.dumps(told) if options.json else "\n".join(f"{name:16} {value:.3g}" for name, value in told.items()))


if __name__ == "__main__":
    main()
