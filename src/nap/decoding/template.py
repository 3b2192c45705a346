"""A user's text as a turn, or turns, of a checkpoint's chat template.

A template is a program that somebody else wrote: it may raise, use undefined names, never end, or fill the memory.
Jinja's sandbox keeps it away from the machine; here its time, its memory and the length of its output are bounded. Does
not encode (prompt.py).
"""

import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from nap.common.files import InputError
from nap.common.records import Json
from nap.models.checkpoint import foreign

# Seconds that a template may take; usual ones take a millisecond.
PATIENCE = 5.0
# Characters that a template may add to a text; system prompts have some thousands.
LONGEST = 1_000_000
# Bytes that the process may allocate meanwhile; the output of a template has megabytes at most.
ROOM = 1 << 30


def check_keyword(name: str, template: object) -> None:
    """Raise InputError for a keyword that the chat template (a text, or several) never mentions."""
    if not re.search(rf"\b{re.escape(name)}\b", str(template)):
        raise InputError(f"the chat template of the checkpoint has no setting {name!r}; drop it, or correct its name")


RAW = "give the prompt as it is with --raw"


def as_turns(said: Sequence[tuple[str, str]], tokenizer: Any, settings: Mapping[str, Json], instead: str = RAW) -> str:
    """The text of these turns, (role, text) each and the user's last, and the start of the answer.

    settings  keywords for the template, such as enable_thinking
    instead   what the user may do without the template

    Raises InputError for a template that fails, does not end, returns no text, or leaves out what a user or the system
    says.
    """
    made = _made([{"role": role, "content": text} for role, text in said], said, tokenizer, settings, instead)
    if _left_out(said, made):
        # Templates of models that see pictures read a content that is a list of parts.
        with suppress(InputError):
            turns = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in said]
            made = _made(turns, said, tokenizer, settings, instead)
    if role := _left_out(said, made):
        raise InputError(f"the chat template of the checkpoint leaves out what the {role} says; {instead}")
    return made


def _left_out(said: Sequence[tuple[str, str]], made: str) -> str:
    """Whose turn is not in what the template made; "" for nobody's. What a model thought in an earlier turn may go."""
    tight = _tight(made)
    return next((role for role, text in reversed(said) if role != "assistant" and _tight(text) not in tight), "")


def _made(
    turns: Sequence[Mapping[str, object]], said: Sequence[tuple[str, str]], tokenizer: Any,
    settings: Mapping[str, Json], instead: str,
) -> str:  # fmt: skip
    """What the template makes of these turns."""
    with foreign(f"the chat template of the checkpoint fails; {instead}"), _hurry(), _room():
        made = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False, **settings)
    if not isinstance(made, str) or len(made) > sum(len(text) for _, text in said) + LONGEST:
        raise InputError(f"the chat template of the checkpoint makes no prompt of the text; {instead}")
    return made


def _tight(text: str) -> str:
    """Without blanks, which templates take away at the ends of a text."""
    return "".join(text.split())


@contextmanager
def _hurry() -> Iterator[None]:
    """Code that runs inside for longer than PATIENCE is stopped at its next line."""
    deadline, before = time.monotonic() + PATIENCE, sys.gettrace()

    def watch(frame: FrameType, event: str, argument: object) -> Any:
        if time.monotonic() > deadline:
            raise TimeoutError(f"it takes more than {PATIENCE:g} s")
        return watch

    if before is not None:
        # A debugger or a coverage measurement is at work; there can be only one.
        yield
        return
    sys.settrace(watch)
    try:
        with _alarm():
            yield
    finally:
        sys.settrace(None)


@contextmanager
def _alarm() -> Iterator[None]:
    """A single operation may not end either (9**9**9); Python checks for signals during it, in the main thread."""
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"it takes more than {PATIENCE:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    # Raised repeatedly, because Jinja catches an error in a constant at compile time and computes it again later.
    signal.setitimer(signal.ITIMER_REAL, PATIENCE, 0.1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _room() -> Iterator[None]:
    """Code inside may allocate ROOM more bytes, and gets a MemoryError beyond that; on Linux only."""
    if sys.platform != "linux":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (most if soft == resource.RLIM_INFINITY else min(soft, most), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
