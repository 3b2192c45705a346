"""Reads safetensors into a native class: the model is built without storage, then filled tensor by tensor.

The weights are never in memory twice: each tensor is read in its final type and onto its final device. Pickles are
never opened. Does not find folders (checkpoint.py) or know families' conventions (families.py).
"""

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from nap.common.files import InputError
from nap.models.checkpoint import brief, read_object
from nap.models.families import Config, Family

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
SINGLE = "model.safetensors"


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint. Raises InputError if one is missing, or there are only pickles."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = read_object(index).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise InputError(f"{index} has no weight_map; was it written by save_pretrained?")
        names = sorted({str(shard) for shard in shards.values()})
        # Judged by its name and not by the target of a link, because the hub's cache consists of links.
        if outside := [name for name in names if PurePath(name).name != name or not name.endswith(".safetensors")]:
            raise InputError(f"{index} names {outside[0]!r:.80}, which is no *.safetensors file of its own folder")
        files = [folder / name for name in names]
        if absent := [file.name for file in files if not file.is_file()]:
            raise InputError(
                f"{folder} lacks {absent[0]} ({len(absent)} of {len(files)} weight files); was its download cut?"
            )
        if SINGLE not in names and (folder / SINGLE).is_file():
            raise InputError(
                f"{folder} holds two sets of weights, {SINGLE} and those that {index.name} names; remove one of them"
            )
        return files
    if (single := folder / SINGLE).is_file():
        return [single]
    if files := sorted(folder.glob("*.safetensors")):
        return files
    check_pickles(folder, "convert them to safetensors (save_pretrained of transformers >= 4.57 writes them)")
    raise InputError(f"{folder} holds no weights; a *.safetensors file was expected")


def check_pickles(folder: Path, advice: str) -> None:
    """Raise InputError for a folder with pickled weights in place of safetensors."""
    if pickles := sorted(file.name for file in folder.iterdir() if file.suffix in PICKLES):
        raise InputError(
            f"{folder} holds only pickled weights ({pickles[0]}), which can run any code and are never opened; {advice}"
        )


def tensor_names(files: Iterable[Path]) -> list[str]:
    """The names of the tensors in safetensors files. Raises InputError if a file is not whole."""
    from safetensors import SafetensorError, safe_open

    names: list[str] = []
    for file in files:
        try:
            with safe_open(file, framework="pt") as handle:
                names += handle.keys()
        except (SafetensorError, OSError) as error:
            raise _not_whole(file, error) from None
    return names


def _not_whole(file: Path, error: BaseException) -> InputError:
    return InputError(f"{file} is not a whole safetensors file ({error}); was its download cut?")


def read_tensors(file: Path, device: "torch.device", dtype: "torch.dtype") -> "Iterator[tuple[str, Tensor]]":
    """(name, tensor) of a safetensors file, floating point in `dtype`. Raises InputError if the file is not whole."""
    from safetensors import SafetensorError, safe_open

    try:
        for name in tensor_names([file]):
            # A new memory map for each tensor, because pages that were read stay resident until the map is closed; and
            # a copy, so that overwriting the file later cannot change or crash a model in use.
            with safe_open(file, framework="pt") as handle:
                tensor = handle.get_tensor(name)
                if tensor.is_floating_point() and tensor.element_size() < 2:
                    raise InputError(f"{file}: {name} is {tensor.dtype}; quantised weights are not supported")
                yield name, tensor.to(device, dtype if tensor.is_floating_point() else None, copy=True)
    except (SafetensorError, OSError) as error:
        raise _not_whole(file, error) from None


def build(native: Config, family: Family, where: object) -> "PreTrainedModel":
    """A bidirectional model of the family's native class, without storage for its weights.

    Raises InputError for a config that the class refuses.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

    maker = AutoModelForMaskedLM if family.native == "bert" else AutoModelForCausalLM
    try:
        # A class that knows the padding token freezes its embedding, but here padding is learned.
        config = AutoConfig.for_model(family.native, **native | {"pad_token_id": None})
        with torch.device("meta"):
            model = maker.from_config(config, attn_implementation="sdpa")
    except Exception as error:  # Version 5 checks a config with its own error types, version 4 with any.
        raise InputError(f"{where}/config.json does not make a {family.native} model ({brief(error)})") from None
    model.config.pad_token_id = native.get("pad_token_id")
    for name, module in list(model.named_modules()):
        if any(buffer.is_meta for buffer in module.buffers(recurse=False)):
            # Computed and not stored in any file: rotary frequencies, BERT's position numbers.
            model.set_submodule(name, type(module)(model.config))
        if hasattr(module, "is_causal"):
            module.is_causal = False  # pyright: ignore[reportAttributeAccessIssue]
    return model.eval()


def fill_weights(
    model: "PreTrainedModel", files: Iterable[Path], family: Family, *, device: "torch.device", dtype: "torch.dtype"
) -> None:
    """Put the tensors of `files` into the model. Raises InputError naming the first that is missing or does not fit."""
    places = {name: _place(model, name) for name, _ in model.named_parameters(remove_duplicate=False)}
    unexpected, read = list[str](), set[str]()
    files = [*files]
    where = ", ".join(sorted({str(file.parent) for file in files}))
    for file in files:
        for published, tensor in read_tensors(file, device, dtype):
            name = family.rename(published)
            if name is None:
                continue
            if name not in places:
                unexpected.append(published)
                continue
            module, attribute = places[name]
            place = getattr(module, attribute)
            if tensor.shape != place.shape:
                raise InputError(f"{file}: {published} is {list(tensor.shape)}, its config says {list(place.shape)}")
            if name in read:
                raise InputError(f"{where}: {published} is a second tensor for {name}; take one of them out")
            read.add(name)
            _check_values(tensor, f"{file}: {published}")
            setattr(module, attribute, type(getattr(module, attribute))(tensor))
    _tie(model, where)
    missing = _missing(model, read)
    if missing or unexpected:
        raise InputError(
            f"{where}: the weights are not those of its config: missing {_some(missing)}, "
            f"unexpected {_some(unexpected)}; is model_type right?"
        )
    model.to(device)  # pyright: ignore[reportArgumentType]  # its decorator hides the signature


def _missing(model: "PreTrainedModel", read: set[str]) -> list[str]:
    """The parameters for which no tensor was read, under any of their names."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    # Buffers that `build` made again have storage without having been read.
    return [n for n, p in model.named_parameters() if p.is_meta or not read.intersection(names[id(p)])]


def _check_values(tensor: "Tensor", what: str) -> None:
    """Raise InputError for weights that are not numbers: such a model would silently decode garbage."""
    if not tensor.is_floating_point():
        raise InputError(f"{what} is {tensor.dtype}; quantised weights are not supported, floating point was expected")
    # Minimum and maximum need no copy, and a NaN shows in both.
    if tensor.numel() and not all(bound.isfinite() for bound in tensor.aminmax()):
        raise InputError(f"{what} holds values that are no numbers (NaN or infinity); was it saved from a broken run?")


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


def difference(base: "PreTrainedTokenizerBase", grown: "PreTrainedTokenizerBase") -> dict[int, list[int]]:
    """What `add_tokens` gave when it made the one tokenizer of the other."""
    known = base.get_vocab()
    added = {token: text for text, token in grown.get_vocab().items() if text not in known}
    return {token: base.encode(added[token], add_special_tokens=False) for token in sorted(added)}


def open_weights(
    folder: Path, native: Config, family: Family, *, dtype: "torch.dtype", device: str = "cpu"
) -> "PreTrainedModel":
    """A checkpoint's weights in its family's native class."""
    import torch

    files = weight_files(folder)
    count, layers = len(tensor_names(files)), native["num_hidden_layers"]
    if layers > count:
        raise InputError(f"{folder}/config.json: num_hidden_layers {layers}, and the files have {count} tensors in all")
    model = build(native, family, folder)
    fill_weights(model, files, family, device=torch.device(device), dtype=dtype)
    return model


def grow(model: "PreTrainedModel", pieces: dict[int, list[int]]) -> None:
    """Give each new token a row in the embeddings and the head: the mean of the rows of its pieces."""
    import torch

    if not pieces:
        return
    rows: int = model.get_input_embeddings().num_embeddings  # pyright: ignore
    if (size := max(pieces) + 1) > rows:
        model.resize_token_embeddings(size, mean_resizing=False)
    with torch.no_grad():
        for table in (model.get_input_embeddings(), model.get_output_embeddings()):
            means = {token: table.weight[written].mean(dim=0) for token, written in pieces.items() if written}  # pyright: ignore
            for token, mean in means.items():
                table.weight[token] = mean  # pyright: ignore
