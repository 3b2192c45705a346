"""The 100 MATH problems with 8 sampled solutions each of QwenLM/Qwen2.5-Math, as multi-path data, from a file.

    python recipes/curate_math.py ../shared/data/multi_traj/qwen2.5-math_math100x8.jsonl --tokenizer models/smollm2-135m

Expected wall time: 10 seconds a selection on a busy core, no model. Expected numbers (2026-11-24, slots of 512 tokens
of SmolLM2's tokenizer, three paths): of 800 solutions 170 are too long and 235 doubles; `all` gives 69 samples, 188 of
their 207 paths right.
"""

import argparse
from pathlib import Path
from typing import get_args

from nap.commands.curate import summary_of
from nap.curation.curate import curate
from nap.curation.plan import Plan
from nap.curation.selection import Rule


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("solutions")
    parser.add_argument("--tokenizer", default=None)
    parser.add_argument("--path-tokens", type=int, default=512)
    parser.add_argument("--out", type=Path, default=Path("runs/curate_math"))
    args = parser.parse_args()
    for rule in get_args(Rule):
        plan = Plan(
            task="math500", solutions=args.solutions, tokenizer=args.tokenizer, path_tokens=args.path_tokens,
            select=rule, licences=(("data", "mit"), ("problems", "mit"), ("teacher", "mit")),
        )  # fmt: skip
        print(f"select {rule}", summary_of(curate(plan, args.out / rule)), sep="\n", flush=True)


if __name__ == "__main__":
    main()
