"""Weights of an open model as 8-bit integers, by torchao: a quarter of the memory that float32 takes.

The linear layers of the body are converted, with a scale for each output. Embeddings and the output head stay as they
are: torchao's head for a large vocabulary takes several times as long on a CPU. Does not train such a model or save it.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal, get_args

from nap.common.files import InputError
from nap.common.text import check_known

Int8 = Literal["weights", "products"]
# Loggers by which torchao says about itself, when it is imported, what it has for other devices.
CHATTY = ("torchao", "torch.utils._pytree")
CONFIGS: dict[str, str] = {"weights": "Int8WeightOnlyConfig", "products": "Int8DynamicActivationInt8WeightConfig"}


def check_int8(kind: str) -> None:
    """Raise InputError for a kind that does not exist, or where torchao is not installed."""
    check_known("int8", kind, get_args(Int8))
    if find_spec("torchao") is None:
        raise InputError("int8 needs torchao; try: pip install 'nap-dlm[int8]'")


def use_int8(model: Any, kind: Int8) -> None:
    """Convert the linear layers of a model's body in place.

    weights   they are multiplied in the model's own type, so only their rounding changes results
    products  states are rounded to 8 bits as well, each position by a scale of its own, and integers are multiplied
    """
    with _quiet():
        quantization = import_module("torchao.quantization")
        quantization.quantize_(model.base_model, getattr(quantization, CONFIGS[kind])())


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torchao says about itself: kernels of other devices that it cannot load, enums that it registers."""
    loggers = [logging.getLogger(name) for name in CHATTY]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
