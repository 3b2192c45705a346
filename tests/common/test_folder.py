"""A run's folder is empty or its own, and one process is at work in it; nothing else is ever touched."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nap.common.files import InputError
from nap.common.folder import run_folder

SETTING = {"task": "arith", "hyper": {"steps": 3}, "made_of": {"data": "a"}}


def contents(folder: Path) -> dict[str, object]:
    """Every name below the folder, with its bytes and when it was written."""
    return {str(path): path.is_dir() or (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*")}


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (["notes.txt"], r"is not empty and holds no run: it has no setting.json, but notes.txt"),
        (["final/model.safetensors"], "but final;"),
        (["journal.jsonl"], "but journal.jsonl;"),
        ([".hidden"], "but .hidden;"),
        (["\x1b[31m"], r"but \\x1b\[31m;"),
    ],
)
def test_a_folder_of_somebody_else_is_refused_and_unchanged(tmp_path: Path, held: list[str], said: str) -> None:
    for name in held:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(InputError, match=said), run_folder(tmp_path, "eval", SETTING):
        pytest.fail("it went in")
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("kind", "setting", "said"),
    [
        ("train", SETTING, r"holds a run of another kind \('eval', not 'train'\)"),
        ("eval", SETTING | {"task": "gsm8k"}, r"another setting \(task 'arith', now 'gsm8k'\)"),
        ("eval", SETTING | {"hyper": {"steps": 4}, "made_of": {}}, r"another setting \(hyper.steps 3, now 4\)"),
        ("eval", SETTING | {"made_of": {"data": "b"}}, r"another setting \(made_of.data 'a', now 'b'\)"),
        ("eval", {str(n): n for n in range(9)}, r"\(task 'arith', now nothing, .*, and \d+ more\)"),
        ("eval", SETTING | {"words": {"think": False}}, r"\(words.think nothing, now False\)"),
        ("eval", SETTING | {"words": {"think": None}}, r"\(words.think nothing, now None\)"),
        ("eval", SETTING | {"skip": 0}, r"\(skip nothing, now 0\)"),
        ("eval", SETTING | {"words": []}, r"\(words nothing, now \[\]\)"),
    ],
)
def test_a_folder_of_another_run_is_refused_and_unchanged(tmp_path: Path, kind: str, setting: dict, said: str) -> None:
    with run_folder(tmp_path / "run", "eval", SETTING):
        (tmp_path / "run/rows").write_text("rows")
    before = contents(tmp_path)
    with pytest.raises(InputError, match=said), run_folder(tmp_path / "run", kind, setting):
        pytest.fail("it went in")
    assert contents(tmp_path) == before
    with run_folder(tmp_path / "run", "eval", SETTING):
        assert (tmp_path / "run/rows").read_text() == "rows"


def test_what_an_earlier_version_did_not_write_had_the_value_that_is_named_and_no_other(tmp_path: Path) -> None:
    later = {"skip": 0, "hyper.kind": "mask", "of another kind of run": 1}
    with run_folder(tmp_path, "eval", SETTING):
        pass
    now = {**SETTING, "skip": 0, "hyper": {"steps": 3, "kind": "mask"}}
    with run_folder(tmp_path, "eval", now, later=later):
        pass
    for other in (now | {"skip": 1}, now | {"hyper": {"steps": 3, "kind": "edit"}}, now | {"strict": False}):
        with pytest.raises(InputError, match="another setting"), run_folder(tmp_path, "eval", other, later=later):
            pytest.fail("it went in")


def test_a_file_in_the_folders_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(InputError, match="run is a file; give a folder"), run_folder(tmp_path / "run", "eval", SETTING):
        pass


def test_a_setting_of_which_nothing_came_gives_way_to_another_of_its_kind_only(tmp_path: Path) -> None:
    with run_folder(tmp_path, "curate", SETTING):
        pass
    with run_folder(tmp_path, "curate", SETTING | {"task": "x"}, is_unused=lambda: True):
        assert json.loads((tmp_path / "setting.json").read_text())["task"] == "x"
    with pytest.raises(InputError, match="of another kind"), run_folder(tmp_path, "eval", {}, is_unused=lambda: True):
        pass
    # Of an earlier version, which did not write the kind: it could be anybody's.
    (tmp_path / "setting.json").write_text('{"task": "x"}')
    with pytest.raises(InputError, match="setting"), run_folder(tmp_path, "curate", SETTING, is_unused=lambda: True):
        pass


def test_what_may_be_there_already_is_named_by_the_caller(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").touch()
    with run_folder(tmp_path, "curate", SETTING, may_hold=["journal.sqlite"]):
        assert (tmp_path / "setting.json").exists()


HOLDS = """
import sys, time
from pathlib import Path
from nap.common.files import atomic
from nap.common.folder import run_folder
with run_folder(Path(sys.argv[1]), "eval", {setting}), atomic(Path(sys.argv[1]) / "rows.parquet") as file:
    print("in", flush=True)
    time.sleep(600)
"""


def test_a_second_process_is_refused_and_a_killed_one_leaves_a_folder_that_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-c", HOLDS.format(setting=SETTING), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "in\n"
        for setting in (SETTING, {}):
            with pytest.raises(InputError, match="another"), run_folder(folder, "eval", setting):
                pytest.fail("it went in")
        assert len([*folder.glob(".rows.parquet.*.partial")]) == 1, "what is being written was taken away"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert [*folder.glob(".rows.parquet.*.partial")]
    with run_folder(folder, "eval", SETTING):
        assert sorted(path.name for path in folder.iterdir()) == [".lock", "setting.json"]
