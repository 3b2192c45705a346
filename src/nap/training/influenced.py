"""Training an influence head on the model's own leave-one-out effects: what writing one mask changes at the others.

The loss is ours, as DEMASK's (2604.02560) is not published: the squared error of D_ij, mean over all pairs of masks of
a canvas. A canvas is one that a decode comes through: some of its masks are written as its sample has them.

Letters: N masks, D hidden size. Does not decode (policies/demask.py) or save (decoding/influence.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nap.canvas.canvas import Canvas
from nap.decoding.influence import Exact, Influence
from nap.decoding.policies.policy import Ints
from nap.models.denoiser import Denoiser
from nap.models.session import Question, open_session


@dataclass(frozen=True)
class Effects:
    """One canvas: the masks, the model's states of them, and how much each influences each."""

    position_N: Ints
    states_ND: Tensor
    influence_NN: Tensor


def effects(denoiser: Denoiser, canvas: Canvas, ids_L: Ints, most: int, rng: np.random.Generator) -> Effects:
    """The exact influence between at most so many masks of a canvas that is partly written."""
    position_N = np.flatnonzero((ids_L == denoiser.mask_id) & (canvas.region >= 0))
    if len(position_N) > most:
        position_N = np.sort(rng.choice(position_N, most, replace=False))
    session = open_session(denoiser)
    session.admit(0, canvas)
    answer = session.ask([Question(0, ids_L, position_N, 0, len(ids_L))])
    logits_NV = answer.logits(slice(0, len(position_N)))
    logits_NV[:, denoiser.mask_id] = -torch.inf
    token_N = logits_NV.argmax(dim=-1).cpu().numpy()
    found_NN = Exact(denoiser).between(canvas, ids_L, position_N, token_N, answer.states_ND)
    return Effects(position_N, answer.states_ND.float().clone(), torch.from_numpy(found_NN).float())


def partly(canvas: Canvas, full_L: Ints, mask_id: int, rng: np.random.Generator) -> Ints:
    """A sample's canvas where each token of the slots is a mask with one probability, drawn for the canvas."""
    hidden_L = (canvas.region >= 0) & (rng.random(len(full_L)) < rng.uniform(0.1, 1.0))
    if not hidden_L.any():
        hidden_L = canvas.region >= 0
    return np.where(hidden_L, mask_id, full_L)


def influence_loss(head: Influence, seen: Sequence[Effects]) -> Tensor:
    """The squared error over all pairs, mean over the canvases; 0 where a canvas has one mask."""
    losses = []
    for one in seen:
        apart_NN = ~torch.eye(len(one.position_N), dtype=torch.bool)
        if not apart_NN.any():
            continue
        said_NN = head(one.states_ND, torch.from_numpy(one.position_N)).sigmoid()
        losses.append((said_NN - one.influence_NN)[apart_NN].square().mean())
    return torch.stack(losses).mean() if losses else head.distance.weight.sum() * 0
