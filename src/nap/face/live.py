"""`nap.Live`: shows a canvas as it fills, in a terminal or a notebook, with the methods of transformers' streamers.

Does not decode, and does not draw lanes itself (report/terminal.py).
"""

import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from typing import Protocol

from rich.console import Console, Group

from nap.common.arguments import checked_arguments
from nap.common.files import InputError
from nap.common.terminal import visible
from nap.data.trace import HEADER, Step
from nap.models.denoiser import Denoiser
from nap.report.terminal import Laid, LaneStreamer, Screen, Streamer, stream


class Live(LaneStreamer):
    """Draws a decode as it happens: `put` of the prompt, `put_draft` after each step, `put` of the canvas, `end`.

    In a terminal the lanes are redrawn in place, in a notebook in one output, and in a pipe one picture below the
    other. Any object with these methods can be used instead, such as transformers' TextStreamer.

    >>> import nap
    >>> model = nap.load("arith-nap")
    >>> question = "Ann has 2 pears . Bob has 3 more than Ann . How many has Bob ?"
    >>> nap.decode(model, question, policy="threshold", streamer=nap.Live(model)).trace.forwards
    2
    """

    @checked_arguments
    def __init__(self, model: Denoiser, width: int = 100) -> None:
        super().__init__(model.tokenizer, model.mask_id)
        if in_notebook():
            self.screen = Output(width)


class Handle(Protocol):
    """An output of IPython that can be redrawn."""

    def update(self, shown: dict[str, str], *, raw: bool) -> None:
        """Show this in its place."""
        ...


class Output(Screen):
    """One output of a notebook cell, redrawn with every picture."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.handle: Handle | None = None

    def show(self, picture: Group) -> None:
        """Draw."""
        shown = {"text/plain": as_text(picture, self.width)}
        if self.handle is None:
            # Only a notebook needs IPython.
            self.handle = import_module("IPython.display").display(shown, raw=True, display_id=True)
        else:
            self.handle.update(shown, raw=True)

    def end(self) -> None:
        """Keep the last picture; the next one gets a new output."""
        self.handle = None


def as_text(picture: Group, width: int) -> str:
    """A picture without colours, whose text cannot move a cursor."""
    written = io.StringIO()
    Console(file=written, width=width, color_system=None, force_jupyter=False).print(picture)
    return "\n".join(visible(line) for line in written.getvalue().splitlines())


def in_notebook() -> bool:
    """Whether this process is a notebook's kernel."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


def streamed(steps: Iterable[Step], canvases: Sequence[Laid], streamer: Streamer, mask_id: int) -> Iterator[Step]:
    """Pass the steps of one canvas on, sending it to a streamer. Raises InputError for several canvases."""
    if len(canvases) != 1:
        raise InputError(f"a streamer follows one prompt, got {len(canvases)}; decode them one by one, or use watch")
    if isinstance(streamer, LaneStreamer):
        canvas, shown = canvases[0], canvases[0].region >= HEADER
        streamer.follow(canvas.ids[shown].tolist(), canvas.region[shown].tolist())
    return stream(steps, canvases[0], streamer, mask_id)
