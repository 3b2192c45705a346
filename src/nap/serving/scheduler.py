"""Canvases of many clients in one engine: each joins between two steps, in the order of arrival, while there is room.

    scheduler = Scheduler(denoiser, cache="dual", rows=8, waiting=64)
    scheduler.run()                # in the main thread, until another one, or a signal, says scheduler.close()

One thread does everything that touches the model or its tokenizer, because neither may be asked twice at once. It is
best the main one, where the time of a chat template can be bounded (decoding/template.py). Does not know requests or
HTTP.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from nap.canvas.canvas import Canvas
from nap.common.files import InputError
from nap.data.trace import Step
from nap.decoding.batches import fitting_batch
from nap.decoding.budget import Told
from nap.decoding.engine import Engine
from nap.decoding.policies.policy import Policy
from nap.decoding.traces import run_setting
from nap.models.denoiser import Denoiser
from nap.serving.answer import Answer, Written


class Busy(Exception):
    """More canvases wait than may."""


@dataclass(kw_only=True, eq=False)
class Job:
    """One canvas to write.

    lay     lays it out, or raises InputError
    tell    is called in the scheduler's thread, at the end with what was written or with the error that ended it, and
            where it is to `stream` before that with the text so far, first when the canvas has its place
    stops   texts before which the answer ends
    trace   whether what was written comes with its trace
    """

    lay: Callable[[], Canvas]
    policy: Policy
    told: Told
    tell: Callable[[str | Written | Exception], None]
    stops: tuple[str, ...] = ()
    stream: bool = False
    trace: bool = False


class Scheduler:
    """Writes what is submitted, in the thread that runs it.

    rows     canvases written at once, fewer where they do not fit in memory
    waiting  canvases that may wait for a place
    """

    def __init__(self, denoiser: Denoiser, *, cache: str = "none", rows: int = 8, waiting: int = 64) -> None:
        self.denoiser, self.cache, self.rows, self.waiting = denoiser, cache, rows, waiting
        self._engine = Engine(denoiser, cache)
        # Shared with the threads of the clients; all else is the scheduler's own.
        self._changed = threading.Condition()
        self._queue = deque[Job]()
        self._unwanted = set[Job]()
        self._closes: float | None = None
        # The canvas of the first in the queue, which waits for memory; and what is in the engine.
        self._laid: tuple[Job, Canvas] | None = None
        self._running: dict[int, tuple[Job, Answer]] = {}
        self._errors: dict[int, Exception] = {}

    @property
    def counts(self) -> dict[str, int]:
        """How many canvases are being written, and how many wait."""
        return {"running": len(self._running), "waiting": len(self._queue)}

    def submit(self, jobs: Sequence[Job]) -> None:
        """Write these, or raise Busy and write none. Raises InputError for more than there are ever places for."""
        places = self.rows + self.waiting
        if len(jobs) > places:
            raise InputError(
                f"{len(jobs)} answers are asked for, and this server takes {places} at once; ask for fewer"
            )
        with self._changed:
            if self._closes is not None:
                raise Busy("the server is stopping")
            if (taken := len(self._queue) + len(self._running)) + len(jobs) > places:
                raise Busy(f"{taken} of {places} places are taken, and {len(jobs)} are asked for")
            self._queue.extend(jobs)
            self._changed.notify()

    def cancel(self, jobs: Iterable[Job]) -> None:
        """Let these go unfinished, whether they wait or are being written; finished ones are passed over."""
        with self._changed:
            self._unwanted.update(jobs)
            self._queue = deque(job for job in self._queue if job not in self._unwanted)
            self._changed.notify()

    def close(self, grace: float = 0.0) -> None:
        """Take nothing more, and end once what is being written is done, or after so many seconds and a step."""
        with self._changed:
            self._closes = time.monotonic() + grace
            self._changed.notify()

    def run(self) -> None:
        """Write until it is closed. What is not finished then is told so."""
        while self._wanted():
            try:
                while job := self._next():
                    self._begin(job)
                if self._running:
                    self._step()
            except BaseException as error:
                self._fail(error)
        for job in (*(job for job, _ in self._running.values()), *self._queue):
            job.tell(Busy("the server is stopping"))

    def _wanted(self) -> bool:
        """Wait until there is something to do, and let go what nobody wants any more. False at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._running or self._closes is not None)
            unwanted, self._unwanted = self._unwanted, set()
            closes = self._closes
        for number, (job, _) in [*self._running.items()]:
            if job in unwanted and number in self._engine.running:
                self._engine.cancel(number)
                del self._running[number]
        return closes is None or (bool(self._running) and time.monotonic() < closes)

    def _next(self) -> Job | None:
        """The first in the queue, if there is a place for it."""
        with self._changed:
            room = self._closes is None and len(self._running) < self.rows
            job = self._queue[0] if self._queue and room else None
        if job is None or not self._fits(job):
            return None
        with self._changed:
            # It may have been cancelled meanwhile.
            return self._queue.popleft() if self._queue and self._queue[0] is job else None

    def _fits(self, job: Job) -> bool:
        """Whether its canvas fits in memory beside those that are being written; one alone may always try."""
        if self._laid is None or self._laid[0] is not job:
            try:
                self._laid = job, job.lay()
            except BaseException as error:  # A tokenizer and a chat template may be anybody's.
                self._laid = None
                self._drop(job, error)
                return False
        lengths = [len(self._laid[1]), *(len(answer.canvas) for _, answer in self._running.values())]
        return len(lengths) == 1 or fitting_batch(self.denoiser, max(lengths), most=self.rows).rows >= len(lengths)

    def _drop(self, job: Job, error: BaseException) -> None:
        with self._changed:
            self._queue = deque(one for one in self._queue if one is not job)
        job.tell(_exception(error))

    def _begin(self, job: Job) -> None:
        assert self._laid
        (_, canvas), self._laid = self._laid, None
        try:
            setting = run_setting(self.denoiser, job.policy, cache=self.cache, **job.told)
            answer = Answer(self.denoiser, canvas, job.policy, setting, job.stops)
            number = self._engine.add(canvas, job.policy, **job.told)
        except BaseException as error:  # A policy may be anybody's.
            job.tell(_exception(error))
            return
        self._running[number] = job, answer
        if job.stream:
            job.tell("")

    def _step(self) -> None:
        """One step of all. Where a row fails it is told so, and the others go on."""
        try:
            steps = self._engine.step()
        except Exception as error:
            left = {*self._running} - {*self._engine.running, *self._errors}
            # Where no row has left, the forward itself failed, as it would again.
            for number in left or self._engine.running:
                self._errors[number] = error
                if not left:
                    self._engine.cancel(number)
            return  # What the others did comes with the next step.
        for step in steps:
            self._heard(step)
        for number in {*self._running} - {*self._engine.running}:
            self._end(number)

    def _fail(self, error: BaseException) -> None:
        """Something that nobody foresaw: all that are being written are told so, and the next ones are begun."""
        running, self._running = self._running, {}
        self._errors.clear()
        for number in self._engine.running:
            self._engine.cancel(number)
        for job, _ in running.values():
            job.tell(_exception(error))

    def _heard(self, step: Step) -> None:
        if step.row not in self._running:
            return  # It was cancelled after a step that comes late.
        job, answer = self._running[step.row]
        answer.take(step)
        if step.row in self._engine.running:
            if answer.stopped:
                self._engine.cancel(step.row)
            elif job.stream:
                job.tell(answer.text)

    def _end(self, number: int) -> None:
        """A row has left the engine: its answer is whole, or it failed."""
        job, answer = self._running[number]
        whole = answer.full or answer.stopped
        told = answer.written(job.trace) if whole else self._errors.get(number) or RuntimeError("a row was lost")
        # Only now, so that a text that cannot be read is told of (`_fail`).
        del self._running[number]
        self._errors.pop(number, None)
        job.tell(told)


def _exception(error: BaseException) -> Exception:
    """The error as one that a client's task can raise; a panic of the tokenizers library is no Exception."""
    return error if isinstance(error, Exception) else RuntimeError(repr(error))
