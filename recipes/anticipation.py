"""Which predicts the order of trained models better: the anticipation profile of their texts, or SeqDep?

    python recipes/anticipation.py --scorer ../models/smollm2-135m
    python recipes/anticipation.py --write

The texts are those that ten models of this repository learned from: the six bundled ones and the four of
recipes/text_order.py. A language model that was not trained on them, SmolLM2-135M, gives both predictions. The
order of the trained models is that of the stored rows (docs/study/ties.parquet, docs/agreement, docs/text_order).
Rank correlations over the ten say which prediction agrees with it. The first command measures what
docs/anticipation.json lacks, a corpus at a time, and can be killed and started again; the second makes the tables of
docs/anticipation.md. Expected wall time: three minutes of one free core. Expected numbers: docs/anticipation.md.
"""

import argparse
import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import isnan
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from agreement_parts.findings import arness as normalised
from agreement_parts.measure import TIES
from text_order import RESULTS, VIEWS, read_text
from text_order import sample as text_sample

from nap.common.files import InputError, atomic, exits_on_bad_input
from nap.common.files import read_text as read_file
from nap.common.parquet import read_parquet
from nap.data.samples import join_paths
from nap.dependence.anticipation import anticipate, contexts_of, profile
from nap.dependence.causal import CausalScorer
from nap.dependence.load import open_scorer
from nap.dependence.sampling import sampler_of
from nap.dependence.segments import Row
from nap.dependence.seqdep import cut_rows, measure_corpus
from nap.dependence.summary import summarise
from nap.tasks.registry import load_task

ROOT = Path(__file__).resolve().parent.parent
STORED, PAGE = ROOT / "docs/anticipation.json", ROOT / "docs/anticipation.md"
MARK = "<!-- made by recipes/anticipation.py --write -->"
TASKS = ("arith", "countdown", "grids")
ROWS, SAMPLES, LENGTH, SEGMENTS = 5, 32, 8, "tokens:8"
BANDS, POLICY = ROOT / "docs/study/ties.parquet", "low_confidence"
AGREEMENT = {"nap": "grids-3-0", "longcot": "chain-3-1"}
SPLIT_SEED = 1
DRAWINGS = 400
Numbers = dict[str, Any]


class Predictor(NamedTuple):
    """What is said of an order before anything is trained: its key, and what the table calls it."""

    key: str
    title: str


PREDICTORS = (
    Predictor("order", "profile: ARness"),
    Predictor("first", "profile: first"),
    Predictor("seqdep", "SeqDep, nats a token"),
    Predictor("control", "SeqDep's control, nats a token"),
)
ORDERS = {"arness": "ARness, normalised", "tau_b": "tau-b of the whole canvas"}


def corpora() -> dict[str, str]:
    """Each corpus, and what its model learned from it."""
    bundled = {f"{task}-{form}": f"{task}, {what}" for task in TASKS for form, what in (
        ("longcot", "three solutions as one chain"), ("nap", "three solutions as three paths"),
    )}  # fmt: skip
    return bundled | {f"text-{view}": f"letters of Shakespeare, {what}" for view, what in VIEWS.items()}


# Texts and their predictions


def rows_of(name: str) -> list[Row]:
    """Texts as the model of a corpus learned them; of paths the list."""
    kind, _, form = name.partition("-")
    if kind == "text":
        text, _ = read_text()
        samples: list[Any] = [text_sample(text, form, SPLIT_SEED, index) for index in range(ROWS)]
    else:
        task: Any = load_task(kind)
        samples = [task.sample(SPLIT_SEED, index) for index in range(ROWS)]
    paths = [[path.text for path in sample.paths] for sample in samples]
    return [
        Row(f"{name} {i}", sample.problem.prompt, own if form == "nap" else _chain(kind, own))
        for i, (sample, own) in enumerate(zip(samples, paths, strict=True))
    ]


def _chain(kind: str, paths: Sequence[str]) -> str:
    """The paths one after the other, as recipes/agreement.py and recipes/study.py join them."""
    return " ".join(paths) if kind == "grids" else join_paths(paths)


def predicted(scorer: CausalScorer, rows: Sequence[Row]) -> Numbers:
    """The profile of the texts and their SeqDep, both within a path."""
    contexts = contexts_of(rows, scorer, 1, 1024, seed=0)
    found = profile(anticipate(sampler_of(scorer), contexts, SAMPLES, LENGTH))
    alone = [
        row._replace(content=path)
        for row in rows
        for path in (row.content if isinstance(row.content, list) else [row.content])
    ]
    texts = cut_rows(scorer, alone, SEGMENTS, 1024).texts
    summary = summarise(texts, measure_corpus(scorer, texts, excess=False))
    said = {"order": found.order, "first": found.first}
    said |= {name: getattr(summary, name).per_token for name in ("seqdep", "control")}
    return {name: [one.mean, *(one.interval or (None, None))] for name, one in said.items()}


# The order of the trained models


def trained(name: str) -> Numbers:
    """Normalised ARness within a path, and tau-b over the canvas, of the model that learned these texts.

    It decodes by confidence, a token a step. The values are those of the studies' stored rows, with the band that ties
    within .01 allow where that was measured.
    """
    kind, _, form = name.partition("-")
    own, left, right = (list(rows) for rows in choices(kind, form))
    scope = "" if kind == "text" else "path_"
    found = {"arness": arness(own, scope), "tau_b": mean(own, "tau_b")}
    if not left or not right:
        return found | {"identified": None}
    value, ties = found["arness"], sorted(arness(rows, scope) for rows in (left, right))
    # 0 is the random order, so the value is its difference from that.
    return found | {"identified": max(value, *ties) - min(value, *ties) < abs(value), "ties": ties}


def choices(kind: str, form: str) -> Iterator[Iterable[Mapping[str, Any]]]:
    """The stored rows of a model as it decodes, and with ties taken from the left and from the right."""
    if kind in ("arith", "countdown"):
        arm = {"nap": "nap", "longcot": "long"}[form]
        stored = [row for row in read_parquet(BANDS) if (row["task"], row["arm"], row["policy"]) == (kind, arm, POLICY)]
        for choice in ("own", "left", "right"):
            yield [row for row in stored if row["choice"] == choice]
    else:
        named = sorted(RESULTS.glob(f"{form}-?.parquet"))
        paths = [ROOT / f"docs/agreement/{AGREEMENT[form]}.parquet"] if kind == "grids" else named
        stored = [row for path in paths for row in read_parquet(path)]
        for name in (POLICY, *TIES):
            yield [row for row in stored if row["policy"] == name and row.get("pace", 1) == 1]


def arness(rows: Sequence[Mapping[str, Any]], of: str) -> float:
    """Mean ARness, normalised: 0 for the random order, 1 for left to right."""
    columns = (f"{of}global_arness@1", f"{of}global_arness@1_random")
    return normalised({column: mean(rows, column) for column in columns}, of)


def mean(rows: Sequence[Mapping[str, Any]], column: str) -> float:
    """Over all rows."""
    return fmean(row[column] for row in rows)


# The table


def agreement(found: dict[str, Numbers], names: Sequence[str], key: str, order: str) -> tuple[float, float]:
    """Kendall's tau-b between a prediction and the order over these corpora, and its two-sided p-value."""
    from scipy.stats import kendalltau

    said, true = (
        [found[name]["predicted"][key][0] for name in names],
        [found[name]["trained"][order] for name in names],
    )
    result: Any = kendalltau(said, true)
    return float(result.statistic), float(result.pvalue)


def lead(found: dict[str, Numbers], order: str) -> tuple[float, float, float]:
    """By how much the profile's tau with this order exceeds SeqDep's, with a bootstrap over corpora."""
    names, drawn = [*found], random.Random(0)
    drawings = [names, *(drawn.choices(names, k=len(names)) for _ in range(DRAWINGS))]
    value, *others = (
        agreement(found, some, "order", order)[0] - agreement(found, some, "seqdep", order)[0] for some in drawings
    )
    others = sorted(other for other in others if not isnan(other))
    return value, others[len(others) // 40], others[-1 - len(others) // 40]


def tables(found: dict[str, Numbers]) -> str:
    """What was measured of each corpus, how far each prediction agrees with the order, and the profile's lead."""
    leads = "; ".join("{}: {:+.2f} [{:+.2f}, {:+.2f}]".format(title, *lead(found, o)) for o, title in ORDERS.items())
    last = f"Tau of the profile's ARness less that of SeqDep, bootstrap over corpora: {leads}."
    low, high = (agreement(at_ties(found, end), [*found], "order", "arness")[0] for end in (0, -1))
    last += (
        f" With the lower end of each model's tie band for its ARness the profile's own tau is {low:+.2f}, with the "
        f"upper end {high:+.2f}."
    )
    return "\n".join([*_corpora(found), "", *_agreements(found), "", last])


def at_ties(found: dict[str, Numbers], end: int) -> dict[str, Numbers]:
    """The same with an end of each model's tie band, 0 or -1, as its ARness, where ties were measured."""
    moved = {name: one["trained"] for name, one in found.items()}
    moved = {name: true | {"arness": [*(true.get("ties") or [true["arness"]])][end]} for name, true in moved.items()}
    return {name: {**one, "trained": moved[name]} for name, one in found.items()}


def _corpora(found: dict[str, Numbers]) -> Iterator[str]:
    titles = corpora()
    yield f"| corpus | {' | '.join(p.title for p in PREDICTORS)} | trained: {' | trained: '.join(ORDERS.values())} |"
    yield "|---" * (1 + len(PREDICTORS) + len(ORDERS)) + "|"
    for name in (name for name in titles if name in found):
        own, true = found[name]["predicted"], found[name]["trained"]
        cells = [_estimated(own[p.key]) for p in PREDICTORS]
        ties = f" (ties {true['ties'][0]:.2f} to {true['ties'][1]:.2f})" if true.get("ties") else ""
        ties += ", not identified" if true["identified"] is False else ""
        yield f"| {titles[name]} | {' | '.join(cells)} | {true['arness']:.2f}{ties} | {true['tau_b']:.2f} |"


def _estimated(values: Sequence[float | None]) -> str:
    middle, low, high = values
    return f"{middle:.2f}" + (f" [{low:.2f}, {high:.2f}]" if low is not None else "")


def _agreements(found: dict[str, Numbers]) -> Iterator[str]:
    groups = {
        f"all {len(found)}": [*found],
        "bundled models": [name for name in found if not name.startswith("text-")],
        "letters": [name for name in found if name.startswith("text-")],
    }
    columns = [(group, order) for group, names in groups.items() if len(names) > 2 for order in ORDERS]
    yield f"| Kendall's tau with the order | {' | '.join(f'{g}: {ORDERS[o]}' for g, o in columns)} |"
    yield "|---" * (1 + len(columns)) + "|"
    for predictor in PREDICTORS:
        values = [agreement(found, groups[group], predictor.key, order) for group, order in columns]
        yield f"| {predictor.title} | {' | '.join(f'{tau:+.2f} (p {p:.2g})' for tau, p in values)} |"


def written(text: str, found: dict[str, Numbers]) -> str:
    """The page with the part between its two marks made anew. Raises InputError unless it has two."""
    return between_marks(text, PAGE, MARK, lambda: tables(found))


def between_marks(text: str, page: Path, mark: str, made: Callable[[], str]) -> str:
    """The text of a page with what stands between two such marks replaced. Raises InputError unless it has two."""
    parts = text.split(mark)
    if len(parts) != 3:
        raise InputError(f"docs/{page.name} should have two lines {mark!r}, it has {len(parts) - 1}")
    return mark.join([parts[0], f"\n{made()}\n", parts[2]])


def known() -> dict[str, Numbers]:
    """What was predicted for each corpus, and the order of the model that learned it."""
    return {name: {"predicted": said, "trained": trained(name)} for name, said in stored_in(STORED).items()}


def measure_missing(
    scorer: str, names: Sequence[str], measured: Callable[[CausalScorer, str], Numbers], stored: Path
) -> None:
    """Measure what a file of figures lacks of these names, one after the other; a killed run goes on from there."""
    opened, found = open_scorer(scorer), stored_in(stored)
    assert isinstance(opened, CausalScorer)
    for name in (name for name in names if name not in found):
        found[name] = measured(opened, name)
        with atomic(stored) as file:
            file.write(json.dumps(found, indent=1) + "\n")
        print(name, flush=True)


def stored_in(path: Path) -> dict[str, Numbers]:
    """The figures of a file by name; none where it is not there."""
    return json.loads(read_file(path)) if path.exists() else {}


def rewrite(page: Path, made: Callable[[str], str]) -> None:
    """Make a page anew from its text."""
    text = made(read_file(page))
    with atomic(page) as file:
        file.write(text)


def main() -> int:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scorer", help="folder or hub name of a causal language model")
    parser.add_argument("--most", type=int, default=len(corpora()), help="measure only so many corpora now")
    parser.add_argument("--write", action="store_true", help="make the table of docs/anticipation.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.scorer:
        missing = [name for name in corpora() if name not in stored_in(STORED)]
        missing = missing[: options.most]
        measure_missing(options.scorer, missing, lambda scorer, name: predicted(scorer, rows_of(name)), STORED)
    if options.write:
        rewrite(PAGE, lambda text: written(text, known()))
    return 0


if __name__ == "__main__":
    with exits_on_bad_input("anticipation"):
        raise SystemExit(main())
