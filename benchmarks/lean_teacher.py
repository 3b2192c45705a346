"""A stub teacher that costs next to nothing, and says how long its own replies took: for benchmarks/curation.py.

    python benchmarks/lean_teacher.py 8192 0.05      # port, seconds a reply takes; prints its address

It only looks for the end of a request, and gives every POST the same reply. GET /spent answers {"replies", "seconds":
from the last byte of each request to its reply, "cpu_seconds"} since the last such question. tests/stub_teacher.py is a
stub whose behaviour can be set.
"""

import asyncio
import json
import sys
import time

MESSAGE = {"role": "assistant", "content": "It is \\boxed{0}"}
REPLY = {
    "object": "chat.completion", "model": "m", "choices": [{"index": 0, "finish_reason": "stop", "message": MESSAGE}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 11},
}  # fmt: skip


def response(status: int, answer: object) -> bytes:
    body = json.dumps(answer).encode()
    return b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        status,
        len(body),
        body,
    )


class Teacher(asyncio.Protocol):
    """One connection."""

    latency, reply = 0.0, response(200, REPLY)
    replies, seconds, cpu = 0, 0.0, 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Nothing has come yet."""
        assert isinstance(transport, asyncio.Transport)
        self.transport, self.waiting, self.loop = transport, b"", asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        """A request, or a part of one."""
        self.waiting += data
        head, _, rest = self.waiting.partition(b"\r\n\r\n")
        size = int((head.lower() + b"\r\n").partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
        if len(rest) < size or len(head) == len(self.waiting):
            return
        self.waiting = b""
        if head.startswith(b"POST"):
            self.loop.call_later(self.latency, self.say, self.loop.time())
        else:
            self.transport.write(response(200, spent()) if b" /spent " in head else response(404, {}))

    def say(self, asked_at: float) -> None:
        """Give the reply to what was asked then."""
        self.transport.write(self.reply)
        Teacher.replies += 1
        Teacher.seconds += self.loop.time() - asked_at


def spent() -> dict[str, float]:
    cpu = time.process_time()
    found = {"replies": Teacher.replies, "seconds": Teacher.seconds, "cpu_seconds": cpu - Teacher.cpu}
    Teacher.replies, Teacher.seconds, Teacher.cpu = 0, 0.0, cpu
    return found


async def main() -> None:
    Teacher.latency = float(sys.argv[2])
    server = await asyncio.get_running_loop().create_server(Teacher, "127.0.0.1", int(sys.argv[1]), backlog=512)
    print(f"http://127.0.0.1:{sys.argv[1]}/v1", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
