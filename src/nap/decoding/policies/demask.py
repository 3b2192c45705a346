"""DEMASK: commits together what a head says does not depend on each other (2604.02560)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from nap.canvas.canvas import Canvas
from nap.decoding.policies.policy import Edits, Floats, Ints, RowView, Said, Selecting, best
from nap.decoding.policies.ranges import NONNEGATIVE, SHARE

if TYPE_CHECKING:
    from nap.decoding.influence import Asks


@dataclass(frozen=True, kw_only=True)
class Demask(Selecting):
    """By confidence, what adds little enough influence: the sum of D_ij over all pairs that are committed is <= tau.

    D_ij is how much writing i changes what the model says of j, i the surer, as the guide says. What would exceed the
    bound is passed over.

    tau    of the whole step, a sum of total variations
    least  confidence of what is committed beside the surest
    """

    paced = False
    reads = ("states",)
    ranges: ClassVar = {"tau": NONNEGATIVE, "least": SHARE}
    guide: "Asks"
    tau: float = 0.5
    least: float = 0.0
    block: int | None = None

    @staticmethod
    def open_guide(name: str) -> "Asks":
        """The influence head of a folder."""
        from nap.decoding.influence import open_influence

        return open_influence(name)

    def start(self, canvas: Canvas) -> Canvas:
        """The canvas, which an exact guide asks about."""
        return canvas

    def act(self, row: RowView, said: Said) -> Edits:
        """The set, in the order in which it was made."""
        order = best(said.probability_N, len(said.probability_N))
        order = order[(said.probability_N[order] >= self.least) | (order == order[0])]
        # Of the model's candidates, whatever was drawn: the head was trained on them.
        position_N, token_N = said.position_N[order], said.token_N[order]
        given = np.argsort(position_N)
        told_NN = self.guide.between(
            row.state, row.ids_L, position_N[given], token_N[given], said.states_ND[order[given]]
        )
        place = np.argsort(given)
        chosen = independent(told_NN[np.ix_(place, place)], self.tau)
        return Edits(position_N[chosen], token_N[chosen], guide_calls=1)


def independent(influence_NN: Floats, tau: float) -> Ints:
    """Indices, ascending, of the greedy set: each is taken where all that are taken sum up to at most `tau` with it."""
    chosen, total = [0], 0.0
    for candidate in range(1, len(influence_NN)):
        more = float(influence_NN[chosen, candidate].sum())
        if total + more <= tau:
            chosen.append(candidate)
            total += more
    return np.array(chosen)
