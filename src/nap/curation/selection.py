"""Which of several solutions become the paths of a sample: different enough, and of the wanted mix of right and wrong.

    similar = overlaps(texts)                               # by their words
    similar = cosines(texts, "models/smollm2-135m")         # by a model: the cosine of its mean last hidden states
    kept = distinct(len(texts), (similar, 0.9))
    chosen = select([correct[i] for i in kept], 3, "mixed")

Any model that transformers opens as AutoModel will do; one that was trained for embeddings judges better. Its figures
are as exact as the machine's matrix products, so a pair that sits on a limit may fall either way on another machine.
All else is pure: indices in, indices out. Does not check answers; `curate` does.
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

# The words of one n-gram: long enough that two solutions of one problem do not share most of them by its wording.
GRAM = 4
# Tokens of a text that a model reads: what differs later than this differs before it too, or hardly.
LONGEST = 1024

Rule = Literal["all", "mixed", "correct", "quota"]


def overlaps(texts: Sequence[str]) -> list[list[float]]:
    """How alike each two texts are, 0 to 1: the share of the shorter one's word 4-grams that the other has too."""
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
    # A stranger's Python is never run, and a stranger's pickle never opened.
    with checkpoint.foreign(f"cannot open the embedder {model}"):
        network = AutoModel.from_pretrained(
            folder, trust_remote_code=False, use_safetensors=True, local_files_only=True
        )
    return tokenizer, network.eval()


def distinct(count: int, *limits: tuple[Sequence[Sequence[float]], float]) -> list[int]:
    """The texts, in order, that are like none kept before: each of `limits` is how alike they are, and may be."""
    kept: list[int] = []
    for i in range(count):
        if all(similar[i][j] <= most for similar, most in limits for j in kept):
            kept.append(i)
    return kept


def spread(similar: Sequence[Sequence[float]], among: Sequence[int]) -> list[int]:
    """The indices `among`, each next one the least alike to those before (farthest first; ties by index)."""
    left, order = [*among], []
    while left:
        following = min(left, key=lambda i: max((similar[i][j] for j in order), default=0.0))
        left.remove(following)
        order.append(following)
    return order


def select(correct: Sequence[bool], wanted: int, rule: Rule, wrong: int = 0) -> list[int] | None:
    """The first `wanted` solutions that obey the rule, in order; None where there are not enough.

    all      whatever is right or wrong, as the paper does
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
    """The first of each kind, and then whatever comes first."""
    if wanted < 2 or not (right_ones and wrong_ones):
        return []
    must = {right_ones[0], wrong_ones[0]}
    others = [i for i in sorted(right_ones + wrong_ones) if i not in must]
    return sorted([*must, *others[: wanted - 2]])


def mean_overlap(similar: Sequence[Sequence[float]], chosen: Sequence[int]) -> float:
    """The mean over each two of the chosen; 0 for a single one."""
    pairs = [similar[i][j] for i, j in combinations(chosen, 2)]
    return sum(pairs) / len(pairs) if pairs else 0.0
