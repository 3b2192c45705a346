"""log p(answer | prompt) of a masked diffusion model: its bound, by Monte Carlo over masks or exactly.

    estimate = log_likelihood(denoiser, prompt_ids, answer_ids, draws=128, seed=0)
    estimate.value, estimate.standard_error

As LLaDA (2502.09992) and dllm compute it: the prompt stays clean, x of the answer's L
tokens are masked, and the value is the mean of -(L / x) times the cross-entropy summed over the masked ones. In a batch
of B = 32 draws k ~ U{1..L} and row b masks ((round(k + b L / B) - 1) mod L) + 1 tokens. Where the answer has no more
masks than draws, all 2^L - 1 are taken, each with its weight: no error is left. One token's value is its log p.

Letters: B rows, L tokens of the answer, N positions asked about, V vocabulary. Does not split text into tokens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import comb, sqrt
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray

from nap.canvas.visibility import Layout
from nap.common.bounds import check_least
from nap.common.files import InputError
from nap.data.trace import PROMPT
from nap.decoding.prompt import check_length
from nap.models.denoiser import Denoiser

DRAWS, BATCH = 128, 32
ROWS = 16  # of one forward
CHUNK = 1 << 24  # logits at a time
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """value: nats. standard_error: of the mean over the draws, 0 where `exact`. The draws of a batch are spread, so
    that the true error is rather smaller.
    """

    value: float
    standard_error: float
    draws: int
    exact: bool


def log_likelihood(
    denoiser: Denoiser, prompt: Sequence[int], answer: Sequence[int], *, draws: int = DRAWS, seed: int = 0
) -> Estimate:
    """The bound on log p(answer | prompt). The same ids and seed give the same draws, whatever else is computed.

    Raises InputError for an answer without a token, fewer draws than 2, and a canvas that the model cannot hold.
    """
    check_least({"draws": draws}, 2)
    if not answer:
        raise InputError("an answer to score needs at least one token, got none")
    check_length(denoiser, len(prompt) + len(answer))
    length = len(answer)
    exact = 2**length - 1 <= draws
    generator = np.random.default_rng([seed, crc32(np.array([*prompt, -1, *answer], np.int64).tobytes())])
    masks_BL = all_masks(length) if exact else drawn_masks(length, draws, generator)
    losses_B = np.concatenate([*_losses(denoiser, prompt, answer, masks_BL)])
    x_B = masks_BL.sum(axis=1)
    values_B = -losses_B * length / x_B
    if exact:
        weights_B = np.array([1 / (length * comb(length, int(x))) for x in x_B])
        return Estimate(value=float(weights_B @ values_B), standard_error=0.0, draws=len(x_B), exact=True)
    error = float(values_B.std(ddof=1)) / sqrt(len(values_B))
    return Estimate(value=float(values_B.mean()), standard_error=error, draws=len(x_B), exact=False)


def all_masks(length: int) -> Bools:
    """Every way to mask some of so many tokens."""
    return (np.arange(1, 2**length)[:, None] >> np.arange(length) & 1).astype(bool)


def drawn_masks(length: int, draws: int, generator: np.random.Generator) -> Bools:
    """[draws, length]: in every batch of BATCH the numbers of masks are spread evenly, and their places random."""
    masks_BL = np.zeros((draws, length), bool)
    for start in range(0, draws, BATCH):
        size = min(BATCH, draws - start)
        k = int(generator.integers(1, length + 1))
        x_B = (np.rint(k + np.arange(size) * length / size).astype(int) - 1) % length + 1
        for row, x in enumerate(x_B):
            masks_BL[start + row, generator.permutation(length)[:x]] = True
    return masks_BL


def _losses(
    denoiser: Denoiser, prompt: Sequence[int], answer: Sequence[int], masks_BL: Bools
) -> Iterator[NDArray[np.float64]]:
    """Cross-entropy summed over the masked tokens of each row, some rows at a time."""
    begin, truth_L = len(prompt), torch.tensor(answer)
    masked = np.zeros((len(masks_BL), begin + len(answer)), bool)
    masked[:, begin:] = masks_BL
    clean = np.array([*prompt, *answer], np.int64)
    region = np.where(np.arange(len(clean)) < begin, PROMPT, 0)
    most = max(1, min(ROWS, CHUNK // max(1, denoiser.vocabulary * len(answer))))
    rows = iter(masked)
    while chunk := [*islice(rows, most)]:
        masked_BL = np.array(chunk)
        ids_BL = torch.from_numpy(np.where(masked_BL, denoiser.mask_id, clean)).to(denoiser.device)
        row_N, position_N = np.nonzero(masked_BL)
        at = torch.from_numpy(row_N).to(denoiser.device), torch.from_numpy(position_N).to(denoiser.device)
        with torch.inference_mode():
            logits_NV = denoiser.logits(ids_BL, Layout(np.tile(region, (len(chunk), 1))), at).float().cpu()
        loss_N = torch.nn.functional.cross_entropy(logits_NV, truth_L[position_N - begin], reduction="none")
        yield np.bincount(row_N, weights=loss_N.double().numpy(), minlength=len(chunk)).astype(np.float64)
