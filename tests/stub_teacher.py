"""An OpenAI-compatible server that says what it is told to, for tests and benchmarks: one thread, raw HTTP, no model.

with stub(answer=lambda body, number: "\\boxed{42}") as server:
    Endpoint(url=server.url, model="stub")

python tests/stub_teacher.py 8099 0.05      # in a process of its own: port, seconds a reply takes
"""

import asyncio
import json
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Raw:
    """An answer that is not a completion: a status, headers and bytes; `cut` sends half of them and hangs up.

    `sized=False` leaves the length to the headers.
    """

    status: int = 200
    body: bytes = b""
    headers: tuple[str, ...] = ()
    cut: bool = False
    sized: bool = True


@dataclass(frozen=True)
class Said:
    """A completion's text, why it ended, and another usage than the usual one."""

    text: str | None
    finish: str = "stop"
    usage: object = None


Answer = str | Said | Raw


@dataclass
class Server:
    """What was asked so far, each request's body and path, over so many connections; `most` were in flight at once."""

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    connections: int = 0
    most: int = 0
    now: int = 0


def completion(body: dict[str, Any], answers: list[Answer]) -> bytes:
    said = [answer if isinstance(answer, Said) else Said(str(answer)) for answer in answers]
    choices = [
        {"index": i, "finish_reason": s.finish, "message": {"role": "assistant", "content": s.text}}
        for i, s in enumerate(said)
    ]
    usage = said[0].usage or {"prompt_tokens": 7, "completion_tokens": 11 * len(said)}
    return json.dumps(
        {"object": "chat.completion", "model": body["model"], "choices": choices, "usage": usage}
    ).encode()


class _Stub:
    def __init__(
        self, answer: Callable[[dict[str, Any], int], Answer], latency: float, models: list[str] | None, many: bool
    ) -> None:
        self.answer, self.latency, self.models, self.many, self.server = answer, latency, models, many, Server()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")
                length = next((int(line[15:]) for line in lines if line.lower().startswith("content-length:")), 0)
                path, body = lines[0].split()[1], await reader.readexactly(length)
                raw = await self.reply(path, json.loads(body) if body else {})
                size = [f"Content-Length: {len(raw.body)}"] if raw.sized else []
                head = [f"HTTP/1.1 {raw.status} X", "Content-Type: application/json", *size, *raw.headers, "", ""]
                data = "\r\n".join(head).encode() + raw.body
                writer.write(data[: -len(raw.body) // 2] if raw.cut else data)
                if raw.cut:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def reply(self, path: str, body: dict[str, Any]) -> Raw:
        self.server.paths.append(path)
        if path.partition("?")[0].endswith("/models"):
            if self.models is None:
                return Raw(404, b"{}")
            return Raw(200, json.dumps({"data": [{"id": name} for name in self.models]}).encode())
        self.server.asked.append(body)
        self.server.now += 1
        self.server.most = max(self.server.most, self.server.now)
        number = len(self.server.asked)
        await asyncio.sleep(self.latency)
        self.server.now -= 1
        answers = [self.answer(body, number) for _ in range(body.get("n", 1) if self.many else 1)]
        raw = next((answer for answer in answers if isinstance(answer, Raw)), None)
        return raw or Raw(200, completion(body, answers))


@contextmanager
def stub(
    answer: Callable[[dict[str, Any], int], Answer] = lambda body, number: f"It is \\boxed{{{body['seed']}}}",
    *,
    latency: float = 0.0,
    models: list[str] | None = None,
    many: bool = True,
    port: int = 0,
    tls: ssl.SSLContext | None = None,
) -> Iterator[Server]:
    """A server in a thread: `answer(body, number)` says what request `number` (from 1) gets.

    models  what /models lists; None answers 404
    many    whether `n` is obeyed
    """
    it, loop, ready = _Stub(answer, latency, models, many), asyncio.new_event_loop(), threading.Event()

    async def main() -> None:
        server = await asyncio.start_server(it.serve, "127.0.0.1", port, ssl=tls)
        it.server.url = f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        ready.set()
        try:
            await asyncio.Event().wait()
        finally:
            server.close()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner, suppress(asyncio.CancelledError):
            runner.run(main())

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait()
    try:
        yield it.server
    finally:
        loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
        thread.join()


if __name__ == "__main__":
    with stub(latency=float(sys.argv[2]), port=int(sys.argv[1])) as running:
        print(running.url, flush=True)
        threading.Event().wait()
