"""Open a checkpoint as a denoiser: a folder, a bundled model or a hub name.

Weights are read from safetensors into transformers' own classes, made bidirectional. With its tensors renamed, a
checkpoint gives the results of its published code, and none of that code is run unless it is asked for by name. Does
not know the families (families.py).
"""

import re
from dataclasses import dataclass
from logging import getLogger
from multiprocessing import parent_process
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from nap.canvas.canvas import CanvasSpec
from nap.common.bounds import BLOCK_SIZE, check
from nap.common.files import InputError
from nap.common.hub import hub
from nap.common.machine import choose_dtype, dtype_hint, onednn_is_exact, usable_device
from nap.models import adapter, checkpoint
from nap.models.attention import use_products
from nap.models.bundled import check_bundled
from nap.models.compiled import check_compiler
from nap.models.denoiser import NativeDenoiser, RemoteDenoiser
from nap.models.families import FAMILIES, Config, Family, family_of, native_config, special_ids, template_keywords
from nap.models.identity import changed_in_base
from nap.models.int8 import Int8, check_int8, use_int8
from nap.models.packed import use_packed
from nap.models.weights import open_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


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
    int8: Int8 | None = None,
    compile: bool = False,
) -> NativeDenoiser | RemoteDenoiser:
    """Open a folder, a bundled model such as `arith-nap`, or a hub name such as `GSAI-ML/LLaDA-8B-Instruct`.

    The folder of a LoRA adapter opens as its base with the adapter merged in memory.

    dtype              float32, bfloat16, float16, or auto: float32 on a CPU, elsewhere the checkpoint's own
    trust_remote_code  run the checkpoint's own Python instead; a hub name then needs `revision`, a full commit hash
    mask_id, shift, block_size  override what the checkpoint and its family say
    int8               keep the weights of linear layers as 8-bit integers (`weights`), or multiply by them in 8 bits
                       (`products`); needs torchao
    compile            compile the layers for each shape that they meet; needs a C++ compiler

    Raises InputError for a checkpoint that cannot be opened, or a setting that does not fit.
    """
    _check(name, revision, trust_remote_code, block_size)
    place = usable_device(device)
    faster = _faster(place, int8, compile, trust_remote_code)
    if trust_remote_code:
        return _load_remote(name, revision, place, dtype, mask_id, shift)
    known = found(name, revision)
    ids = special_ids(known.native, known.family, known.tokenizer, known.folder, mask_id)
    chosen = {
        "shift_logits": known.native.get("shift_logits", known.family.shift) if shift is None else shift,
        "block_size": known.native.get("block_size", known.family.block_size) if block_size is None else block_size,
    }
    number = choose_dtype(dtype, place, own_dtype(known.config))
    say_unsaid(name, known.native, known.family, shift, block_size)
    # Written into the config, so that a saved copy of the model has them.
    model = _opened(known, chosen | {"mask_token_id": ids.mask_id}, number, place)
    if int8 is not None:
        use_int8(model, int8)
    elif multiplies_by_onednn(place, number) and not compile:
        use_packed(model)
    said = str(number).removeprefix("torch.")
    if dtype == "auto" and (hint := dtype_hint(place, said, known.native["hidden_size"])):
        _say(hint)
    return NativeDenoiser(
        model=model,
        tokenizer=known.tokenizer,
        **ids._asdict(),
        shift=chosen["shift_logits"],
        block_size=chosen["block_size"],
        setting=_setting(name, known.commit, known.config, known.family) | chosen | {"dtype": said} | faster,
        max_length=known.native.get("max_position_embeddings"),
        canvas=known.canvas,
        compiled=compile,
        told={"mask_id": mask_id, "shift": shift, "block_size": block_size},
    )


def _faster(device: torch.device, int8: Int8 | None, compile: bool, remote: bool) -> dict[str, object]:
    """What a trace says of these settings; nothing where they are not used. Raises InputError if they cannot be."""
    if remote and (int8 or compile):
        raise InputError("int8 and compile are for models in transformers' own classes, none with trust_remote_code")
    if int8 is not None:
        check_int8(int8)
    if compile:
        check_compiler(device)
    return {name: value for name, value in (("int8", int8), ("compile", compile)) if value}


def _check(name: str, revision: str | None, trust_remote_code: bool, block_size: int | None) -> None:
    if trust_remote_code and not Path(name).is_dir() and not re.fullmatch(r"[0-9a-f]{40}", revision or ""):
        raise InputError(
            f"trust_remote_code runs code from {name}, so its revision must be a full commit hash (40 hex digits), "
            f"got {revision!r}; read the code at one commit and give that"
        )
    if block_size is not None:
        check("block_size", block_size, BLOCK_SIZE)
        if trust_remote_code:
            raise InputError(f"block_size is not for the checkpoint's own code (trust_remote_code), got {block_size}")


@dataclass(frozen=True, kw_only=True)
class Found:
    """A checkpoint's folder and everything that is read from it except the weights.

    base    the base, if it is an adapter; config, tokenizer and canvas are then those of the base where the adapter has
            none
    native  its config in the terms of its family's native class
    """

    folder: Path
    commit: str | None
    base: adapter.Base | None
    config: Config
    family: Family
    native: Config
    tokenizer: "PreTrainedTokenizerBase | None"
    canvas: CanvasSpec | None


def found(name: str, revision: str | None, *, weights: bool = True) -> Found:
    """A checkpoint with everything read except its weights, which are fetched from the hub only with `weights`.

    Raises InputError for a checkpoint that no family describes.
    """
    folder, commit = checkpoint.find(name, revision, weights=weights)
    check_bundled(folder)
    base = adapter.base_of(folder) if adapter.is_adapter(folder) else None
    if base:
        check_bundled(base.folder)
    config = checkpoint.read_config(adapter.described_by(folder, base) if base else folder)
    return Found(
        folder=folder,
        commit=commit,
        base=base,
        config=config,
        family=family_of(config, folder),
        native=native_config(config, folder),
        tokenizer=checkpoint.read_tokenizer(folder) or (checkpoint.read_tokenizer(base.folder) if base else None),
        canvas=checkpoint.read_canvas(folder) or (checkpoint.read_canvas(base.folder) if base else None),
    )


def _opened(found: Found, told: Config, number: torch.dtype, place: torch.device) -> "PreTrainedModel":
    """The model with its weights, and the fastest attention for its device."""
    if found.base:
        if part := changed_in_base(found.folder, found.base):
            _say(
                f"{found.folder}: the {part} of its base {found.base.name} changed since this adapter was trained on "
                "it, so that this is another model than was trained"
            )
        model = adapter.merged(found.folder, found.base, dtype=number, device=place)
    else:
        model = open_weights(found.folder, found.native | told, found.family, dtype=number, device=str(place))
    if multiplies_by_onednn(place, number):
        use_products(model)
    return model


def multiplies_by_onednn(place: torch.device, number: torch.dtype) -> bool:
    """Whether products of this type go through oneDNN there (`machine.fast_float32`)."""
    return place.type == "cpu" and number == torch.float32 and onednn_is_exact()


def say_unsaid(name: str, native: Config, family: Family, shift: bool | None, block_size: int | None) -> None:
    """Warn where neither the config nor the user sets what the family leaves open."""
    if family.unsaid and shift is block_size is None and not native.keys() & {"shift_logits", "block_size"}:
        _say(f"{name}: {family.unsaid}")


def _say(line: str) -> None:
    # Only one process of a run warns.
    if parent_process() is None:
        getLogger("nap").warning(line)


def _setting(name: str, commit: str | None, config: Config, family: Family) -> dict[str, object]:
    said: dict[str, object] = {"model": name, "revision": commit, "family": config.get("model_type")}
    words = template_keywords(config, family)
    return said | {"chat_template_kwargs": words} if words else said


def own_dtype(config: Config) -> str | None:
    """The number type of the weights according to the config, under the key of either version."""
    said = config.get("dtype") or config.get("torch_dtype")
    return said.removeprefix("torch.") if isinstance(said, str) else None


def _load_remote(
    name: str, revision: str | None, device: torch.device, dtype: str, mask_id: int | None, shift: bool | None
) -> RemoteDenoiser:
    from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, __version__

    folder, commit = checkpoint.find(name, revision, code=True)
    config = checkpoint.read_config(folder)
    # The conventions of a known family hold whatever code runs.
    family = FAMILIES.get(str(config.get("model_type")), Family(native="llama"))
    number = choose_dtype(dtype, device, own_dtype(config))
    maker = AutoModelForCausalLM if "AutoModelForCausalLM" in config.get("auto_map", {}) else AutoModel
    try:
        with hub():  # Its code may lie in another repository.
            model = maker.from_pretrained(folder, trust_remote_code=True, use_safetensors=True, dtype=number)
            written = (folder / "tokenizer_config.json").is_file()
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True) if written else None
    except Exception as error:  # The checkpoint's own code may raise anything.
        reason = checkpoint.brief(error)
        raise InputError(f"{folder}: its own code does not load with transformers {__version__} ({reason})") from None
    full = model.config.to_dict()
    told = {"mask_id": mask_id, "shift": shift}
    shift = family.shift if shift is None else shift
    return RemoteDenoiser(
        model=model.to(device).eval(),  # pyright: ignore[reportArgumentType]  # its decorator hides the signature
        tokenizer=tokenizer,
        **special_ids(full, family, tokenizer, folder, mask_id)._asdict(),
        shift=shift,
        setting=_setting(name, commit, config, family)
        | {"shift_logits": shift, "dtype": str(number).removeprefix("torch."), "remote_code": True},
        max_length=full.get("max_position_embeddings") or full.get("max_sequence_length"),
        canvas=checkpoint.read_canvas(folder),
        told=told,
    )
