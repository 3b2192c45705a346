"""The controlled study: how much of NAP's gain is data, decoder, ensembling or layout.

    python recipes/study.py                               # trains and evaluates what is missing, two models at a time
    python recipes/study.py --arms long nap --seeds 0     # some of it
    python recipes/study.py --list                        # every model, and whether it is done
    python recipes/study.py --device cuda --at-once 16    # on one GPU, a core for each model

One model is an arm, a task and a training seed. Its rows (500 held-out problems a setting) are written to
docs/study/TASK-ARM-SEED.parquet when it is evaluated, and for some models a second file with further decoders. A model
that has its files is done. The first seeds of `long` and `nap` are the bundled models if those were trained by this
recipe. A killed run resumes. recipes/study_page.py makes docs/study.md from these files. Expected wall time: 20 to 60
minutes a model on one core; on a core without bfloat16 some 1.5 hours (countdown) to 3.5 (arith). Nothing has been run
on a GPU yet.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from bundled import DTYPES, ROOT, SLOTS, STEPS, Recipe, build_tokenizer, fit, one_slot, run_each, slots

from nap.canvas.canvas import CanvasSpec
from nap.common.files import InputError, exits_on_bad_input
from nap.common.memory import keep_memory
from nap.data.samples import Path as Solution
from nap.data.samples import Sample, concatenated
from nap.tasks.registry import load_task

RESULTS = ROOT / "docs/study"
MARK = "|"
PACES = (1, 2, 4, 8, 12)
# Paths in one room, and percentages of the paths that are wrong.
WIDTHS, WRONG = (1, 2, 3, 4, 6), (10, 50)
DECODERS = ("low_confidence", "parallel_forced")
# Forced decoding that does not keep the summary for the end.
JOINT = "parallel_forced:summary=joint"
MORE_DECODERS = (
    "ar", "random", "hierarchy", JOINT, *[f"threshold:tau={tau}" for tau in (0.5, 0.7, 0.9)],
    *[f"factor:f={f}" for f in (0.5, 1, 2)], *[f"entropy_bound:gamma={gamma}" for gamma in (0.01, 0.1, 0.5)],
)  # fmt: skip
# The seed of each arm that is asked for them, and the tokens a step of those that have no pace of their own; fewer
# where the weights were gone before the rest was asked for.
MORE_SEEDS = {"long": 0, "nap": 0, "paths": 2}
MORE_PACES = {"long": PACES, "nap": PACES, "paths": (1, 4)}
# Rows of one forward: more do not fit into the caches of a core, and fewer leave a GPU idle.
BATCH = {"cpu": 25, "cuda": 250}
# What the package holds of the study.
BUNDLED = {"long": "longcot", "nap": "nap"}
# A vote needs canvases that differ.
VOTES, VOTE_TEMPERATURE = 3, 0.7
COLUMNS = (
    "policy", "pace", "index", "correct", "equations_right", "forwards", "n_tokens", "critical_path", "tpf", "afp",
    "tau_b", "global_arness@1", "global_arness@1_random", "path_global_arness@1", "path_global_arness@1_random",
)  # fmt: skip


def fixed(task: str, paths: int) -> CanvasSpec:
    """The room of six solutions, shared by this many paths."""
    path_tokens, summary_tokens = SLOTS[task]
    return CanvasSpec(paths=paths, path_tokens=6 * path_tokens // paths, summary_tokens=summary_tokens)


def as_it_is(sample: Sample) -> Sample:
    return sample


def first(sample: Sample) -> Sample:
    """One solution."""
    return Sample(problem=sample.problem, paths=sample.paths[:1], summary=sample.summary)


def marked(sample: Sample) -> Sample:
    """The paths in one slot, separated by a mark that is generated like any other token."""
    text = f" {MARK} ".join(path.text for path in sample.paths)
    return Sample(problem=sample.problem, paths=(Solution(text=text),), summary=sample.summary)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What a model is trained on: `view` of samples of `written` solutions on `canvas`.

    autoregressive  half of the steps train an autoregressive model, the other half make a diffusion model of it
    """

    what: str
    canvas: Callable[[str], CanvasSpec] = slots
    view: Callable[[Sample], Sample] = as_it_is
    written: int = 3
    task: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    shuffle: bool = False
    tasks: tuple[str, ...] = ("arith", "countdown")
    seeds: int = 3
    autoregressive: bool = False
    decoders: tuple[str, ...] = DECODERS
    vote: bool = False


one_task = partial(Arm, seeds=1)
ARMS = {
    "long": Arm(what="one long chain of the same trajectories", canvas=one_slot, view=concatenated),
    "nap": Arm(what="three paths, full attention"),
    "paths": Arm(what="three paths that cannot see each other", canvas=partial(slots, attention="paths")),
    "short": Arm(what="one path", canvas=partial(one_slot, solutions=1), view=first, vote=True),
    "short-tokens": one_task(
        what="one path, as many tokens in training as three", canvas=partial(one_slot, solutions=1), view=first,
        recipe={"batch_size": 3 * Recipe.batch_size}, vote=True,
    ),
    "ar-long": one_task(
        what="the long chain, from an autoregressive model", canvas=one_slot, view=concatenated, autoregressive=True,
        tasks=("countdown",),
    ),
    "ar-nap": one_task(
        what="three paths, full attention, from an autoregressive model", autoregressive=True, tasks=("countdown",)
    ),
    "brief": one_task(what="one path in the long chain's slot", canvas=one_slot, view=first, tasks=("arith",)),
    "floating": Arm(
        what="one slot; a generated mark, not a clamped header, sets the paths apart", canvas=one_slot, view=marked,
        tasks=("arith",),
    ),
    "shuffled": Arm(what="three paths in random order", shuffle=True, tasks=("arith",)),
    **{
        f"wrong-{share}": one_task(
            what=f"{share} % of the paths misread a number", task={"wrong": share / 100}, tasks=("arith",)
        )
        for share in WRONG
    },
    "structured": one_task(
        what="structured masking", recipe={"masking": "structured", "power": 1.0}, tasks=("arith",)
    ),
    **{
        f"width-{paths}": one_task(
            what=f"{paths} independent paths in the room of six", canvas=partial(fixed, paths=paths), written=paths,
            # Different derivations run out: three numbers have about three. One path depends on no other anyway.
            task={"rewrites": 0.0} if paths > 1 else {}, tasks=("countdown",),
        )
        for paths in WIDTHS
    },
    "copied": one_task(
        what="three paths and a copy of each in the room of six", canvas=partial(fixed, paths=6), written=6,
        tasks=("countdown",),
    ),
    **{
        f"rewrites-{percent}": one_task(
            what=f"each path rewrites the one before with probability {percent / 100:g}, else draws its own",
            task={"rewrites": percent / 100}, tasks=("countdown",),
        )
        for percent in (0, 25, 50, 100)
    },
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Model:
    """One model of the study."""

    task: str
    arm: str
    seed: int

    @property
    def name(self) -> str:
        """`TASK-ARM-SEED`."""
        return f"{self.task}-{self.arm}-{self.seed}"

    @property
    def results(self) -> Path:
        """Where its rows are once it is evaluated."""
        return RESULTS / f"{self.name}.parquet"

    @property
    def more_results(self) -> Path | None:
        """Where its rows under the further decoders are, for the models that are asked for them."""
        return RESULTS / f"{self.name}-decoders.parquet" if MORE_SEEDS.get(self.arm) == self.seed else None

    @property
    def done(self) -> bool:
        """Whether all its rows are there."""
        return all(path.exists() for path in (self.results, self.more_results) if path)


def queue() -> list[Model]:
    """Every model, the first seeds first, so that finished models cover all arms at any time."""
    models = [
        Model(task=task, arm=name, seed=seed)
        for name, arm in ARMS.items()
        for task in arm.tasks
        for seed in range(arm.seeds)
    ]
    return sorted(models, key=lambda model: model.seed)


def tokenizer_of(model: Model) -> Any:
    """That of the bundled models, with more tags or the mark for the arms that need them."""
    arm = ARMS[model.arm]
    marks = [MARK] if arm.view is marked else []
    return build_tokenizer(model.task, max(3, arm.canvas(model.task).paths), marks)


def recipe_of(model: Model, steps: int) -> Recipe:
    return Recipe(steps=steps, **ARMS[model.arm].recipe)


def find_weights(model: Model, folder: Path, recipe: Recipe) -> Path | None:
    """The folder of a model that is already trained: bundled, or in `folder`."""
    bundled = ROOT / "src/nap/assets" / f"{model.task}-{BUNDLED.get(model.arm)}"
    if bundled.is_dir():
        made = json.loads((bundled / "training.json").read_bytes())
        where = {name: made.get(name) for name in ("name", "device", "dtype")}
        wanted = {**where, "seed": model.seed, **asdict(recipe)}
        if made.items() <= wanted.items():
            return bundled
    return folder / "final" if (folder / "final/training.json").exists() else None


def train_model(model: Model, folder: Path, steps: int, device: str = "cpu", dtype: str = DTYPES[0]) -> Path:
    """The trained model's folder: trained now, or before, or bundled."""
    arm, recipe = ARMS[model.arm], recipe_of(model, steps)
    if found := find_weights(model, folder, recipe):
        return found
    task: Any = load_task(model.task, **arm.task)

    def draw(index: int) -> Sample:
        return arm.view(task.sample(model.seed, index, arm.written))

    fitted = partial(
        fit, tokenizer_of(model), arm.canvas(model.task), draw, seed=model.seed, shuffle=arm.shuffle, device=device,
        dtype=dtype,
    )  # fmt: skip
    if not arm.autoregressive:
        return fitted(folder, recipe)
    before = replace(recipe, steps=steps // 2, shift=True, causal=True)
    start = fitted(folder / "autoregressive", before)
    after = replace(before, steps=steps - before.steps, causal=False)
    return fitted(folder, after, start=start, may_hold=["autoregressive"])


Rows = list[dict[str, Any]]


def evaluate_model(model: Model, trained: Path, runs: Path, problems: int, device: str) -> Rows:
    """Its rows under the decoders of its arm, and under a vote."""
    arm = ARMS[model.arm]
    decode = partial(sweep, model, trained, problems, device=device)
    found = decode(runs / "decoders", policies=arm.decoders, tokens_per_step=PACES)
    if arm.vote:
        ballots = [
            decode(
                runs / f"vote-{seed}", policies=("low_confidence",), tokens_per_step=PACES, seed=seed,
                temperature=VOTE_TEMPERATURE,
            )
            for seed in range(VOTES)
        ]  # fmt: skip
        found += vote(ballots)
    return found


def sweep(model: Model, trained: Path, problems: int, folder: Path, device: str = "cpu", **options: Any) -> Rows:
    """The rows of one sweep in float32; resumes it."""
    from nap.common.records import to_row
    from nap.evaluation.run import run_sweep
    from nap.evaluation.sweep import Sweep

    what = Sweep(
        task=model.task, models=(str(trained),), problems=problems, device=device, dtype="float32", **options
    )  # fmt: skip
    return [to_row(row) for row in run_sweep(what, folder, batch_size=BATCH[device], traces=0)]


def vote(ballots: Sequence[Rows]) -> Rows:
    """Majority answers of several canvases, the earliest of those with most votes; forwards and tokens are added up."""
    voted = []
    for rows in zip(*ballots, strict=True):
        counted = Counter(row["answer"] for row in rows if row["answer"] is not None)
        winner = counted.most_common(1)[0][0] if counted else None
        chosen = next((row for row in rows if row["answer"] == winner), rows[0])
        totals = {name: sum(row[name] for row in rows) for name in ("forwards", "n_tokens")}
        voted.append({**chosen, **totals, "policy": f"vote of {len(rows)}"})
    return voted


def write_results(model: Model, path: Path, rows: Rows, setting: dict[str, Any]) -> None:
    """The columns that the page reads, rounded."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from nap.common.files import atomic

    kept = [{name: row[name] for name in COLUMNS} for row in rows]
    table = pa.Table.from_pylist([{k: round(v, 4) if isinstance(v, float) else v for k, v in r.items()} for r in kept])
    table = table.replace_schema_metadata({"setting": json.dumps(setting | asdict(model))})
    RESULTS.mkdir(parents=True, exist_ok=True)
    with atomic(path, "wb") as file:
        pq.write_table(table, file, compression="zstd", use_dictionary=True)


def run_one(model: Model, options: argparse.Namespace) -> None:
    """Train and evaluate what is missing of a model."""
    import torch

    torch.set_num_threads(1)
    steps, runs = options.steps or STEPS[model.task], options.runs / model.name
    if model.results.exists() and not find_weights(model, runs, recipe_of(model, steps)):
        # Trained again on another processor, where sums are rounded otherwise, it would be another model.
        raise InputError(
            f"{model.results} has rows, but {runs} lacks their weights; bring these back, or delete the rows"
        )
    trained = train_model(model, runs, steps, options.device, options.dtype)
    made = json.loads((trained / "training.json").read_bytes())
    setting = {"steps": steps, "problems": options.problems} | {name: made.get(name) for name in ("device", "dtype")}
    if not model.results.exists():
        rows = evaluate_model(model, trained, runs, options.problems, options.device)
        write_results(model, model.results, rows, setting)
    more = model.more_results
    if more and not more.exists() and not options.core:
        rows = sweep(
            model, trained, options.problems, runs / "more", options.device, policies=MORE_DECODERS,
            tokens_per_step=MORE_PACES[model.arm],
        )  # fmt: skip
        write_results(model, more, rows, setting)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", nargs="+", choices=ARMS)
    parser.add_argument("--tasks", nargs="+", choices=SLOTS)
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument("--steps", type=int, help="optimizer steps, instead of each task's own")
    parser.add_argument("--problems", type=int, default=500)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/study", help="checkpoints and sweeps")
    parser.add_argument("--core", action="store_true", help="leave the further decoders for another time")
    parser.add_argument("--device", choices=BATCH, default="cpu")
    parser.add_argument("--dtype", choices=DTYPES, default=DTYPES[0], help="of the products of a training")
    parser.add_argument("--at-once", type=int, default=2, help="models trained side by side, a thread each")
    parser.add_argument("--list", action="store_true", help="print every model and stop")
    parser.add_argument("--only", choices=[model.name for model in queue()], help=argparse.SUPPRESS)
    options = parser.parse_args()
    keep_memory()
    chosen = [
        model
        for model in queue()
        if model.arm in (options.arms or ARMS)
        and model.task in (options.tasks or SLOTS)
        and (options.seeds is None or model.seed in options.seeds)
    ]
    if options.only:
        run_one(next(model for model in queue() if model.name == options.only), options)
    elif options.list:
        print("\n".join(f"{'done' if m.done else '    '} {m.name:<24} {ARMS[m.arm].what}" for m in chosen))
    else:
        missing = [model.name for model in chosen if not (model.results.exists() if options.core else model.done)]
        return run_each([__file__, *sys.argv[1:], "--only"], missing, options.at_once)
    return 0


if __name__ == "__main__":
    with exits_on_bad_input("study"):
        sys.exit(main())
