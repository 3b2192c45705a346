"""Kills, full disks and second processes: whatever happens to a run, the same command ends in the same files.

A job is run once to its end. Then it is killed, before one of its file operations or at any time; or its disk is too
small; or two of it start together. After that the same command must end well, with the same results and no rubbish.

Does not spoil files (fuzz.py).
"""

import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trial
from formats import CURATE, EVAL, TRAIN
from trial import Fault, Outcome

# Audit events of what changes a disk (docs.python.org/3/library/audit_events.html).
CHANGES = ("os.rename", "os.remove", "os.truncate", "os.mkdir", "os.rmdir", "os.link", "sqlite3.connect")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
SECONDS = 120.0


def _rows(folder: Path) -> Any:
    from nap.common.parquet import read_parquet

    return read_parquet(folder / "rows.parquet")


def _traces(folder: Path) -> Any:
    return [json.loads(line) | {"seconds": 0} for line in (folder / "traces.jsonl").read_text().splitlines()]


def digests(*names: str) -> Callable[[Path], Any]:
    """What names the bytes of these files of a folder."""
    return lambda folder: [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names]


@dataclass(frozen=True, kw_only=True)
class Job:
    """A command that writes `out`, and what of it must be the same after a kill."""

    name: str
    command: str
    out: str
    results: Callable[[Path], Any]


JOBS = (
    Job(name="eval", command=f"{EVAL} --out out", out="out", results=lambda out: [_rows(out), _traces(out)]),
    Job(
        name="train", command=f"{TRAIN} --out out", out="out",
        results=digests("final/model.safetensors", "dropped.jsonl"),
    ),
    Job(
        name="curate", command=f"{CURATE} --out out", out="out",
        results=digests("samples.parquet", "longchain.parquet"),
    ),
    Job(
        name="seqdep", out="out", command="seqdep filter texts.jsonl --out out/kept.jsonl --scorer causal --keep .5",
        results=digests("kept.jsonl"),
    ),
    Job(
        name="trace convert", command="trace convert traces.jsonl out/traces.parquet", out="out",
        results=digests("traces.parquet"),
    ),
    Job(
        name="report", command="report run --out out/report.html", out="out", results=digests("report.html"),
    ),
    Job(
        name="leaderboard", out="out",
        command="leaderboard --models grids=exact:grids --decoders parallel_threshold:tau=.9 threshold:tau=.9 "
        "--problems 2 --validation 1 --out out",
        results=lambda out: [[_rows(part), _traces(part)] for part in sorted(out.glob("grids-*/*"))],
    ),
)  # fmt: skip


class Bench:
    """A job with a copy of all files, its results without any trouble, its file operations and its seconds."""

    def __init__(self, whole: Path, job: Job) -> None:
        self.whole, self.job = whole, job
        with self.place() as folder:
            counted = folder / "operations"
            found = trial.forked(lambda: self._counted(folder, counted), folder=folder, seconds=SECONDS)
            if found.code:
                raise RuntimeError(f"{job.name}: {trial.shown(found)}")
            self.results = job.results(folder / job.out)
            self.operations, self.seconds = int(counted.read_text()), found.seconds

    def place(self) -> "Place":
        """A folder with all files, and nothing written yet."""
        return Place(self.whole)

    def run(self) -> None:
        """The command, in this process."""
        trial.nap(self.job.command.split())

    def _counted(self, folder: Path, counted: Path) -> None:
        count = 0

        def hook(event: str, args: tuple[Any, ...]) -> None:
            nonlocal count
            count += changes(folder, event, args)

        sys.addaudithook(hook)
        try:
            self.run()
        finally:
            made = count
            counted.write_text(str(made))

    def killed_before(self, folder: Path, number: int) -> Outcome:
        """The command, which kills itself before its file operation of that number."""

        def work() -> None:
            left = number

            def hook(event: str, args: tuple[Any, ...]) -> None:
                nonlocal left
                if changes(folder, event, args):
                    left -= 1
                    if left < 0:
                        os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(hook)
            self.run()

        return trial.forked(work, folder=folder, seconds=SECONDS)

    def check(self, folder: Path, where: str, before: Outcome) -> Fault | None:
        """Run the command to its end. The fault: it does not, or with other results, or it leaves rubbish."""
        found = trial.forked(self.run, folder=folder, seconds=SECONDS)
        more = []
        if found.code:
            more.append(f"the same command ends with {found.code}")
        else:
            try:
                if self.job.results(folder / self.job.out) != self.results:
                    more.append("other results")
            except Exception as error:
                more.append(f"results that cannot be read ({error!r:.80})")
            if rubbish := [path.name for path in (folder / self.job.out).rglob("*.partial")]:
                more.append(f"{rubbish[0]} is left")
        return trial.fault_of(f"{where} (it ended with {before.code})", found, more)


class Place:
    """A copy of all files, gone at the end."""

    def __init__(self, whole: Path) -> None:
        self.held = tempfile.TemporaryDirectory(dir=whole.parent)
        self.folder = Path(self.held.name) / "all"
        shutil.copytree(whole, self.folder)

    def __enter__(self) -> Path:
        return self.folder

    def __exit__(self, *error: object) -> None:
        self.held.cleanup()


def changes(folder: Path, event: str, args: tuple[Any, ...]) -> bool:
    """Whether an audit event is a change of the disk in this folder."""
    if event == "open":
        path, _, flags = args
        return isinstance(flags, int) and bool(flags & WRITING) and _within(folder, path)
    return event in CHANGES and _within(folder, args[0])


def _within(folder: Path, path: object) -> bool:
    if not isinstance(path, str | bytes | os.PathLike):
        return False
    # The command's folder is this one: a relative name is in it.
    name = os.fsdecode(path)
    return not name.startswith("/") or name.startswith(str(folder))


def killed(whole: Path, seed: int, share: float) -> Iterator[tuple[str, Fault | None]]:
    """Kill each job before its file operations (all, or a share of them) and at random times."""
    for job in JOBS:
        bench, rng = Bench(whole, job), random.Random(f"{seed} kills {job.name}")
        for number in range(bench.operations):
            if rng.random() >= share:
                continue
            with bench.place() as folder:
                before = bench.killed_before(folder, number)
                where = f"{job.name}, killed before its file operation {number} of {bench.operations}"
                yield f"{job.name}, before a file operation", bench.check(folder, where, before)
        for number in range(_some(20, share, rng)):
            moment = rng.random() * bench.seconds
            with bench.place() as folder:
                running = trial.started(bench.run, folder)
                time.sleep(moment)
                running.kill()
                where = f"{job.name}, kill {number} of seed {seed}, after {moment:.3f} s"
                yield f"{job.name}, at a random time", bench.check(folder, where, running.end())


def crowded(whole: Path, seed: int, share: float) -> Iterator[tuple[str, Fault | None]]:
    """Start each job twice at once: one does the work, and the other is refused, or has nothing left to do."""
    for job in JOBS[:3]:
        bench, rng = Bench(whole, job), random.Random(f"{seed} two {job.name}")
        for number in range(_some(10, share, rng)):
            with bench.place() as folder:
                both = [trial.started(bench.run, folder)]
                time.sleep(rng.random() * bench.seconds / 2)
                both.append(trial.started(bench.run, folder))
                ends = [one.end(SECONDS) for one in both]
                where = f"{job.name}, twice at once, {number} of seed {seed}"
                refused = [end for end in ends if end.code == 2 and "another process is at work" in end.err]
                done = [end for end in ends if end.code == 0]
                more = [] if done and len(done) + len(refused) == 2 else [f"they end with {[e.code for e in ends]}"]
                first = next((fault for end in ends if (fault := trial.fault_of(where, end, more))), None)
                yield f"{job.name}, two processes", first or bench.check(folder, where, ends[0])


def filled(whole: Path, seed: int, share: float) -> Iterator[tuple[str, Fault | None]]:
    """Give each job a disk that is too small: one line, and with room again the same results."""
    for job in JOBS:
        bench, rng = Bench(whole, job), random.Random(f"{seed} disk {job.name}")
        with bench.place() as folder:
            trial.forked(bench.run, folder=folder, seconds=SECONDS)
            size = sum(path.stat().st_size for path in (folder / job.out).rglob("*") if path.is_file())
        for number in range(_some(12, share, rng)):
            most = int(size * rng.random() ** 2) + 4096 * rng.randrange(3)
            with bench.place() as folder, Disk(folder / job.out, most) as disk:
                before = trial.forked(disk.limited(bench.run), folder=folder, seconds=SECONDS)
                where = f"{job.name}, a disk of {most} bytes ({disk.kind}), {number} of seed {seed}"
                fault = trial.fault_of(where, before)
                disk.enlarge()
                yield f"{job.name}, a full disk", fault or bench.check(folder, where, before)


class Disk:
    """A small disk at a folder: a tmpfs where this process may mount one, else a bound of every file's size."""

    def __init__(self, folder: Path, most: int) -> None:
        self.folder, self.most, self.kind = folder, most, "files"

    def __enter__(self) -> "Disk":
        self.folder.mkdir()
        # A tmpfs of 0 has no bound.
        size = max(4096, self.most // 4096 * 4096)
        if self._mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs"):
            self.kind = "tmpfs"
        return self

    def __exit__(self, *error: object) -> None:
        if self.kind == "tmpfs":
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)

    def _mount(self, *how: str) -> bool:
        return subprocess.run(["mount", *how, str(self.folder)], capture_output=True).returncode == 0

    def enlarge(self) -> None:
        """Room for all."""
        if self.kind == "tmpfs" and not self._mount("-o", "remount,size=1g"):
            raise RuntimeError(f"{self.folder} cannot be enlarged")

    def limited(self, work: Callable[[], None]) -> Callable[[], None]:
        """The work under the bound of files' sizes, where there is no small disk."""

        def within() -> None:
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.most, hard))
            work()

        return work if self.kind == "tmpfs" else within


def _some(count: int, share: float, rng: random.Random) -> int:
    """A share of a count, rounded up or down by chance."""
    return int(count * share + rng.random())
