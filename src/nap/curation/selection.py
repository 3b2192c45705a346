"""Selects the paths of a sample from several solutions: different enough, and in the wanted mix of right and wrong.

    similar = overlaps(texts)                               # by their words
    similar = cosines(texts, "models/smollm2-135m")         # by a model: the cosine of its mean last hidden states
    kept = distinct(len(texts), (similar, 0.9))
    chosen = select([correct[i] for i in kept], 3, "mixed")

Any model that transformers opens as AutoModel can be used; one trained for embeddings judges better. Its numbers are as
exact as the machine's matrix products, so a pair at a limit may be decided differently on another machine. All else is
pure: indices in, indices out. Does not check answers (choose.py).
"""

import re
from collections.abc import Sequence
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING, Literal

from nap.models import checkpoint

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Words in an n-gram: enough that two solutions do not share most n-grams merely by the wording of the problem.
GRAM = 4
# Tokens of a text that the model reads; later differences hardly occur without earlier ones.
LONGEST = 1024

Rule = Literal["all", "mixed", "correct", "quota"]


def overlaps(texts: Sequence[str]) -> list[list[float]]:
    """Similarity of each two texts, 0 to 1: the share of the shorter text's word 4-grams that the other has too."""
    grams = [_grams(text) for text in texts] if len(texts) > 1 else []
    similar = [[1.0] * len(texts) for _ in texts]
    for i, j in combinations(range(len(texts)), 2):
        shared = len(grams[i] & grams[j]) / min(len(grams[i]), len(grams[j]))
        similar[i][j] = similar[j][i] = shared
    return similar


def _grams(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+|[^\w\s]", text.casefold())
    return {tuple(words[start : start + GRAM]) for start in range(max(1, len(words) - GRAM + 1))}


def cosines(texts: Sequence[str], model: str) -> list[list[float]]:
    """[N][N] cosines of the texts' embeddings. Raises InputError for a model that cannot be opened."""
    import torch

    if not texts:
        return []
    with torch.inference_mode():
        means = torch.stack([_mean(text, model) for text in texts])
        unit = torch.nn.functional.normalize(means, dim=-1)
        return (unit @ unit.T).tolist()


def _mean(text: str, model: str) -> "Tensor":
    tokenizer, network = _opened(model)
    ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=LONGEST).input_ids
    return network(input_ids=ids).last_hidden_state[0].float().mean(0)


@cache
def _opened(model: str) -> "tuple[PreTrainedTokenizerBase, PreTrainedModel]":
    from transformers import AutoModel

    tokenizer, (folder, _) = checkpoint.open_tokenizer(model), checkpoint.find(model)
    # No remote Python is run, and no pickle is opened.
    with checkpoint.foreign(f"cannot open the embedder {model}"):
        network = AutoModel.from_pretrained(
            folder, trust_remote_code=False, use_safetensors=True, local_files_only=True
        )
    return tokenizer, network.eval()


def distinct(count: int, *limits: tuple[Sequence[Sequence[float]], float]) -> list[int]:
    """The texts, in order, that are not too similar to a kept one; `limits` are (similarities, largest allowed)."""
    kept: list[int] = []
    for i in range(count):
        if all(similar[i][j] <= most for similar, most in limits for j in kept):
            kept.append(i)
    return kept


def spread(similar: Sequence[Sequence[float]], among: Sequence[int]) -> list[int]:
    """The indices `among`, each the least similar to those before it (farthest first; ties by index)."""
    left, order = [*among], []
    while left:
        following = min(left, key=lambda i: max((similar[i][j] for j in order), default=0.0))
        left.remove(following)
        order.append(following)
    return order


def select(correct: Sequence[bool], wanted: int, rule: Rule, wrong: int = 0) -> list[int] | None:
    """The first `wanted` solutions that satisfy the rule, in order; None if there are not enough.

    all      right and wrong ones as they come, as in the paper
    mixed    at least one right and at least one wrong
    correct  right ones only
    quota    exactly `wrong` wrong ones
    """
    right_ones = [i for i, ok in enumerate(correct) if ok]
    wrong_ones = [i for i, ok in enumerate(correct) if not ok]
    if rule == "all":
        chosen = list(range(len(correct)))[:wanted]
    elif rule == "mixed":
        chosen = _mixed(right_ones, wrong_ones, wanted)
    else:
        errors = wrong if rule == "quota" else 0
        chosen = sorted(right_ones[: wanted - errors] + wrong_ones[:errors])
    return chosen if len(chosen) == wanted else None


def _mixed(right_ones: list[int], wrong_ones: list[int], wanted: int) -> list[int]:
    """The first right and the first wrong one, and then the next in order."""
    if wanted < 2 or not (right_ones and wrong_ones):
        return []
    must = {right_ones[0], wrong_ones[0]}
    others = [i for i in sorted(right_ones + wrong_ones) if i not in must]
    return sorted([*must, *others[: wanted - 2]])


def mean_overlap(similar: Sequence[Sequence[float]], chosen: Sequence[int]) -> float:
    """The mean similarity over all pairs of the chosen; 0 for a single one."""
    pairs = [similar[i][j] for i, j in combinations(chosen, 2)]
    return sum(pairs) / len(pairs) if pairs else 0.0
