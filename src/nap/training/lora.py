"""LoRA (2106.09685) by peft: an adapter on a model in training, and its folder.

The folder of an adapter is a checkpoint without whole weights: it has config, tokenizer and canvas, and
adapter_config.json names the base. models/adapter.py opens one for decoding.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nap.training.start import Start

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import Tensor

# Every matrix of a layer, under the names that Llama, Qwen2 and Qwen3 share.
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@contextmanager
def _without_peft_warnings() -> Iterator[None]:
    # peft 0.21 uses a deprecated name of transformers 5.23; users can do nothing about that warning.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


def attach(start: Start, rank: int, seed: int = 0) -> "PeftModel":
    """The model with a LoRA of that rank, alpha twice the rank; of the embeddings only new tokens' rows are trained."""
    import torch
    from peft import LoraConfig, get_peft_model

    # peft draws one of the two factors with torch's global generator.
    torch.manual_seed(seed)
    tables = ["embed_tokens"] if start.model.config.tie_word_embeddings else ["embed_tokens", "lm_head"]
    tokens = {table: sorted(start.new) for table in tables} if start.new else None
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(TARGETS), trainable_token_indices=tokens)
    # The name of the base in adapter_config.json.
    start.model.name_or_path = _name_of(start)
    config.revision = start.revision
    with _without_peft_warnings():
        return get_peft_model(start.model, config)


def _name_of(start: Start) -> str:
    """A hub name, which can be found anywhere, or the full path of a folder."""
    if start.revision is None:
        return str(start.folder.resolve())
    # huggingface_hub's cache: models--OWNER--NAME/snapshots/COMMIT.
    return start.folder.parent.parent.name.removeprefix("models--").replace("--", "/", 1)


def save(model: "PeftModel", folder: Path, tensors: "dict[str, Tensor] | None" = None) -> Sequence[Path]:
    """Write the adapter's own tensors and settings."""
    # Without the flag peft compares vocabularies with the base's config, and copies whole embeddings where they differ.
    model.save_pretrained(str(folder), state_dict=tensors, save_embedding_layers=False)
    return sorted(folder.glob("adapter_*"))
