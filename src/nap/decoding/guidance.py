"""Classifier-free guidance: moves the logits away from those that the model gives without the prompt.

logits = without + (s + 1) (with - without), where `without` are the logits when every prompt token is masked; headers
and written tokens stay. Both are computed in one forward of twice the rows, as in LLaDA's loop (2502.09992; the idea:
2207.12598); the trace counts one forward and the query tokens of both.

Does not choose the strength (budget.Sampling), and does not build the second question (row.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from nap.decoding.candidates import Asked
from nap.models.session import Answer


@dataclass(frozen=True, eq=False, kw_only=True)
class Guided(Answer):
    """An answer whose logits are guided where `scale_N` is above 0; `without_N` is the state without the prompt."""

    all_ND: Tensor
    without_N: Tensor
    scale_N: Tensor

    def logits(self, part: slice) -> Tensor:
        """logits_NV of a part of the positions, in float32 and in memory of their own."""
        logits_nV, scale_n = super().logits(part), self.scale_N[part]
        here = scale_n > 0
        if here.any():
            without_nV = self.head(self.all_ND[self.without_N[part][here]])
            logits_nV[here] = without_nV + (scale_n[here, None] + 1) * (logits_nV[here] - without_nV)
        return logits_nV


def guided(answer: Answer, asked: Sequence[Asked]) -> Answer:
    """The answer to all questions; `answer` holds after them those of the guided rows without their prompts."""
    scale = [a.sampling.guidance for a in asked]
    if not any(scale):
        return answer
    counts = [len(a.position_N) for a in asked]
    total, queries_B = sum(counts), answer.queries_B[: len(asked)]
    ends = accumulate((count * (s > 0) for count, s in zip(counts, scale, strict=True)), initial=total)
    without_N = np.concatenate([np.arange(count) + start for count, start in zip(counts, ends, strict=False)])
    for number, more in zip(np.flatnonzero(scale), answer.queries_B[len(asked) :], strict=True):
        queries_B[number] += more
    there, states_ND = answer.states_ND.device, answer.states_ND
    return Guided(
        states_ND=states_ND[:total],
        queries_B=queries_B,
        vocabulary=answer.vocabulary,
        head=answer.head,
        # For the rows beside them: a row that asks for these is not guided (needs.py).
        without_ND=None if answer.without_ND is None else answer.without_ND[:total],
        attention_B=answer.attention_B[: len(asked)],
        all_ND=states_ND,
        without_N=torch.as_tensor(without_N, device=there),
        scale_N=torch.as_tensor(np.repeat(scale, counts), device=there, dtype=torch.float32),
    )
