"""Continuations that a causal language model draws after a context, and the marginal of each position.

    drawn = sampler_of(scorer)(context, count=64, length=16, seed=0)

With a model of transformers, the marginal at each distance is the mean of its distributions after the samples' own
histories, which avoids the noise of the last draw. With a server, it is counted from the samples.

Letters: N samples, D distances, V vocabulary. Does not read a corpus or say what an order would be (anticipation.py).
"""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nap.common.files import InputError
from nap.dependence.causal import CausalScorer
from nap.dependence.scorer import Floats, Scorer
from nap.dependence.segments import Ids
from nap.dependence.server import ServerScorer

# How many samples one request asks a server for.
REQUEST = 64


class Drawn(NamedTuple):
    """Continuations of one context.

    tokens_ND  the drawn tokens, as numbers that only tell equal from different
    top_D      the largest probability of the marginal at each distance
    entropy_D  its entropy, nats
    """

    tokens_ND: NDArray[np.int64]
    top_D: Floats
    entropy_D: Floats


Sampler = Callable[[Ids, int, int, int], Drawn]


def sampler_of(scorer: Scorer) -> Sampler:
    """A function that draws (context, count, length, seed) from a scorer. Raises InputError if it cannot draw."""
    if isinstance(scorer, CausalScorer):
        return lambda *asked: draw_causal(scorer, *asked)
    if isinstance(scorer, ServerScorer):
        return lambda *asked: draw_served(scorer, *asked)
    raise InputError(f"{scorer.name} scores texts and draws none; give a model's folder, or a server")


def draw_causal(scorer: CausalScorer, context: Ids, count: int, length: int, seed: int) -> Drawn:
    """Draw from a model: one forward of the context, then one forward a distance for all samples together."""
    import torch

    from nap.common.machine import fast_float32

    model, device = scorer.model, scorer.model.device
    generator = torch.Generator().manual_seed(seed)
    tokens, tops, entropies = [], [], []
    with torch.inference_mode(), fast_float32():
        given = model(torch.tensor([context], device=device), use_cache=True, logits_to_keep=1)
        cache, logits_NV = given.past_key_values, given.logits[:, -1].expand(count, -1)
        cache.batch_repeat_interleave(count)
        for distance in range(length):
            chance_NV = logits_NV.float().softmax(-1).cpu()
            marginal_V = chance_NV.mean(dim=0, dtype=torch.float64)
            tops.append(float(marginal_V.max()))
            entropies.append(float(torch.special.entr(marginal_V).sum()))
            tokens.append(torch.multinomial(chance_NV, 1, generator=generator)[:, 0])
            if distance < length - 1:
                row_N1 = tokens[-1][:, None].to(device)
                logits_NV = model(row_N1, past_key_values=cache, use_cache=True).logits[:, -1]
    return Drawn(torch.stack(tokens, dim=1).numpy(), np.array(tops), np.array(entropies))


def draw_served(scorer: ServerScorer, context: Ids, count: int, length: int, seed: int) -> Drawn:
    """Draw from a server's /completions. Raises InputError for a server that does not return its tokens."""
    texts = [text for start in range(0, count, REQUEST) for text in scorer.sample(
        context, min(REQUEST, count - start), length, seed + start
    )]  # fmt: skip
    known: dict[str, int] = {}
    # A text that ended early counts as ended at every later distance.
    tokens_ND = np.array(
        [[known.setdefault(t, len(known)) for t in [*text, *[""] * length][:length]] for text in texts]
    )
    return counted(tokens_ND)


def counted(tokens_ND: NDArray[np.int64]) -> Drawn:
    """The samples, with marginals counted from them."""
    shares = [np.array(list(Counter(column.tolist()).values())) / len(column) for column in tokens_ND.T]
    tops, entropies = zip(*((share.max(), -(share * np.log(share)).sum()) for share in shares), strict=True)
    return Drawn(tokens_ND, np.array(tops), np.array(entropies))
