"""What the machine at hand can do: which device, which number type it multiplies fastest, and by which library.

Measures once a process. Does not spread a model over several devices.
"""

import ctypes
import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from nap.common.files import InputError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# Narrower models stay exact on a CPU: their forward is mostly overhead, which no shorter type makes less.
SMALL_WIDTH = 512
# A shorter type must be this much faster to be worth its rounding. Measured ratios are far from it: 8, or 1/50.
WORTHWHILE = 1.5
# Of the largest entry of a product of standard normal numbers. Float32 is at .8e-6, bfloat16 at 3e-3.
FLOAT32_ERROR = 5e-6


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


@contextmanager
def fast_float32() -> Iterator[None]:
    """Within it a CPU's float32 products go through oneDNN, where that can use more of the processor than MKL.

    MKL, which torch asks otherwise, leaves half the width of an AMD processor unused (2.4 times slower on Zen 5). The
    way to ask oneDNN is to allow it bfloat16: where it then really rounds to bfloat16 (with AMX), it is not asked.
    """
    backend: Any = torch.backends.mkldnn
    if not _onednn_is_exact():
        yield
        return
    before, backend.fp32_precision = backend.fp32_precision, "bf16"
    try:
        yield
    finally:
        backend.fp32_precision = before


@functools.cache
def keep_memory() -> bool:
    """Have this process keep the memory that its tensors free, for the next ones. Whether the system's malloc does so.

    glibc gives freed tensors back to the system, and gets them again page by page, at every forward: up to a third of
    the time of a small model. What a process needs at most stays the same.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows.
        return False
    trim_threshold, mmap_threshold = -1, -3
    # Older versions take no larger threshold than 32 MiB.
    kept = mallopt(mmap_threshold, 1 << 30) or mallopt(mmap_threshold, 32 << 20)
    return bool(kept and mallopt(trim_threshold, (1 << 31) - 1))


def quicken(model: Any) -> Any:
    """The model, its linear layers under `fast_float32`. Its attention is left alone: torch's fused kernel is made of
    many small products, which oneDNN makes slower.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            forward: Any = functools.partial(_under_fast_float32, module.forward)
            module.forward = forward
    return model


def _under_fast_float32(forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    with fast_float32():
        return forward(x)


@functools.cache
def _onednn_is_exact() -> bool:
    # Not by the clock: two processes of one run must round alike.
    backend: Any = torch.backends.mkldnn
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not hasattr(backend, "fp32_precision"):
        return False
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(512, 512, generator=generator) for _ in range(2))
    before, backend.fp32_precision = backend.fp32_precision, "bf16"
    try:
        product = left @ right
    finally:
        backend.fp32_precision = before
    exact = left.double() @ right.double()
    return float((product - exact).abs().max() / exact.abs().max()) < FLOAT32_ERROR


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
