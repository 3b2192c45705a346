"""Saber: commits candidates surer than those before, and takes back the least confirmed tokens (2510.18165)."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nap.canvas.canvas import Canvas
from nap.decoding.policies.policy import Based, Edits, Floats, Ints, RowView, Said, best
from nap.decoding.policies.ranges import COUNT


@dataclass
class Sureness:
    """What is remembered of a row.

    last_L       each position's top probability of the step before; -inf where the model was not asked
    committed_L  the same at its last commit, even if it was taken back since; nan without a commit
    block        the furthest block that was begun
    """

    last_L: Floats
    committed_L: Floats
    block: int = 0


@dataclass(frozen=True, kw_only=True)
class Saber(Based):
    """Commits every c above the mean of all committed so far, at least `n`; then takes back the least confirmed.

    Of m committed tokens, max(n // 2, ceil(m / 8)) are taken back, but never all m: those, including ones of this step,
    where the top probability rose least since the step before. A step that leaves no mask up to the end of its block
    takes nothing back.
    """

    ranges: ClassVar = {"n": COUNT}
    n: int = 2
    block: int | None = None

    def start(self, canvas: Canvas) -> Sureness:
        """Before the first step every probability was 0."""
        return Sureness(np.zeros(len(canvas)), np.full(len(canvas), np.nan))

    def ask(self, row: RowView) -> Ints:
        """All writable positions up to the end of the furthest block, masked or not."""
        if not len(row.masked_N):
            return row.masked_N
        state: Sureness = row.state
        state.block = max(state.block, int(row.block_L[row.masked_N[0]]))
        return np.flatnonzero((row.block_L >= 0) & (row.block_L <= state.block))

    def act(self, row: RowView, said: Said) -> Edits:
        """Commits and remasks; a token that would be committed and taken back at once stays masked."""
        state: Sureness = row.state
        masked_N = row.ids_L[said.position_N] == row.mask_id
        commits = self._sure(state, said, np.flatnonzero(masked_N))
        back = self._unconfirmed(state, said, masked_N, commits)
        state.committed_L[said.position_N[commits]] = said.probability_N[commits]
        state.last_L[:] = -np.inf
        state.last_L[said.position_N] = said.probability_N
        kept, taken = np.setdiff1d(commits, back), back[~masked_N[back]]
        kept = kept[best(said.probability_N[kept], len(kept))]
        tokens = [said.token_N[kept], np.full(len(taken), row.mask_id)]
        return Edits(said.position_N[np.concatenate([kept, taken])], np.concatenate(tokens))

    def _sure(self, state: Sureness, said: Said, masked: Ints) -> Ints:
        known = ~np.isnan(state.committed_L)
        tau = state.committed_L[known].mean() if known.any() else 1.0
        order = masked[best(said.probability_N[masked], len(masked))]
        return order[: max(self.n, int((said.probability_N[masked] > tau).sum()))]

    def _unconfirmed(self, state: Sureness, said: Said, masked_N: np.ndarray, commits: Ints) -> Ints:
        if len(commits) == masked_N.sum():
            return commits[:0]
        count = min(max(self.n // 2, math.ceil(len(commits) / 8)), len(commits) - 1)
        rise_N = np.where(masked_N, np.inf, said.probability_N - state.last_L[said.position_N])
        rise_N[commits] = (said.probability_N - state.last_L[said.position_N])[commits]
        back = best(-rise_N, count)
        return back[np.isfinite(rise_N[back])]
