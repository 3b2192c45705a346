"""Policies by name: `threshold:tau=0.8,block=32` to a policy and back.

A package of your own registers one under the entry point group `nap.policies`; its name there is its name here.
"""

import dataclasses
from importlib.metadata import entry_points
from typing import Any

from nap.common.files import InputError
from nap.common.text import unknown
from nap.decoding.policies.blocks import MultiBlock
from nap.decoding.policies.bounded import Bounded, EntropyBound, Factor, Threshold
from nap.decoding.policies.credit import Credit
from nap.decoding.policies.early import Prophet
from nap.decoding.policies.editing import TokenEdit
from nap.decoding.policies.lookahead import Lopa
from nap.decoding.policies.ordered import AR, Entropy, Hierarchy, LowConfidence, Margin, Random
from nap.decoding.policies.p2 import P2
from nap.decoding.policies.paths import ParallelEntropyBound, ParallelForced, ParallelThreshold
from nap.decoding.policies.policy import Policy
from nap.decoding.policies.remasking import Remdm
from nap.decoding.policies.saber import Saber
from nap.decoding.policies.spacing import Dilated, LocalLeap
from nap.decoding.policies.speculative import SelfSpeculative
from nap.decoding.policies.steady import Klass

POLICIES: dict[str, type] = {
    "ar": AR,
    "low_confidence": LowConfidence,
    "random": Random,
    "entropy": Entropy,
    "margin": Margin,
    "threshold": Threshold,
    "factor": Factor,
    "bounded": Bounded,
    "entropy_bound": EntropyBound,
    "localleap": LocalLeap,
    "dilated": Dilated,
    "hierarchy": Hierarchy,
    "parallel_forced": ParallelForced,
    "parallel_threshold": ParallelThreshold,
    "parallel_entropy_bound": ParallelEntropyBound,
    "credit": Credit,
    "klass": Klass,
    "prophet": Prophet,
    "multi_block": MultiBlock,
    "lopa": Lopa,
    "self_speculative": SelfSpeculative,
    "remdm": Remdm,
    "p2": P2,
    "saber": Saber,
    "token_edit": TokenEdit,
}


def parse_policy(text: str) -> Policy:
    """A policy from `name` or `name:setting=value,...`, such as `threshold:tau=0.8,block=32`.

    Raises InputError for an unknown name or setting, a value of the wrong kind, and a setting that is needed and not
    given.
    """
    name, _, rest = text.partition(":")
    kind = POLICIES.get(name) or _plugins().get(name)
    if kind is None:
        raise InputError(unknown("policy", name, POLICIES))
    parts = [part.partition("=") for part in rest.split(",") if part]
    settings = {key: _value(name, kind, key, value) for key, _, value in parts}
    needed = [f.name for f in dataclasses.fields(kind) if _is_needed(f) and f.name not in settings]
    if needed:
        raise InputError(f"policy {name!r} needs {needed[0]}; write {name}:{needed[0]}=...")
    return kind(**settings)


def policy_name(policy: Any) -> str:
    """The text that `parse_policy` reads back, with only the settings that differ from their defaults."""
    kinds = [*POLICIES.items(), *(() if type(policy) in POLICIES.values() else _plugins().items())]
    name = next((name for name, kind in kinds if type(policy) is kind), type(policy).__name__)
    values = {f.name: getattr(policy, f.name) for f in dataclasses.fields(policy)}
    said = {f.name: values[f.name] for f in dataclasses.fields(policy) if values[f.name] != f.default}
    # A guide is known by its own name.
    return name + ":" * bool(said) + ",".join(f"{key}={getattr(value, 'name', value)}" for key, value in said.items())


def _plugins() -> dict[str, type]:
    return {point.name: point.load() for point in entry_points(group="nap.policies")}


def _is_needed(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _value(name: str, kind: Any, key: str, value: str) -> Any:
    default = {f.name: f.default for f in dataclasses.fields(kind)}
    if key not in default:
        raise InputError(f"policy {name!r} has no setting {key!r}; it has: {', '.join(default) or 'none'}")
    if key == "guide":
        return kind.open_guide(value)
    wanted: Any = int if default[key] is None else type(default[key])
    try:
        return wanted(value)
    except ValueError:
        raise InputError(f"policy {name!r}: {key} must be {wanted.__name__}, got {value!r}") from None
