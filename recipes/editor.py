"""An editor for a bundled model, trained on its own drafts (ME-DLM 2605.09603): `draft_revise:guide=DIR`.

    python recipes/editor.py --model arith-nap --task arith --out runs/editor-arith

Writes samples of the training split, trains a copy of the model to edit beside masked diffusion (`nap train` with the
objective `edit`), which goes on after a kill, and decodes problems of the test split at equal budgets: a draft alone,
edited by the same model, by remasking, and by the editor, each over a draft by confidence at 4 and 8 tokens a step and
over a threshold at its own pace. Of each it prints the accuracy with a 95 % interval, the forwards, and against the
editor how many problems only one of the two solves, with McNemar's exact p, uncorrected. DIR is then OUT/train/final:
a model and its editor in one folder of 5 MB. Expected wall time: 15 minutes of one core.

Expected numbers (2026-11-29, seed 0, 100 problems of arith): the editor gains nothing. Drafts by confidence at 4 and 8
tokens a step are right on 67 and 67, edited by the same model 67 and 66, redone 67 and 69, by the editor 67 and 66; a
threshold of .7 on 82, and 82 whatever edits it; arith-nap itself has 81, 83 and 89. On grids (--steps 300
--samples 4800 --paces 2 4) drafts have 18, 3 and 44, redone 57, 23 and 84, by the editor 9, 1 and 41 (docs/systems.md).
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nap.common.files import InputError, exits_on_bad_input, make_folder
from nap.common.stats import mcnemar, wilson_interval
from nap.data.samples import write_samples
from nap.evaluation.rows import Row
from nap.evaluation.run import run_sweep
from nap.evaluation.sweep import Sweep
from nap.models.checkpoint import find, read_canvas
from nap.tasks.registry import load_task
from nap.training.finetune import fine_tune
from nap.training.settings import Hyper, Job, Objective, Watch

DRAFTS = ("low_confidence", "threshold:tau=0.7")
EDITS = ("draft_edit", "draft_redo", "draft_revise")


@dataclass(frozen=True, kw_only=True)
class Line:
    """How one way to write does over the problems: what it solved, in their order, and the forwards of a problem."""

    name: str
    solved: list[bool]
    forwards: float

    def said(self, editor: "Line | None") -> str:
        """One line, beside the editor over the same draft."""
        right = sum(self.solved)
        low, high = (100 * end for end in wilson_interval(right, len(self.solved)))
        told = f"{self.name}: right {right} of {len(self.solved)} [{low:.0f}, {high:.0f}], {self.forwards:.1f} forwards"
        if editor is None:
            return told
        found = mcnemar(self.solved, editor.solved)
        return f"{told}; alone {found.only_first}, the editor alone {found.only_second}, p {found.p_value:.2g}"


def trained(options: argparse.Namespace) -> Path:
    """The folder of the model that edits."""
    task: Any = load_task(options.task)
    if not hasattr(task, "sample"):
        raise InputError(f"task {options.task!r} has no samples of its own; train on a file: nap train")
    spec = read_canvas(find(options.model)[0])
    if spec is None:
        raise InputError(f"{options.model} has no canvas of its own (canvas.json)")
    data = options.out / "samples.parquet"
    if not data.exists():
        make_folder(options.out)
        write_samples((task.sample(options.seed, index) for index in range(options.samples)), data)
    job = Job(
        model=options.model, data=str(data), spec=spec, objective=Objective(objective="edit"),
        hyper=Hyper(
            steps=options.steps, batch_size=16, rows=16, learning_rate=5e-4, dtype="float32", seed=options.seed
        ),
    )  # fmt: skip
    return fine_tune(job, options.out / "train", Watch(save_every=150, log_every=50), print)


def compared(model: Path, options: argparse.Namespace) -> list[str]:
    """A line for each way to write, draft by draft and pace by pace, the editor's own last."""
    texts = {
        (draft, edit): f"{edit}:{f'guide={model},' if edit == EDITS[-1] else ''}draft={draft}"
        for draft in DRAFTS for edit in EDITS
    } | {(draft, ""): draft for draft in DRAFTS}  # fmt: skip
    sweep = Sweep(
        task=options.task, models=(str(model),), policies=tuple(texts.values()), tokens_per_step=tuple(options.paces),
        problems=options.problems,
    )  # fmt: skip
    rows, lines = run_sweep(sweep, options.out / "eval", traces=0), list[str]()
    for draft in DRAFTS:
        for pace in dict.fromkeys(row.pace for row in rows if row.policy == draft):
            found = [
                _line(f"{edit or 'draft'} over {draft}, {pace}", texts[draft, edit], pace, rows)
                for edit in ("", *EDITS)
            ]
            lines += [*(line.said(found[-1]) for line in found[:-1]), found[-1].said(None)]
    return lines


def _line(name: str, policy: str, pace: str, rows: list[Row]) -> Line:
    chosen = [row for row in rows if (row.policy, row.pace) == (policy, pace)]
    forwards = sum(row.forwards or 0 for row in chosen) / len(chosen)
    return Line(name=name, solved=[bool(row.correct) for row in chosen], forwards=forwards)


def main() -> None:
    """Train and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="arith-nap")
    parser.add_argument("--task", default="arith")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument(
        "--paces", type=int, nargs="+", default=(4, 8), help="tokens a step of the drafts by confidence"
    )
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    model = trained(options)
    for line in compared(model, options):
        print(line, flush=True)


if __name__ == "__main__":
    with exits_on_bad_input("editor"):
        main()
