"""What a process does with memory that it frees. Commands and scripts choose it; an import never does.

Knows nothing of torch.
"""

import ctypes
import functools
import gc

# Settings of Python's garbage collector: new objects before a collection, and how many of these before older objects
# are looked at.
MORE_OBJECTS = (20_000, 20, 20)


@functools.cache
def keep_memory() -> bool:
    """Have this process keep the memory of freed tensors for the next ones. Returns whether the system can do so.

    By default glibc returns the memory of freed tensors to the system and gets it back page by page at every forward,
    which takes up to a third of the time of a small model. The peak memory of a process stays the same. Python's
    garbage collector runs less often too: files of many rows are millions of objects without cycles, and searching them
    took a sixth of the time.
    """
    gc.set_threshold(*MORE_OBJECTS)
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows.
        return False
    trim_threshold, mmap_threshold = -1, -3
    # Older versions accept no threshold above 32 MiB.
    kept = mallopt(mmap_threshold, 1 << 30) or mallopt(mmap_threshold, 32 << 20)
    return bool(kept and mallopt(trim_threshold, (1 << 31) - 1))
