"""KLASS: commits candidates that are sure and have not changed over the last steps (2511.05664).

It compares the distributions of each step with those of the step before, so it keeps V numbers for every masked
position of a row.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from nap.canvas.canvas import Canvas
from nap.decoding.policies.policy import Edits, Floats, Ints, RowView, Said, Selecting, best
from nap.decoding.policies.ranges import NONNEGATIVE, SHARE, Range

if TYPE_CHECKING:
    from torch import Tensor

# As in the published code: added to both distributions before their logarithms.
TINY = 1e-12


@dataclass
class Steadiness:
    """What is remembered of a row.

    position_N, before_NV  the positions and distributions of the step before
    change_Lh              the last changes of each position, nats; the newest last
    block, steps           the block that is being decoded, and its steps so far
    """

    change_Lh: Floats
    position_N: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    before_NV: "Tensor | None" = None
    block: int = -1
    steps: int = 0


@dataclass(frozen=True, kw_only=True)
class Klass(Selecting):
    """Commits where c > tau and the last `history` KL(p_t, p_t-1) are below eps; if nowhere, the budget's best.

    The model is asked about every masked position at every step, because histories continue across blocks.
    """

    reads = ("distribution",)
    ranges: ClassVar = {"tau": SHARE, "eps": NONNEGATIVE, "history": Range(1, 1024)}
    tau: float = 0.9
    eps: float = 0.01
    history: int = 2
    block: int | None = None

    def start(self, canvas: Canvas) -> Steadiness:
        """No change is known yet, which counts as none."""
        return Steadiness(np.zeros((len(canvas), self.history)))

    def ask(self, row: RowView) -> Ints:
        """Every masked position."""
        return row.masked_N

    def act(self, row: RowView, said: Said) -> Edits:
        """The sure and steady ones of the block, most probable first; where there are none the `quota` best.

        All that are left in the last step of a number of steps, which the steady ones alone would exceed.
        """
        state: Steadiness = row.state
        _remember(state, said, row)
        here = np.flatnonzero(np.isin(said.position_N, row.open_N))
        order = here[best(said.probability_N[here], len(here))]
        steady = (state.change_Lh[said.position_N] < self.eps).all(axis=1) & (state.steps >= self.history)
        chosen = order[(steady & (said.probability_N > self.tau))[order]]
        last = row.steps is not None and row.quota >= len(order)
        chosen = chosen if len(chosen) and not last else order[: row.quota]
        return Edits(said.position_N[chosen], said.token_N[chosen])


def _remember(state: Steadiness, said: Said, row: RowView) -> None:
    block = int(row.block_L[row.open_N[0]])
    state.block, state.steps = block, state.steps + 1 if block == state.block else 1
    state.change_Lh[:, :-1] = state.change_Lh[:, 1:]
    state.change_Lh[said.position_N, -1] = _changes(state, said)
    state.position_N, state.before_NV = said.position_N, said.distribution_NV


def _changes(state: Steadiness, said: Said) -> NDArray[np.float64]:
    """[N] KL(now || before), nats; before the first step nothing had any probability."""
    now_NV = said.distribution_NV.double()
    if state.before_NV is None:
        before_NV = now_NV.new_zeros(now_NV.shape)
    else:
        before_NV = state.before_NV[np.searchsorted(state.position_N, said.position_N)].double()
    ratio_NV = (now_NV + TINY).log() - (before_NV + TINY).log()
    return (now_NV * ratio_NV).sum(dim=-1).cpu().numpy()
