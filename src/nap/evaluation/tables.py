"""Records as tables: for people, as Markdown, as CSV, and the summary's three files.

Does not compute anything.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path as FilePath

from nap.common.files import atomic
from nap.common.text import printable
from nap.evaluation.summary import MEANS, Row

HEADER = ("model", "policy", "pace", "accuracy %", *MEANS.values(), "gain", "p (Holm)", "AUP")


def table(records: Iterable[Row]) -> list[list[str]]:
    """The texts of the table for people, row by row, under HEADER."""
    return [
        [
            r["label"],
            printable(r["policy"]),
            r["pace"],
            percent(r).replace(" %", ""),
            *[mean(r, column) for column in MEANS],
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


def percent(record: Row) -> str:
    """`75.0 % [51, 90]`: the accuracy and its interval."""
    low, high = record["accuracy_interval"]
    return f"{100 * record['accuracy']:.1f} % [{100 * low:.0f}, {100 * high:.0f}]"


def mean(record: Row, column: str) -> str:
    """`0.11 ±0.02`: the mean and half the width of its interval; the whole interval is in the files."""
    if record[column] is None:
        return "-"
    if record[f"{column}_interval"] is None:
        return f"{record[column]:.2f}"
    low, high = record[f"{column}_interval"]
    return f"{record[column]:.2f} ±{(high - low) / 2:.2f}"
