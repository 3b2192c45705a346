"""Where does order become high? The letters of real text, and the same text with less and less order in it.

    python recipes/text_order.py                            # what is missing of twelve models, one at a time
    python recipes/text_order.py --arms words --seeds 0     # one of them

Each model learns, from scratch and by the study's recipe, the 96 letters of tinyshakespeare that follow 32: as they
stand; as three unrelated passages of 32 letters, each after its third of the prompt, which corresponds to NAP's data
against a chain; with the words of the 96 in random order, so that only words are left; and with the letters in random
order, so that nothing is left. The letter frequencies and the slot are the same for all. Then it writes on the text's
last tenth, one letter at a time: by confidence, the same with equally sure letters taken from the left or the right,
and in random order. Nothing here is right or wrong: the order is all that is measured. The rows of a view and a
training seed go to docs/text_order/VIEW-SEED.parquet, of which recipes/study_page.py makes a table of
docs/study_details.md. Expected wall time: 20 to 90 minutes a model on one core; resumable.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from agreement import Model, made, study_parser, work_through, write_rows
from agreement_parts.measure import TIES
from bundled import ROOT, Recipe, fit

from nap.canvas.canvas import CanvasSpec
from nap.common.files import atomic
from nap.data.problems import Problem
from nap.data.samples import Path as Solution
from nap.data.samples import Sample
from nap.order.arness import global_arness
from nap.order.order import Order, order_of
from nap.tasks.registry import data_file

RESULTS = ROOT / "docs/text_order"
PROMPT, SLOT = 32, 96
# Letters of each passage: its share of the prompt, and of the slot.
LEADS, PASSAGE = (11, 11, 10), SLOT // 3
CANVAS = CanvasSpec.plain(SLOT)
VIEWS = {
    "text": "as it stands",
    "passages": "three independent passages",
    "words": "words in random order",
    "letters": "letters in random order",
}
POLICIES = ("low_confidence", "random", *TIES)
PROBLEMS, STEPS, SEEDS = 200, 2500, 3
MEASURES = ("global_arness@1", "global_arness@1_random", "third_arness@1", "local_arness@1", "tau_b")


def read_text() -> tuple[str, str]:
    """The text to learn from and the last tenth, all space one blank."""
    text = " ".join(data_file("text/tinyshakespeare.txt").read_text().split())
    return text[: len(text) * 9 // 10], text[len(text) * 9 // 10 :]


def view_of(text: str, view: str, rng: np.random.Generator) -> str:
    """The slot's text in the order of a view: as many letters of each kind."""
    if view == "text":
        return text
    between = " " if view == "words" else ""
    parts = text.split(" ") if view == "words" else list(text)
    return between.join(parts[i] for i in rng.permutation(len(parts)))


def sample(text: str, view: str, seed: int, index: int) -> Sample:
    """Window `index` of an endless stream; of passages, three windows."""
    rng = np.random.default_rng([seed, index])
    if view == "passages":
        cuts = [(start + lead, lead) for start, lead in zip(rng.integers(len(text) - SLOT, size=3), LEADS, strict=True)]
        prompt = "".join(text[cut - lead : cut] for cut, lead in cuts)
        slot = "".join(text[cut : cut + PASSAGE] for cut, _ in cuts)
    else:
        middle = int(rng.integers(len(text) - PROMPT - SLOT)) + PROMPT
        prompt, slot = text[middle - PROMPT : middle], view_of(text[middle : middle + SLOT], view, rng)
    return Sample(
        problem=Problem(id=str(index), prompt=prompt, answer=""), paths=(Solution(text=slot),), summary=""
    )  # fmt: skip


def third_arness(order: Order) -> float:
    """Global-ARness@1 (0 to 1; a random order .127) inside a third of the slot as a sequence of its own, averaged."""
    third = (order.positions - PROMPT) // PASSAGE
    found = [global_arness(order.where(third == i)) for i in range(3)]
    return fmean(value for value in found if value is not None)


def build_tokenizer(text: str) -> Any:
    """A token for each letter."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = ["<pad>", "<mask>", "<unk>", *sorted(set(text))]
    tokenizer = Tokenizer(models.WordLevel({letter: i for i, letter in enumerate(letters)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, mask_token="<mask>", pad_token="<pad>", unk_token="<unk>",
        clean_up_tokenization_spaces=False,
    )  # fmt: skip


def queue() -> list[Model]:
    """Every model: seed by seed, so that what there is compares views."""
    return [Model(arm=view, seed=seed) for seed in range(SEEDS) for view in VIEWS]


def run_one(model: Model, options: argparse.Namespace) -> None:
    """Train and decode what is missing of a model, and write its rows."""
    text, held_out = read_text()
    view, folder = model.arm, options.runs / model.name
    trained = fit(
        build_tokenizer(text + held_out), CANVAS, lambda index: sample(text, view, model.seed, index), folder,
        Recipe(steps=STEPS), seed=model.seed, dtype=options.dtype, device=options.device,
    )  # fmt: skip
    prompts = [sample(held_out, view, 1, index).problem.prompt for index in range(PROBLEMS)]
    rows = order_rows(trained, prompts, POLICIES, folder, options.device)
    told = {"view": view, "seed": model.seed, "problems": PROBLEMS, **made(trained)}
    write_rows(rows, options.results / f"{model.name}.parquet", told)


def order_rows(
    trained: Path, prompts: Sequence[str], policies: Sequence[str], folder: Path, device: str = "cpu"
) -> list[dict[str, Any]]:  # fmt: skip
    """The order in which a model writes after each of these prompts, one token a step: a row a policy and prompt.

    A killed run goes on from what is in `folder`.
    """
    from nap.common.records import to_row
    from nap.evaluation.run import run_sweep
    from nap.evaluation.sweep import Sweep
    from nap.report.runs import read_run

    asked = folder / "problems.jsonl"
    with atomic(asked) as file:
        for index, prompt in enumerate(prompts):
            file.write(json.dumps({"id": str(index), "prompt": prompt, "answer": "none"}) + "\n")
    sweep = Sweep(
        task="jsonl", data=str(asked), models=(str(trained),), policies=tuple(policies), tokens_per_step=(1,),
        problems=len(prompts), device=device,
    )  # fmt: skip
    rows = [to_row(row) for row in run_sweep(sweep, folder / "rows", batch_size=25, traces=len(prompts))]
    orders = {(one.policy, one.trace.problem_id): order_of(one.trace) for one in read_run(folder / "rows").traces}
    for row in rows:
        row["third_arness@1"] = third_arness(orders[row["policy"], row["problem_id"]])
    return [{name: row[name] for name in ("index", "policy", *MEASURES)} for row in rows]


def main() -> int:
    options = study_parser(__doc__, queue(), "text_order").parse_args()
    return work_through(options, queue(), lambda model: VIEWS[model.arm], run_one)


if __name__ == "__main__":
    sys.exit(main())
