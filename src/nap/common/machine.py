"""What the machine at hand can do: its devices and memory, the fastest number type, and the library that gives it.

Measures once in each process. Does not spread a model over several devices.
"""

import functools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from nap.common.files import InputError
from nap.common.text import check_known

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# torch 2.9 and later can set its precision.
_mkldnn: Any = torch.backends.mkldnn

# Below this width a shorter type gains nothing on a CPU.
SMALL_WIDTH = 512
# A shorter type must be this much faster to be worth its rounding. Measured ratios are far from it: 8, or 1/50.
WORTHWHILE = 1.5
# Allowed error, relative to the largest entry, of a product of standard normal numbers. Float32 has .8e-6, bfloat16
# 3e-3.
FLOAT32_ERROR = 5e-6


def usable_device(name: str) -> torch.device:
    """The device of that name. Raises InputError if this machine has no such device."""
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} is not usable here ({str(error).splitlines()[0]}); try cpu") from None


def choose_dtype(name: str, device: torch.device, own: str | None = None) -> torch.dtype:
    """The type called `name`; for `auto` float32 on a CPU, and elsewhere the checkpoint's `own` type.

    Nothing is measured, so the same command gives the same numbers on every machine of a kind. A checkpoint that does
    not name its type is opened in bfloat16 on an accelerator and in float16 on Apple's mps. Raises InputError for an
    unknown name.
    """
    check_known("dtype", name, ("auto", *DTYPES))
    if name != "auto":
        return DTYPES[name]
    if device.type == "cpu":
        return torch.float32
    return DTYPES.get(own or "", torch.float16 if device.type == "mps" else torch.bfloat16)


def fast_dtype(device: torch.device) -> torch.dtype:
    """The type in which a device multiplies large matrices fastest. It is measured, so it is used for hints only.

    bfloat16 is 8 times faster than float32 on a CPU with AMX and 50 times slower on one without.
    """
    short = torch.float16 if device.type == "mps" else torch.bfloat16
    ratio = _product_seconds(device, torch.float32) / _product_seconds(device, short)
    return short if ratio > WORTHWHILE else torch.float32


def dtype_hint(device: torch.device, used: str, width: int, changes: str = "decodes other tokens") -> str | None:
    """A line that says that another type would be much faster here for a model of this width; None where none is.

    changes  what the other type would do to the results
    """
    # The forward of a narrower model is mostly overhead, which a shorter type does not reduce.
    if used != "float32" or device.type != "cpu" or width < SMALL_WIDTH or fast_dtype(device) == torch.float32:
        return None
    return f"this machine multiplies bfloat16 much faster than float32: --dtype bfloat16, which {changes}"


def free_memory(device: torch.device) -> int | None:
    """Bytes that a process can still take on the device; None where the system does not say.

    On a CPU: what Linux calls available, or what the limit of the process's control group leaves.
    """
    if device.type == "cuda":
        # Memory that torch has freed and keeps for reuse counts as free.
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    said = [found for found in (available(), left_of_group()) if found is not None]
    return min(said, default=None)


def available(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """What Linux says that processes can still take; None elsewhere."""
    try:
        lines = meminfo.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


# Files of a control group as a container sees them, for versions 2 and 1: the limit, the use, and its parts.
GROUP_2 = ("memory.max", "memory.current", "memory.stat")
GROUP_1 = tuple(f"memory/memory.{name}" for name in ("limit_in_bytes", "usage_in_bytes", "stat"))


def left_of_group(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """What is left below the memory limit of the process's control group; None without a limit."""
    for most, now, kinds in (GROUP_2, GROUP_1):
        try:
            limit, used = int((root / most).read_text()), int((root / now).read_text())
            lines = [line.split() for line in (root / kinds).read_text().splitlines()]
        except (OSError, ValueError):  # "max": no limit
            continue
        # The cache of files that were read is given back when memory is needed.
        given_back = max((int(count) for name, count in lines if name.endswith("inactive_file")), default=0)
        return max(0, limit - used + given_back)
    return None


@contextmanager
def fast_float32() -> Iterator[None]:
    """Inside, float32 products on a CPU go through oneDNN where that uses more of the processor than MKL.

    MKL, which torch uses otherwise, leaves half the width of an AMD processor unused (2.4 times slower on Zen 5). torch
    sends float32 products to oneDNN only if bfloat16 is allowed for them. On a processor with AMX, oneDNN then really
    rounds to bfloat16; there this does nothing.
    """
    if not onednn_is_exact():
        yield
        return
    _allowed.enter()
    try:
        yield
    finally:
        _allowed.leave()


class _Allowed:
    """torch has one switch for the whole process: it is on while any thread is inside, and is then set back."""

    def __init__(self) -> None:
        self.lock, self.within, self.before = threading.Lock(), 0, ""

    def enter(self) -> None:
        with self.lock:
            if not self.within:
                self.before, _mkldnn.fp32_precision = _mkldnn.fp32_precision, "bf16"
            self.within += 1

    def leave(self) -> None:
        with self.lock:
            self.within -= 1
            if not self.within:
                _mkldnn.fp32_precision = self.before


_allowed = _Allowed()


@functools.cache
def onednn_is_exact() -> bool:
    """Whether oneDNN still multiplies in float32 when bfloat16 is allowed; only then `fast_float32` does anything."""
    # Not decided by timing: two processes of one run must round alike.
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not hasattr(_mkldnn, "fp32_precision"):
        return False
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(512, 512, generator=generator) for _ in range(2))
    before, _mkldnn.fp32_precision = _mkldnn.fp32_precision, "bf16"
    try:
        product = left @ right
    finally:
        _mkldnn.fp32_precision = before
    exact = left.double() @ right.double()
    return float((product - exact).abs().max() / exact.abs().max()) < FLOAT32_ERROR


@functools.cache
def _product_seconds(device: torch.device, dtype: torch.dtype) -> float:
    # Large enough that an accelerator's launch does not hide the work, small enough for a CPU at 1 GFLOPS.
    rows, width = (64, 512) if device.type == "cpu" else (2048, 2048)
    left = torch.ones(rows, width, device=device, dtype=dtype)
    right = torch.ones(width, width, device=device, dtype=dtype)
    threads, seconds = torch.get_num_threads(), []
    # On a busy machine, several threads would mostly measure how long they wait for each other.
    torch.set_num_threads(1)
    try:
        for _ in range(8):
            started = time.perf_counter()
            (left @ right)[0, 0].item()
            seconds.append(time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)
    return min(seconds)
