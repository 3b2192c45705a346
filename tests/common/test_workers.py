"""map_rows: the same rows out, each once, in order, whatever the backend and whichever worker dies."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from nap.common.files import InputError
from nap.common.ray_workers import map_on_actors, seats
from nap.common.workers import AHEAD, map_rows, worker_number
from tiny import environment

ROWS = list(range(200))


def square(row: int) -> int:
    return row * row


def where(row: int) -> int:
    return os.getpid()


def number(row: int) -> int | None:
    time.sleep(0.05)
    return worker_number()


def boom(row: int) -> int:
    if row == 40:
        raise KeyError("row 40")
    return row


@dataclass(frozen=True)
class Dies:
    """Squares, but kills the worker that takes a row of `fatal`, each `times` times."""

    folder: str
    fatal: tuple[int, ...] = (70,)
    times: int = 1

    def __call__(self, row: int) -> int:
        if row in self.fatal:
            seen = len(list(Path(self.folder).glob(f"{row}.*")))
            if seen < self.times:
                (Path(self.folder) / f"{row}.{seen}").touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return row * row


@pytest.mark.parametrize(("backend", "workers"), [("threads", 1), ("threads", 3), ("processes", 1), ("processes", 2)])
def test_every_row_comes_out_once_and_in_order(backend, workers) -> None:
    assert list(map_rows(square, ROWS, backend=backend, workers=workers)) == [square(row) for row in ROWS]
    assert list(map_rows(square, [], backend=backend, workers=workers)) == []


def test_processes_are_others_than_this_one() -> None:
    assert os.getpid() not in set(map_rows(where, ROWS, backend="processes", workers=2))


@pytest.mark.parametrize(("backend", "workers"), [("threads", 2), ("processes", 2)])
def test_what_the_function_raises_comes_out(backend, workers) -> None:
    with pytest.raises(KeyError, match="row 40"):
        list(map_rows(boom, ROWS, backend=backend, workers=workers))


def test_rows_are_read_as_they_are_needed() -> None:
    read = []

    def rows() -> Iterator[int]:
        for row in range(10**9):
            read.append(row)
            yield row

    results = map_rows(square, rows(), backend="threads", workers=2)
    assert [next(results) for _ in range(10)] == [square(row) for row in range(10)]
    assert len(read) <= 10 + 2 * AHEAD
    results.close()  # pyright: ignore[reportAttributeAccessIssue]


def test_a_worker_that_is_killed_loses_no_row_and_doubles_none(tmp_path: Path) -> None:
    found = list(map_rows(Dies(str(tmp_path), fatal=(5, 70, 199)), ROWS, backend="processes", workers=2))
    assert found == [square(row) for row in ROWS]
    assert len(list(tmp_path.iterdir())) == 3, "no worker was killed"


def slow_at_first(row: int, dies: Dies) -> int:
    """The first row takes long, as in a worker that is slow to start."""
    if row == 0:
        time.sleep(2)
    return dies(row)


def test_deaths_on_other_rows_do_not_count_against_rows_that_take_long(tmp_path: Path) -> None:
    work = partial(slow_at_first, dies=Dies(str(tmp_path), fatal=(40, 70, 110, 140)))
    assert list(map_rows(work, ROWS, backend="processes", workers=2)) == [square(row) for row in ROWS]


def test_rows_that_kill_every_worker_end_the_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="workers died in a row"):
        list(map_rows(Dies(str(tmp_path), times=9), ROWS, backend="processes", workers=2))


def test_an_abandoned_run_leaves_no_process_behind() -> None:
    results = map_rows(where, ROWS, backend="processes", workers=2)
    workers = {next(results)}
    results.close()  # pyright: ignore[reportAttributeAccessIssue]
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and any(Path(f"/proc/{pid}").exists() for pid in workers):
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


# Chunks that are larger than a pipe, of which a worker has read a part when it is killed.
ABANDONED = """
import signal
import time
from nap.common.workers import map_rows

def late(row):
    time.sleep(60)

def interrupt(*_):
    raise KeyboardInterrupt

if __name__ == "__main__":
    signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(4)
    try:
        next(map_rows(late, ["x" * 3_000_000] * 40, workers=2, chunk=1))
    except KeyboardInterrupt:
        print("interrupted")
"""


def test_an_interrupted_run_ends_whatever_is_on_its_way_to_a_worker(tmp_path: Path) -> None:
    (tmp_path / "abandoned.py").write_text(ABANDONED)
    command = [sys.executable, str(tmp_path / "abandoned.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, env=environment())
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr


def test_worker_processes_have_neighbouring_numbers_and_nobody_else_has_one() -> None:
    first, second = sorted({n for n in map_rows(number, range(40), workers=2, chunk=1) if n is not None})
    assert second == first + 1
    assert worker_number() is None and [*map_rows(number, range(2), workers=1)] == [None, None]


def test_bad_settings_are_named() -> None:
    with pytest.raises(InputError, match="unknown backend 'cloud'; known: threads, processes, ray"):
        map_rows(square, ROWS, backend="cloud")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="workers must be at least 1"):
        map_rows(square, ROWS, workers=0)


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
def test_ray_that_is_not_installed_is_named() -> None:
    with pytest.raises(InputError, match="pip install"):
        list(map_rows(square, ROWS, backend="ray"))


@pytest.mark.filterwarnings("ignore")
def test_a_cluster_that_does_not_answer_is_one_line(monkeypatch) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'nap-dlm[ray]'")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        for asked in (address, f"ray://{address}"):
            monkeypatch.setenv("RAY_ADDRESS", asked)
            with pytest.raises(InputError, match=f"no Ray cluster answers at RAY_ADDRESS='{asked}'") as caught:
                list(map_rows(square, ROWS, backend="ray"))
            assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore")
def test_ray_gives_the_same_rows_also_when_a_worker_is_killed(cluster, tmp_path: Path) -> None:
    fatal = Dies(str(tmp_path), fatal=(5, 199))
    assert list(map_rows(fatal, ROWS, backend="ray")) == list(map_rows(square, ROWS, backend="threads"))
    assert len(list(tmp_path.iterdir())) == 2, "no worker was killed"


@pytest.mark.filterwarnings("ignore")
def test_what_the_function_raises_in_ray_comes_out_as_it_is(cluster) -> None:
    with pytest.raises(KeyError, match=r"^'row 40'$"):
        list(map_rows(boom, ROWS, backend="ray"))
    with pytest.raises(KeyError, match=r"^'row 40'$"):
        list(map_on_actors(boom, iter(ROWS), workers=1))


@pytest.mark.filterwarnings("ignore")
def test_actors_of_which_some_are_killed_give_every_row_once_and_in_order(cluster, tmp_path: Path) -> None:
    found = list(map_on_actors(Dies(str(tmp_path), fatal=(1, 5)), iter(range(8)), workers=2))
    assert found == [square(row) for row in range(8)]
    assert len(list(tmp_path.iterdir())) == 2, "no worker was killed"


def test_no_more_actors_than_gpus_are_asked_for_and_without_gpus_all() -> None:
    found = [
        seats(4, gpus, cluster) for gpus, cluster in ((0, {}), (1, {"GPU": 2}), (0.5, {"GPU": 1}), (1, {"GPU": 9}))
    ]
    assert found == [4, 2, 2, 4]


@pytest.mark.filterwarnings("ignore")
def test_a_cluster_without_a_gpu_is_named_before_the_first_row(cluster) -> None:
    with pytest.raises(InputError, match="the Ray cluster has no GPU"):
        list(map_rows(square, ROWS, backend="ray", gpus=1))


@dataclass(frozen=True)
class Waits:
    """Squares, but the first process that takes row 1 says nothing any more."""

    folder: str

    def __call__(self, row: int) -> int:
        mark = Path(self.folder) / "waited"
        if row == 1 and not mark.exists():
            mark.touch()
            time.sleep(600)
        return row * row


def test_a_process_that_says_nothing_is_replaced(tmp_path: Path) -> None:
    found = map_rows(Waits(str(tmp_path)), [0, 1, 2], workers=2, chunk=1, patience=15)
    assert list(found) == [0, 1, 4] and (tmp_path / "waited").exists()


def slow(row: int) -> int:
    raise TimeoutError("its own")


def test_a_timeout_that_a_row_raises_itself_comes_out() -> None:
    with pytest.raises(TimeoutError, match="its own"):
        list(map_rows(slow, [1], workers=2, chunk=1, patience=60))
