"""Training the small model of CoDiLA (2603.20216): the blocks of samples, as a diffusion model sees them.

A sample's canvas is written up to a block and masked from there, as a decode block by block comes through; the
diffusion model says of each position of the block what it says, and the small model learns the sample's tokens there.
The loss is the cross-entropy of each token given those before it. What the paper trains on is not published in detail.

Letters: B blocks, N positions of a block, V vocabulary. Does not decode (policies/codila.py) or save
(decoding/coherent.py).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from nap.canvas.canvas import Canvas
from nap.decoding.coherent import Coherent
from nap.decoding.policies.policy import Ints
from nap.models.denoiser import Denoiser
from nap.models.session import Question, open_session


class Block(NamedTuple):
    """What the model says of the positions of a block, and the sample's tokens."""

    chance_NV: Tensor
    token_N: Tensor


def blocks(
    denoiser: Denoiser, samples: Sequence[tuple[Canvas, Ints]], size: int, rng: np.random.Generator
) -> list[Block]:
    """One block of each sample, given as (canvas, its full ids), drawn at random; one forward for all."""
    session, questions, wanted = open_session(denoiser), [], []
    for row, (canvas, full_L) in enumerate(samples):
        slots = np.flatnonzero(canvas.region >= 0)
        start = size * int(rng.integers(0, -(-len(slots) // size)))
        ids_L = full_L.copy()
        ids_L[slots[start:]] = denoiser.mask_id
        at_N = slots[start : start + size]
        session.admit(row, canvas)
        questions.append(Question(row, ids_L, at_N, int(at_N[0]), int(at_N[-1]) + 1))
        wanted.append(torch.from_numpy(full_L[at_N]))
    answer = session.ask(questions)
    logits_NV = answer.logits(slice(0, sum(map(len, wanted))))
    chance_NV = logits_NV.softmax(dim=-1).clone()
    chance_NV[:, denoiser.mask_id] = 0
    return [Block(*pair) for pair in zip(chance_NV.split([len(one) for one in wanted]), wanted, strict=True)]


def block_loss(guide: Coherent, seen: Sequence[Block]) -> Tensor:
    """Nats a token, mean over all tokens of the blocks."""
    losses = []
    for count in sorted({len(block.token_N) for block in seen}):
        same = [block for block in seen if len(block.token_N) == count]
        token_BN = torch.stack([block.token_N for block in same])
        logits_BNV = guide(torch.stack([block.chance_NV for block in same]), token_BN)
        losses.append(cross_entropy(logits_BNV.flatten(0, 1), token_BN.flatten(), reduction="sum"))
    return torch.stack(losses).sum() / sum(len(block.token_N) for block in seen)
