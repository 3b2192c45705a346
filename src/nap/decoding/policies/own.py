"""Policies of a Python file of yours, by name: `halves.py` with a class `Halves` gives `halves`.

    add_file("halves.py")            # ["halves"]; parse_policy("halves:block=32") finds it then, in this process

The file is run, so only a person may name it: no trace, data set or checkpoint can. Does not install anything; a
package of your own has an entry point instead (registry.py).
"""

import dataclasses
import importlib.util
import re
from pathlib import Path

from nap.common.files import InputError
from nap.decoding.policies.policy import Based
from nap.decoding.policies.registry import POLICIES


def add_file(file: str | Path) -> list[str]:
    """Run a file and register the policies that its classes are. Returns their names.

    Raises InputError for a file that is not there, fails, or defines no policy, and for a name that is taken.
    """
    file = Path(file)
    if not file.is_file():
        raise InputError(f"there is no file {file} with a decoder")
    module_name = f"nap_policy_file_{file.stem}"
    spec = importlib.util.spec_from_file_location(module_name, file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"{file} cannot be run: {type(error).__name__}: {error}") from error
    found = {_snake(kind.__name__): kind for kind in vars(module).values() if _is_policy(kind, module_name)}
    if not found:
        raise InputError(
            f"{file} defines no policy: a frozen dataclass with `select` that inherits Selecting, or with `ask` and "
            "`act` that inherits Based (docs/how-to/decoder.md)"
        )
    for name in found:
        if name in POLICIES and POLICIES[name].__module__ != module_name:
            raise InputError(f"{file}: there is a policy {name!r} already; give the class another name")
    POLICIES.update(found)
    return [*found]


def of_file(text: str) -> str:
    """The policy that a text names, where the name is a file's: `halves.py:block=32` as `halves:block=32`.

    Raises InputError as `add_file` does, and for a file with several policies.
    """
    file, colon, settings = text.partition(":")
    if not file.endswith(".py"):
        return text
    names = add_file(file)
    if len(names) > 1:
        raise InputError(f"{file} defines {len(names)} policies ({', '.join(names)}); keep the one that you mean in it")
    return names[0] + colon + settings


def _is_policy(kind: object, module: str) -> bool:
    return (
        isinstance(kind, type)
        and issubclass(kind, Based)
        and dataclasses.is_dataclass(kind)
        and kind.__module__ == module
        and not kind.__name__.startswith("_")
    )


def _snake(name: str) -> str:
    """`TwoHalves` as `two_halves`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
