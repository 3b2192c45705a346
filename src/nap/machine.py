"""What the machine at hand can do: which device, and which number type it multiplies fastest.

Measures once a process. Does not spread a model over several devices.
"""

import functools
import time

import torch

from nap.files import InputError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# Narrower models stay exact on a CPU: their forward is mostly overhead, which no shorter type makes less.
SMALL_WIDTH = 512
# A shorter type must be this much faster to be worth its rounding. Measured ratios are far from it: 8, or 1/50.
WORTHWHILE = 1.5


def usable_device(name: str) -> torch.device:
    """The device of that name. Raises InputError if this machine has no such device."""
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} is not usable here ({str(error).splitlines()[0]}); try cpu") from None


def choose_dtype(name: str, device: torch.device, width: int) -> torch.dtype:
    """The type called `name`; for `auto` the one to use on a device for a model with hidden states of `width`.

    That is float32, unless a matrix product in bfloat16 (float16 on Apple's mps) is measured to be clearly faster:
    bfloat16 is 8 times faster than float32 on a CPU with AMX and 50 times slower on one without. A narrow model on a
    CPU is always float32. Raises InputError for an unknown name.
    """
    if name not in ("auto", *DTYPES):
        raise InputError(f"unknown dtype {name!r}; known: auto, {', '.join(DTYPES)}")
    if name != "auto":
        return DTYPES[name]
    if device.type == "cpu" and width < SMALL_WIDTH:
        return torch.float32
    short = torch.float16 if device.type == "mps" else torch.bfloat16
    ratio = _product_seconds(device, torch.float32) / _product_seconds(device, short)
    return short if ratio > WORTHWHILE else torch.float32


@functools.cache
def _product_seconds(device: torch.device, dtype: torch.dtype) -> float:
    # Large enough that an accelerator's launch does not hide the work, small enough for a CPU at 1 GFLOPS.
    rows, width = (64, 512) if device.type == "cpu" else (2048, 2048)
    left = torch.ones(rows, width, device=device, dtype=dtype)
    right = torch.ones(width, width, device=device, dtype=dtype)
    threads, seconds = torch.get_num_threads(), []
    # On a busy machine several threads mostly measure how long they wait for each other.
    torch.set_num_threads(1)
    try:
        for _ in range(8):
            started = time.perf_counter()
            (left @ right)[0, 0].item()
            seconds.append(time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)
    return min(seconds)
