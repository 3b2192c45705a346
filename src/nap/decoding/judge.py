"""The network of a learned policy: it reads how sure the model is at each position and scores which to commit.

One transformer layer over the positions of a row (2512.09106). Its input is the probability of each position, whether
it is masked, and its place; the share of masks enters through AdaLN. Its output is a score b, and a position is
committed with probability sigmoid(b / T). It never sees a token, so it is small and knows nothing of the task.

Letters: M positions, W width. Does not train (training/judged.py) or decode (policies/learned.py).
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from nap.common.files import InputError
from nap.decoding.guides import check_made_for, digest, open_guide, save_guide
from nap.models.denoiser import Denoiser

STEM, HOW = "judge", "recipes/learned_policy.py"
# The largest width of a judge that a folder may ask for, because anybody may have written its file.
WIDEST = 1024
# Sines and cosines of a position's place, and of the share of masks.
WAVES = 4


@dataclass(frozen=True, kw_only=True)
class JudgeSetting:
    """The settings of a judge. `model` is the fingerprint of the model whose probabilities it learned to judge."""

    model: str
    width: int = 32
    heads: int = 2

    def __post_init__(self) -> None:
        whole = all(isinstance(value, int) for value in (self.width, self.heads))
        if not whole or not 1 <= self.heads <= self.width <= WIDEST or self.width % self.heads:
            raise InputError(f"a judge's width must be from 1 to {WIDEST} and divide into its heads, got {self}")


class Judge(nn.Module):
    """Computes the scores b_M of the positions of one row. `name` is the folder it came from."""

    def __init__(self, setting: JudgeSetting, name: str = "") -> None:
        super().__init__()
        width = setting.width
        self.setting, self.name = setting, name
        self.into = nn.Linear(2 + 2 * WAVES, width)
        self.time = nn.Linear(2 * WAVES, 4 * width)
        self.norms = nn.ModuleList([nn.LayerNorm(width, elementwise_affine=False) for _ in range(2)])
        self.attention = nn.MultiheadAttention(width, setting.heads, batch_first=True)
        self.inside = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.out = nn.Linear(width, 1)
        # An untrained judge commits few positions, the surest first.
        nn.init.constant_(self.out.bias, -2.0)

    def forward(self, seen_M2: Tensor, place_M: Tensor, share: float) -> Tensor:
        """b_M from (probability, masked) of each position, its place in the row, and the share of masks."""
        x_MW = self.into(torch.cat([seen_M2, _waves(place_M / 32)], dim=-1))
        scale_a, shift_a, scale_b, shift_b = self.time(_waves(seen_M2.new_tensor(share))).chunk(4)
        first, second = self.norms
        looked = first(x_MW) * (1 + scale_a) + shift_a
        x_MW = x_MW + self.attention(looked[None], looked[None], looked[None], need_weights=False)[0][0]
        x_MW = x_MW + self.inside(second(x_MW) * (1 + scale_b) + shift_b)
        return self.out(x_MW)[:, 0] + 4 * (seen_M2[:, 0] - 0.5)

    @torch.no_grad()
    def scores(self, seen_M2: np.ndarray, place_M: np.ndarray, share: float) -> np.ndarray:
        """The same for arrays, in float64."""
        seen, place = torch.from_numpy(seen_M2).float(), torch.from_numpy(place_M).float()
        return self(seen, place, share).double().numpy()

    @property
    def digest(self) -> str:
        """A short digest of its weights."""
        return digest(self)

    def check(self, denoiser: Denoiser) -> None:
        """Raise InputError where it was trained on another model."""
        check_made_for(denoiser, self.setting.model, f"the judge {self.name}", HOW)


def _waves(value: Tensor) -> Tensor:
    angle = value[..., None] * math.pi * 2.0 ** torch.arange(WAVES, device=value.device)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def save_judge(judge: Judge, folder: Path) -> None:
    """Write its weights and setting."""
    save_guide(folder, STEM, judge, asdict(judge.setting))


def open_judge(name: str) -> Judge:
    """The judge of a folder. Raises InputError for one that holds none, or none that fits its own setting."""
    return open_guide(name, STEM, "judge", HOW, lambda setting: Judge(JudgeSetting(**setting), name))
