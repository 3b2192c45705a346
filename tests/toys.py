"""Models that know their answer, and tokenizers of a few words. Importing this turns the shape checks on.

Every toy checks what it is asked for: the shapes (jaxtyping and beartype), and that it is asked only about masked
positions inside a slot. It records its calls. Token 0 is the mask, 1 padding, 2 the end of text.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from beartype import beartype
from jaxtyping import Float32, Float64, Int64, jaxtyped
from torch import Tensor

import nap.decoding.candidates
import nap.decoding.engine
from nap.canvas.canvas import Canvas, CanvasSpec
from nap.canvas.visibility import Layout
from nap.data.trace import OUTSIDE, PROMPT
from nap.decoding.policies.policy import Said
from nap.models.attention import Soft
from nap.models.more import More

torch.set_num_threads(1)

MASK, PAD, EOS, UNKNOWN = range(4)
SPECIAL = ["<mask>", "<pad>", "<eos>", "<unk>"]
TAGS = [tag for kind in ("think", "hash") for tag in CanvasSpec(paths=4, tags=kind).special_tokens]
TAG = r"</?(?:think #?\d|summary)>"


class Toy:
    """A tokenizer: what the pattern finds are its tokens, what is not among its words is unknown."""

    def __init__(self, pattern: str, words: Sequence[str], join: str) -> None:
        self.pattern, self.join = pattern, join
        self.words = [*SPECIAL, *dict.fromkeys(words)]
        self.id_of = {word: token for token, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return [self.id_of.get(word, UNKNOWN) for word in re.findall(self.pattern, text)]

    def decode(self, ids: Sequence[int]) -> str:
        return self.join.join(self.words[token] for token in ids)


LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
# Tags are single tokens; tags of several tokens; those that come back with spaces; no tags at all.
WORDS = Toy(rf"{TAG}|<\w+>|\S", [*TAGS, *LETTERS], " ")
CHARS = Toy(r"(?s).", [chr(code) for code in range(32, 127)], "")
PIECES = Toy(r"[a-z]+|\S", ["<", "/", ">", "#", *"01234", "think", "summary", *LETTERS], " ")
TAGLESS = Toy(r"\S", LETTERS, " ")


class ToyDenoiser:
    """All of `Denoiser` but what it knows: `scores` gives logits_NV as an array."""

    mask_id, pad_id, eos_ids = MASK, PAD, (EOS,)
    max_length: int | None = None
    canvas: CanvasSpec | None = None
    device = torch.device("cpu")
    # Of policies that take tokens back or edit them the toy lets other positions be asked about.
    masked_only = True

    def __init__(self, tokenizer: Any = WORDS, vocabulary: int = 0) -> None:
        self.tokenizer = tokenizer
        self.vocabulary = vocabulary or len(tokenizer)
        self.setting: dict[str, Any] = {"model": type(self).__name__}
        self.calls: list[Call] = []

    @jaxtyped(typechecker=beartype)
    def logits(
        self, ids_BL: Int64[Tensor, "B L"], layout: Layout, at: tuple[Int64[Tensor, "N"], Int64[Tensor, "N"]]
    ) -> Float32[Tensor, "N V"]:
        rows_N, positions_N = (column.numpy().copy() for column in at)
        ids, region = ids_BL.numpy().copy(), layout.region_BL
        assert ids.shape == region.shape
        assert len(rows_N), "nothing was asked"
        assert len({*zip(rows_N, positions_N, strict=True)}) == len(rows_N), "a position was asked about twice"
        if self.masked_only:
            assert (ids[rows_N, positions_N] == MASK).all(), "a position was asked about that is not masked"
        assert (region[rows_N, positions_N] >= 0).all(), "a position was asked about that is in no slot"
        self.calls.append(Call(ids, rows_N, positions_N))
        return torch.from_numpy(self.scores(ids, layout, rows_N, positions_N).astype(np.float32))

    def states(self, ids_BL: Tensor, layout: Layout, at: tuple[Tensor, Tensor]) -> Tensor:
        return self.logits(ids_BL, layout, at)

    def head(self, states_ND: Tensor) -> Tensor:
        return states_ND.clone()

    shift = False
    gives = frozenset({"attention", "without", "mixes"})
    # What this forward is fed in place of masks; a toy hears it, and says the same unless it says otherwise.
    soft: Soft | None = None

    def mixed(self, ids_BL: Tensor, layout: Layout, at: tuple[Tensor, Tensor], soft: Soft) -> Tensor:
        self.soft = soft
        try:
            return self.logits(ids_BL, layout, at)
        finally:
            self.soft = None

    def more(
        self, ids_BL: Tensor, layout: Layout, shadow_BS: np.ndarray, attention: bool, soft: Soft | None = None
    ) -> More:
        """Leave-one-out exactly: with a mask in the token's place."""
        ids, (rows, length) = ids_BL.numpy(), layout.region_BL.shape
        states = np.zeros((rows, length, self.vocabulary), np.float32)
        slots = np.nonzero(layout.region_BL >= 0)
        states[slots] = self.scores(ids, layout, *slots)
        without = np.zeros((*shadow_BS.shape, self.vocabulary), np.float32)
        for row, number in zip(*np.nonzero(shadow_BS >= 0), strict=True):
            masked, at = ids.copy(), shadow_BS[row, number]
            masked[row, at] = MASK
            without[row, number] = self.scores(masked, layout, np.array([row]), np.array([at]))[0]
        maps = [torch.from_numpy(self.weights(ids, layout).astype(np.float32))] if attention else []
        return More(torch.from_numpy(states), torch.from_numpy(without), maps)

    def weights(self, ids_BL: np.ndarray, layout: Layout) -> np.ndarray:
        """Attention weights, [B, L, L]; a toy looks everywhere in its row alike unless it says otherwise."""
        inside_BL = layout.region_BL != OUTSIDE
        weights_BL = inside_BL / inside_BL.sum(axis=1, keepdims=True)
        return np.repeat(weights_BL[:, None], ids_BL.shape[1], axis=1)

    def scores(self, ids_BL: np.ndarray, layout: Layout, rows_N: np.ndarray, positions_N: np.ndarray) -> np.ndarray:
        raise NotImplementedError


@dataclass(frozen=True)
class Call:
    """One forward: the rows' ids as they were, and what was asked."""

    ids_BL: np.ndarray
    rows_N: np.ndarray
    positions_N: np.ndarray

    def asked(self, row: int) -> list[int]:
        return self.positions_N[self.rows_N == row].tolist()


class UniformDenoiser(ToyDenoiser):
    """Knows nothing: every token is as likely as any other."""

    def scores(self, ids_BL, layout, rows_N, positions_N):
        return np.zeros((len(rows_N), self.vocabulary))


class TableDenoiser(ToyDenoiser):
    """Says at every position, whatever is around it, the logits that it was given for it (or one line for all)."""

    def __init__(self, table: Any, **settings: Any) -> None:
        self.table = np.atleast_2d(np.asarray(table, np.float64))
        super().__init__(vocabulary=self.table.shape[1], **settings)

    def scores(self, ids_BL, layout, rows_N, positions_N):
        return self.table[positions_N % len(self.table)]


class OracleDenoiser(ToyDenoiser):
    """Knows each canvas's target (L ids) by its prompt; sure of it to the degree given for each position.

    The target token has that probability. Half of the rest is on the mask, which a loop that lets the mask be
    predicted would commit wherever the oracle is not sure. Above 0.15 entropy falls and margin grows with confidence.
    """

    def __init__(self, canvases: Sequence[Canvas], targets, confidences, **settings: Any) -> None:
        super().__init__(**settings)
        self.known = {
            _prompt(canvas.ids, canvas.region): (np.asarray(target), np.broadcast_to(confidence, len(canvas)))
            for canvas, target, confidence in zip(canvases, targets, confidences, strict=True)
        }
        assert len(self.known) == len(canvases), "the oracle tells canvases apart by their prompts"

    def scores(self, ids_BL, layout, rows_N, positions_N):
        known = [self.known[_prompt(ids, region)] for ids, region in zip(ids_BL, layout.region_BL, strict=True)]
        target_N, sure_N = (
            np.array([known[row][part][position] for row, position in zip(rows_N, positions_N, strict=True)])
            for part in (0, 1)
        )
        chance_NV = np.repeat((1 - sure_N[:, None]) / 2 / (self.vocabulary - 2), self.vocabulary, axis=1)
        chance_NV[:, MASK] = (1 - sure_N) / 2
        chance_NV[np.arange(len(target_N)), target_N] = sure_N
        return np.log(chance_NV)


def _prompt(ids_L: np.ndarray, region_L: np.ndarray) -> tuple[int, ...]:
    return tuple(ids_L[region_L == PROMPT].tolist())


class HashDenoiser(ToyDenoiser):
    """Pseudo-random, but a pure function of the position and of all that it may see: every token and place matters."""

    def scores(self, ids_BL, layout, rows_N, positions_N):
        length = ids_BL.shape[1]
        token_BL = _scrambled(np.arange(length, dtype=np.uint64) << np.uint64(20) | ids_BL.astype(np.uint64))
        visible_BLL = layout.visible_BLL
        visible_NL = np.ones((len(rows_N), length), bool) if visible_BLL is None else visible_BLL[rows_N, positions_N]
        context_N = np.where(visible_NL, token_BL[rows_N], np.uint64(0)).sum(axis=1, dtype=np.uint64)
        context_N ^= _scrambled(positions_N.astype(np.uint64) + np.uint64(1 << 40))
        hashed_NV = _scrambled(context_N[:, None] + np.arange(self.vocabulary, dtype=np.uint64))
        uniform_NV = ((hashed_NV >> np.uint64(40)).astype(np.float64) + 0.5) / 2**24
        return -3 * np.log(-np.log(uniform_NV))  # So spread that some candidates are nearly certain and some are not.


def _scrambled(x: np.ndarray) -> np.ndarray:
    """splitmix64."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@jaxtyped(typechecker=beartype)
def _check(
    position_N: Int64[np.ndarray, "N"],
    token_N: Int64[np.ndarray, "N"],
    probability_N: Float64[np.ndarray, "N"],
    columns: list[Float64[np.ndarray, "N"]],
) -> None:
    assert (np.diff(position_N) > 0).all()
    assert ((probability_N >= 0) & (probability_N <= 1)).all()


def _checked_hear(answer: Any, rows: Any, mask_id: int, reads: Sequence[str] = ()) -> list[Said]:
    heard = hear(answer, rows, mask_id, reads)
    assert len(heard) == len(rows)
    for said, row in zip(heard, rows, strict=True):
        assert said.position_N.tolist() == row.position_N.tolist()
        columns = [getattr(said, f"{name}_N") for name in ("entropy", "margin", "current") if name in reads]
        _check(said.position_N, said.token_N, said.model_N, columns)
    return heard


hear = nap.decoding.candidates.hear
nap.decoding.engine.hear = _checked_hear
