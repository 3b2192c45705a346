"""Which process of how many this is, and what accelerate would take from the environment besides.

torchrun gives each process five variables. accelerate reads some of them on a CPU and others on a GPU, and has settings
of its own there. Here they are read in one place: half of the five is refused, and a training is what its flags say.
Starts no process.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from nap.common.files import InputError

NUMBERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
TORCHRUN = (*NUMBERS, "MASTER_ADDR", "MASTER_PORT")
# By these accelerate counts processes on a CPU alone, where torchrun's are not there.
MPI = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
START = "torchrun --nproc-per-node 8 -m nap train starts several processes, each with all that it needs"

# Settings that `accelerate launch` exports, and what to do instead.
SHARD = "torchrun with --fsdp shards the weights"
INSTEAD = {
    "ACCELERATE_USE_DEEPSPEED": SHARD,
    "ACCELERATE_USE_FSDP": SHARD,
    "ACCELERATE_USE_MEGATRON_LM": SHARD,
    "ACCELERATE_USE_PARALLELISM_CONFIG": SHARD,
    "ACCELERATE_DYNAMO_BACKEND": "a training is not compiled",
    "ACCELERATE_TORCH_DEVICE": "CUDA_VISIBLE_DEVICES=1 chooses the second GPU",
    "ACCELERATE_USE_CPU": "CUDA_VISIBLE_DEVICES= hides the GPUs",
}
OFF = ("", "0", "no", "n", "false", "f", "off")


class Process(NamedTuple):
    """This process is number `rank`, from 0, `of` so many."""

    rank: int
    of: int


def which_process() -> Process:
    """What the environment says, as accelerate will read it. Raises InputError where it says half of what it takes."""
    rank, count, local = (_number(name) for name in NUMBERS)
    if not rank and count in (None, 1) and local is None:
        # A cluster's starter gives one process a 1.
        several = [f"{name}={os.environ[name]}" for name in MPI if (_number(name) or 1) > 1]
        if several:
            raise InputError(f"{several[0]} in the environment is MPI's, which starts no training here; {START}")
        return Process(0, 1)
    missing = [name for name in TORCHRUN if os.environ.get(name, "-1") in ("", "-1")]
    if missing:
        said = ", ".join(f"{name}={os.environ[name]}" for name in TORCHRUN if name not in missing)
        raise InputError(
            f"the environment says {said}, as for one of several processes, and lacks {', '.join(missing)}; {START}; "
            "for one process, unset them"
        )
    _number("MASTER_PORT")
    assert rank is not None and count is not None
    if rank >= count:
        raise InputError(f"RANK={rank} is none of WORLD_SIZE={count} processes, which count from 0; {START}")
    return Process(rank, count)


def _number(name: str) -> int | None:
    """A number of the environment; None where it is not there, or -1, which says the same."""
    text = os.environ.get(name, "-1")
    if text == "-1":
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise InputError(f"{name} in the environment must be a whole number, got {text!r}; unset it; {START}")
    return int(text)


def check_environment(dtype: str, *, gpu: bool) -> None:
    """Raise InputError for a setting of accelerate's that contradicts the flags: `dtype` is that of the products."""
    name = "ACCELERATE_MIXED_PRECISION"
    asked, own = os.environ.get(name, "no").lower(), "bf16" if dtype == "bfloat16" else "no"
    if asked not in (*OFF, own):
        raise InputError(
            f"{name}={asked} in the environment, which accelerate launch exports, contradicts dtype {dtype}; unset it "
            "(accelerate launch --mixed_precision no), and choose --dtype float32 or bfloat16"
        )
    for name, instead in INSTEAD.items():
        asked = os.environ.get(name, "")
        if asked.lower() not in OFF and (gpu or name != "ACCELERATE_USE_CPU"):
            raise InputError(
                f"{name}={asked} in the environment, which accelerate launch exports, is not followed here; unset it: "
                f"{instead}"
            )


@contextmanager
def own_environment() -> Iterator[None]:
    """Inside, accelerate finds none of its settings in the environment, except those that the training puts there."""
    before = _taken()
    try:
        yield
    finally:
        _taken()
        os.environ.update(before)


def _taken() -> dict[str, str]:
    return {name: os.environ.pop(name) for name in [*os.environ] if name.startswith(("ACCELERATE_", "FSDP_"))}
