"""Prepares a checkpoint for training: it gets a mask, the canvas's tags as tokens, and embeddings for both.

An autoregressive checkpoint has no mask. It is given one, and its logits are shifted by one, as in Dream, which was
made from Qwen2.5. A new token starts as the mean of the tokens that spelled it before. The result depends only on the
checkpoint and the tokens, so that it can be repeated for an adapter, which holds no weights of its base (adapter.py).

Does not train (trainer.py).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nap.common.bounds import BLOCK_SIZE, check
from nap.common.files import InputError
from nap.common.records import Json
from nap.decoding.template import check_keyword
from nap.models import checkpoint
from nap.models.bundled import check_bundled
from nap.models.families import (
    MASK_TOKENS,
    Config,
    Family,
    SpecialIds,
    family_of,
    native_config,
    special_ids,
    template_keywords,
)
from nap.models.load import say_unsaid
from nap.models.weights import grow, open_weights

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MASK = "<|mask|>"


class Start(NamedTuple):
    """A model to train: `new` are the ids of its new tokens, `folder` is the source of its weights, `words` are the
    keywords of its chat template.
    """

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    ids: SpecialIds
    shift: bool
    new: list[int]
    folder: Path
    revision: str | None
    max_length: int | None
    words: dict[str, Json]


def open_start(
    name: str,
    revision: str | None,
    tags: Sequence[str],
    *,
    shift: bool | None,
    block_size: int | None = None,
    dtype: "torch.dtype",
    words: Sequence[tuple[str, Json]] = (),
) -> Start:
    """Open a checkpoint for training on the CPU; the Trainer moves it.

    tags               those that become tokens
    shift, block_size  override what the checkpoint and its family say
    words              keywords for the chat template, which override those of the checkpoint and its family

    Raises InputError for a checkpoint without a tokenizer, and for families that need another way of training.
    """
    folder, commit = checkpoint.find(name, revision)
    check_bundled(folder)
    config = checkpoint.read_config(folder)
    family, native = family_of(config, folder), native_config(config, folder)
    if block_size is not None:
        check("block_size", block_size, BLOCK_SIZE)
    _check_trainable(native, family, folder, block_size)
    say_unsaid(name, native, family, shift, None)
    tokenizer = checkpoint.open_tokenizer(str(folder))
    for word, _ in words:
        check_keyword(word, tokenizer.chat_template)
    causal = lacks_mask(native, family, tokenizer)
    shifted = bool(native.get("shift_logits", family.shift or causal) if shift is None else shift)
    pieces = add_tokens(tokenizer, tags, mask=causal)
    model = open_weights(folder, native | {"shift_logits": shifted}, family, dtype=dtype)
    grow(model, pieces)
    rows = model.get_input_embeddings().num_embeddings  # pyright: ignore[reportAttributeAccessIssue]
    ids = special_ids(native | {"vocab_size": rows}, family, tokenizer, folder, None)
    model.config.mask_token_id = ids.mask_id
    known = template_keywords(config, family) | dict(words)
    if known:
        # The saved model has its native class, which has no conventions of its own.
        model.config.chat_template_kwargs = known
    longest = native.get("max_position_embeddings")
    return Start(model, tokenizer, ids, shifted, [*pieces], folder, commit, longest, known)


def _check_trainable(native: Config, family: Family, where: Path, block_size: int | None) -> None:
    if family.native == "bert":
        raise InputError(f"{where}: BERT models are decoded here, not trained; start from Llama, Qwen or LLaDA")
    if block_size is not None or native.get("block_size", family.block_size) is not None:
        raise InputError(
            f"{where}: a model with block-causal attention (SDAR) is trained by block diffusion, which is not here; "
            "start from one with full attention"
        )


def lacks_mask(native: Config, family: Family, tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether nothing says which token is the mask, as for an autoregressive checkpoint."""
    said = native.get("mask_token_id"), tokenizer.mask_token_id, family.mask_id
    vocabulary = tokenizer.get_vocab()
    return all(one is None for one in said) and not any(text in vocabulary for text in MASK_TOKENS)


def add_tokens(tokenizer: "PreTrainedTokenizerBase", tags: Sequence[str], *, mask: bool) -> dict[int, list[int]]:
    """Add tags, and a mask if asked for, that the tokenizer lacks. Returns each new id and the ids that spelled it."""
    from transformers import AddedToken

    vocabulary = tokenizer.get_vocab()
    texts = [MASK] * mask + [tag for tag in dict.fromkeys(tags) if tag not in vocabulary]
    written = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    if mask:
        tokenizer.add_special_tokens({"mask_token": MASK})
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in texts[mask:]])
    now = tokenizer.get_vocab()
    return {now[text]: ids for text, ids in zip(texts, written, strict=True)}
