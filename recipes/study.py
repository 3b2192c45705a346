"""The controlled study: how much of NAP's gain is data, decoder, ensembling or layout.

    python recipes/study.py                               # trains and evaluates what is missing, two models at a time
    python recipes/study.py --arms long nap --seeds 0     # some of it
    python recipes/study.py --list                        # every model, and whether it is done

One model is an arm, a task and a training seed. Its rows (500 held-out problems a setting) go to
docs/study/TASK-ARM-SEED.parquet as soon as it is evaluated; what has its file is done. A killed run goes on where it
was. recipes/study_page.py makes docs/study.md of these files. Expected wall time: 20 to 60 minutes a model on one core.
"""

import argparse
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bundled import ROOT, SLOTS, STEPS, Recipe, build_tokenizer, fit, one_slot, slots

from nap.canvas import CanvasSpec
from nap.schema import Path as Solution
from nap.schema import Sample, concatenated
from nap.tasks import load_task

RESULTS = ROOT / "docs/study"
MARK = "|"
PACES = (1, 2, 4, 8)
DECODERS = ("low_confidence", "parallel_forced")
MORE_DECODERS = (
    "ar", "random", "hierarchy", *[f"threshold:tau={tau}" for tau in (0.5, 0.7, 0.9)],
    *[f"factor:f={f}" for f in (0.5, 1, 2)], *[f"entropy_bound:gamma={gamma}" for gamma in (0.01, 0.1, 0.5)],
)  # fmt: skip
# A vote needs canvases that differ.
VOTES, VOTE_TEMPERATURE = 3, 0.7
COLUMNS = (
    "policy", "pace", "index", "correct", "forwards", "n_tokens", "critical_path", "tpf", "afp", "tau_b",
    "global_arness@1", "global_arness@1_random", "path_global_arness@1", "path_global_arness@1_random",
)  # fmt: skip


def fixed(task: str, paths: int) -> CanvasSpec:
    """The room of six solutions, shared by so many paths."""
    path_tokens, summary_tokens = SLOTS[task]
    return CanvasSpec(paths=paths, path_tokens=6 * path_tokens // paths, summary_tokens=summary_tokens)


def as_it_is(sample: Sample) -> Sample:
    return sample


def first(sample: Sample) -> Sample:
    """One solution."""
    return Sample(problem=sample.problem, paths=sample.paths[:1], summary=sample.summary)


def marked(sample: Sample) -> Sample:
    """The paths in one slot, set apart by a mark that is generated like any other token."""
    text = f" {MARK} ".join(path.text for path in sample.paths)
    return Sample(problem=sample.problem, paths=(Solution(text=text),), summary=sample.summary)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What a model is trained on: `view` of samples of `written` solutions on `canvas`."""

    what: str
    canvas: Callable[[str], CanvasSpec] = slots
    view: Callable[[Sample], Sample] = as_it_is
    written: int = 3
    task: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    shuffle: bool = False
    tasks: tuple[str, ...] = ("arith", "countdown")
    seeds: int = 3
    decoders: tuple[str, ...] = DECODERS
    vote: bool = False


one_task = partial(Arm, seeds=1)
ARMS = {
    "long": Arm(what="one long chain of the same trajectories", canvas=one_slot, view=concatenated),
    "nap": Arm(what="three paths, full attention"),
    "paths": Arm(what="three paths that cannot see each other", canvas=partial(slots, attention="paths")),
    "short": Arm(what="one path", canvas=partial(one_slot, solutions=1), view=first, vote=True),
    "brief": one_task(what="one path in the long chain's slot", canvas=one_slot, view=first, tasks=("arith",)),
    "floating": one_task(
        what="one slot; a generated mark, not a clamped header, sets the paths apart", canvas=one_slot, view=marked,
        tasks=("arith",),
    ),
    "shuffled": one_task(what="three paths in random order", shuffle=True, tasks=("arith",)),
    **{
        f"wrong-{share}": one_task(
            what=f"{share} % of the paths misread a number", task={"wrong": share / 100}, tasks=("arith",)
        )
        for share in (10, 30, 50)
    },
    "structured": one_task(
        what="structured masking", recipe={"masking": "structured", "power": 1.0}, tasks=("arith",)
    ),
    **{
        f"width-{paths}": one_task(
            what=f"{paths} paths of {paths} solutions in the room of six", canvas=partial(fixed, paths=paths),
            written=paths, tasks=("countdown",),
        )
        for paths in (1, 2, 3, 4, 6)
    },
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
        """Where its rows are once it is done."""
        return RESULTS / f"{self.name}.parquet"


def queue() -> list[Model]:
    """Every model, the first seeds first: what there is at any time compares all arms."""
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


def train_model(model: Model, folder: Path, steps: int) -> Path:
    """The trained model's folder, trained now or before."""
    arm = ARMS[model.arm]
    task: Any = load_task(model.task, **arm.task)

    def draw(index: int) -> Sample:
        return arm.view(task.sample(model.seed, index, arm.written))

    return fit(
        tokenizer_of(model), arm.canvas(model.task), draw, folder, Recipe(steps=steps, **arm.recipe), seed=model.seed,
        shuffle=arm.shuffle,
    )  # fmt: skip


def evaluate_model(model: Model, trained: Path, problems: int) -> list[dict[str, Any]]:
    """Its rows under every decoder that its arm asks for."""
    from nap.evaluate import Sweep, run_sweep

    arm, runs = ARMS[model.arm], trained.parent

    def rows(folder: str, **options: Any) -> list[dict[str, Any]]:
        sweep = Sweep(task=model.task, models=(str(trained),), tokens_per_step=PACES, problems=problems, **options)
        return run_sweep(sweep, runs / folder, batch_size=50, traces=0)

    more = MORE_DECODERS if model.seed == 0 and model.arm in ("long", "nap", "paths") else ()
    found = rows("decoders", policies=(*arm.decoders, *more))
    if arm.vote:
        ballots = [
            rows(f"vote-{seed}", policies=("low_confidence",), temperature=VOTE_TEMPERATURE, seed=seed)
            for seed in range(VOTES)
        ]
        found += vote(ballots)
    return [{name: row[name] for name in COLUMNS} for row in found]


def vote(ballots: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Majority answers of several canvases, the earliest of those with most votes; forwards and tokens are added up."""
    voted = []
    for rows in zip(*ballots, strict=True):
        counted = Counter(row["answer"] for row in rows if row["answer"] is not None)
        winner = counted.most_common(1)[0][0] if counted else None
        chosen = next((row for row in rows if row["answer"] == winner), rows[0])
        totals = {name: sum(row[name] for row in rows) for name in ("forwards", "n_tokens")}
        voted.append({**chosen, **totals, "policy": f"vote of {len(rows)}"})
    return voted


def write_results(model: Model, rows: list[dict[str, Any]], setting: dict[str, Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from nap.files import atomic

    table = pa.Table.from_pylist([{k: round(v, 4) if isinstance(v, float) else v for k, v in r.items()} for r in rows])
    table = table.replace_schema_metadata({"setting": json.dumps(setting | asdict(model))})
    RESULTS.mkdir(parents=True, exist_ok=True)
    with atomic(model.results, "wb") as file:
        pq.write_table(table, file, compression="zstd", use_dictionary=True)


def run_one(model: Model, options: argparse.Namespace) -> None:
    steps = options.steps or STEPS[model.task]
    trained = train_model(model, options.runs / model.name, steps)
    rows = evaluate_model(model, trained, options.problems)
    write_results(model, rows, {"steps": steps, "problems": options.problems})


def run_all(models: Sequence[Model], arguments: list[str]) -> int:
    """Each model in a process of its own, two at a time. The number that failed."""
    command = [sys.executable, __file__, *arguments, "--only"]
    with ThreadPoolExecutor(2) as pool:
        codes = pool.map(lambda model: subprocess.call([*command, model.name]), models)
        return sum(code != 0 for code in codes)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", nargs="+", choices=ARMS)
    parser.add_argument("--tasks", nargs="+", choices=SLOTS)
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument("--steps", type=int, help="optimizer steps, instead of each task's own")
    parser.add_argument("--problems", type=int, default=500)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/study", help="checkpoints and sweeps")
    parser.add_argument("--list", action="store_true", help="print every model and stop")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args()
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
        print("\n".join(f"{'done' if m.results.exists() else '    '} {m.name:<24} {ARMS[m.arm].what}" for m in chosen))
    else:
        return run_all([model for model in chosen if not model.results.exists()], sys.argv[1:])
    return 0


if __name__ == "__main__":
    sys.exit(main())
