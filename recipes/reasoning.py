"""Models that have to reason: an autoregressive start, then diffusion, and the gate before arms are compared.

    python recipes/reasoning.py --arms chain --seeds 0        # trains, then measures the gate

A model is an arm and a training seed. It first learns autoregressively, from single solutions, until the values are
right: each is then learnt from whole operands, which a masked canvas seldom shows. From there it goes on as a masked
diffusion model, on the canvases of its arm, as Dream went on from Qwen. The arms of a seed have their start in common.
A value counts as right where the model, shown a right path up to it and nothing after it, would write it. What the gate
asks and why, and what came out: docs/reasoning.md. A killed run goes on where it was.
Expected wall time: two hours on one core for a model.

Does not compare arms: that begins when a recipe has passed the gate.
"""

import argparse
import dataclasses
import json
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np
from agreement import Model, open_model
from bundled import ROOT, Recipe, build_tokenizer, fit
from paths_used import decoded, over
from study_parts.claims import normalised

from nap.canvas.canvas import Canvas, CanvasSpec, fill, parse
from nap.common.files import InputError, atomic, exits_on_bad_input
from nap.data.samples import Path as Solution
from nap.data.samples import Sample
from nap.data.trace import Trace
from nap.decoding.policies.registry import parse_policy
from nap.decoding.prompt import canvas_of
from nap.evaluation.rows import order_columns
from nap.models.denoiser import Denoiser
from nap.models.session import Question, open_session
from nap.tasks.igsm import Igsm

# Share of values right before diffusion begins and before arms are compared.
VALUES = 0.97
# Steps of longer and longer trainings: of the start, each from scratch, and of the diffusion, each from that start.
FIRST, SCHEDULES = (1200, 2400, 4800), (2000, 4000, 8000)
# Peaks of the rates, of the start and of the diffusion: of other weights and of matrices.
RATES, SLOW = (1.5e-3, 1e-2), (1e-3, 5e-3)
WIDTH, HEADS = 192, 3
# Words of one step, of prompts and paths.
WORDS = 9000
PATHS = 3
# Problems of a check of values, and of the gate.
CHECKED, MEASURED, BATCH = 256, 100, 16
# A commit of more than this is one that the model does not rank; candidates so close are equally sure.
SURE, WITHIN = 0.999, 0.01
AO, MASKED = "low_confidence", "over masked paths"
DECODERS = (
    (AO, 1), (AO, 4), ("random", 1), *((f"{AO}:within={WITHIN},prefer={side}", 1) for side in ("left", "right")),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Arm:
    """How the paths are laid out: each in a slot, or all in one chain without marks."""

    what: str
    chain: bool = False
    paths: int = PATHS

    def canvas(self, task: Igsm) -> CanvasSpec:
        """Slots for paths of the longest kind, each with its closing tag."""
        words = self.paths * task.longest if self.chain else task.longest
        return CanvasSpec(paths=1 if self.chain else self.paths, path_tokens=words + 1, summary_tokens=2)

    def view(self, sample: Sample) -> Sample:
        """The sample in the form of the canvas."""
        if not self.chain:
            return sample
        joined = Solution(text=" ".join(path.text for path in sample.paths))
        return Sample(problem=sample.problem, paths=(joined,), summary=sample.summary)


ONE = Arm(what="one solution", paths=1)
ARMS = {"chain": Arm(what="three solutions as one chain without marks", chain=True), "nap": Arm(what="a slot for each")}


# Training


def train_model(model: Model, runs: Path) -> Path:
    """The folder of the model once its values are right. Raises InputError for one that does not get there."""
    start = long_enough(ONE, FIRST, runs / f"start-{model.seed}", model.seed)
    return long_enough(ARMS[model.arm], SCHEDULES, runs / model.name, model.seed, start)


def long_enough(arm: Arm, schedules: Sequence[int], folder: Path, seed: int, start: Path | None = None) -> Path:
    """The first of longer and longer trainings after which enough values are right; without a start autoregressive."""
    right, task = 0.0, Igsm()
    rows = WORDS // (len(task.generate(0, 0, "train").prompt.split()) + arm.paths * task.longest)
    lr, matrix_lr = SLOW if start else RATES
    for steps in schedules:
        recipe = Recipe(
            width=WIDTH, heads=HEADS, steps=steps, batch_size=rows, lr=lr, matrix_lr=matrix_lr, shift=True,
            causal=start is None,
        )  # fmt: skip
        trained = fit(
            build_tokenizer("igsm"), arm.canvas(task), lambda index: arm.view(task.sample(seed, index, arm.paths)),
            folder / f"{steps}", recipe, seed=seed, start=start,
        )  # fmt: skip
        denoiser = open_model(trained)
        said = causal_tokens(trained) if recipe.causal else partial(likeliest, denoiser)
        right = value_accuracy(denoiser, arm, task, said)
        print(f"{folder.name}/{steps}: {right:.3f} of the values right", flush=True)
        if right >= VALUES:
            return trained
    raise InputError(f"{folder.name}: {right:.3f} of the values are right after the longest training, {VALUES} asked")


Says = Callable[[Sequence[Canvas], Sequence[int]], list[int]]


def value_accuracy(denoiser: Denoiser, arm: Arm, task: Igsm, said: Says) -> float:
    """The share of values that the model is right about: shown the first path up to one, and nothing after it."""
    rng, right = random.Random(0), []
    for start in range(0, CHECKED, BATCH):
        canvases, asked, wanted = [], [], []
        for index in range(start, start + BATCH):
            sample = task.sample(0, index, arm.paths, split="test")
            canvas = canvas_of(denoiser, sample.problem, arm.canvas(task))
            at = int(np.flatnonzero(canvas.region == 0)[0]) + rng.choice(value_places(sample.paths[0].text))
            texts = [*(path.text for path in arm.view(sample).paths), sample.summary]
            ids = fill(canvas, texts, denoiser.tokenizer, denoiser.pad_id)
            seen = np.arange(len(ids)) < at
            canvases.append(dataclasses.replace(canvas, ids=np.where(seen, ids, canvas.ids)))
            asked.append(at)
            wanted.append(int(ids[at]))
        right += [token == want for token, want in zip(said(canvases, asked), wanted, strict=True)]
    return fmean(right)


def value_places(text: str) -> list[int]:
    """Places of the words that a step computes: the third digit of a sentence that has so many."""
    found, digits = [], []
    for place, word in enumerate(text.split()):
        digits += [place] * word.isdigit()
        if word == ".":
            found += digits[2:3]
            digits = []
    return found


def likeliest(denoiser: Denoiser, canvases: Sequence[Canvas], asked: Sequence[int]) -> list[int]:
    """The likeliest token of each canvas at its position, of one forward."""
    session, questions = open_session(denoiser), []
    for row, (canvas, at) in enumerate(zip(canvases, asked, strict=True)):
        session.admit(row, canvas)
        questions.append(Question(row, canvas.ids, np.array([at]), at, at + 1))
    return session.ask(questions).logits(slice(0, len(questions))).argmax(1).tolist()


def causal_tokens(trained: Path) -> Says:
    """The same of an autoregressive model, which sees what stands before the position."""
    import torch
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(trained, dtype=torch.float32).eval()

    @torch.inference_mode()
    def said(canvases: Sequence[Canvas], asked: Sequence[int]) -> list[int]:
        before = (torch.from_numpy(canvas.ids[None, :at]) for canvas, at in zip(canvases, asked, strict=True))
        return [int(model(ids_1L).logits[0, -1].argmax()) for ids_1L in before]

    return said


# The gate


def gate_rows(model: Model, trained: Path, problems: int) -> dict[str, dict[str, float]]:
    """What the gate is about, by decoder and pace."""
    denoiser, task, arm = open_model(trained), Igsm(), ARMS[model.arm]
    canvases = [canvas_of(denoiser, task.sample(0, i, split="test").problem, arm.canvas(task)) for i in range(problems)]
    rows = {}
    for policy, pace in DECODERS:
        name = f"{policy} at {pace}"
        rows[name] = told(decoded(denoiser, canvases, parse_policy(policy), pace), canvases, task, denoiser)
        print(name, {key: round(value, 3) for key, value in rows[name].items()}, flush=True)
    masked = [over(canvas, canvas.ids) for canvas in canvases]
    rows[MASKED] = told(decoded(denoiser, masked, parse_policy(AO), 1), canvases, task, denoiser)
    return rows


def told(traces: Sequence[Trace], canvases: Sequence[Canvas], task: Igsm, denoiser: Denoiser) -> dict[str, float]:
    """Accuracy, certainty and order of traces: means over them."""
    right, sure, ties, orders = [], [], [], []
    for index, (trace, canvas) in enumerate(zip(traces, canvases, strict=True)):
        summary = parse(canvas, trace.final, denoiser.tokenizer, trace.uncounted).summary
        right.append(task.check(task.generate(0, index, "test"), summary))
        sure += [event.probability > SURE for event in trace.events if event.token not in trace.uncounted]
        row = order_columns(trace)
        ties.append(row.tau_b or 0.0)
        if row.global_arness_at_1 is not None and row.global_arness_at_1_random is not None:
            orders.append((row.global_arness_at_1, row.global_arness_at_1_random))
    arness = normalised(*np.array(orders).T)
    return {"right": fmean(right), "sure": fmean(sure), "tau_b": fmean(ties), "arness": float(arness.mean())}


def verdicts(rows: dict[str, dict[str, float]], chance: float) -> dict[str, tuple[float, bool]]:
    """Each condition of the gate: what was measured, and whether it holds."""
    one, four, masked = rows[f"{AO} at 1"], rows[f"{AO} at 4"], rows[MASKED]
    sides = [rows[f"{AO}:within={WITHIN},prefer={side} at 1"]["tau_b"] for side in ("left", "right")]
    return {
        "at most 20 % of commits with p > .999": (one["sure"], one["sure"] <= 0.2),
        "tau-b moves by less than .1 within ties of .01": (abs(sides[0] - sides[1]), abs(sides[0] - sides[1]) < 0.1),
        "normalised ARness at least .4": (one["arness"], one["arness"] >= 0.4),
        "random order at least 10 points below": (
            one["right"] - rows["random at 1"]["right"], one["right"] - rows["random at 1"]["right"] >= 0.1,
        ),
        "from 1 to 4 tokens a step at least 10 points lost": (
            one["right"] - four["right"], one["right"] - four["right"] >= 0.1,
        ),
        "over masked paths at most 10 points above chance": (
            masked["right"] - chance, masked["right"] - chance <= 0.1,
        ),
    }  # fmt: skip


def run_one(model: Model, runs: Path, problems: int) -> None:
    """Train what is missing of a model, measure it at the gate and write that down."""
    import torch

    torch.set_num_threads(1)
    trained = train_model(model, runs)
    rows = gate_rows(model, trained, problems)
    answers = [Igsm().generate(1, index, "test").answer for index in range(2000)]
    chance = max(map(answers.count, set(answers))) / len(answers)
    found = verdicts(rows, chance)
    for condition, (value, holds) in found.items():
        print(f"{'yes' if holds else 'NO ':<4}{value:7.3f}  {condition}", flush=True)
    with atomic(runs / model.name / "gate.json") as file:
        json.dump({"problems": problems, "chance": chance, "rows": rows, "gate": found}, file, indent=1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=["chain"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/reasoning", help="checkpoints, and gate.json of each")
    parser.add_argument("--problems", type=int, default=MEASURED, help="of the gate, a decoder")
    options = parser.parse_args()
    for arm in options.arms:
        for seed in options.seeds:
            run_one(Model(arm=arm, seed=seed), options.runs, options.problems)
    return 0


if __name__ == "__main__":
    with exits_on_bad_input("reasoning"):
        sys.exit(main())
