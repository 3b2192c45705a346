"""SeqDep by one reading of a text against two forwards a segment, on the same texts: time, and the largest difference.

    python benchmarks/seqdep_speed.py --scorer ../models/smollm2-135m      # 10 minutes of one busy core

Reference: for every segment after the first log p(s_n | x, s_<n) and log p(s_n | x) by a forward of their own, as Eq. 4
of 2602.23225 is written; like ours it computes logits at scored positions only, and by the same float32 products.
Texts: R1 traces and MATH solutions cut in lines, GSM8K solutions cut in lines and in 8 tokens. Each kind is measured as
a whole, both ways in turn, --repeats times; times are CPU seconds of one thread, so that other programs matter little.
`tokens` shows what there is to save: the tokens that the reference's forwards read, and those that ours read. Not a
test: nothing here fails on a slow machine. Results with date and machine: docs/seqdep.md.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nap.common.files import read_text
from nap.common.machine import fast_float32
from nap.common.rows import read_rows
from nap.dependence.load import open_scorer
from nap.dependence.scorer import Branch, Reading
from nap.dependence.segments import Ids, Row, Text
from nap.dependence.seqdep import cut_rows, measure_corpus
from nap.tasks.registry import data_file


def texts_of(scorer: Any, count: int) -> dict[str, list[Text]]:
    """The texts by what they are, `count` of each as far as there are (five R1 traces)."""
    gsm8k = [row.value for row in read_rows(data_file("gsm8k/train.jsonl"))][:count]
    math = [row.value for row in read_rows(data_file("multi_traj/qwen2.5-math_math100x8.jsonl"))][:count]
    r1 = json.loads(read_text(data_file("multi_traj/rasbt_sample_ollama_outputs.json")))[:count]
    words = [Row("gsm8k", row["question"], row["answer"]) for row in gsm8k]
    solutions = [Row("math", row["question"], row["code"][0]) for row in math]
    traces = [Row("r1", row["problem"], row["message_thinking"]) for row in r1]
    wanted = [
        ("R1 traces, first 384 tokens, lines", traces, "lines", 384),
        ("MATH solutions, lines", solutions, "lines", 512),
        ("GSM8K solutions, lines", words, "lines", 512),
        ("GSM8K solutions, tokens:8", words, "tokens:8", 512),
    ]
    return {name: cut_rows(scorer, rows, how, most).texts for name, rows, how, most in wanted}


@torch.inference_mode()
def log_p(scorer: Any, before: Ids, ids: Ids) -> float:
    """log p of `ids` after `before`, by a forward of its own."""
    whole = torch.tensor([[*before, *ids]])
    logits_NV = scorer.model(whole, use_cache=False, logits_to_keep=len(ids) + 1).logits[0, :-1]
    # As exact as ours, see nap.dependence.causal.
    return (logits_NV[range(len(ids)), list(ids)] - logits_NV.logsumexp(1)).double().sum().item()


def two_forwards_a_segment(scorer: Any, text: Text) -> np.ndarray:
    """[2, M] log p of each segment with its history, and without."""
    histories = [text.ids[: text.starts[n]] for n in range(1, len(text.segments))]
    given = [log_p(scorer, before, ids) for before, ids in zip(histories, text.segments[1:], strict=True)]
    return np.array([given, [log_p(scorer, text.prompt, ids) for ids in text.segments[1:]]])


def slow(scorer: Any, texts: Sequence[Text]) -> np.ndarray:
    """[2, M of all texts] by two forwards a segment."""
    with fast_float32():
        return np.concatenate([two_forwards_a_segment(scorer, text) for text in texts], axis=1)


def fast(scorer: Any, texts: Sequence[Text]) -> np.ndarray:
    """The same by `nap.dependence.seqdep`."""
    measured = measure_corpus(scorer, texts, control=False, excess=False)
    return np.concatenate([[own.given_history, own.baseline["seqdep"]] for own in measured], axis=1)


def tokens_read(text: Text) -> tuple[int, int]:
    """Tokens in two forwards a segment, and in one reading of the text and its branches."""
    scored = range(1, len(text.segments))
    sizes = [len(text.segments[n]) for n in scored]
    return sum(text.starts[n + 1] + len(text.prompt) + len(text.segments[n]) for n in scored), len(text.ids) + sum(
        sizes
    )


def timed(function: Callable[..., np.ndarray], *arguments: Any) -> tuple[float, np.ndarray]:
    started = time.process_time()
    found = function(*arguments)
    return time.process_time() - started, found


def compare(scorer: Any, texts: Sequence[Text], repeats: int) -> str:
    """A line of the table."""
    runs = [(timed(slow, scorer, texts), timed(fast, scorer, texts)) for _ in range(repeats)]
    ratios = [a[0] / b[0] for a, b in runs]
    apart = max(np.abs(a[1] - b[1]).max() for a, b in runs)
    reference, ours = map(sum, zip(*map(tokens_read, texts), strict=True))
    counts = f"{len(texts)} | {sum(len(text.segments) for text in texts) / len(texts):.1f}"
    spread = f"{statistics.median(ratios):.1f} [{min(ratios):.1f}, {max(ratios):.1f}]"
    seconds = statistics.median(b[0] for _, b in runs)
    return f"{counts} | {reference} / {ours} = {reference / ours:.1f} | {spread} | {seconds:.1f} | {apart:.0e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scorer", default=str(Path(__file__).parents[2] / "models/smollm2-135m"))
    parser.add_argument("--texts", type=int, default=8, help="of each kind")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    scorer: Any = open_scorer(options.scorer)
    scorer.score([Reading(tuple(range(9, 40)), [Branch(4, (9, 10))], 5)])  # what only the first call costs
    heads = ["texts", "number", "segments a text", "tokens read", "two forwards a segment / ours", "CPU s, ours"]
    print(" | ".join([*heads, "largest difference, nats"]))
    for name, texts in texts_of(scorer, options.texts).items():
        print(f"{name} | {compare(scorer, texts, options.repeats)}", flush=True)


if __name__ == "__main__":
    main()
