"""Forward masking and the masked-diffusion loss. Pure tensors, seeded by a generator.

The plain objective of masked diffusion (MDLM 2406.07524 Eq. 10, LLaDA 2502.09992 Eq. 3): draw t, mask every response
token with probability t, and weigh the cross-entropy of the masked ones by 1/t. Does not run a model.
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


def stratified_times(batch: int, generator: torch.Generator, lowest: float = 1e-3) -> Tensor:
    """t_B in [lowest, 1): one draw in each of B equal strata, in random order, to lower the variance of the loss."""
    strata = torch.randperm(batch, generator=generator) + torch.rand(batch, generator=generator)
    return lowest + (1 - lowest) * strata / batch


def mask_tokens(
    ids_BL: Tensor, maskable_BL: Tensor, t_B: Tensor, mask_id: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """(noisy_BL, masked_BL): each maskable token masked with probability t of its row, independently."""
    masked_BL = (torch.rand(ids_BL.shape, generator=generator) < t_B[:, None]) & maskable_BL
    return ids_BL.masked_fill(masked_BL, mask_id), masked_BL


def masked_loss(logits_BLV: Tensor, ids_BL: Tensor, masked_BL: Tensor, maskable_BL: Tensor, t_B: Tensor) -> Tensor:
    """Sum over masked tokens of cross-entropy / t, over the number of maskable tokens: nats a token."""
    losses = cross_entropy(logits_BLV.flatten(0, 1).float(), ids_BL.flatten(), reduction="none").view_as(ids_BL)
    return (losses * masked_BL / t_B[:, None]).sum() / maskable_BL.sum()
