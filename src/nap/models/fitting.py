"""Fit a law (laws.py) to texts of token ids: an n-gram by counting, a hidden Markov model by Baum-Welch.

    law = fit_ngram(texts, vocabulary=64, order=3)
    law = fit_hmm(texts, vocabulary=64, states=32)

Letters: B texts side by side, T their positions, V tokens, S states. Does not tokenize (exact.py).
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from nap.common.files import InputError
from nap.models.laws import Floats, Law, Matrix

MOST_TOKENS, MOST_ORDER, MOST_STATES = 4096, 6, 512
# Baum-Welch reads texts in pieces of this many tokens, in this many rounds.
PIECE, ROUNDS = 64, 25
Context = tuple[int, ...]
Counts = dict[int, float]


def fit_ngram(texts: Iterable[Sequence[int]], vocabulary: int, order: int = 3, backoff: float = 0.1) -> Law:
    """The n-gram law of texts of token ids (from 0 to below `vocabulary`); `order` 2 looks one token back.

    Raises InputError for a setting out of its range, and texts without a token.
    """
    _check("vocabulary", vocabulary, MOST_TOKENS)
    _check("order", order, MOST_ORDER)
    if not 0 < backoff < 1:
        raise InputError(f"an n-gram's backoff must be above 0 and below 1, got {backoff}")
    followed = _counted(texts, order)
    if not followed:
        raise InputError("a law needs texts, and these hold no token")
    # Every token may follow the empty context, so that every text has a positive probability.
    for token in range(vocabulary):
        followed[()][token] = followed[()].get(token, 0.0) + 0.5
    number = {context: i for i, context in enumerate(_contexts(followed, vocabulary))}
    steps = _draws(number, followed, backoff), _arcs(number, followed)
    last = [(i, context[-1], 1.0) for context, i in number.items() if context]
    return Law(
        start_S=np.eye(1, len(number), 0)[0],
        forward=tuple(_sparse(list(entries), (len(number), len(number))) for entries in steps),
        emission_SV=_sparse(last, (len(number), vocabulary)),
        name=f"ngram:order={order}",
        tokens_are_states=order <= 2,
    )


def _counted(texts: Iterable[Sequence[int]], order: int) -> dict[Context, Counts]:
    """Context -> how often each token followed it, for contexts of every length below `order`."""
    followed: dict[Context, Counts] = {}
    for text in texts:
        for i, token in enumerate(text):
            for length in range(min(order, i + 1)):
                counts = followed.setdefault(tuple(text[i - length : i]), {})
                counts[token] = counts.get(token, 0.0) + 1
    return followed


def _contexts(followed: dict[Context, Counts], vocabulary: int) -> list[Context]:
    """The states, the empty context first. Every single token is a state, so some state writes each token."""
    singles = [(token,) for token in range(vocabulary)]
    return list(dict.fromkeys([(), *singles, *(context for context in followed if len(context) > 1)]))


Entry = tuple[int, int, float]


def _draws(number: dict[Context, int], followed: dict[Context, Counts], backoff: float) -> Iterator[Entry]:
    """The context from which a state draws: its own, or one that it backs off to."""
    for context, i in number.items():
        left = 1.0
        for skipped in range(len(context) + 1):
            shorter = context[skipped:]
            stays = left if not shorter else left * (1 - backoff) if shorter in followed else 0.0
            if stays:
                yield i, number[shorter], stays
            left -= stays


def _arcs(number: dict[Context, int], followed: dict[Context, Counts]) -> Iterator[Entry]:
    """The state after a draw: the longest context that the written text then ends in."""
    for context, counts in followed.items():
        total = sum(counts.values())
        for token, count in counts.items():
            written = (*context, token)
            while written not in number:
                written = written[1:]
            yield number[context], number[written], count / total


def _sparse(entries: Sequence[Entry], shape: tuple[int, int]) -> Matrix:
    from scipy.sparse import csr_array

    rows, columns, values = zip(*entries, strict=True)
    return csr_array((np.array(values), (np.array(rows), np.array(columns))), shape=shape)


def fit_hmm(texts: Iterable[Sequence[int]], vocabulary: int, states: int = 32, seed: int = 0) -> Law:
    """The hidden Markov law of texts of token ids, by Baum-Welch from a random start.

    Raises InputError for a setting out of its range, and texts without a token.
    """
    _check("vocabulary", vocabulary, MOST_TOKENS)
    _check("states", states, MOST_STATES)
    pieces = [list(text[i : i + PIECE]) for text in texts for i in range(0, len(text), PIECE)]
    if not pieces:
        raise InputError("a law needs texts, and these hold no token")
    ids_BT = np.array([piece + [-1] * (PIECE - len(piece)) for piece in pieces])
    rng = np.random.default_rng(seed)
    start_S, move_SS = np.full(states, 1 / states), rng.dirichlet(np.ones(states), size=states)
    counts_V = np.full(vocabulary, 0.5)
    np.add.at(counts_V, ids_BT[ids_BT >= 0], 1.0)
    # Each state starts with different token probabilities; otherwise all would stay equal.
    emission_SV = _rows(counts_V * rng.gamma(0.5, size=(states, vocabulary)) + 1e-9)
    for _ in range(ROUNDS):
        start_S, move_SS, emission_SV = _better(ids_BT, start_S, move_SS, emission_SV, counts_V)
    # The chain stands before the first token, so the first state is one move from a state that leads to it.
    whole = np.zeros((states + 1, states + 1))
    whole[:states, :states], whole[states, :states] = move_SS, start_S
    emission = np.vstack([emission_SV, np.zeros(vocabulary)])
    return Law(start_S=np.eye(states + 1)[states], forward=(whole,), emission_SV=emission, name=f"hmm:states={states}")


def _better(
    ids_BT: NDArray[np.int64], start_S: Floats, move_SS: Floats, emission_SV: Floats, counts_V: Floats
) -> tuple[Floats, Floats, Floats]:
    """One round of Baum-Welch."""
    there_BT = ids_BT >= 0
    seen_BTS = np.where(there_BT[..., None], emission_SV.T[ids_BT], 1.0)
    steps = ids_BT.shape[1]
    ahead_BTS, behind_BTS = np.empty_like(seen_BTS), np.ones_like(seen_BTS)
    for t in range(steps):
        state_BS = (ahead_BTS[:, t - 1] @ move_SS if t else start_S) * seen_BTS[:, t]
        ahead_BTS[:, t] = state_BS / state_BS.sum(axis=1, keepdims=True)
    for t in range(steps - 2, -1, -1):
        state_BS = (behind_BTS[:, t + 1] * seen_BTS[:, t + 1]) @ move_SS.T
        behind_BTS[:, t] = state_BS / state_BS.sum(axis=1, keepdims=True)
    state_BTS = ahead_BTS * behind_BTS
    state_BTS /= state_BTS.sum(axis=2, keepdims=True)
    state_BTS *= there_BT[..., None]
    came_BTS = (behind_BTS * seen_BTS)[:, 1:]
    scale_BT = np.einsum("bts,su,btu->bt", ahead_BTS[:, :-1], move_SS, came_BTS, optimize=True)
    weight_BTS = came_BTS * (there_BT[:, 1:] / scale_BT)[..., None]
    moves_SS = move_SS * np.einsum("bts,btu->su", ahead_BTS[:, :-1], weight_BTS, optimize=True)
    emitted_VS = np.zeros(emission_SV.T.shape)
    np.add.at(emitted_VS, ids_BT[there_BT], state_BTS[there_BT])
    # One extra token, distributed like the tokens of the texts, so that nothing is impossible.
    emitted_SV = emitted_VS.T + counts_V / counts_V.sum()
    moves_SS = moves_SS + 1 / len(start_S)
    first_S = state_BTS[:, 0].sum(axis=0) + 1 / len(start_S)
    return first_S / first_S.sum(), _rows(moves_SS), _rows(emitted_SV)


def _rows(matrix: Floats) -> Floats:
    return matrix / matrix.sum(axis=1, keepdims=True)


def _check(name: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise InputError(f"a law's {name} must be from 1 to {most}, got {value}")
