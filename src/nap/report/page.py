"""`nap report`: one HTML file with all results of runs, in any detail, without a server or a network.

Aggregates are computed here; the page draws (assets/page/ holds plain JavaScript modules, which are joined unchanged).
Nothing in a run is trusted: its data are in a block that cannot be closed from inside, and the page shows them as text.
Its Content-Security-Policy allows only its own script and style sheet, by their digests, and no request.

The same runs give the same bytes. Does not measure: runs.py and summary.py do.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path as FilePath
from typing import Literal, TypeVar

from nap import __version__
from nap.common.files import atomic
from nap.common.folder import flat
from nap.common.records import Json, column, to_row
from nap.data.cells import with_cache
from nap.evaluation.explained import read_explained
from nap.evaluation.findings import findings
from nap.evaluation.record_files import as_row
from nap.evaluation.summary import MEANS, Record
from nap.evaluation.ties import METRICS, TIED, bands_of
from nap.evaluation.verdict import RULE as VERDICT_RULE
from nap.report.gallery import (
    MOST_STEPS,
    MOST_TEXT,
    OPENING,
    RULE,
    Vocabulary,
    choose,
    pack,
    with_gaps,
    without_probabilities,
)
from nap.report.maps import BINS, heat_maps
from nap.report.pair import PAIR_RULE
from nap.report.places import Places, names_of, told_apart
from nap.report.rerun import rerun
from nap.report.runs import Run, explain_runs, finite, read_run

KEPT = (
    "cell", "model", "label", "policy", "curve", "pace", "task", "problems", "right", "accuracy", "accuracy_interval",
    "gain", "baseline", "p_value", "p_holm", "aup", "seconds", "parallel_efficiency",
    *(f"{column(name)}{part}" for name in MEANS if name not in TIED for part in ("", "_interval")),
)  # fmt: skip
Item = TypeVar("Item")
Part = Literal["replay", "table"]
DIGITS = 5  # significant digits of a number in the page
ASSETS = files("nap") / "assets" / "page"
ENTRY, STYLES = "main.js", ("base.css", "charts.css", "replay.css", "print.css")


def write_report(
    sources: Sequence[str | FilePath], out: str | FilePath, explained: Sequence[str | FilePath] = ()
) -> list[Run]:
    """Write the page of these runs, and return them.

    explained  files of `nap trace explain --out` about traces of these runs

    Raises InputError for anything that is not a run or such a file, and where none of a file is about these traces.
    """
    runs = [read_run(source) for source in sources]
    for file in explained:
        runs = explain_runs(runs, [*read_explained(file)], str(file))
    with atomic(out) as file:
        file.write(page(payload(runs)))
    return runs


# The data


def payload(runs: Sequence[Run], *, only: Part | None = None) -> Json:
    """All that the page shows, as JSON; with `only` just the traces side by side, or the verdict and the table."""
    vocabulary, names = Vocabulary(), names_of(runs)
    runs = told_apart(runs, names)
    choices = _in_turn([choose(run.traces, number) for number, run in enumerate(runs)])
    traces = pack(choices, vocabulary)
    places = Places(runs)
    return finite(
        {
            "nap": __version__,
            "runs": [places.everywhere(_run(run, named, places)) for run, named in zip(runs, names, strict=True)],
            "notes": _mixed(runs) + _notes(runs, len(traces), vocabulary.cut),
            "traces": [_trace(trace, names[choices[i].run], places) for i, trace in enumerate(traces)],
            "vocabulary": vocabulary.texts,
            "rules": {"verdict": VERDICT_RULE, "pair": PAIR_RULE, "gallery": RULE},
            "opening": OPENING,
            "kept": sum(len(run.traces) for run in runs),
            "bins": BINS,
            "only": only,
        }
    )


def _in_turn(lists: Sequence[list[Item]]) -> list[Item]:
    """One trace of each run in turn, so that a limit takes traces from all runs."""
    longest = max(map(len, lists), default=0)
    return [items[i] for i in range(longest) for items in lists if i < len(items)]


def _trace(packed: dict[str, Json], names: Mapping[str, str], places: Places) -> dict[str, Json]:
    model, policy = str(packed["model"]), str(packed["policy"])
    return packed | {"label": names[model], "model": places.text(model), "policy": places.text(policy)}


def _run(run: Run, names: Mapping[str, str], places: Places) -> dict[str, Json]:
    setting = {name: places.everywhere(value) for name, value in run.setting.items()}
    return {
        "name": run.name,
        "task": run.task,
        "command": rerun(setting, places.text(run.name), run.records),
        "setting": _lines(run.setting),
        "notes": run.notes,
        "verdict": asdict(run.verdict) if run.verdict else None,
        "findings": findings(run.records) if run.records else [],
        "records": [_record(record) for record in run.records],
        "depths": [{name: _short(value) for name, value in to_row(depth).items()} for depth in run.depths],
        "heat": [to_row(one) | {"label": names[one.model]} for one in heat_maps(run.traces)],
    }


def _record(record: Record) -> dict[str, Json]:
    found = as_row(record) | {"policy": with_cache(record.policy, record.cache), "curve": record.series}
    return {name: _short(found[name]) for name in KEPT} | {"ties": _ties(record)}


def _ties(record: Record) -> dict[str, Json]:
    """The band of each metric that has one: with ties right and left, of a random order, and whether it differs."""
    titles, bands = {title: name for name, title in METRICS.items()}, bands_of(record)
    return {
        column(titles[band.name]): [*map(_short, (band.right, band.left, band.random)), band.identified()]
        for band in bands
    }


def _short(value: Json) -> Json:
    if isinstance(value, list | tuple):
        return [_short(part) for part in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _lines(setting: Mapping[str, Json]) -> list[tuple[str, str]]:
    """Nested settings as (dotted name, text) lines."""
    return [(name, x if isinstance(x, str) else json.dumps(x)) for name, x in flat(setting).items()]


def _mixed(runs: Sequence[Run]) -> list[str]:
    """A note where the runs are of different versions, or not of this one."""
    versions = sorted({str(run.setting["nap"]) for run in runs if "nap" in run.setting})
    if len(versions) > 1:
        return [f"these runs were made by different versions of NAP ({', '.join(versions)}); compare them with care"]
    if versions and versions[0] != __version__:
        return [f"these runs were made by NAP {versions[0]}, this page by {__version__}"]
    return []


def _notes(runs: Sequence[Run], shown: int, cut: int) -> list[str]:
    notes, kept = [], [one for run in runs for one in run.traces]
    if shown < len(kept):
        notes.append(f"{shown} of the {len(kept)} traces that the runs kept are in this page, chosen by the rule below")
    if unsure := without_probabilities(kept):
        notes.append(f"{unsure} traces hold no probabilities: their replay shows what was written, not how surely")
    if long := with_gaps(kept):
        notes.append(f"{long} traces have over {MOST_STEPS:,} steps: only those in which something changed are shown")
    if cut:
        notes.append(f"{cut} tokens are longer than {MOST_TEXT} characters and are cut")
    return notes


# The page


def page(data: Json) -> str:
    """The HTML of a payload."""
    style = "".join((ASSETS / name).read_text(encoding="utf-8") for name in STYLES)
    script = joined(ENTRY)
    policy = (
        f"default-src 'none'; script-src {_digest(script)}; style-src {_digest(style)}; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {"policy": policy, "style": style, "data": _embedded(data), "script": script}
    skeleton = (ASSETS / "index.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], skeleton)


def _embedded(data: Json) -> str:
    """JSON that is safe in a script element: nothing in it can open or close a tag."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def joined(entry: str) -> str:
    """A module and all its imports as one script: each after those that it needs, without import and export.

    A page that is opened from disk cannot load modules. Their top-level names are all different.
    """
    done: dict[str, str] = {}

    def visit(name: str) -> None:
        if name in done:
            return
        source = (ASSETS / name).read_text(encoding="utf-8")
        done[name] = ""  # Marked before the visit: modules that import each other are visited once.
        for other in re.findall(r'^import .*? from "\./([\w-]+\.js)";$', source, re.M | re.S):
            visit(other)
        done[name] = done.pop(name) + _plain(source)

    visit(entry)
    return "".join(f"// {name}\n{text}\n" for name, text in done.items())


def _plain(source: str) -> str:
    source = re.sub(r"^import [^;]*;\n", "", source, flags=re.M)
    return re.sub(r"^export ", "", source, flags=re.M)
