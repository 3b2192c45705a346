"""A scorer for SeqDep: a causal language model of transformers.

There is a fast path and a reference. The fast path reads a trunk once for all its branches, and short texts together
(forest.py). The reference uses a whole forward for each trunk and each branch. Both give the same numbers up to
rounding; tests compare them for each class of model that takes the fast path. All other models, such as those with a
sliding window or unusual positions, use the reference.

Letters: Q tokens of a forward, K those that they see, S scored ones, R where those are predicted, V vocabulary.
Does not open a folder (load.py); does not generate.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nap.common.files import InputError
from nap.common.machine import fast_float32
from nap.dependence.forest import Part, Planted, packed, plant
from nap.dependence.scorer import Floats, Reading, Scores, TextReader, split_scores
from nap.dependence.segments import Ids
from nap.models.attention import added

if TYPE_CHECKING:
    from transformers import DynamicCache, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

# Classes (`model_type`) whose layers obey a mask of [query, key] and given position numbers.
SHARING = (
    "ernie4_5", "gemma", "glm", "glm4", "gpt2", "gpt_neox", "granite", "llama", "mistral", "mixtral", "olmo", "olmo2",
    "phi", "phi3", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "seed_oss", "smollm3", "stablelm", "starcoder2",
)  # fmt: skip
# Settings of models whose tokens do not see everything before them.
WINDOWS = ("sliding_window", "attention_chunk_size")
# Rotary types that depend only on a token's position. `dynamic` and `longrope` also depend on the length of the
# forward.
STATIC_ROPE = ("default", "linear", "llama3", "yarn")


def shares_forwards(config: "PretrainedConfig") -> bool:
    """Whether texts in a shared forward of such a model get the scores that they get alone; False if unknown."""
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    return (
        config.model_type in SHARING
        and not any(getattr(config, window, None) for window in WINDOWS)
        and set(getattr(config, "layer_types", None) or ()) <= {"full_attention"}
        and rope.get("rope_type", rope.get("type", "default")) in STATIC_ROPE
    )


class CausalScorer(TextReader):
    """A causal language model of transformers. `branches_share` says whether it takes the fast path."""

    def __init__(self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", name: str) -> None:
        super().__init__(tokenizer, name)
        self.model = model
        self.max_length: int | None = getattr(model.config, "max_position_embeddings", None)
        self.vocabulary = len(model.get_input_embeddings().weight)  # pyright: ignore[reportArgumentType]
        self.branches_share = shares_forwards(model.config)

    def encode(self, text: str) -> list[int]:
        """See `Scorer`. Raises InputError for a token that the model lacks: the tokenizer is of another model."""
        ids = super().encode(text)
        if max(ids, default=0) >= self.vocabulary:
            raise InputError(
                f"{self.name}: its tokenizer has token {max(ids)}, its model only {self.vocabulary} tokens"
            )
        return ids

    @torch.inference_mode()
    @fast_float32()
    def score(self, readings: Sequence[Reading]) -> list[Scores]:
        """See `Scorer`. Short readings share a forward; a longer one is read part by part."""
        if not self.branches_share:
            return self.reference(readings)
        found: dict[int, Scores] = {}
        for pack in packed(readings):
            found |= zip(pack, self._side_by_side([readings[i] for i in pack]), strict=True)
        return [found[i] for i in range(len(readings))]

    def _side_by_side(self, readings: Sequence[Reading]) -> list[Scores]:
        from transformers import DynamicCache

        planted, cache = plant(readings), DynamicCache()
        scores_S = np.empty(len(planted.scored_S))
        for part in planted.parts:
            here_S = (part.first <= planted.predicted_at_S) & (planted.predicted_at_S < part.last)
            scores_S[here_S] = self._forward(planted, part, here_S, cache)
        return list(split_scores(scores_S, readings))

    def _forward(self, planted: Planted, part: Part, here_S: NDArray[np.bool_], cache: "DynamicCache") -> Floats:
        """log p of the tokens that a part predicts. Adds the keys and values of the part to the cache."""
        if (beyond := cache.get_seq_length() - part.cached) > 0:
            # A negative count removes that many entries in every version; the meaning of a positive one has changed.
            cache.crop(-beyond)
        own_Q = np.arange(part.first, part.last)
        visible_QK = planted.forest.visible(own_Q, np.concatenate([np.arange(part.cached), own_Q]))
        row_R, index_S = np.unique(planted.predicted_at_S[here_S] - part.first, return_inverse=True)
        logits_RV = self.model(
            self._tensor(planted.token_T[own_Q])[None],
            attention_mask=added(visible_QK[None], self.model.dtype, self.model.device),
            position_ids=self._tensor(planted.forest.position_T[own_Q])[None],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=self._tensor(row_R),
        ).logits[0]
        return _log_p(logits_RV, self._tensor(planted.scored_S[here_S]), self._tensor(index_S))

    def _tensor(self, values: NDArray[np.int64] | NDArray[np.bool_]) -> Tensor:
        return torch.from_numpy(values).to(self.model.device)

    @torch.inference_mode()
    @fast_float32()
    def reference(self, readings: Sequence[Reading]) -> list[Scores]:
        """The same as `score`, by a whole forward for each trunk and each branch."""
        return [self._apart(reading) for reading in readings]

    def _apart(self, reading: Reading) -> Scores:
        trunk, branches, scored_from = reading
        branched = [self._whole((*trunk[:after], *ids), after).sum() for after, ids in branches]
        return Scores(self._whole(trunk, scored_from), np.array(branched))

    def _whole(self, ids: Ids, scored_from: int) -> Floats:
        if scored_from >= len(ids):
            return np.empty(0)
        row = torch.tensor([ids], device=self.model.device)
        logits = self.model(row, use_cache=False, logits_to_keep=len(ids) - scored_from + 1).logits
        return _log_p(logits[0, -(len(ids) - scored_from + 1) : -1], row[0, scored_from:])


def _log_p(logits_RV: Tensor, ids_S: Tensor, row_S: Tensor | None = None) -> Floats:
    """[S] log p of each token by the row of logits that predicts it (its own, unless `row_S` names another)."""
    logits_RV = logits_RV.float()
    row_S = torch.arange(len(ids_S), device=ids_S.device) if row_S is None else row_S
    # Not by log_softmax, which sums a large vocabulary less exactly: it is 1e-5 a token off on a CPU.
    return (logits_RV[row_S, ids_S] - logits_RV.logsumexp(1)[row_S]).double().cpu().numpy()
