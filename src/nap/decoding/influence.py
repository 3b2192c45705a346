"""How much writing one mask changes what the model says of another: exactly, or as a light head predicts it.

    D_ij = TV(p(x_j | ctx), p(x_j | ctx, x_i)), x_i the candidate of i

Exactly it takes a canvas for every mask. The head (DEMASK 2604.02560) reads the model's states of both masks and their
distance, and costs next to nothing: D_ij = sigmoid(q_i . k_j + the weight of the distance). Its loss is unpublished;
ours is the squared error to the exact influence (training/influenced.py).

Letters: N masks, D hidden size, W width of the head, V vocabulary. Does not choose what to write (policies/demask.py).
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from nap.canvas.canvas import Canvas, collate
from nap.decoding.guides import check_made_for, check_sizes, digest, open_guide, save_guide
from nap.decoding.policies.policy import Floats, Ints
from nap.models.denoiser import Denoiser

STEM, HOW = "influence", "recipes/influence.py"
# What a folder may ask for: it is read from a file that anyone may have written.
WIDEST_STATE, WIDEST = 1 << 14, 1 << 12
# Distances that the head tells apart; all longer ones are alike.
FARTHEST = 64
# Canvases of one forward of the exact influence.
ROWS = 32


class Asks(Protocol):
    """Whoever says how masks influence each other."""

    name: str

    def between(self, canvas: Canvas, ids_L: Ints, position_N: Ints, token_N: Ints, states_ND: Tensor) -> Floats:
        """D_NN, from row to column, of masks whose candidates are these; the diagonal is 0."""
        ...


class Exact:
    """The exact influence, of a model. One call is as many canvases as there are masks."""

    name = "exact"

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser

    def between(self, canvas: Canvas, ids_L: Ints, position_N: Ints, token_N: Ints, states_ND: Tensor) -> Floats:
        """See `Asks`."""
        count = len(position_N)
        before_NV = self._chances(canvas, ids_L[None], position_N)
        found_NN = np.zeros((count, count))
        for start in range(0, count, ROWS):
            part = np.arange(start, min(start + ROWS, count))
            ids_BL = np.repeat(ids_L[None], len(part), axis=0)
            ids_BL[np.arange(len(part)), position_N[part]] = token_N[part]
            after_BNV = self._chances(canvas, ids_BL, position_N).reshape(len(part), count, -1)
            found_NN[part] = (after_BNV - before_NV[None]).abs().sum(dim=-1).cpu().numpy() / 2
        np.fill_diagonal(found_NN, 0)
        return found_NN

    @torch.inference_mode()
    def _chances(self, canvas: Canvas, ids_BL: Ints, position_N: Ints) -> Tensor:
        """The distributions at these positions of all canvases, row after row."""
        _, layout = collate([canvas] * len(ids_BL), self.denoiser.pad_id)
        rows = np.repeat(np.arange(len(ids_BL)), len(position_N))
        values = ids_BL, rows, np.tile(position_N, len(ids_BL))
        ids, rows_N, positions_N = (torch.as_tensor(value, device=self.denoiser.device) for value in values)
        return self.denoiser.logits(ids, layout, (rows_N, positions_N)).softmax(dim=-1)


@dataclass(frozen=True, kw_only=True)
class InfluenceSetting:
    """What a head is made of. `model` is the fingerprint of the model whose masks it learned."""

    model: str
    states: int
    width: int = 64

    def __post_init__(self) -> None:
        check_sizes("an influence head", {"states": (self.states, WIDEST_STATE), "width": (self.width, WIDEST)})


class Influence(nn.Module):
    """The head, as a guide. `name` is where it came from."""

    def __init__(self, setting: InfluenceSetting, name: str = "") -> None:
        super().__init__()
        self.setting, self.name = setting, name
        self.norm = nn.LayerNorm(setting.states)
        self.giver = nn.Linear(setting.states, setting.width)
        self.taker = nn.Linear(setting.states, setting.width)
        # One weight for each distance, to the left and to the right. At first influence is small everywhere.
        self.distance = nn.Embedding(2 * FARTHEST + 1, 1)
        nn.init.constant_(self.distance.weight, -3.0)

    def forward(self, states_ND: Tensor, position_N: Tensor) -> Tensor:
        """Logits of D_NN, from row to column."""
        normed_ND = self.norm(states_ND)
        apart_NN = (position_N[None] - position_N[:, None]).clamp(-FARTHEST, FARTHEST) + FARTHEST
        scores_NN = self.giver(normed_ND) @ self.taker(normed_ND).T / self.setting.width**0.5
        return scores_NN + self.distance(apart_NN)[..., 0]

    @torch.no_grad()
    def between(self, canvas: Canvas, ids_L: Ints, position_N: Ints, token_N: Ints, states_ND: Tensor) -> Floats:
        """See `Asks`: by the states alone."""
        weight = self.giver.weight
        places = torch.as_tensor(position_N, device=weight.device)
        found_NN = self(states_ND.to(weight), places).sigmoid().double().cpu().numpy()
        np.fill_diagonal(found_NN, 0)
        return found_NN

    @property
    def digest(self) -> str:
        """A few letters of its weights."""
        return digest(self)

    def check(self, denoiser: Denoiser) -> None:
        """Raise InputError where it was trained on another model; else it goes where that is."""
        check_made_for(denoiser, self.setting.model, f"the influence head {self.name}", HOW)
        self.to(denoiser.device)


def save_influence(head: Influence, folder: Path) -> None:
    """Write its weights and setting."""
    save_guide(folder, STEM, head, asdict(head.setting))


def open_influence(name: str) -> Influence:
    """The head of a folder. Raises InputError for one that holds none, or none that fits its own setting."""
    return open_guide(name, STEM, "influence head", HOW, lambda told: Influence(InfluenceSetting(**told), name))
