"""Files of arrays that other systems save: NumPy's .npy and .npz, and tensors that torch saved.

    value = read_arrays("histories.npz")        # lists of whole numbers, nested as in the file

A file may lie about the size of its arrays, so nothing larger than the file is allocated, and no code is run.

Does not know what the arrays mean (importers.py).
"""

import zipfile
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from nap.common.files import InputError, open_input
from nap.common.text import printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_BYTES = 1 << 30  # bytes of the arrays of an archive, unpacked


def read_arrays(path: Path, keys: Sequence[str] = ()) -> object:
    """The contents of a file with one of SUFFIXES, as lists of whole numbers.

    keys  names of arrays; of an archive only the first of these that it has is read

    Raises InputError for a file that holds something else.
    """
    with open_input(path) as file:
        try:
            return READERS[path.suffix](file, keys)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        except Exception as error:  # NumPy and torch raise a dozen types of errors for damaged files.
            said = printable(str(error).strip().partition("\n")[0], 80)
            raise InputError(f"{path} is not a {path.suffix} of integers ({said})") from None


def _npy(file: BinaryIO, keys: Sequence[str]) -> object:
    return _array(BytesIO(file.read())).tolist()


def _npz(file: BinaryIO, keys: Sequence[str]) -> object:
    """What an archive holds under one of the keys, or all that it holds, as steps in the order of their names."""
    with zipfile.ZipFile(file) as archive:
        if (size := sum(part.file_size for part in archive.infolist())) > MOST_BYTES:
            raise InputError(f"its arrays take {size >> 20} MB unpacked; {MOST_BYTES >> 20} MB is the most")
        names = {name.removesuffix(".npy"): name for name in archive.namelist()}
        if known := [key for key in keys if key in names]:
            return {known[0]: _array(BytesIO(archive.read(names[known[0]]))).tolist()}
        return [_array(BytesIO(archive.read(names[name]))).tolist() for name in sorted(names, key=_number)]


def _number(name: str) -> tuple[int, str]:
    # arr_10 comes after arr_9.
    return int("".join(filter(str.isdecimal, name))[:9] or 0), name


def _array(file: BytesIO) -> "NDArray[np.integer]":
    """The array of a .npy. Raises ValueError where its header announces more than the file holds."""
    import numpy as np
    from numpy.lib import format as npy

    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version[0]}.{version[1]}")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, by_columns, kind = read(file)
    if kind.kind not in "iu" or any(size < 0 for size in shape):
        raise ValueError(f"{kind} of shape {shape}")
    said, left = prod(shape) * kind.itemsize, len(file.getbuffer()) - file.tell()
    if said > left:
        raise ValueError(f"its header says {said} bytes, and it has {left}: was its write cut?")
    return np.frombuffer(file.read(said), kind).reshape(shape, order="F" if by_columns else "C")


def _torch(file: BinaryIO, keys: Sequence[str]) -> object:
    """What torch saved, read by its safe reader, which makes tensors and containers and runs no code."""
    import torch

    return _listed(torch.load(file, map_location="cpu", weights_only=True))


def _listed(value: Any) -> object:
    if hasattr(value, "tolist"):
        if value.untyped_storage().nbytes() < value.nelement() * value.element_size():
            raise InputError("a tensor says that it is larger than what the file holds")
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _listed(part) for key, part in value.items()}
    return [_listed(part) for part in value] if isinstance(value, list | tuple) else value


READERS: dict[str, Callable[[BinaryIO, Sequence[str]], object]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".pt": _torch,
    ".pth": _torch,
}
SUFFIXES = tuple(READERS)
