"""How fast a whole decode is against the published loop, by attention and cache, on a random model of LLaDA's shape.

    python benchmarks/decode.py                                       # width 256, 4 layers, prompt 64: 3 minutes
    python benchmarks/decode.py --width 512 --layers 8 --prompt 512   # an hour on one core of 2026
    python benchmarks/decode.py --only dual exact --batch 8 --json    # one JSON object a row
    python benchmarks/decode.py --only full --paths 2 --headers 0 --pace 2    # prompt 64 and three blocks, nothing else
    python benchmarks/decode.py --only full full-compile full-int8p full-int8p-compile --repeats 3   # needs torchao
    python benchmarks/decode.py --cpu --published-steps 8 --repeats 1 --json  # on a busy machine, and a slow one

Every way to decode runs in a process of its own, one run of each in turn. A figure is the median ratio of the published
loop's time to its own, with the smallest and the largest. All have the same canvas, pace and blocks, and differ only in
what a forward computes. `same_tokens` is the share of tokens that equal those of the published loop; under `paths`,
where that cannot decode, those of the first way. `products` is the share of the time that the matrix products of a row
take when nothing else is done: the same shapes forward by forward, attention's two included, each layer with weights of
its own (products.py). A way such as `exact-int8p-compile` is `exact` with settings of the model: `int8w` weights of 8
bits, `int8p` products of 8 bits, `compile` compiled layers (in the first run, which is not timed). With --cpu all times
are processor seconds, which other work on the machine changes less. With --published-steps the published loop, whose
steps are all alike, does only so many of them and its time is scaled up; tokens are then compared with `full`. With
--published-rows it does so for that many rows of the batch alone: what it makes of 32 canvases of 656 tokens and
126,464 words takes 53 GB. With --dtype bfloat16 all sides compute in that, LLaDA's own, the products included. Not a
test: nothing here fails on a slow machine. Results: docs/speed.md.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from products import Products, Sizes

from nap.canvas.canvas import Canvas, CanvasSpec
from nap.canvas.visibility import Attention
from nap.common.machine import fast_float32
from nap.common.memory import keep_memory
from nap.data.trace import HEADER, PROMPT
from nap.decoding.budget import Budget
from nap.decoding.decode import decode_traces
from nap.decoding.policies.ordered import LowConfidence
from nap.models.int8 import Int8
from nap.models.load import load

BLOCK = 32


class Way(NamedTuple):
    """What a forward sees and computes, and the settings that its model is opened with."""

    attention: Attention
    cache: str = "none"
    int8: Int8 | None = None
    compile: bool = False


# The first is the loop that the others are compared with.
WAYS: dict[str, Way] = {
    "published": Way("full"),
    "full": Way("full"),
    "prefix": Way("full", "prefix"),
    "dual": Way("full", "dual"),
    "delayed": Way("full", "delayed"),
    "paths": Way("paths"),
    "exact": Way("paths", "exact"),
}
# What the settings of a loaded model gain; only where they are named, for some are slower.
SETTINGS: dict[str, dict[str, Any]] = {
    "compile": {"compile": True}, "int8w": {"int8": "weights"}, "int8p": {"int8": "products"},
    "int8w-compile": {"int8": "weights", "compile": True}, "int8p-compile": {"int8": "products", "compile": True},
}  # fmt: skip
USUAL = [*WAYS]
WAYS |= {f"{way}-{name}": WAYS[way]._replace(**told) for way in USUAL[1:] for name, told in SETTINGS.items()}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What is decoded: a batch of prompts, and P slots of a block each, `pace` tokens a step.

    With a summary of one more block, unless there is a single slot; `headers` tokens stand before each slot.
    """

    width: int = 256
    layers: int = 4
    vocab: int = 126_464
    batch: int = 1
    prompt: int = 64
    paths: int = 3
    headers: int = 4
    pace: int = 1

    @property
    def slots(self) -> int:
        """Paths and summary."""
        return self.paths + (self.paths > 1)

    @property
    def mask(self) -> int:
        """The mask's id."""
        return self.vocab - 128

    @property
    def folder(self) -> Path:
        """Where the random model is kept."""
        return Path(f"runs/benchmark-{self.width}x{self.layers}-{self.vocab}")

    def canvases(self, attention: Attention) -> list[Canvas]:
        """[prompt] [header] path ... [header] summary, of random tokens; headers are tokens like others."""
        rng, found = np.random.default_rng(0), []
        slots = [code for slot in range(self.slots) for code in [HEADER] * self.headers + [slot] * BLOCK]
        region = np.array([PROMPT] * self.prompt + slots)
        summary = BLOCK * (self.slots > self.paths)
        spec = CanvasSpec(paths=self.paths, path_tokens=BLOCK, summary_tokens=summary, attention=attention)
        for row in range(self.batch):
            ids = np.where(region >= 0, self.mask, rng.integers(0, self.vocab - 512, len(region)))
            found.append(Canvas(ids=ids, region=region, spec=spec, problem_id=str(row)))
        return found

    def make(self) -> None:
        """The model, on the first call."""
        from transformers import LlamaConfig, LlamaForCausalLM

        if not (self.folder / "model.safetensors").exists():
            torch.manual_seed(0)
            config = LlamaConfig(
                vocab_size=self.vocab, hidden_size=self.width, intermediate_size=3 * self.width,
                num_hidden_layers=self.layers, num_attention_heads=self.width // 64,
                num_key_value_heads=self.width // 64, max_position_embeddings=8192, tie_word_embeddings=False,
                eos_token_id=self.vocab - 300, pad_token_id=self.vocab - 300,
            )  # fmt: skip
            LlamaForCausalLM(config).save_pretrained(self.folder)

    @property
    def length(self) -> int:
        """Of a canvas."""
        return self.prompt + self.slots * (self.headers + BLOCK)


@torch.inference_mode()
def published_loop(
    model: Any, ids_BL: torch.Tensor, free_N: torch.Tensor, pace: int, mask_id: int, most: int | None = None
) -> torch.Tensor:
    """LLaDA's low-confidence loop as published: logits of the whole canvas, softmax in float64 (2502.09992, Alg. 5).

    most  steps after which it stops, with what it has
    """
    everyone = torch.zeros(1, 1, ids_BL.shape[1], ids_BL.shape[1], dtype=model.dtype, device=ids_BL.device)
    steps = 0
    for block_N in free_N.split(BLOCK):
        for _ in range(BLOCK // pace):
            if steps == most:
                return ids_BL
            steps += 1
            logits = model(ids_BL, attention_mask=everyone, use_cache=False).logits
            token = logits.argmax(dim=-1)
            probability = logits.to(torch.float64).softmax(dim=-1).gather(-1, token[..., None])[..., 0]
            masked = torch.zeros_like(ids_BL, dtype=torch.bool)
            masked[:, block_N] = ids_BL[:, block_N] == mask_id
            chosen = torch.where(masked, probability, -torch.inf).topk(pace).indices
            ids_BL = ids_BL.scatter(1, chosen, token.gather(1, chosen))
    return ids_BL


Dtype = Literal["float32", "bfloat16"]


class Part(NamedTuple):
    """How much of the published loop is timed, all of it by default: some steps, some rows of the batch."""

    steps: int | None = None
    rows: int | None = None


def decoder(way: str, shape: Shape, part: Part, dtype: Dtype) -> Callable[[], dict[str, Any]]:
    """One decode of the shape, its tokens and its costs, and what its time counts for; the published loop in part."""
    attention, cache, int8, compiled = WAYS[way]
    canvases = shape.canvases(attention)
    free_N, steps = np.flatnonzero(canvases[0].region >= 0), shape.slots * BLOCK // shape.pace
    if way == "published":
        from transformers import LlamaForCausalLM

        model = LlamaForCausalLM.from_pretrained(shape.folder, dtype=getattr(torch, dtype)).eval()
        ids_BL = np.stack([canvas.ids for canvas in canvases])
        taken, rows = min(steps, part.steps or steps), min(shape.batch, part.rows or shape.batch)
        times = steps / taken * shape.batch / rows

        def published() -> dict[str, Any]:
            given = model, torch.as_tensor(ids_BL[:rows]), torch.as_tensor(free_N), shape.pace, shape.mask
            tokens = published_loop(*given, most=taken)[:, free_N].tolist()
            return {
                "tokens": tokens if times == 1 else None, "forwards": steps, "queries": steps * ids_BL.size,
                "each": [(ids_BL.size, ids_BL.size)] * steps, "times": times,
            }  # fmt: skip

        return published
    keep_memory()
    denoiser = load(str(shape.folder), mask_id=shape.mask, dtype=dtype, int8=int8, compile=compiled)
    policy = LowConfidence(block=BLOCK)
    asked = [shape.batch * (BLOCK - step * shape.pace % BLOCK) for step in range(steps)]

    def ours() -> dict[str, Any]:
        traces = decode_traces(denoiser, canvases, policy, budget=Budget(tokens=shape.pace), cache=cache)
        tokens = [np.array(trace.final)[free_N].tolist() for trace in traces]
        queries = [
            sum(costs) for costs in zip(*([cost.queries for cost in trace.costs] for trace in traces), strict=True)
        ]
        each = [*zip(queries, asked, strict=True)]
        return {
            "tokens": tokens, "forwards": traces[0].forwards, "queries": sum(queries), "each": each, "times": 1.0,
        }  # fmt: skip

    return ours


class Side:
    """A way to decode in a process of its own, so that it does not share settings, memory or caches with others."""

    def __init__(self, way: str, shape: Shape, told: list[str]) -> None:
        command = [sys.executable, __file__, "--side", way, *told]
        command += [text for name, value in asdict(shape).items() for text in (f"--{name}", str(value))]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self) -> dict[str, Any]:
        """Its tokens, what they cost, the seconds they took, and the process's peak memory in MiB."""
        assert self.process.stdin and self.process.stdout
        print(file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())


def side(way: str, shape: Shape, part: Part, dtype: Dtype, clock: Callable[[], float]) -> None:
    """What a `Side`'s process does: a decode for every line it is sent."""
    decode = decoder(way, shape, part, dtype)
    for _ in sys.stdin:
        started = clock()
        found = decode()
        found |= {"seconds": (clock() - started) * found["times"]}
        found |= {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
        print(json.dumps(found), flush=True)


def share_of_equal(tokens: list[list[int]] | None, others: list[list[int]] | None) -> float | None:
    return float((np.array(tokens) == np.array(others)).mean()) if tokens and others else None


def measure(
    shape: Shape, ways: list[str], dtype: Dtype, repeats: int, clock: Callable[[], float], told: list[str]
) -> list[dict[str, Any]]:
    """A row for each way, with its ratio to the published loop. `told` are the flags of the sides."""
    shape.make()
    sides = {way: Side(way, shape, told) for way in dict.fromkeys(["published", *ways])}
    first = {way: one.run() for way, one in sides.items()}
    runs = [{way: one.run() for way, one in sides.items()} for _ in range(repeats)] or [first]
    for one in sides.values():
        one.process.kill()
    sizes = Sizes(
        width=shape.width, layers=shape.layers, vocab=shape.vocab, batch=shape.batch, length=shape.length,
        dtype=getattr(torch, dtype),
    )  # fmt: skip
    products, rows = Products(sizes, clock), list[dict[str, Any]]()
    for way in ways:
        attention, cache, int8, compiled = WAYS[way]
        alike = (other for other in first if WAYS[other].attention == attention and first[other]["tokens"])
        reference = next(alike, way)
        ratios = [run["published"]["seconds"] / run[way]["seconds"] for run in runs]
        seconds = statistics.median(run[way]["seconds"] for run in runs)
        rows.append({
            "name": way, "attention": attention, "cache": cache, "dtype": dtype, "int8": int8, "compile": compiled,
            "vocab": shape.vocab, "batch": shape.batch,
            "prompt": shape.prompt, "paths": shape.paths, "width": shape.width, "layers": shape.layers,
            "speedup": statistics.median(ratios), "smallest": min(ratios), "largest": max(ratios),
            "same_tokens": share_of_equal(first[way]["tokens"], first[reference]["tokens"]), "against": reference,
            "forwards": first[way]["forwards"], "query_tokens": first[way]["queries"],
            "products": products.seconds(first[way]["each"]) / seconds,
            "peak_mb": round(runs[-1][way]["peak_mb"]),
        })  # fmt: skip
    return rows


def said_share(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=WAYS, default=USUAL)
    for name, value in asdict(Shape()).items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--dtype", choices=get_args(Dtype), default="float32")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs after one that is not; 0: time that one")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cpu", action="store_true", help="measure processor seconds, of one thread")
    parser.add_argument(
        "--published-steps", type=int, help="steps of the published loop that are timed; all by default"
    )
    parser.add_argument("--published-rows", type=int, help="rows of the batch for which that is done; all by default")
    parser.add_argument("--json", action="store_true", help="one JSON object a row")
    parser.add_argument("--side", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    shape = Shape(**{name: getattr(options, name) for name in asdict(Shape())})
    clock = time.process_time if options.cpu else time.perf_counter
    if options.side:
        side(options.side, shape, Part(options.published_steps, options.published_rows), options.dtype, clock)
        return
    told = ["--threads", str(options.threads), "--dtype", options.dtype, *["--cpu"] * options.cpu]
    for name in ("published-steps", "published-rows"):
        if number := getattr(options, name.replace("-", "_")):
            told += [f"--{name}", str(number)]
    with fast_float32():
        rows = measure(shape, options.only, options.dtype, options.repeats, clock, told)
    for row in rows:
        if options.json:
            print(json.dumps(row), flush=True)
            continue
        print(
            f"{row['name']:<9} {row['speedup']:6.2f} [{row['smallest']:.2f}, {row['largest']:.2f}] times the published "
            f"loop; {said_share(row['same_tokens'])} same tokens, {row['forwards']} forwards, {row['query_tokens']} "
            f"query tokens, products {100 * row['products']:.0f} % of the time, {row['peak_mb']} MiB",
            flush=True,
        )


if __name__ == "__main__":
    main()
