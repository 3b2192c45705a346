"""Laws of text with exact answers: n-grams and hidden Markov models, fitted to texts.

    law = fit_ngram(texts, vocabulary=64, order=3)            # fitting.py
    marginals_LV, log_p = law.read(np.array([5, -1, 7, -1]))      # -1: not written yet

Both are chains of hidden states: an n-gram's states are contexts, and a token comes with the context that it leads to.
Given any set of written positions, the distribution at every other position, the probability of what is written and of
any content are exact, by forward-backward.

[ours] An n-gram here backs off at random. With chance 1 - `backoff` the next token is drawn from those that followed
the context in the texts; otherwise from the context that is one token shorter, and so on down to single tokens, which
all have some chance. The text continues from the context that was drawn from. This is a different law from
Kneser-Ney's; it keeps the chain sparse, so that a step costs as many products as there are n-grams in the texts.

Letters: L positions, V tokens, S states. Does not fit (fitting.py), and is no denoiser (exact.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nap.common.files import InputError

# A matrix, dense or sparse. scipy's classes have no types.
Matrix = Any
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
MASKED = -1


class Reading(NamedTuple):
    """What a law says about a sequence.

    marginals_LV  the distribution at each position, given every written one; at a written position all of it is on its
                  token
    log_p         log-probability of what is written, nats
    """

    marginals_LV: Floats
    log_p: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Law:
    """A chain of S states that writes one token a step.

    start_S      probability of each state before the first token
    forward      one or two matrices [S, S] whose product is a step; two, so that neither is dense
    emission_SV  chance of each token in each state
    name         for traces
    tokens_are_states  whether the last token determines the state, so that what follows depends on that token alone
    """

    start_S: Floats
    forward: tuple[Matrix, ...]
    emission_SV: Matrix
    name: str
    tokens_are_states: bool = False

    # Products with a column are fast with the matrix itself, products with a row with its transpose.
    @cached_property
    def _steps(self) -> tuple[Matrix, ...]:
        return tuple(matrix.T.copy() for matrix in self.forward)

    @cached_property
    def _columns(self) -> Matrix:
        return self.emission_SV if isinstance(self.emission_SV, np.ndarray) else self.emission_SV.tocsc()

    @cached_property
    def _tokens(self) -> Matrix:
        return self.emission_SV.T.copy()

    @property
    def vocabulary(self) -> int:
        """V."""
        return self.emission_SV.shape[1]

    def step(self, state_S: Floats) -> Floats:
        """The states after one more token, from those before it."""
        for matrix in self._steps:
            state_S = matrix @ state_S
        return state_S

    def back(self, state_S: Floats) -> Floats:
        """The same backwards: how well each state before a token explains what comes after it."""
        for matrix in reversed(self.forward):
            state_S = matrix @ state_S
        return state_S

    def given(self, state_S: Floats, token: int) -> Floats:
        """States times their probability of emitting this token; unchanged for MASKED."""
        if token == MASKED:
            return state_S
        columns = self._columns
        if isinstance(columns, np.ndarray):
            return state_S * columns[:, token]
        here, found = slice(columns.indptr[token], columns.indptr[token + 1]), np.zeros_like(state_S)
        found[columns.indices[here]] = state_S[columns.indices[here]] * columns.data[here]
        return found

    def after(self, tokens: Sequence[int]) -> Floats:
        """The states after these tokens. Raises InputError where the law cannot write them."""
        state_S = self.start_S
        for token in tokens:
            state_S = self.given(self.step(state_S), token)
            if not (total := state_S.sum()):
                raise InputError(f"law {self.name}: what is written is impossible")
            state_S = state_S / total
        return state_S

    def tokens(self, state_LS: Floats) -> Floats:
        """[L, V] the distribution of the tokens that such states emit."""
        tokens_LV = np.ascontiguousarray((self._tokens @ state_LS.T).T)
        return tokens_LV / tokens_LV.sum(axis=1, keepdims=True)

    def read(self, ids_L: Ints, start_S: Floats | None = None) -> Reading:
        """What the law says about a sequence with MASKED positions, starting from a state."""
        return Reader(self, len(ids_L), start_S).read(ids_L)


class Reader:
    """Reads one sequence repeatedly while it is written, and computes again only what a change affects.

    Messages are updated from the first (last) changed position on and stop where they no longer differ: after as many
    written tokens as a context has, nothing changes.
    """

    def __init__(self, law: Law, length: int, start_S: Floats | None = None) -> None:
        self.law, states = law, len(law.start_S)
        start_S = law.start_S if start_S is None else start_S
        # before[i]: states at i given the tokens before it, without i itself; after[i]: the same given the tokens after
        # it.
        self.ids: Ints | None = None
        self.before, self.after = np.empty((length, states)), np.ones((length, states))
        self.start_S, self.log_L = start_S, np.zeros(length)
        self.changed = np.ones(length, bool)
        self.marginals: Floats | None = None

    def read(self, ids_L: Ints) -> Reading:
        """See `Law.read`."""
        new = np.ones(len(ids_L), bool) if self.ids is None else ids_L != self.ids
        if new.any():
            whole, self.ids = self.ids is None, ids_L.copy()
            touched = new | self._go_right(new, whole) | self._go_left(new, whole)
            self._answer(touched)
        assert self.marginals is not None
        return Reading(self.marginals, float(self.log_L.sum()))

    def _go_right(self, new_L: NDArray[np.bool_], whole: bool) -> NDArray[np.bool_]:
        law, ids, touched = self.law, self.ids, np.zeros_like(new_L)
        assert ids is not None
        moved = whole
        for i, token in enumerate(ids.tolist()):
            if moved:
                earlier = law.given(self.before[i - 1], int(ids[i - 1])) if i else self.start_S
                state = law.step(earlier / earlier.sum())
                moved = whole or not np.array_equal(state, self.before[i])
                self.before[i], touched[i] = state, moved
            if moved or new_L[i]:
                given = law.given(self.before[i], token).sum()
                self.log_L[i] = 0.0 if token == MASKED else np.log(given / self.before[i].sum())
            moved |= bool(new_L[i])
        return touched

    def _go_left(self, new_L: NDArray[np.bool_], whole: bool) -> NDArray[np.bool_]:
        law, ids, touched = self.law, self.ids, np.zeros_like(new_L)
        assert ids is not None
        moved = whole
        for i in range(len(ids) - 1, -1, -1):
            if moved and i < len(ids) - 1:
                state = law.back(law.given(self.after[i + 1], int(ids[i + 1])))
                state /= state.max()
                moved = whole or not np.array_equal(state, self.after[i])
                self.after[i], touched[i] = state, moved
            moved |= bool(new_L[i])
        return touched

    def _answer(self, touched_L: NDArray[np.bool_]) -> None:
        ids = self.ids
        assert ids is not None
        if self.marginals is None:
            self.marginals = np.zeros((len(ids), self.law.vocabulary))
            touched_L = np.ones_like(touched_L)
        written, open_N = touched_L & (ids != MASKED), np.flatnonzero(touched_L & (ids == MASKED))
        self.marginals = self.marginals.copy()
        self.marginals[written] = 0.0
        self.marginals[np.flatnonzero(written), ids[written]] = 1.0
        if len(open_N):
            self.marginals[open_N] = self.law.tokens(self.before[open_N] * self.after[open_N])
