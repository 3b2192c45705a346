"""Policies that replace tokens already written."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nap.decoding.policies.bounded import above
from nap.decoding.policies.policy import MOST_STEPS_PER_TOKEN, Based, Edits, Ints, RowView, Said
from nap.decoding.policies.ranges import COUNT, SHARE, Range


@dataclass
class Place:
    """The block being written, counted among those with writable positions, and its number of steps without masks."""

    block: int = 0
    after: int = 0


@dataclass(frozen=True, kw_only=True)
class TokenEdit(Based):
    """Drafts a block and edits it in the same steps (LLaDA2.1 2602.08676).

    Masks with p > tau are committed, or the best `least` masks if fewer qualify. A written token of the block is
    replaced where the model now gives another token p > edit. A block is done when a step that began without masks
    edits nothing, or after `patience` such steps. Blocks of `size` positions are counted from the start of the canvas,
    as block-causal models see them.

    tau, edit  the defaults are the paper's quality mode; its fast mode has .5 and 0
    """

    memory = Place
    ranges: ClassVar = {
        "tau": SHARE, "edit": SHARE, "least": COUNT, "size": COUNT, "patience": Range(1, MOST_STEPS_PER_TOKEN - 1),
    }  # fmt: skip
    tau: float = 0.7
    edit: float = 0.5
    least: int = 1
    patience: int = 16
    size: int = 32

    def ask(self, row: RowView) -> Ints:
        """All writable positions of the block; nothing after the last."""
        writable_N = np.flatnonzero(row.block_L >= 0)
        blocks = np.unique(writable_N // self.size)
        state: Place = row.state
        if state.block == len(blocks):
            return writable_N[:0]
        return writable_N[writable_N // self.size == blocks[state.block]]

    def act(self, row: RowView, said: Said) -> Edits:
        """Commits, the most probable first, then edits."""
        now_N = row.ids_L[said.position_N]
        masked = np.flatnonzero(now_N == row.mask_id)
        written = np.flatnonzero((now_N != row.mask_id) & (said.token_N != now_N) & (said.probability_N > self.edit))
        if not len(masked):
            self._count(row.state, edited=len(written) > 0)
        commits = masked[self._sure(said.probability_N[masked])]
        chosen = np.concatenate([commits, written])
        return Edits(said.position_N[chosen], said.token_N[chosen])

    def _sure(self, probability_N: np.ndarray) -> Ints:
        # Strictly above, as published.
        sure = above(probability_N, np.nextafter(self.tau, np.inf))[: len(probability_N)]
        return sure if len(sure) >= self.least else np.argsort(-probability_N, kind="stable")[: self.least]

    def _count(self, place: Place, *, edited: bool) -> None:
        place.after += 1
        if not edited or place.after >= self.patience:
            place.block, place.after = place.block + 1, 0
