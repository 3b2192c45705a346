"""A learned policy: a small network reads how sure the model is and decides what to commit (2512.09106)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nap.decoding.policies.policy import Edits, Floats, Ints, RowView, Said, Selecting, best
from nap.decoding.policies.ranges import NONNEGATIVE

if TYPE_CHECKING:
    from nap.decoding.judge import Judge


class Seen(NamedTuple):
    """What the judge sees of a row: (probability, masked) of each writable position of the block, its place, and t."""

    seen_M2: Floats
    place_M: Ints
    share: float


class Decision(NamedTuple):
    """What the judge saw, and which of the masks it chose to commit."""

    seen: Seen
    commit_N: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Learned(Selecting):
    """Commits each mask with probability sigmoid(b / temperature), b from the guide; at least the one of highest b.

    temperature  0: commit where b is above 0
    """

    paced = False
    ranges: ClassVar = {"temperature": NONNEGATIVE}
    guide: "Judge"
    temperature: float = 0.0
    block: int | None = None

    @staticmethod
    def open_guide(name: str) -> "Judge":
        """The judge of a folder."""
        from nap.decoding.judge import open_judge

        return open_judge(name)

    def act(self, row: RowView, said: Said) -> Edits:
        """What the judge says, most probable first."""
        seen = seen_of(row, said)
        b_N = self.guide.scores(*seen)[seen.seen_M2[:, 1] > 0]
        commit_N = self.draw(b_N, row)
        self.note(Decision(seen, commit_N))
        order = best(said.probability_N, len(b_N))
        chosen = order[commit_N[order]] if commit_N.any() else best(b_N, 1)
        return Edits(said.position_N[chosen], said.token_N[chosen], guide_calls=1)

    def draw(self, b_N: Floats, row: RowView) -> NDArray[np.bool_]:
        """Which of the masks to commit."""
        if not self.temperature:
            return b_N > 0
        with np.errstate(over="ignore"):  # Close to 0 it is a step.
            return row.rng.random(len(b_N)) < 1 / (1 + np.exp(-b_N / self.temperature))

    def note(self, decision: Decision) -> None:
        """Does nothing here; the subclass that is trained remembers its decisions (training/judged.py)."""


def seen_of(row: RowView, said: Said) -> Seen:
    """What a judge sees before a step."""
    block = np.flatnonzero(row.block_L == row.block_L[said.position_N[0]])
    masked_M = row.ids_L[block] == row.mask_id
    # Tokens that were filled without asking count as certain.
    chance_M = np.nan_to_num(row.confidence_L[block], nan=1.0)
    chance_M[masked_M] = said.probability_N
    return Seen(np.stack([chance_M, masked_M], axis=1), np.arange(len(block)), float(masked_M.mean()))
