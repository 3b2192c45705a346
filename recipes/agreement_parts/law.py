"""What is known exactly of answers that must agree: every content that a canvas may still take, step by step.

    from agreement_parts.law import ExactDenoiser, cost_of, parts_of      # recipes/agreement.py uses them

A task with a `law` says which contents its cells may have together, each as likely as the others. From it follow the
probabilities that a perfect model would give at any step (`ExactDenoiser`, on which every policy runs without training)
and what a parallel commit costs: the conditional total correlation of what was committed together, sum H(x_i | what is
there) - H(x_together | what is there), in nats (2601.15593). Expected wall time: milliseconds a canvas.

Does not train, and knows nothing of what a summary says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nap.canvas.canvas import Canvas, CanvasSpec
from nap.canvas.visibility import Layout
from nap.data.problems import Problem
from nap.data.trace import COMMIT, PROMPT, Trace
from nap.tasks.law import Lawful

Ints = NDArray[np.int64]


class Part(NamedTuple):
    """Cells of a canvas that depend on each other: n positions, and N contents [N, n] in token ids."""

    position_n: Ints
    content_Nn: Ints


class Cost(NamedTuple):
    """What writing in parallel cost a canvas.

    correlation  nats, summed over all commits up to the first impossible one
    conflicts    parts that died of tokens that were possible one by one and not together
    mistakes     parts that died of a token that was impossible by itself
    """

    correlation: float
    conflicts: int
    mistakes: int


def unit_positions(canvas: Canvas, count: int, cells: int) -> list[Ints]:
    """The canvas positions of the cells of each of `count` grids or sentences, in paths of their own or in one."""
    if canvas.spec.paths == count:
        return [np.flatnonzero(canvas.region == unit)[:cells] for unit in range(count)]
    slot = np.flatnonzero(canvas.region == 0)
    return [slot[unit * cells : (unit + 1) * cells] for unit in range(count)]


def parts_of(task: Lawful, problem: Problem, canvas: Canvas, tokenizer: Any) -> list[Part]:
    """The law of a problem on its canvas."""
    units = unit_positions(canvas, task.count, task.cells)
    return [
        Part(
            np.concatenate([units[unit] for unit in law.units]),
            np.array([tokenizer.convert_tokens_to_ids(list(content)) for content in law.contents], np.int64),
        )
        for law in task.law(problem)
    ]


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
    correlation, left_Nn = 0.0, part.content_Nn
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


@dataclass
class ExactDenoiser:
    """Gives at every cell the law's exact probabilities given all cells that are there; knows its canvases by prompt.

    Candidates that are exactly as likely are ordered by a fixed random jitter of 1e-4, as a trained model's errors
    order them. Where what is there is impossible, it answers as if nothing were there.

    full  for every canvas its ids with an answer in it: what stands outside the parts is taken from there
    """

    tokenizer: Any
    canvas: CanvasSpec
    canvases: Sequence[Canvas]
    parts: Sequence[Sequence[Part]]
    full: Sequence[Ints]
    max_length: int | None = None

    def __post_init__(self) -> None:
        self.mask_id, self.pad_id = self.tokenizer.mask_token_id, self.tokenizer.pad_token_id
        self.eos_ids: tuple[int, ...] = ()
        self.vocabulary = len(self.tokenizer)
        self.setting: dict[str, Any] = {"model": "exact"}
        prompts = [tuple(canvas.ids[canvas.region == PROMPT].tolist()) for canvas in self.canvases]
        self.known = {prompt: row for row, prompt in enumerate(prompts)}

    @property
    def device(self) -> Any:
        """The CPU."""
        import torch

        return torch.device("cpu")

    def states(self, ids_BL: Any, layout: Layout, at: tuple[Any, Any]) -> Any:
        """What the head is given: the law has no states, so the logits themselves."""
        return self.logits(ids_BL, layout, at)

    def head(self, states_ND: Any) -> Any:
        """The logits, in memory of their own."""
        return states_ND.clone()

    def logits(self, ids_BL: Any, layout: Layout, at: tuple[Any, Any]) -> Any:
        """logits_NV of the exact law, in one pass over the rows."""
        import torch

        ids, (row_N, position_N) = ids_BL.numpy(), (column.numpy() for column in at)
        chance_BLV = np.zeros((*ids.shape, len(self.tokenizer)))
        for row in np.unique(row_N):
            known = self.known[tuple(ids[row][layout.region_BL[row] == PROMPT].tolist())]
            self._fill(chance_BLV[row], ids[row], known)
        return torch.from_numpy(np.log(chance_BLV[row_N, position_N] + 1e-9).astype(np.float32))

    def _fill(self, chance_LV: NDArray[np.float64], ids_L: Ints, known: int) -> None:
        full = self.full[known]
        chance_LV[np.arange(len(full)), full] = 1
        for part in self.parts[known]:
            there = ids_L[part.position_n] != self.mask_id
            fits = (part.content_Nn[:, there] == ids_L[part.position_n[there]]).all(axis=1)
            left_Nn = part.content_Nn[fits] if fits.any() else part.content_Nn
            chance_nV = (left_Nn[:, :, None] == np.arange(chance_LV.shape[1])).mean(axis=0)
            jitter = np.random.default_rng([known, *part.position_n.tolist()]).uniform(0, 1e-4, chance_nV.shape)
            chance_LV[part.position_n] = chance_nV * (1 - jitter)
