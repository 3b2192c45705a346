"""A server that is asked for JSON over HTTP, and the meaning of each failure.

Passing is a failure that may pass, Refused concerns this request only, and Fatal would happen to every request.
Redirects to another host are not followed, because they would take the key along. All that a server says is
untrusted, and its size is bounded even after decompression. Does not know what is asked.
"""

import json
import os
import re
import ssl
import time
import zlib
from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from nap import __version__
from nap.common.files import InputError

# Statuses that may pass: timeout, conflict, too early, too many requests; also all from 500 on.
PASSING = (408, 409, 425, 429)
# Statuses that every request would get, because of the key, the credit, the address or the model. 404 counts only until
# the first reply: a server that has answered before has the model, and its 404 may pass.
FATAL = {401: "refuses the key", 402: "wants to be paid", 404: "has no such address or model"}
# Redirects that keep a request unchanged, and how many are followed; only to the same host, as others would get the
# key.
REDIRECTS, MOST_REDIRECTS = (307, 308), 3
# The most bytes of an answer after decompression: many texts of the greatest length, each character escaped, with as
# much reasoning.
MAX_BYTES = 16 * 2**20
# The most characters of an error message of a server that are shown or kept.
MAX_ERROR = 300


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A model behind an address such as http://127.0.0.1:8080/v1. `key_env` names the variable with the API key."""

    url: str
    model: str
    key_env: str = "OPENAI_API_KEY"

    @property
    def shown(self) -> str:
        """The address without its query, which may hold a key."""
        return _shown(self.url)


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


class Fatal(Exception):
    """A failure that every request would have; the text says what the server does."""


class Server:
    """One endpoint during a run; `alive` once it has answered a question. An answer has `most` bytes at most."""

    def __init__(self, endpoint: Endpoint, timeout: float, most: int = MAX_BYTES) -> None:
        self.endpoint, self.timeout, self.most, self.alive = endpoint, timeout, most, False
        try:
            import aiohttp
        except ImportError:
            raise InputError("asking a server needs aiohttp; install it with: pip install 'nap-dlm[curate]'") from None
        self._http, self._proxy = aiohttp, _proxy(endpoint.url)
        key = _key(endpoint.key_env)
        # A real cookie jar, or looking for a proxy at each request, would double the time of a request.
        self._session = aiohttp.ClientSession(
            # Made here, because aiohttp's default has the certificates (SSL_CERT_FILE) from the time of its import; and
            # only where it is needed, because that takes tens of milliseconds.
            connector=aiohttp.TCPConnector(limit=0, ssl=_context(endpoint.url)),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=timeout),
            # A small body may grow without bound when decompressed; `read_body` does this within a bound.
            auto_decompress=False,
            headers={
                "Authorization": f"Bearer {key}",
                "Accept": "application/json",
                "Accept-Encoding": "gzip, deflate",
                "Content-Type": "application/json",
                "User-Agent": f"nap/{__version__}",
            },
        )

    async def close(self) -> None:
        """Close its connections."""
        await self._session.close()

    async def call(self, method: str, path: str, body: bytes | None = None) -> object:
        """The server's answer as JSON. Raises Passing, Refused or Fatal."""
        parts = urlsplit(self.endpoint.url)
        # Before a query, which some servers want in every address (`?api-version=...`).
        url = parts._replace(path=parts.path.rstrip("/") + path).geturl()
        for _ in range(MOST_REDIRECTS + 1):
            status, headers, said = await self._exchange(method, url, body)
            if not 300 <= status < 400:
                break
            url = self._redirected(url, status, headers.get("location", ""))
        else:
            raise Fatal(f"redirects more than {MOST_REDIRECTS} times, last to {_shown(url)!r}")
        if status >= 400:
            raise self._status_error(status, words(said), headers)
        answer = read_json(said)
        if (error := error_inside(answer)) is not None:
            raise self._status_error(*error, headers)
        return answer

    async def _exchange(self, method: str, url: str, body: bytes | None) -> tuple[int, Mapping[str, str], bytes]:
        """(status, headers, body) of one request and its answer."""
        try:
            async with self._session.request(
                method, url, data=body, proxy=self._proxy, allow_redirects=False
            ) as response:
                encoding = response.headers.get("Content-Encoding", "").lower()
                said = await read_body(response.content.iter_chunked(2**16), encoding, self.most)
                return response.status, response.headers, said
        except TimeoutError:
            raise Passing(f"no reply within {self.timeout:g} s") from None
        except self._http.ClientConnectionError as error:
            raise Passing(f"no connection: {error}") from None
        except (self._http.ClientError, ValueError) as error:
            raise Passing(f"not a reply: {error}") from None

    def _redirected(self, url: str, status: int, location: str) -> str:
        """The target of a redirect, if the request may be sent there."""
        try:
            there = urljoin(url, location)
            here, target = urlsplit(url), urlsplit(there)
        except ValueError as error:
            raise Fatal(f"redirects to {location!r:.200}, which is no address ({error!s:.80})") from None
        if status not in REDIRECTS or (here.scheme, here.netloc) != (target.scheme, target.netloc):
            raise Fatal(f"redirects to {_shown(there)!r:.200}, which is not asked; give that address if you trust it")
        return there

    def _status_error(self, status: int, said: str, headers: Mapping[str, str]) -> Exception:
        if status in FATAL and not (status == 404 and self.alive):
            hint = f"; set {self.endpoint.key_env}" if status == 401 else ""
            return Fatal(f"{FATAL[status]} ({status}: {said!r}){hint}")
        if status in PASSING or status >= 500 or status == 404:
            return Passing(f"{status}: {said}", retry_after(headers))
        return Refused(status, said)


def _context(url: str) -> ssl.SSLContext | bool:
    """The certificates that an address needs: those of this machine for https, none for http."""
    return ssl.create_default_context() if urlsplit(url).scheme == "https" else True


def _shown(url: str) -> str:
    """An address as messages name it: without a query, which may hold a key."""
    return url.partition("?")[0]


def _key(name: str) -> str:
    """The API key in the variable of that name. Raises InputError for one that no header can hold."""
    # A local server needs no key, and ignores one.
    key = os.environ.get(name, "").strip() or "none"
    if not (key.isascii() and key.isprintable()):
        raise InputError(f"the key in {name} has a line break or another character that no key has; set it again")
    return key


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for a server's address. Raises InputError for an invalid address."""
    # What may be a password is not shown.
    shown = _shown(re.sub(".*@", "...@", url, flags=re.DOTALL))
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise ValueError("no http and host")
        parts.hostname.encode("idna")
    except ValueError as error:
        reason = f" ({error!s:.80})" if "@" not in shown else ""
        raise InputError(f"{shown!r} is no address of a server{reason}; give http://HOST:PORT/v1") from None
    if "@" in parts.netloc:
        raise InputError(f"{shown!r} has a name or a password in front of its host; drop it")
    return None if proxy_bypass(parts.hostname) else getproxies().get(parts.scheme)


async def read_body(chunks: AsyncIterable[bytes], encoding: str, most: int = MAX_BYTES) -> bytes:
    """The bytes of an answer, decompressed. Raises Passing for more than `most`, and for invalid compression."""
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
            body += reader.decompress(chunk, most + 1 - len(body)) if reader else chunk
        except zlib.error as error:
            raise Passing(f"not a reply: {error}") from None
        if len(body) > most:
            raise Passing(f"not a reply: more than {most} bytes")
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


def error_inside(answer: object) -> tuple[int, str] | None:
    """(status, message) of an error in an answer with the status of a success; None where there is none."""
    if not isinstance(answer, dict) or not (error := answer.get("error")) or answer.get("choices"):
        return None
    code = error.get("code") if isinstance(error, dict) else None
    return (code if type(code) is int and 400 <= code < 600 else 500), words(answer)


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
