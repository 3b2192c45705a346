"""The denoising loop: ask the model about positions, hear what it says, write, repeat.

    engine = Engine(denoiser)
    row = engine.add(canvas, parse_policy("threshold"))
    while engine.running:
        steps = engine.step()

Rows join and leave between steps. Each has its own length, policy, budget, sampling, end-of-text setting and
generators, and its own count of steps: a row's neighbours never change it. `decode` (decode.py) is a client of this,
and so is whatever serves requests.

Does not choose (policies), keep a row's books (row.py), run the model (models/session.py) or draw candidates
(candidates.py).
"""

import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import get_args

from nap.canvas.canvas import Canvas
from nap.common.text import check_known
from nap.data.trace import Cost, Event, Step
from nap.decoding.agreement import Reader, watching
from nap.decoding.budget import Budget, Eos, Sampling
from nap.decoding.candidates import Asked, hear
from nap.decoding.guidance import guided
from nap.decoding.needs import check_needs, warn_of_cache
from nap.decoding.policies.policy import Edits, Policy, Said
from nap.decoding.prompt import check_length
from nap.decoding.row import Row, twin
from nap.models.denoiser import Denoiser
from nap.models.session import Question, open_session


class Engine:
    """Rows in the making. `cache` names what is kept of a forward for the next (models/caches.py)."""

    def __init__(self, denoiser: Denoiser, cache: str = "none") -> None:
        self.denoiser, self.session, self.cache = denoiser, open_session(denoiser, cache), cache
        self._rows: dict[int, Row] = {}
        self._added = 0
        # What rows did beside one that failed, until the next step gives it.
        self._held: list[Step] = []

    @property
    def running(self) -> tuple[int, ...]:
        """The rows that are not finished, in the order they were added."""
        return tuple(self._rows)

    def add(
        self,
        canvas: Canvas,
        policy: Policy,
        *,
        budget: Budget | None = None,
        sampling: Sampling | None = None,
        eos: Eos = "count",
        seed: int = 0,
        reads: Reader | None = None,
    ) -> int:
        """Let a canvas in; its row's number. One without a mask is finished at once and costs no forward.

        `reads` says what a path answers, for a policy that stops once its paths agree (agreement.py).

        Raises InputError for a budget that the policy lacks or would ignore, an unknown `eos`, a policy that needs
        what the model or the cache cannot give, and a canvas that the model cannot hold.
        """
        budget = budget or Budget()
        budget.check(policy)
        check_known("eos setting", eos, get_args(Eos))
        check_needs(policy, self.denoiser, self.cache, sampling.guidance if sampling else 0.0)
        warn_of_cache(policy, self.denoiser, self.cache, canvas.spec.attention)
        check_length(self.denoiser, len(canvas))
        number, self._added = self._added, self._added + 1
        agreement = watching(policy, canvas, self.denoiser, reads)
        row = Row(number, canvas, self.denoiser, policy, budget, sampling or Sampling(), eos, seed, agreement)
        if row.unfinished:
            self.session.admit(number, canvas)
            if row.sampling.guidance:
                self.session.admit(twin(number), canvas)
            self._rows[number] = row
        return number

    def cancel(self, row: int) -> None:
        """Let a row go unfinished. Raises ValueError for one that is not running."""
        if row not in self._rows:
            raise ValueError(f"row {row} is not running; running: {list(self._rows)}")
        self._leave(row)

    def step(self) -> list[Step]:
        """One forward of all running rows: what it changed in each of them. Nothing where no row is running.

        Raises InputError that names a policy which asks or writes where it may not, or would never end. Its row has
        left then, and what the others did in the same forward comes with the next step.
        """
        if not self._rows:
            return self._given()
        started, rows = time.perf_counter(), [*self._rows.values()]
        asked = [asked for row in rows for asked in self._asked(row)]
        answer = guided(self.session.ask(_questions(rows)), asked)
        reads = sorted({name for row in rows for name in row.policy.reads})
        said = hear(answer, asked, self.denoiser.mask_id, reads)
        self._act(rows, iter(said), iter(answer.queries_B), started)
        return self._given()

    def _asked(self, row: Row) -> list[Asked]:
        """What a row asks. One that fails leaves."""
        try:
            return row.ask()
        except Exception:
            self._leave(row.number)
            raise

    def _act(self, rows: Sequence[Row], said: Iterator[Said], queries: Iterator[int], started: float) -> None:
        """Let each row write, and hold its step. A row that is finished or fails leaves; the first error is raised."""
        written: list[tuple[Row, int, tuple[Event, ...], Edits]] = []
        failed: Exception | None = None
        for row in rows:
            # A row has one canvas in a forward, and more where its policy drafts.
            computed, heard = sum(islice(queries, row.canvases)), [*islice(said, row.canvases)]
            try:
                written.append((row, computed, *row.act(*heard)))
                goes_on = row.unfinished
            except Exception as error:  # A policy may be anybody's, and its neighbours go on.
                goes_on, failed = False, failed or error
            if not goes_on:
                self._leave(row.number)
        seconds = time.perf_counter() - started
        self._held += [_stepped(*done, seconds) for done in written]
        if failed:
            raise failed

    def _given(self) -> list[Step]:
        held, self._held = self._held, []
        return held

    def _leave(self, row: int) -> None:
        self.session.drop(row)
        if self._rows.pop(row).sampling.guidance:
            self.session.drop(twin(row))


def _stepped(row: Row, queries: int, events: tuple[Event, ...], edits: Edits, seconds: float) -> Step:
    """What a step was to a row."""
    cost = Cost(forwards=1, queries=queries, guide_calls=edits.guide_calls)
    return Step(
        row=row.number, index=row.steps - 1, events=events, seconds=seconds, cost=cost, runners_up=edits.runners_up
    )


def _questions(rows: Sequence[Row]) -> list[Question]:
    """What the rows ask the model, and behind it the same without the prompts of those that are guided."""
    guided_rows = [row for row in rows if row.sampling.guidance]
    return [q for row in rows for q in row.questions()] + [q for row in guided_rows for q in row.without_prompt()]
