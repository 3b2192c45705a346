"""FreeDave: several commits a forward, exactly the same as with one commit a forward (2510.00294)."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from nap.decoding.policies.policy import Draft, Edits, Ints, RowView, Said, Selecting, best
from nap.decoding.policies.ranges import Range


@dataclass
class Guess:
    """The tokens that are expected to be committed next, one after the other."""

    position_N: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    token_N: Ints = field(default_factory=lambda: np.empty(0, np.int64))

    def at(self, number: int) -> tuple[int, int]:
        """The position and token of one of them."""
        return int(self.position_N[number]), int(self.token_N[number])


@dataclass(frozen=True, kw_only=True)
class SelfSpeculative(Selecting):
    """`low_confidence` with one token a step, up to `ahead` steps in one forward where the model's guess of them holds.

    The next most probable candidates of a step are the guess at the following steps. Each beginning of the guess is a
    canvas of its own, and one forward asks about all of them. A guess holds as long as each token is what the canvas
    before it would commit. So the commits and their order are those of one token a step, in at most as many forwards,
    with up to `ahead` times the query tokens. With a temperature they are draws from the same distributions.
    """

    memory = Guess
    paced = False
    needs = ("drafts",)
    ranges: ClassVar = {"ahead": Range(1, 64)}
    ahead: int = 4
    block: int | None = None

    def drafts(self, row: RowView) -> list[Draft]:
        """The beginnings of the guess, shortest first; none that would leave nothing to ask about."""
        guess: Guess = row.state
        still = row.ids_L[guess.position_N] == row.mask_id
        count = min(len(still) if still.all() else int(still.argmin()), len(row.masked_N) - 1)
        return [Draft(guess.position_N[:n], guess.token_N[:n]) for n in range(1, count + 1)]

    def act(self, row: RowView, said: Said) -> Edits:
        """The first commit, and each next one while the guess was right about the one before."""
        guess: Guess = row.state
        found: list[tuple[int, int, float]] = []
        words, later = said, [*said.drafts]
        while True:
            first, *rest = best(words.probability_N, self.ahead).tolist()
            found.append((int(words.position_N[first]), int(words.token_N[first]), float(words.model_N[first])))
            if not later or not len(later[0].position_N) or found[-1][:2] != guess.at(len(found) - 1):
                break
            words = later.pop(0)
        guess.position_N, guess.token_N = words.position_N[rest], words.token_N[rest]
        position_N, token_N, probability_N = (np.array(column) for column in zip(*found, strict=True))
        return Edits(position_N, token_N, probability_N=probability_N)
