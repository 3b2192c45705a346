"""One function over many rows on a Ray cluster: rows dealt by Ray Data, or to actors that keep what they opened.

    for result in map_with_data(check, rows, chunk=32): ...             # many rows, any worker
    for result in map_on_actors(write, requests, workers=2): ...        # few requests, a worker each

Results come in the order of the rows, each once, also when workers die. What the function raises is raised again here.
Ray Data pays some tenth of a second for each block of rows, hence `chunk`. Called by workers.map_rows.

Does not start a cluster across machines (`ray start` does), and sends no code: every machine needs the same version.
"""

import logging
import os
import pickle
import socket
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import cycle, islice
from types import ModuleType
from typing import Any, Generic, TypeVar

from nap.common.files import InputError

Row = TypeVar("Row")
Result = TypeVar("Result")

# How many rows Ray Data holds at a time.
ROWS = 8192
# What is in flight for each worker: enough that none waits while the oldest is not done.
AHEAD = 4
# How many workers may die in a row without a finished row in between, before the rows are blamed.
DEATHS = 3

# Seconds for a cluster to take a connection.
KNOCKING = 10.0


def joined(gpus: float = 0) -> ModuleType:
    """Ray, connected to the cluster of RAY_ADDRESS, or to one that it starts on this machine.

    Raises InputError where Ray is not installed, no cluster answers, or none of its machines has a GPU that is needed.
    """
    try:
        import ray  # pyright: ignore[reportMissingImports]
        import ray.data  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise InputError("the backend 'ray' needs Ray; install it with: pip install 'nap-dlm[ray]'") from None
    if not ray.is_initialized():
        address = os.environ.get("RAY_ADDRESS", "")
        try:
            _knock(address)
            ray.init(log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, ValueError, RuntimeError) as error:
            what = f"no Ray cluster answers at RAY_ADDRESS={address!r}" if address else "Ray does not start here"
            said = " ".join(str(error).split())[:200]
            raise InputError(f"{what} ({said}); start a cluster with: ray start --head") from None
    if gpus > ray.cluster_resources().get("GPU", 0):
        raise InputError("the Ray cluster has no GPU; give --device cpu, or start Ray on a machine with one")
    return ray


def seats(workers: int, gpus: float, cluster: Mapping[str, float]) -> int:
    """How many of so many workers have their GPUs on a cluster with these resources; without GPUs all of them."""
    return min(workers, int(cluster.get("GPU", 0) // gpus)) if gpus else workers


def _knock(address: str) -> None:
    # Ray itself tries for more than five minutes.
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), KNOCKING).close()


def map_with_data(fn: Callable[[Row], Result], rows: Iterator[Row], *, chunk: int, gpus: float = 0) -> Iterator[Result]:
    """`fn(row)` of each row by Ray Data, `chunk` rows to a task. Raises InputError as `joined`."""
    ray = joined(gpus)
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    call = _Record(fn)
    while some := list(islice(rows, ROWS)):
        # Rows are sent as bytes: as Arrow columns they would come back with other types.
        items = [{"row": pickle.dumps(numbered)} for numbered in enumerate(some)]
        # Each task asks for a fraction of a core: tasks that ask for a whole one starve the readers on a small machine.
        found = ray.data.from_items(items, override_num_blocks=-(-len(items) // chunk))
        results, given = dict[int, Any](), 0
        # As they come, so that what is done can be kept, but in order.
        for record in found.map(call, num_cpus=0.5, num_gpus=gpus or None).iter_rows():
            index, outcome = pickle.loads(record["result"])
            results[index] = outcome
            while given in results:
                yield _result(results.pop(given))
                given += 1


def map_on_actors(
    fn: Callable[[Row], Result], rows: Iterator[Row], *, workers: int, patience: float | None = None, gpus: float = 0
) -> Iterator[Result]:
    """`fn(row)` of each row by actors, processes that live until the last row is done. Rows are dealt to them in turn.

    patience  seconds without the next row after which the actor that has it is taken for dead

    Raises InputError as `joined`, and where actors die or do not answer three times in a row.
    """
    ray = joined(gpus)
    workers = seats(workers, gpus, ray.cluster_resources())
    crew, deaths = _Crew(ray, fn, workers, gpus), 0
    try:
        while True:
            for row in islice(rows, workers * AHEAD - len(crew.waiting)):
                crew.ask(row)
            if not crew.waiting:
                return
            _, place, promise = crew.waiting[0]
            try:
                outcome = ray.get(promise, timeout=patience)
            except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError) as error:
                deaths += 1
                if deaths == DEATHS:
                    silent = isinstance(error, ray.exceptions.GetTimeoutError)
                    what = f"gave no answer for {patience:g} s" if silent else "died"
                    raise InputError(f"{DEATHS} workers {what} in a row on the same row; try fewer workers") from None
                crew.replace(place)
                continue
            crew.waiting.popleft()
            deaths = 0
            yield _result(outcome)
    finally:
        crew.dismiss()


class _Crew(Generic[Row, Result]):
    """Actors, and what they were asked and have not answered: row, which actor, and Ray's promise."""

    def __init__(self, ray: Any, fn: Callable[[Row], Result], workers: int, gpus: float) -> None:
        self.ray, self.fn = ray, fn
        # An actor that asks for cores of its own would wait for ever on a cluster with fewer cores than workers.
        self.hire = ray.remote(_Actor).options(num_cpus=0, num_gpus=gpus, scheduling_strategy="SPREAD").remote
        self.actors, self.turn = [self.hire(fn) for _ in range(workers)], cycle(range(workers))
        self.waiting: deque[tuple[Row, int, Any]] = deque()

    def ask(self, row: Row) -> None:
        """The next actor in turn."""
        place = next(self.turn)
        self.waiting.append((row, place, self.actors[place].call.remote(row)))

    def replace(self, dead: int) -> None:
        """A new actor for one that died or does not answer, which is asked the same again."""
        self.ray.kill(self.actors[dead])
        new = self.actors[dead] = self.hire(self.fn)
        self.waiting = deque(
            (row, place, new.call.remote(row) if place == dead else promise) for row, place, promise in self.waiting
        )

    def dismiss(self) -> None:
        """End all of them, whatever they are doing."""
        for actor in self.actors:
            self.ray.kill(actor)


def _outcome(fn: Callable[[Row], Result], row: Row) -> tuple[bool, Any]:
    # Ray would wrap what is raised in a traceback of many lines.
    try:
        return True, fn(row)
    except Exception as error:
        return False, error


def _result(outcome: tuple[bool, Any]) -> Any:
    done, found = outcome
    if not done:
        raise found
    return found


class _Actor(Generic[Row, Result]):
    """`fn` in a process that lives on."""

    def __init__(self, fn: Callable[[Row], Result]) -> None:
        self.fn = fn

    def call(self, row: Row) -> tuple[bool, Any]:
        """Whether it is done, and what it gave or raised."""
        return _outcome(self.fn, row)


class _Record(Generic[Row, Result]):
    """`fn` as Ray Data calls it."""

    def __init__(self, fn: Callable[[Row], Result]) -> None:
        self.fn = fn

    def __call__(self, record: dict[str, bytes]) -> dict[str, bytes]:
        index, row = pickle.loads(record["row"])
        return {"result": pickle.dumps((index, _outcome(self.fn, row)))}
