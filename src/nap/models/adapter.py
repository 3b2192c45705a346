"""The folder of an adapter (LoRA 2106.09685, by peft) as a model to decode: its base with the adapter merged in.

The folder of an adapter that NAP trained is a checkpoint without whole weights: it has config, tokenizer and canvas,
and adapter_config.json names the base. An adapter that peft alone wrote uses the config and tokenizer of its base.

Does not train (training/lora.py). Merges a copy in memory and never changes a folder. lora.py has the arithmetic.
"""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nap.common.files import InputError
from nap.models import checkpoint
from nap.models.families import family_of, native_config
from nap.models.lora import merge
from nap.models.lora_settings import read_settings
from nap.models.weights import check_pickles, difference, grow, open_weights, read_tensors, tensor_names, weight_files

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"


class Base(NamedTuple):
    """The model that an adapter was trained on."""

    name: str
    folder: Path
    revision: str | None


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter and no whole weights. Raises InputError where it holds both."""
    if not (folder / CONFIG).is_file():
        return False
    whole = any((folder / name).is_file() for name in ("model.safetensors", "model.safetensors.index.json"))
    if whole and (folder / TENSORS).is_file():
        raise InputError(f"{folder} holds an adapter and whole weights; move one of them to a folder of its own")
    return not whole


def base_of(folder: Path) -> Base:
    """The base that an adapter names: a folder, a bundled model, or a hub model that is already in the cache.

    The adapter names it and not the user, so nothing is fetched for it. Raises InputError where the base is not found.
    """
    said = checkpoint.read_object(folder / CONFIG)
    name, revision = said.get("base_model_name_or_path"), said.get("revision")
    if not isinstance(name, str) or not name or "\0" in name or len(name) > 4096:
        raise InputError(f"{folder / CONFIG} does not name its base_model_name_or_path; write the base's folder there")
    near = (Path(name), folder / name, folder.parent / name, folder.parent / Path(name).name, checkpoint.ASSETS / name)
    found = next((place for place in near if place.is_dir() and place.resolve() != folder.resolve()), None)
    if found is not None:
        return _whole(folder, Base(name, found, None))
    if (cached := checkpoint.cached(name, revision if isinstance(revision, str) else None)) is not None:
        return _whole(folder, Base(name, *cached))
    raise InputError(
        f"{folder} is an adapter, and its base cannot be opened: no model {name[:120]!r} here, beside the adapter or "
        f"in the hub's cache, and only what you name is fetched; fetch it (hf download {name[:120]}), or write its "
        f"folder as base_model_name_or_path into {CONFIG}"
    )


def _whole(folder: Path, base: Base) -> Base:
    if is_adapter(base.folder):
        raise InputError(f"{folder}: its base {base.folder} is an adapter itself; merge that one and name the result")
    return base


def described_by(folder: Path, base: Base) -> Path:
    """The folder whose config describes the adapter's model."""
    return folder if (folder / "config.json").is_file() else base.folder


def merged(folder: Path, base: Base, *, dtype: "torch.dtype", device: "torch.device") -> "PreTrainedModel":
    """The base, with the new tokens that the adapter's tokenizer has, and the adapter merged into it.

    Raises InputError for an adapter that is not a LoRA, or does not fit its base in every tensor and every layer.
    """
    import torch

    settings, file = read_settings(folder / CONFIG), _tensors_of(folder)
    config = checkpoint.read_config(base.folder)
    native, family = native_config(config, base.folder), family_of(config, base.folder)
    model = open_weights(base.folder, native, family, dtype=dtype)
    own, theirs = checkpoint.read_tokenizer(folder), checkpoint.read_tokenizer(base.folder)
    if own is not None and theirs is not None:
        grow(model, difference(theirs, own))
    tensors = dict(read_tensors(file, torch.device("cpu"), torch.float32))
    merge(model, family, tensor_names(weight_files(base.folder)), tensors, settings)
    return model.to(device).eval()  # pyright: ignore[reportArgumentType]  # its decorator hides the signature


def _tensors_of(folder: Path) -> Path:
    if (file := folder / TENSORS).is_file():
        return file
    check_pickles(folder, "save the adapter again as safetensors (peft >= 0.7 does)")
    raise InputError(f"{folder} holds no {TENSORS}, so its adapter cannot be read")
