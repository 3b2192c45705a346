"""What a model trained to edit says beside its tokens: whether each should go, and which token should follow it.

Two linear maps of the model's last hidden states (ME-DLM 2605.09603): one to a logit of deletion, against all tokens
together, and one to the next token. `nap train --objective edit` trains them with the model and writes them beside its
weights, so that the folder is both a model and its editor: --model DIR --policies draft_revise:guide=DIR.

Letters: N positions, D hidden size, V vocabulary. Does not train (training/edit.py) or edit (policies/revising.py).
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nap.common.files import InputError
from nap.decoding.guides import check_made_for, check_sizes, digest, open_guide, save_guide
from nap.models.denoiser import Denoiser

STEM, HOW = "editor", "nap train --objective edit, and give the model of the same folder"
# What a folder may ask for: it is read from a file that anyone may have written.
WIDEST, LARGEST = 1 << 14, 1 << 19


@dataclass(frozen=True, kw_only=True)
class EditorSetting:
    """What an editor is made of. `model` is the fingerprint of the model that it was trained with."""

    model: str
    width: int
    vocabulary: int
    pad_id: int

    def __post_init__(self) -> None:
        check_sizes("an editor", {"width": (self.width, WIDEST), "vocabulary": (self.vocabulary, LARGEST)})
        if not isinstance(self.pad_id, int) or not 0 <= self.pad_id < self.vocabulary:
            raise InputError(f"an editor's pad_id must be one of its {self.vocabulary} tokens, got {self.pad_id!r}")


class Says(NamedTuple):
    """Of every position: the probability that its token goes, the token that follows, and the probability of that."""

    delete_N: NDArray[np.float64]
    next_N: NDArray[np.int64]
    chance_N: NDArray[np.float64]


class Editor(nn.Module):
    """The two maps, as a guide. `name` is where they came from."""

    def __init__(self, setting: EditorSetting, name: str = "") -> None:
        super().__init__()
        self.setting, self.name, self.pad_id = setting, name, setting.pad_id
        self.delete = nn.Linear(setting.width, 1)
        self.next = nn.Linear(setting.width, setting.vocabulary, bias=False)
        # At first nothing goes.
        nn.init.zeros_(self.delete.weight)
        nn.init.constant_(self.delete.bias, -4.0)

    @torch.no_grad()
    def says(self, states_ND: Tensor) -> Says:
        """What it says of positions by the model's states of them."""
        states_ND = states_ND.to(self.delete.weight)
        chance_NV = self.next(states_ND).double().softmax(dim=-1)
        chance_N, next_N = chance_NV.max(dim=-1)
        delete_N = self.delete(states_ND)[:, 0].double().sigmoid()
        return Says(delete_N.cpu().numpy(), next_N.cpu().numpy(), chance_N.cpu().numpy())

    @property
    def digest(self) -> str:
        """A few letters of its weights."""
        return digest(self)

    def check(self, denoiser: Denoiser) -> None:
        """Raise InputError where it was trained with another model; else its weights go where that is."""
        check_made_for(denoiser, self.setting.model, f"the editor {self.name}", HOW)
        self.to(denoiser.device)


def save_editor(editor: Editor, folder: Path) -> None:
    """Write its weights and setting."""
    save_guide(folder, STEM, editor, asdict(editor.setting))


def open_editor(name: str) -> Editor:
    """The editor of a folder. Raises InputError for one that holds none, or none that fits its own setting."""
    return open_guide(name, STEM, "editor", HOW, lambda setting: Editor(EditorSetting(**setting), name))
