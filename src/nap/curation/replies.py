"""Reads what an OpenAI-compatible server sends: texts, reasoning, the reason why each ended, and errors.

Servers have many ways of saying that a text is not whole. All reasons to end are listed here: those of `COMPLETE` mean
a whole text, those of `CUT` a text that reached its limit, those of `FILTERED` no text. Any other reason, or none,
means that the server was interrupted, and the request is sent again.

All input is untrusted, and its size is bounded even after decompression. Does not ask (teacher.py).
"""

import json
import re
import time
import zlib
from collections.abc import AsyncIterable, Mapping
from dataclasses import replace
from email.utils import mktime_tz, parsedate_tz
from typing import TypeGuard

from nap.curation.journal import LENGTH, REFUSED, STOP, Reply
from nap.tasks.marks import MAX_TEXT

# Words of servers for the end of a text, in lower case: OpenAI, Together, TGI, Cohere, and Anthropic's and Google's
# models behind a proxy.
COMPLETE = ("stop", "eos", "eos_token", "end_turn", "stop_sequence", "stop_token", "complete")
CUT = ("length", "max_tokens", "model_length", "max_output_tokens", "max_length")
FILTERED = ("content_filter", "safety", "refusal", "recitation", "blocklist", "prohibited_content", "spii")
# Fields with the reasoning before a text: that of DeepSeek and vLLM, two of OpenRouter, that of Ollama.
THOUGHTS = ("reasoning_content", "reasoning", "thinking", "reasoning_details")
# The most bytes of an answer after decompression: many texts of the greatest length, each character escaped, with as
# much reasoning.
MAX_BYTES = 16 * 2**20
# The most characters of an error message of a server that are shown or kept.
MAX_ERROR = 300


class Passing(Exception):
    """An attempt failed in a way that may pass. `pause` is the pause that the server asked for."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason[:MAX_ERROR])
        self.pause = pause


class Refused(Exception):
    """The server refuses this particular request: the status and its message."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"{status}: {said}")
        self.status, self.said = status, said


async def read_body(chunks: AsyncIterable[bytes], encoding: str) -> bytes:
    """The bytes of an answer, decompressed. Raises Passing for more than MAX_BYTES, and for invalid compression."""
    packed = encoding not in ("", "identity")
    if packed and encoding not in ("gzip", "x-gzip", "deflate"):
        raise Passing(f"not a reply: compressed as {encoding!r:.40}, which was not asked for")
    reader, head, body = None, b"", bytearray()
    async for chunk in chunks:
        if packed and reader is None:
            head = chunk = head + chunk
            if len(head) < 2:
                continue
            reader = zlib.decompressobj(_window(head))
        try:
            body += reader.decompress(chunk, MAX_BYTES + 1 - len(body)) if reader else chunk
        except zlib.error as error:
            raise Passing(f"not a reply: {error}") from None
        if len(body) > MAX_BYTES:
            raise Passing(f"not a reply: more than {MAX_BYTES} bytes")
    if packed and not (reader and reader.eof):
        raise Passing("not a reply: its compressed body is cut short")
    return bytes(body)


def _window(head: bytes) -> int:
    """zlib's word for how a body is compressed, by its first two bytes: gzip, zlib, or deflate without its header."""
    zlib_header = head[0] & 15 == 8 and int.from_bytes(head[:2]) % 31 == 0
    # 32 more than the window size accepts the headers of both gzip and zlib; below 0 there is no header.
    return 32 + zlib.MAX_WBITS if zlib_header or head[:2] == b"\x1f\x8b" else -zlib.MAX_WBITS


def read_json(body: bytes) -> object:
    """The JSON in an answer. Raises Passing if there is none, which shows how the answer begins."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        begins = body[:80].decode(errors="replace")
        raise Passing(f"not a reply: {error}; it begins {begins!r}" if body else "not a reply: it is empty") from None


def read_replies(answer: object) -> list[Reply]:
    """The replies in a chat completion, with the usage in the first. Raises Passing for anything else."""
    if not isinstance(answer, dict) or not isinstance(choices := answer.get("choices"), list) or not choices:
        raise Passing(f"not a chat completion: {answer!r:.100}")
    usage = answer.get("usage")
    counts = {name: _count(usage, name) for name in ("prompt_tokens", "completion_tokens")}
    model = str(answer.get("model") or "")[:MAX_ERROR]
    first, *others = (replace(_read_choice(choice), model=model) for choice in choices)
    return [replace(first, **counts), *others]


def error_inside(answer: object) -> tuple[int, str] | None:
    """(status, message) of an error in an answer with the status of a success; None where there is none."""
    if not isinstance(answer, dict) or not (error := answer.get("error")) or answer.get("choices"):
        return None
    code = error.get("code") if isinstance(error, dict) else None
    return (code if type(code) is int and 400 <= code < 600 else 500), words(answer)


def _read_choice(choice: object) -> Reply:
    if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
        raise Passing(f"not a chat completion: {choice!r:.100}")
    message = choice["message"]
    text, thought = _texts(message)
    ended, refusal = choice.get("finish_reason"), message.get("refusal")
    ended = ended.lower() if isinstance(ended, str) else ended
    if ended in FILTERED or (refusal and not text):
        return Reply(finish=REFUSED, error=words(refusal) if refusal else str(ended))
    # A text longer than any that is searched for an answer counts as endless.
    cut = ended in CUT or len(text) > MAX_TEXT or len(thought) > MAX_TEXT
    if not cut and ended not in COMPLETE:
        about = f": {words(choice)}" if choice.get("error") else ""
        raise Passing(f"the text ended by finish_reason {ended!r:.40}, which is not its end{about}")
    error = "" if text or thought else _instead(message)
    return Reply(text=text[:MAX_TEXT], reasoning=thought[:MAX_TEXT], finish=LENGTH if cut else STOP, error=error)


def _texts(message: Mapping[str, object]) -> tuple[str, str]:
    """(text, reasoning before it) of a message, in whichever form the server separates the two."""
    content = message.get("content")
    if content is not None and not isinstance(content, str | list):
        raise Passing(f"not a chat completion: a text of {content!r:.80}")
    beside = next((found for key in THOUGHTS if (found := message.get(key))), None)
    parts: list[object] = content if isinstance(content, list) else [content]
    said = "".join(_text(part) for part in parts if not _is_thought(part))
    thought = _text(beside) or "".join(_text(part.get("thinking")) for part in parts if _is_thought(part))
    return said, thought


def _is_thought(part: object) -> TypeGuard[dict[str, object]]:
    return isinstance(part, dict) and part.get("type") in ("thinking", "reasoning")


def _text(part: object) -> str:
    """The text in a string, in a chunk that has one, or in a list of these."""
    if isinstance(part, list):
        return "".join(_text(one) for one in part if not isinstance(one, list))
    found = part.get("text") if isinstance(part, dict) else part
    if found is None or isinstance(found, str):
        return found or ""
    raise Passing(f"not a chat completion: a text of {part!r:.80}")


def _instead(message: Mapping[str, object]) -> str:
    """What an empty message has in place of a text."""
    others = [f"{name}: {value!r:.60}" for name, value in message.items() if value and name not in ("role", "content")]
    return f"no text; the server sent {'; '.join(others) or 'nothing else'}"[:MAX_ERROR]


def _count(usage: object, name: str) -> int:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if type(value) is int and 0 <= value < 2**31 else 0


def model_names(listed: object) -> list[str]:
    """The names in an answer of /models; empty if it is something else."""
    models = listed.get("data") if isinstance(listed, dict) else None
    if not isinstance(models, list):
        return []
    return [str(model["id"]) for model in models if isinstance(model, dict) and "id" in model]


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that a Retry-After header asks for, a number or until a date (RFC 9110); None for anything else."""
    said = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,12}(?:\.\d*)?s?", said, re.ASCII):
        return float(said.removesuffix("s"))
    try:
        date = parsedate_tz(said)
        left = mktime_tz(date) - time.time() if date else -1.0
    except (ValueError, OverflowError, TypeError):
        return None
    return left if left >= 0 else None


def words(found: object) -> str:
    """The server's message about an error, shortened; `found` is its answer as bytes, or parsed."""
    if isinstance(found, bytes):
        try:
            found = json.loads(found)
        except (ValueError, RecursionError):
            found = found[: 4 * MAX_ERROR].decode(errors="replace")
    known = [found[key] for key in ("error", "detail", "message") if found.get(key)] if isinstance(found, dict) else []
    said = known[0] if known else found
    return str(said.get("message", said) if isinstance(said, dict) else said)[:MAX_ERROR]
