"""`nap doctor`: what this installation and this machine can do, and what NAP reads from a checkpoint.

Does not load weights, and repairs nothing.
"""

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, NamedTuple

from nap import __version__
from nap.commands.flags import Words
from nap.common.files import InputError

if TYPE_CHECKING:
    from nap.canvas.canvas import CanvasSpec
    from nap.models.load import Found

# What each extra is for, and the packages that it needs.
EXTRAS = {
    "models": ("decode, evaluate", ("torch", "transformers", "safetensors", "tokenizers", "pyarrow", "scipy")),
    "train": ("train", ("accelerate", "peft")),
    "curate": ("curate", ("aiohttp",)),
    "serve": ("serve", ("aiohttp",)),
    "math": ("answers in LaTeX", ("math-verify",)),
    "report": ("figures for a paper", ("matplotlib",)),
    "hub": ("data sets by name", ("datasets",)),
    "ray": ("many machines", ("ray",)),
}


class Line(NamedTuple):
    """One check: what was looked at, whether it is fine, and what was found."""

    name: str
    well: bool
    found: str


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Say what this machine, its installation or a checkpoint can do.

    With --model it reads the config of a checkpoint, without loading weights.
    """

    model: Words = None
    """a bundled name, a folder, or a hub name, whose small files are fetched"""

    def run(self) -> None:
        """Print a line for each thing; exit code 2 where the checkpoint cannot be opened."""
        from nap.common.text import printable

        lines = [*(checkpoint(self.model) if self.model is not None else machine())]
        for line in lines:
            print(f"{'ok' if line.well else 'no':<3} {line.name:<13} {printable(line.found, 400)}")
        if self.model is not None and not all(line.well for line in lines):
            raise InputError(f"{self.model} cannot be opened as it is; the lines that begin with `no` say why")


def machine() -> Iterator[Line]:
    """What is installed here, and what it runs on."""
    yield Line("nap", True, f"{__version__} on Python {platform.python_version()}")
    for extra, (use, packages) in EXTRAS.items():
        known = {name: _version(name) for name in packages}
        absent = [name for name, found in known.items() if not found]
        have = ", ".join(f"{name} {found}" for name, found in known.items() if found)
        hint = f"{', '.join(absent)} not installed: pip install -e '.[{extra}]' for {use}"
        yield Line(extra, not absent, hint if absent else have)
    if _version("torch"):
        yield from _devices()
    yield _hub()
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    yield Line("browser", bool(browser), browser or "no Chromium: only the tests of the page need it")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _devices() -> Iterator[Line]:
    import torch

    from nap.common.machine import fast_dtype, free_memory

    names = [f"cuda:{n}" for n in range(torch.cuda.device_count())]
    names += ["mps"] * torch.backends.mps.is_available()
    for name in ("cpu", *names):
        device = torch.device(name)
        what = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{os.cpu_count()} cores"
        free = free_memory(device)
        memory = f", {free / 1e9:.1f} GB free" if free else ""
        fastest = str(fast_dtype(device)).removeprefix("torch.")
        yield Line(name, True, f"{what}{memory}, multiplies fastest in {fastest}")
    if not names:
        yield Line("gpu", False, "none that this torch sees; models run on the CPU")


def _hub() -> Line:
    """Whether the hub answers within two seconds."""
    from nap.common.hub import address, unreachable

    reason, host = unreachable(), address()[0]
    if reason is None:
        return Line("network", True, f"{host} can be reached")
    return Line("network", False, f"{host} cannot be reached ({reason}); give models as folders, or fetched before")


def checkpoint(name: str) -> Iterator[Line]:
    """What a checkpoint's files say, and what is missing. Raises InputError where there is no such checkpoint."""
    from nap.canvas.canvas import usual_tokens
    from nap.models.checkpoint import find
    from nap.models.load import found
    from nap.models.weights import tensor_names, weight_files

    folder, commit = find(name, weights=False)
    yield Line("folder", True, f"{folder}{f' at {commit}' if commit else ''}")
    try:
        known = found(name, None, weights=False)
    except InputError as error:
        yield Line("family", False, str(error))
        return
    native, family = known.native, known.family
    kind = f"{known.config.get('model_type')}, read as transformers' {family.native}"
    yield Line("family", True, f"{kind}{f'; an adapter of {known.base.folder}' if known.base else ''}")
    shape = (
        f"{native.get('num_hidden_layers')} layers of {native.get('hidden_size')}, {native.get('vocab_size')} tokens"
    )
    yield Line("shape", True, f"{shape}, {native.get('max_position_embeddings', 'any number of')} positions")
    shift, block = native.get("shift_logits", family.shift), native.get("block_size", family.block_size)
    said = "at the position before it (shifted)" if shift else "at its own position (no shift)"
    yield Line("shift", True, f"a token is predicted {said}")
    yield Line("attention", True, f"causal over blocks of {block}" if block else "all positions see all")
    yield Line("tokenizer", known.tokenizer is not None, "there" if known.tokenizer else "none: it cannot read text")
    yield _mask(known)
    own, tokens = known.canvas, usual_tokens(native.get("max_position_embeddings"))
    unsaid = f"not said (canvas.json): give --canvas plain --path-tokens {tokens}"
    yield Line("canvas", True, _shape(own) if own else unsaid)
    if commit is None:
        try:
            files = weight_files(folder)
            yield Line("weights", True, f"{len(tensor_names(files))} tensors in {len(files)} files, not loaded")
        except InputError as error:
            yield Line("weights", False, str(error))


def _mask(known: "Found") -> Line:
    from nap.models.families import special_ids

    try:
        ids = special_ids(known.native, known.family, known.tokenizer, known.folder, None)
    except InputError as error:
        return Line("mask", False, str(error))
    ends = f"a text ends at {', '.join(map(str, ids.eos_ids))}" if ids.eos_ids else "no token ends a text"
    return Line("mask", True, f"token {ids.mask_id}; padding {ids.pad_id}; {ends}")


def _shape(own: "CanvasSpec") -> str:
    slots = f"{own.paths} path{'s' * (own.paths > 1)} of {own.path_tokens} tokens"
    summary = f", a summary of {own.summary_tokens}" if own.summary_tokens else ""
    return f"{own.kind}: {slots}{summary}; attention {own.attention}"
