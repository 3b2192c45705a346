"""Forward masking and the losses of masked diffusion. Pure tensors, seeded by a generator.

The objective (MDLM 2406.07524 Eq. 10, LLaDA 2502.09992 Eq. 3): draw a noise level t, mask every token of the slots with
probability t, and add up the cross-entropy of the masked ones, each times a weight. Prompt and headers are never
masked; the closing tag and the padding inside a slot are treated like any other token, so that a model learns to end.

Shape letters: B batch, L canvas length, V vocabulary, R slots (paths and summary), N masked positions of a batch.
Does not run a model: the caller gives the logits of the masked positions, a model's shift already undone.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from nap.data.trace import OUTSIDE
from nap.training.settings import Normalise, Objective

# The smallest noise level, so that 1/t stays finite.
LOWEST = 1e-3
# CART's p: how fast the weight of an unmasked neighbour falls with its distance (Dream 2508.15487).
SHARPNESS = 0.1
# Structured masking (NAP's published code): r = RATE t, and all summary tokens are masked while 1 - t < SUMMARY_FROM.
RATE, SUMMARY_FROM = 0.9, 0.8


class Noise(NamedTuple):
    """For every position, the level t of its slot and its probability of being masked, which is 0 outside slots."""

    t_BL: Tensor
    rate_BL: Tensor


class Masked(NamedTuple):
    """The ids with masks, and the positions of the masks."""

    ids_BL: Tensor
    masked_BL: Tensor


def stratified_times(batch: int, generator: torch.Generator, lowest: float = LOWEST) -> Tensor:
    """t_B in [lowest, 1): one draw in each of B equal strata, in random order, to lower the variance of the loss."""
    strata = torch.randperm(batch, generator=generator) + torch.rand(batch, generator=generator)
    return lowest + (1 - lowest) * strata / batch


def draw_times(batch: int, slots: int, objective: Objective, generator: torch.Generator) -> Tensor:
    """t_BR: the noise level of each slot of each row, the same for all slots of a row or independent."""
    if objective.times == "row":
        u_BR = stratified_times(batch, generator)[:, None].expand(-1, slots)
    else:
        u_BR = torch.stack([stratified_times(batch, generator) for _ in range(slots)], dim=1)
    return u_BR**objective.power


def noise_of(region_BL: Tensor, t_BR: Tensor, objective: Objective) -> Noise:
    """The noise of every position. Plain: rate t. Structured, with z from 0 to 1 along a slot, and r = .9 t:
    r (1 + kappa z) in a path; in the summary 1 while 1 - t < .8, else r (1 + z); never above 1.
    """
    slot_BL = region_BL >= 0
    t_BL = t_BR.gather(1, region_BL.clamp(min=0))
    if objective.masking == "plain":
        return Noise(t_BL, t_BL * slot_BL)
    rate_BL, z_BL = RATE * t_BL, _along(region_BL, t_BR.shape[1])
    path_BL = rate_BL * (1 + objective.kappa * z_BL)
    summary_BL = torch.where(1 - t_BL < SUMMARY_FROM, 1.0, rate_BL * (1 + z_BL))
    return Noise(t_BL, torch.where(region_BL == t_BR.shape[1] - 1, summary_BL, path_BL).clamp(max=1) * slot_BL)


def _along(region_BL: Tensor, slots: int) -> Tensor:
    """z_BL: 0 at the first token of a slot, 1 at its last."""
    z_BL = torch.zeros(region_BL.shape)
    for slot in range(slots):
        inside_BL = region_BL == slot
        last_B1 = (inside_BL.sum(dim=1, keepdim=True) - 1).clamp(min=1)
        z_BL = torch.where(inside_BL, (inside_BL.cumsum(dim=1) - 1) / last_B1, z_BL)
    return z_BL


def mask_tokens(ids_BL: Tensor, rate_BL: Tensor, mask_id: int, generator: torch.Generator) -> Masked:
    """Each token masked with its own probability, independently."""
    masked_BL = torch.rand(ids_BL.shape, generator=generator) < rate_BL
    return Masked(ids_BL.masked_fill(masked_BL, mask_id), masked_BL)


def loss_weights(region_BL: Tensor, masked_BL: Tensor, noise: Noise, objective: Objective) -> Tensor:
    """The factor of the cross-entropy of each masked token in the sum; 0 elsewhere.

    With w the weight of a masked token and M_b the tokens of row b's slots (under CART: the masked ones alone):
      token      w / sum_b M_b        MDLM's convention: under 1/t its expectation is nats a token
      sequence   w / (B M_b)          every row counts the same, whatever its length
      batch      w / B                the bound of a whole row, summed over its tokens
    """
    weight_BL = WEIGHTS[objective.weight](region_BL, masked_BL, noise) * masked_BL
    # CART's script divides by the number of masked tokens, all other weights by that of tokens that can be masked.
    counted_BL = masked_BL if objective.weight == "cart" else region_BL >= 0
    rows = len(region_BL)
    counts: dict[Normalise, Tensor | int] = {
        "token": counted_BL.sum().clamp(min=1),
        "sequence": rows * counted_BL.sum(dim=1, keepdim=True).clamp(min=1),
        "batch": rows,
    }
    return weight_BL / counts[objective.normalise]


def _inverse(region_BL: Tensor, masked_BL: Tensor, noise: Noise) -> Tensor:
    """1 / t: LLaDA 2502.09992 Eq. 3. Under structured masking one over the token's own probability of being masked,
    so that in expectation every token still counts once.
    """
    return 1 / noise.rate_BL.clamp(min=LOWEST * RATE)


def _linear(region_BL: Tensor, masked_BL: Tensor, noise: Noise) -> Tensor:
    """1 - t: the more of the row is seen, the more."""
    return 1 - noise.t_BL


def _cart(region_BL: Tensor, masked_BL: Tensor, noise: Noise) -> Tensor:
    """w_n = sum over the unmasked i of 1/2 p (1 - p)^(|i - n| - 1): Dream 2508.15487, p = .1."""
    seen_BL = ~masked_BL & (region_BL != OUTSIDE)
    position_L = torch.arange(region_BL.shape[1])
    distance_LL = (position_L[:, None] - position_L).abs()
    kernel_LL = SHARPNESS / 2 * (1 - SHARPNESS) ** (distance_LL - 1.0)
    return seen_BL.float() @ kernel_LL


def _none(region_BL: Tensor, masked_BL: Tensor, noise: Noise) -> Tensor:
    return torch.ones(region_BL.shape)


WEIGHTS = {"1/t": _inverse, "cart": _cart, "linear": _linear, "none": _none}


def masked_loss(logits_NV: Tensor, ids_N: Tensor, weight_N: Tensor) -> Tensor:
    """The weighted sum of the cross-entropies, in float32. Zero, with a gradient, where nothing is masked."""
    return (cross_entropy(logits_NV.float(), ids_N, reduction="none") * weight_N).sum()
