"""What a teacher was asked and what it replied, in sqlite: nothing is asked twice, and a run can be played again.

    with Journal("runs/gsm8k/journal.sqlite") as journal:
        journal.add(request, reply)
        journal.get(request)

A reply is kept under a digest of everything that determines it, which does not include the server's address: the same
model may be served elsewhere tomorrow. A process killed at any moment loses at most the replies that had not arrived.

Does not ask anybody; `teacher` does.
"""

import json
import sqlite3
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

from nap.common.files import InputError
from nap.common.folder import lock

# A reply that came to its end, was cut at max_tokens, was refused for good, or never came.
STOP, LENGTH, REFUSED, FAILED = "stop", "length", "refused", "failed"
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Request:
    """One sample of a model's reply to a prompt.

    prompt  the whole message, its template filled in
    seed    of the run; the server is given `seed + index`, so that samples differ
    index   which of the samples of this prompt
    """

    model: str
    prompt: str
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 1024
    seed: int = 0
    index: int = 0

    @cached_property
    def key(self) -> bytes:
        """A digest of everything that determines the reply."""
        fields = (self.model, self.prompt, self.temperature, self.top_p, self.max_tokens, self.seed, self.index)
        return blake2b(json.dumps([VERSION, *fields]).encode(), digest_size=16).digest()


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came back. `finish` is STOP, LENGTH, REFUSED or FAILED; `error` says why there is no text.

    reasoning  what the model thought before the text, where the server tells the two apart
    status     of a refusal by HTTP: 400, 403, 422...; 0 for none
    prompt_tokens, completion_tokens  as the server counts them; 0 where it does not say
    """

    text: str = ""
    reasoning: str = ""
    finish: str = STOP
    model: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    error: str = ""
    status: int = 0


def companions(name: str) -> tuple[str, ...]:
    """The names of the files of a journal: its own, sqlite's two beside it, and its lock."""
    return (name, *(f"{name}{end}" for end in ("-wal", "-shm", ".lock")))


def is_empty(path: Path) -> bool:
    """Whether no reply was ever added to the journal at that path."""
    if not path.exists():
        return True
    with Journal(path) as journal:
        return journal.is_empty()


class Journal:
    """The replies of all requests so far. One process at a time; read and written from one thread."""

    def __init__(self, path: str | Path) -> None:
        # One journal under two names has one lock.
        self.path = Path(path).resolve()

    def __enter__(self) -> "Journal":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = self.path.with_name(f"{self.path.name}.lock").open("ab")
        try:
            lock(self._lock, self.path)
            self._database = sqlite3.connect(self.path, isolation_level=None)
            # A killed process loses nothing that was added; a power cut may lose the last few replies.
            self._execute("PRAGMA journal_mode=WAL")
            self._execute("PRAGMA synchronous=NORMAL")
            self._execute("CREATE TABLE IF NOT EXISTS replies (key BLOB PRIMARY KEY, reply TEXT)")
        except BaseException:
            self._lock.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._database.close()
        self._lock.close()

    def get(self, request: Request) -> Reply | None:
        """The reply to this request, if it was ever given."""
        found = self._execute("SELECT reply FROM replies WHERE key = ?", request.key).fetchone()
        return None if found is None else self._reply(found[0])

    def add(self, request: Request, reply: Reply) -> None:
        """Keep a reply, in place of an earlier one. Raises OSError where the disk is full."""
        self._execute("INSERT OR REPLACE INTO replies VALUES (?, ?)", request.key, json.dumps(_short(reply)))

    def settled(self, request: Request, again: bool = False) -> bool:
        """Whether nothing is left to ask: a request that failed is asked again, with `again` a refused one too."""
        reply = self.get(request)
        return reply is not None and reply.finish not in ((FAILED, REFUSED) if again else (FAILED,))

    def is_empty(self) -> bool:
        """Whether no reply was ever added."""
        return self._execute("SELECT 1 FROM replies LIMIT 1").fetchone() is None

    def _execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        try:
            return self._database.execute(statement, values)
        except sqlite3.OperationalError as error:
            raise OSError(f"{self.path} ({error}); is the disk full? the same command goes on from here") from None
        except sqlite3.DatabaseError as error:
            raise InputError(f"{self.path} is damaged ({error}); choose another journal, or delete it") from None

    def _reply(self, text: str) -> Reply:
        try:
            return Reply(**json.loads(text))
        except (TypeError, ValueError) as error:
            raise InputError(f"{self.path} is damaged ({error}); choose another journal, or delete it") from None


def _short(reply: Reply) -> dict[str, Any]:
    """The fields that say something: a journal has hundreds of thousands of replies."""
    return {name: value for name, value in vars(reply).items() if value}
