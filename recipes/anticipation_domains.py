"""In which order would an ideal denoiser write maths, text, code and tables, in one chain and on independent paths?

    python recipes/anticipation_domains.py --scorer ../models/smollm2-135m
    python recipes/anticipation_domains.py --write

A row has three texts of a domain that have nothing to do with each other: one after the other as one chain, or as three
paths. SmolLM2-135M continues both, and the anticipation profile says what is most certain next. Texts are cut after
TEXT characters, so that what stands before a chain's context is not much longer than what stands before a path's. The
first command measures what docs/anticipation_domains.json lacks and can be killed and started again; the second makes a
table of docs/anticipation.md. Expected wall time: ten minutes of one free core. Expected numbers: that table.
"""

import argparse
import gzip
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from anticipation import between_marks, measure_missing, rewrite, stored_in
from ar_to_diffusion import without_marks

from nap.common.files import exits_on_bad_input
from nap.dependence.anticipation import Profile, anticipate, contexts_of, profile
from nap.dependence.causal import CausalScorer
from nap.dependence.sampling import sampler_of
from nap.dependence.segments import Row
from nap.tasks.registry import data_file

ROOT = Path(__file__).resolve().parent.parent
STORED, PAGE = ROOT / "docs/anticipation_domains.json", ROOT / "docs/anticipation.md"
MARK = "<!-- made by recipes/anticipation_domains.py --write -->"
DOMAINS = {
    "maths": "GSM8K, problems with solutions", "text": "wikitext-2, paragraphs", "code": "HumanEval, solutions",
    "table": "tables of sums and products, made here",
}  # fmt: skip
FORMS = {"chain": "one chain", "paths": "three paths"}
NAMES = tuple(f"{domain} {form}" for domain in DOMAINS for form in FORMS)
ROWS, TEXTS, TEXT, SAMPLES, LENGTH, MOST = 20, 3, 400, 32, 16, 1024
# Columns: what of a profile, and what the table calls it.
SHOWN = {"first": "first", "rank": "rank", "order": "ARness", "canvas": "canvas"}
DISTANCES = (1, 2, 4, 8, 16)


def texts_of(domain: str) -> list[str]:
    """As many texts of a domain as its rows need, the same for the same domain."""
    drawn = random.Random(f"anticipation {domain}")
    if domain == "maths":
        rows = [json.loads(line) for line in data_file("gsm8k/test.jsonl").read_text("utf-8").splitlines()]
        found = [f"{row['question']}\n{without_marks(row['answer'])[0]}" for row in rows]
    elif domain == "text":
        lines = data_file("text/wikitext2_valid.txt").read_text("utf-8").splitlines()
        found = [line for line in lines if len(line) > TEXT]
    elif domain == "code":
        packed = gzip.decompress(data_file("humaneval/HumanEval.jsonl.gz").read_bytes()).decode()
        rows = [json.loads(line) for line in packed.splitlines()]
        found = [row["canonical_solution"] for row in rows if len(row["canonical_solution"]) > 100]
    else:
        found = [_table(drawn) for _ in range(ROWS * TEXTS)]
    return [text.strip()[:TEXT] for text in drawn.sample(found, ROWS * TEXTS)]


def _table(drawn: random.Random) -> str:
    """Rows of two numbers, their sum and their product."""
    pairs = [(drawn.randrange(2, 100), drawn.randrange(2, 100)) for _ in range(12)]
    return "\n".join(["| a | b | a + b | a * b |", *(f"| {a} | {b} | {a + b} | {a * b} |" for a, b in pairs)])


def rows_of(domain: str, form: str) -> list[Row]:
    """The texts of a domain, three a row."""
    texts = texts_of(domain)
    each = [texts[start : start + TEXTS] for start in range(0, len(texts), TEXTS)]
    return [Row(f"{domain} {i}", "", part if form == "paths" else "\n\n".join(part)) for i, part in enumerate(each)]


def measured(scorer: CausalScorer, name: str) -> dict[str, Any]:
    """The profile of a domain in a form: mean, low and high end of every column."""
    contexts = contexts_of(rows_of(*name.split()), scorer, 1, MOST, seed=0)
    return columns(profile(anticipate(sampler_of(scorer), contexts, SAMPLES, LENGTH)))


def columns(found: Profile) -> dict[str, Any]:
    """What is kept of a profile."""
    said = {name: getattr(found, name) for name in SHOWN} | {f"top {d}": found.top[d] for d in DISTANCES}
    said |= {f"entropy {d}": found.entropy[d] for d in DISTANCES}
    return {name: one and [round(value, 4) for value in (one.mean, *one.interval)] for name, one in said.items()}


def table(found: dict[str, dict[str, Any]]) -> Iterator[str]:
    """A line for each domain and form that was measured."""
    names = [*SHOWN, *(f"top {d}" for d in DISTANCES)]
    yield f"| | {' | '.join(SHOWN.get(name, name) for name in names)} |"
    yield "|---" * (1 + len(names)) + "|"
    for domain, form in map(str.split, NAMES):
        if said := found.get(f"{domain} {form}"):
            yield f"| {DOMAINS[domain]}: {FORMS[form]} | {' | '.join(_cell(said[name]) for name in names)} |"


def _cell(values: Sequence[float] | None) -> str:
    return "{:.2f} [{:.2f}, {:.2f}]".format(*values) if values else "-"


def main() -> int:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scorer", help="folder or hub name of a causal language model")
    parser.add_argument("--write", action="store_true", help="make the table of docs/anticipation.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.scorer:
        measure_missing(options.scorer, NAMES, measured, STORED)
    if options.write:
        rewrite(PAGE, lambda text: between_marks(text, PAGE, MARK, lambda: "\n".join(table(stored_in(STORED)))))
    return 0


if __name__ == "__main__":
    with exits_on_bad_input("anticipation_domains"):
        raise SystemExit(main())
