"""What makes the difference: the study's contrasts, pace by pace.

    print(contrast_table(differences(read("arith"))))

Intervals are a crossed bootstrap over seeds and problems, which of two or three seeds is too narrow: they say which
contrasts are worth a look. What is claimed is judged in claims.py. Expected wall time: seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import study

from nap.common.stats import Interval, crossed_bootstrap, holm, mcnemar
from study_parts.rows import AO, FORCED, VOTE, Rows, Setting, table


@dataclass(frozen=True)
class Contrast:
    """What the difference of two settings (second less first) says, pace by pace."""

    question: str
    first: tuple[str, str]
    second: tuple[str, str]


CONTRASTS = {
    "data": Contrast("data: the same decoder (AO), paths against one chain", ("long", AO), ("nap", AO)),
    "decoder": Contrast("decoder on NAP's data: forced against AO", ("nap", AO), ("nap", FORCED)),
    "chain": Contrast("decoder on the chain: forced against AO", ("long", AO), ("long", FORCED)),
    "both": Contrast("both: NAP as proposed against the chain as proposed", ("long", AO), ("nap", FORCED)),
    "independence": Contrast(
        "independence: paths that cannot see each other", ("nap", FORCED), ("paths", FORCED)
    ),
    "length": Contrast("length: one short path against the chain of three", ("long", AO), ("short", AO)),
    "brevity": Contrast("length alone: one path in the chain's slot", ("long", AO), ("brief", AO)),
    "several": Contrast("several paths at all: NAP against one path", ("short", AO), ("nap", FORCED)),
    "ensemble": Contrast(
        "ensemble: NAP against a vote of three canvases at equal forwards", ("short", VOTE), ("nap", FORCED)
    ),
    "tokens": Contrast("training tokens: one path with as many as three have", ("short", AO), ("short-tokens", AO)),
    "ensemble-tokens": Contrast(
        "ensemble, with as many training tokens: NAP against a vote of three", ("short-tokens", VOTE), ("nap", FORCED)
    ),
    "summary": Contrast(
        "the summary last: forced on NAP's data, last against whenever", ("nap", study.JOINT), ("nap", FORCED)
    ),
    "summary-chain": Contrast(
        "the summary last: forced on the chain, last against whenever", ("long", study.JOINT), ("long", FORCED)
    ),
    "ar": Contrast("initialisation: the chain from an autoregressive model", ("long", AO), ("ar-long", AO)),
    "ar-data": Contrast("data, from an autoregressive model", ("ar-long", AO), ("ar-nap", AO)),
    "ar-both": Contrast("both, from an autoregressive model", ("ar-long", AO), ("ar-nap", FORCED)),
    "headers": Contrast("headers: a generated mark instead of clamped headers", ("nap", AO), ("floating", AO)),
    "mark": Contrast("the mark alone: the chain with it between its paths", ("long", AO), ("floating", AO)),
    "order": Contrast("order of the paths: shuffled in training", ("nap", FORCED), ("shuffled", FORCED)),
    "masking": Contrast("masking: structured", ("nap", FORCED), ("structured", FORCED)),
    **{
        f"wrong-{share}": Contrast(f"{share} % wrong paths", ("nap", FORCED), (f"wrong-{share}", FORCED))
        for share in study.WRONG
    },
    **{
        f"width-{paths}": Contrast(
            f"{paths} paths against one path, in one room", ("width-1", FORCED), (f"width-{paths}", FORCED)
        )
        for paths in study.WIDTHS if paths > 1
    },
    "copied": Contrast("six paths, three of them copies of the others", ("width-6", FORCED), ("copied", FORCED)),
}  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """One contrast at one pace: the mean difference, its interval, McNemar's p of all seeds' pairs together."""

    contrast: Contrast
    pace: int
    mean: float
    interval: Interval
    p_value: float
    seeds: int


def differences(rows: Rows) -> list[Difference]:
    found = []
    for contrast in CONTRASTS.values():
        for pace in study.PACES:
            one, other = (Setting(*side, f"{pace}/step") for side in (contrast.first, contrast.second))
            if not (seeds := rows.shared(one, other)):
                continue
            first, second = (rows.column(side, "correct", seeds) for side in (one, other))
            p = mcnemar([bool(x) for x in first.ravel()], [bool(x) for x in second.ravel()]).p_value
            gain = second - first
            found.append(Difference(contrast, pace, float(gain.mean()), crossed_bootstrap(gain), p, len(seeds)))
    return found


def contrast_table(found: Sequence[Difference]) -> str:
    adjusted = dict(zip([(d.contrast, d.pace) for d in found], holm([d.p_value for d in found]), strict=True))
    body = []
    for contrast in dict.fromkeys(d.contrast for d in found):
        by = {d.pace: d for d in found if d.contrast == contrast}
        cells = [points(by[pace], adjusted[contrast, pace]) if pace in by else "" for pace in study.PACES]
        body.append([contrast.question, str(max(d.seeds for d in by.values())), *cells])
    return table(["question", "seeds", *[f"{pace} a step" for pace in study.PACES]], body)


def points(difference: Difference, p: float) -> str:
    low, high = difference.interval
    mark = "**" if p < 0.05 and (low > 0 or high < 0) else ""
    return f"{mark}{100 * difference.mean:+.0f} [{100 * low:+.0f}, {100 * high:+.0f}]{mark}"
