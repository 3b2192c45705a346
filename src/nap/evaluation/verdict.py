"""Answers one question by one rule: does a model decode in parallel, and at what loss of accuracy?

The rule is RULE. It is fixed before the run is seen, so its interval needs no correction. The best policy and the
fastest without a visible loss are chosen afterwards, and the text says so.

Does not compare models with each other (summary.py) and says nothing about other training seeds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from nap.common.stats import Interval, paired_interval
from nap.common.text import printable
from nap.data.cells import with_cache
from nap.evaluation.rows import Row
from nap.evaluation.summary import Record, grouped
from nap.evaluation.tables import at_pace, percent, who

MARGIN = 0.05  # the share of the problems that may be lost while still counting as decoding in parallel
DEFAULT, PROPOSED = "low_confidence", "parallel_forced"
SHOWN = 6
FASTER = 1.2  # a pace counts as different if it has this many times the tokens a forward

RULE = (
    "A model's fastest pace is compared with its slowest, on the same problems, under "
    f"{PROPOSED} if it ran at several paces, else under {DEFAULT}, else under the first policy that did; the values of "
    "one setting of a policy that sets its own pace count as paces. If none did, the fastest setting of the model is "
    "compared with its slowest. "
    f"Yes: the 95 % interval of the loss lies below {100 * MARGIN:.0f} points. Where it lies above 0 the slower paces "
    "are compared too, from the slowest on. Up to N tokens a forward: the last pace before the first that loses. No: "
    "the first one loses; Not under POLICY, where another policy of the model is faster without a visible loss. "
    "Otherwise these problems do not settle it. The headline is about the model that was named "
    "last, not counting exact laws. Intervals are Bonett and Price's for paired shares; they are over problems and not "
    "over training seeds."
)


class Said(NamedTuple):
    """The answer for one model, and a sentence or two.

    answer  Yes, No, Not under POLICY (where another one is fast without a visible loss), Up to N tokens a forward, Not
            settled or Not measured
    """

    answer: str
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a run says about its models.

    headline  of the last model
    others    of the models before it
    best      which setting is the most accurate, whether anybody asked for it, and which other is the fastest without
              a visible loss
    series    (its part in the picture, model, curve): the default, the policy judged, the best, the fastest
              without a visible loss, and how the other models do by what they are judged by, which have no part; at
              most SHOWN
    """

    headline: Said
    others: list[Said]
    best: str
    series: list[tuple[str, str, str]]


def verdict(rows: Sequence[Row], records: Sequence[Record]) -> Verdict | None:
    """The verdict on these rows and the records of them; None where there are none."""
    if not records:
        return None
    cells, models = grouped(rows), by_weight(record.model for record in records)
    proposed = {model: _proposed([r for r in records if r.model == model]) for model in models}
    said = {model: _said(proposed[model], records, cells) for model in models}
    default = _default(records)
    first = default, proposed[models[-1]][0]
    best = _best(records, [(one.model, one.series) for one in first])
    fastest = _fastest(proposed[models[-1]], records, cells)
    headline, sentences = said.pop(models[-1]), [_best_said(best, *first, records, cells)]
    if fastest:
        sentences.append(_fastest_said(*fastest))
        if headline.answer == "No":
            headline = headline._replace(answer=f"Not under {printable(first[1].series)}")
    return Verdict(
        headline=headline,
        others=[*said.values()],
        best=" ".join(filter(None, sentences)),
        series=_series(*first, best, fastest and fastest[0], [own[0] for own in proposed.values()]),
    )


def by_weight(models: Iterable[str]) -> list[str]:
    """Each model once; the last is the one that the run is about: the last named one that is no exact law."""
    return sorted(dict.fromkeys(models), key=lambda model: not model.startswith("exact:"))


def _speed(record: Record) -> float:
    return record.tpf.value or 0.0


def _paces(records: Iterable[Record]) -> dict[str, list[Record]]:
    """The records of each curve, the slowest first."""
    found: dict[str, list[Record]] = {}
    for record in records:
        if record.tpf.value is not None:
            found.setdefault(record.series, []).append(record)
    return {policy: sorted(members, key=_speed) for policy, members in found.items()}


def _named(policy: str, name: str) -> bool:
    return policy.partition(":")[0].partition(" ")[0] == name


def _proposed(of_model: Sequence[Record]) -> list[Record]:
    """The records of the curve that a model is judged by, slowest first, see RULE."""
    paces = _paces(of_model)
    several = [policy for policy, members in paces.items() if _speed(members[-1]) > FASTER * _speed(members[0])]
    several.sort(key=lambda policy: (not _named(policy, PROPOSED), not _named(policy, DEFAULT)))
    return paces[several[0]] if several else [max(of_model, key=_speed)]


def _default(records: Sequence[Record]) -> Record:
    """The setting to compare with: the first model under the default policy, or else the first setting."""
    return next((r for r in records if r.model == records[0].model and _named(r.policy, DEFAULT)), records[0])


def _as_reference(record: Record) -> tuple[bool, float]:
    return not _named(record.policy, DEFAULT), _speed(record)


def _said(own: Sequence[Record], records: Sequence[Record], cells: Mapping[str, Sequence[Row]]) -> Said:
    fast = own[-1]
    if (slow := _slow(own, records)) is None:
        return Said("Not measured", f"{who(fast)} ran at one pace, so that there is no slower one to compare with.")
    if (gain := _paired(cells, slow.cell, fast.cell)) is None:
        return Said("Not measured", f"{who(fast)} was not run on the same problems at both paces.")
    if not fast.right and not slow.right:
        return Said("Not settled", f"{who(fast)} solves no problem, however slowly it decodes.")
    if gain.interval.high < 0 and (held := _held(own, slow, cells)):
        last, kept = held
        return Said(
            f"Up to {_speed(last):.1f} tokens a forward",
            f"{at_pace(last)} {who(last)} {_compared(kept, slow, last)}{', which may be chance' * (kept.value < 0)}. "
            f"{_paced(fast, last).capitalize()} ({_speed(fast):.1f} tokens a forward) it {_moved(gain)}.",
        )
    answer = "No" if gain.interval.high < 0 else "Yes" if gain.interval.low > -MARGIN else "Not settled"
    speed = f"{at_pace(fast)} ({_speed(fast):.1f} tokens a forward)"
    sentence = f"{speed} {who(fast)} {_compared(gain, slow, fast)}"
    if answer == "Not settled":
        sentence += f"; {fast.problems} problems do not tell whether it loses more than {100 * MARGIN:.0f}"
    return Said(answer, f"{sentence}.")


def _slow(own: Sequence[Record], records: Sequence[Record]) -> Record | None:
    """What the fastest of a curve is compared with; None where the model has nothing slower."""
    rivals = [r for r in records if r.model == own[-1].model and _speed(r) * FASTER < _speed(own[-1])]
    return own[0] if own[0] in rivals else min(rivals, key=_as_reference, default=None)


def _paced(record: Record, other: Record) -> str:
    """At which pace, and under which policy if it is another than the other's."""
    return at_pace(record) if record.policy == other.policy else f"under {printable(record.policy)} {at_pace(record)}"


def _compared(gain: "Gain", slow: Record, fast: Record) -> str:
    """What the gain is, and over which other setting."""
    alike = (slow.policy, slow.cache) == (fast.policy, fast.cache)
    if not gain.value:
        return f"is as often right as {'' if alike else f'under {_shown(slow)} '}{at_pace(slow)} ({_ends(gain)} points)"
    return f"{_moved(gain)} against {at_pace(slow).removeprefix('at ') if alike else f'{_shown(slow)} {at_pace(slow)}'}"


def _shown(record: Record) -> str:
    return printable(with_cache(record.policy, record.cache))


def _held(own: Sequence[Record], slow: Record, cells: Mapping[str, Sequence[Row]]) -> tuple[Record, "Gain"] | None:
    """Of a model that loses at its fastest pace: the last pace before the first at which a loss shows; None without."""
    found = None
    for record in own[:-1]:
        if _speed(record) <= FASTER * _speed(slow):
            continue
        gain = _paired(cells, slow.cell, record.cell)
        if gain is None or gain.interval.high < 0:
            break
        found = record, gain
    return found


def _fastest(
    own: Sequence[Record], records: Sequence[Record], cells: Mapping[str, Sequence[Row]]
) -> tuple[Record, "Gain"] | None:  # fmt: skip
    """The fastest other policy of the model that shows no loss, if it is faster than the judged one without a loss."""
    if (slow := _slow(own, records)) is None or not slow.right:
        return None
    even = dict[str, Gain]()
    for record in records:
        if record.model == slow.model and (gain := _paired(cells, slow.cell, record.cell)):
            even |= {record.cell: gain} if gain.interval.high >= 0 else {}
    kept = [record for record in records if record.cell in even]
    reached = max((_speed(record) for record in kept if record.series == own[-1].series), default=_speed(slow))
    best = max(kept, key=lambda r: (round(_speed(r), 2), r.accuracy), default=slow)
    if best.series == own[-1].series or _speed(best) <= FASTER * reached:
        return None
    return best, even[best.cell]


def _fastest_said(best: Record, gain: "Gain") -> str:
    return (
        f"Of the other policies {_shown(best)} is the fastest without a visible loss: {_speed(best):.1f} tokens a "
        f"forward {at_pace(best)}, where it {_moved(gain)}."
    )


class Gain(NamedTuple):
    """A difference of accuracies on the same problems, and its interval."""

    value: float
    interval: Interval


def _paired(cells: Mapping[str, Sequence[Row]], before: str, after: str) -> Gain | None:
    old, new = ({row.problem_id: row.correct for row in cells.get(name, ())} for name in (before, after))
    if not old or old.keys() != new.keys():
        return None
    first, second = [*old.values()], [new[problem] for problem in old]
    return Gain((sum(second) - sum(first)) / len(first), paired_interval(first, second))


def _moved(gain: Gain) -> str:
    """`loses 21 points [12, 30]`, `is as often right ([-5, 5] points)`."""
    if not gain.value:
        return f"is as often right ({_ends(gain)} points)"
    size = round(100 * abs(gain.value), 1)
    points = f"{size:g} point{'s' * (size != 1)}"
    return f"{'gains' if gain.value > 0 else 'loses'} {points} {_ends(gain)}"


def _ends(gain: Gain) -> str:
    """`[12, 30]`: the interval of what is lost, or gained."""
    low, high = sorted(round(100 * (end if gain.value > 0 else -end)) for end in gain.interval)
    return f"[{low}, {high}]"


def _best(records: Sequence[Record], asked: Sequence[tuple[str, str]]) -> Record:
    """The most accurate setting; among equals one that was asked for, then the fastest."""
    return max(records, key=lambda r: (r.accuracy, (r.model, r.series) in asked, _speed(r)))


def _best_said(
    best: Record, default: Record, own: Record, records: Sequence[Record], cells: Mapping[str, Sequence[Row]]
) -> str:
    if not best.right:
        return ""
    found = f"The best accuracy is {percent(best)}, of {who(best)} {at_pace(best)}"
    if best.series in (default.series, own.series):
        return f"{found}."
    names = [f"{part} ({printable(policy)})" for part, _, policy in _series(default, own)]
    reach = f"neither {' nor '.join(names)} reaches" if len(names) > 1 else f"{names[0]} does not reach"
    found = f"Nobody asked for {_shown(best)}, yet it is best: {reach} its {percent(best)}"
    found += f" ({best.label}, {at_pace(best)})"
    beside = next((r for r in records if (r.model, r.series, r.pace) == (best.model, own.series, best.pace)), None)
    if beside and (gain := _paired(cells, beside.cell, best.cell)):
        settled = "" if gain.interval.low > 0 else ", which so few problems do not tell from chance"
        found += f". Against {printable(own.series)} at the same pace it {_moved(gain)}{settled}"
    return f"{found}."


def _series(
    default: Record,
    own: Record,
    best: Record | None = None,
    fastest: Record | None = None,
    others: Sequence[Record] = (),
) -> list[tuple[str, str, str]]:
    """What the picture shows of the run: each model and policy once, and its part in the picture, if it has one."""
    judged = "the proposed policy" if _named(own.policy, PROPOSED) else "the policy judged"
    named = {"the default": default, judged: own, "the best": best, "the fastest without a visible loss": fastest}
    parts: dict[tuple[str, str], list[str]] = {}
    for part, record in named.items():
        if record:
            parts.setdefault((record.model, record.series), []).append(part)
    for record in others:
        parts.setdefault((record.model, record.series), [])
    return [(_listed(names), *key) for key, names in parts.items()][:SHOWN]


def _listed(names: Sequence[str]) -> str:
    """`one, two and three`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
