"""From an answer of the model to what a policy hears: candidates, their probabilities, and columns on demand.

The output head and everything behind it work on chunks of positions, so that never more than CHUNK bytes of logits are
in memory beside their own exponentials and noise, however many positions are asked about. A chunk of greedy rows may
hold several rows; a row whose tokens are drawn has chunks of its own, so that its noise does not depend on its
neighbours. Noise is drawn on the device, in float64: in float32 it truncates the tail, which raises quality and lowers
diversity unasked (2409.02908).

Letters: N positions of a forward, n of a chunk, V vocabulary. Does not choose positions (policies).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nap.decoding.budget import Sampling
from nap.decoding.policies.policy import Floats, Ints, Said
from nap.models.session import Answer

# Bytes of float32 logits in a chunk.
CHUNK = 16 << 20
# Neighbouring tokens of which `likeliest` compares the best ones.
GROUP = 64
# Rounds of `_draw` in which a token outside the nucleus is passed over, before what is left is sorted.
PATIENCE = 8
# Temperatures between which every logit divided by one fits into float32.
COLDEST, HOTTEST = 1e-30, 1e30


@dataclass(frozen=True, eq=False, kw_only=True)
class Asked:
    """What one row asked, and how its candidates are drawn.

    position_N  where
    current_N   the tokens that stand there now
    never       ids that are no candidates and have no probability (`--eos suppress`)
    late        ids that a policy is to rank last (`--eos defer`)
    noise       the row's generator, on the model's device
    """

    position_N: Ints
    current_N: Ints
    sampling: Sampling
    noise: torch.Generator
    never: tuple[int, ...] = ()
    late: tuple[int, ...] = ()


class Chunk(NamedTuple):
    """Some positions with all that the model says of them.

    logits_nV  with -inf at the mask, which is no candidate
    weight_nV  exp(logits - top), the mask's included: it keeps its share of the probability, as in the published loops
    total_n    their sums
    top_n1     the largest logits
    current_n  the tokens that stand there now
    """

    part: slice
    logits_nV: Tensor
    weight_nV: Tensor
    total_n: Tensor
    top_n1: Tensor
    current_n: Tensor


class Heard:
    """An answer of the model to rows that asked: what `hear` computed, and the means to compute the rest."""

    def __init__(self, answer: Answer, rows: Sequence[Asked], mask_id: int) -> None:
        self.answer, self.rows, self.mask_id = answer, rows, mask_id
        ends = np.cumsum([0, *(len(row.position_N) for row in rows)]).tolist()
        self.parts = [slice(a, b) for a, b in pairwise(ends)]
        self.current_N = np.concatenate([row.current_N for row in rows])
        self.columns: dict[str, Floats] = {}

    @torch.inference_mode()
    def listen(self, reads: Sequence[str]) -> list[Said]:
        """The candidates of all rows, with the columns that will be read."""
        count = self.parts[-1].stop
        token_N, probability_N = np.empty(count, np.int64), np.empty(count)
        self.columns = {name: np.empty(count) for name in reads if name in COLUMNS}
        for chunk in self._chunks(0, len(self.rows)):
            token_n = self._candidates(chunk)
            token_N[chunk.part] = token_n.cpu().numpy()
            probability_N[chunk.part] = probability_of(token_n, chunk).cpu().numpy()
            for name, column_N in self.columns.items():
                column_N[chunk.part] = COLUMNS[name](chunk).cpu().numpy()
        return [self._said(number, token_N[part], probability_N[part]) for number, part in enumerate(self.parts)]

    def _said(self, number: int, token_N: Ints, probability_N: Floats) -> Said:
        """What a row hears, of columns of its own."""
        row = self.rows[number]
        late_N = np.isin(token_N, row.late) if row.late else None
        compute, redraw = partial(self.compute, number), partial(self.redraw, number)
        return Said(row.position_N, token_N, probability_N, compute, late_N, redraw)

    @torch.inference_mode()
    def redraw(self, number: int, logits_NV: Tensor) -> Said:
        """What a row would have heard of these logits."""
        chunk = self._made(logits_NV.float().clone(), self.parts[number])
        token_N = self._candidates(chunk)
        return self._said(number, token_N.cpu().numpy(), probability_of(token_N, chunk).cpu().numpy())

    @torch.inference_mode()
    def compute(self, number: int, name: str) -> Floats | Tensor:
        """A column of one row, [N] or as the name says."""
        part = self.parts[number]
        if name in self.columns:
            return self.columns[name][part]
        if name == "states":
            return self.answer.states_ND[part]
        if name == "attention":
            return self.answer.attention_B[number].attention_TLL
        if name == "top":
            return self._tops(self.answer.attention_B[number].states_LD)
        if name == "without":
            return self._without(part)
        of: Callable[[Chunk], Tensor] = distribution if name == "distribution" else COLUMNS[name]
        found = torch.cat([of(chunk) for chunk in self._chunks(number, number + 1)])
        return found if name == "distribution" else found.cpu().numpy()

    def _without(self, part: slice) -> Floats:
        """The probability of what stands at these positions by their leave-one-out states."""
        answer, found = self.answer, []
        assert answer.without_ND is not None
        for here in self._cut(part):
            chunk = self._made(in_float64(answer.head(answer.without_ND[here])), here)
            found.append(probability_of(chunk.current_n, chunk).cpu().numpy())
        return np.concatenate(found)

    def _tops(self, states_LD: Tensor) -> Floats:
        """The probability of the best token everywhere."""
        found = []
        for here in self._cut(slice(0, len(states_LD))):
            logits_lV = in_float64(self.answer.head(states_LD[here]))
            total_l = logits_lV.logsumexp(dim=-1)
            logits_lV[:, self.mask_id] = -torch.inf
            found.append((logits_lV.amax(dim=-1) - total_l).exp().double().cpu().numpy())
        return np.concatenate(found)

    def _chunks(self, first: int, last: int) -> Iterator[Chunk]:
        """The positions of the rows from `first` to before `last`, in chunks."""
        if any(row.sampling.temperature for row in self.rows[first:last]):
            stretches = self.parts[first:last]
        else:
            stretches = [slice(self.parts[first].start, self.parts[last - 1].stop)]
        for here in (here for stretch in stretches for here in self._cut(stretch)):
            yield self._made(in_float64(self.answer.logits(here)), here)

    def _cut(self, part: slice) -> Iterator[slice]:
        """The part in pieces of at most CHUNK bytes of logits."""
        most = max(1, CHUNK // (4 * self.answer.vocabulary))
        return (slice(start, min(start + most, part.stop)) for start in range(part.start, part.stop, most))

    def _made(self, logits_nV: Tensor, part: slice) -> Chunk:
        """A chunk of these logits, which are its own from now on."""
        for row, here in self._rows_in(part):
            if row.never:
                logits_nV[here, list(row.never)] = -torch.inf
        top_n1 = logits_nV.amax(dim=-1, keepdim=True)
        weight_nV = (logits_nV - top_n1).exp_()
        total_n = weight_nV.sum(dim=-1, dtype=torch.float64)
        logits_nV[:, self.mask_id] = -torch.inf
        current_n = torch.as_tensor(self.current_N[part], device=logits_nV.device)
        return Chunk(part, logits_nV, weight_nV, total_n, top_n1, current_n)

    def _candidates(self, chunk: Chunk) -> Tensor:
        token_n = likeliest(chunk.logits_nV)
        for row, here in self._rows_in(chunk.part):
            if row.sampling.temperature:
                token_n[here] = draw(chunk.logits_nV[here], row.sampling, row.noise)
        return token_n

    def _rows_in(self, part: slice) -> Iterator[tuple[Asked, slice]]:
        """The rows that have positions in a part, and where in it these are."""
        for row, own in zip(self.rows, self.parts, strict=True):
            here = slice(max(own.start, part.start) - part.start, min(own.stop, part.stop) - part.start)
            if here.start < here.stop:
                yield row, here


def likeliest(logits_nV: Tensor) -> Tensor:
    """The first of each row's largest. By groups on a CPU, where torch's argmax takes four times as long."""
    count, vocabulary = logits_nV.shape
    if logits_nV.device.type != "cpu" or vocabulary % GROUP:
        return logits_nV.argmax(dim=-1)
    logits_nGg = logits_nV.unflatten(-1, (-1, GROUP))
    group_n = logits_nGg.amax(dim=-1).argmax(dim=-1)
    return group_n * GROUP + logits_nGg[torch.arange(count), group_n].argmax(dim=-1)


def in_float64(tensor: Tensor) -> Tensor:
    """The tensor where float64 can be had: Apple's mps has none."""
    return tensor.cpu() if tensor.device.type == "mps" else tensor


def hear(answer: Answer, rows: Sequence[Asked], mask_id: int, reads: Sequence[str] = ()) -> list[Said]:
    """What the policies of the rows hear. `reads` are the columns that they will read, which are computed along."""
    return Heard(answer, rows, mask_id).listen(reads)


def probability_of(token_n: Tensor, chunk: Chunk) -> Tensor:
    """The probability of one token a position, in float64."""
    return chunk.weight_nV.gather(1, token_n[:, None])[:, 0] / chunk.total_n


def entropy(chunk: Chunk) -> Tensor:
    """Of the whole distribution, nats."""
    return torch.special.entr(chunk.weight_nV / chunk.total_n[:, None]).sum(dim=-1)


def margin(chunk: Chunk) -> Tensor:
    """The probability of the best candidate less that of the second."""
    two_n2 = (chunk.logits_nV.topk(2, dim=-1).values - chunk.top_n1).exp_() / chunk.total_n[:, None]
    return two_n2[:, 0] - two_n2[:, 1]


def gap(chunk: Chunk) -> Tensor:
    """The largest logit less the second."""
    two_n2 = chunk.logits_nV.topk(2, dim=-1).values
    return two_n2[:, 0] - two_n2[:, 1]


def current(chunk: Chunk) -> Tensor:
    """The probability of the token that stands there now."""
    return probability_of(chunk.current_n, chunk)


def distribution(chunk: Chunk) -> Tensor:
    """The whole distribution in float32."""
    return chunk.weight_nV / chunk.total_n[:, None].float()


# Columns of one number a position.
COLUMNS: dict[str, Callable[[Chunk], Tensor]] = {
    "entropy": entropy,
    "margin": margin,
    "gap": gap,
    "current": current,
}


def draw(logits_nV: Tensor, sampling: Sampling, noise: torch.Generator) -> Tensor:
    """A token a position from the tempered softmax of what top-k and top-p keep.

    As a race of exponential clocks: the token with the largest weight / E, E drawn from Exp(1), which is Gumbel-max
    without one of its two logarithms. Tokens that top-p drops are passed over when they win, so that nothing is sorted.
    """
    weight_nV = (logits_nV / min(max(sampling.temperature, COLDEST), HOTTEST)).float()
    if 0 < sampling.top_k < weight_nV.shape[-1]:
        least_n1 = weight_nV.topk(sampling.top_k, dim=-1).values[:, -1:]
        weight_nV.masked_fill_(weight_nV < least_n1, -torch.inf)
    weight_nV.sub_(weight_nV.amax(dim=-1, keepdim=True)).exp_()
    # A generator gives a row the same numbers whether they come in one piece or in several.
    race_nV = torch.rand(weight_nV.shape, generator=noise, dtype=torch.float64, device=noise.device)
    race_nV = race_nV.to(weight_nV.device).log_().neg_().reciprocal_().mul_(weight_nV)
    token_n = race_nV.argmax(dim=-1)
    return token_n if sampling.top_p >= 1 else _in_nucleus(token_n, race_nV, weight_nV, sampling.top_p)


def _in_nucleus(token_n: Tensor, race_nV: Tensor, weight_nV: Tensor, top_p: float) -> Tensor:
    """The winner of each race that is in the nucleus: those before it hold less than `top_p`."""
    # Not so little that it is 0 in their type, and nothing in the nucleus.
    most_n = max(top_p, torch.finfo(weight_nV.dtype).tiny) * weight_nV.sum(dim=-1)
    left = torch.arange(len(token_n), device=token_n.device)
    for round in range(PATIENCE):
        # The first time all are looked at, and need no copy.
        weight_mV = weight_nV[left] if round else weight_nV
        heavier_m = _heavier(weight_mV, token_n[left])
        left = left[heavier_m >= most_n[left]]
        if not len(left):
            return token_n
        race_nV[left, token_n[left]] = -1.0
        token_n[left] = race_nV[left].argmax(dim=-1)
    sorted_mV, order_mV = weight_nV[left].sort(dim=-1, descending=True)
    dropped_mV = sorted_mV.cumsum(dim=-1) - sorted_mV >= most_n[left, None]
    dropped_mV = dropped_mV.scatter(1, order_mV, dropped_mV)
    token_n[left] = race_nV[left].masked_fill_(dropped_mV, -1.0).argmax(dim=-1)
    return token_n


def _heavier(weight_mV: Tensor, token_m: Tensor) -> Tensor:
    """The weight of all tokens that are more probable than this one."""
    own_m1 = weight_mV.gather(1, token_m[:, None])
    return torch.where(weight_mV > own_m1, weight_mV, 0.0).sum(dim=-1)
