"""A perfect model of a task: `exact:grids`, `exact:agree`. exact.py has the laws of files.

    nap eval --models exact:grids grids-nap --task grids --policies low_confidence parallel_forced ...

A task with a `law` (tasks/law.py) says which contents its units (grids, sentences) may have; all are equally likely.
Given what is written on a canvas, the probability of a token at any other cell is exact: its share among the contents
that are still possible. Whatever is lost with such a model when decoding in parallel is due to the decoder. Settings
are those of the task (`exact:grids,count=6,shared=1`). Each unit is in a path of its own, or all are in one.

Candidates that are exactly equally likely are ordered by a fixed random jitter of 1e-4, as the errors of a trained
model would order them. Where the written tokens of a unit are impossible together, its cells are answered as if none
were written. After its cells a slot is closed and padded, and the summary says `done`.

Letters: B rows, L canvas, N positions asked about, V vocabulary, n cells, C contents. Fits nothing, and does not know
the laws of files.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nap.canvas.canvas import CanvasSpec
from nap.canvas.visibility import Layout
from nap.common.files import InputError
from nap.common.text import check_known
from nap.data.problems import Problem
from nap.data.trace import HEADER, PROMPT
from nap.models.exact import build_tokenizer
from nap.models.silent import Computed
from nap.tasks.law import Units
from nap.tasks.registry import load_task

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
LAWFUL = ("grids", "agree")
SUMMARY = "done"
# How many problems have their contents kept between forwards.
KEPT = 256


class Part(NamedTuple):
    """Cells of a canvas that depend on each other: n positions, and their C possible contents as token ids."""

    position_n: Ints
    content_Cn: Ints


class Known(NamedTuple):
    """What stays the same while a canvas is written: the law, a jitter [n, V] of each part, and other positions."""

    parts: list[Part]
    jitters: list[Floats]
    rest_L: Ints


def open_task(name: str, settings: Sequence[str]) -> "TaskDenoiser":
    """The denoiser of `exact:NAME,setting=value,...`. Raises InputError for a setting that the task does not have."""
    task: Any = load_task(name)
    known = [field.name for field in fields(task) if field.type in (int, "int")]
    given: dict[str, int] = {}
    for key, _, value in (setting.partition("=") for setting in settings):
        check_known(f"setting of exact:{name}", key, known)
        if not (value.isascii() and value.isdigit() and len(value) < 6):
            raise InputError(f"exact:{name}: {key} must be a whole number, got {value[:40]!r}")
        given[key] = int(value)
    return TaskDenoiser(load_task(name, **given), ",".join([f"exact:{name}", *settings]))


def cells_of(region_L: Ints, count: int, cells: int) -> list[Ints]:
    """The positions of the cells of each of `count` units in a row of region codes, in separate paths or all in one.

    Raises InputError for a canvas with another number of paths, or too little room.
    """
    # The last slot is the summary, except on a canvas of one slot.
    paths = max(1, int(region_L.max()))
    if paths == count:
        found = [np.flatnonzero(region_L == unit)[:cells] for unit in range(count)]
    elif paths == 1:
        slot = np.flatnonzero(region_L == 0)
        found = [slot[unit * cells : (unit + 1) * cells] for unit in range(count)]
    else:
        raise InputError(f"{count} units of an exact task stand in {count} paths or in one, got a canvas of {paths}")
    if any(len(unit) < cells for unit in found):
        raise InputError(f"{count} units of {cells} words do not fit the canvas; set --path-tokens to hold them")
    return found


def parts_of(task: Units, problem: Problem, region_L: Ints, tokenizer: Any) -> list[Part]:
    """The law of a problem on a canvas of such regions."""
    units = cells_of(region_L, task.count, task.cells)
    return [
        Part(
            np.concatenate([units[unit] for unit in law.units]),
            np.array([tokenizer.convert_tokens_to_ids(list(content)) for content in law.contents], np.int64),
        )
        for law in task.law(problem)
    ]


class TaskDenoiser(Computed):
    """A task's law as a `Denoiser` (denoiser.py). The problem is read from the prompt."""

    def __init__(self, task: Any, name: str, tokenizer: Any = None) -> None:
        self.task: Units = task
        words: Any = tokenizer or build_tokenizer(list(task.words), "word")
        super().__init__(words.mask_token_id, words.pad_token_id, len(words), words)
        self.setting = {"model": name, "revision": repr(task), "family": "exact", "law": task.name}
        # Room for the closing tag and one padding token; recipes/agreement.py says why slots have an even length.
        self.canvas = CanvasSpec(paths=task.count, path_tokens=task.cells + 2, summary_tokens=2)
        self._known: OrderedDict[bytes, Known] = OrderedDict()

    def logits(self, ids_BL: Tensor, layout: Layout, at: tuple[Tensor, Tensor]) -> Tensor:
        """logits_NV: the law's log-probabilities given all that is written, in one pass over the rows.

        Raises InputError for a prompt that is not a problem of the task.
        """
        ids, (row_N, position_N) = ids_BL.numpy(), (column.numpy() for column in at)
        chance_NV = np.zeros((len(row_N), self.vocabulary))
        for row in np.unique(row_N):
            asked_N = np.flatnonzero(row_N == row)
            chance_NV[asked_N] = self._chances(ids[row], layout.region_BL[row])[position_N[asked_N]]
        return torch.from_numpy(np.log(chance_NV + 1e-9).astype(np.float32))

    def _chances(self, ids_L: Ints, region_L: Ints) -> Floats:
        known = self.known(ids_L, region_L)
        chance_LV = np.zeros((len(ids_L), self.vocabulary))
        chance_LV[np.arange(len(ids_L)), known.rest_L] = 1
        for part, jitter_nV in zip(known.parts, known.jitters, strict=True):
            there_n = ids_L[part.position_n] != self.mask_id
            fits_C = (part.content_Cn[:, there_n] == ids_L[part.position_n[there_n]]).all(axis=1)
            left_Cn = part.content_Cn[fits_C] if fits_C.any() else part.content_Cn
            count_nV = np.stack([np.bincount(cell_C, minlength=self.vocabulary) for cell_C in left_Cn.T])
            chance_LV[part.position_n] = count_nV / len(left_Cn) * (1 - jitter_nV)
        return chance_LV

    def known(self, ids_L: Ints, region_L: Ints) -> Known:
        """What is known about a row's problem, read from its prompt once."""
        prompt = ids_L[region_L == PROMPT]
        key = prompt.tobytes() + region_L.tobytes()
        if (found := self._known.get(key)) is None:
            found = self._known[key] = self._read(prompt, region_L)
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
        return found

    def _read(self, prompt: Ints, region_L: Ints) -> Known:
        text = str(self.tokenizer.decode(prompt.tolist()))
        problem = self.task.read("the prompt", " ".join(text.split()), None)
        parts = parts_of(self.task, problem, region_L, self.tokenizer)
        seeds = ([crc32(prompt.tobytes()), *part.position_n.tolist()] for part in parts)
        shapes = ((len(part.position_n), self.vocabulary) for part in parts)
        jitters = [
            np.random.default_rng(seed).uniform(0, 1e-4, shape) for seed, shape in zip(seeds, shapes, strict=True)
        ]
        return Known(parts, jitters, self._rest(region_L, parts))

    def _rest(self, region_L: Ints, parts: Sequence[Part]) -> Ints:
        """L ids: what a slot holds after its cells. The ids at the cells themselves have no meaning."""
        tokens, rest_L = self.tokenizer.convert_tokens_to_ids, np.full(len(region_L), self.pad_id, np.int64)
        tagged, last = (region_L == HEADER).any(), int(region_L.max())
        cells = np.concatenate([part.position_n for part in parts])
        for code in range(last + 1 if tagged else 0):
            free = np.setdiff1d(np.flatnonzero(region_L == code), cells)
            words = [SUMMARY, "</summary>"] if code == last > 0 else [f"</think {code + 1}>"]
            for position, word in zip(free, words, strict=False):
                rest_L[position] = tokens(word)
        return rest_L
