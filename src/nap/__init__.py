"""NAP: decode diffusion language models in parallel, and prove it.

    import nap
    model = nap.load("arith-nap")
    result = nap.decode(model, "Ann has 2 pears . How many has Ann ?")
    result.text, result.trace.order()["global_arness@1"]

The names in `__all__` are the stable ones (CHANGELOG.md). Each is imported when it is first used: importing `nap` costs
a few milliseconds and imports neither numpy nor torch.

Does not compute: the folders below do, and `face` is their interface for Python.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nap.canvas.canvas import Canvas, CanvasSpec, Completion
    from nap.common.files import InputError
    from nap.data.trace_files import write_traces
    from nap.face.decoding import Result, decode
    from nap.face.live import Live
    from nap.face.page import replay, report
    from nap.face.running import Run, evaluate
    from nap.face.traces import Trace, measure, order, read_traces
    from nap.models.any import load

__version__ = "0.1.0"

__all__ = [
    "Canvas",
    "CanvasSpec",
    "Completion",
    "InputError",
    "Live",
    "Result",
    "Run",
    "Trace",
    "__version__",
    "decode",
    "evaluate",
    "load",
    "measure",
    "order",
    "read_traces",
    "replay",
    "report",
    "write_traces",
]

_HOMES = {
    "Canvas": "canvas.canvas",
    "CanvasSpec": "canvas.canvas",
    "Completion": "canvas.canvas",
    "InputError": "common.files",
    "Live": "face.live",
    "Result": "face.decoding",
    "Run": "face.running",
    "Trace": "face.traces",
    "decode": "face.decoding",
    "evaluate": "face.running",
    "load": "models.any",
    "measure": "face.traces",
    "read_traces": "face.traces",
    "replay": "face.page",
    "write_traces": "data.trace_files",
}
# Verbs that are also names of folders: the folder's module can be called.
_CALLED = {"order": "face.traces", "report": "face.page"}


class _CalledRoom(ModuleType):
    """A folder whose name is also a verb: `nap.report(run)` beside `nap.report.page`."""

    def __call__(self, *arguments: object, **options: object) -> object:
        name = self.__name__.rpartition(".")[2]
        return getattr(import_module(f"nap.{_CALLED[name]}"), name)(*arguments, **options)


class _Package(ModuleType):
    """Python sets a folder as an attribute of its package when anyone first imports it."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _CALLED and isinstance(value, ModuleType):
            value.__class__ = _CalledRoom
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> object:
    if name in _CALLED:
        return import_module(f"nap.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'nap' has no attribute {name!r}; its names are {', '.join(__all__)}")
    value = getattr(import_module(f"nap.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
