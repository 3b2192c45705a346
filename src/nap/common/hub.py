"""Whether the Hugging Face hub can be reached; where not, its libraries look only at what was fetched before.

Without a network those libraries try again for half a minute, whatever lies on the machine.

Does not fetch (models/checkpoint.py, tasks/public.py).
"""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import getproxies

SECONDS = 2.0
# Modules of the hub's libraries whose constant HF_HUB_OFFLINE is read at each request.
SWITCHES = ("huggingface_hub.constants", "datasets.config")


def address() -> tuple[str, int]:
    """Host and port of the hub."""
    parts = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    return parts.hostname or "", parts.port or 443


def unreachable() -> str | None:
    """Why the hub does not answer within SECONDS; None where it does, or a proxy may reach it."""
    if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        return "HF_HUB_OFFLINE is set"
    if getproxies().keys() & {"https", "all"}:
        return None
    try:
        socket.create_connection(address(), timeout=SECONDS).close()
    except (OSError, UnicodeError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None


@contextmanager
def hub() -> Iterator[str | None]:
    """While the hub is asked: where it cannot be reached, only what was fetched before is looked at.

    Gives the reason why it cannot be reached.
    """
    reason = unreachable()
    found = [vars(module) for name in SWITCHES if (module := sys.modules.get(name))] if reason else []
    before = [(names, names["HF_HUB_OFFLINE"]) for names in found if "HF_HUB_OFFLINE" in names]
    for names, _ in before:
        names["HF_HUB_OFFLINE"] = True
    try:
        yield reason and f"{address()[0]} cannot be reached: {reason}"
    finally:
        for names, value in before:
            names["HF_HUB_OFFLINE"] = value
