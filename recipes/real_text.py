"""Does the order of a model of real text fall where the anticipation profile says so? SmolLM2 made a diffusion model.

    python recipes/real_text.py --scorer models/smollm2-135m      # what is missing of four models, one at a time
    python recipes/real_text.py --write                           # the tables of docs/anticipation.md

Each model goes on from SmolLM2-135M by masked diffusion, on windows of 32 tokens of context and 96 to write, without
padding: of problems of GSM8K with their solutions, one after the other, or of wikitext-2. A chain is a window as it
stands; passages are three unrelated windows of 32 tokens, each after its third of the context, which is what NAP's data
are to a chain. Then it writes on held-out text by confidence, a token a step; and the profile of the same held-out
windows is measured with SmolLM2 as it came. What is asked and the rules: docs/anticipation.md. Rows and profile of a
model go to docs/real_text/CORPUS-FORM-SEED.parquet. Expected wall time: 1.5 hours a model on one core; resumable.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from agreement import Model, study_parser, work_through, write_rows
from agreement_parts.findings import arness
from agreement_parts.measure import AO, TIES
from anticipation import PAGE, between_marks
from ar_to_diffusion import without_marks
from bundled import ROOT
from text_order import CANVAS, LEADS, PASSAGE, PROMPT, SLOT, order_rows

from nap.common.files import InputError, atomic, exits_on_bad_input, read_text
from nap.common.stats import bootstrap_mean
from nap.data.problems import Problem
from nap.data.samples import Path as Solution
from nap.data.samples import Sample, write_samples
from nap.tasks.registry import data_file

CORPORA = {"gsm8k": "GSM8K, problems and solutions", "wikitext": "wikitext-2"}
FORMS = {"chain": "as it stands", "passages": "three unrelated passages"}
RESULTS = ROOT / "docs/real_text"
MARK = "<!-- made by recipes/real_text.py --write -->"
STEPS, BATCH, RATE = 600, 16, 1e-4
# Held-out windows that are written, and continued for the profile.
PROBLEMS, PROFILED, SAMPLES, LENGTH = 40, 24, 32, 8
# S2 says no within this.
CLOSE = 0.05
# A third of a window counts by H_n/n of its own length.
THIRD_RANDOM = sum(1 / k for k in range(1, PASSAGE + 1)) / PASSAGE


def text_of(corpus: str, held_out: bool) -> str:
    """One long text."""
    if corpus == "wikitext":
        text = data_file("text/wikitext2_valid.txt").read_text()
        cut = len(text) * 9 // 10
        return text[cut:] if held_out else text[:cut]
    rows = data_file(f"gsm8k/{'test' if held_out else 'train'}.jsonl").read_text().splitlines()
    return "".join(_written(json.loads(row)) for row in rows)


def _written(row: dict[str, str]) -> str:
    solution, answer = without_marks(row["answer"])
    return f" {row['question']}\n {solution}\n The answer is {answer}.\n\n"


@dataclass(frozen=True, kw_only=True)
class Window:
    """A context and what follows it, as text and as tokens; of passages one after the other."""

    prompt: str
    slot: str
    parts: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]


class Windows:
    """An endless stream of windows of a text, cut before words, so that their text gives the same tokens again."""

    def __init__(self, tokenizer: Any, text: str) -> None:
        found = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
        self.tokenizer, self.text = tokenizer, text
        self.ids, self.starts = found["input_ids"], [start for start, _ in found["offset_mapping"]]

    def draw(self, form: str, seed: int, index: int) -> Window:
        """Window `index` of the stream of a seed."""
        rng = np.random.default_rng([seed, index])
        lengths = [(lead, PASSAGE) for lead in LEADS] if form == "passages" else [(PROMPT, SLOT)]
        while True:
            cuts = [self._cut(rng, *each) for each in lengths]
            prompt = "".join(self._said(start, middle) for start, middle, _ in cuts)
            slot = "".join(self._said(middle, end) for _, middle, end in cuts)
            parts = tuple((tuple(self.ids[a:b]), tuple(self.ids[b:c])) for a, b, c in cuts)
            leads, texts = ([token for piece in pieces for token in piece] for pieces in zip(*parts, strict=True))
            if self._encode(prompt) == leads and self._encode(slot) == texts:
                return Window(prompt=prompt, slot=slot, parts=parts)

    def _cut(self, rng: np.random.Generator, lead: int, length: int) -> tuple[int, int, int]:
        while True:
            start = int(rng.integers(len(self.ids) - lead - length))
            places = start, start + lead, start + lead + length
            if all(self.text[self.starts[place]].isspace() for place in places):
                return places

    def _said(self, start: int, end: int) -> str:
        return self.text[self.starts[start] : self.starts[end]]

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]


def train_model(model: Model, scorer: Path, folder: Path, dtype: str) -> Path:
    """The folder of the trained model, gone on with where it was killed."""
    from nap.training.finetune import fine_tune
    from nap.training.settings import Hyper, Job, Objective, Watch

    folder.mkdir(parents=True, exist_ok=True)
    start, data = folder / "start", folder / "train.parquet"
    # Its chat template would stand around every context.
    shutil.copytree(scorer, start, ignore=shutil.ignore_patterns("chat_template*"), dirs_exist_ok=True)
    if not data.exists():
        corpus, _, form = model.arm.partition("-")
        windows = windows_of(scorer, corpus, held_out=False)
        write_samples((_sample(windows.draw(form, model.seed, i), i) for i in range(STEPS * BATCH)), data)
    job = Job(
        model=str(start), data=str(data), spec=CANVAS, shift=True, objective=Objective(weight="none", power=0.5),
        hyper=Hyper(
            steps=STEPS, batch_size=BATCH, rows=BATCH, learning_rate=RATE, dtype=dtype, seed=model.seed
        ),
    )  # fmt: skip
    return fine_tune(job, folder / "run", Watch(save_every=50), lambda line: print(line, flush=True))


def windows_of(scorer: Path, corpus: str, held_out: bool) -> Windows:
    """The windows of a corpus in tokens of the scorer."""
    from transformers import AutoTokenizer

    return Windows(AutoTokenizer.from_pretrained(scorer), text_of(corpus, held_out))


def _sample(window: Window, index: int) -> Sample:
    problem = Problem(id=str(index), prompt=window.prompt, answer="")
    return Sample(problem=problem, paths=(Solution(text=window.slot),), summary="")


def profiled(scorer: Path, windows: list[Window]) -> list[float]:
    """The profile's ARness inside these passages or chains, with its interval."""
    from nap.dependence.anticipation import Context, anticipate, profile
    from nap.dependence.causal import CausalScorer
    from nap.dependence.load import open_scorer
    from nap.dependence.sampling import sampler_of

    opened, rng = open_scorer(str(scorer)), np.random.default_rng(0)
    assert isinstance(opened, CausalScorer)
    contexts = [
        Context(row, draw, (*lead, *text[: int(rng.integers(len(text)))]))
        for row, window in enumerate(windows) for draw, (lead, text) in enumerate(window.parts)
    ]  # fmt: skip
    order = profile(anticipate(sampler_of(opened), contexts, SAMPLES, LENGTH)).order
    assert order.interval is not None
    return [order.mean, *order.interval]


def run_one(model: Model, options: argparse.Namespace) -> None:
    """Train and measure what is missing of a model."""
    import torch

    torch.set_num_threads(1)
    scorer, folder = options.scorer, options.runs / model.name
    trained = train_model(model, scorer, folder, options.dtype)
    corpus, _, form = model.arm.partition("-")
    windows = windows_of(scorer, corpus, held_out=True)
    held_out = [windows.draw(form, 1, index) for index in range(PROBLEMS)]
    rows = order_rows(trained, [one.prompt for one in held_out], (AO, *TIES), folder, options.device)
    told = {"profile": profiled(scorer, held_out[:PROFILED]), "steps": STEPS, "problems": PROBLEMS}
    write_rows(rows, options.results / f"{model.name}.parquet", told | {"dtype": options.dtype})


# The table


def orders(arm: str, policy: str, third: bool = False) -> list[float]:
    """ARness problem by problem, normalised: 0 is a random order, 1 left to right. Of the canvas, or in its thirds."""
    stored = pq.read_table(_rows(arm), filters=[("policy", "=", policy)]).to_pylist()
    return [(row["third_arness@1"] - THIRD_RANDOM) / (1 - THIRD_RANDOM) if third else arness(row) for row in stored]


def table() -> str:
    """What there is, a row a model."""
    lines = [
        "| corpus | windows | profile: ARness | trained: ARness, normalised | by ties | in a third | tau-b |",
        "|---|---|---|---|---|---|---|",
    ]
    for model in queue():
        corpus, _, form = model.arm.partition("-")
        cells = ["not run yet", "-", "-", "-", "-"]
        if _rows(model.arm).exists():
            ties = " to ".join(f"{value:.2f}" for value in sorted(fmean(orders(model.arm, each)) for each in TIES))
            tau = pq.read_table(_rows(model.arm), filters=[("policy", "=", AO)])["tau_b"].to_pylist()
            found = (_told(model.arm), *map(_mean, _measured(model.arm)))
            profile, whole, third = map(_shown, found)
            cells = [profile, whole, ties, third, _shown(_mean(tau))]
        lines.append(f"| {CORPORA[corpus]} | {FORMS[form]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def verdicts() -> str:
    """What the rules S1 to S3 of the page say of what there is; Welch's interval over windows at 95 %."""
    lines = ["| | | measured | verdict |", "|---|---|---|---|"]
    for corpus, title in CORPORA.items():
        for rule, third in (("S1", False), ("S2", True)):
            found = _difference(f"{corpus}-chain", f"{corpus}-passages", third)
            no = found is not None and third and found[1] >= -CLOSE and found[2] <= CLOSE
            lines.append(_line(rule, f"{title}: chain less passages", found, no))
    ranked = sorted(CORPORA, key=lambda corpus: _profile(f"{corpus}-chain"), reverse=True)
    found = _difference(*(f"{corpus}-chain" for corpus in ranked), third=True)
    said = f"{CORPORA[ranked[0]]}, of the higher profile, less the other"
    lines.append(_line("S3", said, found, no=found is not None and found[2] < 0))
    return "\n".join(lines)


def _line(rule: str, said: str, found: Sequence[float] | None, no: bool) -> str:
    if found is None:
        return f"| {rule} | {said} | not run yet | |"
    verdict = "no" if no else "yes" if found[1] > 0 else "open"
    return f"| {rule} | {said} | {found[0]:+.2f} [{found[1]:+.2f}, {found[2]:+.2f}] | {verdict} |"


def _difference(first: str, second: str, third: bool) -> tuple[float, float, float] | None:
    """Of two models' mean ARness, which wrote different windows, with its interval; None where one is missing."""
    from scipy.stats import ttest_ind

    if not all(_rows(arm).exists() for arm in (first, second)):
        return None
    one, other = (orders(arm, AO, third) for arm in (first, second))
    interval = ttest_ind(one, other, equal_var=False).confidence_interval()
    return fmean(one) - fmean(other), float(interval.low), float(interval.high)


def _rows(arm: str) -> Path:
    return RESULTS / f"{arm}-0.parquet"


def _profile(arm: str) -> float:
    """The profile's ARness of a model's held-out windows; 0 of one that is missing."""
    return _told(arm)[0] if _rows(arm).exists() else 0.0


def _told(arm: str) -> list[float]:
    return json.loads((pq.read_schema(_rows(arm)).metadata or {})[b"setting"])["profile"]


def _measured(arm: str) -> tuple[list[float], list[float]]:
    return orders(arm, AO), orders(arm, AO, third=True)


def _mean(values: list[float]) -> list[float]:
    return [fmean(values), *bootstrap_mean(values)]


def _shown(found: list[float]) -> str:
    return f"{found[0]:.2f} [{found[1]:.2f}, {found[2]:.2f}]"


def written(text: str) -> str:
    """The page with the part between its two marks made anew. Raises InputError unless it has two."""
    return between_marks(text, PAGE, MARK, lambda: f"{table()}\n\n{verdicts()}")


def queue() -> list[Model]:
    """Every model, one training seed of each."""
    return [Model(arm=f"{corpus}-{form}", seed=0) for corpus in CORPORA for form in FORMS]


def main() -> int:
    parser = study_parser(__doc__, queue(), "real_text")
    parser.add_argument("--scorer", type=Path, help="folder of the autoregressive model")
    parser.add_argument("--write", action="store_true", help="make the tables of docs/anticipation.md and stop")
    options = parser.parse_args()
    if options.write:
        page = written(read_text(PAGE))
        with atomic(PAGE) as file:
            file.write(page)
        return 0
    if options.scorer is None and not options.list:
        raise InputError("give the folder of SmolLM2-135M, or of another causal model: --scorer DIR")
    return work_through(options, queue(), lambda model: CORPORA[model.arm.partition("-")[0]], run_one)


if __name__ == "__main__":
    with exits_on_bad_input("real_text"):
        sys.exit(main())
