"""A coarse scale of sizes, to which shapes are enlarged where each new one costs.

torch.compile takes seconds to compile for it, oneDNN half a millisecond for each product. Does not enlarge anything.
"""

# Sizes a doubling: what is added is at most an eighth.
EACH_OCTAVE = 8


def size_for(count: int) -> int:
    """The next size of the scale: a multiple of 8 up to 128, of 16 up to 256, of 32 up to 512, and so on."""
    step = max(8, (1 << (count - 1).bit_length() - 1) // EACH_OCTAVE) if count > 1 else 8
    return -(-count // step) * step


def rows_for(count: int) -> int:
    """The next power of two."""
    return 1 << (count - 1).bit_length()
