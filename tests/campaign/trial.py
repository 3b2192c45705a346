"""One trial: `nap` with these arguments in a process of its own, what came of it, and what is wrong with that.

The process is forked from this one, in which the heavy imports are done once, so that a trial takes milliseconds. It
is never asked for more than `SECONDS`, and what it held in memory is what the system counted.

Does not know what was tried, or why.
"""

import importlib
import json
import logging
import os
import re
import resource
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

# Of one trial, on a processor of its own: all inputs are small, and what is small is read, or refused, at once.
SECONDS, MEGABYTES = 30.0, 1500.0
# An error is one line that a person reads.
LONGEST_LINE = 2500
MOST_ADDRESSES = 16 << 30
HEAVY = (
    "torch", "transformers", "pyarrow.parquet", "scipy.stats", "nap.cli", "nap.models.load", "nap.models.adapter",
    "nap.evaluation.run", "nap.evaluation.summary", "nap.evaluation.score", "nap.curation.curate",
    "nap.training.finetune", "nap.training.trainer", "nap.report.page", "nap.report.figures", "nap.order.importers",
    "nap.dependence.load", "nap.dependence.summary", "nap.report.terminal", "nap.data.samples", "peft",
)  # fmt: skip
_CONTROL = re.compile(r"[^\n -~\u00a0-\U0010ffff]")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a process ended: its exit code (negative: the signal), output, seconds, peak MB over what it began with."""

    code: int
    out: str
    err: str
    seconds: float
    megabytes: float
    late: bool = False
    asked: tuple[str, ...] = ()


def warm() -> None:
    """Import once, in the process that is forked, what every command imports."""
    import torch

    for name in HEAVY:
        importlib.import_module(name)
    torch.set_num_threads(1)


def run(arguments: list[str], *, folder: Path | None = None, seconds: float = SECONDS) -> Outcome:
    """`nap` with these arguments."""
    return forked(lambda: nap(arguments), folder=folder, seconds=seconds)


def nap(arguments: list[str]) -> None:
    """The command, in this process."""
    from nap.cli import main

    sys.argv = ["nap", *arguments]
    main()


def forked(work: Callable[[], None], *, folder: Path | None = None, seconds: float = SECONDS) -> Outcome:
    """`work` in a process of its own, whose sockets are counted and never opened to elsewhere than this machine."""
    return started(work, folder).end(seconds)


class Running:
    """A process that is at work."""

    def __init__(self, child: int, files: tuple[BinaryIO, ...]) -> None:
        self.child, self.files, self.began = child, files, time.perf_counter()

    def kill(self) -> None:
        """End it at once, as nothing can be caught of."""
        os.kill(self.child, signal.SIGKILL)

    def end(self, seconds: float = SECONDS) -> Outcome:
        """Wait for its end, at most so long; what came of it."""
        late = not _ended(self.child, seconds)
        if late:
            self.kill()
        _, status, used = os.wait4(self.child, 0)
        spent, texts = time.perf_counter() - self.began, list[str]()
        for file in self.files:
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
            file.close()
        first, *asked = texts[2].splitlines() or ["0"]
        return Outcome(
            code=os.waitstatus_to_exitcode(status), out=texts[0], err=texts[1], seconds=spent,
            megabytes=used.ru_maxrss / 1024 - float(first), late=late, asked=tuple(asked),
        )  # fmt: skip


def started(work: Callable[[], None], folder: Path | None = None) -> Running:
    """`work` begun in a process of its own."""
    files = tuple(tempfile.TemporaryFile() for _ in range(3))  # noqa: SIM115
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _be_child(work, folder, *(file.fileno() for file in files))
    return Running(child, files)


def _ended(child: int, seconds: float) -> bool:
    """Wait for a child without taking its status, at most so long; that others used its processor is not counted."""
    number, began = os.pidfd_open(child), time.monotonic()
    try:
        while (left := began + seconds + _kept_waiting(child) - time.monotonic()) > 0:
            if select.select([number], [], [], left)[0]:
                return True
        return False
    finally:
        os.close(number)


def _kept_waiting(child: int) -> float:
    """Seconds that a process was ready to run and others ran (the kernel's scheduler/sched-stats.txt)."""
    try:
        return int(Path(f"/proc/{child}/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


def _be_child(work: Callable[[], None], folder: Path | None, out: int, err: int, net: int) -> None:
    code = 1
    try:
        os.setsid()
        # What wants more fails here, and does not take the machine with it.
        resource.setrlimit(resource.RLIMIT_AS, (MOST_ADDRESSES, MOST_ADDRESSES))
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, place in ((nothing, 0), (out, 1), (err, 2)):
            os.dup2(number, place)
        sys.stdin, sys.stdout, sys.stderr = (
            open(0),  # noqa: SIM115
            open(1, "w", encoding="utf-8", closefd=False),  # noqa: SIM115
            open(2, "w", encoding="utf-8", closefd=False, buffering=1),  # noqa: SIM115
        )
        _log_as_if_imported_now()
        with Path("/proc/self/status").open() as status:
            begun = next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))
        os.write(net, f"{begun}\n".encode())
        sys.addaudithook(lambda event, args: _guard(event, args, net))
        if folder:
            os.chdir(folder)
        work()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                code = code or 1
        os._exit(code)


class _Now:
    """Standard error as it is when something is written."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def _log_as_if_imported_now() -> None:
    """What was imported before the fork logs to the standard error of before it, and a command's own imports do not."""
    for name in (None, *logging.root.manager.loggerDict):
        for handler in logging.getLogger(name).handlers:
            if type(handler) is logging.StreamHandler:
                handler.setStream(_Now())


def _guard(event: str, args: tuple[object, ...], net: int) -> None:
    """Note, and stop, whoever looks for another machine."""
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        place = str(args[1] if event == "socket.connect" else args[0])
        if "127.0.0.1" not in place and "localhost" not in place:
            os.write(net, f"{event} {place!a}\n".encode())
            raise ConnectionRefusedError(f"the campaign allows no network: {place}")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What went wrong in which trial: enough to have it again."""

    where: str
    wrong: tuple[str, ...]
    said: str

    def __str__(self) -> str:
        return f"{self.where}\n  {', '.join(self.wrong)}\n  {self.said}"


def fault_of(where: str, found: Outcome, more: list[str] | None = None) -> Fault | None:
    """The fault of an outcome, with more that is wrong; None where nothing is."""
    wrong = faults(found) + (more or [])
    return Fault(where=where, wrong=tuple(wrong), said=shown(found)) if wrong else None


def faults(found: Outcome, *, megabytes: float = MEGABYTES, network: bool = False) -> list[str]:
    """What is wrong with an outcome; nothing where it did what was asked, or refused it in one line."""
    wrong = []
    if found.late:
        wrong.append("hang")
    elif found.code not in (0, 2):
        wrong.append(f"exit code {found.code}")
    if "Traceback (most recent call last)" in found.err:
        wrong.append("traceback")
    if found.code == 2 and len([line for line in found.err.splitlines() if line.startswith("nap: ")]) < 1:
        wrong.append("no line that says why")
    for name, text in (("output", found.out), ("errors", found.err)):
        if _CONTROL.search(text) or any(not c.isprintable() and c not in "\n" for c in set(text)):
            wrong.append(f"control characters in {name}")
    if (longest := max(map(len, found.err.splitlines()), default=0)) > LONGEST_LINE:
        wrong.append(f"an error of {longest} characters in one line")
    if found.megabytes > megabytes:
        wrong.append(f"{found.megabytes:.0f} MB")
    if found.asked and not network:
        wrong.append(f"asked for {found.asked[0]}")
    return wrong


def shown(found: Outcome) -> str:
    """The end of what was said, for a report."""
    return json.dumps({"code": found.code, "seconds": round(found.seconds, 1), "err": found.err[-1500:]})
