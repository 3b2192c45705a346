"""An adapter's tensors merged into the weights of its base: LoRA (2106.09685), rsLoRA (2312.03732), DoRA (2402.09353).

An adapter may name its layers as the published code does or as the native class does. Each tensor must have its layer,
and each layer in the settings must have its tensors; anything else is refused by name.

Shape letters: R rank, I inputs, O outputs, V vocabulary, D hidden size.
Does not read settings (lora_settings.py) or find files (adapter.py).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from nap.common.files import InputError
from nap.models.families import Family, unwrapped
from nap.models.lora_settings import LoraSettings

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

# The part of a tensor's name after its layer. An adapter that was not saved as "default" may add its own name.
_ROLES = re.compile(
    r"(?P<stem>.+?)\.(?:"
    r"(?P<factor>lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector|token_adapter\.trainable_tokens_delta)"
    r"(?:\.(?!weight$|bias$)(?P<adapter>[^.]+))?(?:\.(?P<part>weight|bias))?|(?:base_layer\.)?(?P<whole>weight|bias))"
)
_SAVED = re.compile(r"\.modules_to_save\.([^.]+)\.")


class Key(NamedTuple):
    """The parts of a tensor's name: its layer, its role in the layer, and the name of the adapter, if any."""

    stem: str
    role: str
    adapter: str | None


def read_key(name: str) -> Key:
    """The parts of a tensor's name; the role is empty for a tensor that is not an adapter's."""
    saved = _SAVED.search(name)
    plain = re.sub(r"^(?:base_model\.model\.|module\.)+", "", unwrapped(_SAVED.sub(".", name)))
    if not (found := _ROLES.fullmatch(plain)):
        return Key(plain, "", None)
    factor = found["factor"] and found["factor"].rpartition(".")[2] + (".bias" if found["part"] == "bias" else "")
    return Key(found["stem"], factor or found["whole"], saved[1] if saved else found["adapter"])


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """A module of the model, under the adapter's name for it; `table` says that it is an embedding or the head."""

    name: str
    module: "nn.Module"
    table: Literal["", "input", "output"]

    def has(self, attribute: str) -> bool:
        """Whether the module itself has this parameter."""
        return getattr(self.module, attribute, None) is not None


def merge(
    model: "PreTrainedModel",
    family: Family,
    published: Iterable[str],
    tensors: "Mapping[str, Tensor]",
    settings: LoraSettings,
) -> None:
    """Apply the adapter to the model's weights.

    published  names of the tensors of the base's files

    Raises InputError for a tensor without use, a layer without its tensor, and values that are not numbers.
    """
    layers, given = _by_layer(model, family, published, tensors, settings)
    for name, layer in layers.items():
        wanted, may = _wanted(layer, settings), {"weight"} if layer.table else set()
        found = given.get(name, {})
        if unused := found.keys() - wanted - may:
            raise InputError(
                f"{settings.where.parent}: the adapter has {_said(unused)} for {layer.name}, which its settings do not "
                "use (target_modules, modules_to_save, bias, use_dora, ...)"
            )
        if missing := wanted - found.keys():
            raise InputError(
                f"{settings.where.parent}: the adapter's settings change {layer.name}, and it has no "
                f"{_said(missing)} for it"
            )
    for name, found in given.items():
        _change(model, layers[name], found, settings)


def _said(roles: Iterable[str]) -> str:
    return ", ".join(sorted(roles))


def _by_layer(
    model: "PreTrainedModel",
    family: Family,
    published: Iterable[str],
    tensors: "Mapping[str, Tensor]",
    settings: LoraSettings,
) -> "tuple[dict[str, _Layer], dict[str, dict[str, Tensor]]]":
    """({native name: layer}, {native name: {role: tensor}})."""
    keys = {name: read_key(name) for name in tensors}
    where = settings.where.parent
    if len(adapters := {key.adapter for key in keys.values() if key.adapter}) > 1:
        raise InputError(
            f"{where} holds several adapters ({', '.join(sorted(adapters)):.80}); save the one that you want"
        )
    modules = {name: module for name, module in model.named_modules() if any(True for _ in module.parameters(False))}
    names = _spoken(modules, family, published, [key.stem for key in keys.values()])
    given: dict[str, dict[str, Tensor]] = {}
    for name, key in keys.items():
        if not key.role or key.stem not in names:
            raise InputError(
                f"{where}: the adapter's tensor {name:.120} belongs to no layer of its base; is it another's?"
            )
        _check_values(where, name, tensors[name])
        given.setdefault(names[key.stem], {})[key.role] = tensors[name]
    tables = {id(model.get_input_embeddings()): "input", id(model.get_output_embeddings()): "output"}
    layers = {native: (said, modules[native]) for said, native in names.items()}
    return {
        native: _Layer(name=said, module=module, table=tables.get(id(module), ""))  # pyright: ignore[reportArgumentType]
        for native, (said, module) in layers.items()
    }, given


def _spoken(
    modules: "Mapping[str, nn.Module]", family: Family, published: Iterable[str], stems: Iterable[str]
) -> dict[str, str]:
    """{the adapter's name of a module: its native name}, from published or native names, whichever fit its names."""
    native = {name: name for name in modules}
    renamed = {_module(name): _module(family.rename(name) or "") for name in map(unwrapped, published)}
    theirs = {said: name for said, name in renamed.items() if name in modules}
    theirs |= {name: name for name in native if name not in theirs.values()}
    # The names of an adapter of the body alone lack the body's own name.
    inner = [{said.removeprefix("model."): name for said, name in names.items()} for names in (native, theirs)]
    wanted = set(stems)
    return max((native, theirs, *inner), key=lambda names: len(wanted & names.keys()))


def _module(tensor: str) -> str:
    return tensor.rpartition(".")[0]


def _check_values(where: Path, name: str, tensor: "Tensor") -> None:
    if not tensor.is_floating_point():
        raise InputError(f"{where}: the adapter's tensor {name:.120} is {tensor.dtype}, not floating point")
    if not tensor.isfinite().all():
        raise InputError(
            f"{where}: the adapter's tensor {name:.120} holds values that are no numbers (NaN or infinity)"
        )


def _wanted(layer: _Layer, settings: LoraSettings) -> set[str]:
    """The roles that the settings ask for."""
    from torch import nn

    module, biased = layer.module, layer.has("bias")
    if settings.saves(layer.name):
        return {attribute for attribute in ("weight", "bias") if layer.has(attribute)}
    roles = {"trainable_tokens_delta"} if _rows(layer, settings) else set()
    targeted = isinstance(module, nn.Linear | nn.Embedding) and settings.targets(layer.name)
    if biased and (settings.bias == "all" or (settings.bias == "lora_only" and targeted)):
        roles.add("bias")
    if not targeted:
        return roles
    if isinstance(module, nn.Embedding):
        if settings.use_dora:
            raise InputError(f"{settings.where}: use_dora on an embedding ({layer.name}) is not supported")
        return roles | {"lora_embedding_A", "lora_embedding_B"}
    roles |= {"lora_magnitude_vector"} if settings.use_dora else set()
    return roles | {"lora_A", "lora_B"} | ({"lora_B.bias"} if settings.lora_bias else set())


def _rows(layer: _Layer, settings: LoraSettings) -> tuple[int, ...]:
    """The tokens whose rows in this table were trained."""
    for name, rows in settings.tokens.items():
        if layer.name.endswith(name) if name else layer.table == "input":
            return rows
    return ()


def _change(model: "PreTrainedModel", layer: _Layer, given: "dict[str, Tensor]", settings: LoraSettings) -> None:
    """Write the new weight and bias of a layer."""
    import torch

    apart = given.keys() - {"trainable_tokens_delta"}
    if layer.table and apart:
        _untie(model, layer)
    if layer.table and "weight" in given and (rows := len(given["weight"])) > len(layer.module.weight):  # pyright: ignore[reportArgumentType]
        model.resize_token_embeddings(rows, mean_resizing=False)
    with torch.no_grad():
        for attribute in ("weight", "bias"):
            if attribute in given:
                _write(layer, attribute, given[attribute], settings)
        if rows := _rows(layer, settings):
            _write_rows(layer, rows, given["trainable_tokens_delta"], settings)
        if given.keys() & {"lora_A", "lora_embedding_A"}:
            _add_product(layer, given, settings)


def _untie(model: "PreTrainedModel", layer: _Layer) -> None:
    """Give a table that is shared with another a copy of its own, because the adapter changes only this one."""
    from torch import nn

    tables = [model.get_input_embeddings(), model.get_output_embeddings()]
    others = [table for table in tables if table is not None and table is not layer.module]
    if any(table.weight is layer.module.weight for table in others):  # pyright: ignore
        layer.module.weight = nn.Parameter(layer.module.weight.detach().clone())  # pyright: ignore
        model.config.tie_word_embeddings = False


def _write(layer: _Layer, attribute: str, value: "Tensor", settings: LoraSettings) -> None:
    place: Tensor = getattr(layer.module, attribute)
    _fits(layer, attribute, value, tuple(place.shape), settings)
    place.copy_(value)


def _write_rows(layer: _Layer, rows: tuple[int, ...], value: "Tensor", settings: LoraSettings) -> None:
    table: Tensor = layer.module.weight  # pyright: ignore[reportAssignmentType]
    _fits(layer, "trainable_tokens_delta", value, (len(rows), table.shape[1]), settings)
    if max(rows) >= len(table):
        raise InputError(f"{settings.where}: token {max(rows)} is outside {layer.name}, which has {len(table)} rows")
    table[list(rows)] = value.to(table.dtype)


def _add_product(layer: _Layer, given: "dict[str, Tensor]", settings: LoraSettings) -> None:
    """W + s B A; with a magnitude m (DoRA) each row of it is scaled to m's length. Computed in float32."""
    weight: Tensor = layer.module.weight  # pyright: ignore[reportAssignmentType]
    down, up = ("lora_A", "lora_B") if "lora_A" in given else ("lora_embedding_A", "lora_embedding_B")
    rank, scale = settings.rank(layer.name), settings.scale(layer.name)
    # An embedding is a product with one-hot rows, so its table is the transpose of a layer's weight.
    outer, inner = weight.shape if down == "lora_A" else weight.shape[::-1]
    _fits(layer, down, given[down], (rank, inner), settings)
    _fits(layer, up, given[up], (outer, rank), settings)
    change = scale * (given[up] @ given[down])
    whole = weight.float() + (change if down == "lora_A" else change.T)
    if (length := given.get("lora_magnitude_vector")) is not None:
        _fits(layer, "lora_magnitude_vector", length, (outer,), settings)
        whole *= (length / whole.norm(dim=1))[:, None]
    weight.copy_(whole)
    if (shift := given.get("lora_B.bias")) is not None:
        _fits(layer, "lora_B.bias", shift, (outer,), settings)
        _add_bias(layer, scale * shift)


def _add_bias(layer: _Layer, shift: "Tensor") -> None:
    from torch import nn

    weight, bias = layer.module.weight, getattr(layer.module, "bias", None)
    whole = shift if bias is None else bias.float() + shift
    layer.module.bias = nn.Parameter(whole.to(weight.device, weight.dtype))  # pyright: ignore


def _fits(layer: _Layer, role: str, tensor: "Tensor", wanted: tuple[int, ...], settings: LoraSettings) -> None:
    if tuple(tensor.shape) != wanted:
        raise InputError(
            f"{settings.where.parent}: the adapter's {role} for {layer.name} is {list(tensor.shape)}; "
            f"its settings and its base say {list(wanted)}"
        )
