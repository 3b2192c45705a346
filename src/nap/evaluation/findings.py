"""Sentences that the numbers of a summary support.

Does not compute anything.
"""

from collections.abc import Sequence

from nap.evaluation.summary import Comparison, Record
from nap.evaluation.tables import at_pace, mean, percent, who
from nap.evaluation.ties import bands_of

# The order metrics that a sentence tells, as the table calls them.
ORDER = ("ARness", "ARness/path")


def findings(records: Sequence[Record]) -> list[str]:
    """Up to three sentences that the numbers support: the largest difference, its order, the best accuracy."""
    if not any(record.right for record in records):
        return ["No setting solves a single problem, so accuracies say nothing here; only the order metrics do."]
    compared = [(record, record.comparison) for record in records if record.comparison]
    # Parallel-forced decoding against another model comes first: there data and decoder change together.
    for wanted in (
        [(r, found) for r, found in compared if _forced(r) and not found.baseline.startswith(f"{r.model} | ")],
        [(r, found) for r, found in compared if _forced(r)],
        compared,
    ):
        if wanted:
            one, found = max(wanted, key=lambda pair: abs(pair[1].gain))
            sentences = _difference(one, found, len(wanted), len(compared), records)
            break
    else:
        sentences = []
    return sentences + _best(records) * (len(records) > 1)


def _forced(record: Record) -> bool:
    return record.policy.startswith("parallel_forced")


def _difference(one: Record, found: Comparison, of: int, tests: int, records: Sequence[Record]) -> list[str]:
    """The gain of `one`, chosen from so many for its gain, over its baseline, and the order of both."""
    other = next(r for r in records if r.cell == found.baseline)
    p = f"exact McNemar p = {found.p_value:.2g}"
    if tests > 1:
        p += f", {found.p_holm:.2g} after Holm's correction for {tests} comparisons"
    verdict = "is significant" if found.p_holm < 0.05 else "is not significant"
    points = f"{100 * found.gain:+.1f} points, which {verdict} ({p})" if found.gain else f"no difference ({p})"
    chosen = f" (the largest of {of} differences)" if of > 1 and found.gain else ""
    return [
        f"{at_pace(one).capitalize()}, {who(one)} solves {percent(one)} and {who(other)} {percent(other)} of the same "
        f"{one.problems} problems: {points}{chosen}.",
        f"Global-ARness@1 there is {mean(one.global_arness_at_1)} against {mean(other.global_arness_at_1)} (a random "
        f"order: {mean(one.global_arness_at_1_random)} and {mean(other.global_arness_at_1_random)}); within a path "
        f"{mean(one.path_global_arness_at_1)} against {mean(other.path_global_arness_at_1)} (random: "
        f"{mean(one.path_global_arness_at_1_random)} and {mean(other.path_global_arness_at_1_random)})."
        + _left_to_ties(one, other),
    ]


def _left_to_ties(one: Record, other: Record) -> str:
    """Which of the two differences of order the choice among equally sure candidates could have made, where known."""
    theirs = {band.name: band for band in bands_of(other)}
    pairs = {band.name: (band, theirs[band.name]) for band in bands_of(one) if band.name in theirs}
    lost = [name for name in ORDER if name in pairs and not pairs[name][0].identified(pairs[name][1])]
    if not lost:
        return ""
    width = max(band.width for name in lost for band in pairs[name])
    return f" Not identified: the difference of {' and '.join(lost)}, as ties alone move it by up to {width:.2f}."


def _best(records: Sequence[Record]) -> list[str]:
    best = max(records, key=lambda r: r.accuracy)
    equal = sum(r.right == best.right for r in records) - 1
    tied = f" (and {equal} other{'s' * (equal > 1)})" if equal else ""
    text = f"The best accuracy is {percent(best)}, by {who(best)} {at_pace(best)}{tied}"
    near = [(r.tpf.value, r) for r in records if r.accuracy >= 0.95 * best.accuracy and r.tpf.value is not None]
    if near:
        speed, fastest = max(near, key=lambda pair: (round(pair[0], 2), pair[1].accuracy))
        text += f"; of all with at least 95 % of it, {who(fastest)} {at_pace(fastest)} commits "
        text += f"the most tokens a forward: {speed:.1f}"
    return [text + "."]
