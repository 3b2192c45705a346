"""An adapter's folder (LoRA 2106.09685, by peft) as a model to decode: its base with the adapter merged into it.

The folder of an adapter that NAP trained is a checkpoint's but for its weights: config, tokenizer and canvas are there,
and adapter_config.json names the base. One that peft alone wrote has its base's config and tokenizer.

Does not train one (training/lora.py), and merges a copy in memory, never a folder.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nap.common.files import InputError
from nap.models import checkpoint
from nap.models.families import family_of, native_config
from nap.models.weights import difference, grow, open_weights

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

CONFIG = "adapter_config.json"


@contextmanager
def without_peft_warnings() -> Iterator[None]:
    """peft 0.21's warning of a name in transformers 5.23, about which its users can do nothing, is not shown within."""
    # peft 0.21 asks transformers 5.23 by a name that it is about to drop, and its users can do nothing about it.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


class Base(NamedTuple):
    """What an adapter was trained on."""

    name: str
    folder: Path
    revision: str | None


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
        with without_peft_warnings():
            whole = PeftModel.from_pretrained(model, str(folder)).merge_and_unload()  # pyright: ignore[reportCallIssue]
    except Exception as error:  # peft raises what torch, safetensors and json do.
        reason = checkpoint.brief(error)
        raise InputError(f"{folder}: the adapter does not fit its base {base.name} ({reason})") from None
    return whole.to(device).eval()
