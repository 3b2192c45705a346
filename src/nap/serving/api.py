"""OpenAI's API over HTTP, for one model: /v1/chat/completions, /v1/completions, /v1/models and /health.

    serve(Service(denoiser, defaults, Scheduler(denoiser)), host="127.0.0.1", port=8000, ready=print)

A stream sends the text that has settled (answer.py). aiohttp serves, because it is what asks teachers already
(common/server.py). Does not read requests (requests.py), builds no objects (objects.py), and decodes nothing
(scheduler.py).
"""

import asyncio
import hmac
import json
import logging
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any

from nap.canvas.canvas import Canvas
from nap.common.files import InputError
from nap.common.text import printable
from nap.data.problems import Problem
from nap.decoding.prompt import canvas_of, readable
from nap.decoding.prompting import Prompting
from nap.decoding.template import as_turns
from nap.models.denoiser import Denoiser
from nap.serving.answer import Written
from nap.serving.objects import Json, Reply
from nap.serving.requests import Defaults, Turns, Wanted, read_request
from nap.serving.scheduler import Busy, Job, Scheduler

try:
    from aiohttp import web
except ModuleNotFoundError as error:
    raise InputError("serving needs aiohttp; install it with: pip install 'nap-dlm[serve]'") from error

# Bytes of a request's body; seconds that running answers have once the server is told to stop, and then what is sent.
MOST_BYTES, GRACE, LAST = 2**21, 5.0, 1.0
# How this server may be called where it is only for this machine: a page of the web may call it by a name of its own.
LOCAL = ("localhost", "127.0.0.1", "[::1]")
Part = str | Written | Exception
Heard = asyncio.Queue[tuple[int, Part]]


class Denied(Exception):
    """A request that is refused with this status."""

    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass(frozen=True, kw_only=True)
class Service:
    """A model that is served under a name.

    key    what a request must bring as its bearer token; None: nothing
    local  whether only names of this machine are answered to
    """

    denoiser: Denoiser
    scheduler: Scheduler
    defaults: Defaults
    name: str
    key: str | None = None
    local: bool = True

    def app(self) -> web.Application:
        """Its routes."""
        app = web.Application(client_max_size=MOST_BYTES, middlewares=[self._guarded])
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get(r"/v1/models/{name:.+}", self._model)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/completions", self._complete)
        return app

    # Routes

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "model": self.name} | self.scheduler.counts)

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [self._said()]})

    async def _model(self, request: web.Request) -> web.Response:
        self._check_name(request.match_info["name"])
        return web.json_response(self._said())

    def _said(self) -> Json:
        return {"id": self.name, "object": "model", "created": 0, "owned_by": "nap"}

    def _check_name(self, name: str | None) -> None:
        if name not in (None, self.name):
            raise Denied(404, f"no model {name!r:.80} here; this server has {self.name!r}", "model_not_found")

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._answered(request, chat=True)

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        return await self._answered(request, chat=False)

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Every failure as OpenAI's error object; what is not meant for this server is refused before it is read."""
        try:
            self._check(request)
            return await handler(request)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:
            status, said, headers = _error(request, error)
            answer = web.json_response(said, status=status, headers=headers)
            # The body may not have been read to its end.
            answer.force_close()
            return answer

    def _check(self, request: web.Request) -> None:
        host = request.host.rpartition(":")[0] if request.host.rpartition(":")[2].isdigit() else request.host
        if self.local and not self.key and host.lower().removesuffix(".") not in LOCAL:
            raise Denied(
                403, f"without a key this server answers to {', '.join(LOCAL)}; give it one (--key-env)", "host"
            )
        scheme, _, said = request.headers.get("Authorization", "").partition(" ")
        fits = scheme.lower() == "bearer" and hmac.compare_digest(
            said.strip().encode("utf-8", "replace"), (self.key or "").encode()
        )
        if self.key and request.path != "/health" and not fits:
            raise Denied(401, "the key is missing or wrong; send it as Authorization: Bearer KEY", "invalid_api_key")
        # What a page of the web can send without asking is never JSON.
        if request.method == "POST" and request.content_type != "application/json":
            raise Denied(415, "the body must be JSON, and say so: Content-Type: application/json", "content_type")

    # One request

    async def _answered(self, request: web.Request, *, chat: bool) -> web.StreamResponse:
        try:
            body = json.loads(await request.text())
        except (ValueError, RecursionError, LookupError, web.RequestPayloadError) as error:
            raise InputError(f"the body is not JSON: {error}") from None
        wanted = read_request(body, self.defaults, chat=chat)
        self._check_name(wanted.model)
        heard = Heard()
        jobs = [*self._jobs(wanted, heard)]
        self.scheduler.submit(jobs)
        try:
            parts, reply = _parts(heard, len(jobs)), Reply(self.name, wanted, chat=chat)
            if wanted.stream:
                return await _streamed(request, reply, parts)
            found = {number: part async for number, part in parts if isinstance(part, Written)}
            return web.json_response(reply.whole([found[number] for number in sorted(found)]))
        finally:
            self.scheduler.cancel(jobs)

    def _jobs(self, wanted: Wanted, heard: Heard) -> Iterator[Job]:
        """A job for each answer. What is told of it goes to the loop, with the answer's number."""
        loop = asyncio.get_running_loop()
        prompts = [prompt for prompt in wanted.prompts for _ in range(wanted.n)]
        for number, prompt in enumerate(prompts):

            def tell(part: Part, number: int = number) -> None:
                with suppress(RuntimeError):  # The loop is closed: nobody waits.
                    loop.call_soon_threadsafe(heard.put_nowait, (number, part))

            def lay(prompt: Turns | str = prompt, number: int = number) -> Canvas:
                # Draws are seeded by the name, so that equal requests get equal answers, and `n` answers differ.
                problem = Problem(id=f"answer {number}", prompt=self._text(prompt), answer="")
                return canvas_of(self.denoiser, problem, wanted.spec, Prompting(raw=True), shrinks=not wanted.sized)

            yield Job(
                lay=lay, policy=wanted.policy, told=wanted.told, tell=tell, stops=wanted.stops, stream=wanted.stream,
                trace=wanted.trace,
            )  # fmt: skip

    def _text(self, prompt: Turns | str) -> str:
        """The prompt as the model reads it: turns in its chat template, or the only turn as it is."""
        if isinstance(prompt, str):
            return prompt
        tokenizer = readable(self.denoiser)
        if getattr(tokenizer, "chat_template", None):
            keywords = self.denoiser.setting.get("chat_template_kwargs") or {}
            return as_turns(prompt, tokenizer, keywords, "give the whole prompt to /v1/completions")
        *earlier, (_, text) = prompt
        if earlier:
            raise InputError(f"{self.name} has no chat template: send one message of the user, or use /v1/completions")
        return text


async def _parts(heard: Heard, answers: int) -> AsyncIterator[tuple[int, str | Written]]:
    """(number, text so far) as they come, and (number, what was written) of each answer. Raises the error of any."""
    while answers:
        number, part = await heard.get()
        if isinstance(part, Exception):
            raise part
        answers -= isinstance(part, Written)
        yield number, part


async def _streamed(
    request: web.Request, reply: Reply, parts: AsyncIterator[tuple[int, str | Written]]
) -> web.StreamResponse:
    """The reply as server-sent events. What goes wrong before the first of them is a status, later an event."""
    part, written = await anext(parts, None), dict[int, Written]()
    stream = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await stream.prepare(request)
    try:
        while part:
            for event in reply.pieces(*part):
                await _send(stream, event)
            written |= {part[0]: part[1]} if isinstance(part[1], Written) else {}
            part = await anext(parts, None)
        if reply.wanted.usage:
            await _send(stream, reply.counted([written[number] for number in sorted(written)]))
    except (ConnectionError, asyncio.CancelledError):
        raise
    except Exception as error:
        await _send(stream, _error(request, error)[1])
    await stream.write(b"data: [DONE]\n\n")
    return stream


async def _send(stream: web.StreamResponse, event: Mapping[str, object]) -> None:
    await stream.write(f"data: {json.dumps(event)}\n\n".encode())


def _error(request: web.Request, error: Exception) -> tuple[int, Json, dict[str, str]]:
    """(status, OpenAI's error object, headers) of an error. What nobody foresaw is logged and not shown."""
    status, message, code, headers = 500, "the server failed; its log says why", "server_error", dict[str, str]()
    if isinstance(error, InputError):
        status, message, code = 400, str(error), "invalid_request"
    elif isinstance(error, Denied):
        status, message, code = error.status, str(error), error.code
    elif isinstance(error, Busy):
        status, message, code, headers = 429, f"{error}; ask again later", "busy", {"Retry-After": "1"}
    elif isinstance(error, web.HTTPException):
        status, message, code = error.status, f"{request.method} {printable(request.path)}: {error.reason}", "http"
    else:
        logging.getLogger(__name__).error("%s: %r", printable(request.path), error)
    kind = "invalid_request_error" if status < 500 else "server_error"
    return status, {"error": {"message": message, "type": kind, "param": None, "code": code}}, headers


def serve(service: Service, *, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; `ready` is told the address. Raises InputError for one that cannot be had.

    The model is asked in this thread, HTTP is spoken in another. A second signal ends it without the GRACE.
    """
    # Whoever sends what is no HTTP gets its 400, and no say in the log.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="nap-serve-http", daemon=True)
    thread.start()
    runner = asyncio.run_coroutine_threadsafe(_runner(service), loop).result()
    try:
        ready(asyncio.run_coroutine_threadsafe(_listening(runner, host, port), loop).result())
        with _until_signalled(service.scheduler):
            service.scheduler.run()
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _runner(service: Service) -> web.AppRunner:
    runner = web.AppRunner(service.app(), access_log=None, handler_cancellation=True, shutdown_timeout=LAST)
    await runner.setup()
    return runner


async def _listening(runner: web.AppRunner, host: str, port: int) -> str:
    """The address."""
    shown = f"[{host}]" if ":" in host else host
    try:
        await web.TCPSite(runner, host, port).start()
    except (OSError, OverflowError, ValueError) as error:
        raise InputError(f"cannot listen at {shown}:{port}: {error}; choose another --host or --port") from None
    return f"http://{shown}:{runner.addresses[0][1]}/v1"


@contextmanager
def _until_signalled(scheduler: Scheduler) -> Iterator[None]:
    """SIGINT and SIGTERM close it: the first lets it finish what is being written for GRACE, a second does not."""
    graces = chain([GRACE], repeat(0.0))
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: scheduler.close(next(graces))) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
