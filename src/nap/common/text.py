"""Text for people: control characters made visible, long texts cut, and guesses at what a mistyped name meant.

Does not lay text out; report/terminal.py and commands/tables.py do.
"""

import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches

from nap.common.files import InputError


def visible(text: str, kept: str = "\n", quote: Callable[[str], str] = repr) -> str:
    """The text with every character that could move a cursor shown as an escape, except those in `kept`.

    quote  how a character is escaped: `repr` as in Python, `json.dumps` where the text must stay JSON
    """
    # Most text is printable, and this check takes a quarter of the time.
    if text.isprintable():
        return text
    strange = {ord(c): quote(c)[1:-1] for c in set(text) if not (c.isprintable() or c in kept)}
    return text.translate(strange) if strange else text


def lines_of(text: str) -> list[str]:
    """The lines of a file's text. `str.splitlines` would also cut at a form feed, U+0085 and U+2028, inside a line."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def shortened(line: str, most: int) -> str:
    """The line without its middle where it is longer: an error begins with what is wrong and ends with what to do."""
    if len(line) <= most:
        return line
    start, end = most * 2 // 3, most // 4
    return f"{line[:start]} ... ({len(line) - start - end} characters) ... {line[-end:]}"


def printable(text: str, most: int = 40) -> str:
    """The text on one line, control characters made visible, cut at `most` characters."""
    # A few more characters than are kept; the rest is never looked at.
    shown = visible(text[: most + 1], kept="")
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def last_parts(paths: Iterable[str], separators: str = f"/{os.sep}") -> dict[str, str]:
    """Each path's last part, with as many parts before it as tell it from the others: `final`, or `a/final`."""
    parts = {path: [part for part in re.split(f"[{re.escape(separators)}]", path) if part] for path in paths}

    def shortest(own: Sequence[str]) -> str:
        others = [other for other in parts.values() if other != own]
        fewest = (n for n in range(1, len(own)) if not any(other[-n:] == own[-n:] for other in others))
        return "/".join(own[-next(fewest, len(own)) :])

    return {path: shortest(own) or path for path, own in parts.items()}


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name most similar to this one; None where no similarity reaches `cutoff` (0 to 1)."""
    return next(iter(get_close_matches(name, [*known], 1, cutoff)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for a name that is close to a known one, else `;`."""
    near = nearest(name, known)
    return f"; did you mean {near!r}?" if near else ";"


def unknown(what: str, name: object, known: Iterable[object], listed: str = "") -> str:
    """`unknown cache 'dul'; did you mean 'dual'? known: none, ...`: the message for a name that is not known.

    listed  what has them all, where they are many: a message with a guess then names it in place of them
    """
    texts = [*map(str, known)]
    guess = did_you_mean(str(name), texts)
    all_known = f"all {len(texts)} are in {listed}" if listed and guess != ";" else f"known: {', '.join(texts)}"
    return f"unknown {what} {name!r}{guess} {all_known}"


def check_known(what: str, name: object, known: Iterable[object], listed: str = "") -> None:
    """Raise InputError, with a guess at what was meant, for a name that is not among the known ones (`unknown`)."""
    known = [*known]
    if name not in known:
        raise InputError(unknown(what, name, known, listed))


def check_text(what: str, text: str) -> None:
    """Raise InputError for what is no text, or cannot be written as UTF-8: a broken file name, half a character."""
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # what Python gives is not checked
        raise InputError(f"{what} must be a text, got {str(text)[:80]!r}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{what} is not valid text ({text[max(0, error.start - 30) : error.end]!a}); rename it, or correct it"
        ) from None


def short(value: float | str | None) -> str:
    """A value of a table; `-` for none."""
    return "-" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


def markdown_table(header: Sequence[object], rows: Iterable[Iterable[object]]) -> str:
    """A table in Markdown. Cells are text as it is, never markup."""

    def cell(value: object) -> str:
        return re.sub(r"([\\|<`])", r"\\\1", " ".join(str(value).split()))

    lines = (map(cell, cells) for cells in (header, ["---"] * len(header), *rows))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def fenced(text: str, language: str = "") -> str:
    """A code block of Markdown that the text cannot close."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text}\n{fence}\n"


def say(line: str) -> None:
    """One line on standard error, for the person who is waiting."""
    print(visible(line, kept=""), file=sys.stderr, flush=True)
