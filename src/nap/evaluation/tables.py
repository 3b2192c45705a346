"""Records as a table for people, in a terminal or as Markdown, and how its numbers are written.

Does not compute anything.
"""

from collections.abc import Iterable, Sequence

from nap.common.stats import Interval
from nap.common.text import markdown_table, printable
from nap.evaluation.summary import TITLES, Mean, Record

HEADER = ("model", "policy", "pace", "accuracy %", *TITLES.values(), "gain", "p (Holm)", "AUP")
CACHES = (
    "model", "policy", "pace", "cache", "accuracy %", "changed %", "points", "p (Holm)", "TPF", "queries", "seconds",
)  # fmt: skip
AGAINST = (
    "against no cache on the same problems: tokens changed, points of accuracy with the exact McNemar test; query "
    "tokens and seconds a problem"
)


def header(records: Iterable[Record]) -> tuple[str, ...]:
    """The head of the table for people: HEADER, and where there are caches which."""
    return (*HEADER[:3], "cache", *HEADER[3:]) if has_caches(records) else HEADER


def has_caches(records: Iterable[Record]) -> bool:
    """Whether a cell keeps anything of a forward."""
    return any(record.cache not in (None, "none") for record in records)


def table(records: Iterable[Record]) -> list[list[str]]:
    """The texts of the table for people, row by row, under its header."""
    records = [*records]
    cached = has_caches(records)
    return [
        [
            r.label,
            printable(r.policy),
            r.pace,
            *[printable(r.cache or "-")] * cached,
            percent(r).replace(" %", ""),
            *[mean(getattr(r, name)) for name in TITLES],
            f"{100 * r.comparison.gain:+.1f}" if r.comparison else "-",
            f"{r.comparison.p_holm:.2g}" if r.comparison else "-",
            "-" if r.aup is None else f"{r.aup:.0f}",
        ]
        for r in records
    ]


def cache_table(records: Iterable[Record]) -> list[list[str]]:
    """What each cache costs and saves, row by row under CACHES: against the same cell without one."""
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
    """The table as Markdown, and behind it where there are caches what they cost and save."""
    whole = markdown_table(header(records), table(records))
    return f"{whole}\n{AGAINST}\n\n{markdown_table(CACHES, cache_table(records))}" if has_caches(records) else whole


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
