"""Prophet: stops asking when the answer is clear (2508.19982)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nap.common.files import InputError
from nap.decoding.policies.policy import Edits, Ints, RowView, Said, Selecting, best
from nap.decoding.policies.ranges import COUNT, NONNEGATIVE


@dataclass(frozen=True, kw_only=True)
class Prophet(Selecting):
    """Commits by probability, within the budget, until the two largest logits are far enough apart over the answer.

    Then everything is written at once. The mean gap must reach `early`, `middle` or `late`, depending on the share of
    the canvas that the budget has covered including this step: less than .33, less than .67, or more.

    answer  how many positions the answer has
    at      the place of its first position among all writable ones; by default the answer starts with the summary, or
            ends the canvas
    """

    reads = ("gap",)
    ranges: ClassVar = {"early": NONNEGATIVE, "middle": NONNEGATIVE, "late": NONNEGATIVE, "answer": COUNT,
                        "at": NONNEGATIVE}  # fmt: skip
    early: float = 7.5
    middle: float = 5.0
    late: float = 2.5
    answer: int = 5
    at: int | None = None
    block: int | None = None

    def ask(self, row: RowView) -> Ints:
        """Every mask, because this step may write them all, and the positions of the answer, written or not."""
        return np.union1d(row.masked_N, self._answer(row)) if len(row.masked_N) else row.masked_N

    def act(self, row: RowView, said: Said) -> Edits:
        """The best masks of the block, or all masks."""
        masked = np.flatnonzero(row.ids_L[said.position_N] == row.mask_id)
        chosen = masked[best(said.probability_N[masked], len(masked))]
        if said.gap_N[np.isin(said.position_N, self._answer(row))].mean() < self._wanted(row):
            chosen = chosen[np.isin(said.position_N[chosen], row.open_N)][: row.quota]
        return Edits(said.position_N[chosen], said.token_N[chosen])

    def _wanted(self, row: RowView) -> float:
        writable = (row.block_L >= 0).sum()
        progress = (writable - len(row.masked_N) + row.quota) / writable
        return self.early if progress < 0.33 else self.middle if progress < 0.67 else self.late

    def _answer(self, row: RowView) -> Ints:
        writable_N = np.flatnonzero(row.block_L >= 0)
        summary = np.flatnonzero(row.region_L[writable_N] == row.paths)
        first = self.at if self.at is not None else int(summary[0]) if len(summary) else -self.answer
        if first >= len(writable_N):
            raise InputError(f"policy 'prophet': at must be below {len(writable_N)}, the canvas's masks, got {first}")
        return writable_N[first:][: self.answer]
