"""One function over many rows, on one machine or a cluster, with the same results everywhere.

    for result in map_rows(check, rows, backend="processes", workers=8): ...

Results come in the order of the rows, each once, whatever the backend and even if workers die. Rows are read as they
are needed, so neither rows nor results are ever all in memory. `fn` must be picklable for processes and Ray: a function
of a module, or an instance of a frozen dataclass with `__call__`.

Does not retry after an exception of `fn`, which is raised again here. Does not start a Ray cluster across machines;
`ray start` does.
"""

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import active_children, current_process, get_context, parent_process
from typing import Literal, TypeVar, get_args

from nap.common.bounds import WORKERS, check
from nap.common.files import InputError
from nap.common.ray_workers import AHEAD, DEATHS, map_with_data
from nap.common.text import check_known

Row = TypeVar("Row")
Result = TypeVar("Result")
Backend = Literal["threads", "processes", "ray"]

# Submitting a chunk costs some 0.1 ms, as much as a cheap row.
CHUNK = 32


def map_rows(
    fn: Callable[[Row], Result],
    rows: Iterable[Row],
    *,
    backend: Backend = "processes",
    workers: int = 1,
    chunk: int = CHUNK,
    patience: float | None = None,
    gpus: float = 0,
) -> Iterator[Result]:
    """`fn(row)` of each row, in order. With one worker the work is done in this process, without a pool.

    workers   number of threads or processes; Ray uses what its cluster has
    chunk     rows that are sent to a process or task together, and that are done again where it dies
    patience  seconds without the next row after which processes are taken for dead
    gpus      number of GPUs that each of Ray's workers has to itself

    Raises InputError for an unknown backend, or where rows kill or stop every worker that takes them.
    """
    check_known("backend", backend, get_args(Backend))
    check("workers", workers, WORKERS)
    if backend == "ray":
        return map_with_data(fn, iter(rows), chunk=chunk, gpus=gpus)
    if workers == 1:
        return map(fn, rows)
    if backend == "threads":
        return _with_threads(fn, iter(rows), workers)
    return _with_processes(fn, iter(rows), workers, chunk, patience)


def _with_threads(fn: Callable[[Row], Result], rows: Iterator[Row], workers: int) -> Iterator[Result]:
    with ThreadPoolExecutor(workers) as pool:
        waiting = deque(pool.submit(fn, row) for row in islice(rows, workers * AHEAD))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(fn, row) for row in islice(rows, 1))


def _with_processes(
    fn: Callable[[Row], Result], rows: Iterator[Row], workers: int, size: int, patience: float | None
) -> Iterator[Result]:
    chunks = iter(lambda: list(islice(rows, size)), [])
    pool = _Pool(workers)
    waiting: deque[tuple[list[Row], Future[list[Result]] | None]] = deque()
    deaths = done_before = 0
    try:
        while True:
            waiting.extend((chunk, None) for chunk in islice(chunks, workers * AHEAD - len(waiting)))
            if not waiting:
                return
            try:
                # After a death everything in flight is sent again; what was yielded is no longer in `waiting`.
                waiting = deque((chunk, sent or pool.submit(fn, chunk)) for chunk, sent in waiting)
                first = waiting[0][1]
                assert first
                results = first.result(patience)
            except (BrokenProcessPool, TimeoutError) as error:
                silent = isinstance(error, TimeoutError)
                if silent and _is_done(waiting[0][1], failed=True):
                    raise
                # Where another chunk got done since the last death, it was not the same rows that killed again.
                done = sum(_is_done(sent) for _, sent in waiting)
                deaths, done_before = (1 if done > done_before else deaths + 1), done
                if deaths == DEATHS:
                    what = f"gave no answer for {patience:g} s" if silent else "died"
                    raise InputError(
                        f"{DEATHS} workers {what} in a row on the same {len(waiting[0][0])} rows, perhaps for lack of "
                        "memory; try fewer workers"
                    ) from None
                pool.restart()
                waiting = deque((chunk, sent if _is_done(sent) else None) for chunk, sent in waiting)
                continue
            waiting.popleft()
            deaths = 0
            yield from results
    finally:
        pool.stop()


def _is_done(sent: Future[list[Result]] | None, *, failed: bool = False) -> bool:
    """Whether it has its result; or, `failed`, whether what it was asked to do has raised something."""
    return sent is not None and sent.done() and not sent.cancelled() and (sent.exception() is not None) is failed


class _Pool:
    """A process pool that can be restarted after one of its workers died, and leaves no process behind."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._start()

    def _start(self) -> None:
        self.others = {*active_children()}
        self.pool = ProcessPoolExecutor(self.workers, get_context("spawn"), start_worker, (os.getpid(),))

    def submit(self, fn: Callable[[Row], Result], chunk: list[Row]) -> Future[list[Result]]:
        """Send a chunk to a worker."""
        return self.pool.submit(_each, fn, chunk)

    def restart(self) -> None:
        """New workers for those that died."""
        self.stop()
        self._start()

    def stop(self) -> None:
        """End the workers now, whatever they are doing."""
        # Early versions of Python 3.11 (Debian's 3.11.2) wait for ever, at their own end, for what is on its way to a
        # worker that is dead (gh-94777).
        if queue := getattr(self.pool, "_call_queue", None):
            queue.cancel_join_thread()
        self.pool.shutdown(wait=False, cancel_futures=True)
        for process in {*active_children()} - self.others:
            process.kill()
            process.join()


def _each(fn: Callable[[Row], Result], chunk: list[Row]) -> list[Result]:
    return [fn(row) for row in chunk]


def start_worker(parent: int) -> None:
    """Make this process end with its parent, and leave Ctrl-C to it. For the start of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        # A killed parent cannot tell its workers, which would wait for jobs for ever.
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def worker_number() -> int | None:
    """The number of this worker process, None in any other. Processes of one pool have neighbouring numbers."""
    digits = current_process().name.rpartition("-")[2]
    return int(digits) if parent_process() is not None and digits.isdigit() else None
