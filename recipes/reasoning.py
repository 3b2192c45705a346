"""Models that have to reason: an autoregressive start, then diffusion; the gate, and the arms that it opens.

    python recipes/reasoning.py --arms chain --seeds 0        # trains and measures it, and says whether it passes
    python recipes/reasoning.py --device cuda --at-once 16    # all that is missing on one GPU, a core for each model
    python recipes/reasoning.py --list                        # every model, and whether it is done
    python recipes/reasoning.py --gate igsm-longcot           # the gate again, of a chain that is trained: half an hour

A model is an arm and a training seed. It first learns autoregressively, from single solutions: each value is then
learnt from whole operands, which a masked canvas seldom shows. From there it goes on as a masked diffusion model, first
on single solutions and then on the canvases of its arm, as Dream went on from Qwen. The arms of a seed have the first
two phases in common. A phase is over when values and answers are right. A value counts as right where the model, shown
a right path up to it and nothing after it, would write it, and an answer where all is written from left to right. The
rows of a model (one a decoder and pace) go to docs/reasoning/ARM-SEED.parquet. What the gate asks and why, what arms
are compared by, and what came out: docs/reasoning.md. A killed run goes on where it was.
Expected wall time: four hours on one core for the first model of a seed, three for the others.

Does not write the page.
"""

import argparse
import dataclasses
import fcntl
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from agreement import Model, Row, Setting, journaled, made, open_model, study_parser, work_through, write_rows
from bundled import DTYPES, Recipe, build_tokenizer, fit
from numpy.typing import NDArray
from paths_used import decoded
from reasoning_parts.measure import AO, FEW, GATE, Measure, chance, gate, settings_of

from nap.canvas.canvas import Canvas, CanvasSpec, fill, parse
from nap.canvas.visibility import Attention
from nap.common.files import InputError, atomic, exits_on_bad_input
from nap.common.workers import map_rows
from nap.data.samples import Path as Solution
from nap.data.samples import Sample
from nap.decoding.policies.registry import parse_policy
from nap.decoding.prompt import canvas_of
from nap.models.denoiser import Denoiser
from nap.models.session import Question, open_session
from nap.tasks.igsm import Igsm

# The share of values that is right before the next phase begins, and before arms are compared.
VALUES = 0.97
# What the package has, under the names that `nap.load` takes: the median seed of an arm.
BUNDLED = {"igsm-nap": "nap", "igsm-longcot": "chain"}


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A part of a training, by longer and longer schedules, each from where the phase before ended.

    answers  the share that is right, besides values, before the next phase begins
    rates    peaks, of matrices last
    power    of the noise levels
    """

    steps: tuple[int, ...]
    answers: float
    rates: tuple[float, float]
    power: float = 0.5
    causal: bool = False


# From single solutions, autoregressively and then masked; then on the canvases of the arm.
CAUSAL = Phase(steps=(2400, 4800), answers=0.9, rates=(1.5e-3, 1e-2), causal=True)
MASKED_ONE = Phase(steps=(3000, 6000), answers=0.6, rates=(5e-4, 2.5e-3), power=1.0)
LAST = Phase(steps=(3000, 6000), answers=0.3, rates=(5e-4, 2.5e-3))
WIDTH, HEADS = 192, 3
# Words of one step, of prompts and paths.
WORDS = 9000
# What every tokenizer knows: the tags of as many paths as any arm has, and a mark.
MOST_PATHS, MARK = 6, "|"
# Problems of a check of values, and of answers.
CHECKED, BATCH, ANSWERED = 256, 16, 64


@dataclass(frozen=True, kw_only=True)
class Arm:
    """How the solutions of a problem are laid out: each in a slot, or all in one.

    one_slot  all in one chain; with `marks` a mark stands before each but the first
    rows_of   a training step has as many samples as with so many paths; by default as many as make WORDS
    """

    what: str
    one_slot: bool = False
    marks: bool = False
    paths: int = 3
    attention: Attention = "full"
    rows_of: int | None = None
    seeds: int = 3

    @property
    def slots(self) -> int:
        """Slots of the canvas, without the summary."""
        return 1 if self.one_slot else self.paths

    def words(self, task: Igsm) -> int:
        """Words of a slot."""
        return (self.paths * task.longest + (self.paths - 1) * self.marks) // self.slots

    def canvas(self, task: Igsm) -> CanvasSpec:
        """Slots for paths of the longest kind, each with its closing tag."""
        return CanvasSpec(
            paths=self.slots, path_tokens=self.words(task) + 1, summary_tokens=2, attention=self.attention
        )  # fmt: skip

    def view(self, sample: Sample, task: Igsm) -> Sample:
        """The sample in the form of the canvas, whose slots it fills."""
        texts = [path.text for path in sample.paths]
        texts = [f" {MARK} ".join(texts)] if self.marks else texts
        filled = tuple(Solution(text=text) for text in task.in_slots(texts, self.slots, self.words(task)))
        return Sample(problem=sample.problem, paths=filled, summary=sample.summary)


ONE = Arm(what="one solution", paths=1)
ARMS = {
    "chain": Arm(what="three solutions as one chain without marks", one_slot=True, seeds=5),
    "nap": Arm(what="a slot for each of three", seeds=5),
    "paths": Arm(what="three that cannot see each other", attention="paths"),
    "floating": Arm(what="three in one slot, with marks that the model writes", one_slot=True, marks=True),
    "one-tokens": Arm(what="one solution, as many tokens in training", paths=1),
    "one-problems": Arm(what="one solution, as many problems in training", paths=1, rows_of=3),
    "two": Arm(what="a slot for each of two", paths=2),
    "six": Arm(what="a slot for each of six", paths=6),
}


def queue() -> list[Model]:
    """Every model: chain and nap first, then the other arms, each group seed by seed."""
    groups = ([*ARMS][:2], [*ARMS][2:])
    return [
        Model(arm=arm, seed=seed)
        for group in groups for seed in range(5) for arm in group if seed < ARMS[arm].seeds
    ]  # fmt: skip


# Training


def train_model(model: Model, runs: Path, dtype: str = DTYPES[0], device: str = "cpu") -> Path:
    """The folder of the model once its values are right. Raises InputError for one that does not get there."""
    enough = partial(long_enough, seed=model.seed, dtype=dtype, device=device)
    runs.mkdir(parents=True, exist_ok=True)
    # Where several arms of a seed run side by side, one trains what they have in common, and the others wait for it.
    with (runs / f".{model.seed}.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        causal = enough(ONE, CAUSAL, runs / f"causal-{model.seed}")
        masked = enough(ONE, MASKED_ONE, runs / f"masked-{model.seed}", start=causal)
    return enough(ARMS[model.arm], LAST, runs / model.name, start=masked)


def words() -> Any:
    """The tokenizer of every model here."""
    return build_tokenizer("igsm", MOST_PATHS, [MARK])


def long_enough(
    arm: Arm, phase: Phase, folder: Path, seed: int, start: Path | None = None, dtype: str = DTYPES[0],
    device: str = "cpu",
) -> Path:  # fmt: skip
    """The model of the first training of a phase after which enough values and answers are right."""
    found, task = "", Igsm()
    length = len(task.generate(0, 0, "train").prompt.split()) + (arm.rows_of or arm.paths) * task.longest
    for steps in phase.steps:
        recipe = Recipe(
            width=WIDTH, heads=HEADS, steps=steps, batch_size=WORDS // length, lr=phase.rates[0],
            matrix_lr=phase.rates[1], power=phase.power, shift=True, causal=phase.causal,
        )  # fmt: skip
        trained = fit(
            words(), arm.canvas(task), lambda index: arm.view(task.sample(seed, index, arm.paths), task),
            folder / f"{steps}", recipe, seed=seed, start=start, dtype=dtype, device=device,
        )  # fmt: skip
        # Written down, because every arm of a seed asks for the first two phases again.
        checked = folder / f"{steps}/checked.json"
        if not checked.exists():
            denoiser = open_model(trained, device)
            writer = Causal(denoiser, trained) if phase.causal else Masked(denoiser)
            right = {"values": value_accuracy(writer, arm, task), "answers": answer_accuracy(writer, arm, task)}
            with atomic(checked) as file:
                file.write(json.dumps(right) + "\n")
        values, answers = json.loads(checked.read_text()).values()
        found = f"{folder.name}/{steps}: {values:.3f} of the values and {answers:.3f} of the answers right"
        print(found, flush=True)
        if values >= VALUES and answers >= phase.answers:
            return trained
    raise InputError(f"{found} after the longest training; {VALUES} and {phase.answers} are asked")


class Masked:
    """A masked model that is asked from left to right."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser

    def said(self, canvases: Sequence[Canvas], asked: Sequence[int]) -> list[int]:
        """The likeliest token of each canvas at its position, of one forward."""
        session, questions = open_session(self.denoiser), []
        for row, (canvas, at) in enumerate(zip(canvases, asked, strict=True)):
            session.admit(row, canvas)
            questions.append(Question(row, canvas.ids, np.array([at]), at, at + 1))
        return session.ask(questions).logits(slice(0, len(questions))).argmax(1).tolist()

    def written(self, canvases: Sequence[Canvas]) -> list[Sequence[int]]:
        """The ids of canvases that are filled from left to right."""
        return [trace.final for trace in decoded(self.denoiser, canvases, parse_policy("ar"), 1)]


class Causal(Masked):
    """An autoregressive model, which sees what stands before a position."""

    def __init__(self, denoiser: Denoiser, trained: Path) -> None:
        import torch
        from transformers import LlamaForCausalLM

        super().__init__(denoiser)
        self.model: Any = LlamaForCausalLM.from_pretrained(trained, dtype=torch.float32).eval()
        self.model.to(denoiser.device)

    def said(self, canvases: Sequence[Canvas], asked: Sequence[int]) -> list[int]:
        """The likeliest token of each canvas after what stands before its position."""
        return [self._next(canvas.ids[:at]) for canvas, at in zip(canvases, asked, strict=True)]

    def written(self, canvases: Sequence[Canvas]) -> list[Sequence[int]]:
        """The ids of canvases that are filled from left to right."""
        found = []
        for canvas in canvases:
            ids = canvas.ids.copy()
            for at in np.flatnonzero(canvas.region >= 0):
                ids[at] = self._next(ids[:at])
            found.append(ids.tolist())
        return found

    def _next(self, ids_L: NDArray[np.int64]) -> int:
        import torch

        with torch.inference_mode():
            return int(self.model(torch.from_numpy(ids_L[None]).to(self.model.device)).logits[0, -1].argmax())


def value_accuracy(writer: Masked, arm: Arm, task: Igsm) -> float:
    """The share of values that the model is right about: shown the first path up to one, and nothing after it."""
    rng, right, denoiser = random.Random(0), [], writer.denoiser
    for start in range(0, CHECKED, BATCH):
        canvases, asked, wanted = [], [], []
        for index in range(start, start + BATCH):
            sample = task.sample(0, index, arm.paths, split="test")
            canvas = canvas_of(denoiser, sample.problem, arm.canvas(task))
            at = int(np.flatnonzero(canvas.region == 0)[0]) + rng.choice(value_places(sample.paths[0].text))
            texts = [*(path.text for path in arm.view(sample, task).paths), sample.summary]
            ids = fill(canvas, texts, denoiser.tokenizer, denoiser.pad_id)
            seen = np.arange(len(ids)) < at
            canvases.append(dataclasses.replace(canvas, ids=np.where(seen, ids, canvas.ids)))
            asked.append(at)
            wanted.append(int(ids[at]))
        right += [token == want for token, want in zip(writer.said(canvases, asked), wanted, strict=True)]
    return fmean(right)


def answer_accuracy(writer: Masked, arm: Arm, task: Igsm) -> float:
    """The share of problems that are answered right when all is written from left to right, greedily."""
    denoiser, problems = writer.denoiser, [task.generate(1, index, "test") for index in range(ANSWERED)]
    canvases = [canvas_of(denoiser, problem, arm.canvas(task)) for problem in problems]
    uncounted = (denoiser.pad_id, *denoiser.eos_ids)
    right = [
        task.check(problem, parse(canvas, ids, denoiser.tokenizer, uncounted).summary)
        for problem, canvas, ids in zip(problems, canvases, writer.written(canvases), strict=True)
    ]
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


# Measuring


def run_one(model: Model, options: argparse.Namespace) -> None:
    """Train and measure what is missing of a model; of a chain, say whether it passes the gate."""
    import torch

    torch.set_num_threads(1)
    arm, task = ARMS[model.arm], Igsm()
    trained = train_model(model, options.runs, options.dtype, options.device)
    measure = Measure.of(open_model(trained, options.device), task, arm.canvas(task))
    rows = journaled(settings_of(model.arm, model.seed), measure.row, options.runs / model.name)
    told = {"arm": model.arm, "seed": model.seed, **made(trained)}
    write_rows(rows, options.results / f"{model.name}.parquet", told)
    if model.arm == "chain":
        print_gate(rows)


def gate_again(chain: str) -> None:
    """Put a chain to the gate, a folder or a bundled one, on two cores and on the gate's problems alone."""
    print_gate(list(map_rows(partial(gate_row, chain), GATE, workers=2, chunk=1)))


def gate_row(chain: str, setting: Setting) -> Row:
    """One of the gate's rows."""
    import torch

    torch.set_num_threads(1)
    task = Igsm()
    return Measure.of(open_model(Path(chain)), task, ARMS["chain"].canvas(task), FEW).row(*setting)


def print_gate(rows: Sequence[Row]) -> None:
    """What was measured for each condition, and whether it holds."""
    for condition, (value, holds) in gate(rows, chance(Igsm())).items():
        print(f"{'yes' if holds else 'NO ':<4}{value:7.3f}  {condition}", flush=True)


def main() -> int:
    parser = study_parser(__doc__, queue(), "reasoning", BUNDLED, by=(AO, 4))
    parser.add_argument("--gate", metavar="CHAIN", help="measure this chain, a folder or a bundled one, for the gate")
    options = parser.parse_args()
    if options.gate:
        gate_again(options.gate)
        return 0
    return work_through(options, queue(), lambda model: ARMS[model.arm].what, run_one)


if __name__ == "__main__":
    with exits_on_bad_input("reasoning"):
        sys.exit(main())
