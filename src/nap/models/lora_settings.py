"""The adapter_config.json of peft as one checked object: which layers an adapter changes, and how much.

peft saves some forty settings. Those that change what a merged layer computes are read here, and those that only matter
for training are ignored. Any other setting that is switched on is refused by name, because its effect would be missing.

Does not open tensors (adapter.py) or merge them (lora.py).
"""

import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from nap.common.files import InputError
from nap.common.text import printable
from nap.models.checkpoint import read_object

Bias = Literal["none", "all", "lora_only"]

# Settings that do not change what a trained adapter computes.
IDLE = frozenset({
    "auto_mapping", "base_model_name_or_path", "eva_config", "fan_in_fan_out", "inference_mode",
    "lora_dropout", "megatron_core", "peft_type", "peft_version", "qalora_group_size", "revision", "runtime_config",
    "task_type", "velora_config",
})  # fmt: skip
# Initial values of the factors that leave the base unchanged. The others (pissa, olora, corda, loftq) train from
# changed base weights, which the file of an adapter does not contain.
INNOCENT = (True, False, None, "true", "false", "gaussian", "orthogonal", "eva")
# Seconds of the processor that all patterns of one adapter may take together: anybody may have written these
# expressions. The timeout of `regex` counts these too, so that a busy machine refuses no more than an idle one.
PATIENCE = 2.0
# A pattern that names every projection of a model of a hundred layers has some 40,000 characters.
LONGEST_PATTERN = 100_000


class Patterns:
    """Regular expressions from a file, matched within one time limit for all of them."""

    def __init__(self, where: object) -> None:
        self.where, self.left = where, PATIENCE

    def match(self, pattern: str, name: str) -> bool:
        """Whether the whole name matches. Raises InputError for an invalid pattern, or one that takes too long."""
        import regex

        if len(pattern) > LONGEST_PATTERN:
            raise InputError(f"{self.where}: a pattern of {len(pattern)} characters; {LONGEST_PATTERN} is the most")
        started = time.process_time()
        try:
            return regex.fullmatch(pattern, name, timeout=max(self.left, 1e-3)) is not None
        except (regex.error, RecursionError, OverflowError) as error:
            raise InputError(f"{self.where}: {printable(pattern, 60)!r} is no regular expression ({error})") from None
        except TimeoutError:
            raise InputError(
                f"{self.where}: matching {printable(pattern, 60)!r} takes more than {PATIENCE:g} s; "
                "write the names of the layers as a list"
            ) from None
        finally:
            self.left -= time.process_time() - started

    def ends(self, pattern: str, name: str) -> bool:
        """Whether the pattern matches the end of a dotted name, starting at one of its words."""
        if re.fullmatch(r"[\w.]+", pattern):
            return name == pattern or name.endswith(f".{pattern}")
        return self.match(rf"(.*\.)?(?:{pattern})", name)


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """The settings of a LoRA (2106.09685) that its merged weights depend on, under peft's names.

    target_modules, exclude_modules  a regular expression, or the ends of dotted names
    layers            `layers_to_transform`: numbers of layers, None for all
    layers_pattern    the part of a name before the number of a layer; empty for any
    modules_to_save   ends of names of modules that are trained whole
    tokens            `trainable_token_indices`: trained rows by the ends of table names; "" is the input embedding
    """

    where: Path
    r: int
    lora_alpha: float
    target_modules: str | frozenset[str]
    exclude_modules: str | frozenset[str]
    layers: frozenset[int] | None
    layers_pattern: tuple[str, ...]
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    modules_to_save: tuple[str, ...]
    tokens: Mapping[str, tuple[int, ...]]
    use_rslora: bool
    use_dora: bool
    lora_bias: bool
    bias: Bias
    patterns: Patterns

    def targets(self, name: str) -> bool:
        """Whether the layer of this name has an adapter, as peft decides it (`check_target_module_exists`)."""
        if _named(self.exclude_modules, name, self.patterns) or self.saves(name):
            return False
        if not _named(self.target_modules, name, self.patterns):
            return False
        return isinstance(self.target_modules, str) or self.layers is None or self._layer(name) in self.layers

    def _layer(self, name: str) -> int | None:
        """The number of the layer that a name stands in."""
        for found in re.finditer(r"\.(\d{1,6})\.", name):
            before = name[: found.start()]
            if not self.layers_pattern or any(self.patterns.ends(one, before) for one in self.layers_pattern):
                return int(found[1])
        return None

    def saves(self, name: str) -> bool:
        """Whether a module of this name, or one that holds it, was trained whole."""
        words = name.split(".")
        holders = (".".join(words[: i + 1]) for i in range(len(words)))
        return bool(self.modules_to_save) and any(holder.endswith(self.modules_to_save) for holder in holders)

    def rank(self, name: str) -> int:
        """The rank of the layer of this name."""
        return next((rank for key, rank in self.rank_pattern.items() if self.patterns.ends(key, name)), self.r)

    def scale(self, name: str) -> float:
        """The factor of the product B A."""
        found = (alpha for key, alpha in self.alpha_pattern.items() if self.patterns.ends(key, name))
        rank = self.rank(name)
        return next(found, self.lora_alpha) / (math.sqrt(rank) if self.use_rslora else rank)


def _named(names: str | frozenset[str], name: str, patterns: Patterns) -> bool:
    if isinstance(names, str):
        return bool(names) and patterns.match(names, name)
    words = name.split(".")
    return any(".".join(words[i:]) in names for i in range(len(words)))


def read_settings(path: Path) -> LoraSettings:
    """The settings of an adapter. Raises InputError for another kind of adapter, or a setting not computed here."""
    said, read = read_object(path), _Reader(path)
    if str(said.get("peft_type")).upper() != "LORA":
        raise InputError(f"{path}: peft_type {said.get('peft_type')!r:.40} is not supported, only 'LORA' is")
    if said.get("init_lora_weights", True) not in INNOCENT:
        raise InputError(
            f"{path}: init_lora_weights={said['init_lora_weights']!r:.40} trains from changed base weights; save the "
            "adapter with path_initial_model_for_weight_conversion, which makes an ordinary LoRA of it"
        )
    settings = LoraSettings(
        where=path,
        r=read.whole("r", said.get("r", 8)),
        lora_alpha=read.number("lora_alpha", said.get("lora_alpha", 8)),
        target_modules=read.names("target_modules", said.get("target_modules")),
        exclude_modules=read.names("exclude_modules", said.get("exclude_modules")),
        layers=read.layers(said.get("layers_to_transform")),
        layers_pattern=read.texts("layers_pattern", said.get("layers_pattern")),
        rank_pattern={key: read.whole("rank_pattern", one) for key, one in read.table(said, "rank_pattern")},
        alpha_pattern={key: read.number("alpha_pattern", one) for key, one in read.table(said, "alpha_pattern")},
        modules_to_save=read.texts("modules_to_save", said.get("modules_to_save")),
        tokens=read.tokens(said.get("trainable_token_indices")),
        use_rslora=read.flag(said, "use_rslora"),
        use_dora=read.flag(said, "use_dora"),
        lora_bias=read.flag(said, "lora_bias"),
        bias=read.bias(said.get("bias")),
        patterns=Patterns(path),
    )
    known = {*vars(settings), *IDLE, "init_lora_weights", "layers_to_transform", "trainable_token_indices"}
    if others := [name for name, value in said.items() if name not in known and value]:
        raise InputError(f"{path}: the setting {printable(others[0])}={said[others[0]]!r:.60} is not supported")
    return settings


class _Reader:
    """Values of an adapter_config.json, each checked; InputError names the setting."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def wrong(self, name: str, value: object, wanted: str) -> InputError:
        return InputError(f"{self.path}: {name} must be {wanted}, got {value!r:.60}")

    def whole(self, name: str, value: object) -> int:
        # No layer is wider than this, and a rank above the width of its layer is useless.
        if type(value) is not int or not 1 <= value <= 1_000_000:
            raise self.wrong(name, value, "a whole number from 1 to 1000000")
        return value

    def number(self, name: str, value: object) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < 1e9:
            raise self.wrong(name, value, "a number below 10^9")
        return float(value)

    def flag(self, said: Mapping[str, object], name: str) -> bool:
        value = said.get(name) or False
        if type(value) is not bool:
            raise self.wrong(name, value, "true or false")
        return value

    def texts(self, name: str, value: object) -> tuple[str, ...]:
        listed = [value] if isinstance(value, str) else value or []
        if not isinstance(listed, list) or not all(isinstance(one, str) and one for one in listed):
            raise self.wrong(name, value, "a list of names")
        return tuple(listed)

    def names(self, name: str, value: object) -> str | frozenset[str]:
        return value if isinstance(value, str) else frozenset(self.texts(name, value))

    def layers(self, value: object) -> frozenset[int] | None:
        listed = [value] if type(value) is int else value or []
        if not isinstance(listed, list) or not all(type(one) is int for one in listed):
            raise self.wrong("layers_to_transform", value, "whole numbers")
        return frozenset(listed) or None

    def table(self, said: Mapping[str, object], name: str) -> list[tuple[str, object]]:
        value = said.get(name) or {}
        if not isinstance(value, dict):
            raise self.wrong(name, value, "an object")
        return list(value.items())

    def tokens(self, value: object) -> dict[str, tuple[int, ...]]:
        named = {"": value} if isinstance(value, list) else value or {}
        if not isinstance(named, dict) or not all(
            isinstance(ids, list) and all(type(row) is int and row >= 0 for row in ids) for ids in named.values()
        ):
            raise self.wrong("trainable_token_indices", value, "token ids, or names with token ids")
        return {name: tuple(ids) for name, ids in named.items()}

    def bias(self, value: object) -> Bias:
        for known in get_args(Bias):
            if known == (value or "none"):
                return known
        raise self.wrong("bias", value, f"one of {', '.join(get_args(Bias))}")
