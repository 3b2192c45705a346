"""What a process does with memory that it frees: the choice of a command or a script, never of an import.

Knows nothing of torch.
"""

import ctypes
import functools
import gc

# New objects before the youngest are looked through, and how many such turns before older ones are.
MORE_OBJECTS = (20_000, 20, 20)


@functools.cache
def keep_memory() -> bool:
    """Have this process keep the memory that its tensors free, for the next ones. Whether the system's malloc does so.

    glibc gives freed tensors back to the system, and gets them again page by page, at every forward: up to a third of
    the time of a small model. What a process needs at most stays the same. Python looks for cycles of objects less
    often too: files of many rows are millions of objects without any, and looking at them took a sixth of their time.
    """
    gc.set_threshold(*MORE_OBJECTS)
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows.
        return False
    trim_threshold, mmap_threshold = -1, -3
    # Older versions take no larger threshold than 32 MiB.
    kept = mallopt(mmap_threshold, 1 << 30) or mallopt(mmap_threshold, 32 << 20)
    return bool(kept and mallopt(trim_threshold, (1 << 31) - 1))
