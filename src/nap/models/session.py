"""The connection of a decode to its model: rows come and go, and each forward answers for the positions asked.

    session = open_session(denoiser, "prefix")
    session.admit(row, canvas); session.drop(row)
    answer = session.ask([Question(row=0, ids_L=..., at_N=..., start=..., stop=...)])     # one forward
    answer.logits(slice(0, 32))                                                         # a part at a time

`Session` keeps nothing between forwards and takes any denoiser. `StoredSession` has one key/value store, in which a row
keeps its place from admission to its end; the cache decides which keys are computed again (caches.py).

Letters: B rows, L canvas length, Q positions computed, K positions whose keys are there, N positions asked about, V
vocabulary, D hidden size. Does not choose what to ask or what to write (decoding).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nap.canvas.canvas import Canvas, collate
from nap.canvas.visibility import Ints, Layout, sight
from nap.common.files import InputError
from nap.models.attention import Decoder, Soft
from nap.models.caches import Cache, NoCache, cache_of
from nap.models.denoiser import Denoiser, Mixes, NativeDenoiser, Tells, predicted_from
from nap.models.kept import Kept
from nap.models.store import Opened, Store
from nap.models.watching import Heard, influence


class Question(NamedTuple):
    """What one row asks in a forward: its current canvas, and the positions to be predicted.

    start, stop  the block that is being decoded: its first position, and the one after its last
    also         what else is asked: `without` for leave-one-out states of `at_N`, `attention` for the weights of every
                 layer
    mix          what is fed in place of masks
    """

    row: int
    ids_L: Ints
    at_N: Ints
    start: int
    stop: int
    also: tuple[str, ...] = ()
    mix: "Mix | None" = None


class Mix(NamedTuple):
    """Masked positions that are fed a mix of token embeddings: weight_NV is a distribution over the vocabulary each."""

    position_N: Ints
    weight_NV: Tensor


@dataclass(frozen=True, eq=False)
class Answer:
    """The answer of one forward for N positions, row by row in the order asked.

    states_ND  hidden states that predict them
    queries_B  positions that were computed for each row
    without_ND, attention_B  the leave-one-out states of the same positions, and each row's attention weights, where a
                             question asked for them
    """

    states_ND: Tensor
    queries_B: list[int]
    vocabulary: int
    head: Callable[[Tensor], Tensor]
    without_ND: Tensor | None = None
    attention_B: "Sequence[Weights]" = ()

    def logits(self, part: slice) -> Tensor:
        """logits_NV of a part of the positions, in float32 and in memory of their own."""
        return self.head(self.states_ND[part])


class Weights(NamedTuple):
    """A row's attention weights, [T layers, L, L], mean over heads, and the states that predict all of its L tokens."""

    attention_TLL: Tensor
    states_LD: Tensor


def open_session(denoiser: Denoiser, cache: str = "none") -> "Session":
    """A session with the cache of that name. Raises InputError for an unknown cache, or one the model cannot have."""
    rule = cache_of(cache)
    if isinstance(rule, NoCache):
        return Session(denoiser)
    if not isinstance(denoiser, NativeDenoiser):
        raise InputError(
            f"{denoiser.setting.get('model')} keeps no keys and values, so it cannot have the cache {cache!r}; "
            "use the cache 'none', or a model in a native Llama, Qwen2, Qwen3 or BERT class"
        )
    if "influence" in rule.reads and not isinstance(denoiser.body, Decoder):
        raise InputError(
            f"the cache {cache!r} goes by attention weights, which {denoiser.setting.get('model')} does not give; use "
            "drift, or a model in a native Llama, Qwen2 or Qwen3 class"
        )
    return StoredSession(denoiser, rule)


class Session:
    """A session that keeps nothing: every forward computes every position of every row that asks."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser
        self.canvases: dict[int, Canvas] = {}
        self._asking: tuple[int, ...] = ()

    def admit(self, row: int, canvas: Canvas) -> None:
        """Let a row in under a number of its own."""
        assert row not in self.canvases, f"row {row} is in already"
        self.canvases[row] = canvas

    def drop(self, row: int) -> None:
        """Let a row go. Raises ValueError for one that is not in."""
        self._check(row)
        del self.canvases[row]

    @torch.inference_mode()
    def ask(self, questions: Sequence[Question]) -> Answer:
        """One forward for all rows that ask. Raises ValueError for a row that is not in."""
        layout = self._layout(questions)
        ids_BL = np.full(layout.region_BL.shape, self.denoiser.pad_id, np.int64)
        for ids_L, question in zip(ids_BL, questions, strict=True):
            ids_L[: len(question.ids_L)] = question.ids_L
        soft = self._soft(questions)
        if any(question.also for question in questions):
            return self._more(questions, self._there(ids_BL), layout, soft)
        if soft is None:
            states_ND = self.denoiser.states(self._there(ids_BL), layout, self._at(questions))
        else:
            assert isinstance(self.denoiser, Mixes), "needs are checked when a row comes in"
            states_ND = self.denoiser.mixed(self._there(ids_BL), layout, self._at(questions), soft)
        return self._answer(states_ND, [len(question.ids_L) for question in questions])

    def _more(self, questions: Sequence[Question], ids_BL: Tensor, layout: Layout, soft: Soft | None) -> Answer:
        """One forward with the extra answers; rows that ask for nothing extra get the same as they would alone."""
        assert isinstance(self.denoiser, Tells), "needs are checked when a row comes in"
        shadows = [question.at_N if "without" in question.also else question.at_N[:0] for question in questions]
        attention = any("attention" in question.also for question in questions)
        found = self.denoiser.more(ids_BL, layout, _padded(shadows, -1), attention, soft)
        rows_N, positions_N = self._at(questions)
        states_ND = found.states_BLD[rows_N, predicted_from(positions_N, self.denoiser.shift)]
        # Without shadows nobody reads these states.
        without_ND = torch.zeros_like(states_ND)
        asked_N = np.concatenate([np.full(len(q.at_N), "without" in q.also) for q in questions])
        parts = [found.without_BSD[row, : len(at)] for row, at in enumerate(shadows)]
        without_ND[self._there(asked_N)] = torch.cat(parts)
        weights = [
            Weights(
                torch.stack([map_BLL[row, : len(q.ids_L), : len(q.ids_L)] for map_BLL in found.attention_TBLL]),
                found.states_BLD[row, predicted_from(np.arange(len(q.ids_L)), self.denoiser.shift)],
            )
            for row, q in enumerate(questions)
            if attention
        ]
        queries_B = [len(question.ids_L) + len(at) for question, at in zip(questions, shadows, strict=True)]
        return Answer(states_ND, queries_B, self.denoiser.vocabulary, self.denoiser.head, without_ND, weights)

    def _soft(self, questions: Sequence[Question]) -> Soft | None:
        """What is fed in place of masks, of all rows."""
        mixes = [(row, q.mix) for row, q in enumerate(questions) if q.mix is not None and len(q.mix.position_N)]
        if not mixes:
            return None
        rows_N = np.repeat([row for row, _ in mixes], [len(mix.position_N) for _, mix in mixes])
        positions_N = np.concatenate([mix.position_N for _, mix in mixes])
        weight_NV = torch.cat([mix.weight_NV.to(self.denoiser.device) for _, mix in mixes])
        return Soft(self._there(rows_N), self._there(positions_N), weight_NV)

    def _check(self, row: int) -> None:
        if row not in self.canvases:
            raise ValueError(f"row {row} is not in this session: it was never admitted, or it was dropped")

    def _layout(self, questions: Sequence[Question]) -> Layout:
        rows = tuple(question.row for question in questions)
        for row in rows:
            self._check(row)
        # Kept while the same rows ask, so that its mask is made once.
        if rows != self._asking:
            self._asking = rows
            _, self._known = collate([self.canvases[row] for row in rows], self.denoiser.pad_id)
        return self._known

    def _there(self, values: Ints) -> Tensor:
        return torch.as_tensor(values, device=self.denoiser.device)

    def _at(self, questions: Sequence[Question]) -> tuple[Tensor, Tensor]:
        """(rows_N, positions_N) of all that is asked."""
        rows_N = np.repeat(np.arange(len(questions)), [len(question.at_N) for question in questions])
        return self._there(rows_N), self._there(np.concatenate([question.at_N for question in questions]))

    def _answer(self, states_ND: Tensor, queries_B: list[int]) -> Answer:
        return Answer(states_ND, queries_B, self.denoiser.vocabulary, self.denoiser.head)


class StoredSession(Session):
    """A session with keys and values: a forward computes the cache's stale positions and reads the rest."""

    def __init__(self, denoiser: NativeDenoiser, cache: Cache) -> None:
        super().__init__(denoiser)
        self.native, self.cache = denoiser, cache
        self.store = Store()
        self.kept: dict[int, Kept] = {}
        self.heard: dict[int, Heard] = {}

    def admit(self, row: int, canvas: Canvas) -> None:
        """Let a row in; it gets a place in the store."""
        super().admit(row, canvas)
        self.store.reserve(row, self.native.body.room(len(canvas)))
        seen = sight(collate([canvas], self.denoiser.pad_id)[1], block_size=self.native.block_size)
        self.kept[row] = Kept(canvas.ids, self.denoiser.mask_id, seen)
        if "drift" in self.cache.reads:
            self.heard[row] = Heard(seen.sees_GL[seen.group_L])

    def drop(self, row: int) -> None:
        """Let a row go; its place is free for the next."""
        super().drop(row)
        self.store.release(row)
        del self.kept[row]
        self.heard.pop(row, None)

    @torch.inference_mode()
    def ask(self, questions: Sequence[Question]) -> Answer:
        """One forward of the stale positions of all rows that ask. Raises ValueError for a row that is not in."""
        layout = self._layout(questions)
        stale = [self._stale(question) for question in questions]
        query_BQ, written_BQ = _padded(stale, 0), _padded(stale, self.store.length)
        ids_BQ = np.stack([question.ids_L[row_Q] for question, row_Q in zip(questions, query_BQ, strict=True)])
        places = np.array([self.store.places[question.row] for question in questions])
        opened = Opened(self.store, self._there(places), self._there(written_BQ), layout.region_BL.shape[1])
        maps: list[Tensor] | None = [] if "influence" in self.cache.reads else None
        at = self._at(questions)[0], self._there(self._index(questions, stale))
        states_ND = self.native.part(self._there(ids_BQ), layout, query_BQ, opened, at, maps)
        # Not before: a forward that failed has computed nothing that can be gone by.
        for question, row_Q in zip(questions, stale, strict=True):
            self._compute(question.row, row_Q)
        if maps is not None:
            self._weigh(questions, stale, maps)
        return self._answer(states_ND, [*map(len, stale)])

    def _stale(self, question: Question) -> Ints:
        """The positions to compute for a row: those of the cache, and those that predict what is asked."""
        kept = self.kept[question.row]
        needed_N = predicted_from(question.at_N, self.native.shift)
        kept.ask(question.ids_L, needed_N, question.start, question.stop)
        heard = self.heard.get(question.row)
        if heard:
            self._hear(question, kept, heard)
        return np.union1d(self.cache.stale(kept), needed_N)

    def _compute(self, row: int, position_Q: Ints) -> None:
        """Have the row know what was computed."""
        self.kept[row].compute(position_Q)
        if heard := self.heard.get(row):
            heard.compute(position_Q)

    def _hear(self, question: Question, kept: Kept, heard: Heard) -> None:
        """Have the row know how far each of its positions has drifted."""
        changed_N = kept.changed_N
        if len(changed_N):
            _, layout = collate([self.canvases[question.row]], self.denoiser.pad_id)
            ids_BQ = self._there(question.ids_L[changed_N][None])
            heard.take(self.native.first(ids_BQ, layout, changed_N[None]), changed_N)
        kept.drift_L = heard.drift()

    def _weigh(self, questions: Sequence[Question], stale: Sequence[Ints], maps: Sequence[Tensor]) -> None:
        """Have the rows know how much influence each of their positions had in this forward."""
        for number, (question, at) in enumerate(zip(questions, stale, strict=True)):
            own = [map_BQK[number, : len(at), : len(question.ids_L)] for map_BQK in maps]
            self.kept[question.row].influence_L = influence(own, at)

    def _index(self, questions: Sequence[Question], stale: Sequence[Ints]) -> Ints:
        """The places, among the computed positions of each row, of the states that predict what it asks."""
        pairs = zip(questions, stale, strict=True)
        return np.concatenate([np.searchsorted(at, predicted_from(q.at_N, self.native.shift)) for q, at in pairs])


def _padded(rows: Sequence[Ints], value: int) -> Ints:
    found = np.full((len(rows), max(map(len, rows))), value, np.int64)
    for line, row in zip(found, rows, strict=True):
        line[: len(row)] = row
    return found
