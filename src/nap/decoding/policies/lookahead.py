"""LoPA: tries one more token in several places, and goes on where the model is surest of what is left (2512.16229)."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from nap.decoding.policies.bounded import above
from nap.decoding.policies.policy import Draft, Edits, Floats, Ints, RowView, Said, Selecting, best
from nap.decoding.policies.ranges import SHARE, Range


@dataclass
class Branches:
    """The tokens that the next forward tries, one a branch, and how probable each was when it was proposed."""

    position_N: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    token_N: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    probability_N: Floats = field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True, kw_only=True)
class Lopa(Selecting):
    """`Threshold`, with a choice among `branches` canvases in every forward: the row's own, and it with one more token.

    The extra tokens are the most probable that the threshold left. A canvas scores `weight` times the probability of
    its extra token (1 for the row's own) plus the rest times the mean of the `low` share of its masks that are least
    sure; the best is gone on with: its extra token and what passes the threshold in it are committed.
    """

    memory = Branches
    paced = False
    needs = ("drafts",)
    ranges: ClassVar = {"tau": SHARE, "branches": Range(1, 64), "weight": SHARE, "low": SHARE}
    tau: float = 0.9
    branches: int = 2
    weight: float = 0.5
    low: float = 0.5
    block: int | None = None

    def drafts(self, row: RowView) -> list[Draft]:
        """The row with one more token, for each that was proposed and whose place is still masked."""
        state: Branches = row.state
        still = row.ids_L[state.position_N] == row.mask_id
        state.position_N, state.token_N = state.position_N[still], state.token_N[still]
        state.probability_N = state.probability_N[still]
        return [Draft(state.position_N[n : n + 1], state.token_N[n : n + 1]) for n in range(len(state.position_N))]

    def act(self, row: RowView, said: Said) -> Edits:
        """The best canvas's own token, then its sure ones; what is tried next is the best of what it leaves."""
        state: Branches = row.state
        scores = [self._score(p, words) for p, words in zip(state.probability_N, said.drafts, strict=True)]
        number = int(np.argmax([*scores, self._score(1.0, said)]))
        words, extra = (*said.drafts, said)[number], slice(number, number + 1)
        order = best(words.probability_N, len(words.probability_N))
        sure, left = np.split(order, [len(above(words.probability_N, self.tau))])
        edits = Edits(
            np.concatenate([state.position_N[extra], words.position_N[sure]]),
            np.concatenate([state.token_N[extra], words.token_N[sure]]),
            probability_N=np.concatenate([state.probability_N[extra], words.model_N[sure]]),
        )
        # The last mask of a block is no branch: nothing would be left there to be sure of.
        tried = left[: self.branches - 1] if len(left) > 1 else left[:0]
        state.position_N, state.token_N = words.position_N[tried], words.token_N[tried]
        state.probability_N = words.probability_N[tried]
        return edits

    def _score(self, probability: float, words: Said) -> float:
        rising_N = np.sort(words.probability_N)
        unsure = rising_N[: max(1, int(self.low * len(rising_N)))]
        return self.weight * probability + (1 - self.weight) * (float(unsure.mean()) if len(unsure) else 1.0)
