"""What is known exactly of answers that must agree: every content that a canvas may still take, step by step.

    from agreement_parts.law import cost_of      # recipes/agreement.py uses it

A task with a `law` says which contents its cells may have together, each as likely as the others. From it follow the
probabilities that a perfect model would give at any step (nap.models.exact_task, on which every policy runs without
training) and what a parallel commit costs: the conditional total correlation of what was committed together, in nats,
sum H(x_i | what is there) - H(x_together | what is there) (2601.15593). Expected wall time: milliseconds a canvas.

Does not train, and knows nothing of what a summary says.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nap.data.trace import COMMIT, Trace
from nap.models.exact_task import Part

Ints = NDArray[np.int64]


class Cost(NamedTuple):
    """What writing in parallel cost a canvas.

    correlation  nats, summed over all commits up to the first impossible one
    conflicts    parts that died of tokens that were possible one by one and not together
    mistakes     parts that died of a token that was impossible by itself
    """

    correlation: float
    conflicts: int
    mistakes: int


def entropy(content_Nn: Ints) -> float:
    """Nats of the rows, each of which is as likely as the others."""
    rows = np.ascontiguousarray(content_Nn).view(f"V{content_Nn.dtype.itemsize * content_Nn.shape[1]}")[:, 0]
    share = np.unique(rows, return_counts=True)[1] / len(rows)
    return float(-(share * np.log(share)).sum())


def total_correlation(content_Nn: Ints) -> float:
    """Sum of the entropies of the columns less that of the rows: 0 for one column, and for independent ones."""
    if content_Nn.shape[1] < 2:
        return 0.0
    return sum(entropy(column[:, None]) for column in content_Nn.T) - entropy(content_Nn)


def cost_of(trace: Trace, parts: Sequence[Part]) -> Cost:
    """Replay the commits of a trace against the law."""
    commits = [event for event in trace.events if event.kind == COMMIT]
    steps = [{e.position: e.token for e in events} for _, events in groupby(commits, key=lambda event: event.step)]
    each = [_cost_of_part(steps, part) for part in parts]
    return Cost(*(sum(column) for column in zip(*each, strict=True)))


def _cost_of_part(steps: Sequence[Mapping[int, int]], part: Part) -> Cost:
    correlation, left_Nn = 0.0, part.content_Cn
    for step in steps:
        columns = [i for i, position in enumerate(part.position_n) if int(position) in step]
        if not columns:
            continue
        block_Nk = left_Nn[:, columns]
        correlation += total_correlation(block_Nk)
        fits_Nk = block_Nk == [step[int(part.position_n[i])] for i in columns]
        if not fits_Nk.any(axis=0).all():
            return Cost(correlation, 0, 1)
        left_Nn = left_Nn[fits_Nk.all(axis=1)]
        if not len(left_Nn):
            return Cost(correlation, 1, 0)
    return Cost(correlation, 0, 0)
