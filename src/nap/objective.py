"""What a training masks, and what a masked token weighs: the setting alone, without tensors (loss.py computes it)."""

from dataclasses import dataclass
from typing import Literal, get_args

from nap.files import InputError

Weight = Literal["1/t", "cart", "linear", "none"]
Normalise = Literal["token", "sequence", "batch"]
Masking = Literal["plain", "structured"]
Times = Literal["row", "path"]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What is masked, and what the cross-entropy of a masked token weighs."""

    weight: Weight = "1/t"
    """1/t (the likelihood bound), cart (many unmasked neighbours weigh more), linear (1 - t), none (all the same)"""
    normalise: Normalise = "token"
    """divide by the tokens of the batch, by those of each row and then the rows, or by the rows alone"""
    masking: Masking = "plain"
    """plain (every token of the slots with probability t) or structured (the summary is seen last)"""
    times: Times = "row"
    """one noise level t for a row, or one for each path and the summary"""
    power: float = 1.0
    """t = u ** power with u uniform: below 1 more of a canvas is masked than by the bound, whose power is 1"""
    kappa: float = 0.0
    """structured masking: how much more often a path's end is masked than its start"""

    def __post_init__(self) -> None:
        for name, known in (("weight", Weight), ("normalise", Normalise), ("masking", Masking), ("times", Times)):
            if (value := getattr(self, name)) not in get_args(known):
                raise InputError(f"unknown {name} {value!r}; known: {', '.join(get_args(known))}")
        if not 0 < self.power < float("inf"):
            raise InputError(f"power must be above 0 and finite, got {self.power}")
        if not 0 <= self.kappa < float("inf"):
            raise InputError(f"kappa must be 0 or more and finite, got {self.kappa}")
        if self.kappa and self.masking == "plain":
            raise InputError(f"kappa {self.kappa} changes nothing with plain masking; choose structured, or drop it")
