"""LoPA: tries one more token at several places, and continues where the model is surest of the rest (2512.16229)."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from nap.decoding.policies.bounded import above
from nap.decoding.policies.policy import Draft, Edits, Floats, Ints, RowView, Said, Selecting, best
from nap.decoding.policies.ranges import SHARE, Range


@dataclass
class Branches:
    """The tokens that the next forward tries, one for each branch, and their probabilities when proposed."""

    position_N: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    token_N: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    probability_N: Floats = field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True, kw_only=True)
class Lopa(Selecting):
    """`Threshold` with a choice among `branches` canvases a forward: the row's own, and copies with one more token.

    The extra tokens are the most probable ones below the threshold. The score of a canvas is `weight` times the
    probability of its extra token (1 for the row's own canvas), plus (1 - `weight`) times the mean probability of the
    `low` share of its masks that are least sure. The canvas with the best score is kept: its extra token and all its
    candidates above the threshold are committed.
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
        """The row with one more token, for each proposal whose place is still masked."""
        state: Branches = row.state
        still = row.ids_L[state.position_N] == row.mask_id
        state.position_N, state.token_N = state.position_N[still], state.token_N[still]
        state.probability_N = state.probability_N[still]
        return [Draft(state.position_N[n : n + 1], state.token_N[n : n + 1]) for n in range(len(state.position_N))]

    def act(self, row: RowView, said: Said) -> Edits:
        """The extra token of the best canvas, then its sure ones; the best of what remains is tried next."""
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
        # The last mask of a block makes no branch, because no masks would be left to score.
        tried = left[: self.branches - 1] if len(left) > 1 else left[:0]
        state.position_N, state.token_N = words.position_N[tried], words.token_N[tried]
        state.probability_N = words.probability_N[tried]
        return edits

    def _score(self, probability: float, words: Said) -> float:
        rising_N = np.sort(words.probability_N)
        unsure = rising_N[: max(1, int(self.low * len(rising_N)))]
        return self.weight * probability + (1 - self.weight) * (float(unsure.mean()) if len(unsure) else 1.0)
