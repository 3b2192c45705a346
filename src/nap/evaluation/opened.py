"""The model of a sweep that is open: opened by its name, or given open, and what it is made of.

    denoiser = opened("arith-nap", sweep, current=True)
    digests_of("arith-nap", denoiser)

A model that is open is of the files that it was opened from. These may be others by now, and its weights may have been
changed in memory: either would give rows under a wrong name. Neither opens checkpoints itself nor runs sweeps.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nap.common.files import InputError
from nap.common.workers import worker_number
from nap.evaluation.sweep import Sweep
from nap.models.any import load
from nap.models.denoiser import Denoiser, Loaded
from nap.models.identity import digest_in_memory, made_of, stamp_of

_open: dict[tuple[object, ...], Denoiser] = {}


def opened(model: str, sweep: Sweep, *, current: bool = False) -> Denoiser:
    """A model of the sweep, which stays open until another is asked for.

    current  open it again where its files are others than those that it was opened from
    """
    options: dict[str, Any] = sweep.opening | {"device": own_device(sweep.device)}
    key = (model, *options.values())
    if key not in _open or (current and _is_stale(_open[key], model)):
        close()  # One at a time, because two large models may not fit in memory.
        _open[key] = load(model, **options)
    return _open[key]


def close() -> None:
    """Let the open model go."""
    _open.clear()


@contextmanager
def kept_open(denoiser: Denoiser, sweep: Sweep, workers: int = 1) -> Iterator[None]:
    """Let sweeps of one model use a denoiser that is already open, within the block; worker processes open their own.

    Raises InputError where its files are others by now, or its weights are and workers would open the files.
    """
    (model,) = sweep.models
    if _is_stale(denoiser, model):
        raise InputError(f"the files of {model} have changed since it was opened; open it again (nap.load)")
    if workers > 1 and isinstance(denoiser, Loaded) and denoiser.is_changed:
        raise InputError(
            f"the weights of {model} were changed in memory, and {workers} workers would open its files; use one "
            "worker, or save it and name its folder"
        )
    close()
    _open[model, *sweep.opening.values()] = denoiser
    try:
        yield
    finally:
        close()


def _is_stale(denoiser: Denoiser, model: str) -> bool:
    stamp = getattr(denoiser, "stamp", ())
    return bool(stamp) and stamp != stamp_of(model)


def digests_of(model: str, denoiser: Denoiser) -> dict[str, object]:
    """What an open model is made of: its files, and its weights themselves where they were changed in memory."""
    found = made_of(model, denoiser.setting["revision"], code="remote_code" in denoiser.setting)
    if isinstance(denoiser, Loaded) and denoiser.is_changed:
        found["in_memory"] = digest_in_memory(denoiser.model)
    return found


def devices(device: str) -> int:
    """How many devices this name stands for: `cuda` for all that the machine has, another for one."""
    import torch

    return max(1, torch.cuda.device_count()) if device == "cuda" else 1


def own_device(device: str) -> str:
    """The device of this process: of several worker processes under `cuda` each has another, as far as they go."""
    number = worker_number()
    return device if device != "cuda" or number is None else f"cuda:{number % devices(device)}"
