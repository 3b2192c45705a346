"""Weights of linear layers laid out as oneDNN multiplies them fastest.

torch keeps a weight as rows, of which oneDNN then rearranges parts in every product: with few positions, as a cache or
independent paths compute, that is a third of the time. Each layer keeps a copy in oneDNN's own layout, made when it is
first used; the numbers that come out are the same to the bit where this was tried. A model whose copies would be large
is left as it is. Does not round anything (int8.py) and is for decoding alone: with gradients layers work as ever.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

# Bytes of the copies of one model.
MOST = 1 << 30


def use_packed(model: Any) -> None:
    """Make the linear layers of a float32 model on a CPU multiply by packed weights, unless these are too many."""
    layers = [module for module in model.modules() if type(module) is nn.Linear]
    if sum(layer.weight.nbytes for layer in layers) <= MOST:
        for layer in layers:
            # The layer stays what it is, with its weights, names and hooks.
            layer.__class__ = Packed


class Copies(NamedTuple):
    """Bytes of a model's packed weights: those that it has, and those that it will make when they are first used."""

    made: int
    coming: int


def copies(model: Any) -> Copies:
    """How large the packed weights of a model are."""
    layers = [module for module in model.modules() if isinstance(module, Packed)]
    made = sum(layer.weight.nbytes for layer in layers if layer.is_packed)
    return Copies(made=made, coming=sum(layer.weight.nbytes for layer in layers) - made)


class Packed(nn.Linear):
    """A linear layer that packs its weight when it is first used and whenever that has changed."""

    _packed: Tensor | None = None
    _known = (0, 0)

    @property
    def is_packed(self) -> bool:
        """Whether it has a packed copy in memory."""
        return self._packed is not None

    def forward(self, input: Tensor) -> Tensor:
        """The product and the bias, without a gradient."""
        if torch.is_grad_enabled() or input.dtype != torch.float32 or not input.numel():
            return super().forward(input)
        known = self.weight.data_ptr(), 0 if self.weight.is_inference() else self.weight._version
        if known != self._known:
            self._packed, self._known = torch.ops.mkldnn._reorder_linear_weight(self.weight.detach()), known
        return torch.ops.mkldnn._linear_pointwise(input, self._packed, self.bias, "none", [], "")

    def __getstate__(self) -> dict[str, Any]:
        # A copy packs its own weights; what is packed cannot be copied.
        return {name: value for name, value in self.__dict__.items() if name not in ("_packed", "_known")}
