"""SeqDep's scorer that is a causal language model of transformers.

A trunk (prompt and history) is read once for all its branches, each of which sees the trunk up to its own place and
itself: every number is what a forward of its own would give, up to rounding. Short trunks share forwards with their
branches; the keys and values of a long one are kept, and its branches run side by side in few forwards. Models that
look back only so far, or that count positions in their own way, are asked one text at a time.

Letters: T tokens of a forward, S of them scored, R where those are predicted, C in the cache, V vocabulary.
Does not open a folder (load.py); does not generate.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nap.common.files import InputError
from nap.common.machine import fast_float32
from nap.dependence.scorer import Branch, Floats, Reading, Scores, TextReader, split_scores
from nap.dependence.segments import Ids

# Tokens of one forward: enough to use the machine, few enough that their logits (V floats each) fit into memory.
FORWARD = 512
# Settings of models that do not see all that stands before a token.
WINDOWS = ("sliding_window", "attention_chunk_size")


class CausalScorer(TextReader):
    """A causal language model of transformers."""

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        super().__init__(tokenizer, name)
        self.model = model
        self.max_length: int | None = getattr(model.config, "max_position_embeddings", None)
        self.vocabulary: int = model.get_input_embeddings().num_embeddings
        self.branches_share = not any(getattr(model.config, w, None) for w in WINDOWS) and self._shares()

    def encode(self, text: str) -> list[int]:
        """As `Scorer`. Raises InputError for a token that the model does not have: the tokenizer is another model's."""
        ids = super().encode(text)
        if max(ids, default=0) >= self.vocabulary:
            raise InputError(
                f"{self.name}: its tokenizer has token {max(ids)}, its model only {self.vocabulary} tokens"
            )
        return ids

    @torch.inference_mode()
    @fast_float32()
    def score(self, readings: Sequence[Reading]) -> list[Scores]:
        """See `Scorer`. What fits shares a forward with others; what does not has a cache of its own."""
        if not self.branches_share:
            return [self._apart(reading) for reading in readings]
        sizes = [len(trunk) + sum(len(ids) for _, ids in branches) for trunk, branches, _ in readings]
        short = [i for i, size in enumerate(sizes) if size <= FORWARD]
        found = {i: self._cached(readings[i]) for i, size in enumerate(sizes) if size > FORWARD}
        for pack in _packs(short, sizes):
            found |= zip(pack, self._together([readings[i] for i in pack]), strict=True)
        return [found[i] for i in range(len(readings))]

    def _together(self, readings: Sequence[Reading]) -> list[Scores]:
        """All readings in one forward, where each token sees only what stands before it in its own text."""
        forest, place = _Forest(readings), {"device": self.model.device}
        row_R, index_S = torch.tensor(forest.predicted_at, **place).unique(return_inverse=True)
        logits_RV = self.model(
            torch.tensor([forest.tokens], **place),
            attention_mask=_added(forest.seen().to(**place), self.model.dtype),
            position_ids=torch.tensor([forest.positions], **place),
            use_cache=False,
            logits_to_keep=row_R,
        ).logits[0]
        return list(split_scores(_log_p(logits_RV, torch.tensor(forest.scored, **place), index_S), readings))

    def _cached(self, reading: Reading) -> Scores:
        """The trunk into a cache, a part at a time, and the branches on it, packs of them in a forward."""
        from transformers import DynamicCache

        trunk, branches, scored_from = reading
        cache = DynamicCache()
        scores = self._read(trunk, scored_from, cache)
        found = np.empty(len(branches))
        # The longest histories first, so that what the rest must not see is cut off the cache as we go.
        order = sorted(range(len(branches)), key=lambda i: -branches[i].after)
        for pack in _packs(order, [len(branch.ids) for branch in branches]):
            found[pack] = self._branch(trunk, [branches[i] for i in pack], cache)
        return Scores(scores, found)

    def _read(self, trunk: Ids, scored_from: int, cache: Any) -> Floats:
        """Run the trunk into the cache, FORWARD tokens at a time: log p of its tokens from `scored_from` on."""
        ids = torch.tensor([trunk], device=self.model.device)
        scores = [np.empty(0)]
        # The token at p is predicted at p - 1, and nothing is predicted at the last.
        for first in range(0, len(trunk) - 1, FORWARD):
            last = min(first + FORWARD, len(trunk) - 1)
            predicted = ids[0, max(first + 1, scored_from) : last + 1]
            logits = self.model(
                ids[:, first:last], past_key_values=cache, use_cache=True, logits_to_keep=max(len(predicted), 1)
            ).logits
            if len(predicted):
                scores.append(_log_p(logits[0, -len(predicted) :], predicted))
        return np.concatenate(scores)

    def _branch(self, trunk: Ids, branches: Sequence[Branch], cache: Any) -> list[float]:
        """log p of each branch in one forward, after cutting the cache to what they see."""
        # A branch's first token is predicted at the trunk's token before it, which runs again as the branch's own.
        rows = [(trunk[after - 1], *ids[:-1]) for after, ids in branches]
        self._keep(cache, max(after for after, _ in branches) - 1)
        place = {"device": self.model.device}
        position_T = torch.tensor([after - 1 + i for after, ids in branches for i in range(len(ids))], **place)
        branch_T = torch.tensor([n for n, (_, ids) in enumerate(branches) for _ in ids], **place)
        first_T = torch.tensor([after - 1 for after, ids in branches for _ in ids], **place)
        logits = self.model(
            torch.tensor([[token for row in rows for token in row]], **place),
            attention_mask=_added(_seen(branch_T, first_T, cache.get_seq_length()), self.model.dtype),
            position_ids=position_T[None],
            past_key_values=cache,
            use_cache=True,
        ).logits
        scores = _log_p(logits[0], torch.tensor([token for _, ids in branches for token in ids], **place))
        ends = accumulate((len(ids) for _, ids in branches), initial=0)
        return [scores[a:b].sum() for a, b in pairwise(ends)]

    def _keep(self, cache: Any, length: int) -> None:
        if (beyond := cache.get_seq_length() - length) > 0:
            # A negative count removes that many in every version; a positive one no longer says what is kept.
            cache.crop(-beyond)

    def _apart(self, reading: Reading) -> Scores:
        """A whole forward for the trunk and for every branch."""
        trunk, branches, scored_from = reading
        branched = [self._whole((*trunk[:after], *ids), after).sum() for after, ids in branches]
        return Scores(self._whole(trunk, scored_from), np.array(branched))

    def _whole(self, ids: Ids, scored_from: int) -> Floats:
        if scored_from >= len(ids):
            return np.empty(0)
        row = torch.tensor([ids], device=self.model.device)
        logits = self.model(row, use_cache=False, logits_to_keep=len(ids) - scored_from + 1).logits
        return _log_p(logits[0, -(len(ids) - scored_from + 1) : -1], row[0, scored_from:])

    @torch.inference_mode()
    def _shares(self) -> bool:
        """Whether branches that run together score as they do apart, tried on a few tokens."""
        size = min(self.model.config.get_text_config().vocab_size, 1000)
        trunk = tuple(7 * i % size for i in range(1, 13))
        reading = Reading(trunk, [Branch(4, trunk[2:7]), Branch(9, trunk[5:8]), Branch(4, trunk[:3])], 2)
        apart = self._apart(reading)
        try:
            tried = [self._cached(reading), *self._together([reading, reading])]
        except Exception:  # Of a model that takes no such mask, or keeps no such cache: it may raise anything.
            return False
        tolerance = 1e-3 if self.model.dtype == torch.float32 else 0.3
        pairs = [pair for scores in tried for pair in zip(apart, scores, strict=True)]
        return all(a.shape == b.shape and np.abs(a - b).max() < tolerance for a, b in pairs)


class _Forest:
    """Readings as the tokens of one forward: each trunk, and after it its branches.

    Of a trunk or branch the last token predicts nothing that is asked for: left out, unless a branch starts there.
    """

    def __init__(self, readings: Sequence[Reading]) -> None:
        self.tokens: list[int] = []
        self.positions: list[int] = []
        # Of each token: its trunk's number, its own branch's (or again its trunk's), and how much of the trunk it sees.
        self.trunks: list[int] = []
        self.owners: list[int] = []
        self.limits: list[int] = []
        # Of each scored token: where it is predicted, and what it is.
        self.predicted_at: list[int] = []
        self.scored: list[int] = []
        for number, (trunk, branches, scored_from) in enumerate(readings):
            root, first = -1 - number, len(self.tokens)
            kept = max([len(trunk) - 1, *(after for after, _ in branches)])
            self._add(trunk[:kept], 0, root, root, range(1, kept + 1))
            self.predicted_at += range(first + scored_from - 1, first + len(trunk) - 1)
            self.scored += trunk[scored_from:]
            for after, ids in branches:
                own = len(self.tokens)
                self._add(ids[:-1], after, root, own, [after] * (len(ids) - 1))
                self.predicted_at += [first + after - 1, *range(own, own + len(ids) - 1)]
                self.scored += ids

    def _add(self, ids: Ids, position: int, root: int, owner: int, limits: Sequence[int]) -> None:
        self.tokens += ids
        self.positions += range(position, position + len(ids))
        self.trunks += [root] * len(ids)
        self.owners += [owner] * len(ids)
        self.limits += limits

    def seen(self) -> Tensor:
        """[T, T] whether the token of a row sees that of a column."""
        root_T, owner_T, limit_T, place_T = map(torch.tensor, (self.trunks, self.owners, self.limits, self.positions))
        trunk_TT = (root_T[:, None] == owner_T) & (place_T < limit_T[:, None])
        return trunk_TT | (owner_T[:, None] == owner_T).tril()


def _log_p(logits_RV: Tensor, ids_S: Tensor, row_S: Tensor | None = None) -> Floats:
    """[S] log p of each token by the row of logits that predicts it (its own, unless `row_S` names another)."""
    logits_RV = logits_RV.float()
    row_S = torch.arange(len(ids_S), device=ids_S.device) if row_S is None else row_S
    # Not by log_softmax, which adds the terms of a large vocabulary up less exactly: 1e-5 a token off on a CPU.
    return (logits_RV[row_S, ids_S] - logits_RV.logsumexp(1)[row_S]).double().cpu().numpy()


def _seen(branch_T: Tensor, first_T: Tensor, cached: int) -> Tensor:
    """[T, C + T] whether a token sees what is cached, and what runs with it: the trunk before its branch, and that."""
    trunk_TC = torch.arange(cached, device=first_T.device) < first_T[:, None]
    return torch.cat([trunk_TC, (branch_T[:, None] == branch_T).tril()], dim=1)


def _added(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """[1, 1, ...] what is to be added to attention scores."""
    zeros = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
    return zeros.masked_fill_(~seen, torch.finfo(dtype).min)[None, None]


def _packs(order: Sequence[int], sizes: Sequence[int]) -> Iterator[list[int]]:
    """The indices of `order` in runs of at most FORWARD tokens; what is longer is a run of its own."""
    pack: list[int] = []
    total = 0
    for index in order:
        if pack and total + sizes[index] > FORWARD:
            yield pack
            pack, total = [], 0
        pack.append(index)
        total += sizes[index]
    if pack:
        yield pack
