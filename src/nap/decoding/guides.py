"""What the small networks that guide policies have in common: a folder that holds one, and the model it was made for.

A guide is two files of a folder, NAME.safetensors and NAME.json: its weights and the setting that it is made of, which
says by a fingerprint which model it was trained on. Does not know what a guide computes (judge.py, editor.py,
influence.py, coherent.py).
"""

import json
from collections.abc import Callable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from nap.common.files import InputError, atomic
from nap.models.denoiser import Denoiser, NativeDenoiser

Network = TypeVar("Network", bound=nn.Module)


def save_guide(folder: Path, stem: str, network: nn.Module, setting: Mapping[str, object]) -> None:
    """Write a network's weights and setting."""
    from safetensors.torch import save

    with atomic(folder / f"{stem}.safetensors", "wb") as file:
        file.write(save({name: tensor.contiguous().cpu() for name, tensor in network.state_dict().items()}))
    with atomic(folder / f"{stem}.json") as file:
        file.write(json.dumps(dict(setting), indent=1) + "\n")


def open_guide(name: str, stem: str, what: str, how: str, build: Callable[[dict[str, Any]], Network]) -> Network:
    """The network of a folder, which `build` makes of its setting, with its weights.

    what, how  what it is called and how one is trained, for errors

    Raises InputError for a folder that holds none, or none that fits its own setting.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    setting, weights = Path(name) / f"{stem}.json", Path(name) / f"{stem}.safetensors"
    if not setting.is_file() or not weights.is_file():
        raise InputError(f"{name} holds no {what} ({weights.name} and {setting.name}); train one: {how}")
    try:
        network = build(json.loads(setting.read_text()))
        network.load_state_dict(load_file(weights))
    except (TypeError, ValueError, RuntimeError, OSError, SafetensorError) as error:
        raise InputError(f"{name} holds no {what} that can be opened: {str(error).splitlines()[0]}") from None
    return network.eval()


def check_made_for(denoiser: Denoiser, known: str, what: str, how: str) -> None:
    """Raise InputError where a guide, which knows the fingerprint of its model, was trained on another."""
    if known != (found := fingerprint(denoiser)):
        raise InputError(
            f"{what} was trained on another model (fingerprint {known}) than "
            f"{denoiser.setting.get('model')} ({found}); train one for it: {how}"
        )


def check_sizes(what: str, sizes: Mapping[str, tuple[object, int]]) -> None:
    """Raise InputError for a size, given with the largest that a folder may ask for, that is none of 1 to that."""
    for name, (value, most) in sizes.items():
        if type(value) is not int or not 1 <= value <= most:
            raise InputError(f"{what}'s {name} must be from 1 to {most}, got {value!r}")


def digest(network: nn.Module) -> str:
    """A few letters that tell a network's weights from others."""
    found = blake2b(digest_size=6)
    for name, tensor in sorted(network.state_dict().items()):
        found.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def fingerprint(denoiser: Denoiser) -> str:
    """A few letters that tell a model from others, whatever it is called and in whichever number type it is opened."""
    model = denoiser.model if isinstance(denoiser, NativeDenoiser) else None
    return fingerprint_of(model, denoiser.vocabulary, denoiser.mask_id)


def fingerprint_of(model: nn.Module | None, vocabulary: int, mask_id: int) -> str:
    """The fingerprint of a model of so many tokens; None is one without weights."""
    parts = [str(vocabulary), str(mask_id)]
    if model is not None:
        rough = next(p for name, p in model.named_parameters() if name.endswith("norm.weight"))
        parts += [repr(rough.detach().to(torch.bfloat16).tolist())]
    return blake2b("/".join(parts).encode(), digest_size=6).hexdigest()
