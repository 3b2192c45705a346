"""Muon takes torch's steps, and only hidden matrices go through it."""

import math

import torch

from nap.training.muon import Muon, muon_for
from tiny import recipe, tiny_model

TOKENIZER = recipe("bundled").build_tokenizer("arith")


def test_muon_takes_torchs_steps_up_to_bfloat16_and_adamws_exactly() -> None:
    torch.manual_seed(0)
    for shape in ((16, 16), (48, 16), (16, 48), (20,)):
        ours, theirs = (torch.nn.Parameter(torch.linspace(-1, 1, math.prod(shape)).view(shape)) for _ in range(2))
        matrix = len(shape) == 2
        mine = Muon([{"params": [ours], "lr": 0.02, "weight_decay": 0.01, "matrix": matrix}])
        reference = (
            torch.optim.Muon([theirs], lr=0.02, weight_decay=0.01, momentum=0.95)
            if matrix
            else torch.optim.AdamW([theirs], lr=0.02, weight_decay=0.01, betas=(0.9, 0.98))
        )
        start = ours.detach().clone()
        for _ in range(4):
            ours.grad = torch.randn(shape)
            theirs.grad = ours.grad.clone()
            mine.step()
            reference.step()
        moved = (ours - start).abs().max()
        assert (ours - theirs).abs().max() < (0.03 if matrix else 1e-5) * moved


def test_muon_leaves_embeddings_head_and_norms_to_adamw() -> None:
    matrices, rest = muon_for(tiny_model(TOKENIZER), 1e-3, 1e-2).param_groups
    assert matrices["matrix"] and not rest["matrix"]
    assert {p.ndim for p in matrices["params"]} == {2}
    assert len(matrices["params"]) + len(rest["params"]) == len(list(tiny_model(TOKENIZER).parameters()))
    assert any(p.ndim == 2 for p in rest["params"])
