"""ReFusion: plans which stretches of text to write, and fills these at once, each from left to right (2512.13586).

A stretch is called a slot in the paper; here slots are the paths and the summary, so it is called a stretch. Does not
keep keys of what is written (models/caches.py).
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nap.canvas.canvas import Canvas
from nap.decoding.policies.bounded import above
from nap.decoding.policies.policy import Draft, Edits, Ints, RowView, Said, Selecting
from nap.decoding.policies.ranges import COUNT, SHARE, Range


@dataclass
class Plan:
    """Which stretch each position is in, whether it is being filled, and what is drafted there (-1: nothing)."""

    stretch_L: Ints
    chosen_L: NDArray[np.bool_]
    draft_L: Ints


@dataclass(frozen=True, kw_only=True)
class Refusion(Selecting):
    """Chooses stretches whose first token is sure, fills them together, each from left to right, and chooses again.

    Where nothing is being filled, each stretch whose first mask has p >= first is chosen, the surest in any case; its
    first token is written and the rest drafted. Then every forward asks about the row and about it with 1, 2 .. more
    drafted tokens of each stretch: a token is what the model says given all before it in its stretch, and the next is
    read while the draft was that token, with p >= token.

    first  of a stretch to be chosen
    token  of a draft, to be verified
    size   tokens of a stretch; it ends with its path, too
    ahead  tokens of a stretch in a forward at most, which takes as many canvases; 1 works with a cache
    """

    paced = False
    needs = ("drafts",)
    ranges: ClassVar = {"first": SHARE, "token": SHARE, "size": COUNT, "ahead": Range(1, 64)}
    first: float = 0.9
    token: float = 0.4
    size: int = 32
    ahead: int = 4
    block: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ahead == 1:
            object.__setattr__(self, "needs", ())

    def start(self, canvas: Canvas) -> Plan:
        """Nothing is chosen."""
        stretch_L = np.full(len(canvas), -1)
        return Plan(stretch_L, np.zeros(len(canvas), bool), np.full(len(canvas), -1))

    def ask(self, row: RowView) -> Ints:
        """What is masked in the stretches that are being filled, or in all."""
        plan: Plan = row.state
        if plan.stretch_L.max() < 0:
            plan.stretch_L = stretches(row, self.size)
        filling_N = plan.chosen_L[row.open_N]
        if not filling_N.any():
            plan.chosen_L[:] = False
            return row.open_N
        return row.open_N[filling_N]

    def drafts(self, row: RowView) -> list[Draft]:
        """The row with 1, 2 .. drafted tokens more in each chosen stretch, while that leaves a mask to ask about."""
        plan: Plan = row.state
        found: list[Draft] = []
        rests = self._rests(row)
        for count in range(1, self.ahead):
            at_N = np.concatenate([rest[:count] for rest in rests]) if rests else row.open_N[:0]
            at_N = np.sort(at_N[plan.draft_L[at_N] >= 0])
            known = found[-1].position_N if found else at_N[:0]
            if len(at_N) == len(known) or len(at_N) >= len(row.open_N):
                break
            found.append(Draft(at_N, plan.draft_L[at_N]))
        return found

    def act(self, row: RowView, said: Said) -> Edits:
        """The first tokens of what is chosen now, or what was verified of what was chosen before."""
        if not row.state.chosen_L.any():
            return self._planned(row, said)
        verified = [self._verified(row, said, rest) for rest in self._rests(row)]
        position_N, token_N, probability_N = (np.concatenate(column) for column in zip(*verified, strict=True))
        return Edits(position_N, token_N, probability_N=probability_N)

    def _rests(self, row: RowView) -> list[Ints]:
        """The masks of each stretch that is being filled."""
        plan: Plan = row.state
        at_N = row.open_N[plan.chosen_L[row.open_N]]
        return np.split(at_N, np.flatnonzero(np.diff(plan.stretch_L[at_N])) + 1) if len(at_N) else []

    def _planned(self, row: RowView, said: Said) -> Edits:
        plan: Plan = row.state
        first_N = np.unique(plan.stretch_L[said.position_N], return_index=True)[1]
        chosen_N = first_N[above(said.probability_N[first_N], self.first)]
        plan.chosen_L = np.isin(plan.stretch_L, plan.stretch_L[said.position_N[chosen_N]]) & (plan.stretch_L >= 0)
        plan.draft_L[said.position_N] = said.token_N
        return Edits(said.position_N[chosen_N], said.token_N[chosen_N])

    def _verified(self, row: RowView, said: Said, rest: Ints) -> tuple[Ints, Ints, NDArray[np.float64]]:
        """(positions, tokens, probabilities) of a stretch: one, and each next while the draft was right before it."""
        plan: Plan = row.state
        tokens: list[int] = []
        chances: list[float] = []
        drafted_N = plan.draft_L[rest]
        for words, at, drafted in zip((said, *said.drafts), rest, drafted_N, strict=False):
            number = int(np.searchsorted(words.position_N, at))
            if number == len(words.position_N) or words.position_N[number] != at:
                break
            tokens.append(int(words.token_N[number]))
            chances.append(float(words.model_N[number]))
            heard = np.isin(words.position_N, rest)
            plan.draft_L[words.position_N[heard]] = words.token_N[heard]
            if tokens[-1] != drafted or words.probability_N[number] < self.token:
                break
        return rest[: len(tokens)], np.array(tokens), np.array(chances)


def stretches(row: RowView, size: int) -> Ints:
    """[L] the number of each writable position's stretch, -1 elsewhere: `size` neighbours of one path."""
    writable_N = np.flatnonzero(row.block_L >= 0)
    breaks_N = (np.diff(writable_N) > 1) | (np.diff(row.region_L[writable_N]) != 0)
    start_N = np.concatenate([[0], np.flatnonzero(breaks_N) + 1])
    place_N = np.arange(len(writable_N)) - start_N[np.searchsorted(start_N, np.arange(len(writable_N)), "right") - 1]
    found_L = np.full(len(row.block_L), -1)
    found_L[writable_N] = np.cumsum(place_N % size == 0) - 1
    return found_L
