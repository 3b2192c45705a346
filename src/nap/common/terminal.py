"""Output to a terminal: no text in it can move the cursor, and no error message is endless.

    with guarded():                 # every command and recipe runs in it
        print(anything)

A file's name, an answer or a message of another library is text that somebody else wrote. The streams themselves
therefore show control characters as escapes, so that no command can forget it. Output that moves the cursor on purpose
(colours, a progress line) goes through `open_console` or `plain`, which clean the text inside.

Does not lay anything out; commands/tables.py and report/terminal.py do.
"""

import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, Literal, TextIO

from nap.common.text import shortened, visible

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType

ColorSystem = Literal["auto", "standard", "256", "truecolor"]
# A person has to read an error; a longer one contains the text of a file.
LONGEST_ERROR = 2000


class Guarded:
    """A text stream that shows control characters as escapes; new lines stay. All else is done by the wrapped stream.

    longest  the most characters of a line; a longer one loses its middle. 0: no limit
    """

    def __init__(self, stream: TextIO, longest: int = 0) -> None:
        self.stream, self.longest = stream, longest

    def write(self, text: str) -> int:
        """Write the text, cleaned."""
        shown = visible(text)
        if 0 < self.longest < len(shown):
            shown = "\n".join(shortened(line, self.longest) for line in shown.split("\n"))
        self.stream.write(shown)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def guarded() -> Iterator[None]:
    """Inside, whatever is written to standard output and standard error is cleaned."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (
        stream if stream is None or isinstance(stream, Guarded) else Guarded(stream, longest)  # pyright: ignore
        for stream, longest in zip(before, (0, LONGEST_ERROR), strict=True)
    )
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


@contextmanager
def natives_guarded() -> Iterator[None]:
    """Inside, what libraries write past Python's streams (as Rust's tokenizers do) is moved to standard error.

    None of it reaches standard output, which may be JSON. For one thread at a time, and for a short while.
    """
    with _natives, TemporaryFile() as held:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        before = os.dup(1), os.dup(2)
        for number in (1, 2):
            os.dup2(held.fileno(), number)
        try:
            yield
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            for number, old in enumerate(before, 1):
                os.dup2(old, number)
                os.close(old)
            held.seek(0)
            said = held.read(LONGEST_ERROR).decode(errors="replace")
            for line in said.splitlines():
                print(visible(line), file=sys.stderr)


_natives = threading.RLock()


def plain(stream: TextIO) -> TextIO:
    """The stream without its guard, for output that moves the cursor on purpose and holds no other text."""
    return stream.stream if isinstance(stream, Guarded) else stream


def open_console(
    stream: TextIO | None = None, *, width: int | None = None, color_system: "ColorSystem" = "auto"
) -> "Console":
    """rich's console on a stream, by default standard output, with rich's colours and cleaned text."""
    from rich.console import Console
    from rich.segment import Segment

    class Clean(Console):
        def render(self, renderable: "RenderableType", options: "ConsoleOptions | None" = None) -> Iterator[Segment]:
            for part in super().render(renderable, options):
                text, style, control = part
                # What rich sends to move the cursor is not text, and passes.
                yield part if control or text.isprintable() else Segment(visible(text), style)

    file = plain(sys.stdout if stream is None else stream)
    # In a notebook rich would show HTML, which is not cleaned here.
    return Clean(file=file, highlight=False, width=width, color_system=color_system, force_jupyter=False)
