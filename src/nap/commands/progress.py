"""Progress of a long command: a bar on a terminal from the first second on; in a pipe a line for every tenth.

    with progress.bar("decoded", "loading MODEL") as bar:
        bar.show(12.5, 200, "340 forwards")       # 12 problems and a half of 200

Does not know what it counts.
"""

import sys
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bar:
    """One count of a command; see `bar`."""

    def __init__(self, what: str, before: str) -> None:
        self.what, self.before = what, before
        self.drawn: Progress | None = None
        self.task: TaskID | None = None
        self.tenth = 0
        self.started = False

    def __enter__(self) -> "Bar":
        if sys.stderr.isatty():
            self.drawn = _progress()
            self.drawn.start()
            # Without a total it moves to and fro, because it is not known yet how much there is to do.
            self.task = self.drawn.add_task(self.before, total=None, note="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.drawn:
            self.drawn.stop()

    @property
    def is_drawn(self) -> bool:
        """Whether there is a terminal."""
        return self.drawn is not None

    def show(self, done: float, total: int, note: str = "") -> None:
        """`done` of `total`, perhaps fractions; `note` is added text. Work done before the first call takes no time."""
        if self.drawn is None or self.task is None:
            self._print(int(done), total, note)
        else:
            said = f"{int(done)}/{total} {self.what}{f', {note}' if note else ''}"
            if not self.started:
                # The clock starts now, and what is already done does not count for the speed.
                self.drawn.reset(self.task, total=total, completed=int(done), description="")
            self.drawn.update(self.task, total=total, completed=done, note=said)
        self.started = True

    def _print(self, done: int, total: int, note: str) -> None:
        tenth = done * 10 // max(total, 1)
        if tenth > self.tenth:
            print(f"{done}/{total} {self.what}{f', {note}' if note else ''}", file=sys.stderr, flush=True)
        self.tenth = tenth


def bar(what: str, before: str = "starting") -> Bar:
    """A bar of what is done (`decoded`); until its total is known it says what comes `before`."""
    return Bar(what, before)


def _progress() -> "Progress":
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from nap.common.terminal import open_console

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[note]}", markup=False),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    return Progress(*columns, console=open_console(sys.stderr), transient=True)
