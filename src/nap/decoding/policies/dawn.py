"""DAWN: positions that depend on each other, by attention weights, are not committed together (2602.06953)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nap.decoding.policies.policy import Floats, Ints, Said, Selecting, View, best
from nap.decoding.policies.ranges import SHARE, Range

Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Dawn(Selecting):
    """Commits c >= tau; c >= induce where that depends on a decoded token; and of the rest with c >= low a free set.

    A position depends on another if it gives it an attention weight of `edge` or more, as a mean over heads and the
    last `late` share of layers. The position itself and positions that everything attends to (a mean weight above
    `sink`) do not count. A position before the block's end, prompt included, counts as decoded where the model's best
    token has probability tau or more. The free set is built by falling c: no member depends on another member, or on a
    candidate that is sure and depends on a decoded token. If nothing qualifies, the most probable candidate is
    committed.
    """

    paced = False
    reads = ("attention",)
    ranges: ClassVar = {
        "tau": SHARE, "induce": SHARE, "low": SHARE, "edge": SHARE, "sink": SHARE, "late": Range(0, 1, above=True),
    }  # fmt: skip
    tau: float = 0.9
    induce: float = 0.7
    low: float = 0.7
    edge: float = 0.07
    sink: float = 0.01
    late: float = 0.125
    block: int | None = None

    def select(self, view: View) -> Ints:
        """The sure, the induced and the free ones, most probable first."""
        depends_LL = self._depends(view.said)
        chance_N, at_N = view.probability_N, view.position_N
        sure_N = chance_N >= self.tau
        induced_N = depends_LL[np.ix_(at_N, self._decoded(view))].any(axis=1) & (chance_N >= self.induce)
        depends_NN = depends_LL[np.ix_(at_N, at_N)]
        rest_N = (chance_N >= self.low) & ~sure_N & ~induced_N & ~depends_NN[:, sure_N & induced_N].any(axis=1)
        free_N = _free(depends_NN | depends_NN.T, rest_N, chance_N)
        order = best(chance_N, len(chance_N))
        chosen = order[(sure_N | induced_N | free_N)[order]]
        return chosen if len(chosen) else order[:1]

    def _depends(self, said: Said) -> Bools:
        """[L, L] whether a position depends on another."""
        weights_TLL = said.attention_TLL
        count = max(1, round(self.late * len(weights_TLL)))
        weight_LL = weights_TLL[-count:].mean(dim=0).cpu().numpy()
        weight_LL[:, weight_LL.mean(axis=0) > self.sink] = 0
        np.fill_diagonal(weight_LL, 0)
        return weight_LL >= self.edge

    def _decoded(self, view: View) -> Ints:
        row = view.row
        end = int(np.flatnonzero(row.block_L == row.block_L[row.open_N[0]])[-1]) + 1
        return np.flatnonzero((row.ids_L[:end] != row.mask_id) & (view.said.top_L[:end] >= self.tau))


def _free(tied_NN: Bools, rest_N: Bools, chance_N: Floats) -> Bools:
    """Which of the rest are taken, by falling probability, so that no two are tied."""
    free_N = np.zeros(len(rest_N), bool)
    for n in best(chance_N, len(chance_N)):
        free_N[n] = rest_N[n] and not tied_NN[n, free_N].any()
    return free_N
