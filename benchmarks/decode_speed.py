"""What a decoding step costs beside the model: a decode of the bundled model against its own forwards alone.

    python benchmarks/decode_speed.py                # about a minute on two cores

All figures are ratios of times measured alternately in one run: the median of --repeats, with the smallest and the
largest. Not a test: nothing here fails on a slow machine. Decodes against the published loop: decode.py. Results with
date and machine: docs/speed.md.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from nap.canvas.canvas import Canvas, layout
from nap.decoding.budget import Budget
from nap.decoding.decode import decode_traces
from nap.decoding.policies.ordered import LowConfidence
from nap.decoding.policies.paths import ParallelForced
from nap.decoding.prompt import prompt_ids
from nap.models.load import load
from nap.tasks.registry import load_task


class Recorder:
    """A denoiser that records what it was asked, so that the same forwards can be run without the loop."""

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    overhead(options.repeats)


if __name__ == "__main__":
    main()
