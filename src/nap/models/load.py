"""Open a checkpoint as a denoiser: a folder, a bundled model or a hub name.

Weights are read from safetensors into transformers' own classes, made to see in both directions. With its tensors
renamed a checkpoint gives what its published code gives, and none of that code is run unless it is asked for by name.
Does not know one family from another (families.py).
"""

import re
from pathlib import Path
from typing import Any

import torch

from nap.common.files import InputError
from nap.common.machine import choose_dtype, onednn_is_exact, usable_device
from nap.models import adapter, checkpoint
from nap.models.attention import use_products
from nap.models.denoiser import NativeDenoiser, RemoteDenoiser
from nap.models.families import FAMILIES, Config, Family, family_of, native_config, special_ids
from nap.models.weights import open_weights


def load(
    name: str,
    *,
    revision: str | None = None,
    device: str = "cpu",
    dtype: str = "auto",
    trust_remote_code: bool = False,
    mask_id: int | None = None,
    shift: bool | None = None,
    block_size: int | None = None,
) -> NativeDenoiser | RemoteDenoiser:
    """Open a folder, a bundled model such as `arith-nap`, or a hub name such as `GSAI-ML/LLaDA-8B-Instruct`.

    The folder of a LoRA adapter opens as its base with the adapter merged into it, in memory.

    dtype              float32, bfloat16, float16, or auto: measured on this device, see `machine.choose_dtype`
    trust_remote_code  run the checkpoint's own Python instead; a hub name then needs `revision`, a full commit hash
    mask_id, shift, block_size  go before what the checkpoint and its family say

    Raises InputError for anything about the checkpoint or a setting that does not fit.
    """
    if trust_remote_code and not Path(name).is_dir() and not re.fullmatch(r"[0-9a-f]{40}", revision or ""):
        raise InputError(
            f"trust_remote_code runs code from {name}, so its revision must be a full commit hash (40 hex digits), "
            f"got {revision!r}; read the code at one commit and give that"
        )
    if block_size is not None and (block_size < 1 or trust_remote_code):
        raise InputError(f"block_size must be at least 1, and none with trust_remote_code; got {block_size}")
    place = usable_device(device)
    folder, commit = checkpoint.find(name, revision, code=trust_remote_code)
    base = adapter.base_of(folder) if adapter.is_adapter(folder) and not trust_remote_code else None
    config = checkpoint.read_config(adapter.described_by(folder, base) if base else folder)
    setting = {"model": name, "revision": commit, "family": config.get("model_type")}
    if trust_remote_code:
        return _load_remote(folder, config, setting, place, dtype, mask_id, shift)

    family = family_of(config, folder)
    native = native_config(config, folder)
    tokenizer = checkpoint.read_tokenizer(folder) or (checkpoint.read_tokenizer(base.folder) if base else None)
    ids = special_ids(native, family, tokenizer, folder, mask_id)
    chosen = {
        "shift_logits": native.get("shift_logits", family.shift) if shift is None else shift,
        "block_size": native.get("block_size", family.block_size) if block_size is None else block_size,
    }
    number = choose_dtype(dtype, place, native["hidden_size"])
    canvas = checkpoint.read_canvas(folder) or (checkpoint.read_canvas(base.folder) if base else None)
    if base:
        model = adapter.merged(folder, base, dtype=number, device=place)
    else:
        # In the config, so that the model says them itself wherever it is saved.
        told = native | chosen | {"mask_token_id": ids.mask_id}
        model = open_weights(folder, told, family, dtype=number, device=str(place))
    if place.type == "cpu" and number == torch.float32 and onednn_is_exact():
        use_products(model)
    return NativeDenoiser(
        model=model,
        tokenizer=tokenizer,
        **ids._asdict(),
        vocabulary=native["vocab_size"],
        shift=chosen["shift_logits"],
        block_size=chosen["block_size"],
        setting=setting | chosen | {"dtype": str(number).removeprefix("torch.")},
        max_length=native.get("max_position_embeddings"),
        canvas=canvas,
    )


def _load_remote(
    folder: Path,
    config: Config,
    setting: dict[str, Any],
    device: torch.device,
    dtype: str,
    mask_id: int | None,
    shift: bool | None,
) -> RemoteDenoiser:
    from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, __version__

    # Where the family is known its conventions hold, whoever's code runs.
    family = FAMILIES.get(str(config.get("model_type")), Family(native="llama"))
    number = choose_dtype(dtype, device, config.get("hidden_size") or config.get("d_model") or 0)
    maker = AutoModelForCausalLM if "AutoModelForCausalLM" in config.get("auto_map", {}) else AutoModel
    try:
        model = maker.from_pretrained(folder, trust_remote_code=True, use_safetensors=True, dtype=number)
        written = (folder / "tokenizer_config.json").is_file()
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True) if written else None
    except Exception as error:  # It is the checkpoint's code: it may raise anything.
        reason = checkpoint.brief(error)
        raise InputError(f"{folder}: its own code does not load with transformers {__version__} ({reason})") from None
    full = model.config.to_dict()
    shift = family.shift if shift is None else shift
    return RemoteDenoiser(
        model=model.to(device).eval(),  # pyright: ignore[reportArgumentType]  # its decorator hides the signature
        tokenizer=tokenizer,
        **special_ids(full, family, tokenizer, folder, mask_id)._asdict(),
        vocabulary=full["vocab_size"],
        shift=shift,
        setting=setting | {"shift_logits": shift, "dtype": str(number).removeprefix("torch."), "remote_code": True},
        max_length=full.get("max_position_embeddings") or full.get("max_sequence_length"),
        canvas=checkpoint.read_canvas(folder),
    )
