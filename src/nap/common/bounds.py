"""How large the numbers that people and files give may be: each bound with its reason, checked before any work.

    check("path_tokens", 330, SLOT_TOKENS)          # raises InputError where it is outside

Does not know the machine: a setting within these bounds may still need more memory than it has.
"""

from collections.abc import Mapping
from typing import NamedTuple

from nap.common.files import InputError


class Bound(NamedTuple):
    """The least and the most that a whole number may be, and the reason for the most."""

    least: int
    most: int
    why: str


PATHS = Bound(1, 1 << 12, "each has tags of its own, and traces keep the number of a slot in 15 bits")
# Tokens of a slot, and of all slots together.
SLOT_TOKENS = Bound(1, 1 << 20, "no model has more positions")
SUMMARY_TOKENS = Bound(0, 1 << 20, "no model has more positions")
CANVAS_TOKENS = Bound(1, 1 << 20, "no model has more positions")
# Of block-causal attention.
BLOCK_SIZE = Bound(1, 10**9, "no model has more positions")
# Characters of a text that a tokenizer is given: a million take it seconds.
CHARACTERS = Bound(0, 1 << 21, "no model has positions for more")
# Curation, and problems that are only printed.
PROBLEMS = Bound(1, 1 << 31, "that is more than there are")
SAMPLES = Bound(0, 1 << 12, "the replies to a problem are compared each with each")
REPLY_TOKENS = Bound(1, 1 << 20, "no model has more positions")
SEED_SENT = Bound(-(1 << 53), 1 << 53, "servers read JSON's numbers exactly up to here")
# Continuations of a text: places of a row, and continuations of a place.
CONTEXTS = Bound(1, 1 << 16, "each takes the model many times")
CONTINUATIONS = Bound(1, 1 << 16, "all are drawn together")
# Training.
STEPS = Bound(0, 10**9, "at a thousand a second they take twelve days")
EVERY = Bound(1, 10**9, "no training has more steps")
BATCH = Bound(1, 1 << 16, "the samples of eight steps are in memory together")
RANK = Bound(0, 1 << 14, "no matrix of a layer here has a higher rank")
SEED = Bound(0, (1 << 32) - 1, "NumPy's generators take 32 bits")
DECODED = Bound(1, 1 << 20, "all are in memory while they are decoded")
SKIPPED = Bound(0, 1 << 31, "that is more than there are")
# Serving: answers of a request, and its stop texts.
CHOICES = Bound(1, 1 << 7, "all are decoded before the request is done")
PORT = Bound(0, (1 << 16) - 1, "TCP has no others")
# Machines.
WORKERS = Bound(1, 1 << 10, "each is a process or a thread, started at once")


def check(name: str, value: object, bound: Bound) -> None:
    """Raise InputError unless the value is a whole number within the bound."""
    least, most, why = bound
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f"{name} must be a whole number, got {value!r:.40}")
    if value < least:
        raise InputError(f"{name} must be at least {least}, got {value}")
    if value > most:
        raise InputError(f"{name} must be at most {most} ({why}), got {_short(value)}")


def check_least(values: Mapping[str, float | None], least: int = 1) -> None:
    """Raise InputError that names the first number below `least`; None means that it was not given."""
    for name, value in values.items():
        if value is not None and value < least:
            raise InputError(f"{name} must be at least {least}, got {value}")


def _short(value: int) -> str:
    # Nobody reads thousands of digits, and Python refuses to write them.
    return str(value) if value < 10**30 else f"a number of {value.bit_length()} bits"
