"""P2: every step decides again what stays masked (2502.03540)."""

from dataclasses import dataclass

import numpy as np

from nap.decoding.policies.policy import Based, Edits, Ints, RowView, Said, best


@dataclass(frozen=True, kw_only=True)
class P2(Based):
    """After each step the number of masks follows the budget; they are where the model is least sure, written or not.

    The certainty of a written position is the probability of the model's best token there, even if that is another
    token than the written one.
    """

    paced = True

    def ask(self, row: RowView) -> Ints:
        """Every writable position, as long as there are masks."""
        return np.flatnonzero(row.block_L >= 0) if len(row.masked_N) else row.masked_N

    def act(self, row: RowView, said: Said) -> Edits:
        """Commits, most probable first, then the tokens that are taken back."""
        masked_N = row.ids_L[said.position_N] == row.mask_id
        order = best(said.probability_N, len(masked_N))
        kept = len(masked_N) - max(0, len(row.masked_N) - row.quota)
        commits, back = order[:kept][masked_N[order[:kept]]], order[kept:][~masked_N[order[kept:]]]
        tokens = [said.token_N[commits], np.full(len(back), row.mask_id)]
        return Edits(said.position_N[np.concatenate([commits, back])], np.concatenate(tokens))
