"""A user's text as a turn of a checkpoint's chat template.

A template is a stranger's program: it may raise, want what is not there, or never end. Jinja's sandbox keeps it from
the machine; here its time and the length of what it writes are bounded. Does not encode (prompt.py).
"""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from nap.common.files import InputError
from nap.models.checkpoint import foreign

# A template takes a millisecond.
PATIENCE = 5.0
# Characters that a template may make of a text beside the text's own: system prompts have some thousands.
LONGEST = 1_000_000


def as_turn(text: str, tokenizer: Any, settings: Mapping[str, Any]) -> str:
    """The text as the first turn of a user, and the start of the answer.

    settings  keywords for the template, such as enable_thinking

    Raises InputError for a template that fails, does not end, or makes no text of it.
    """
    turn = [{"role": "user", "content": text}]
    with foreign("the chat template of the checkpoint fails; give the prompt as it is with --raw"), _hurry():
        made = tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False, **settings)
    if not isinstance(made, str) or len(made) > len(text) + LONGEST:
        raise InputError("the chat template of the checkpoint makes no prompt of the text; give it as it is with --raw")
    return made


@contextmanager
def _hurry() -> Iterator[None]:
    """What runs inside for longer than PATIENCE is ended at its next line."""
    deadline, before = time.monotonic() + PATIENCE, sys.gettrace()

    def watch(frame: FrameType, event: str, argument: Any) -> Any:
        if time.monotonic() > deadline:
            raise TimeoutError(f"it takes more than {PATIENCE:g} s")
        return watch

    if before is not None:
        # A debugger or a coverage measurement is at work; there can be only one.
        yield
        return
    sys.settrace(watch)
    try:
        yield
    finally:
        sys.settrace(None)
