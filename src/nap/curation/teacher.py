"""Asks teachers, which are OpenAI-compatible endpoints, until every request has its reply in the journal.

    ask([(endpoint, requests)], journal, Asking(concurrency=64))

One event loop keeps `concurrency` requests in flight for each endpoint; replies that are in the journal are not asked
for. A failure that may pass (a full server, 429 with its Retry-After, a timeout, garbage, half a text) is tried again.
A request that failed at every attempt is FAILED, and a later run asks it again. A server that fails for every request
stops the run with the server's own message; the same command continues later.

A refusal (400, 403, 422...) may be due to the prompt, or to something that affects every request, such as missing
credit or a wrong setting. It is therefore held back until another request of the same run is answered; only then it
counts as the prompt's own and is REFUSED in the journal. If nothing is answered any more, refusals stay undecided.

The calls go through aiohttp and not through the openai SDK: retries, replies and errors are handled here anyway, and
the SDK would take four times the processor time (docs/curation.md).

Does not read answers of servers (replies.py), and knows no problems (curate.py).
"""

import asyncio
import json
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from nap.common.bounds import check_least
from nap.common.files import InputError
from nap.common.server import Endpoint, Fatal, Passing, Refused, Server, model_names
from nap.common.text import nearest, printable
from nap.curation.journal import FAILED, REFUSED, Journal, Reply, Request
from nap.curation.replies import read_replies, with_usage_of

# How many requests may fail at all attempts, or be refused, without a reply in between, before the teacher counts as
# down, or as refusing everything.
DOWN_AFTER = 8
# How many refused prompts are reported while asking; a run lists all of them at its end.
SAID = 5
# Share of a call's usual time over which the calls of all workers are spread. Calls that are sent together are answered
# together and sent together again, so the last of 64 replies always waits until the other 63 have been processed.
# Processing a reply takes a quarter of a millisecond, so longer gaps between calls gain nothing, and a server that
# batches requests should get them close together.
SPREAD, MOMENT = 0.8, 0.002
# The timers of the event loop are late by up to this many seconds, which each call would lose.
TICK = 0.001
# The longest pause, in seconds, that a server may ask for.
LONGEST_PAUSE = 300.0
# Longer pauses are reported.
NOTICED = 5.0


@dataclass(frozen=True, kw_only=True)
class Asking:
    """How to ask (see the flags of `nap curate`, commands/curate.py). Nothing here changes a reply.

    backoff  seconds before the second attempt; doubles after each failure
    again    ask again for what was refused in an earlier run
    say      called with messages for the user: a model that is not listed, a prompt that is refused
    """

    concurrency: int = 16
    per_minute: int = 0
    timeout: float = 600.0
    retries: int = 5
    backoff: float = 0.5
    together: bool = False
    again: bool = False
    say: Callable[[str], None] = lambda line: None

    def __post_init__(self) -> None:
        check_least({"concurrency": self.concurrency})
        check_least({"per_minute": self.per_minute, "retries": self.retries}, 0)
        if not 0 < self.timeout < math.inf:
            raise InputError(f"timeout must be more than 0 seconds and finite, got {self.timeout}")
        if not 0 <= self.backoff < math.inf:
            raise InputError(f"backoff must be 0 seconds or more and finite, got {self.backoff}")


# The samples that are wanted for one prompt.
Group = Sequence[Request]


def ask(
    work: Sequence[tuple[Endpoint, Iterable[Group]]],
    journal: Journal,
    asking: Asking,
    report: Callable[[int], None] = lambda asked: None,
) -> None:
    """Ask each endpoint its groups of requests, as far as the journal has no reply yet.

    report  called with the number of requests that just got their final reply

    Raises InputError if an endpoint is absent or down, wants payment, or refuses the key, the model or every request.
    """
    asyncio.run(_ask(work, journal, asking, report))


async def _ask(
    work: Sequence[tuple[Endpoint, Iterable[Group]]], journal: Journal, asking: Asking, report: Callable[[int], None]
) -> None:
    clients = list[_Client]()
    try:
        # One by one, so that the first ones are closed if the address of another is refused.
        clients.extend(_Client(endpoint, journal, asking, report) for endpoint, _ in work)
        await asyncio.gather(*(client.work(groups) for client, (_, groups) in zip(clients, work, strict=True)))
    finally:
        for client in clients:
            await client.close()


class _Client:
    """One endpoint during a run."""

    def __init__(self, endpoint: Endpoint, journal: Journal, asking: Asking, report: Callable[[int], None]) -> None:
        self._server = Server(endpoint, asking.timeout)
        self.endpoint, self.journal, self.asking, self.report = endpoint, journal, asking, report
        self.failures, self.refused, self.together = 0, 0, asking.together
        # Requests refused since the last reply, and a request that is known to be answered.
        self.held: list[tuple[Request, Reply]] = []
        self.answered: Request | None = None
        self._judging = asyncio.Lock()
        self.unlisted, self.limit = "", "max_tokens"
        # When the next call may be made, and the mean seconds of a call over about the last hundred.
        self.resume_at = self.next_at = self.usual = 0.0

    async def close(self) -> None:
        await self._server.close()

    async def work(self, groups: Iterable[Group]) -> None:
        """Process the groups with one worker for each request in flight."""
        waiting = self._unsettled(groups)
        first = next(waiting, None)
        if first is None:
            return
        await self._check_model()
        if self.unlisted:
            # The list may lack names that the server accepts, so one request tests it.
            await self._worker(iter([first]))
            await self._judge()
            first = next(waiting, None)
        jobs = chain([first] if first else [], waiting)
        workers = [asyncio.create_task(self._worker(jobs)) for _ in range(self.asking.concurrency)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
        await self._judge()

    def _unsettled(self, groups: Iterable[Group]) -> Iterator[Group]:
        """The calls to make: samples of a group without a reply, all together or one by one."""
        for group in groups:
            left = [request for request in group if not self._settled(request)]
            if len(left) < len(group):
                self.report(len(group) - len(left))
            if left and self.together:
                yield left
            else:
                yield from ([request] for request in left)

    def _settled(self, request: Request) -> bool:
        settled = self.journal.settled(request, self.asking.again)
        if settled and self.answered is None and self.journal.settled(request, again=True):
            self.answered = request
        return settled

    async def _worker(self, jobs: Iterator[Group]) -> None:
        for job in jobs:
            for request, reply in zip(job, await self._replies(job), strict=True):
                if reply.status:
                    self.held.append((request, reply))
                else:
                    self.journal.add(request, reply)
            self.report(len(job))
            if len({request.prompt for request, _ in self.held}) >= DOWN_AFTER:
                await self._judge()

    async def _judge(self) -> None:
        """Record refusals as the prompts' own if a request that was answered before still is.

        Raises InputError if every request is refused.
        """
        async with self._judging:
            for _ in range(DOWN_AFTER):
                # Any reply to it decides them; one more refusal does not, because a server may refuse now and then.
                if self.held and self.answered is not None:
                    await self._reply(self.answered, 1)
            if self.held:
                now = "" if self.answered is None else ", even one that it answered before"
                raise self._stop(f"refuses every request{now} ({self.held[-1][1].error!r})")

    def _settle(self) -> None:
        """Record the refusals as the prompts' own, because another request was answered."""
        for request, reply in self.held:
            self.journal.add(request, reply)
            self.refused += 1
            if self.refused <= SAID:
                self.asking.say(f'refused: "{printable(request.prompt, 60)}" ({printable(reply.error, 200)})')
            elif self.refused == SAID + 1:
                self.asking.say("further prompts are refused, which is not said again")
        self.held = []

    def _stop(self, what: str) -> InputError:
        """The error that ends the run, with the teacher's own message."""
        words = printable(f"{what}{self.unlisted}", 500)
        return InputError(f"the teacher at {self.endpoint.shown} {words}; the same command goes on from here")

    async def _replies(self, job: Group) -> list[Reply]:
        """A reply for each request: as many as one call returns, the others one by one."""
        called = await self._reply(job[0], len(job)) if len(job) > 1 else []
        if len(called) < len(job) > 1:
            # A server may ignore `n`, refuse it, or limit it to its slots; that will not change during a run.
            self.together = False
        kept = [reply for reply in called if reply.finish not in (FAILED, REFUSED)][: len(job)]
        replies = kept + [(await self._reply(request, 1))[0] for request in job[len(kept) :]]
        if called and replies[0] is not called[0]:
            # The usage of the call was in a reply that is not kept, but is paid all the same.
            replies[0] = with_usage_of(replies[0], called[0])
        return replies

    async def _reply(self, request: Request, count: int) -> list[Reply]:
        """The replies of one call, 1 to `count`; after the last failed attempt one FAILED reply."""
        error = ""
        for attempt in range(self.asking.retries + 1):
            await self._turn()
            try:
                found = await self._attempt(request, count)
            except Passing as failure:
                error = str(failure)
                if attempt < self.asking.retries:
                    await self._back_off(failure.pause, attempt)
            except Refused as refusal:
                self.failures = 0
                return [Reply(finish=REFUSED, error=str(refusal), status=refusal.status)]
            else:
                self.failures, self.answered, self._server.alive = 0, request, True
                self._settle()
                return found
        self._count_failure(error)
        return [Reply(finish=FAILED, error=error)]

    async def _turn(self) -> None:
        """Wait for the end of a pause, and for this request's turn under `per_minute` and `SPREAD`."""
        clock, limit = asyncio.get_running_loop().time, self.asking.per_minute
        gap = max(60 / limit if limit else 0.0, min(SPREAD * self.usual / self.asking.concurrency, MOMENT))
        self.next_at = max(self.next_at, clock()) + gap
        if (early := self.next_at - gap - clock()) > TICK:
            await asyncio.sleep(early - TICK)
        while (left := self.resume_at - clock()) > 0:
            await asyncio.sleep(left)

    async def _back_off(self, pause: float | None, attempt: int) -> None:
        """A pause that a server asks for holds for all requests (see `_turn`); a backoff only for this one."""
        if pause is None:
            await asyncio.sleep(self.asking.backoff * 2**attempt * random.uniform(0.5, 1))
        else:
            pause, now = min(pause, LONGEST_PAUSE), asyncio.get_running_loop().time()
            if pause > NOTICED and self.resume_at < now:
                self.asking.say(f"{self.endpoint.shown} asks for a pause: waiting {pause:.0f} s")
            self.resume_at = max(self.resume_at, now + pause)

    def _count_failure(self, error: str) -> None:
        self.failures += 1
        if self.failures >= DOWN_AFTER:
            raise self._stop(
                f"failed {self.failures} requests in a row, each at {self.asking.retries + 1} attempts "
                f"(the last: {error!r})"
            )

    async def _attempt(self, request: Request, count: int) -> list[Reply]:
        """One call. Raises Passing, Refused, or InputError for a failure of every request."""
        body: dict[str, object] = {
            "model": request.model,
            "messages": [{"role": "user", "content": request.prompt}],
            "temperature": request.temperature,
            "top_p": request.top_p,
            self.limit: request.max_tokens,
            "seed": request.seed + request.index,
        }
        body |= {"n": count} if count > 1 else {}
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            answer = await self._server.call("POST", "/chat/completions", json.dumps(body).encode())
        except Refused as refusal:
            if "max_tokens" not in body or "max_completion_tokens" not in refusal.said:
                raise
            self._learn_limit()
            return await self._attempt(request, count)
        except Fatal as error:
            raise self._stop(str(error)) from None
        self.usual += (clock() - started - self.usual) / 100
        return read_replies(answer)

    def _learn_limit(self) -> None:
        """The server wants the other name of the token limit, which is reported once and used from now on."""
        if self.limit == "max_tokens":
            self.limit = "max_completion_tokens"
            self.asking.say(f"{self.endpoint.shown} wants max_completion_tokens in place of max_tokens, and gets it")

    async def _check_model(self) -> None:
        """Raise InputError if there is no server; tell the user if this model is not among those it lists."""
        try:
            listed = await self._server.call("GET", "/models")
        except Passing as error:
            if "no connection" in str(error):
                raise InputError(
                    f"no teacher answers at {self.endpoint.shown} ({str(error)!r}); start it, or correct --teacher"
                ) from None
            return
        except (Refused, Fatal):
            return  # Not every server lists its models; the first request shows whether it has this one.
        names = model_names(listed)
        if names and self.endpoint.model not in names:
            near = nearest(self.endpoint.model, names, cutoff=0.5)
            shown = f"did you mean {near!r:.80}?" if near else f"it has {', '.join(f'{n!r:.80}' for n in names[:5])}"
            self.unlisted = f"; its list of models has no {self.endpoint.model!r}: {shown}"
            self.asking.say(printable(f"{self.endpoint.shown}{self.unlisted}; it is asked all the same", 500))
