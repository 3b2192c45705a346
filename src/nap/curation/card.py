"""The card of a curated data set: counted sample by sample, written as card.json and README.md.

    tally = Tally()
    for outcome in outcomes: tally.add(outcome)
    markdown(tally.card(setting, hashes, plan.prices), plan, prompts)

A card is the same for every run of the same setting: it has no times, addresses or dates. Does not curate.
"""

import json
import shlex
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path as FilePath

from nap.common.rows import read_rows
from nap.common.stats import wilson_interval
from nap.common.text import fenced, markdown_table, printable, short
from nap.curation.journal import FAILED, REFUSED, STOP
from nap.curation.plan import Plan
from nap.data.problems import Problem
from nap.data.samples import Path

# The list of replies without a text.
TROUBLES = "refused.jsonl"
# In place of the number of a reply there, for a summary.
SUMMARY = "summary"
# The possible fates of a reply, in the order in which they are checked.
FATES = {
    "failed": "no reply of the teacher could be read",
    "refused": "the teacher refused the prompt",
    "cut": "the reply did not come to its end",
    "empty": "nothing in it but white space",
    "tagged": "holds a tag of the canvas or of a chat",
    "too_long": "longer than its slot",
    "duplicate": "too much like another one of its problem",
    "unused": "more than were wanted, or too few for a sample",
    "used": "a path of a sample",
}
# What is counted over replies (`Reply`).
COUNTED = ("prompt_tokens", "completion_tokens", "uncounted")
# The possible ends of a problem.
ENDS = {
    "too_few_paths": "fewer usable paths than a sample has",
    "not_selected": "enough paths, but not of the wanted mix of right and wrong",
    "too_sequential": "more sequential dependence than allowed",
    "summary_failed": "the teacher's summary never came",
    "summary_refused": "the teacher refused to write the summary",
    "no_summary": "the teacher wrote no summary",
    "summary_wrong": "the summary does not give the right answer",
    "summary_too_long": "the summary is longer than its slot",
    "sample": "became a sample",
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of one problem.

    end      one of ENDS
    fates    number of its replies with each of FATES
    checked  (right, checked) of its usable replies, duplicates included
    models   how many replies came from each model, as the servers name them
    usage    numbers of COUNTED in its replies
    paths    of its sample, with `summary`; and those that it would have had
    tokens   of each path
    overlap  mean share of word 4-grams that two of the paths share
    """

    problem: Problem
    end: str
    fates: Mapping[str, int]
    checked: tuple[int, int] = (0, 0)
    models: Mapping[str, int] = field(default_factory=dict)
    usage: Mapping[str, int] = field(default_factory=dict)
    paths: tuple[Path, ...] = ()
    summary: str = ""
    tokens: tuple[int, ...] = ()
    overlap: float = 0.0

    def dropped(self, end: str) -> "Outcome":
        """The outcome if its paths do not make a sample after all."""
        fates = {**self.fates, "used": 0, "unused": self.fates["unused"] + self.fates["used"]}
        return replace(self, end=end, fates=fates)


@dataclass(frozen=True, kw_only=True)
class FileOf:
    """A file of samples: how many, and the digest of its bytes."""

    rows: int
    sha256: str


@dataclass(frozen=True)
class Share:
    """How many of some paths are right, with Wilson's interval."""

    right: int
    of: int
    share: float | None
    low: float
    high: float

    @classmethod
    def of_all(cls, right: int, paths: int) -> "Share":
        """So many right ones of so many."""
        return cls(right, paths, right / paths if paths else None, *wilson_interval(right, paths))

    def cells(self) -> tuple[str, str, str]:
        """Its cells in a table."""
        return f"{self.right} of {self.of}", _percent(self.share), f"{_percent(self.low)} to {_percent(self.high)}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


@dataclass(frozen=True)
class Accuracy:
    """Accuracy of all usable replies, duplicates included, and of the paths of samples."""

    usable: Share
    used: Share


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The least value, the 10th, 50th and 90th percentiles and the largest value; None if there are no values."""

    least: float | None
    p10: float | None
    median: float | None
    p90: float | None
    most: float | None

    @staticmethod
    def of(values: Sequence[float]) -> dict[str, float | None]:
        """Its fields."""
        ordered = sorted(values)
        places = zip((f.name for f in fields(Spread)), (0.0, 0.1, 0.5, 0.9, 1.0), strict=True)
        return {name: ordered[round(q * (len(ordered) - 1))] if ordered else None for name, q in places}


@dataclass(frozen=True, kw_only=True)
class _Mean:
    mean: float | None


# The mean comes first, because a dataclass has the fields of its last base first.
@dataclass(frozen=True, kw_only=True)
class Overlap(Spread, _Mean):
    """Shares of word 4-grams, and their mean."""


@dataclass(frozen=True)
class Usage:
    """The tokens that the servers counted, and their price.

    cost       None where it is not known, because there are
    uncounted  replies whose tokens no server counted
    """

    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    uncounted: int = 0

    @classmethod
    def of(cls, counts: Mapping[str, int], prices: Sequence[float]) -> "Usage":
        """The usage of so many of COUNTED. `prices` are of a million prompt and completion tokens."""
        prompt, completion, uncounted = (counts[name] for name in COUNTED)
        cost = None if uncounted else round((prompt * prices[0] + completion * prices[1]) / 1e6, 6)
        return cls(prompt, completion, cost, uncounted)

    def note(self) -> str:
        """The sentence about tokens that were not counted; empty if all were."""
        told = f"The server did not count the tokens of {self.uncounted} replies, so the cost is unknown."
        return told if self.uncounted else ""


@dataclass(frozen=True, kw_only=True)
class Card:
    """Everything on a data set's card; its fields are those of `card.json`.

    setting            everything that it depends on
    problems, replies  number of problems with each of ENDS and of replies with each of FATES, and of `all`
    digest             of all the rest
    rows_left_out      rows of the problems without a checkable answer, or with a question that another row has
    """

    setting: Mapping[str, object]
    files: Mapping[str, FileOf]
    problems: Mapping[str, int]
    replies: Mapping[str, int]
    accuracy: Accuracy
    samples_by_right_paths: Mapping[str, int]
    path_tokens: Spread
    overlap: Overlap
    models: Mapping[str, int]
    usage: Usage
    digest: str = ""
    rows_left_out: int = 0


def read_card(text: str) -> Card:
    """The card of a card.json. Raises TypeError, ValueError, LookupError or AttributeError for another text."""
    found = json.loads(text)
    records = {
        "files": {name: FileOf(**file) for name, file in found["files"].items()},
        "accuracy": Accuracy(**{name: Share(**share) for name, share in found["accuracy"].items()}),
        "path_tokens": Spread(**found["path_tokens"]),
        "overlap": Overlap(**found["overlap"]),
        "usage": Usage(**found["usage"]),
    }
    return Card(**found | records)


class Tally:
    """Counts over outcomes. Keeps a few bytes for each path, and no text."""

    def __init__(self) -> None:
        self.ends, self.fates, self.models, self.mixes = Counter[str](), Counter[str](), Counter[str](), Counter[int]()
        self.right = self.checked = 0
        self.usage = Counter[str]()
        self.tokens, self.overlaps = array("l"), array("d")

    def add(self, outcome: Outcome) -> None:
        """Count one problem."""
        self.ends[outcome.end] += 1
        self.fates.update(outcome.fates)
        self.models.update(outcome.models)
        self.right += outcome.checked[0]
        self.checked += outcome.checked[1]
        self.usage.update(outcome.usage)
        if outcome.end == "sample":
            self.mixes[sum(bool(path.correct) for path in outcome.paths)] += 1
            self.tokens.extend(outcome.tokens)
            self.overlaps.append(outcome.overlap)

    def card(self, setting: Mapping[str, object], files: Mapping[str, FileOf], prices: Sequence[float]) -> Card:
        """The card of a run. `prices` are of a million prompt and completion tokens."""
        samples = len(self.overlaps)
        right_used = sum(right * samples for right, samples in self.mixes.items())
        return Card(
            setting=setting,
            files=files,
            problems={"all": self.ends.total()} | {name: self.ends[name] for name in ENDS},
            replies={"all": self.fates.total()} | {name: self.fates[name] for name in FATES},
            accuracy=Accuracy(
                usable=Share.of_all(self.right, self.checked), used=Share.of_all(right_used, len(self.tokens))
            ),
            samples_by_right_paths={str(right): self.mixes[right] for right in sorted(self.mixes)},
            path_tokens=Spread(**Spread.of(self.tokens)),
            overlap=Overlap(mean=sum(self.overlaps) / samples if samples else None, **Spread.of(self.overlaps)),
            models=dict(sorted(self.models.items())),
            usage=Usage.of(self.usage, prices),
        )


def markdown(card: Card, plan: Plan, prompts: Mapping[str, str], example: Mapping[str, object] | None = None) -> str:
    """The card as a README.md with the front matter that the Hugging Face hub reads. `example` is one row."""
    licences, files = dict(plan.licences), card.files.items()
    spreads = {f"tokens of a path ({plan.tokens_counted_by})": card.path_tokens}
    spreads |= {"word 4-grams that two paths share": card.overlap}
    places = [f.name for f in fields(Spread)]
    mixes = card.samples_by_right_paths.items()
    others = {name: value for name, value in card.setting.items() if name not in ("prompts", "licences")}
    left_out, usage = card.rows_left_out, card.usage
    cost = "unknown" if usage.cost is None else usage.cost
    parts = [
        _front_matter(licences["data"]),
        f"# {plan.task}: {plan.paths} independent paths a problem\n",
        "Made by `nap curate` (NAP, arXiv 2602.23225). `samples.parquet` has the paths of each problem side by side, "
        "`longchain.parquet` the same paths written one after the other.\n",
        f"## Use\n\n{fenced(LOAD, 'python')}\n{fenced(train_command(card.setting), 'sh')}\n{UNSEEN}",
        *([f"## One row\n\n{fenced(json.dumps(example, indent=1, ensure_ascii=False), 'json')}"] if example else []),
        _section("Files", ("file", "samples", "sha256"), [(name, file.rows, file.sha256) for name, file in files]),
        _section("Problems", ("what became of them", "", "problems"), _counted(card.problems, ENDS)),
        *([f"{left_out} rows of the problems' file were left out; left_out.jsonl says why.\n"] if left_out else []),
        _section("Replies", ("what became of them", "", "replies"), _counted(card.replies, FATES)),
        _section(
            "Accuracy of the paths", ("", "right", "%", "95 % (Wilson, paths as independent)"),
            [(f"of the {name} paths", *getattr(card.accuracy, name).cells()) for name in ("usable", "used")],
        ),
        markdown_table(("right paths in a sample", "samples"), mixes),
        _section(
            "Lengths and distinctness", ("", *places),
            [(name, *(short(getattr(one, place)) for place in places)) for name, one in spreads.items()],
        ),
        _section("Models", ("name, as the server gives it", "replies"), card.models.items()),
        _section("Tokens", ("prompt", "completion", "cost"), [(usage.prompt_tokens, usage.completion_tokens, cost)]),
        *([f"{usage.note()}\n"] if usage.uncounted else []),
        _section("Licences", ("of", "licence"), licences.items()),
        f"## Setting\n\n{fenced(json.dumps(others, indent=1), 'json')}",
        *(f"## Prompt: {name}\n\n{fenced(text)}" for name, text in prompts.items()),
    ]  # fmt: skip
    return "\n".join(parts)


# The lines that load the data set, from its folder.
LOAD = """from datasets import load_dataset

samples = load_dataset("parquet", data_files="samples.parquet", split="train")
print(samples[0]["prompt"], [path["text"] for path in samples[0]["paths"]], samples[0]["summary"])"""
UNSEEN = "Add `--attention paths` for a model whose paths do not see each other, in training and when it decodes.\n"


def train_command(
    setting: Mapping[str, object], folder: str = ".", model: str = "MODEL", data: str | None = None
) -> str:
    """The command that trains a model on the data set in `folder`, or its file `data`, on a fitting canvas."""
    data = data or str(FilePath(folder) / "samples.parquet")
    words = ["nap", "train", "--model", model, "--data", data, "--canvas", "nap"]
    for name in ("paths", "path_tokens", "summary_tokens"):
        words += [f"--{name.replace('_', '-')}", str(setting[name])]
    return shlex.join(words)


def advice(card: Card, folder: str, offline: bool = False) -> str:
    """Why the data set in a folder has no sample, what came in place of replies, and the flag to change."""
    problems, replies, troubles = card.problems, card.replies, FilePath(folder) / TROUBLES
    end = max(HELP_WITH_ENDS, key=lambda name: problems.get(name, 0))
    if problems.get(end, 0) > problems.get("too_few_paths", 0):
        came = _came(troubles, end.removeprefix("summary_"), of_summaries=True)
        return f"{problems[end]} problems: {ENDS[end]}{came}; {_asked(HELP_WITH_ENDS[end], offline)}"
    fate = max(HELP_WITH_FATES, key=lambda name: replies.get(name, 0))
    if replies.get(fate, 0):
        came = f"{FATES[fate]}{_came(troubles, fate)}"
        return f"{replies[fate]} of {replies['all']} replies: {came}; {_asked(HELP_WITH_FATES[fate], offline)}"
    return "no problem has enough replies for a sample; lower --paths or raise --samples"


def _came(troubles: FilePath, fate: str, of_summaries: bool = False) -> str:
    """What the teacher said in place of the first reply of such a fate, and where the others stand."""
    finish = {"failed": FAILED, "refused": REFUSED, "empty": STOP, "no_summary": STOP}.get(fate)
    rows = (row.value for row in read_rows(troubles)) if finish and troubles.exists() else ()
    kind = (row for row in rows if row["finish"] == finish and (row["reply"] == SUMMARY) == of_summaries)
    first = next((row["error"] for row in kind), None)
    return f" (the first: {printable(str(first), 200)}; all in {troubles})" if first else ""


def _asked(help: str, offline: bool) -> str:
    """The advice to a run that asks nobody, if it is to ask."""
    return f"without --offline {help}" if offline and "asks again" in help else help


HELP_WITH_ENDS = {
    "not_selected": "choose another --select, or raise --samples",
    "too_sequential": "raise --max-seqdep",
    "summary_failed": "the same command asks again",
    "summary_refused": "--ask-refused asks again, or choose another --summary-prompt",
    "no_summary": "raise --max-tokens, or choose another --summary-prompt",
    "summary_wrong": "choose another --summary-prompt",
    "summary_too_long": "raise --summary-tokens",
}
HELP_WITH_FATES = {
    "failed": "the same command asks again",
    "refused": "--ask-refused asks again, or choose another --teacher",
    "cut": "raise --max-tokens",
    "empty": "see --reasoning, or choose another --teacher",
    "tagged": "choose another --prompts",
    "too_long": "raise --path-tokens",
    "duplicate": "raise --max-overlap or --temperature, or lower --paths",
    "unused": "lower --paths, or raise --samples",
}


def _front_matter(licence: str) -> str:
    return (
        f"---\nlicense: {json.dumps(licence)}\ntask_categories: [text-generation]\nconfigs:\n"
        "- {config_name: paths, data_files: samples.parquet, default: true}\n"
        "- {config_name: longchain, data_files: longchain.parquet}\n---\n"
    )


def _counted(counts: Mapping[str, int], meanings: Mapping[str, str]) -> list[tuple[str, str, int]]:
    return [(name, meanings.get(name, ""), number) for name, number in counts.items()]


def _section(title: str, header: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    return f"## {title}\n\n{markdown_table(header, rows)}"
