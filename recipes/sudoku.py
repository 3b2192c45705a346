"""Train the bundled sudoku models, and say how many puzzles they solve: ours, held out, and the public ones.

    python recipes/sudoku.py             # trains what is missing and measures it, one size after the other
    python recipes/sudoku.py --size 4    # one of them
    python recipes/sudoku.py --install   # copies them to where the package looks for them

The folder NAP_DATA holds d1's public 4x4 puzzles, sudoku/d1_4x4_test_sudoku.csv. They are test only: no puzzle is
trained on that is one of them with its digits renamed. A model is trained by longer and longer schedules, each from
scratch, until it solves TARGET of other held-out puzzles one cell a step. A killed run goes on where it was. Expected
wall time: 5 minutes a model of one free core. Expected wall time on a busy one, and numbers: docs/models.md.

Does not grade puzzles; a turned or mirrored public puzzle may have been trained on (nap/tasks/sudoku.py).
"""

import argparse
import random
import sys
from functools import partial
from pathlib import Path

from bundled import ROOT, SCHEDULES, build_tokenizer, bundle, fit, newest, schedules

from nap.canvas.canvas import CanvasSpec
from nap.common.files import InputError, exits_on_bad_input
from nap.common.stats import wilson_interval
from nap.data.problems import Problem
from nap.data.samples import Path as Solution
from nap.data.samples import Sample
from nap.tasks.registry import data_file, split_of
from nap.tasks.sudoku import Sudoku, Sudoku6, canonical, dig, solutions

# How many blanks a puzzle of training may have; the task's own puzzles have 8 and 18.
BLANKS = {4: (6, 10), 6: (12, 20)}
TASKS = {4: Sudoku(), 6: Sudoku6()}
PUBLIC = "sudoku/d1_4x4_test_sudoku.csv"
# As for the models of agreement.py: the share of held-out puzzles to be solved, and the puzzles of a training step.
TARGET, BATCH = 0.97, 96
# The test problems are of the stream 0 of the test split; those that say when to stop are of this one.
CHECK_STREAM, CHECKED = 1000, 100


def canvas_of(size: int) -> CanvasSpec:
    """One slot with a place for every cell, given or not."""
    return CanvasSpec.plain(size * size)


def public_puzzles() -> frozenset[str]:
    """The public puzzles in the form of `canonical`, which training leaves out."""
    return frozenset(canonical(p.meta["puzzle"]) for p in Sudoku().load(path=str(data_file(PUBLIC))))


def draw(size: int, public: frozenset[str], seed: int, index: int) -> Sample:
    """A random grid with random cells blanked, which may have other solutions; never a test puzzle or a public one."""
    rng = random.Random(f"sudoku recipe/{size}/{seed}/{index}")
    while True:
        grid = next(solutions("0" * size * size, rng))
        puzzle = dig(grid, rng.randint(*BLANKS[size]), False, rng)
        key = canonical(puzzle)
        if key not in public and split_of(f"sudoku {key}") == "train":
            problem = Sudoku(size=size).read(f"sudoku-{index}", puzzle, grid)
            return Sample(problem=problem, paths=(Solution(text=" ".join(grid), answer=grid),), summary="")


def train_model(size: int, folder: Path, seed: int) -> Path:
    """The folder of the model that solves TARGET of the puzzles that say when to stop. Raises InputError for none."""
    tokenizer, drawn = build_tokenizer("sudoku", paths=1), partial(draw, size, public_puzzles(), seed)
    for recipe in schedules(BATCH):
        trained = fit(tokenizer, canvas_of(size), drawn, folder / str(recipe.steps), recipe, seed=seed)
        share = report(trained, f"held-out puzzles after {recipe.steps} steps", held_out(size))
        if share >= TARGET:
            return trained
    raise InputError(
        f"the {size}x{size} model does not solve {TARGET:.0%} of held-out puzzles after {SCHEDULES[-1]} steps"
    )


def held_out(size: int) -> list[Problem]:
    """The puzzles that say when to stop."""
    return [TASKS[size].generate(CHECK_STREAM, index, "test") for index in range(CHECKED)]


def report(trained: Path, what: str, problems: list[Problem]) -> float:
    """Print the share of the problems that a model solves, one cell a step, with its 95 % interval, and return it."""
    from nap.decoding.budget import Budget
    from nap.decoding.decode import decode_traces
    from nap.decoding.policies.registry import parse_policy
    from nap.decoding.prompt import canvas_of as laid
    from nap.models.load import load

    denoiser, size = load(str(trained), dtype="float32"), problems[0].meta["size"]
    canvases = [laid(denoiser, problem, canvas_of(size)) for problem in problems]
    traces = decode_traces(denoiser, canvases, parse_policy("low_confidence"), budget=Budget(tokens=1))
    said = [denoiser.tokenizer.decode([*trace.final][-size * size :]) for trace in traces]
    right = sum(map(TASKS[size].check, problems, said))
    low, high = wilson_interval(right, len(problems))
    print(f"{name_of(size)} solves {right} of {len(problems)} {what}, [{low:.3f}, {high:.3f}]", flush=True)
    return right / len(problems)


def install(runs: Path) -> None:
    """Bundle the models that are trained."""
    for name in map(name_of, TASKS):
        if trained := newest(runs / name):
            bundle(name, trained, name)
        else:
            print(f"{name} is not trained")


def name_of(size: int) -> str:
    """The name that `nap.load` takes."""
    return f"sudoku-{size}x{size}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, choices=TASKS, help="train this one alone")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/sudoku", help="checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--install", action="store_true", help="copy the finished models into src/nap/assets and stop")
    options = parser.parse_args()
    if options.install:
        install(options.runs)
        return 0
    for size in [options.size] if options.size else TASKS:
        trained = train_model(size, options.runs / name_of(size), options.seed)
        if size == 4:
            report(trained, "public puzzles", Sudoku().load(path=str(data_file(PUBLIC))))
    return 0


if __name__ == "__main__":
    with exits_on_bad_input("sudoku"):
        sys.exit(main())
