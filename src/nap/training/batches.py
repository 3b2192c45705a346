"""Batches of masked canvases. Each is a pure function of (seed, index), whatever ran before.

Samples are drawn from an endless stream, laid out, and sorted by length within a chunk of steps, so that little of a
batch is padding. Where the stream repeats itself in epochs, no chunk goes beyond the end of one or of the run, so that
every sample is seen equally often. A step may be split into parts, to accumulate gradients or to spread it over
processes. Its noise, masks and token weights are those of the whole step, so the number of parts does not change it.

Shape letters: B batch, L canvas length, N masked positions. Does not run a model.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from nap.canvas.canvas import Canvas, CanvasSpec, Tokenizer, collate, fill, layout
from nap.canvas.visibility import Layout
from nap.common.files import InputError
from nap.common.records import Json
from nap.data.samples import Sample
from nap.data.trace import OUTSIDE
from nap.decoding.prompt import encode_prompt
from nap.models.attention import attention_mask
from nap.training.loss import draw_times, loss_weights, mask_tokens, noise_of
from nap.training.settings import Objective

# How many steps are drawn together. More of them mean less padding, and rows of a step that are more alike.
CHUNK = 8

Words = Mapping[str, Json]
NO_WORDS: Words = MappingProxyType({})


class Step(NamedTuple):
    """One optimizer step: clean ids, regions, ids with masks, their positions, and their weights in the loss."""

    ids_BL: Tensor
    region_BL: Tensor
    noisy_BL: Tensor
    masked_BL: Tensor
    weight_BL: Tensor


class DiffusionBatches(Dataset[dict[str, Tensor]]):
    """`batches` steps of `batch_size` samples; item i is part i % parts of step i // parts.

    draw     `draw(index)` gives sample `index` of an endless stream
    epoch    how many samples of the stream are an epoch; None for a stream that does not repeat itself
    shuffle  put the paths of a sample into a new random order each time
    words    keywords for the tokenizer's chat template

    Raises InputError if `parts` does not divide the batch, and for a drawn sample that does not fit.
    """

    def __init__(
        self,
        draw: Callable[[int], Sample],
        spec: CanvasSpec,
        tokenizer: Tokenizer,
        *,
        mask_id: int,
        pad_id: int,
        batch_size: int,
        batches: int,
        seed: int,
        epoch: int | None = None,
        objective: Objective | None = None,
        shuffle: bool = False,
        parts: int = 1,
        words: Words = NO_WORDS,
    ) -> None:
        if batch_size % parts:
            raise InputError(f"a batch of {batch_size} samples cannot be dealt out in {parts} parts of one size")
        self.draw, self.spec, self.tokenizer, self.objective = draw, spec, tokenizer, objective or Objective()
        self.mask_id, self.pad_id, self.batch_size, self.batches, self.seed = mask_id, pad_id, batch_size, batches, seed
        self.epoch, self.shuffle, self.parts, self.words = epoch, shuffle, parts, words
        self._chunk = functools.lru_cache(maxsize=2)(self._draw_chunk)
        self.step = functools.lru_cache(maxsize=1)(self._noised)

    def __len__(self) -> int:
        return self.batches * self.parts

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """input_ids (BL), attention_mask to add to scores (B or 1, 1, L, L), position_ids (BL) where they are not the
        canvas's own, and for each masked token its row, its position, its id and its weight (N). The loss is the sum
        over them, times 1 / parts over all parts. `tokens` counts the positions that are no padding outside.
        """
        number, part = divmod(index, self.parts)
        rows = self.batch_size // self.parts
        step = Step(*(column[part * rows : (part + 1) * rows] for column in self.step(number)))
        length = int((step.region_BL != OUTSIDE).sum(dim=1).max())
        step = Step(*(column[:, :length] for column in step))
        rows_N, positions_N = step.masked_BL.nonzero(as_tuple=True)
        where = Layout(step.region_BL.numpy(), self.spec.attention, self.spec.paths, self.spec.positions)
        standing = {} if where.position_BL is None else {"position_ids": torch.from_numpy(where.position_BL)}
        return (
            standing
            | {
                "input_ids": step.noisy_BL,
                "attention_mask": self._attention(where),
                "rows": rows_N,
                "positions": positions_N,
                "targets": step.ids_BL[rows_N, positions_N],
                "weights": step.weight_BL[rows_N, positions_N] * self.parts,
                "tokens": (step.region_BL != OUTSIDE).sum(),
            }
            | (self._editing(step, index) if self.objective.objective == "edit" else {})
        )

    def _editing(self, step: Step, index: int) -> dict[str, Tensor]:
        """What the edit objective needs besides: the samples, their regions, and the number that drafts start from."""
        draw = int(np.random.SeedSequence([self.seed, index, 2]).generate_state(1)[0])
        numbers = {"draw": draw, "mask_id": self.mask_id, "pad_id": self.pad_id, "corrupt": self.objective.corrupt}
        told = {name: torch.tensor(value) for name, value in numbers.items()}
        return told | {"clean": step.ids_BL, "region": step.region_BL}

    def _noised(self, number: int) -> Step:
        canvases = self._chunk(number // CHUNK)[number % CHUNK]
        ids, where = collate(canvases, self.pad_id)
        ids_BL, region_BL = torch.from_numpy(ids), torch.from_numpy(where.region_BL)
        generator = torch.Generator().manual_seed(int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0]))
        t_BR = draw_times(len(canvases), len(self.spec.slots), self.objective, generator)
        noise = noise_of(region_BL, t_BR, self.objective)
        noisy_BL, masked_BL = mask_tokens(ids_BL, noise.rate_BL, self.mask_id, generator)
        return Step(ids_BL, region_BL, noisy_BL, masked_BL, loss_weights(region_BL, masked_BL, noise, self.objective))

    def _attention(self, where: Layout) -> Tensor:
        mask = attention_mask(where, dtype=torch.float32, device=torch.device("cpu"))
        # Never None, because transformers would then make a causal mask.
        return torch.zeros(1, 1, *where.region_BL.shape[1:] * 2) if mask is None else mask

    def _draw_chunk(self, chunk: int) -> list[list[Canvas]]:
        """The canvases of each step of a chunk. Without epochs the last is whole, whatever the run takes of it."""
        end = CHUNK * (chunk + 1)
        steps = range(CHUNK * chunk, end if self.epoch is None else min(end, self.batches))
        rng = np.random.default_rng([self.seed, chunk])
        return [canvases for _, part in groupby(steps, self._epochs) for canvases in self._dealt([*part], rng)]

    def _epochs(self, step: int) -> tuple[int, int]:
        """The epochs of the first and the last sample of a step: another pair for each step that is of several."""
        first, stop = step * self.batch_size, (step + 1) * self.batch_size
        return (0, 0) if self.epoch is None else (first // self.epoch, (stop - 1) // self.epoch)

    def _dealt(self, steps: Sequence[int], rng: np.random.Generator) -> list[list[Canvas]]:
        """The samples of these steps, dealt out to them by length."""
        size = self.batch_size
        canvases = sorted((self.canvas(i) for i in range(steps[0] * size, (steps[-1] + 1) * size)), key=len)
        # Otherwise sorted batches would always come in order of length.
        return [canvases[size * i : size * (i + 1)] for i in rng.permutation(len(steps))]

    def canvas(self, index: int) -> Canvas:
        """Sample `index` of the stream on its canvas."""
        sample = self.draw(index)
        order = np.random.default_rng([self.seed, index, 1]).permutation(len(sample.paths)) if self.shuffle else None
        return lay_out(sample, self.spec, self.tokenizer, self.mask_id, self.pad_id, order, self.words)


def lay_out(
    sample: Sample,
    spec: CanvasSpec,
    tokenizer: Tokenizer,
    mask_id: int,
    pad_id: int,
    order: NDArray[np.int64] | None = None,
    words: Words = NO_WORDS,
) -> Canvas:
    """The full canvas of a training sample, with its paths in `order`. Raises InputError if it does not fit."""
    empty = layout(encode_prompt(sample.problem.prompt, tokenizer, usual=words), spec, tokenizer, mask_id)
    paths = [sample.paths[i].text for i in (range(len(sample.paths)) if order is None else order)]
    texts = paths + [sample.summary] * (spec.summary_tokens > 0)
    return Canvas(
        ids=fill(empty, texts, tokenizer, pad_id), region=empty.region, spec=spec, problem_id=sample.problem.id
    )
