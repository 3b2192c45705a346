"""LoRA (2106.09685) by peft: an adapter on a model in training, and an adapter's folder as a model to decode.

The folder of an adapter that NAP trained is a checkpoint's but for its weights: config, tokenizer and canvas are there,
and adapter_config.json names the base. One that peft alone wrote has its base's config and tokenizer.

Does not train (train.py), and merges a copy in memory, never a folder.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nap import checkpoint
from nap.families import family_of, native_config
from nap.files import InputError
from nap.grow import Start, difference, grow, open_weights

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

CONFIG = "adapter_config.json"
# Every matrix of a layer, under the names that Llama, Qwen2 and Qwen3 share.
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class Base(NamedTuple):
    """What an adapter was trained on."""

    name: str
    folder: Path
    revision: str | None


def attach(start: Start, rank: int, seed: int = 0) -> Any:
    """The model with a LoRA of that rank, alpha twice the rank, and of the embeddings the new tokens' rows alone."""
    import torch
    from peft import LoraConfig, get_peft_model

    # peft draws one of the two factors from torch's own generator.
    torch.manual_seed(seed)
    tables = ["embed_tokens"] if start.model.config.tie_word_embeddings else ["embed_tokens", "lm_head"]
    tokens = {table: sorted(start.new) for table in tables} if start.new else None
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(TARGETS), trainable_token_indices=tokens)
    # What adapter_config.json will name as its base.
    start.model.name_or_path = _name_of(start)
    config.revision = start.revision
    with _quietly():
        return get_peft_model(start.model, config)


@contextmanager
def _quietly() -> Iterator[None]:
    # peft 0.21 asks transformers 5.23 by a name that it is about to drop, and its users can do nothing about it.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


def _name_of(start: Start) -> str:
    """A hub name, found anywhere, or a folder, found by its full path alone."""
    if start.revision is None:
        return str(start.folder.resolve())
    # huggingface_hub's cache: models--OWNER--NAME/snapshots/COMMIT.
    return start.folder.parent.parent.name.removeprefix("models--").replace("--", "/", 1)


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter and no whole weights."""
    return (folder / CONFIG).is_file() and not (folder / "model.safetensors").is_file()


def base_of(folder: Path) -> Base:
    """The base that an adapter names. Raises InputError where it names none that is there."""
    said = checkpoint.read_object(folder / CONFIG)
    name, revision = said.get("base_model_name_or_path"), said.get("revision")
    if not isinstance(name, str) or not name:
        raise InputError(f"{folder / CONFIG} does not name its base_model_name_or_path; write the base's folder there")
    try:
        found, commit = checkpoint.find(name, None if Path(name).is_dir() else revision)
    except InputError as error:
        raise InputError(f"{folder} is an adapter, and its base cannot be opened: {error}") from None
    return Base(name, found, commit)


def described_by(folder: Path, base: Base) -> Path:
    """The folder whose config says what the adapter's model is."""
    return folder if (folder / "config.json").is_file() else base.folder


def merged(folder: Path, base: Base, *, dtype: "torch.dtype", device: "torch.device") -> "PreTrainedModel":
    """The base, with the new tokens that the adapter's tokenizer has, and the adapter merged into it."""
    from peft import PeftModel

    config = checkpoint.read_config(base.folder)
    native, family = native_config(config, base.folder), family_of(config, base.folder)
    model = open_weights(base.folder, native, family, dtype=dtype)
    own, theirs = checkpoint.read_tokenizer(folder), checkpoint.read_tokenizer(base.folder)
    if own is not None and theirs is not None:
        grow(model, difference(theirs, own))
    try:
        with _quietly():
            whole = PeftModel.from_pretrained(model, str(folder)).merge_and_unload()  # pyright: ignore[reportCallIssue]
    except Exception as error:  # peft raises what torch, safetensors and json do.
        reason = checkpoint.brief(error)
        raise InputError(f"{folder}: the adapter does not fit its base {base.name} ({reason})") from None
    return whole.to(device).eval()


def write_config(model: Any, folder: Path) -> None:
    """Put the config of the model that an adapter makes beside it."""
    model.config.to_json_file(folder / "config.json")


def save(model: Any, folder: Path, tensors: dict[str, Any] | None = None) -> Sequence[Path]:
    """Write the adapter's own tensors and settings."""
    # Without the flag peft compares vocabularies with the base's config, and copies whole embeddings where they differ.
    model.save_pretrained(folder, state_dict=tensors, save_embedding_layers=False)
    return sorted(folder.glob("adapter_*"))
