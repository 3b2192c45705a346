"""What SeqDep needs from an autoregressive scorer, and what all scorers here share.

Letters: S scored tokens. The models are in causal.py and server.py; load.py opens them by name.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from nap.common.bounds import CHARACTERS, check
from nap.dependence.segments import Ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Floats = NDArray[np.float64]


class Branch(NamedTuple):
    """Tokens to be scored after the first `after` (1 or more) tokens of a trunk."""

    after: int
    ids: Ids


class Reading(NamedTuple):
    """A question about one trunk: its tokens from `scored_from` (1 or more) on, and its branches."""

    trunk: Ids
    branches: Sequence[Branch]
    scored_from: int


class Scores(NamedTuple):
    """The answer to a reading, in nats: log p of each trunk token from `scored_from` on, and of each whole branch."""

    trunk: Floats
    branches: Floats


class Scorer(Protocol):
    """What SeqDep needs from an autoregressive model.

    start       ids at the start of every text (a beginning-of-text token, or none)
    max_length  the most tokens of a text; None for no limit
    """

    name: str
    start: Ids
    max_length: int | None

    def encode(self, text: str) -> list[int]:
        """The ids of a text by itself, without special tokens."""
        ...

    def score(self, readings: Sequence[Reading]) -> list[Scores]:
        """The log-probabilities of every reading. Many short readings at once take less time than one by one."""
        ...


def _start(tokenizer: "PreTrainedTokenizerBase") -> Ids:
    """The beginning-of-text token, if the tokenizer puts one before a text."""
    begin = tokenizer.bos_token_id
    return (begin,) if isinstance(begin, int) and tokenizer.encode("a")[:1] == [begin] else ()


class TextReader:
    """The tokenizer's part of `Scorer`."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", name: str) -> None:
        self.tokenizer, self.name, self.start = tokenizer, name, _start(tokenizer)

    def encode(self, text: str) -> list[int]:
        """The ids of a text by itself, without special tokens. Text that looks like a special token is only text."""
        check("characters of a text", len(text), CHARACTERS)
        return list(self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))


def split_scores(scores_S: Floats, readings: Sequence[Reading]) -> Iterator[Scores]:
    """Splits the scores of a reading into those of its trunk and of its branches."""
    first = 0
    for trunk, branches, scored_from in readings:
        ends = list(accumulate((len(ids) for _, ids in branches), initial=first + len(trunk) - scored_from))
        yield Scores(scores_S[first : ends[0]], np.array([scores_S[a:b].sum() for a, b in pairwise(ends)]))
        first = ends[-1]
