"""A small autoregressive model that decodes a block jointly, from what a diffusion model says of each of its positions.

Every position's distribution becomes a soft embedding (CoDiLA 2603.20216): sum_v p_j(v) E[v]. A small transformer reads
those of the whole block and then, from left to right, the tokens written so far; what it adds is a correction,
p(x_j | x_<j) ~ p_j(x_j) exp(a_j(x_j | x_<j)), which starts at nothing, so that an untrained one writes what the
diffusion model says of each position alone. It sees the context through the distributions only.

Letters: N positions of a block, V vocabulary, W width, K beams. Does not train (training/coherent.py) or choose where
to write (policies/codila.py).
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from nap.common.files import InputError
from nap.decoding.guides import check_made_for, check_sizes, digest, open_guide, save_guide
from nap.models.denoiser import Denoiser

STEM, HOW = "coherent", "recipes/coherent.py"
# What a folder may ask for: it is read from a file that anyone may have written.
LARGEST, WIDEST, DEEPEST, LONGEST = 1 << 19, 1 << 11, 16, 256
# Added to a probability before its logarithm.
TINY = 1e-9


@dataclass(frozen=True, kw_only=True)
class CoherentSetting:
    """What it is made of. `model` is the fingerprint of the model whose distributions it reads; `block` its longest."""

    model: str
    vocabulary: int
    block: int = 8
    width: int = 64
    heads: int = 4
    layers: int = 2

    def __post_init__(self) -> None:
        sizes: dict[str, tuple[object, int]] = {
            "vocabulary": (self.vocabulary, LARGEST), "block": (self.block, LONGEST), "width": (self.width, WIDEST),
            "heads": (self.heads, WIDEST), "layers": (self.layers, DEEPEST),
        }  # fmt: skip
        check_sizes("a block's model", sizes)
        if self.width % self.heads:
            raise InputError(f"a block's model's width must divide into its heads, got {self.width} and {self.heads}")


class Coherent(nn.Module):
    """The small model, as a guide. `name` is where it came from."""

    def __init__(self, setting: CoherentSetting, name: str = "") -> None:
        super().__init__()
        self.setting, self.name = setting, name
        width = setting.width
        self.embed = nn.Embedding(setting.vocabulary, width)
        self.place = nn.Embedding(2 * setting.block, width)
        self.start = nn.Parameter(torch.zeros(width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, setting.heads, 4 * width, 0.0, batch_first=True, norm_first=True)
            for _ in range(setting.layers)
        )
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, setting.vocabulary, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, chance_BNV: Tensor, token_BN: Tensor) -> Tensor:
        """logits_BNV of each position's token given those before it; the last of `token_BN` is not looked at."""
        count = chance_BNV.shape[1]
        soft_BNW = chance_BNV @ self.embed.weight
        before_BNW = torch.cat([self.start.expand(len(token_BN), 1, -1), self.embed(token_BN[:, :-1])], dim=1)
        at = torch.arange(count, device=token_BN.device)
        states = torch.cat([soft_BNW + self.place(at), before_BNW + soft_BNW + self.place(at + self.setting.block)], 1)
        # All see the distributions, and of the tokens those before.
        hidden = torch.ones(2 * count, 2 * count, dtype=torch.bool, device=token_BN.device).triu(1)
        hidden[:, :count] = False
        hidden[:count, count:] = True
        for layer in self.layers:
            states = layer(states, src_mask=hidden)
        return (chance_BNV + TINY).log() + self.out(self.norm(states[:, count:]))

    @torch.no_grad()
    def decode(self, chance_NV: Tensor, beam: int) -> np.ndarray:
        """The most probable block that a search of so many beams finds; the exact one where none has to be left out."""
        chance_NV = chance_NV.to(self.start)
        count, vocabulary = chance_NV.shape
        token_KN = torch.zeros(1, count, dtype=torch.long, device=chance_NV.device)
        score_K = torch.zeros(1, dtype=torch.float64, device=chance_NV.device)
        for at in range(count):
            said_KV = self(chance_NV.expand(len(token_KN), -1, -1), token_KN)[:, at].double()
            said_KV = said_KV.masked_fill(chance_NV[at] <= 0, -torch.inf).log_softmax(dim=-1)
            flat = (score_K[:, None] + said_KV).flatten()
            score_K, best = flat.topk(min(beam, int(flat.isfinite().sum())))
            token_KN = token_KN[best // vocabulary]
            token_KN[:, at] = best % vocabulary
        return token_KN[0].cpu().numpy()

    @property
    def digest(self) -> str:
        """A few letters of its weights."""
        return digest(self)

    def check(self, denoiser: Denoiser) -> None:
        """Raise InputError where it was trained on another model; else it goes where that is."""
        check_made_for(denoiser, self.setting.model, f"the block's model {self.name}", HOW)
        self.to(denoiser.device)


def save_coherent(guide: Coherent, folder: Path) -> None:
    """Write its weights and setting."""
    save_guide(folder, STEM, guide, asdict(guide.setting))


def open_coherent(name: str) -> Coherent:
    """The model of a folder. Raises InputError for one that holds none, or none that fits its own setting."""
    return open_guide(name, STEM, "block's model", HOW, lambda told: Coherent(CoherentSetting(**told), name))
