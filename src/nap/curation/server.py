"""A server that is asked for JSON over HTTP, and the meaning of each failure.

Passing is a failure that may pass, Refused concerns this request only, and Fatal would happen to every request.
Redirects to another host are not followed, because they would take the key along. Does not know what is asked
(teacher.py), and does not read texts (replies.py).
"""

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from nap import __version__
from nap.common.files import InputError
from nap.curation.replies import Passing, Refused, error_inside, read_body, read_json, retry_after, words

# Statuses that may pass: timeout, conflict, too early, too many requests; also all from 500 on.
PASSING = (408, 409, 425, 429)
# Statuses that every request would get, because of the key, the credit, the address or the model. 404 counts only until
# the first reply: a server that has answered before has the model, and its 404 may pass.
FATAL = {401: "refuses the key", 402: "wants to be paid", 404: "has no such address or model"}
# Redirects that keep a request unchanged, and how many are followed; only to the same host, as others would get the
# key.
REDIRECTS, MOST_REDIRECTS = (307, 308), 3


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A model behind an address such as http://127.0.0.1:8080/v1. `key_env` names the variable with the API key."""

    url: str
    model: str
    key_env: str = "OPENAI_API_KEY"


class Fatal(Exception):
    """A failure that every request would have; the text says what the server does."""


class Server:
    """One endpoint during a run; `alive` once it has answered a question."""

    def __init__(self, endpoint: Endpoint, timeout: float) -> None:
        self.endpoint, self.timeout, self.alive = endpoint, timeout, False
        try:
            import aiohttp
        except ImportError:
            raise InputError("asking a teacher needs aiohttp; install it with: pip install 'nap-dlm[curate]'") from None
        self._http, self._proxy = aiohttp, _proxy(endpoint.url)
        # A real cookie jar, or looking for a proxy at each request, would double the time of a request.
        self._session = aiohttp.ClientSession(
            # Made here, because aiohttp's default has the certificates (SSL_CERT_FILE) from the time of its import.
            connector=aiohttp.TCPConnector(limit=0, ssl=ssl.create_default_context()),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=timeout),
            # A small body may grow without bound when decompressed; `read_body` does this within a bound.
            auto_decompress=False,
            headers={
                # A local server needs no key, and ignores one.
                "Authorization": f"Bearer {os.environ.get(endpoint.key_env, '').strip() or 'none'}",
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
        url = self.endpoint.url.rstrip("/") + path
        for _ in range(MOST_REDIRECTS + 1):
            status, headers, said = await self._exchange(method, url, body)
            if not 300 <= status < 400:
                break
            url = self._redirected(url, status, headers.get("location", ""))
        else:
            raise Fatal(f"redirects more than {MOST_REDIRECTS} times, last to {url!r}")
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
                said = await read_body(response.content.iter_chunked(2**16), encoding)
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
            raise Fatal(f"redirects to {there!r:.200}, which is not asked; give that address if you trust it")
        return there

    def _status_error(self, status: int, said: str, headers: Mapping[str, str]) -> Exception:
        if status in FATAL and not (status == 404 and self.alive):
            hint = f"; set {self.endpoint.key_env}" if status == 401 else ""
            return Fatal(f"{FATAL[status]} ({status}: {said!r}){hint}")
        if status in PASSING or status >= 500 or status == 404:
            return Passing(f"{status}: {said}", retry_after(headers))
        return Refused(status, said)


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for a teacher's address. Raises InputError for an invalid address."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise ValueError("no http and host")
    except ValueError as error:
        raise InputError(f"{url!r} is no address of a teacher ({error!s:.80}); give http://HOST:PORT/v1") from None
    return None if proxy_bypass(parts.hostname) else getproxies().get(parts.scheme)
