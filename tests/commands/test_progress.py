"""A long command says where it stands: a bar on a terminal from the first second, a line every tenth in a pipe."""

import io
import re
import sys
from pathlib import Path

import pytest
from rich.console import Console, Group
from rich.text import Text

from nap.commands import progress
from nap.report.terminal import Fitted


class Terminal(io.StringIO):
    """Standard error as a terminal has it."""

    def isatty(self) -> bool:
        return True


def opened(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    found = Terminal()
    monkeypatch.setattr(sys, "stderr", found)
    return found


def plain(terminal: Terminal) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())


def test_in_a_pipe_there_is_a_line_every_tenth_and_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.bar("decoded", "loading m") as bar:
        assert not bar.is_drawn
        for done in range(201):
            bar.show(done / 2, 100, "5 forwards")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"{tenth}0/100 decoded, 5 forwards" for tenth in range(1, 11)]


def test_on_a_terminal_the_bar_says_what_it_waits_for_and_then_what_is_done_in_whole_and_in_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = opened(monkeypatch)
    with progress.bar("decoded", "loading [m]") as bar:
        assert bar.is_drawn and bar.drawn is not None
        bar.drawn.refresh()
        assert "loading [m]" in plain(terminal), "from the first second, and markup in a name is text"
        bar.show(12.5, 200, "340 forwards")
        bar.drawn.refresh()
        (task,) = bar.drawn.tasks
        assert (task.total, task.completed) == (200, 12.5), "a batch moves the bar before it is done"
    assert "12/200 decoded, 340 forwards" in plain(terminal)


def test_what_was_done_before_is_no_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    opened(monkeypatch)
    with progress.bar("decoded") as bar:
        bar.show(100, 200)
        bar.show(101, 200)
        assert bar.drawn is not None
        (task,) = bar.drawn.tasks
        assert task.speed is None or task.speed * (task.elapsed or 0) < 50


@pytest.mark.parametrize("height", [6, 10, 40])
def test_a_canvas_that_is_higher_than_the_terminal_keeps_its_headline_and_its_end(height: int) -> None:
    console = Console(file=io.StringIO(), width=40, height=height, force_terminal=True, color_system=None)
    picture = Group(Text("step 3: 2 written"), *(Text(f"path line {n}") for n in range(20)), Text("summary │ 8"))
    lines = [line for line in console.render_lines(Fitted(picture), pad=False) if line]
    texts = ["".join(part.text for part in line) for line in lines]
    assert len(texts) <= max(height - 1, 3) or height == 40
    assert texts[0] == "step 3: 2 written" and texts[-1] == "summary │ 8"
    assert ("lines above" in "".join(texts)) == (height < 22)


def test_a_sweep_tells_of_parts_of_a_batch_and_of_forwards(tiny: Path, tmp_path: Path) -> None:
    from nap.evaluation.run import run_sweep
    from nap.evaluation.sweep import Sweep

    seen = list[tuple[float, int]]()
    sweep = Sweep(task="arith", models=(str(tiny),), policies=("ar",), tokens_per_step=(4,), problems=4)
    rows = run_sweep(sweep, tmp_path / "run", batch_size=2, watch=lambda done, forwards: seen.append((done, forwards)))
    assert seen == sorted(seen) and 0 < seen[0][0] < 1, "from the first forward"
    assert seen[-1] == (4.0, sum(row.forwards or 0 for row in rows))
