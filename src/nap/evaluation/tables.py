"""Records as a table for people, in a terminal or as Markdown, and how its numbers are written.

Does not compute anything.
"""

from collections.abc import Iterable, Sequence

from nap.common.text import markdown_table, printable
from nap.evaluation.summary import TITLES, Mean, Record

HEADER = ("model", "policy", "pace", "accuracy %", *TITLES.values(), "gain", "p (Holm)", "AUP")


def table(records: Iterable[Record]) -> list[list[str]]:
    """The texts of the table for people, row by row, under HEADER."""
    return [
        [
            r.label,
            printable(r.policy),
            r.pace,
            percent(r).replace(" %", ""),
            *[mean(getattr(r, name)) for name in TITLES],
            f"{100 * r.comparison.gain:+.1f}" if r.comparison else "-",
            f"{r.comparison.p_holm:.2g}" if r.comparison else "-",
            "-" if r.aup is None else f"{r.aup:.0f}",
        ]
        for r in records
    ]


def markdown(records: Sequence[Record]) -> str:
    """The table as Markdown."""
    return markdown_table(HEADER, table(records))


def percent(record: Record) -> str:
    """`75.0 % [51, 90]`: the accuracy and its interval."""
    low, high = record.accuracy_interval
    return f"{100 * record.accuracy:.1f} % [{100 * low:.0f}, {100 * high:.0f}]"


def mean(known: Mean) -> str:
    """`0.11 ±0.02`: the mean and half the width of its interval; the whole interval is in the files."""
    if known.value is None:
        return "-"
    if known.interval is None:
        return f"{known.value:.2f}"
    return f"{known.value:.2f} ±{(known.interval.high - known.interval.low) / 2:.2f}"
