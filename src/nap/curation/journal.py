"""Requests to a teacher and its replies, in sqlite, so that nothing is asked twice and a run can be repeated.

    with Journal("runs/gsm8k/journal.sqlite") as journal:
        journal.add(request, reply)
        journal.get(request)

A reply is stored under a digest of everything that determines it. The server's address is not part of that, because the
same model may be served elsewhere tomorrow. A process killed at any moment loses at most the replies that had not
arrived. Each reply has a digest of its own; a damaged one is asked for again. A file that sqlite cannot read is rebuilt
from the replies in it that are whole.

Does not ask anybody (teacher.py).
"""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from glob import escape
from hashlib import blake2b
from pathlib import Path

from nap.common.files import InputError, check_files, clean_partials, make_folder, sync_folder
from nap.common.folder import lock
from nap.common.text import say
from nap.curation.salvage import SIZE, Value, rows_of

# A reply that is complete, was cut at max_tokens, was refused for good, or never came.
STOP, LENGTH, REFUSED, FAILED = "stop", "length", "refused", "failed"
# Of a request's key.
VERSION = 1
# Length of a key in bytes.
KEY = 16
# Of the file, in sqlite's own header. Format 0 had no digests.
FORMAT = 2
TABLE = b"CREATE TABLE replies (key BLOB PRIMARY KEY, reply TEXT, digest BLOB)"
OLD_TABLE = b"CREATE TABLE replies (key BLOB PRIMARY KEY, reply TEXT)"
# Errors that do not mean a damaged file: no room, no permission, a failing disk.
PASSING = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_BUSY", "SQLITE_NOMEM", "SQLITE_PERM")


@dataclass(frozen=True, kw_only=True)
class Request:
    """One sample of a model's reply to a prompt.

    prompt  the whole message, with its template filled in
    seed    seed of the run; the server gets `seed + index`, so that samples differ
    index   number of the sample of this prompt
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
        return blake2b(json.dumps([VERSION, *fields]).encode(), digest_size=KEY).digest()


@dataclass(frozen=True, kw_only=True)
class Reply:
    """The reply to a request. `finish` is STOP, LENGTH, REFUSED or FAILED; `error` says why there is no text.

    reasoning  the reasoning before the text, if the server separates the two
    status     HTTP status of a refusal: 400, 403, 422...; 0 for none
    prompt_tokens, completion_tokens  as counted by the server; of several replies of one call all are in the first
    uncounted  whether the server did not count them; earlier versions did not keep that
    """

    text: str = ""
    reasoning: str = ""
    finish: str = STOP
    model: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    error: str = ""
    status: int = 0
    uncounted: bool = False


def companions(name: str) -> tuple[str, ...]:
    """The names of the files of a journal: its own, sqlite's two beside it, its lock, and what it was mended from."""
    return (name, *(f"{name}{end}" for end in ("-wal", "-shm", ".lock", ".damaged")))


def is_empty(path: Path) -> bool:
    """Whether no reply was ever added to the journal at that path."""
    if not path.exists():
        return True
    with Journal(path) as journal:
        return journal.is_empty()


class Journal:
    """The replies to all requests so far. For one process at a time, and one thread.

    say  is told about damage
    """

    def __init__(self, path: str | Path, say: Callable[[str], None] = say) -> None:
        # A journal with two names has one lock.
        self.path, self.say, self.damaged = Path(path).resolve(), say, 0

    def __enter__(self) -> "Journal":
        if self.path.exists() and not self.path.is_file():
            raise InputError(f"{self.path} is no file; give a file to keep the replies in")
        make_folder(self.path.parent)
        check_files(self.path.parent, f"{escape(self.path.name)}*")
        self._lock = self.path.with_name(f"{self.path.name}.lock").open("ab")
        try:
            lock(self._lock, self.path)
            clean_partials(self.path.parent, self.path.name)
            if not self._opened():
                self._mend()
        except BaseException:
            self._lock.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._database.close()
        self._lock.close()

    def get(self, request: Request) -> Reply | None:
        """The reply to this request, if there is one and it is whole."""
        found = self._execute("SELECT reply, digest FROM replies WHERE key = ?", request.key).fetchone()
        if found is None:
            return None
        reply = read_reply(request.key, *found)
        if reply is None and not self.damaged:
            self.say(f"{self.path} has damaged replies; they are asked again")
        self.damaged += reply is None
        return reply

    def add(self, request: Request, reply: Reply) -> None:
        """Store a reply in place of an earlier one. Raises OSError if the disk is full."""
        self._execute(INSERT, *_row(request.key, json.dumps(_short(reply)).encode()))

    def settled(self, request: Request, again: bool = False) -> bool:
        """Whether the request needs no further asking: failed ones are asked again, with `again` also refused ones."""
        reply = self.get(request)
        return reply is not None and reply.finish not in ((FAILED, REFUSED) if again else (FAILED,))

    def is_empty(self) -> bool:
        """Whether no reply was ever added."""
        return self._execute("SELECT 1 FROM replies LIMIT 1").fetchone() is None

    def _execute(self, statement: str, *values: object) -> sqlite3.Cursor:
        try:
            return self._database.execute(statement, values)
        except sqlite3.OperationalError as error:
            raise self._unwritten(error) from None
        except sqlite3.DatabaseError as error:
            raise InputError(
                f"{self.path} is damaged ({error}); the same command mends it, and goes on from here"
            ) from None

    def _unwritten(self, error: sqlite3.Error) -> OSError:
        return OSError(f"{self.path} ({error}); is the disk full? the same command goes on from here")

    def _opened(self) -> bool:
        """Open the database, and create or update it if needed; False if it is damaged or no journal."""
        try:
            self._database = _connected(self.path)
            if _prepare(self._database):
                return True
        except UnicodeDecodeError:
            pass  # A damaged name in the database.
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", "")
            if name.startswith(PASSING) or not os.access(self.path, os.W_OK):
                raise self._unwritten(error) from None
        self._database.close()
        return False

    def _mend(self) -> None:
        """Rebuild the file from its whole replies. Raises InputError if there are none."""
        made = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
        made.unlink(missing_ok=True)
        kept = self.path.with_name(f"{self.path.name}.damaged")
        try:
            if not (saved := _copy_whole(self.path, made)):
                raise InputError(f"{self.path} is damaged, or no journal; choose another journal, or delete it")
            shutil.copyfile(self.path, kept)
            for end in ("-wal", "-shm"):
                self.path.with_name(f"{self.path.name}{end}").unlink(missing_ok=True)
            made.replace(self.path)
            sync_folder(self.path.parent)
        finally:
            made.unlink(missing_ok=True)
        self.say(f"{self.path} was damaged: {saved} replies are saved, others are asked again; it is kept as {kept}")
        if not self._opened():
            raise InputError(f"{self.path} cannot be mended; choose another journal, or delete it")


INSERT = "INSERT OR REPLACE INTO replies VALUES (?, ?, ?)"


def _connected(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None)
    # A damaged text may not be UTF-8.
    database.text_factory = bytes
    return database


def _prepare(database: sqlite3.Connection) -> bool:
    """Create or update the table of a database; False if it is damaged or holds something else."""
    found = {sql for (sql,) in database.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    if not found and pages <= 1:
        _make(database)
    elif found == {OLD_TABLE}:
        _give_digests(database)
    elif found != {TABLE} or database.execute("PRAGMA user_version").fetchone() != (FORMAT,):
        return False
    # A kill loses nothing that was added; a power cut may lose the last few replies.
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=NORMAL")
    # A header that forbids writing is damaged.
    database.execute("BEGIN IMMEDIATE")
    database.execute("ROLLBACK")
    return database.execute("PRAGMA integrity_check(1)").fetchone() == (b"ok",)


def _make(database: sqlite3.Connection) -> None:
    database.execute(f"PRAGMA page_size = {SIZE}")
    database.execute("BEGIN")
    database.execute(TABLE.decode())
    database.execute(f"PRAGMA user_version = {FORMAT}")
    database.execute("COMMIT")


def _give_digests(database: sqlite3.Connection) -> None:
    """Convert a journal of an earlier version."""
    database.create_function("digest_of", 2, digest_of, deterministic=True)
    database.execute("BEGIN")
    database.execute("ALTER TABLE replies ADD COLUMN digest BLOB")
    database.execute("UPDATE replies SET digest = digest_of(key, CAST(reply AS BLOB))")
    database.execute(f"PRAGMA user_version = {FORMAT}")
    database.execute("COMMIT")


def _copy_whole(path: Path, made: Path) -> int:
    """Copy the whole replies to a new file. Returns how many there are."""
    ranks: dict[bytes, int] = {}
    database = _connected(made)
    try:
        _make(database)
        database.execute("BEGIN")
        for key, text, rank in _whole_replies(path):
            # Remains of replaced replies, which had failed or were refused, do not count.
            if rank > ranks.get(key, -1):
                ranks[key] = rank
                database.execute(INSERT, _row(key, text))
        database.execute("COMMIT")
    finally:
        database.close()
    return len(ranks)


def _whole_replies(path: Path) -> Iterator[tuple[bytes, bytes, int]]:
    """Key, text and rank of each reply; a higher rank has replaced a lower one."""
    # In a file of this version, a reply without a digest is old or damaged.
    with path.open("rb") as file:
        digested = TABLE.rpartition(b"TEXT")[2] in file.read(SIZE)
    for columns in rows_of(path):
        key, text, digest = (*columns, None, None, None)[:3] if len(columns) in (2, 3) else (None, None, None)
        if not isinstance(key, bytes) or not isinstance(text, bytes) or len(key) != KEY:
            continue
        reply = read_reply(key, text, digest if digested else digest_of(key, text))
        if reply is not None:
            yield key, text, (FAILED, REFUSED).index(reply.finish) if reply.finish in (FAILED, REFUSED) else 2


def read_reply(key: bytes, text: Value, digest: Value) -> Reply | None:
    """The reply under a key; None if its digest does not fit, or it is no reply."""
    if not isinstance(text, bytes) or digest_of(key, text) != digest:
        return None
    try:
        reply = Reply(**json.loads(text))
    except (TypeError, ValueError, RecursionError):
        return None
    wrong = (name for name, value in vars(reply).items() if type(value) is not type(getattr(EMPTY, name)))
    return None if any(wrong) else reply


EMPTY = Reply()


def digest_of(key: bytes, text: bytes) -> bytes:
    """A digest that shows that a reply is whole and belongs to this request."""
    return blake2b(key + text, digest_size=16).digest()


def _row(key: bytes, text: bytes) -> tuple[bytes, str, bytes]:
    return key, text.decode(), digest_of(key, text)


def _short(reply: Reply) -> dict[str, object]:
    """Only the fields that are not empty, because a journal has hundreds of thousands of replies."""
    return {name: value for name, value in vars(reply).items() if value}
