"""The files that the pages speak of (`DIR`, `SCORER`, `corpus.jsonl`, ...), made small, in a folder like a checkout.

Does not run anything of the pages.
"""

import json
import os
import shlex
import sys
from pathlib import Path

from pages import ROOT

from nap.data.samples import write_samples
from nap.data.trace_files import write_traces
from nap.models.checkpoint import ASSETS
from nap.tasks.arith import Arith
from scorers import save_causal
from tiny import NAP, environment

PROMPTS = ("Ann has 2 pears . How many has Ann ?", "Bob has 4 keys . How many has Bob ?")


def programs(folder: Path) -> dict[str, str]:
    """The environment in which `nap` and `python` are this installation's."""
    folder.mkdir()
    for name, command in {
        "nap": f"{shlex.quote(sys.executable)} -c '{NAP}'",
        "python": shlex.quote(sys.executable),
    }.items():
        (folder / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (folder / name).chmod(0o755)
    return environment(PATH=f"{folder}{os.pathsep}{os.environ['PATH']}", COLUMNS="120", HOME=str(folder.parent))


def lay_out(folder: Path) -> None:
    """Write the files."""
    for name in ("recipes", "tests", "docs", "src", "examples"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "DIR").symlink_to(ASSETS / "arith-nap")
    save_causal(folder / "SCORER")
    samples = [Arith().sample(seed=0, index=n) for n in range(4)]
    write_samples(samples, folder / "samples.parquet")
    texts = [path.text.replace(" ; ", "\n") for sample in samples for path in sample.paths]
    (folder / "corpus.txt").write_text("\n".join([*texts, "the king of the law is the king"]) + "\n")
    rows = {
        "corpus": [{"prompt": "Ann ?", "text": text, "domain": f"d{n % 2}"} for n, text in enumerate(texts)],
        "problems": [{"prompt": prompt, "answer": n} for prompt, n in zip(PROMPTS, (2, 4), strict=True)],
        "prompts": [{"prompt": text.split()[0], "answer": 0} for text in texts[:2]],
        "outputs": [{"output": "The answer is 4.", "answer": n, "gen_length": 128 * n} for n in (3, 4)],
        "orders": [[[0, 0], [1, 1], [2, 2]], [[0, 2], [1, 1], [2, 0]]],
    }
    for name, listed in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in listed))


def record(folder: Path) -> None:
    """Two traces of the bundled model, and a run of two problems."""
    import nap

    traces = [result.trace for result in nap.decode("arith-nap", PROMPTS, tokens_per_step=8)]
    write_traces(traces, str(folder / "traces.jsonl"))
    nap.evaluate("arith-nap", "arith", policies=["low_confidence"], tokens_per_step=[8], problems=2, out=folder / "run")
