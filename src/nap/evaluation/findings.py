"""The sentences that a summary's numbers carry.

Does not compute anything.
"""

from collections.abc import Sequence

from nap.common.text import printable
from nap.evaluation.summary import Row
from nap.evaluation.tables import mean, percent


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
    random = mean(one, "global_arness@1_random"), mean(other, "global_arness@1_random")
    return [
        f"{_at(one).capitalize()}, {_who(one)} solves {percent(one)} and {_who(other)} {percent(other)} of the same "
        f"{one['problems']} problems: {points}{chosen}.",
        f"Global-ARness@1 there is {mean(one, 'global_arness@1')} against {mean(other, 'global_arness@1')} (a random "
        f"order: {random[0]} and {random[1]}); within a path {mean(one, 'path_global_arness@1')} against "
        f"{mean(other, 'path_global_arness@1')} (random: {mean(one, 'path_global_arness@1_random')} and "
        f"{mean(other, 'path_global_arness@1_random')}).",
    ]


def _best(records: Sequence[Row]) -> list[str]:
    best = max(records, key=lambda r: r["accuracy"])
    equal = sum(r["right"] == best["right"] for r in records) - 1
    tied = f" (and {equal} other{'s' * (equal > 1)})" if equal else ""
    text = f"The best accuracy is {percent(best)}, by {_who(best)} {_at(best)}{tied}"
    near = [r for r in records if r["accuracy"] >= 0.95 * best["accuracy"] and r["tpf"] is not None]
    if near:
        fastest = max(near, key=lambda r: r["tpf"])
        text += f"; of all with at least 95 % of it, {_who(fastest)} {_at(fastest)} commits the most tokens a forward"
        text += f": {fastest['tpf']:.1f}"
    return [text + "."]


def _who(record: Row) -> str:
    return f"{record['label']} under {printable(record['policy'])}"


def _at(record: Row) -> str:
    pace = record["pace"]
    if pace == "own":
        return "at its own pace"
    tokens, slash, _ = pace.partition("/")
    return f"at {tokens} token{'s' * (tokens != '1')} a step" if slash else f"in {pace}"
