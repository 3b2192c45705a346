"""Records as a table for people, in a terminal or as Markdown, and the format of its numbers.

Does not compute anything.
"""

from collections.abc import Iterable, Mapping, Sequence

from nap.common.stats import Interval
from nap.common.text import markdown_table, printable
from nap.evaluation.summary import TITLES, Mean, Record
from nap.evaluation.ties import bands_of, unidentified
from nap.order.ties import Band

HEADER = ("model", "policy", "pace", "accuracy %", *TITLES.values(), "gain", "p (Holm)", "AUP")
CACHES = (
    "model", "policy", "pace", "cache", "accuracy %", "changed %", "points", "p (Holm)", "TPF", "queries", "seconds",
)  # fmt: skip
AGAINST = (
    "against no cache on the same problems: tokens changed, points of accuracy with the exact McNemar test; query "
    "tokens and seconds a problem"
)
TIES = ("model", "policy", "pace", "metric", "as decoded", "with ties", "random", "less random", "less the baseline")
NOT_IDENTIFIED = "*"
ABOUT_TIES = (
    "how far each metric moves with the choice among equally sure candidates, taken from the right and from the left. "
    "random: a random order under the policy's own rules. "
    f"{NOT_IDENTIFIED} above: not identified, as ties move it by at least its difference from random"
)


def header(records: Iterable[Record]) -> tuple[str, ...]:
    """The header of the table: HEADER, with a column for the cache where there are caches."""
    return (*HEADER[:3], "cache", *HEADER[3:]) if has_caches(records) else HEADER


def has_caches(records: Iterable[Record]) -> bool:
    """Whether a cell has a cache."""
    return any(record.cache not in (None, "none") for record in records)


def table(records: Iterable[Record]) -> list[list[str]]:
    """The cells of the table, row by row, in the order of its header."""
    records = [*records]
    cached = has_caches(records)
    return [
        [
            r.label,
            printable(r.policy),
            r.pace,
            *[printable(r.cache or "-")] * cached,
            percent(r).replace(" %", ""),
            *[_marked(r, name) for name in TITLES],
            f"{100 * r.comparison.gain:+.1f}" if r.comparison else "-",
            f"{r.comparison.p_holm:.2g}" if r.comparison else "-",
            "-" if r.aup is None else f"{r.aup:.0f}",
        ]
        for r in records
    ]


def _marked(record: Record, name: str) -> str:
    """The mean, with a mark where ties leave it unidentified."""
    value, space, width = mean(getattr(record, name)).partition(" ")
    return value + NOT_IDENTIFIED * (TITLES[name] in unidentified(record)) + space + width


def has_ties(records: Iterable[Record]) -> bool:
    """Whether the traces of a cell kept their runners-up."""
    return any(map(bands_of, records))


def tie_table(records: Iterable[Record]) -> list[list[str]]:
    """The bands of each cell, row by row in the order of TIES; compared with the baseline if that has bands too."""
    records = [*records]
    bands = {record.cell: {band.name: band for band in bands_of(record)} for record in records}
    return [
        [
            r.label,
            printable(r.policy),
            r.pace,
            band.name,
            f"{band.value:.2f}",
            f"{band.right:.2f} to {band.left:.2f}",
            f"{band.random:.2f}",
            band.less(),
            band.less(other) if (other := _baseline(r, bands).get(band.name)) else "-",
        ]
        for r in records
        for band in bands[r.cell].values()
    ]


def _baseline(record: Record, bands: Mapping[str, Mapping[str, Band]]) -> Mapping[str, Band]:
    return bands.get(record.comparison.baseline, {}) if record.comparison else {}


def cache_table(records: Iterable[Record]) -> list[list[str]]:
    """What each cache costs and saves against the same cell without one, row by row in the order of CACHES."""
    return [
        [
            r.label,
            printable(r.policy),
            r.pace,
            printable(r.cache or "-"),
            percent(r).replace(" %", ""),
            "-" if r.changed.value is None else mean(Mean(*_hundredfold(r.changed))),
            f"{100 * r.without_cache.gain:+.1f}" if r.without_cache else "-",
            f"{r.without_cache.p_holm:.2g}" if r.without_cache else "-",
            mean(r.tpf),
            "-" if r.queries.value is None else f"{r.queries.value:.0f}",
            "-" if r.seconds is None else f"{r.seconds:.3g}",
        ]
        for r in records
    ]


def _hundredfold(share: Mean) -> tuple[float, Interval | None]:
    value, interval = share
    return 100 * (value or 0.0), interval and Interval(100 * interval.low, 100 * interval.high)


def markdown(records: Sequence[Record]) -> str:
    """The table as Markdown, followed by those for caches and ties where there are any."""
    text = markdown_table(header(records), table(records))
    if has_caches(records):
        text += f"\n{AGAINST}\n\n{markdown_table(CACHES, cache_table(records))}"
    if has_ties(records):
        text += f"\n{ABOUT_TIES}\n\n{markdown_table(TIES, tie_table(records))}"
    return text


def percent(record: Record) -> str:
    """`75.0 % [51, 90]`: the accuracy and its interval."""
    low, high = record.accuracy_interval
    return f"{100 * record.accuracy:.1f} % [{100 * low:.0f}, {100 * high:.0f}]"


def mean(known: Mean) -> str:
    """`0.11 ±0.02`: the mean and half the width of its interval; the files have the whole interval."""
    if known.value is None:
        return "-"
    if known.interval is None:
        return f"{known.value:.2f}"
    return f"{known.value:.2f} ±{(known.interval.high - known.interval.low) / 2:.2f}"


def who(record: Record) -> str:
    """`arith-nap under random`, and with which cache."""
    cached = "" if record.cache in (None, "none") else f" with the cache {printable(record.cache)}"
    return f"{record.label} under {printable(record.policy)}{cached}"


def at_pace(record: Record) -> str:
    """`at 4 tokens a step`, `in 64 steps` or `at its own pace`."""
    pace = record.pace
    if pace == "own":
        return "at its own pace"
    tokens, slash, _ = pace.partition("/")
    return f"at {tokens} token{'s' * (tokens != '1')} a step" if slash else f"in {pace}"
