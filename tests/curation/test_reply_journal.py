"""The journal: nothing is lost, nothing is asked twice, and one process at a time."""

import json
import os
import random
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


MANY = [replace(ASKED, index=index) for index in range(60)]


def reply_to(request: Request) -> Reply:
    """Some fit on a page, some go on over several."""
    return Reply(text=f"{request.index} é " * (40 + 300 * (request.index % 7)), completion_tokens=request.index)


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> bytes:
    """The bytes of a journal of sixty replies."""
    path = tmp_path_factory.mktemp("journal") / "j.sqlite"
    with Journal(path) as journal:
        for request in MANY:
            journal.add(request, Reply(finish=FAILED, error="at first"))
            journal.add(request, reply_to(request))
    return path.read_bytes()


def lost(path: Path) -> int:
    """How many replies have to be asked again; none is another one than was given."""
    with Journal(path, lambda line: None) as journal:
        found = {request: journal.get(request) for request in MANY}
        for request, reply in found.items():
            assert reply in (None, reply_to(request))
            if reply is None:
                assert not journal.settled(request)
                journal.add(request, reply_to(request))
    with Journal(path, lambda line: pytest.fail(line)) as journal:
        assert all(journal.get(request) == reply_to(request) for request in MANY)
    return sum(reply is None for reply in found.values())


def test_of_a_flipped_bit_no_reply_is_falsified_and_at_most_one_is_lost(tmp_path: Path, full: bytes) -> None:
    """Sixty single bits anywhere, and every third byte of the first page, which says where all else is."""
    draw = random.Random(20)
    places = [draw.randrange(len(full)) for _ in range(60)] + [*range(0, 150, 3)] + [*range(3900, 4096, 3)]
    for number, place in enumerate(places):
        path = tmp_path / f"{number}.sqlite"
        flipped = bytes([full[place] ^ 1 << draw.randrange(8)])
        path.write_bytes(full[:place] + flipped + full[place + 1 :])
        assert lost(path) <= 1, place


@pytest.mark.parametrize(
    ("start", "length", "most"),
    [(0, 16, 0), (0, 100, 0), (0, 4096, 1), (4096, 4096, 3), (40_960, 1, 1), (9000, 20_000, 16)],
)
def test_what_is_overwritten_costs_what_stood_there(
    tmp_path: Path, full: bytes, start: int, length: int, most: int
) -> None:
    path = tmp_path / "j.sqlite"
    path.write_bytes(full[:start] + b"\xff" * length + full[start + length :])
    said: list[str] = []
    with Journal(path, said.append):
        pass
    assert len(said) <= 1 and all("was damaged" in line and "asked again" in line for line in said)
    assert not said or (tmp_path / "j.sqlite.damaged").read_bytes()[start : start + length] == b"\xff" * length
    assert lost(path) <= most


@pytest.mark.parametrize("share", [0.3, 0.7, 0.999])
def test_a_file_that_is_cut_keeps_what_is_left(tmp_path: Path, full: bytes, share: float) -> None:
    path = tmp_path / "j.sqlite"
    path.write_bytes(full[: int(share * len(full))])
    assert lost(path) <= 60 * (1 - share) + 8


def test_what_a_killed_process_left_in_the_log_is_saved_too(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    code = (
        "import os, signal; from test_reply_journal import *\n"
        f"with Journal({str(path)!r}) as journal:\n"
        "    for request in MANY:\n"
        "        journal.add(request, reply_to(request))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == -signal.SIGKILL
    assert path.with_name("j.sqlite-wal").stat().st_size > 100_000
    path.write_bytes(b"\xff" * path.stat().st_size)
    assert lost(path) == 0


def old_journal(path: Path, texts: list[str]) -> None:
    """As earlier versions wrote it: without digests."""
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE IF NOT EXISTS replies (key BLOB PRIMARY KEY, reply TEXT)")
    database.executemany("INSERT INTO replies VALUES (?, ?)", [(r.key, t) for r, t in zip(MANY, texts, strict=False)])
    database.commit()
    database.close()


def test_a_journal_of_an_earlier_version_is_read_and_gets_digests(tmp_path: Path, full: bytes) -> None:
    path = tmp_path / "j.sqlite"
    old_journal(path, [json.dumps({"text": reply_to(r).text, "completion_tokens": r.index}) for r in MANY])
    assert lost(path) == 0
    database = sqlite3.connect(path)
    assert database.execute("SELECT count(*), count(digest) FROM replies").fetchone() == (60, 60)
    database.close()
    for damage in (b"\xff" * 100, b"\xff" * 4096):
        old_journal(other := tmp_path / f"{len(damage)}.sqlite", [json.dumps({"text": "a" * 900})] * 60)
        other.write_bytes(damage + other.read_bytes()[len(damage) :])
        with Journal(other, lambda line: None) as journal:
            assert sum(journal.get(request) == Reply(text="a" * 900) for request in MANY) >= 59


@pytest.mark.parametrize("text", ["[1]", "{", '{"text": 5}', '{"texd": ""}', "[" * 100_000, '{"prompt_tokens": true}'])
def test_a_reply_that_is_none_is_asked_again(tmp_path: Path, text: str) -> None:
    old_journal(tmp_path / "j.sqlite", [text])
    said: list[str] = []
    with Journal(tmp_path / "j.sqlite", said.append) as journal:
        assert journal.get(ASKED) is None and not journal.settled(ASKED)
        journal.add(ASKED, Reply(text="42"))
        assert journal.get(ASKED) == Reply(text="42")
    assert len(said) == 1 and "damaged replies; they are asked again" in said[0]


def test_what_is_no_journal_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    path.write_bytes(b"not a database at all, but long enough to look like one" * 500)
    other = tmp_path / "other.sqlite"
    database = sqlite3.connect(other)
    database.execute("CREATE TABLE bookmarks (key BLOB, reply TEXT, digest BLOB)")
    database.execute("INSERT INTO bookmarks VALUES (?, ?, ?)", (MANY[0].key, "{}", b"x" * 16))
    database.commit()
    database.close()
    for one in (path, other):
        before = one.read_bytes()
        with pytest.raises(InputError, match="is damaged, or no journal"), Journal(one):
            pass
        assert one.read_bytes() == before
    with pytest.raises(InputError, match="is no file"), Journal(tmp_path):
        pass


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
