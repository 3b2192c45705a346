"""From a sweep's rows to one record a cell.

Means over problems have bootstrap intervals, accuracy has Wilson's; each cell is compared with a baseline by exact
McNemar with Holm's correction over all comparisons; AUP is a policy's.

Does not decode anything, and does not write or say it (tables.py, findings.py).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

from nap.common.files import InputError
from nap.common.stats import bootstrap_mean, holm, mcnemar, wilson_interval
from nap.common.text import printable
from nap.order.rates import aup

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


def label(model: str) -> str:
    """A model's name for people: the last part of its folder or hub name."""
    return printable(FilePath(model).name or model)
