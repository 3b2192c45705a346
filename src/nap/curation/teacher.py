"""Teachers: OpenAI-compatible endpoints that are asked until every request has its reply in the journal.

    ask([(endpoint, requests)], journal, Asking(concurrency=64))

One event loop and `concurrency` requests in flight for each endpoint; whatever is in the journal is not asked. What may
pass (a full server, 429 with its Retry-After, a timeout, garbage) is tried again; what will not pass (a prompt that the
server refuses) is a reply of its own, REFUSED; what failed at every attempt is FAILED and asked again by a later run.
A server that fails for everybody stops the run, which the same command resumes.

Of the openai SDK nothing is used here but the shape of its API: with retries, replies and errors our own it is a way to
send JSON that takes four times the processor time of aiohttp (docs/curation.md).

Replies are untrusted: bounded here, and never shown without escaping. Does not know problems or answers; `curate` does.
"""

import asyncio
import json
import os
import random
import ssl
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import chain
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from nap import __version__
from nap.common.files import InputError
from nap.curation.journal import FAILED, LENGTH, REFUSED, STOP, Journal, Reply, Request
from nap.tasks.answers import MAX_TEXT

# Requests that may fail at all their attempts, with no success in between, before the teacher counts as down.
DOWN_AFTER = 8
# Share of a call's usual time over which the calls of all workers are spread. Calls that are sent together are answered
# together and sent together again; the last of 64 replies then always waits until the other 63 have been taken in.
# More than a moment from call to call gains nothing, as taking in a reply needs a quarter of a millisecond; a server
# that makes batches of what comes together should see it come.
SPREAD, MOMENT = 0.8, 0.002
# The loop's timers are late by up to this many seconds, which each call would lose.
TICK = 0.001
# A server may ask for any pause; more than this is no pause.
LONGEST_PAUSE = 300.0
# Statuses that may pass: timeout, conflict, too early, too many requests. Those from 500 on as well.
PASSING = (408, 409, 425, 429)
# Statuses that say that no request will ever be answered: key, permission, no such model or address.
FATAL = (401, 403, 404)
# What is shown or kept of what a server says about an error.
MAX_ERROR = 200


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A model behind an address such as http://127.0.0.1:8080/v1. `key_env` names the variable with the API key."""

    url: str
    model: str
    key_env: str = "OPENAI_API_KEY"


@dataclass(frozen=True, kw_only=True)
class Asking:
    """How to ask; nothing here changes a reply.

    concurrency  requests in flight for each endpoint
    per_minute   at most so many requests to each endpoint; 0 for no limit
    timeout      seconds that one attempt may take
    retries      further attempts after one that failed
    backoff      seconds before the first of them; doubles each time
    together     ask for all samples of a prompt at once (`n`), where the server can
    """

    concurrency: int = 16
    per_minute: int = 0
    timeout: float = 600.0
    retries: int = 5
    backoff: float = 0.5
    together: bool = False

    def __post_init__(self) -> None:
        for name, least in (("concurrency", 1), ("per_minute", 0), ("retries", 0), ("backoff", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not self.timeout > 0:
            raise InputError(f"timeout must be more than 0 seconds, got {self.timeout}")


# The samples wanted of one prompt.
Group = Sequence[Request]


def ask(
    work: Sequence[tuple[Endpoint, Iterable[Group]]],
    journal: Journal,
    asking: Asking,
    report: Callable[[int], None] = lambda asked: None,
) -> None:
    """Ask each endpoint for its groups of requests, as far as the journal has no reply yet.

    report  called with the number of requests that were just settled

    Raises InputError where an endpoint is absent, down, refuses the key or does not have the model.
    """
    asyncio.run(_ask(work, journal, asking, report))


async def _ask(
    work: Sequence[tuple[Endpoint, Iterable[Group]]], journal: Journal, asking: Asking, report: Callable[[int], None]
) -> None:
    clients = [_Client(endpoint, journal, asking, report) for endpoint, _ in work]
    try:
        await asyncio.gather(*(client.work(groups) for client, (_, groups) in zip(clients, work, strict=True)))
    finally:
        for client in clients:
            await client.close()


class _Passing(Exception):
    """An attempt failed in a way that may pass. `pause` is what the server asked for."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason[:MAX_ERROR])
        self.pause = pause


class _Refused(Exception):
    """The server will never answer this request."""


class _Client:
    """One endpoint during one run."""

    def __init__(self, endpoint: Endpoint, journal: Journal, asking: Asking, report: Callable[[int], None]) -> None:
        try:
            import aiohttp
        except ImportError:
            raise InputError("asking a teacher needs aiohttp; install it with: pip install 'nap-dlm[curate]'") from None
        self._http, self._proxy = aiohttp, _proxy(endpoint.url)
        # A real cookie jar, or looking for a proxy at each request, takes as long again as the request itself.
        self._session = aiohttp.ClientSession(
            # Of its own, as aiohttp's knows the certificates (SSL_CERT_FILE) of the moment when it was imported.
            connector=aiohttp.TCPConnector(limit=0, ssl=ssl.create_default_context()),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=asking.timeout),
            headers={
                # A local server wants no key, and does not mind one.
                "Authorization": f"Bearer {os.environ.get(endpoint.key_env, '').strip() or 'none'}",
                "Accept": "application/json",
                "Content-Type": "application/json",
                "User-Agent": f"nap/{__version__}",
            },
        )
        self._base = endpoint.url.rstrip("/")
        self.endpoint, self.journal, self.asking, self.report = endpoint, journal, asking, report
        self.failures, self.together = 0, asking.together
        # When the next call may be made, and the seconds that one takes, a mean over the last hundred or so.
        self.resume_at = self.next_at = self.usual = 0.0

    async def close(self) -> None:
        await self._session.close()

    async def work(self, groups: Iterable[Group]) -> None:
        """Settle the groups with as many workers as there may be requests in flight."""
        waiting = self._unsettled(groups)
        first = next(waiting, None)
        if first is None:
            return
        await self._check_model()
        jobs = chain([first], waiting)
        workers = [asyncio.create_task(self._worker(jobs)) for _ in range(self.asking.concurrency)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()

    def _unsettled(self, groups: Iterable[Group]) -> Iterator[Group]:
        """What to ask in one go: the samples of a group that have no reply, all together or one by one."""
        for group in groups:
            left = [request for request in group if not self.journal.settled(request)]
            if len(left) < len(group):
                self.report(len(group) - len(left))
            if left and self.together:
                yield left
            else:
                yield from ([request] for request in left)

    async def _worker(self, jobs: Iterator[Group]) -> None:
        for job in jobs:
            replies = await self._replies(job)
            for request, reply in zip(job, replies, strict=True):
                self.journal.add(request, reply)
            self.report(len(job))

    async def _replies(self, job: Group) -> list[Reply]:
        """A reply for each request: as many as one call gives, the others one by one."""
        found = await self._reply(job[0], len(job)) if len(job) > 1 else []
        found = [reply for reply in found if reply.finish not in (FAILED, REFUSED)][: len(job)]
        if len(found) < len(job) > 1:
            # A server may ignore `n`, refuse it, or allow no more than it has slots: that will not change.
            self.together = False
        return found + [(await self._reply(request, 1))[0] for request in job[len(found) :]]

    async def _reply(self, request: Request, count: int) -> list[Reply]:
        """The replies of one call, 1 to `count`; after the last attempt that fails, one that says so."""
        error = ""
        for attempt in range(self.asking.retries + 1):
            await self._turn()
            try:
                found = await self._attempt(request, count)
            except _Passing as failure:
                error = str(failure)
                if attempt < self.asking.retries:
                    await self._back_off(failure.pause, attempt)
            except _Refused as refusal:
                found = [Reply(finish=REFUSED, error=str(refusal))]
                break
            else:
                break
        else:
            self._count_failure(error)
            return [Reply(finish=FAILED, error=error)]
        self.failures = 0
        return found

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
        """The pause that a server asks for is everybody's (see `_turn`); a backoff is this request's own."""
        if pause is None:
            await asyncio.sleep(self.asking.backoff * 2**attempt * random.uniform(0.5, 1))
        else:
            self.resume_at = max(self.resume_at, asyncio.get_running_loop().time() + min(pause, LONGEST_PAUSE))

    def _count_failure(self, error: str) -> None:
        self.failures += 1
        if self.failures >= DOWN_AFTER:
            raise InputError(
                f"the teacher at {self.endpoint.url} failed {self.failures} requests in a row, each at "
                f"{self.asking.retries + 1} attempts (the last: {error!r}); the same command goes on from here"
            )

    async def _attempt(self, request: Request, count: int) -> list[Reply]:
        """One call. Raises _Passing, _Refused, or InputError for what no request will survive."""
        body: dict[str, Any] = {
            "model": request.model,
            "messages": [{"role": "user", "content": request.prompt}],
            "temperature": request.temperature,
            "top_p": request.top_p,
            "max_tokens": request.max_tokens,
            "seed": request.seed + request.index,
        }
        body |= {"n": count} if count > 1 else {}
        clock = asyncio.get_running_loop().time
        started = clock()
        answer = await self._call("POST", "/chat/completions", json.dumps(body).encode())
        self.usual += (clock() - started - self.usual) / 100
        return read_replies(answer)

    async def _call(self, method: str, path: str, body: bytes | None = None) -> Any:
        """The JSON that the server answers with."""
        url = self._base + path
        try:
            async with self._session.request(method, url, data=body, proxy=self._proxy) as response:
                said, status, headers = await response.read(), response.status, response.headers
        except TimeoutError:
            raise _Passing(f"no reply within {self.asking.timeout:g} s") from None
        except self._http.ClientConnectionError as error:
            raise _Passing(f"no connection: {error}") from None
        except (self._http.ClientError, ValueError) as error:
            raise _Passing(f"not a reply: {error}") from None
        if status >= 400:
            raise self._status_error(status, _said(said), headers)
        try:
            return json.loads(said)
        except (ValueError, RecursionError) as error:
            raise _Passing(f"not a reply: {error}") from None

    def _status_error(self, status: int, said: str, headers: Any) -> Exception:
        if status in FATAL:
            why = {401: "refuses the key", 403: "forbids this", 404: f"has no model {self.endpoint.model!r} or address"}
            hint = "" if status == 404 else f"; set {self.endpoint.key_env}"
            return InputError(f"the teacher at {self.endpoint.url} {why[status]} ({status}: {said!r}){hint}")
        if status in PASSING or status >= 500:
            return _Passing(f"{status}: {said}", _retry_after(headers))
        return _Refused(f"{status}: {said}")

    async def _check_model(self) -> None:
        """Raise InputError where there is no server, or it lists its models and this is none of them."""
        try:
            listed = await self._call("GET", "/models")
        except _Passing as error:
            if "no connection" in str(error):
                raise InputError(
                    f"no teacher answers at {self.endpoint.url} ({str(error)!r}); start it, or mend --teacher"
                ) from None
            return
        except (_Refused, InputError):
            return  # Not every server lists its models; the first request will tell.
        names = model_names(listed)
        if names and self.endpoint.model not in names:
            near = get_close_matches(self.endpoint.model, names, 1)
            shown = f"did you mean {near[0]!r:.80}" if near else f"it has: {', '.join(f'{n!r:.80}' for n in names[:5])}"
            raise InputError(f"the teacher at {self.endpoint.url} has no model {self.endpoint.model!r}; {shown}")


def read_replies(answer: Any) -> list[Reply]:
    """The replies in a chat completion, the usage with the first. Raises _Passing for anything that is none."""
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list) or not choices:
        raise _Passing(f"not a chat completion: {answer!r:.100}")
    usage = answer.get("usage")
    counts = {name: _count(usage, name) for name in ("prompt_tokens", "completion_tokens")}
    model = str(answer.get("model") or "")[:MAX_ERROR]
    first, *others = (replace(_read_choice(choice), model=model) for choice in choices)
    return [replace(first, **counts), *others]


def _read_choice(choice: Any) -> Reply:
    message = choice.get("message") if isinstance(choice, dict) else None
    text = message.get("content") if isinstance(message, dict) else choice
    if text is not None and not isinstance(text, str):
        raise _Passing(f"not a chat completion: {choice!r:.100}")
    if choice.get("finish_reason") == "content_filter":
        return Reply(finish=REFUSED, error="content_filter")
    text = text or ""
    # What is longer than any text that is read for answers is as good as endless.
    cut = choice.get("finish_reason") == "length" or len(text) > MAX_TEXT
    return Reply(text=text[:MAX_TEXT], finish=LENGTH if cut else STOP)


def _count(usage: Any, name: str) -> int:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and 0 <= value < 2**31 else 0


def model_names(listed: Any) -> list[str]:
    """The names in what /models answers; none where it is something else."""
    models = listed.get("data") if isinstance(listed, dict) else None
    if not isinstance(models, list):
        return []
    return [str(model["id"]) for model in models if isinstance(model, dict) and "id" in model]


def _retry_after(headers: Any) -> float | None:
    """The seconds of a Retry-After header; a date counts as none."""
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None


def _said(body: bytes) -> str:
    """What a server says about an error, as far as it is kept."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = body[: 4 * MAX_ERROR].decode(errors="replace")
    said = found.get("error", found) if isinstance(found, dict) else found
    return str(said.get("message", said) if isinstance(said, dict) else said)[:MAX_ERROR]


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for the address of a teacher. Raises InputError for what is no address."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise ValueError("no http and host")
    except ValueError as error:
        raise InputError(f"{url!r} is no address of a teacher ({error!s:.80}); give http://HOST:PORT/v1") from None
    return None if proxy_bypass(parts.hostname) else getproxies().get(parts.scheme)
