"""The journal: nothing is lost, nothing is asked twice, and one process at a time."""

import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nap.common.files import InputError
from nap.curation.journal import FAILED, LENGTH, REFUSED, Journal, Reply, Request

ASKED = Request(model="m", prompt="What is 6 times 7?")


def test_a_reply_comes_back_as_it_was_added(tmp_path: Path) -> None:
    reply = Reply(text="\\boxed{42}\x00\ud800 é", finish=LENGTH, model="m-1", prompt_tokens=7, completion_tokens=11)
    with Journal(tmp_path / "j.sqlite") as journal:
        journal.add(ASKED, reply)
    with Journal(tmp_path / "j.sqlite") as journal:
        assert journal.get(ASKED) == reply
        assert journal.get(replace(ASKED, index=1)) is None


@given(st.data())
def test_everything_that_determines_a_reply_is_in_its_key(data: st.DataObject) -> None:
    other = {
        "model": "n", "prompt": "What is 6 times 8?", "temperature": 0.5, "top_p": 0.9, "max_tokens": 7, "seed": 1,
        "index": 2,
    }  # fmt: skip
    names = data.draw(st.sets(st.sampled_from(sorted(other)), min_size=1))
    assert replace(ASKED, **{name: other[name] for name in names}).key != ASKED.key
    assert replace(ASKED).key == ASKED.key


def test_only_a_failed_request_is_asked_again(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.sqlite") as journal:
        for index, finish in enumerate(("stop", LENGTH, REFUSED, FAILED)):
            request = replace(ASKED, index=index)
            assert not journal.settled(request)
            journal.add(request, Reply(finish=finish))
            assert journal.settled(request) == (finish != FAILED)


def test_a_second_process_is_refused_and_a_killed_one_keeps_nobody_out(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    code = (
        "import sys, time; from nap.curation.journal import *\n"
        f"with Journal({str(path)!r}) as journal:\n"
        "    journal.add(Request(model='m', prompt='What is 6 times 7?'), Reply(text='42'))\n"
        "    print('in', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.readline()
        with pytest.raises(InputError, match="another process is at work"), Journal(path):
            pass
        child.send_signal(signal.SIGKILL)
        child.wait()
        with Journal(path) as journal:
            assert journal.get(ASKED) == Reply(text="42")


def test_a_damaged_journal_is_named(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    path.write_bytes(b"not a database at all, but long enough to look like one" * 50)
    with pytest.raises(InputError, match="is damaged"), Journal(path):
        pass
    path.unlink()
    with Journal(path) as journal:
        journal.add(ASKED, Reply(text="42"))
    database = sqlite3.connect(path)
    database.execute("UPDATE replies SET reply = '[1]'")
    database.commit()
    database.close()
    with Journal(path) as journal, pytest.raises(InputError, match="is damaged"):
        journal.get(ASKED)


@pytest.mark.skipif(sys.platform != "linux", reason="a full disk is simulated with a limit on the size of files")
def test_a_full_disk_is_said_and_loses_nothing(tmp_path: Path) -> None:
    code = f"""
import resource, signal
from nap.curation.journal import *
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with Journal({str(tmp_path / "j.sqlite")!r}) as journal:
    journal.add(Request(model="m", prompt="small"), Reply(text="kept"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, -1))
    try:
        for i in range(100):
            journal.add(Request(model="m", prompt="large", index=i), Reply(text="x" * 10_000))
    except OSError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert "the same command goes on" in said
    with Journal(tmp_path / "j.sqlite") as journal:
        assert journal.get(Request(model="m", prompt="small")) == Reply(text="kept")
