"""From a sweep's rows to a table with intervals, and to the sentences that the numbers carry.

Everything here is computed from rows (evaluate.py): means over problems with bootstrap intervals, accuracy with
Wilson's, each cell against a baseline by exact McNemar with Holm's correction over all comparisons, AUP a policy.

Does not decode anything.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

from nap.common.files import InputError, atomic
from nap.common.stats import bootstrap_mean, holm, mcnemar, wilson_interval
from nap.common.text import printable
from nap.order.metrics import aup

Row = Mapping[str, Any]

# The columns of a row that people compare first, and their names in a table.
MEANS = {
    "tpf": "TPF",
    "global_arness@1": "ARness",
    "path_global_arness@1": "ARness/path",
    "afp": "AFP",
    "tau_b": "tau-b",
}
# Those that the files have beside them.
MORE = (
    "equations_right", "forwards", "local_arness@1", "path_local_arness@1", "path_tau_b", "tied_share", "n_tokens",
    "global_arness@1_random", "path_global_arness@1_random",
    "global_arness@1_optimistic", "global_arness@1_pessimistic",
)  # fmt: skip
HEADER = ("model", "policy", "pace", "accuracy %", *MEANS.values(), "gain", "p (Holm)", "AUP")


def summarise(rows: Sequence[Row], seconds: Sequence[Row] = (), baseline: str | None = None) -> list[dict[str, Any]]:
    """One record a cell, in the order of the rows: accuracy, every mean with its interval, tests, AUP.

    `baseline` is `MODEL | POLICY` (each cell is compared at its own pace, where the baseline ran at it) or a whole
    cell name; by default the first model under `low_confidence`, if it ran. Raises InputError for one that did not, for
    no rows, and for a comparison over other problems than the baseline's.
    """
    if not rows:
        raise InputError("there are no rows to summarise")
    cells: dict[str, list[Row]] = {}
    for row in rows:
        cells.setdefault(row["cell"], []).append(row)
    records = [_record(name, members) for name, members in cells.items()]
    _add_labels(records)
    _add_seconds(records, seconds)
    _add_tests(records, cells, find_baseline(list(cells), records[0]["model"], baseline))
    _add_aup(records)
    return records


def _record(name: str, rows: Sequence[Row]) -> dict[str, Any]:
    right = sum(row["correct"] for row in rows)
    record: dict[str, Any] = {key: rows[0][key] for key in ("model", "policy", "pace", "task")}
    record |= {"cell": name, "problems": len(rows), "right": right, "accuracy": right / len(rows)}
    record["accuracy_interval"] = list(wilson_interval(right, len(rows)))
    for column in (*MEANS, *MORE):
        values = _known(rows, column)
        record[column] = _average(values)
        record[f"{column}_interval"] = list(bootstrap_mean(values)) if len(values) > 1 else None
    for answer, wanted in (("right", True), ("wrong", False)):
        for column in ("global_arness@1", "path_global_arness@1", "afp", "tau_b"):
            record[f"{column}_{answer}"] = _average(_known([row for row in rows if row["correct"] is wanted], column))
    record["parallel_efficiency"] = _average(
        [row["critical_path"] / row["forwards"] for row in rows if row["critical_path"] and row["forwards"]]
    )
    return record


def _add_labels(records: list[dict[str, Any]]) -> None:
    """The short names of the models, or their whole ones where two would look the same."""
    models = {record["model"] for record in records}
    unique = len({label(model) for model in models}) == len(models)
    for record in records:
        record["label"] = label(record["model"]) if unique else printable(record["model"])


def _known(rows: Sequence[Row], column: str) -> list[float]:
    # Rows of a run that an older version began may lack a column.
    return [row[column] for row in rows if row.get(column) is not None]


def _average(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _add_seconds(records: list[dict[str, Any]], seconds: Sequence[Row]) -> None:
    total: dict[str, float] = {}
    for row in seconds:
        total[row["cell"]] = total.get(row["cell"], 0.0) + row["seconds"]
    for record in records:
        record["seconds"] = total[record["cell"]] / record["problems"] if record["cell"] in total else None


def find_baseline(cells: Sequence[str], first_model: str, wanted: str | None) -> str | None:
    """The baseline of a sweep of these cells, see `summarise`. Raises InputError if it is wanted and not there."""
    chosen = wanted or f"{first_model} | low_confidence"
    if any(chosen in (name, name.rpartition(" | ")[0]) for name in cells):
        return chosen
    if wanted:
        raise InputError(f"no cell {wanted!r} to compare with; there are: {'; '.join(cells)}")
    return None


def _add_tests(records: list[dict[str, Any]], cells: Mapping[str, Sequence[Row]], baseline: str | None) -> None:
    compared = []
    for record in records:
        record |= {"baseline": None, "gain": None, "p_value": None, "p_holm": None}
        other = baseline if baseline and baseline in cells else f"{baseline} | {record['pace']}"
        if other not in cells or other == record["cell"]:
            continue
        theirs = {row["problem_id"]: row["correct"] for row in cells[other]}
        ours = {row["problem_id"]: row["correct"] for row in cells[record["cell"]]}
        if ours.keys() != theirs.keys():
            raise InputError(f"{record['cell']} and {other} were not run on the same problems; they cannot be compared")
        test = mcnemar([theirs[name] for name in ours], [ours[name] for name in ours])
        gain = (test.only_second - test.only_first) / len(ours)
        record |= {"baseline": other, "gain": gain, "p_value": test.p_value}
        compared.append(record)
    for record, p in zip(compared, holm([record["p_value"] for record in compared]), strict=True):
        record["p_holm"] = p


def _add_aup(records: list[dict[str, Any]]) -> None:
    best = max(100 * record["accuracy"] for record in records)
    for record in records:
        same = [r for r in records if (r["model"], r["policy"]) == (record["model"], record["policy"])]
        points = [(r["tpf"], 100 * r["accuracy"]) for r in same if r["tpf"]]
        # Up to 1 % nobody solved anything, and the weights of AUP mean nothing.
        record["aup"] = aup(points, best) if points and best > 1 else None


def findings(records: Sequence[Row]) -> list[str]:
    """Up to three sentences that the numbers support: the largest difference, its order, the best accuracy."""
    if not any(record["right"] for record in records):
        return ["No setting solves a single problem, so accuracies say nothing here; only the order metrics do."]
    compared = [record for record in records if record["gain"] is not None]
    # Before all others parallel-forced decoding, against another model: data and decoder change together.
    for wanted in (
        [r for r in compared if _forced(r) and not r["baseline"].startswith(f"{r['model']} | ")],
        [r for r in compared if _forced(r)],
        compared,
    ):
        if wanted:
            sentences = _difference(max(wanted, key=lambda r: abs(r["gain"])), len(wanted), records)
            break
    else:
        sentences = []
    return sentences + _best(records) * (len(records) > 1)


def _forced(record: Row) -> bool:
    return record["policy"].startswith("parallel_forced")


def _difference(one: Row, of: int, records: Sequence[Row]) -> list[str]:
    """What `one`, chosen from so many for its gain, has over its baseline, and the order of both."""
    other = next(r for r in records if r["cell"] == one["baseline"])
    tests = sum(r["gain"] is not None for r in records)
    p = f"exact McNemar p = {one['p_value']:.2g}"
    if tests > 1:
        p += f", {one['p_holm']:.2g} after Holm's correction for {tests} comparisons"
    verdict = "is significant" if one["p_holm"] < 0.05 else "is not significant"
    points = f"{100 * one['gain']:+.1f} points, which {verdict} ({p})" if one["gain"] else f"no difference ({p})"
    chosen = f" (the largest of {of} differences)" if of > 1 and one["gain"] else ""
    random = _mean(one, "global_arness@1_random"), _mean(other, "global_arness@1_random")
    return [
        f"{_at(one).capitalize()}, {_who(one)} solves {_percent(one)} and {_who(other)} {_percent(other)} of the same "
        f"{one['problems']} problems: {points}{chosen}.",
        f"Global-ARness@1 there is {_mean(one, 'global_arness@1')} against {_mean(other, 'global_arness@1')} (a random "
        f"order: {random[0]} and {random[1]}); within a path {_mean(one, 'path_global_arness@1')} against "
        f"{_mean(other, 'path_global_arness@1')} (random: {_mean(one, 'path_global_arness@1_random')} and "
        f"{_mean(other, 'path_global_arness@1_random')}).",
    ]


def _best(records: Sequence[Row]) -> list[str]:
    best = max(records, key=lambda r: r["accuracy"])
    equal = sum(r["right"] == best["right"] for r in records) - 1
    tied = f" (and {equal} other{'s' * (equal > 1)})" if equal else ""
    text = f"The best accuracy is {_percent(best)}, by {_who(best)} {_at(best)}{tied}"
    near = [r for r in records if r["accuracy"] >= 0.95 * best["accuracy"] and r["tpf"] is not None]
    if near:
        fastest = max(near, key=lambda r: r["tpf"])
        text += f"; of all with at least 95 % of it, {_who(fastest)} {_at(fastest)} commits the most tokens a forward"
        text += f": {fastest['tpf']:.1f}"
    return [text + "."]


def label(model: str) -> str:
    """A model's name for people: the last part of its folder or hub name."""
    return printable(FilePath(model).name or model)


def _who(record: Row) -> str:
    return f"{record['label']} under {printable(record['policy'])}"


def _at(record: Row) -> str:
    pace = record["pace"]
    if pace == "own":
        return "at its own pace"
    tokens, slash, _ = pace.partition("/")
    return f"at {tokens} token{'s' * (tokens != '1')} a step" if slash else f"in {pace}"


def _percent(record: Row) -> str:
    low, high = record["accuracy_interval"]
    return f"{100 * record['accuracy']:.1f} % [{100 * low:.0f}, {100 * high:.0f}]"


def _mean(record: Row, column: str) -> str:
    """`0.11 ±0.02`: the mean and half the width of its interval; the whole interval is in the files."""
    if record[column] is None:
        return "-"
    if record[f"{column}_interval"] is None:
        return f"{record[column]:.2f}"
    low, high = record[f"{column}_interval"]
    return f"{record[column]:.2f} ±{(high - low) / 2:.2f}"


def table(records: Iterable[Row]) -> list[list[str]]:
    """The texts of the table for people, row by row, under HEADER."""
    return [
        [
            r["label"],
            printable(r["policy"]),
            r["pace"],
            _percent(r).replace(" %", ""),
            *[_mean(r, column) for column in MEANS],
            "-" if r["gain"] is None else f"{100 * r['gain']:+.1f}",
            "-" if r["p_holm"] is None else f"{r['p_holm']:.2g}",
            "-" if r["aup"] is None else f"{r['aup']:.0f}",
        ]
        for r in records
    ]


def markdown(records: Sequence[Row]) -> str:
    """The table as Markdown."""
    lines = [HEADER, ["---"] * len(HEADER), *table(records)]
    return "".join(f"| {' | '.join(map(_escaped, line))} |\n" for line in lines)


def _escaped(cell: str) -> str:
    return re.sub(r"([\\|<`])", r"\\\1", cell)


def as_csv(records: Sequence[Row]) -> str:
    """Every number of every record; intervals as two columns."""
    flat = []
    for record in records:
        row = {}
        for key, value in record.items():
            if key.endswith("_interval"):
                low, high = value or (None, None)
                row |= {f"{key.removesuffix('_interval')}_low": low, f"{key.removesuffix('_interval')}_high": high}
            else:
                row[key] = value
        flat.append(row)
    out = io.StringIO()
    writer = csv.DictWriter(out, flat[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return out.getvalue()


def write_summary(records: Sequence[Row], folder: str | FilePath) -> None:
    """summary.json, summary.csv and summary.md in the run's folder."""
    texts = {"json": json.dumps(list(records), indent=1) + "\n", "csv": as_csv(records), "md": markdown(records)}
    for suffix, text in texts.items():
        with atomic(FilePath(folder) / f"summary.{suffix}") as file:
            file.write(text)
