"""SeqDep by one reading of a text against two forwards a segment, on the same texts: time, and the largest difference.

    python benchmarks/seqdep_speed.py --scorer ../models/smollm2-135m      # 2 minutes of one core of its own

Reference: for every segment after the first log p(s_n | x, s_<n) and log p(s_n | x) by a forward of their own, as
Eq. 4 of 2602.23225 is written; like ours it computes logits at scored positions only. Texts: R1 traces and MATH
solutions cut in lines, GSM8K solutions cut in lines and in 8 tokens. Times are CPU seconds of one thread, so that
neighbours on a shared machine weigh little; of each text's ratio the median, the smallest and the largest.
Not a test: nothing here fails on a slow machine. Results with date and machine: docs/seqdep.md.
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

from nap.files import read_jsonl_objects, read_text
from nap.scorer import open_scorer
from nap.segments import Ids, Row, Text
from nap.seqdep import Branch, cut_rows, measure
from nap.tasks import data_file


def texts_of(scorer: Any, count: int) -> dict[str, list[Text]]:
    """The texts by what they are, `count` of each."""
    gsm8k = [row for _, row in read_jsonl_objects(data_file("gsm8k/train.jsonl"))][:count]
    math = [row for _, row in read_jsonl_objects(data_file("multi_traj/qwen2.5-math_math100x8.jsonl"))][:count]
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
    logits_NV = scorer.model(whole, use_cache=False, logits_to_keep=len(ids) + 1).logits[0, :-1].float()
    return -torch.nn.functional.cross_entropy(logits_NV, whole[0, len(before) :], reduction="sum").item()


def two_forwards_a_segment(scorer: Any, text: Text) -> np.ndarray:
    """[2, M] log p of each segment with its history, and without."""
    histories = [text.ids[: text.starts[n]] for n in range(1, len(text.segments))]
    given = [log_p(scorer, before, ids) for before, ids in zip(histories, text.segments[1:], strict=True)]
    return np.array([given, [log_p(scorer, text.prompt, ids) for ids in text.segments[1:]]])


def one_reading(scorer: Any, text: Text) -> np.ndarray:
    """The same by `nap.seqdep.measure`."""
    own = measure(scorer, text)
    return np.array([own.given_history, own.baseline["seqdep"]])


def timed(function: Callable[..., np.ndarray], *arguments: Any) -> tuple[float, np.ndarray]:
    started = time.process_time()
    found = function(*arguments)
    return time.process_time() - started, found


def compare(scorer: Any, texts: Sequence[Text]) -> str:
    """A line of the table."""
    slow = [timed(two_forwards_a_segment, scorer, text) for text in texts]
    fast = [timed(one_reading, scorer, text) for text in texts]
    ratios = [a[0] / b[0] for a, b in zip(slow, fast, strict=True)]
    apart = max(np.abs(a[1] - b[1]).max() for a, b in zip(slow, fast, strict=True))
    counts = f"{sum(len(text.ids) for text in texts)} | {sum(len(text.segments) for text in texts)}"
    spread = f"{statistics.median(ratios):.1f} [{min(ratios):.1f}, {max(ratios):.1f}]"
    return f"{counts} | {spread} | {sum(seconds for seconds, _ in fast):.1f} | {apart:.0e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scorer", default=str(Path(__file__).parents[2] / "models/smollm2-135m"))
    parser.add_argument("--texts", type=int, default=2, help="of each kind")
    options = parser.parse_args()
    torch.set_num_threads(1)
    scorer: Any = open_scorer(options.scorer)
    scorer.score(tuple(range(9, 40)), [Branch(4, (9, 10))], 5)  # what only the first call costs
    print("texts | tokens | segments | two forwards a segment / one reading | CPU s, ours | largest difference, nats")
    for name, texts in texts_of(scorer, options.texts).items():
        print(f"{name} | {compare(scorer, texts)}", flush=True)


if __name__ == "__main__":
    main()
