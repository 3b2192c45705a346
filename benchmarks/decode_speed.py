"""What a decoding step costs beside the model, and what computing only the logits that are needed saves.

    python benchmarks/decode_speed.py                # both parts; about 3 minutes on two cores
    python benchmarks/decode_speed.py overhead       # bundled model: decode against its own forwards alone
    python benchmarks/decode_speed.py llada-shaped   # vocabulary 126,464: decode against the published loop

All figures are ratios of times measured side by side in one run, alternating, the median of --repeats with the smallest
and largest beside it. The published loop and ours run in processes of their own, of which the peak memory is given.
Not a test: nothing here fails on a slow machine.
Results with date and machine: docs/speed.md.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nap.canvas.canvas import Canvas, CanvasSpec, layout
from nap.common.memory import keep_memory
from nap.decoding.budget import Budget
from nap.decoding.decode import decode_traces
from nap.decoding.policies.ordered import LowConfidence
from nap.decoding.policies.paths import ParallelForced
from nap.decoding.prompt import prompt_ids
from nap.models.load import load
from nap.tasks.registry import load_task


class Recorder:
    """A denoiser that remembers what it was asked, so that the same forwards can be run without the loop."""

    def __init__(self, denoiser: Any) -> None:
        self.denoiser, self.calls = denoiser, []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.denoiser, name)

    def states(self, ids_BL: torch.Tensor, layout: Any, at: Any) -> torch.Tensor:
        """The denoiser's own."""
        self.calls.append((ids_BL.clone(), layout, at))
        return self.denoiser.states(ids_BL, layout, at)


def seconds(function: Callable[[], Any]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def alternate(first: Callable[[], Any], second: Callable[[], Any], repeats: int) -> list[float]:
    """second / first, measured in turn."""
    first(), second()
    return [1 / (seconds(first) / seconds(second)) for _ in range(repeats)]


def show(what: str, ratios: list[float]) -> None:
    print(f"{what}: {statistics.median(ratios):.3f} [{min(ratios):.3f}, {max(ratios):.3f}]", flush=True)


def overhead(repeats: int) -> None:
    """Time of a whole decode over the time of its forwards alone."""
    denoiser = load("arith-nap")
    problems = load_task("arith").load("test", 16)
    for batch in (1, 16):
        canvases = [
            layout(
                prompt_ids(denoiser, p.prompt), denoiser.canvas, denoiser.tokenizer, denoiser.mask_id, problem_id=p.id
            )
            for p in problems[:batch]
        ]
        for policy in (LowConfidence(), ParallelForced()):
            recorder = Recorder(denoiser)
            decode_traces(recorder, canvases, policy, budget=Budget(tokens=2))
            calls = recorder.calls

            def forwards(calls: list[Any] = calls) -> None:
                with torch.inference_mode():
                    for ids, where, at in calls:
                        denoiser.logits(ids, where, at)

            def whole(policy: Any = policy, canvases: list[Canvas] = canvases) -> None:
                decode_traces(denoiser, canvases, policy, budget=Budget(tokens=2))

            name = type(policy).__name__
            show(
                f"overhead B={batch:<2} {name}, {len(calls)} forwards, decode / forwards",
                alternate(forwards, whole, repeats),
            )


SHAPED, SHAPED_MASK = Path("runs/benchmark-llada-shaped"), 126336


def make_llada_shaped() -> None:
    """A random model of LLaDA's shape but 256 wide and 4 deep, made on the first call."""
    from transformers import LlamaConfig, LlamaForCausalLM

    if not (SHAPED / "model.safetensors").exists():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=126464, hidden_size=256, intermediate_size=768, num_hidden_layers=4, num_attention_heads=4,
            num_key_value_heads=4, max_position_embeddings=512, tie_word_embeddings=False, eos_token_id=126081,
            pad_token_id=126081,
        )  # fmt: skip
        LlamaForCausalLM(config).save_pretrained(SHAPED)


@torch.inference_mode()
def published_loop(model: Any, prompt: torch.Tensor, length: int, block: int, steps: int, mask_id: int) -> torch.Tensor:
    """LLaDA's low-confidence loop as published: logits of the whole canvas, softmax in float64 (2502.09992, Alg. 5)."""
    canvas = torch.cat([prompt, torch.full((length,), mask_id)])[None]
    everyone = torch.zeros(1, 1, canvas.shape[1], canvas.shape[1])
    per_step = length // steps
    for start in range(len(prompt), len(prompt) + length, block):
        for _ in range(block // per_step):
            logits = model(canvas, attention_mask=everyone, use_cache=False).logits
            token = logits.argmax(dim=-1)
            probability = logits.to(torch.float64).softmax(dim=-1).gather(-1, token[..., None])[..., 0]
            masked = canvas == mask_id
            masked[:, start + block :] = False
            chosen = torch.where(masked, probability, -torch.inf).topk(per_step).indices[0]
            canvas[0, chosen] = token[0, chosen]
    return canvas[0, len(prompt) :]


SHAPES = {"prompt 64 + 96 in 3 blocks of 32": (64, 96), "canvas 96: prompt 64 + one block of 32": (64, 32)}


def shaped(which: str, prompt_tokens: int, length: int) -> Callable[[], list[int]]:
    """The published loop on the model as transformers opens it, or ours: the same weights, prompt and steps."""
    from transformers import LlamaForCausalLM

    prompt = np.random.default_rng(0).integers(0, 126000, prompt_tokens)
    steps = length // 2
    if which == "published":
        model = LlamaForCausalLM.from_pretrained(SHAPED).eval()
        return lambda: published_loop(model, torch.as_tensor(prompt), length, 32, steps, SHAPED_MASK).tolist()
    keep_memory()
    denoiser = load(str(SHAPED), mask_id=SHAPED_MASK)
    spec = CanvasSpec(paths=1, path_tokens=length, summary_tokens=0, tags="none")
    canvas = layout(prompt.tolist(), spec, denoiser.tokenizer, denoiser.mask_id)

    def ours() -> list[int]:
        [trace] = decode_traces(denoiser, [canvas], LowConfidence(block=32), budget=Budget(steps=steps))
        return trace.final[prompt_tokens:]

    return ours


class Side:
    """One of the loops in a process of its own, so that neither has the other's settings, memory or caches."""

    def __init__(self, which: str, shape: str, threads: int) -> None:
        command = [sys.executable, __file__, "side", "--which", which, "--shape", shape, "--threads", str(threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self) -> dict[str, Any]:
        """Its tokens, the seconds they took, and the process's peak memory in MiB."""
        assert self.process.stdin and self.process.stdout
        print(file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())


def side(which: str, shape: str) -> None:
    """What a `Side`'s process does: a run for every line it is sent."""
    generate = shaped(which, *SHAPES[shape])
    for _ in sys.stdin:
        started = time.perf_counter()
        tokens = generate()
        found = {"tokens": tokens, "seconds": time.perf_counter() - started}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(found | {"peak": peak}), flush=True)


def llada_part(repeats: int, threads: int) -> None:
    make_llada_shaped()
    for name in SHAPES:
        theirs, ours = Side("published", name, threads), Side("ours", name, threads)
        same = theirs.run()["tokens"] == ours.run()["tokens"]
        pairs = [(theirs.run(), ours.run()) for _ in range(repeats)]
        ratios = [one["seconds"] / other["seconds"] for one, other in pairs]
        show(f"llada-shaped, {name}: published loop / ours (same tokens: {same})", ratios)
        one, other = pairs[-1]
        print(f"  peak memory, MiB: published {one['peak']:.0f}, ours {other['peak']:.0f}", flush=True)
        for each in (theirs, ours):
            each.process.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=("overhead", "llada-shaped", "side"))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--shape", help=argparse.SUPPRESS)
    parser.add_argument("--which", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.part == "side":
        side(options.which, options.shape)
        return
    if options.part != "llada-shaped":
        overhead(options.repeats)
    if options.part != "overhead":
        llada_part(options.repeats, options.threads)


if __name__ == "__main__":
    main()
