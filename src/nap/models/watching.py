"""What a session measures of its rows for a cache that chooses what to refresh: influence and drift (kept.py).

Letters: L canvas length, Q positions computed, T layers, H heads, d head size. Chooses nothing (caches.py).
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nap.canvas.visibility import Bools, Ints
from nap.models.attention import Looks
from nap.models.kept import Floats


def influence(map_TQL: Sequence[Tensor], position_Q: Ints) -> Floats:
    """influence_L, how much all positions depend on each by attention rollout (2005.00928, as d2Cache has it).

    Each layer is half what a position was and half what it looked at; a position that was not computed stays what it
    was. Sums to L.
    """
    length = map_TQL[0].shape[1]
    rollout_LL = torch.eye(length, device=map_TQL[0].device)
    at_Q = torch.as_tensor(position_Q, device=rollout_LL.device)
    for map_QL in map_TQL:
        # The rows that were not computed are the same before and after.
        rollout_LL[at_Q] = (rollout_LL[at_Q] + map_QL.float() @ rollout_LL) / 2
    return rollout_LL.sum(0).double().cpu().numpy()


class Heard:
    """What the first layer's attention tells each position of a row, and how far that is from what it was told before.

    It depends on the tokens alone, so that it can be had of all positions at the cost of a few: the layer's
    projections of what has changed, and one sum over positions.
    """

    def __init__(self, sees_LL: Bools) -> None:
        self.sees_LL = torch.from_numpy(sees_LL)
        self.looks: Looks | None = None
        self.told_LD = self.before_LD = torch.zeros(0)

    def take(self, looks: Looks, position_Q: Ints) -> None:
        """Take in what the first layer is given at positions whose token has changed; all of them at first."""
        if self.looks is None:
            self.looks = Looks(*(tensor[0] for tensor in looks))
            self.sees_LL = self.sees_LL.to(looks.query.device)
        else:
            for old, new in zip(self.looks, looks, strict=True):
                old[:, torch.as_tensor(position_Q, device=old.device)] = new[0]
        query_HLd, key_SLd, value_SLd = self.looks
        shared = len(query_HLd) // len(key_SLd)
        key_HLd, value_HLd = (x.repeat_interleave(shared, dim=0) for x in (key_SLd, value_SLd))
        scores_HLL = (query_HLd @ key_HLd.transpose(1, 2)).masked_fill_(~self.sees_LL, -torch.inf)
        self.told_LD = (scores_HLL.softmax(-1) @ value_HLd).transpose(0, 1).flatten(1).float()

    def drift(self) -> Floats:
        """drift_L, the length of the difference between what a position is told and was told when it was computed."""
        if not len(self.before_LD):
            return np.zeros(len(self.told_LD))
        return (self.told_LD - self.before_LD).norm(dim=1).double().cpu().numpy()

    def compute(self, position_Q: Ints) -> None:
        """Take in that these positions are computed now."""
        if not len(self.before_LD):
            self.before_LD = self.told_LD.clone()
        at_Q = torch.as_tensor(position_Q, device=self.told_LD.device)
        self.before_LD[at_Q] = self.told_LD[at_Q]
