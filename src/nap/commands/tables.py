"""Text and tables for a terminal, with full lines in a pipe.

Does not know what they contain.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nap.common.text import short, visible

if TYPE_CHECKING:
    from rich.console import Console

    from nap.dependence.summary import Estimate
    from nap.order.scores import Arness


def against_random(known: "Arness") -> str:
    """`0.11 (0.06)`: Global-ARness@k, and that of a random order."""
    value = known.global_arness
    return "-" if value is None else f"{value:.2f} ({short(known.global_arness_random)})"


def estimated(estimate: "Estimate | None", digits: int = 3) -> str:
    """`0.123 [0.100, 0.140]`: a mean and its interval, where there is one; `-` for none."""
    if estimate is None:
        return "-"
    ends = estimate.interval
    return f"{estimate.mean:.{digits}f}" + (f" [{ends.low:.{digits}f}, {ends.high:.{digits}f}]" if ends else "")


def open_console() -> "Console":
    """Standard output, as wide as the terminal."""
    from nap.common import terminal

    # A pipe has no width, so it gets full lines.
    console = terminal.open_console()
    return console if console.is_terminal else terminal.open_console(width=10_000)


def draw(console: "Console", header: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """A table without lines, close together if it must. Cells are text as it is, never markup."""
    from rich.table import Table
    from rich.text import Text

    if fits(console, header, lines) and not any("\n" in cell for line in (header, *lines) for cell in line):
        _draw_lines(console, header, lines)
        return
    gap = 2 if fits(console, header, lines) else 1
    drawn = Table(*header, box=None, header_style="bold", padding=(0, gap, 0, 0), pad_edge=False)
    for line in lines:
        drawn.add_row(*map(Text, line))
    console.print(drawn)


def _draw_lines(console: "Console", header: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """The same output as rich for a table that fits; rich itself takes a millisecond a line."""
    from rich.cells import cell_len
    from rich.text import Text

    def width(cell: str) -> int:
        return len(cell) if cell.isascii() else cell_len(cell)

    rows = [[visible(cell, kept="") for cell in line] for line in (header, *lines)]
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    first, *rest = ("  ".join(c + " " * (w - width(c)) for c, w in zip(row, widths, strict=True)) for row in rows)
    console.print(Text(first, style="bold"), no_wrap=True, crop=False)
    if rest:
        print("\n".join(rest), file=console.file)


def fits(console: "Console", header: Sequence[str], lines: Sequence[Sequence[str]]) -> bool:
    """Whether a table with gaps of 2 is as narrow as the terminal; always where there is none."""
    widths = [
        max(len(part) for cell in column for part in cell.split("\n")) for column in zip(header, *lines, strict=True)
    ]
    return sum(widths) + 2 * (len(widths) - 1) <= console.width
