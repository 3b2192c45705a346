"""Training a model to edit its own drafts, beside masked diffusion (ME-DLM 2605.09603): `nap train --objective edit`.

Every step has two forwards. The first is that of masked diffusion, with its loss; what it predicts is drawn in the
masks' place, which makes drafts as the model writes them. Tokens of some slots are then dropped and doubled, because a
draft of masks never moves. The second forward sees the drafts, and learns of each token what stands in its place in the
sample, V + DEL, and what follows it: a Levenshtein script (policies/revising.py).

Letters: B rows, L canvas length, N masked positions, M positions of the slots, V vocabulary, D hidden size. Does not
open or save models (finetune.py, final.py).
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softplus

from nap.decoding.editor import Editor, EditorSetting
from nap.decoding.guides import fingerprint_of
from nap.decoding.policies.revising import DELETE, ended, script
from nap.training.loss import masked_loss
from nap.training.trainer import DiffusionTrainer

# The editor as a part of the model, so that it is trained and saved with it; by this name Muon leaves it to AdamW.
PART = "edit_lm_heads"


class Targets(NamedTuple):
    """What is learned of each position of the slots: its token in the sample or DELETE, and the token behind it."""

    c_M: Tensor
    n_M: Tensor


def attach(model: nn.Module, pad_id: int) -> None:
    """Give a model its editor, whose map to the next token starts as the output head."""
    head: Tensor = model.get_output_embeddings().weight  # pyright: ignore
    editor = Editor(EditorSetting(model="", width=head.shape[1], vocabulary=head.shape[0], pad_id=pad_id))
    with torch.no_grad():
        editor.next.weight.copy_(head)
    model.add_module(PART, editor.to(head))


def detach(model: nn.Module, mask_id: int) -> Editor | None:
    """Take a model's editor from it, which then knows the model as it is now; None where it has none."""
    editor = model._modules.pop(PART, None)
    if not isinstance(editor, Editor):
        return None
    known = fingerprint_of(model, editor.setting.vocabulary, mask_id)
    editor.setting = replace(editor.setting, model=known)
    return editor


class EditTrainer(DiffusionTrainer):
    """The Trainer with both losses, one as heavy as the other."""

    def compute_loss(self, model: nn.Module, inputs: dict[str, Tensor], *args: object, **kwargs: object) -> Tensor:
        """The loss of one part of a step."""
        logits_NV = self.predicted(model, inputs, inputs["rows"], inputs["positions"])
        loss = masked_loss(logits_NV, inputs["targets"], inputs["weights"])
        rng = np.random.default_rng(int(inputs["draw"]))
        draft_BL = drawn(inputs, logits_NV.detach(), rng)
        draft_BL, targets = corrupted(draft_BL, inputs, rng)
        rows_M, positions_M = (inputs["region"] >= 0).nonzero(as_tuple=True)
        logits_MV = self.predicted(model, inputs | {"input_ids": draft_BL}, rows_M, positions_M)
        assert self.picked is not None and self.picked.states_ND is not None, "the edit objective is not compiled"
        editor: Editor = getattr(self.model, PART)
        return loss + edit_loss(logits_MV, editor, self.picked.states_ND, targets)


def drawn(inputs: dict[str, Tensor], logits_NV: Tensor, rng: np.random.Generator) -> Tensor:
    """The canvases with what the model drew in its masks: token by token, as it was predicted."""
    chance_NV = logits_NV.float().softmax(dim=-1).cpu().double().numpy()
    chance_NV[:, int(inputs["mask_id"])] = 0
    below_NV = np.cumsum(chance_NV, axis=1)
    token_N = (below_NV < rng.random(len(below_NV))[:, None] * below_NV[:, -1:]).sum(axis=1)
    draft_BL = inputs["input_ids"].clone()
    draft_BL[inputs["rows"], inputs["positions"]] = torch.as_tensor(token_N, device=draft_BL.device)
    return draft_BL


def corrupted(draft_BL: Tensor, inputs: dict[str, Tensor], rng: np.random.Generator) -> tuple[Tensor, Targets]:
    """The drafts with tokens dropped and doubled in half of the slots, and how each becomes the sample again."""
    pad, rate = int(inputs["pad_id"]), float(inputs["corrupt"])
    draft, clean, region = (column.cpu().numpy() for column in (draft_BL, inputs["clean"], inputs["region"]))
    found, c_BL, n_BL = draft.copy(), np.full(draft.shape, pad), np.full(draft.shape, pad)
    for row, slots in enumerate(region):
        for slot in range(int(slots.max()) + 1):
            at = np.flatnonzero(slots == slot)
            tokens = draft[row, at].tolist()
            if rng.random() < 0.5:
                tokens = shaken(tokens, pad, rate, rng)
            found[row, at] = tokens
            c_BL[row, at], n_BL[row, at] = script(tokens, clean[row, at].tolist(), pad)
    place = draft_BL.device
    c_M, n_M = (torch.as_tensor(column[region >= 0], device=place) for column in (c_BL, n_BL))
    return torch.as_tensor(found, device=place), Targets(c_M, n_M)


def shaken(tokens: list[int], pad: int, rate: float, rng: np.random.Generator) -> list[int]:
    """A slot whose tokens are dropped with half the rate and doubled with the other half; its room stays."""
    found: list[int] = []
    for token, u in zip(tokens[: ended(tokens, pad)], rng.random(len(tokens)), strict=False):
        found += [token] * (0 if u < rate / 2 else 2 if u < rate else 1)
    return (found + [pad] * len(tokens))[: len(tokens)]


def edit_loss(logits_MV: Tensor, editor: Editor, states_MD: Tensor, targets: Targets) -> Tensor:
    """-log p(c) - log p(n), mean over the positions: p(DEL) = sigmoid(x), p(v) = (1 - sigmoid(x)) softmax(logits)_v."""
    states_MD = states_MD.to(editor.delete.weight)
    x_M, goes_M = editor.delete(states_MD)[:, 0].float(), targets.c_M == DELETE
    token_M = cross_entropy(logits_MV.float(), targets.c_M.clamp(min=0), reduction="none")
    c_M = torch.where(goes_M, softplus(-x_M), softplus(x_M) + token_M)
    n_M = cross_entropy(editor.next(states_MD).float(), targets.n_M, reduction="none")
    return (c_M + n_M).mean()
