"""The text of an input file, a part at a time: UTF-8 or UTF-16, with or without a byte order mark, gzip or not.

    text = TextInput(path, file)
    while part := text.read(1 << 20): ...

A file that is not text is refused, and the error says what it is. Only a part is held in memory at a time, and a gzip
file that expands beyond all proportion is refused (`MOST_TIMES`).

Does not know what the text says.
"""

import codecs
import gzip
import os
import zlib
from pathlib import Path
from typing import BinaryIO

from nap.common.files import InputError
from nap.common.kinds import GZIP, HEAD, encoding_of, kind_of

# A gzip file may expand to this many times its size: JSON of answers expands 3 to 10 times, one repeated word 100
# times.
MOST_TIMES = 100
# Or to this many bytes, which every machine has.
ALWAYS_FITS = 256 << 20


class TextInput:
    """The decoded text of an open file. Raises InputError for a file that is not text, cut, damaged or a gzip bomb."""

    def __init__(self, path: str | Path, file: BinaryIO) -> None:
        self.path, self._most, self._count = path, 0, 0
        head = file.read(HEAD)
        if head.startswith(GZIP):
            file.seek(0)
            self._most = max(ALWAYS_FITS, MOST_TIMES * os.fstat(file.fileno()).st_size)
            self._file = gzip.GzipFile(fileobj=file)
            head = self._raw(HEAD)
            self._refuse(head, " inside gzip")
        else:
            self._file, self._count = file, len(head)
            self._refuse(head)
        self._encoding = encoding_of(head)
        self._decoder = codecs.getincrementaldecoder(self._encoding)()
        self._head = head

    def read(self, size: int) -> str:
        """About `size` more characters; "" at the end and only there."""
        while True:
            data, self._head = self._head or self._raw(size), b""
            pending = len(self._decoder.getstate()[0])
            try:
                text = self._decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                place = self._count - len(data) - pending + error.start
                name = self._encoding.upper().removesuffix("-SIG")
                hint = "; convert it (iconv -t utf-8)" if name == "UTF-8" else "; is it cut?"
                raise InputError(f"{self.path} is not {name} text (byte {place}){hint}") from None
            if text or not data:
                return text

    def _raw(self, size: int) -> bytes:
        try:
            data = self._file.read(size)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InputError(f"{self.path} is a damaged gzip file ({error!s:.80}); was its write cut?") from None
        except OSError as error:
            raise InputError(f"cannot read {self.path}: {error.strerror or error}") from None
        self._count += len(data)
        if self._most and self._count > self._most:
            raise InputError(
                f"{self.path} holds more than {self._most >> 20} MB, which is over {MOST_TIMES} times its own size: "
                "no text of a data set packs so well; gunzip it if it is one"
            )
        return data

    def _refuse(self, head: bytes, where: str = "") -> None:
        if kind := kind_of(head):
            raise InputError(f"{self.path} is no text: this is {kind}{where}")
