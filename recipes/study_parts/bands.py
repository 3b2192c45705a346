"""How much of the order is the model's: tie bands, baselines under each decoder's own rules, and equal thirds.

    print(band_table())

From the rows of tie_bands.py: the bundled models, one seed of each. Expected wall time: seconds.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow.parquet as pq
import tie_bands
from numpy.typing import NDArray

from nap.common.stats import Interval, crossed_bootstrap
from study_parts.claims import normalised
from study_parts.rows import AO, FORCED, TASKS, table

ARMS = ("long", "nap")
TAU, ARNESS = "tau_b", "global_arness@1"
Floats = NDArray[np.float64]


@cache
def read_bands() -> dict[tuple[str, str, str, str], dict[str, Floats]]:
    """(task, arm, decoder, choice) -> columns; nothing where the recipe has not run."""
    if not tie_bands.BANDS.exists():
        return {}
    found: dict[tuple[str, str, str, str], list[dict[str, float]]] = {}
    for row in pq.read_table(tie_bands.BANDS).to_pylist():
        found.setdefault((row["task"], row["arm"], row["policy"], row["choice"]), []).append(row)
    names = [name for name in next(iter(found.values()))[0] if name not in ("task", "arm", "policy", "choice")]
    return {key: {n: np.array([row[n] for row in rows], float) for n in names} for key, rows in found.items()}


@dataclass(frozen=True)
class Band:
    """A metric as decoded, and with candidates within .01 taken from the right and from the left."""

    own: float
    right: float
    left: float

    @property
    def width(self) -> float:
        """How far ties move it."""
        return abs(self.left - self.right)

    def __str__(self) -> str:
        return f"{self.own:.2f} ({self.right:.2f} to {self.left:.2f})"


def band(task: str, arm: str, metric: str) -> Band | None:
    """Of a bundled model under AO; None where it has not been decoded again."""
    found = read_bands()
    keys = [(task, arm, AO, choice) for choice in ("own", "right", "left")]
    return Band(*(mean(found[key][metric]) for key in keys)) if all(key in found for key in keys) else None


def mean(values: Floats) -> float:
    return float(np.nanmean(values))


def band_table() -> str:
    """Of each bundled model under AO at one token a step what ties leave of its order."""
    body = []
    for task in TASKS:
        for arm in ARMS:
            bands = [band(task, arm, metric) for metric in (TAU, ARNESS)]
            if None not in bands:
                own = read_bands()[task, arm, AO, "own"]
                body.append([task, arm, f"{100 * mean(own['sure']):.0f}", *map(str, bands)])
        pairs = [[band(task, arm, metric) for arm in ARMS] for metric in (TAU, ARNESS)]
        if all(one and other for one, other in pairs):
            body.append([task, "nap less long", "", *(identified(*pair) for pair in pairs)])  # pyright: ignore
    return table(["task", "model", "commits of p > .999, %", "tau-b", "Global-ARness@1"], body)


def identified(one: Band, other: Band) -> str:
    """The difference of two settings, and whether it is larger than what ties move."""
    gap, width = other.own - one.own, max(one.width, other.width)
    return f"{gap:+.2f}" + (f", *not identified* (ties move it by {width:.2f})" if width >= abs(gap) else "")


def baseline_table() -> str:
    """ARness of both decoders beside the random order of their own rules, and normalised by it."""
    body = []
    for (task, arm, policy, choice), columns in read_bands().items():
        if choice == "own":
            arness, random, matched = (columns[f"{ARNESS}{kind}"] for kind in ("", "_random", "_matched"))
            share = normalised(np.array(mean(arness)), np.array(mean(matched)))
            cells = [f"{mean(x):.3f}" for x in (arness, random, matched)]
            body.append([task, arm, policy, *cells, f"{float(share):.3f}"])
    return table(["task", "model", "decoder", "Global-ARness@1", "H_n/n", "random, same rules", "normalised"], body)


def thirds(task: str, choice: str = "own") -> tuple[float, Interval] | None:
    """Points by which NAP's three paths are above three equal thirds of the chain, both above random, AO.

    choice  which of equally sure candidates are taken
    """
    found = read_bands()
    keys = [(task, arm, AO, choice) for arm in ARMS]
    if not all(key in found for key in keys):
        return None
    chain, paths = (found[key]["third_arness@1"] - found[key]["third_arness@1_random"] for key in keys)
    gain = 100 * (paths - chain)[None]
    return float(gain.mean()), crossed_bootstrap(gain)


def matched(task: str, arm: str) -> float | None:
    """The random order's Global-ARness@1 under forced decoding."""
    found = read_bands().get((task, arm, FORCED, "own"))
    return mean(found[f"{ARNESS}_matched"]) if found else None
