"""Hostile teachers: whatever a server sends, `nap curate` ends in one line or with what is whole, and then goes on.

Does not test how a teacher is asked (tests/curation).
"""

import gzip
import json
import os
import random
import signal
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import trial
from kills import Place  # pyright: ignore[reportPrivateUsage]
from mutate import ESCAPES
from trial import Fault

from stub_teacher import Raw, stub

BOMB = b'{"choices": [{"message": {"content": "' + b" " * (400 << 20) + b'"}}]}'
WORDS = ["apple", "bread", "cider", "dates", "eggs", "flour", "grape", "honey"]
TEXT = "Well then it is \\boxed{5}"


def _said(message: Any, **more: Any) -> Raw:
    choice = {"index": 0, "finish_reason": "stop", "message": message} | more
    return Raw(200, json.dumps({"model": "m", "choices": [choice]}).encode())


def _packed(body: bytes, how: str) -> Raw:
    packed = gzip.compress(body, 1) if how == "gzip" else zlib.compress(body, 1)
    return Raw(200, packed, (f"Content-Encoding: {how}",))


REPLIES: dict[str, Callable[[], Raw]] = {
    "nothing": lambda: Raw(200, b""),
    "no JSON": lambda: Raw(200, b"<html>\x1b[2J</html>"),
    "deep JSON": lambda: Raw(200, b"[" * 200_000),
    "a number of 5,000 digits": lambda: Raw(200, b'{"choices": ' + b"9" * 5000 + b"}"),
    "a list": lambda: Raw(200, b"[]"),
    "no choices": lambda: Raw(200, b'{"choices": []}'),
    "choices that are none": lambda: Raw(200, b'{"choices": [1, null, "x"]}'),
    "no message": lambda: Raw(200, b'{"choices": [{}]}'),
    "a text that is a number": lambda: _said({"content": 5}),
    "texts in lists in lists": lambda: _said({"content": [[[["x"]]]]}),
    "half a character": lambda: _said({"content": "\ud800 \\boxed{5}"}),
    "zero bytes": lambda: _said({"content": "a\0b \\boxed{5}"}),
    "control characters": lambda: _said({"content": ESCAPES + TEXT}),
    "tags": lambda: _said({"content": "<think 1></think></summary><summary>" + TEXT}),
    "a megabyte": lambda: _said({"content": "word " * 200_000 + TEXT}),
    "the start of a tag and spaces": lambda: _said({"content": "<" + " " * 40_000 + TEXT}),
    "an unknown end": lambda: _said({"content": TEXT}, finish_reason=["x"]),
    "tokens that are none": lambda: Raw(
        200, json.dumps({"choices": [{"message": {"content": TEXT}}], "usage": {"prompt_tokens": "x"}}).encode()
    ),
    "400": lambda: Raw(400, json.dumps({"error": {"message": ESCAPES * 1000}}).encode()),
    "401": lambda: Raw(401, b"{}"),
    # A longer pause is obeyed, for five minutes at most (teacher.LONGEST_PAUSE): more than a trial has.
    "429 for a second": lambda: Raw(429, b"{}", ("Retry-After: 1",)),
    "429 for no time at all": lambda: Raw(429, b"{}", (f"Retry-After: {ESCAPES[:3]!a} -1e999 nan",)),
    "500": lambda: Raw(500, ESCAPES.encode() * 1000),
    "cut": lambda: Raw(200, b'{"choices": [{"message"', cut=True),
    "another host": lambda: Raw(302, b"", ("Location: http://198.51.100.7/v1/chat/completions",)),
    "a redirect to itself": lambda: Raw(302, b"", ("Location: /v1/chat/completions",)),
    "a length of a terabyte": lambda: Raw(200, b"{}", ("Content-Length: 1000000000000",), sized=False),
    "a header without end": lambda: Raw(200, b"{}", ("X: " + "x" * 100_000,)),
    "gzip that is none": lambda: Raw(200, b"{}", ("Content-Encoding: gzip",)),
    "a gzip bomb": lambda: _packed(BOMB, "gzip"),
    "a deflate bomb": lambda: _packed(BOMB, "deflate"),
}

COMMAND = (
    "curate --task jsonl --data problems.jsonl --model m --paths 2 --out out --timeout 3 --retries 1 --concurrency 4 "
    "--teacher"
)


def replied(whole: Path, seed: int, share: float) -> Iterator[tuple[str, Fault | None]]:
    """Each hostile reply, in place of all replies and of one in three; then an honest server, and the same command."""
    rng = random.Random(f"{seed} replies")
    for name, make in REPLIES.items():
        for every in (1, 3):
            if rng.random() >= share:
                continue
            with Place(whole) as folder:
                raw = make()
                with served(lambda body, n, raw=raw, every=every: raw if n % every == 0 else honest(body)) as url:
                    found = trial.run([*COMMAND.split(), url], folder=folder, seconds=60)
                fault = trial.fault_of(f"{name}, one reply of {every}", found)
                yield "a hostile reply", fault
                with served(lambda body, n: honest(body)) as url:
                    after = trial.run([*COMMAND.split(), url, "--ask-refused"], folder=folder, seconds=60)
                # What a reply said is kept, and may leave no problem with two paths that can be used.
                settled = not after.code or "no sample was made" in after.err
                more = [] if settled else [f"an honest teacher ends with {after.code}"]
                yield "an honest one after it", trial.fault_of(f"after {name}, one reply of {every}", after, more)


def honest(body: dict[str, Any]) -> str:
    """A right answer, in other words for each reply."""
    number = body.get("seed") or 0
    words = " ".join(
        random.Random(number).sample(["apple", "bread", "cider", "dates", "eggs", "flour", "grape", "honey"], 6)
    )
    return f"We take {words} and {number} more, so it is \\boxed{{5}}"


class served:
    """A server in a process of its own; its address."""

    def __init__(self, answer: Callable[[dict[str, Any], int], Any]) -> None:
        self.answer = answer

    def __enter__(self) -> str:
        reading, writing = os.pipe()
        self.child = os.fork()
        if self.child == 0:
            try:
                with stub(answer=self.answer) as server:
                    os.write(writing, server.url.encode() + b"\n")
                    signal.pause()
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as file:
            return file.readline().strip()

    def __exit__(self, *error: object) -> None:
        os.kill(self.child, signal.SIGKILL)
        os.waitpid(self.child, 0)
