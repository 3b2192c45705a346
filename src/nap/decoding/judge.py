"""The network of a learned policy: it reads how sure the model is at each position and scores which to commit.

One transformer layer over the positions of a row (2512.09106). Its input is the probability of each position, whether
it is masked, and its place; the share of masks enters through AdaLN. Its output is a score b, and a position is
committed with probability sigmoid(b / T). It never sees a token, so it is small and knows nothing of the task.

Letters: M positions, W width. Does not train (training/judged.py) or decode (policies/learned.py).
"""

import json
import math
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from nap.common.files import InputError, atomic
from nap.models.denoiser import Denoiser, NativeDenoiser

WEIGHTS, SETTING = "judge.safetensors", "judge.json"
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
        found = blake2b(digest_size=6)
        for name, tensor in sorted(self.state_dict().items()):
            found.update(name.encode() + tensor.contiguous().numpy().tobytes())
        return found.hexdigest()

    def check(self, denoiser: Denoiser) -> None:
        """Raise InputError where it was trained on another model."""
        if self.setting.model != (found := fingerprint(denoiser)):
            raise InputError(
                f"the judge {self.name} was trained on another model (fingerprint {self.setting.model}) than "
                f"{denoiser.setting.get('model')} ({found}); train one for it: recipes/learned_policy.py"
            )


def _waves(value: Tensor) -> Tensor:
    angle = value[..., None] * math.pi * 2.0 ** torch.arange(WAVES, device=value.device)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def fingerprint(denoiser: Denoiser) -> str:
    """A short digest that tells a model from others, whatever its name and the number type it is opened in."""
    parts = [str(denoiser.vocabulary), str(denoiser.mask_id)]
    if isinstance(denoiser, NativeDenoiser):
        rough = next(p for name, p in denoiser.model.named_parameters() if name.endswith("norm.weight"))
        parts += [repr(rough.detach().to(torch.bfloat16).tolist())]
    return blake2b("/".join(parts).encode(), digest_size=6).hexdigest()


def save_judge(judge: Judge, folder: Path) -> None:
    """Write its weights and setting."""
    from safetensors.torch import save

    with atomic(folder / WEIGHTS, "wb") as file:
        file.write(save({name: tensor.contiguous() for name, tensor in judge.state_dict().items()}))
    with atomic(folder / SETTING) as file:
        file.write(json.dumps(asdict(judge.setting), indent=1) + "\n")


def open_judge(name: str) -> Judge:
    """The judge of a folder. Raises InputError for one that holds none, or none that fits its own setting."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(name)
    if not (folder / SETTING).is_file() or not (folder / WEIGHTS).is_file():
        raise InputError(f"{name} holds no judge ({SETTING} and {WEIGHTS}); train one: recipes/learned_policy.py")
    try:
        judge = Judge(JudgeSetting(**json.loads((folder / SETTING).read_text())), name)
        judge.load_state_dict(load_file(folder / WEIGHTS))
    except (TypeError, ValueError, RuntimeError, OSError, SafetensorError) as error:
        raise InputError(f"{name} holds no judge that can be opened: {str(error).splitlines()[0]}") from None
    return judge.eval()
