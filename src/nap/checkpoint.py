"""Open a checkpoint: find its folder, read its config and tokenizer, and put its safetensors into a native class.

The weights are never in memory twice: the model is built without storage, and tensors take their places one by one,
each in its final type and on its final device. Pickles are never opened, and no code of a checkpoint is run here.

Does not know families' conventions (families.py) or run a model (denoiser.py).
"""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nap.canvas import CanvasSpec
from nap.families import Config, Family
from nap.files import InputError, read_text

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ASSETS = Path(__file__).parent / "assets"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")

# transformers' class for each set of tokenizer files.
TOKENIZERS = {
    "PreTrainedTokenizerFast": ("tokenizer.json",),
    "Qwen2TokenizerFast": ("vocab.json", "merges.txt"),
    "BertTokenizerFast": ("vocab.txt",),
}


def find(name: str, revision: str | None = None, *, code: bool = False) -> tuple[Path, str | None]:
    """(folder, revision) of a folder, a bundled model, or a hub name, which is fetched; `code`: with its Python files.

    Raises InputError where there is no such model, or the hub does not give it.
    """
    folder = next((path for path in (Path(name), ASSETS / name) if path.is_dir()), None)
    if folder is not None:
        if revision is not None:
            raise InputError(
                f"revision {revision!r} is for hub names, and {name} is a folder on this machine; leave it out"
            )
        return folder, None
    if Path(name).is_file():
        raise InputError(f"{name} is a file; give the folder that holds its config.json")
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", name):
        bundled = ", ".join(sorted(path.parent.name for path in ASSETS.glob("*/config.json"))) or "none"
        raise InputError(f"no model {name!r}: no such folder; bundled: {bundled}; a hub name is written owner/model")
    return _fetch(name, revision, code)


def _fetch(name: str, revision: str | None, code: bool) -> tuple[Path, str]:
    from huggingface_hub import snapshot_download

    wanted = ["*.safetensors", "*.json", "*.txt", "*.jinja"] + ["*.py"] * code
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
    except Exception as error:  # The hub's clients raise a dozen types, and not the same in each version.
        raise InputError(
            f"no folder {name!r}, and the hub did not give {name}@{revision or 'main'} "
            f"({brief(error)}); check the name and the network, or copy the model to a folder"
        ) from None
    return folder, folder.name


def brief(error: BaseException) -> str:
    """The type and the first line of an error that somebody else wrote."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object. Raises InputError if the file is absent or holds something else."""
    try:
        value = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not JSON ({error})") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: a JSON object was expected, got {type(value).__name__}")
    return value


def read_config(folder: Path) -> Config:
    """The config of a checkpoint. Raises InputError if it is not one."""
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} holds no config.json, so it is not a checkpoint")
    return read_object(folder / "config.json")


def read_canvas(folder: Path) -> CanvasSpec | None:
    """The canvas that a checkpoint was trained on, if its folder says so in canvas.json."""
    path = folder / "canvas.json"
    if not path.is_file():
        return None
    try:
        return CanvasSpec(**read_object(path))
    except (TypeError, InputError) as error:
        raise InputError(f"{path}: {error}") from None


def read_tokenizer(folder: Path) -> "PreTrainedTokenizerBase | None":
    """The tokenizer of a checkpoint; None where it has none. Raises InputError for one that is broken.

    Chosen by the files that are there and not by the class that the config names: Dream's names remote code, which is
    Qwen2's own tokenizer.
    """
    import transformers

    for reader, needed in TOKENIZERS.items():
        if all((folder / file).is_file() for file in needed):
            try:
                with _quietly():
                    return getattr(transformers, reader).from_pretrained(folder)
            except Exception as error:  # tokenizers raises bare Exception
                raise InputError(f"{folder}: its tokenizer cannot be read ({brief(error)})") from None
    return None


@contextmanager
def _quietly() -> Iterator[None]:
    # transformers warns of any class but the one in the config, and its versions 4 and 5 write different ones.
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint. Raises InputError if one is missing, or there are only pickles."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = read_object(index).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise InputError(f"{index} has no weight_map; was it written by save_pretrained?")
        files = sorted({folder / str(shard) for shard in shards.values()})
        if absent := [file.name for file in files if not file.is_file()]:
            raise InputError(
                f"{folder} lacks {absent[0]} ({len(absent)} of {len(files)} weight files); was its download cut?"
            )
        return files
    if (single := folder / "model.safetensors").is_file():
        return [single]
    if files := sorted(folder.glob("*.safetensors")):
        return files
    if pickles := sorted(file.name for file in folder.iterdir() if file.suffix in PICKLES):
        raise InputError(
            f"{folder} holds only pickled weights ({pickles[0]}), which can run any code and are never opened; "
            "convert them to safetensors (save_pretrained of transformers >= 4.57 writes them)"
        )
    raise InputError(f"{folder} holds no weights; a *.safetensors file was expected")


def read_tensors(file: Path, device: "torch.device", dtype: "torch.dtype") -> "Iterator[tuple[str, Tensor]]":
    """(name, tensor) of a safetensors file, floating point in `dtype`. Raises InputError if the file is not whole."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as handle:
            names = list(handle.keys())
        for name in names:
            # A new map for each tensor: the pages read through one stay resident until it is closed. And a copy, so
            # that writing over the file later cannot change, or crash, a model in use.
            with safe_open(file, framework="pt") as handle:
                tensor = handle.get_tensor(name)
                yield name, tensor.to(device, dtype if tensor.is_floating_point() else None, copy=True)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file} is not a whole safetensors file ({error}); was its download cut?") from None


def build(native: Config, family: Family, where: object) -> "PreTrainedModel":
    """A model of the family's native class without storage for its weights, seeing in both directions.

    Raises InputError for a config that the class refuses.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

    maker = AutoModelForMaskedLM if family.native == "bert" else AutoModelForCausalLM
    try:
        # A class that knows the padding keeps its embedding from learning, and here padding is learned.
        config = AutoConfig.for_model(family.native, **native | {"pad_token_id": None})
        with torch.device("meta"):
            model = maker.from_config(config, attn_implementation="sdpa")
    except Exception as error:  # Version 5 checks a config with errors of its own, 4 with any.
        raise InputError(f"{where}/config.json does not make a {family.native} model ({brief(error)})") from None
    model.config.pad_token_id = native.get("pad_token_id")
    for name, module in list(model.named_modules()):
        if any(buffer.is_meta for buffer in module.buffers(recurse=False)):
            # Not in any file, but computed: rotary frequencies, BERT's position numbers.
            model.set_submodule(name, type(module)(model.config))
        if hasattr(module, "is_causal"):
            module.is_causal = False  # pyright: ignore[reportAttributeAccessIssue]
    return model.eval()


def fill_weights(
    model: "PreTrainedModel", files: Iterable[Path], family: Family, *, device: "torch.device", dtype: "torch.dtype"
) -> None:
    """Put the tensors of `files` into the model. Raises InputError naming the first that is missing or does not fit."""
    places = {name: _place(model, name) for name, _ in model.named_parameters(remove_duplicate=False)}
    unexpected: list[str] = []
    for file in files:
        for published, tensor in read_tensors(file, device, dtype):
            name = family.rename(published)
            if name is None:
                continue
            if name not in places:
                unexpected.append(published)
                continue
            module, attribute = places[name]
            wanted = getattr(module, attribute).shape
            if tensor.shape != wanted:
                raise InputError(f"{file}: {published} is {list(tensor.shape)}, its config says {list(wanted)}")
            setattr(module, attribute, type(getattr(module, attribute))(tensor))
    where = ", ".join(sorted({str(file.parent) for file in files}))
    _tie(model, where)
    missing = [name for name, parameter in model.named_parameters() if parameter.is_meta]
    if missing or unexpected:
        raise InputError(
            f"{where}: the weights are not those of its config: missing {_some(missing)}, "
            f"unexpected {_some(unexpected)}; is model_type right?"
        )
    model.to(device)  # pyright: ignore[reportArgumentType]  # its decorator hides the signature


def _tie(model: "PreTrainedModel", where: str) -> None:
    read = {name: tensor for name, tensor in model.named_parameters(remove_duplicate=False) if not tensor.is_meta}
    model.tie_weights()
    for name, tensor in read.items():
        tied = model.get_parameter(name)
        if tied is not tensor and not (tied.is_meta or tied.equal(tensor)):
            raise InputError(
                f"{where}: tie_word_embeddings is true, but {name} differs from the tensor it is tied to; "
                "set tie_word_embeddings to false in config.json"
            )


def _place(model: "nn.Module", name: str) -> "tuple[nn.Module, str]":
    path, _, attribute = name.rpartition(".")
    return model.get_submodule(path), attribute


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{more}" if names else "none"
