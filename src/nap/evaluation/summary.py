"""Turns the rows of a sweep into one record a cell; tables, files and the page follow from its fields.

Means over problems have bootstrap intervals, and accuracy has Wilson's. Each cell is compared with a baseline by an
exact McNemar test with Holm's correction over all comparisons. AUP belongs to a curve: a policy over all its paces, or
one at its own pace over all values of one setting. A cell with a cache is also compared with the same cell without
one; these comparisons are corrected separately.

Does not decode, and does not write tables or sentences (tables.py, findings.py).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import NamedTuple

from nap.common.files import InputError
from nap.common.stats import Interval, bootstrap_mean, bootstrap_means, holm, mcnemar, wilson_interval
from nap.common.text import last_parts, printable
from nap.data.cells import Cell, curves_of, with_cache
from nap.evaluation.rows import Row, Seconds
from nap.order.rates import aup


class Mean(NamedTuple):
    """A mean over the problems that have a value, with its interval; None where too few have one."""

    value: float | None
    interval: Interval | None


UNKNOWN = Mean(None, None)


class Split(NamedTuple):
    """The means of these columns over a part of the problems."""

    global_arness_at_1: float | None
    path_global_arness_at_1: float | None
    afp: float | None
    tau_b: float | None


class Comparison(NamedTuple):
    """A cell against another: difference of accuracies, exact McNemar's p-value, and that after Holm's correction."""

    baseline: str
    gain: float
    p_value: float
    p_holm: float


@dataclass(frozen=True, kw_only=True)
class Record:
    """One cell of a sweep.

    right, accuracy       problems solved, and their share with Wilson's interval
    tpf ...               the means of the columns of `Row` with the same names
    when_right, ..._wrong means over the problems with a right and with a wrong answer
    parallel_efficiency   critical path over forwards, mean over problems
    title of a field      its column in the printed table
    label                 the model's short name (`shown_names`)
    seconds               wall time of a problem
    comparison            with the baseline, unless the cell is the baseline itself
    aup                   of the model and its curve
    curve                 what the cell is a point of, see `curves_of`; None where an earlier version did not say it
    cache                 name of the cache of keys and values; None where an earlier version did not name it
    changed               share of the tokens that differ from those without a cache, averaged over problems; padding
                          and end of text count where only one of the two has them
    without_cache         comparison with the same cell without a cache, if that ran ties_within ..._blind the order
                          metrics with ties taken in other ways (ties.py)
    """

    model: str
    policy: str
    pace: str
    task: str
    cell: str
    problems: int
    right: int
    accuracy: float
    accuracy_interval: Interval
    tpf: Mean = field(metadata={"title": "TPF"})
    global_arness_at_1: Mean = field(metadata={"title": "ARness"})
    path_global_arness_at_1: Mean = field(metadata={"title": "ARness/path"})
    afp: Mean = field(metadata={"title": "AFP"})
    tau_b: Mean = field(metadata={"title": "tau-b"})
    equations_right: Mean
    forwards: Mean
    local_arness_at_1: Mean
    path_local_arness_at_1: Mean
    path_tau_b: Mean
    tied_share: Mean
    n_tokens: Mean
    global_arness_at_1_random: Mean
    path_global_arness_at_1_random: Mean
    global_arness_at_1_optimistic: Mean
    global_arness_at_1_pessimistic: Mean
    queries: Mean
    guide_calls: Mean
    when_right: Split
    when_wrong: Split
    parallel_efficiency: float | None
    label: str
    seconds: float | None
    comparison: Comparison | None
    aup: float | None
    cache: str | None = None
    curve: str | None = None
    changed: Mean = UNKNOWN
    without_cache: Comparison | None = None
    ties_within: Mean = UNKNOWN
    tau_b_leftmost: Mean = UNKNOWN
    tau_b_rightmost: Mean = UNKNOWN
    tau_b_blind: Mean = UNKNOWN
    global_arness_at_1_leftmost: Mean = UNKNOWN
    global_arness_at_1_rightmost: Mean = UNKNOWN
    global_arness_at_1_blind: Mean = UNKNOWN
    path_global_arness_at_1_leftmost: Mean = UNKNOWN
    path_global_arness_at_1_rightmost: Mean = UNKNOWN
    path_global_arness_at_1_blind: Mean = UNKNOWN

    @property
    def solved(self) -> Mean:
        """The accuracy as a mean."""
        return Mean(self.accuracy, self.accuracy_interval)

    @property
    def series(self) -> str:
        """The curve, and with which cache."""
        return with_cache(self.curve or self.policy, self.cache)


# The fields of Record that are means of a column of Row of the same name.
MEANS = tuple(f.name for f in fields(Record) if f.type in (Mean, "Mean") and f.name in {f.name for f in fields(Row)})
TITLES = {f.name: str(f.metadata["title"]) for f in fields(Record) if "title" in f.metadata}


def summarise(
    rows: Sequence[Row], seconds: Sequence[Seconds] = (), baseline: str | None = None, *, compared: bool = True
) -> list[Record]:
    """One record a cell, in the order of the rows.

    `baseline` is `MODEL | POLICY`, with which each cell is compared at its own pace and cache if the baseline ran at
    them, or the name of a cell. By default it is the first model under `low_confidence`, if that ran. Raises InputError
    for a baseline that did not run, for no rows, and for cells that ran on other problems than the baseline. With
    `compared=False` the cells need not be of the same problems, and nothing that takes several of them is computed.
    """
    if not rows:
        raise InputError("there are no rows to summarise")
    cells = grouped(rows)
    means = _means(cells)
    labels, spent = shown_names(row.model for row in rows), _seconds(seconds)
    settings = {name: _setting(members[0]) for name, members in cells.items()}
    curves = curves_of(settings.values())
    tests, plain, against_plain, areas = dict[str, Comparison](), dict[str, str](), dict[str, Comparison](), {}
    if compared:
        tests = _tests(cells, find_baseline(settings.values(), rows[0].model, baseline))
        plain, against_plain = _without_cache(cells, settings)
        speeds = {name: found["tpf"].value for name, found in means.items()}
        areas = _areas(cells, speeds, {name: (*own[::3], curves[own]) for name, own in settings.items()})
    records = []
    for name, members in cells.items():
        first, right = members[0], sum(row.correct for row in members)
        records.append(
            Record(
                model=first.model, policy=first.policy, pace=first.pace, task=first.task, cell=name,
                problems=len(members), right=right, accuracy=right / len(members),
                accuracy_interval=wilson_interval(right, len(members)), **means[name],
                when_right=_split(members, True), when_wrong=_split(members, False),
                parallel_efficiency=_efficiency(members), label=labels[first.model],
                seconds=spent.get(name), comparison=tests.get(name),
                aup=areas.get(name), cache=first.cache, curve=curves[settings[name]],
                changed=_changed(members, cells.get(plain.get(name, ""), ())), without_cache=against_plain.get(name),
            )
        )  # fmt: skip
    return records


def grouped(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each cell."""
    cells: dict[str, list[Row]] = {}
    for row in rows:
        cells.setdefault(row.cell, []).append(row)
    return cells


def _means(cells: Mapping[str, Sequence[Row]]) -> dict[str, dict[str, Mean]]:
    """The mean of every column for each cell, with its interval."""
    values = {(name, column): _known(rows, column) for name, rows in cells.items() for column in MEANS}
    spread = {key: column for key, column in values.items() if len(column) > 1}
    intervals = dict(zip(spread, bootstrap_means([*spread.values()]), strict=True))
    means = {key: Mean(_average(column), intervals.get(key)) for key, column in values.items()}
    return {name: {column: means[name, column] for column in MEANS} for name in cells}


def _split(rows: Sequence[Row], correct: bool) -> Split:
    part = [row for row in rows if row.correct is correct]
    return Split(*(_average(_known(part, name)) for name in Split._fields))


def _efficiency(rows: Sequence[Row]) -> float | None:
    return _average([row.critical_path / row.forwards for row in rows if row.critical_path and row.forwards])


def shown_names(models: Iterable[str]) -> dict[str, str]:
    """What people read for each model: the last part of its folder or hub name, and of two that end alike, as folders
    of a training called `final` do, as much more as tells them apart."""
    named = {model: printable(short) for model, short in last_parts(dict.fromkeys(models)).items()}
    seen = Counter[str]()
    for model, short in named.items():
        # Names may be cut, and then be equal.
        seen[short] += 1
        named[model] = short if seen[short] == 1 else f"{short} ({seen[short]})"
    return named


def _known(rows: Sequence[Row], column: str) -> list[float]:
    return [value for value in map(attrgetter(column), rows) if value is not None]


def _average(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _seconds(seconds: Sequence[Seconds]) -> dict[str, float]:
    """By cell the mean over the problems that were timed."""
    known: dict[str, list[float]] = {}
    for one in seconds:
        known.setdefault(one.cell, []).append(one.seconds)
    return {cell: sum(spent) / len(spent) for cell, spent in known.items()}


def find_baseline(cells: Iterable[Cell], first_model: str, wanted: str | None) -> str | None:
    """The baseline among these cells, see `summarise`. Raises InputError if a wanted one is missing."""
    chosen, cells = wanted or f"{first_model} | low_confidence", [*cells]
    if any(chosen in (cell.name, f"{cell.model} | {cell.policy}") for cell in cells):
        return chosen
    if wanted:
        raise InputError(f"no cell {wanted!r} to compare with; there are: {'; '.join(cell.name for cell in cells)}")
    return None


def _setting(row: Row) -> Cell:
    """The cell of a row; rows of earlier versions name no cache."""
    return Cell(row.model, row.policy, row.pace, row.cache or "none")


def _tests(cells: Mapping[str, Sequence[Row]], baseline: str | None) -> dict[str, Comparison]:
    pairs = dict[str, str]()
    for name, members in cells.items():
        own = _setting(members[0])
        at = f"{baseline} | {own.pace}" + f" | {own.cache}" * (own.cache != "none")
        other = baseline if baseline and baseline in cells else at
        if other in cells and other != name:
            pairs[name] = other
    return _tested(cells, pairs)


def _without_cache(
    cells: Mapping[str, Sequence[Row]], settings: Mapping[str, Cell]
) -> tuple[dict[str, str], dict[str, Comparison]]:
    """For each cell with a cache, the name of the same cell without one, if it ran, and the comparison with it."""
    plain = {name: cell._replace(cache="none").name for name, cell in settings.items() if cell.cache != "none"}
    pairs = {name: other for name, other in plain.items() if other in cells}
    return pairs, _tested(cells, pairs)


def _changed(members: Sequence[Row], others: Sequence[Row]) -> Mean:
    """The share of tokens that differ between two cells, over the problems that both have."""
    theirs = {row.problem_id: row.tokens for row in others}
    shares = [share for row in members if (share := differing(row.tokens, theirs.get(row.problem_id))) is not None]
    return Mean(_average(shares), bootstrap_mean(shares) if len(shares) > 1 else None)


def differing(one: Sequence[int] | None, other: Sequence[int] | None) -> float | None:
    """The share of places with different tokens, among those where either has one (-1: none); None without any."""
    if one is None or other is None or len(one) != len(other):
        return None
    pairs = [pair for pair in zip(one, other, strict=True) if max(pair) >= 0]
    return sum(a != b for a, b in pairs) / len(pairs) if pairs else None


def _tested(cells: Mapping[str, Sequence[Row]], pairs: Mapping[str, str]) -> dict[str, Comparison]:
    """The comparison of each cell with another, corrected for the number of comparisons."""
    tests = {name: _test(name, cells[name], other, cells[other]) for name, other in pairs.items()}
    corrected = holm([test.p_value for test in tests.values()])
    return {name: test._replace(p_holm=p) for (name, test), p in zip(tests.items(), corrected, strict=True)}


def _test(name: str, members: Sequence[Row], other: str, others: Sequence[Row]) -> Comparison:
    ours, theirs = ({row.problem_id: row.correct for row in side} for side in (members, others))
    if ours.keys() != theirs.keys():
        raise InputError(f"{name} and {other} were not run on the same problems; they cannot be compared")
    found = mcnemar([theirs[problem] for problem in ours], [*ours.values()])
    gain = (found.only_second - found.only_first) / len(ours)
    return Comparison(baseline=other, gain=gain, p_value=found.p_value, p_holm=found.p_value)


def _areas(
    cells: Mapping[str, Sequence[Row]], speeds: Mapping[str, float | None], curves: Mapping[str, tuple[str, ...]]
) -> dict[str, float | None]:
    """AUP of the curve of each cell."""
    points: dict[tuple[str, ...], list[tuple[float, float]]] = {}
    accuracies = {name: 100 * (sum(row.correct for row in members) / len(members)) for name, members in cells.items()}
    best = max(accuracies.values())
    for name, curve in curves.items():
        own = points.setdefault(curve, [])
        if speed := speeds[name]:
            own.append((speed, accuracies[name]))
    # Up to 1 %, nothing is solved and the weights of AUP are meaningless.
    areas = {curve: aup(own, best) if own and best > 1 else None for curve, own in points.items()}
    return {name: areas[curve] for name, curve in curves.items()}
