"""How fast decoding is on a GPU for models of LLaDA-8B's and Dream-7B's shape: tokens a second, by attention and cache.

    python benchmarks/gpu.py                     # on a CUDA device: under 10 minutes, a JSON object a row
    python benchmarks/gpu.py --dry-run           # the same rows with models of two layers of width 64, on the CPU

The models are random and made on the device in bfloat16: speed does not depend on weights, so none is downloaded. A row
is a shape, a prompt, a canvas, a batch and a way to decode; `published` is LLaDA's loop (2502.09992, Algorithm 5), the
others are this package's: `-compile` with compiled layers, `-graphs` with these and CUDA graphs, which torch.compile
records. (A CPU records none: `-graphs` is prepared, and no graph has been recorded yet.) All write --pace tokens a step
in blocks of 32, and are run once before they are timed. Rows that would begin after --minutes are named and left out.
Not a test. Results with date and card: docs/speed.md.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from decode import BLOCK, published_loop
from decode import WAYS as ALL_WAYS
from torch._inductor import config as inductor

from nap.canvas.canvas import Canvas, CanvasSpec
from nap.canvas.visibility import Attention
from nap.data.trace import PROMPT
from nap.decoding.budget import Budget
from nap.decoding.decode import decode_traces
from nap.decoding.policies.ordered import LowConfidence
from nap.models.denoiser import NativeDenoiser

# The first is what the others are compared with.
WAYS = {
    name: ALL_WAYS[name.replace("graphs", "compile")]
    for name in (
        "published", "full", "full-compile", "full-graphs", "dual", "dual-compile", "exact", "exact-compile",
        "exact-graphs",
    )
}  # fmt: skip
PATHS = 3


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A published model's config. `native`: transformers' class; `shift`: a token is predicted from the left."""

    native: str
    shift: bool
    vocab: int
    width: int
    inner: int
    layers: int
    heads: int
    key_heads: int

    def small(self) -> "Shape":
        """The same kind of model, for a dry run."""
        return Shape(
            native=self.native, shift=self.shift, vocab=512, width=64, inner=128, layers=2, heads=4,
            key_heads=4 * self.key_heads // self.heads or 1,
        )  # fmt: skip


SHAPES = {
    "llada-8b": Shape(
        native="llama", shift=False, vocab=126_464, width=4096, inner=12_288, layers=32, heads=32, key_heads=32
    ),
    "dream-7b": Shape(
        native="qwen2", shift=True, vocab=152_064, width=3584, inner=18_944, layers=28, heads=28, key_heads=4
    ),
}


def random_model(shape: Shape, device: str, dtype: torch.dtype) -> dict[bool, NativeDenoiser]:
    """A denoiser of the shape with random weights, made where it is used; and the same with compiled layers."""
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    config = CONFIG_MAPPING[shape.native](
        vocab_size=shape.vocab, hidden_size=shape.width, intermediate_size=shape.inner,
        num_hidden_layers=shape.layers, num_attention_heads=shape.heads, num_key_value_heads=shape.key_heads,
        max_position_embeddings=8192, tie_word_embeddings=False, eos_token_id=shape.vocab - 3,
        pad_token_id=shape.vocab - 3,
    )  # fmt: skip
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa").eval()
    return {
        compiled: NativeDenoiser(
            model=model, tokenizer=None, mask_id=shape.vocab - 1, pad_id=shape.vocab - 3, eos_ids=(),
            shift=shape.shift, setting={"model": "random"}, max_length=None, canvas=None, block_size=None,
            compiled=compiled,
        )
        for compiled in (False, True)
    }  # fmt: skip


def canvases(shape: Shape, attention: Attention, prompt: int, canvas: int, batch: int) -> list[Canvas]:
    """`batch` random prompts with `canvas` masked tokens: one slot, or under `paths` three paths and a summary."""
    each = canvas // (PATHS + 1) // BLOCK * BLOCK
    slots = [canvas] if attention == "full" else [each] * PATHS + [canvas - PATHS * each]
    region = np.array([PROMPT] * prompt + [code for code, tokens in enumerate(slots) for _ in range(tokens)])
    spec = CanvasSpec(paths=1, path_tokens=canvas, summary_tokens=0, tags="none")
    if attention == "paths":
        spec = CanvasSpec(paths=PATHS, path_tokens=each, summary_tokens=slots[-1], attention=attention)
    rng = np.random.default_rng(0)
    ids = [np.where(region >= 0, shape.vocab - 1, rng.integers(0, shape.vocab - 8, len(region))) for _ in range(batch)]
    return [Canvas(ids=row, region=region, spec=spec, problem_id=str(number)) for number, row in enumerate(ids)]


def decoder(denoiser: NativeDenoiser, way: str, rows: list[Canvas], pace: int) -> Callable[[], tuple[int, int]]:
    """One decode, giving its forwards and query tokens."""
    cache = WAYS[way].cache
    free_N = torch.as_tensor(np.flatnonzero(rows[0].region >= 0))
    if way == "published":
        ids_BL = torch.as_tensor(np.stack([row.ids for row in rows]), device=denoiser.device)
        steps = len(free_N) // pace

        def published() -> tuple[int, int]:
            published_loop(denoiser.model, ids_BL, free_N.to(denoiser.device), pace, denoiser.mask_id)
            return steps, steps * ids_BL.numel()

        return published

    def ours() -> tuple[int, int]:
        policy, budget = LowConfidence(block=BLOCK), Budget(tokens=pace)
        traces = decode_traces(denoiser, rows, policy, budget=budget, cache=cache)
        return traces[0].forwards, sum(cost.queries for trace in traces for cost in trace.costs)

    return ours


def timed(run: Callable[[], tuple[int, int]], device: str) -> dict[str, Any]:
    """Seconds, forwards, query tokens and peak GB of the second of two runs."""
    run()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    forwards, queries = run()
    if device == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    peak = (
        torch.cuda.max_memory_allocated()
        if device == "cuda"
        else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    )
    return {"seconds": seconds, "forwards": forwards, "query_tokens": queries, "peak_gb": peak / 1e9}


def measure(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each setting, the shortest canvases first, so that a cut run has compared something."""
    started = time.perf_counter()
    device = "cpu" if options.dry_run else "cuda"
    for name in options.shapes:
        shape = SHAPES[name].small() if options.dry_run else SHAPES[name]
        denoisers = random_model(shape, device, torch.float32 if options.dry_run else torch.bfloat16)
        for canvas, batch, prompt in product(options.canvas, options.batch, options.prompt):
            first = None
            for way in options.only:
                said = {"shape": name, "way": way, "prompt": prompt, "canvas": canvas, "batch": batch}
                if time.perf_counter() - started > 60 * options.minutes:
                    print(f"left out, after {options.minutes:g} minutes: {said}", file=sys.stderr)
                    continue
                rows = canvases(shape, WAYS[way][0], prompt, canvas, batch)
                # Without it, what was compiled without graphs would be used again with them.
                torch._dynamo.reset()
                with inductor.patch({"triton.cudagraphs": way.endswith("-graphs")}):
                    row = said | timed(decoder(denoisers[WAYS[way].compile], way, rows, options.pace), device)
                row["tokens_per_second"] = canvas * batch / row["seconds"]
                first = first or row
                yield row | {"against_" + first["way"]: first["seconds"] / row["seconds"]}
        del denoisers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true", help="tiny models on the CPU")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=[*SHAPES])
    parser.add_argument("--only", nargs="+", choices=WAYS, default=[*WAYS])
    parser.add_argument("--canvas", nargs="+", type=int, default=[256, 1024], help="tokens to write: a multiple of 128")
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--prompt", nargs="+", type=int, default=[64, 512])
    parser.add_argument("--pace", type=int, default=8, help="tokens a step")
    parser.add_argument("--minutes", type=float, default=8)
    options = parser.parse_args()
    if not options.dry_run and not torch.cuda.is_available():
        sys.exit("gpu: no CUDA device here; --dry-run runs the same rows with tiny models on the CPU")
    if not options.dry_run:
        print(json.dumps({"card": torch.cuda.get_device_name(), "torch": torch.__version__}), flush=True)
    for row in measure(options):
        print(
            json.dumps({key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}),
            flush=True,
        )


if __name__ == "__main__":
    main()
