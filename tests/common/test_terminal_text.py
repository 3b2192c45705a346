"""No text that a command prints moves a cursor, wherever it came from, and no error fills a screen."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from nap.cli import main
from nap.common.files import InputError, exits_on_bad_input
from nap.common.terminal import LONGEST_ERROR, Guarded, guarded, open_console, plain

HOSTILE = "\x1b[2J\x1b]0;owned\x07\r\x9b31m\u202e\u2028\x00\x7f\ud800\t"


def is_clean(text: str) -> bool:
    return all(c.isprintable() or c == "\n" for c in text)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_whatever_is_written_within_is_clean_and_afterwards_the_streams_are_what_they_were(capsys) -> None:
    before = sys.stdout, sys.stderr
    with guarded():
        print(HOSTILE, "ok\n✓", end="\n\n")
        print(HOSTILE, file=sys.stderr)
        sys.stdout.writelines([HOSTILE, "\n"])
        with guarded():
            assert isinstance(sys.stdout, Guarded) and not isinstance(sys.stdout.stream, Guarded)
    assert (sys.stdout, sys.stderr) == before
    out, err = capsys.readouterr()
    assert is_clean(out) and is_clean(err)
    assert r"\x1b[2J" in out and "ok\n✓" in out and r"\ud800" in err


def test_an_error_line_of_a_megabyte_is_cut_in_its_middle_and_output_is_not(capsys) -> None:
    with guarded():
        print(f"nap: first {'x' * 10**6} and what to do", file=sys.stderr)
        print("y" * 10**4)
    out, err = capsys.readouterr()
    assert len(err) < LONGEST_ERROR + 100
    assert err.startswith("nap: first xxx") and err.endswith("xxx and what to do\n") and "characters) ..." in err
    assert out == "y" * 10**4 + "\n"


@pytest.mark.parametrize("make", [str, Text, lambda text: Panel(Text(text), title="t"), lambda text: _table(text)])
def test_a_console_has_its_colours_and_nobody_elses(make) -> None:
    screen = Terminal()
    console = open_console(screen, color_system="standard", width=200)
    console.print(make(HOSTILE), style="bold", markup=False)
    written = screen.getvalue()
    assert "\x1b[1m" in written  # bold, by rich
    assert is_clean(written.replace("\x1b[1m", "").replace("\x1b[0m", ""))


def _table(text: str) -> Table:
    table = Table("one", box=None)
    table.add_row(Text(text))
    return table


def test_help_keeps_its_own_colours(monkeypatch) -> None:
    screen = Terminal()
    with guarded():
        monkeypatch.setattr(sys, "stdout", Guarded(screen))
        assert plain(sys.stdout) is screen


def test_a_bad_flag_a_bad_file_and_a_script_are_one_clean_line(tmp_path: Path, capsys, monkeypatch) -> None:
    long = HOSTILE + "x" * 100_000
    (tmp_path / "rows.jsonl").write_text(json.dumps({"version": long, long: 1}))
    for arguments in (["order", str(tmp_path / "rows.jsonl")], [long], ["decode", f"--{long}"], ["order", "a\ud800b"]):
        monkeypatch.setattr(sys, "argv", ["nap", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        err = capsys.readouterr().err
        assert stop.value.code == 2 and err.count("\n") == 1 and is_clean(err) and len(err) < LONGEST_ERROR + 100, err
    with pytest.raises(SystemExit), exits_on_bad_input("script"):
        raise InputError(long)
    err = capsys.readouterr().err
    assert err.startswith("script: ") and err.count("\n") == 1 and is_clean(err) and len(err) < LONGEST_ERROR + 100


def test_names_that_are_no_utf_8_are_named_as_they_are(tmp_path: Path) -> None:
    code = "from nap.cli import main; main()"
    for arguments in ([b"order", b"\xff\xfe.jsonl"], [b"\xff"], [b"order", b"--k", b"\xff"], [b"report", b"\xff"]):
        done = subprocess.run([sys.executable.encode(), b"-c", code.encode(), *arguments], capture_output=True)
        assert done.returncode == 2 and done.stderr.count(b"\n") == 1, done.stderr
        assert b"\\udcff" in done.stderr
