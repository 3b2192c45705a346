"""The JSON values of a text, one after another: one a line, indented over many lines, or in one long list.

Reads a part of the text at a time, so that a list of any length needs the memory of one element.

Does not know what the values mean.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from nap.common.files import InputError
from nap.common.textinput import TextInput

# How many characters are read at a time; more where a value is longer.
PART = 1 << 18
# The largest known records, 1,000 canvases of 8 rows of 2,048 tokens, take 115 MB. Parsed, a value takes up to 20 times
# as much memory.
MOST = 128 << 20

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()
# The longest piece of JSON at whose cut end the parser reports an error before the end: -Infinity, \\ud83d\\udca9.
_TAIL = 12


class JsonText:
    """A place in a text of JSON. `line` counts from 1."""

    def __init__(self, text: TextInput) -> None:
        self._input, self._text, self._at, self._ended = text, "", 0, False
        self.line = 1

    @property
    def path(self) -> str | Path:
        """The file's name, for messages."""
        return self._input.path

    def next(self) -> str:
        """The next character that is no white space, without taking it; "" at the end."""
        while True:
            found = _SPACE.match(self._text, self._at)
            assert found
            self._take(found.end())
            if self._at < len(self._text):
                return self._text[self._at]
            if self._ended:
                return ""
            self._more()

    def skip(self) -> None:
        """Take one character."""
        self._take(self._at + 1)

    def value(self) -> object:
        """Take one value. Raises InputError, naming the line that it begins on, for text that is not JSON."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                cut = error.pos >= len(self._text) - _TAIL or error.msg.startswith("Unterminated string")
                if self._ended or not cut:
                    raise self._error(error.msg, error.pos) from None
            except (RecursionError, ValueError) as error:  # ValueError: an integer of thousands of digits
                raise self._error(f"{error!s:.80}", self._at) from None
            else:
                # A number at the end of the part that was read may continue.
                if end < len(self._text) or self._ended:
                    self._take(end)
                    return value
            self._more()

    def _error(self, reason: str, place: int) -> InputError:
        line = self.line + self._text.count("\n", self._at, place)
        reason += "" if line == self.line else f" on line {line}"
        return InputError(f"{self.path}:{self.line}: not JSON ({reason}): {self._shown()!r}")

    def _shown(self) -> str:
        return self._text[self._at : self._at + 60].split("\n")[0]

    def _take(self, end: int) -> None:
        self.line += self._text.count("\n", self._at, end)
        self._at = end

    def _more(self) -> None:
        kept = self._text[self._at :]
        if len(kept) > MOST:
            raise InputError(f"{self.path}:{self.line}: a value of more than {MOST >> 20} MB; write one row a line")
        new = self._input.read(max(PART, len(kept)))
        self._text, self._at, self._ended = kept + new, 0, not new


def values(text: JsonText) -> Iterator[tuple[int, object]]:
    """(line that it begins on, value) of each value. Raises InputError naming the line of invalid JSON."""
    while text.next():
        line = text.line
        yield line, text.value()


def elements(text: JsonText) -> Iterator[tuple[int, int | None, object]]:
    """(line, number in its list from 1, value) of each value and, in place of a list, of each of its elements."""
    while first := text.next():
        if first != "[":
            line = text.line
            yield line, None, text.value()
            continue
        start, number = text.line, 0
        text.skip()
        first = text.next()
        while first != "]":
            number, line = number + 1, text.line
            yield line, number, text.value()
            if (first := text.next()) == ",":
                text.skip()
                if text.next() == "]":
                    raise InputError(f"{text.path}:{text.line}: not JSON (a comma before the end of a list)")
            elif first != "]":
                why = f"a list that begins on line {start} goes on with {first!r}" if first else "a list is not closed"
                raise InputError(f"{text.path}:{text.line}: not JSON ({why}); was its write cut?")
        text.skip()
