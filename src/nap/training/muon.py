"""Muon for matrices, AdamW for the rest, as one optimizer.

Muon (Jordan et al. 2024; 2502.16982) orthogonalises the momentum of every hidden matrix. On the bundled models it
learns to copy in a fraction of AdamW's steps (docs/models.md has the figures). torch.optim.Muon computes in bfloat16,
which is 50 times slower than float32 on CPUs without bfloat16 products. This version computes in float32, with all
matrices of one shape together. Does not schedule learning rates.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from nap.common.machine import fast_float32

# The quintic iteration of Jordan et al.: it brings singular values near 1, not exactly there, in few steps.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


def orthogonalise(matrices_NRC: Tensor) -> Tensor:
    """N matrices with their singular values brought close to 1 by Newton-Schulz iterations."""
    a, b, c = COEFFICIENTS
    tall = matrices_NRC.shape[1] > matrices_NRC.shape[2]
    x = matrices_NRC.mT if tall else matrices_NRC
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    with fast_float32():
        for _ in range(ITERATIONS):
            gram = x @ x.mT
            x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Groups with `matrix=True` follow Muon (momentum .95, Nesterov), the others AdamW (betas .9, .98)."""

    def __init__(self, groups: Iterable[dict[str, object]]) -> None:
        super().__init__(groups, {"lr": 1e-3, "weight_decay": 0.0, "matrix": False})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            for parameter in parameters:
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
            (self._muon if group["matrix"] else self._adam)(parameters, group["lr"])

    def _muon(self, parameters: list[Tensor], lr: float) -> None:
        by_shape: dict[torch.Size, list[Tensor]] = {}
        for parameter in parameters:
            by_shape.setdefault(parameter.shape, []).append(parameter)
        for (rows, columns), alike in by_shape.items():
            updates = torch.stack([self._nesterov(parameter) for parameter in alike])
            scale = max(1, rows / columns) ** 0.5
            for parameter, update in zip(alike, orthogonalise(updates), strict=True):
                parameter.sub_(update, alpha=lr * scale)

    def _nesterov(self, parameter: Tensor, momentum: float = 0.95) -> Tensor:
        assert parameter.grad is not None
        average = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
        average.lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(average, momentum)

    def _adam(self, parameters: list[Tensor], lr: float, betas: tuple[float, float] = (0.9, 0.98)) -> None:
        for parameter in parameters:
            assert parameter.grad is not None
            state = self.state[parameter]
            if not state:
                state |= {"step": 0, "mean": torch.zeros_like(parameter), "square": torch.zeros_like(parameter)}
            state["step"] += 1
            mean = state["mean"].lerp_(parameter.grad, 1 - betas[0]) / (1 - betas[0] ** state["step"])
            square = state["square"].lerp_(parameter.grad.square(), 1 - betas[1]) / (1 - betas[1] ** state["step"])
            parameter.sub_(lr * mean / (square.sqrt() + 1e-8))


def muon_for(model: nn.Module, lr: float, matrix_lr: float, weight_decay: float = 0.01) -> Muon:
    """Muon for the matrices between the embeddings and the head, AdamW for everything else."""
    matrices, rest = [], []
    for name, parameter in model.named_parameters():
        hidden = parameter.ndim == 2 and "embed" not in name and "lm_head" not in name
        (matrices if hidden else rest).append(parameter)
    return Muon(
        [
            {"params": matrices, "lr": matrix_lr, "weight_decay": weight_decay, "matrix": True},
            {"params": rest, "lr": lr, "weight_decay": 0.0},
        ]
    )
