"""What a curated data set is made of: counted sample by sample, written as card.json and as its README.md.

    tally = Tally()
    for outcome in outcomes: tally.add(outcome)
    markdown(tally.card(setting, hashes))

A card holds nothing that another run of the same setting would not: no times, no addresses, no dates. Does not curate.
"""

import json
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nap.common.stats import wilson_interval
from nap.data.problems import Problem
from nap.data.samples import Path

# What becomes of a reply, in the order in which it is looked at.
FATES = {
    "failed": "the teacher never replied",
    "refused": "the teacher refused the prompt",
    "cut": "the reply did not come to its end",
    "empty": "nothing in it but white space",
    "tagged": "holds a tag of the canvas",
    "too_long": "longer than its slot",
    "duplicate": "too much like another one of its problem",
    "unused": "more than were wanted, or too few for a sample",
    "used": "a path of a sample",
}
# What becomes of a problem.
ENDS = {
    "too_few_paths": "fewer usable paths than a sample has",
    "not_selected": "enough paths, but not of the wanted mix of right and wrong",
    "too_sequential": "more sequential dependence than allowed",
    "summary_failed": "the teacher's summary never came; the same command asks again",
    "no_summary": "the teacher wrote no summary",
    "summary_wrong": "the summary does not give the right answer",
    "summary_too_long": "the summary is longer than its slot",
    "sample": "became a sample",
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one problem.

    end      one of ENDS
    fates    how many of its replies met each of FATES
    checked  (right, checked) of its usable replies, duplicates included
    models   how many replies came from each model, as the servers name them
    usage    (prompt tokens, completion tokens) as the servers count them
    paths    of its sample, with `summary`; and those that it would have had
    tokens   of each path
    overlap  mean share of word 4-grams that two of the paths share
    """

    problem: Problem
    end: str
    fates: Mapping[str, int]
    checked: tuple[int, int] = (0, 0)
    models: Mapping[str, int] = field(default_factory=dict)
    usage: tuple[int, int] = (0, 0)
    paths: tuple[Path, ...] = ()
    summary: str = ""
    tokens: tuple[int, ...] = ()
    overlap: float = 0.0

    def dropped(self, end: str) -> "Outcome":
        """The outcome where its paths make no sample after all."""
        fates = {**self.fates, "used": 0, "unused": self.fates["unused"] + self.fates["used"]}
        return replace(self, end=end, fates=fates)


class Tally:
    """Counts over outcomes; holds a few bytes for each path, and no text."""

    def __init__(self) -> None:
        self.ends, self.fates, self.models, self.mixes = Counter[str](), Counter[str](), Counter[str](), Counter[int]()
        self.right = self.checked = self.prompt_tokens = self.completion_tokens = 0
        self.tokens, self.overlaps = array("l"), array("d")

    def add(self, outcome: Outcome) -> None:
        """Count one problem."""
        self.ends[outcome.end] += 1
        self.fates.update(outcome.fates)
        self.models.update(outcome.models)
        self.right += outcome.checked[0]
        self.checked += outcome.checked[1]
        self.prompt_tokens += outcome.usage[0]
        self.completion_tokens += outcome.usage[1]
        if outcome.end == "sample":
            self.mixes[sum(bool(path.correct) for path in outcome.paths)] += 1
            self.tokens.extend(outcome.tokens)
            self.overlaps.append(outcome.overlap)

    def card(self, setting: Mapping[str, Any], files: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Everything that the card says, as one JSON object. `files` has the rows and the digest of each."""
        used = sum(self.mixes.values())
        right_used = sum(right * samples for right, samples in self.mixes.items())
        return {
            "setting": setting,
            "files": files,
            "problems": {"all": self.ends.total()} | {name: self.ends[name] for name in ENDS},
            "replies": {"all": self.fates.total()} | {name: self.fates[name] for name in FATES},
            "accuracy": {"usable": _share(self.right, self.checked), "used": _share(right_used, len(self.tokens))},
            "samples_by_right_paths": {str(right): self.mixes[right] for right in sorted(self.mixes)},
            "path_tokens": _quantiles(self.tokens),
            "overlap": {"mean": sum(self.overlaps) / used if used else None} | _quantiles(self.overlaps),
            "models": dict(sorted(self.models.items())),
            "usage": {
                "prompt_tokens": self.prompt_tokens,
                "completion_tokens": self.completion_tokens,
                "cost": self._cost(setting.get("prices", (0.0, 0.0))),
            },
        }

    def _cost(self, prices: Sequence[float]) -> float:
        return round((self.prompt_tokens * prices[0] + self.completion_tokens * prices[1]) / 1e6, 6)


def _share(right: int, all_of: int) -> dict[str, Any]:
    low, high = wilson_interval(right, all_of)
    return {"right": right, "of": all_of, "share": right / all_of if all_of else None, "low": low, "high": high}


def _quantiles(values: Sequence[float]) -> dict[str, Any]:
    """The values that a tenth, half and nine tenths are below, and the ends."""
    ordered = sorted(values)
    places = {"least": 0.0, "p10": 0.1, "median": 0.5, "p90": 0.9, "most": 1.0}
    return {name: ordered[round(q * (len(ordered) - 1))] if ordered else None for name, q in places.items()}


def markdown(card: Mapping[str, Any]) -> str:
    """The card as a README.md with the front matter that the Hugging Face hub reads."""
    setting, licences = card["setting"], card["setting"]["licences"]
    parts = [
        _front_matter(licences["data"]),
        f"# {setting['task']}: {setting['paths']} independent paths a problem\n",
        "Made by `nap curate` (NAP, arXiv 2602.23225). `samples.parquet` has the paths of each problem side by side, "
        "`longchain.parquet` the same paths written one after the other.\n",
        _table("Files", ("file", "samples", "sha256"), [(n, f["rows"], f["sha256"]) for n, f in card["files"].items()]),
        _table("Problems", ("what became of them", "", "problems"), _counted(card["problems"], ENDS)),
        _table("Replies", ("what became of them", "", "replies"), _counted(card["replies"], FATES)),
        _accuracy(card),
        _table("Lengths and distinctness", ("", "least", "p10", "median", "p90", "most"), _spreads(card)),
        _table("Models", ("name, as the server gives it", "replies"), card["models"].items()),
        _table("Tokens", ("prompt", "completion", "cost"), [tuple(card["usage"].values())]),
        _table("Licences", ("of", "licence"), licences.items()),
        f"## Setting\n\n{_fenced(json.dumps(_without_prompts(setting), indent=1), 'json')}",
        *(f"## Prompt: {name}\n\n{_fenced(text)}" for name, text in setting["prompts"].items()),
    ]
    return "\n".join(parts)


def _front_matter(licence: str) -> str:
    return (
        f"---\nlicense: {json.dumps(licence)}\ntask_categories: [text-generation]\nconfigs:\n"
        "- {config_name: paths, data_files: samples.parquet, default: true}\n"
        "- {config_name: longchain, data_files: longchain.parquet}\n---\n"
    )


def _counted(counts: Mapping[str, int], meanings: Mapping[str, str]) -> list[tuple[Any, ...]]:
    return [(name, meanings.get(name, ""), number) for name, number in counts.items()]


def _accuracy(card: Mapping[str, Any]) -> str:
    rows = [
        (f"of the {name} paths", f"{a['right']} of {a['of']}", _percent(a["share"]), _percent(a["low"], a["high"]))
        for name, a in card["accuracy"].items()
    ]
    table = _table("Accuracy of the paths", ("", "right", "%", "95 % (Wilson, paths as independent)"), rows)
    mixes = _table("", ("right paths in a sample", "samples"), card["samples_by_right_paths"].items())
    return f"{table}\n{mixes}"


def _percent(*shares: float | None) -> str:
    return " to ".join("-" if share is None else f"{100 * share:.1f}" for share in shares)


def _spreads(card: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    counted = card["setting"]["tokens_counted_by"]
    rows = {f"tokens of a path ({counted})": card["path_tokens"], "word 4-grams that two paths share": card["overlap"]}
    places = ("least", "p10", "median", "p90", "most")
    return [(name, *(_short(values[place]) for place in places)) for name, values in rows.items()]


def _short(value: Any) -> str:
    return "-" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


def _without_prompts(setting: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in setting.items() if name not in ("prompts", "licences")}


def _fenced(text: str, language: str = "") -> str:
    """A code block that the text cannot close."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text}\n{fence}\n"


def _table(title: str, header: Sequence[str], rows: Any) -> str:
    lines = [f"| {' | '.join(map(_cell, row))} |" for row in (header, ["---"] * len(header), *rows)]
    return "\n".join([*([f"## {title}", ""] if title else []), *lines, ""])


def _cell(value: Any) -> str:
    return " ".join(str(value).replace("|", "\\|").split())
