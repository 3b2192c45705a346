"""Files are whole or absent whatever happens while they are written, and bad input is named by file and line."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nap.common.files import InputError, atomic, check_files, exits_on_bad_input, make_folder, read_text
from nap.data.trace import Trace
from nap.data.trace_files import write_traces
from tiny import disk_full_after


@pytest.fixture
def old(tmp_path):
    """A file that holds 'old'."""
    path = tmp_path / "out.jsonl"
    path.write_text("old")
    return path


def names(folder):
    return [path.name for path in folder.iterdir()]


def test_atomic_replaces_the_file_and_makes_its_folder(tmp_path):
    path = tmp_path / "new" / "folder" / "out.bin"
    for content in (b"one", b"two"):
        with atomic(path, "wb") as file:
            file.write(content)
        assert path.read_bytes() == content
    assert names(path.parent) == ["out.bin"]


def test_atomic_writes_utf8_whatever_the_locale(tmp_path):
    with atomic(tmp_path / "out") as file:
        file.write("π≠3\u2028")
    assert (tmp_path / "out").read_bytes() == "π≠3\u2028".encode()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_failing_block_leaves_the_old_file_and_nothing_else(old, error):
    with pytest.raises(error), atomic(old) as file:
        file.write("new")
        file.flush()
        raise error
    assert old.read_text() == "old" and names(old.parent) == [old.name]


def test_kill_9_in_the_middle_of_a_write_leaves_the_old_file_whole(old):
    script = f"""
import time
from nap.common.files import atomic
with atomic({str(old)!r}) as file:
    file.write("new" * 100_000)
    file.flush()
    print("writing", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "writing\n"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert old.read_text() == "old" and len(names(old.parent)) == 2
    with atomic(old) as file:
        file.write("next")
    assert old.read_text() == "next" and names(old.parent) == [old.name], "what the killed one left is there for ever"


def test_what_a_living_process_writes_is_left_to_it(old):
    others = [old.with_name(name) for name in (f".out.jsonl.{os.getppid()}.partial", ".out.jsonl.mine.partial", "x.1")]
    for path in others:
        path.touch()
    with atomic(old) as file:
        file.write("new")
    assert all(path.exists() for path in others)


def test_a_name_is_on_the_disk_before_anybody_builds_on_it(tmp_path, monkeypatch):
    """The bytes first, then the rename, then the folder; and a new folder's name in the one above."""
    done, sync, rename = [], os.fsync, Path.replace

    def synced(number):
        done.append(("sync", Path(f"/proc/self/fd/{number}").readlink().name))
        sync(number)

    def renamed(path, target):
        done.append(("rename", target.name))
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    with atomic(tmp_path / "new/run/out.bin", "wb") as file:
        file.write(b"x")
    above = [("sync", "new"), ("sync", tmp_path.name)]
    assert done == [*above, ("sync", f".out.bin.{os.getpid()}.partial"), ("rename", "out.bin"), ("sync", "run")]


def test_a_full_disk_is_an_error_and_leaves_the_old_file(old):
    with disk_full_after(4096), pytest.raises(OSError), atomic(old) as file:
        file.write("new" * 100_000)
    assert old.read_text() == "old" and names(old.parent) == [old.name]


@pytest.mark.parametrize("name", ["traces.jsonl", "traces.parquet"])
def test_a_full_disk_leaves_no_half_written_traces(tmp_path, name):
    many = [
        Trace(problem_id=os.urandom(99).hex(), initial=(1,), region=(0,), events=(), forwards=0, mask_id=0)
        for _ in range(200)
    ]
    with disk_full_after(4096), pytest.raises(OSError):
        write_traces(many, tmp_path / name)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "folder"),
        (lambda path: path.write_bytes(b"PK\x03\xff"), "this is a binary file"),
    ],
    ids=["absent", "folder", "binary"],
)
def test_what_cannot_be_read_as_text_is_one_line_with_its_name(tmp_path, make, said):
    path = tmp_path / "in.jsonl"
    make(path)
    with pytest.raises(InputError, match=said) as caught:
        read_text(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_path_through_a_file_is_an_input_error(old):
    with pytest.raises(InputError, match="cannot read"):
        read_text(old / "below")


def test_nothing_takes_the_place_of_a_folder_and_no_folder_that_of_a_file(tmp_path, old):
    with pytest.raises(InputError, match="is a folder; give the name of a file"), atomic(tmp_path) as file:
        file.write("new")
    for folder in (old, old / "below"):
        with pytest.raises(InputError, match="a file is in the way"):
            make_folder(folder)
    assert [*tmp_path.iterdir()] == [old]


def test_a_script_ends_in_one_line_on_bad_input(capsys):
    with pytest.raises(SystemExit) as ended, exits_on_bad_input("demo"):
        raise InputError("no such model")
    assert ended.value.code == 2 and capsys.readouterr().err == "demo: no such model\n"


def test_no_file_takes_the_place_of_a_pipe_or_a_device(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        with pytest.raises(InputError, match="is a pipe or a device"), atomic(tmp_path / name) as file:
            file.write("x")
    assert (tmp_path / "pipe").is_fifo() and (tmp_path / "zero").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pipe", "zero"]


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_a_folder_that_others_open_files_of_holds_no_pipe_and_no_device(tmp_path, make):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    check_files(tmp_path)
    check_files(tmp_path / "absent")
    make(tmp_path / "tokenizer.json")
    check_files(tmp_path, "f*")
    with pytest.raises(InputError, match=r"tokenizer\.json is a pipe or a device; a file was expected"):
        check_files(tmp_path)


ENDLESS = """
import sys
import nap.common.files as files
files.MOST_OF_DISK = 0.0
sys.argv = ["nap", "order", "-"]
from nap.cli import main
main()
"""


def test_standard_input_without_an_end_does_not_fill_the_disk():
    with Path("/dev/zero").open("rb") as zeros:
        done = subprocess.run([sys.executable, "-c", ENDLESS], stdin=zeros, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "standard input fills the disk of " in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("arguments", "held"),
    [
        ("decode --model model -p x", "model/tokenizer.json"),
        ("eval --models arith-nap --task arith --problems 1 --policies ar --out run", "run/journal.jsonl"),
        ("eval --models arith-nap --task arith --problems 1 --policies ar --out run", "run/.lock"),
        ("train --model arith-nap --data model/config.json --out run", "run/metrics.jsonl"),
        ("curate --task arith --problems 1 --solutions s.jsonl --out run", "run/journal.sqlite.lock"),
        ("report run --out out.html", "out.html"),
        ("order /dev/stdin", ""),
    ],
)
def test_a_pipe_in_a_folder_that_a_command_works_in_is_one_line(tmp_path, monkeypatch, arguments, held):
    from nap.cli import run

    monkeypatch.chdir(tmp_path)
    for folder in ("model", "run"):
        (tmp_path / folder).mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "run" / "setting.json").write_text('{"kind": "eval"}')
    (tmp_path / "s.jsonl").write_text("{}")
    if held:
        os.mkfifo(tmp_path / held)
        with pytest.raises(InputError):
            run(arguments.split())
    else:
        command = f"sleep 2 | {sys.executable} -m nap {arguments}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
        assert done.returncode == 2 and "is a pipe or a device; save what it gives" in done.stderr
