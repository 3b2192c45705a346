"""Answers that must agree: does the parallelism that a canvas tolerates equal the number of its independent frontiers?

    python recipes/agreement.py                             # trains and evaluates what is missing, one model at a time
    python recipes/agreement.py --arms one grids-3 --seeds 0 1
    python recipes/agreement.py --device cuda --at-once 16  # on one GPU, a core for each model
    python recipes/agreement.py --list                      # every model, and whether it is done
    python recipes/agreement.py --install grids-paths       # copies a bundled one into src/nap/assets

A model is an arm and a training seed. It is trained by longer and longer schedules until it is right one token a step
(TARGET of held-out grids that nothing else uses), and then writes the same fresh test problems under every decoder; its
rows (one a decoder and pace) go to docs/agreement/ARM-SEED.parquet. The arm `exact` is not trained: every decoder on
the exact law. A killed run goes on where it was. What is measured and what would refute it: docs/agreement.md, of which
recipes/agreement_page.py writes the results. Expected wall time: about 5 minutes a model on one free core (2 to train);
some two hours with --dtype float32, which a processor without bfloat16 products needs (rows say which it was).
Expected numbers: one grid, 1, 2, 4 tokens a step, .99, .5, .2 of the grids are valid; three grids in paths of their own
forced at 3 tokens a step .99, and as confidence has it .5.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from agreement_parts.measure import AO, TRIAL, Work, settings_of
from bundled import DTYPES, ROOT, SCHEDULES, build_tokenizer, bundle, fit, newest, run_each, schedules

from nap.canvas.canvas import CanvasSpec
from nap.canvas.visibility import Attention
from nap.common.files import InputError, atomic, exits_on_bad_input
from nap.common.parquet import write_parquet
from nap.data.samples import Path as Solution
from nap.data.samples import Sample
from nap.models.denoiser import Denoiser
from nap.tasks.registry import load_task

Setting = tuple[str, int | None]
Row = dict[str, Any]

RESULTS = ROOT / "docs/agreement"
# Share of the held-out grids that a model must get right one token a step before it is evaluated; grids or sentences
# of a training step.
TARGET, UNITS = 0.97, 96
# What the package has, under the names that `nap.load` takes: the median seed of an arm.
BUNDLED = {
    "grids-nap": "grids-3", "grids-longcot": "chain-3", "grids-paths": "paths-3",
    "agree-nap": "stories-3", "agree-longcot": "stories-chain-3",
}  # fmt: skip
# The test problems are of the stream 0 of the test split; those that say when to stop are of this one.
CHECK_STREAM = 1000


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What a model is trained on: a task with its settings, laid out in a path for each grid or in one chain."""

    what: str
    task: str = "grids"
    settings: dict[str, Any] = field(default_factory=dict)
    chain: bool = False
    attention: Attention = "full"
    seeds: int = 5
    exact: bool = False
    trial: bool = False

    def load(self) -> Any:
        """The task."""
        return load_task(self.task, **self.settings)

    @property
    def canvas(self) -> CanvasSpec:
        """A slot for each unit, or one without marks for all of them, with room for its closing tag and one padding.

        The padding makes the tokens of a slot even in number. Cells that are open come in even clusters, so that at two
        tokens a step an odd slot would pair every open cell with a certain one, and nothing would show.
        """
        task = self.load()
        paths = 1 if self.chain else task.count
        words = max(len(task.sample(0, index).summary.split()) for index in range(3))
        return CanvasSpec(
            paths=paths, path_tokens=task.cells * task.count // paths + 2, summary_tokens=words + 1,
            attention=self.attention,
        )  # fmt: skip

    def view(self, sample: Sample) -> Sample:
        """The sample in the form of the canvas."""
        if not self.chain:
            return sample
        joined = Solution(text=" ".join(path.text for path in sample.paths))
        return Sample(problem=sample.problem, paths=(joined,), summary=sample.summary)


def grids(what: str, count: int, **options: Any) -> Arm:
    """An arm of grids: options of the arm, and settings of the task."""
    names = ("chain", "attention", "seeds", "exact", "trial")
    own = {name: options.pop(name) for name in names if name in options}
    return Arm(what=what, settings={"count": count, **options}, **own)


exact = partial(grids, exact=True, seeds=1)
# Grids of 6x6 with 6 clues, under the decoders of the two trials that this study began with.
large = partial(grids, size=6, clues=6, trial=True, seeds=3)
# In the order in which they are run: what answers a question on its own comes first.
ARMS = {
    **{
        f"exact-{count}": exact(f"the exact law, {count} independent grids", count) for count in (1, 2, 3, 4, 6)
    },
    **{
        f"exact-rows-{shared}": exact(f"the exact law, each with {shared} rows of the one before", 3, shared=shared)
        for shared in (1, 2, 3)
    },
    "one": grids("one grid", 1),
    "grids-3": grids("three independent grids, a path each", 3),
    "chain-3": grids("the same three grids as one chain without marks", 3, chain=True),
    "grids-6": grids("six independent grids", 6),
    "grids-2": grids("two independent grids", 2),
    "grids-4": grids("four independent grids", 4),
    **{
        f"rows-{shared}": grids(f"three grids, each with {shared} rows of the one before", 3, shared=shared)
        for shared in (1, 2, 3)
    },
    "paths-3": grids("three independent grids that cannot see each other", 3, attention="paths"),
    "corners-3": grids("three independent grids, and a summary that names a digit of each", 3, summary="corners"),
    "story": Arm(what="one sentence", task="agree", settings={"count": 1}),
    "stories-3": Arm(what="three independent sentences, a path each", task="agree", settings={"count": 3}),
    "stories-chain-3": Arm(
        what="the same three sentences as one chain without marks", task="agree", settings={"count": 3}, chain=True
    ),
    "large-3": large("three independent grids of 6x6, a path each", 3),
    "large-chain-3": large("the same three grids of 6x6 as one chain without marks", 3, chain=True),
    **{
        f"chain-{count}": grids(f"{count} grids as one chain without marks", count, chain=True) for count in (2, 4, 6)
    },
}  # fmt: skip
# The core first, all its seeds; then the next group; then the rest.
GROUPS = (
    ("exact-1", "exact-2", "exact-3", "exact-4", "exact-6", "exact-rows-1", "exact-rows-2", "exact-rows-3"),
    ("one", "grids-3", "chain-3"), ("grids-6", "grids-2", "grids-4"),
    ("rows-1", "rows-2", "rows-3", "paths-3", "corners-3"), ("story", "stories-3", "stories-chain-3"),
    ("large-3", "large-chain-3"),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Model:
    """One model."""

    arm: str
    seed: int

    @property
    def name(self) -> str:
        """`ARM-SEED`."""
        return f"{self.arm}-{self.seed}"


def queue() -> list[Model]:
    """Every model: group by group, and in a group seed by seed, so that what there is compares arms."""
    rest = tuple(arm for arm in ARMS if not any(arm in group for group in GROUPS))
    return [
        Model(arm=arm, seed=seed)
        for group in (*GROUPS, rest)
        for seed in range(max(ARMS[arm].seeds for arm in group))
        for arm in group
        if seed < ARMS[arm].seeds
    ]


# Training


def train_model(model: Model, folder: Path, dtype: str = DTYPES[0], device: str = "cpu") -> Path:
    """The folder of the model once it is right one token a step, resumed where it was killed.

    One whole schedule after the other, each from scratch: to go on from a model whose rate has decayed, at the full
    rate, does not get there (docs/agreement.md). Raises InputError for a model that the longest does not make right.
    """
    arm = ARMS[model.arm]
    task, tokenizer = arm.load(), tokenizer_of(arm)

    def draw(index: int) -> Sample:
        return arm.view(task.sample(model.seed, index))

    for recipe in schedules(UNITS // task.count):
        # The first schedule stands where the first stage of earlier versions did, and is the same.
        name = "stage-0" if recipe.steps == SCHEDULES[0] else f"slow-{recipe.steps}"
        trained = fit(tokenizer, arm.canvas, draw, folder / name, recipe, seed=model.seed, dtype=dtype, device=device)
        right = validity(model, trained, device)
        print(f"{model.name}: {right:.3f} of the held-out grids valid after {recipe.steps} steps", flush=True)
        if right >= TARGET:
            return trained
    raise InputError(f"{model.name} is not right on {TARGET:.0%} of held-out grids after {SCHEDULES[-1]} steps")


def tokenizer_of(arm: Arm) -> Any:
    """The words of the task, and tags for as many paths as any arm has."""
    return build_tokenizer(arm.task, paths=6)


def validity(model: Model, trained: Path, device: str = "cpu") -> float:
    """The share of valid grids, one token a step, on problems that nothing else uses."""
    return work_of(model, open_model(trained, device), CHECK_STREAM).row(AO, 1)["valid"]


def open_model(trained: Path, device: str = "cpu") -> Denoiser:
    from nap.models.load import load

    return load(str(trained), device=device, dtype="float32")


# Measuring


def work_of(model: Model, denoiser: Denoiser | None, stream: int) -> Work:
    """What a model is measured on."""
    arm = ARMS[model.arm]
    return Work.of(arm.load(), arm.canvas, arm.view, tokenizer_of(arm), denoiser, stream)


def measure_model(model: Model, trained: Path | None, folder: Path, device: str = "cpu") -> list[dict[str, Any]]:
    """The rows of a model, of which those that are in its journal are not made again."""
    work = work_of(model, open_model(trained, device) if trained else None, 0)
    settings = TRIAL if ARMS[model.arm].trial else settings_of(work.task.count)
    return journaled(settings, work.row, folder)


def journaled(settings: Iterable[Setting], row: Callable[..., Row], folder: Path) -> list[Row]:
    """The rows of these settings, each written down as it is made, so that a killed run goes on from there."""
    folder.mkdir(parents=True, exist_ok=True)
    journal, settings = folder / "rows.jsonl", [*settings]
    whole, _, torn = journal.read_text().rpartition("\n") if journal.exists() else ("", "", "")
    done = {(row["policy"], row["pace"]): row for row in map(json.loads, whole.splitlines())}
    if torn:
        with atomic(journal) as file:
            file.writelines(json.dumps(row) + "\n" for row in done.values())
    with journal.open("a") as file:
        for setting in settings:
            if setting not in done:
                done[setting] = row(*setting)
                file.write(json.dumps(done[setting]) + "\n")
                file.flush()
    return [done[setting] for setting in settings]


def write_rows(rows: list[Row], path: Path, told: dict[str, Any]) -> None:
    """One file a model, with what it is made of."""
    import pyarrow as pa

    table = pa.Table.from_pylist([{k: round(v, 5) if isinstance(v, float) else v for k, v in r.items()} for r in rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_parquet(path, table.replace_schema_metadata({"setting": json.dumps(told)}))


def run_one(model: Model, options: argparse.Namespace) -> None:
    """Train and measure what is missing of a model."""
    import torch

    torch.set_num_threads(1)
    folder = options.runs / model.name
    trained = None if ARMS[model.arm].exact else train_model(model, folder, options.dtype, options.device)
    rows = measure_model(model, trained, folder, options.device)
    told = {"arm": model.arm, "seed": model.seed, "settings": ARMS[model.arm].settings, **made(trained)}
    write_rows(rows, options.results / f"{model.name}.parquet", told)


def made(trained: Path | None) -> dict[str, Any]:
    """The steps of a training, the type of its products and where it ran, for its rows to say; no steps without one."""
    if trained is None:
        return {"steps": 0}
    written = json.loads((trained / "training.json").read_text())
    return {name: written[name] for name in ("steps", "dtype", "device")}


# Bundling


def median_seed(arm: str, results: Path, by: Setting) -> int:
    """The seed of the median of `valid` under a decoder at a pace; of the middle two the one of less."""
    import pyarrow.parquet as pq

    found = []
    for path in results.glob(f"{arm}-[0-9].parquet"):
        rows = pq.read_table(path, columns=["policy", "pace", "valid"]).to_pylist()
        valid = next(row["valid"] for row in rows if (row["policy"], row["pace"]) == by)
        found.append((valid, int(path.stem.removeprefix(f"{arm}-"))))
    if not found:
        raise InputError(f"{results} has no rows of {arm}; train and measure it first: --arms {arm}")
    return sorted(found)[(len(found) - 1) // 2][1]


def install(arms: Mapping[str, str], runs: Path, results: Path, by: Setting) -> None:
    """Bundle the median seed of each of these arms, under its name."""
    for name, arm in arms.items():
        seed = median_seed(arm, results, by)
        if (trained := newest(runs / f"{arm}-{seed}")) is None:
            raise InputError(f"{runs} has no trained model of {arm}-{seed}; train it first: --arms {arm}")
        bundle(name, trained, f"{arm}-{seed}")
        print(f"{name} is seed {seed} of {arm}")


# The queue of a study


def study_parser(
    said: str | None, models: Sequence[Model], name: str, bundled: Mapping[str, str] | None = None,
    by: Setting = (AO, 3),
) -> argparse.ArgumentParser:  # fmt: skip
    """The flags of a recipe that works through such models.

    bundled  the arms of which the package has the median seed, by their names there
    by       the decoder and pace by which it is the median
    """
    parser = argparse.ArgumentParser(description=said, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", nargs="+", choices=dict.fromkeys(model.arm for model in models))
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument("--runs", type=Path, default=ROOT / f"runs/{name}", help="checkpoints and journals")
    parser.add_argument("--results", type=Path, default=ROOT / f"docs/{name}", help="where rows go")
    parser.add_argument("--at-once", type=int, default=1, help="models side by side, a thread each")
    parser.add_argument("--dtype", choices=DTYPES, default=DTYPES[0], help="of the products of a training")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="to train on, and to decode")
    parser.add_argument("--list", action="store_true", help="print every model and stop")
    parser.set_defaults(install=None, bundled=bundled, by=by)
    if bundled:
        parser.add_argument(
            "--install", nargs="*", choices=bundled, help="copy these bundled models (default: all) into src/nap/assets"
        )
    parser.add_argument("--only", choices=[model.name for model in models], help=argparse.SUPPRESS)
    return parser


def work_through(
    options: argparse.Namespace, models: Sequence[Model], said: Callable[[Model], str],
    run_one: Callable[[Model, argparse.Namespace], None],
) -> int:  # fmt: skip
    """Run what is missing of the models asked for, each in a process of its own, or list them, or bundle some.

    Returns how many failed.

    said  what the arm of a model is
    """
    if options.install is not None:
        names = options.install or [*options.bundled]
        install({name: options.bundled[name] for name in names}, options.runs, options.results, options.by)
        return 0
    chosen = [
        model
        for model in models
        if (not options.arms or model.arm in options.arms) and (options.seeds is None or model.seed in options.seeds)
    ]
    missing = [model for model in chosen if not (options.results / f"{model.name}.parquet").exists()]
    if options.only:
        run_one(next(model for model in models if model.name == options.only), options)
    elif options.list:
        print("\n".join(f"{'    ' if m in missing else 'done'} {m.name:<14} {said(m)}" for m in chosen))
    else:
        return run_each([*sys.argv, "--only"], [model.name for model in missing], options.at_once)
    return 0


def main() -> int:
    options = study_parser(__doc__, queue(), "agreement", BUNDLED).parse_args()
    return work_through(options, queue(), lambda model: ARMS[model.arm].what, run_one)


if __name__ == "__main__":
    with exits_on_bad_input("agreement"):
        sys.exit(main())
