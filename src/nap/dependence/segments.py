"""Cuts a text into segments of tokens after its prompt.

Each segment is tokenised by itself, and the ids are put one after the other. So a segment always ends with a token, and
the same tokens are scored whatever stands before them. A piece without a visible character is added to the segment
before it, so no segment is empty and no text is lost.

Letters: N segments of a text, L tokens of the prompt and all segments.
Does not read files (rows.py) or score anything (seqdep.py).
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise
from typing import NamedTuple

from nap.common.files import InputError
from nap.common.text import unknown

Ids = tuple[int, ...]
Encode = Callable[[str], list[int]]

SEGMENTERS = ("lines", "sentences", "paths", "tokens:K")
LINE_END = re.compile(r"\n")
# The quotes and brackets that a full stop closes.
_CLOSED = r"[\"'”’)\]」』）】》〉〕］｝]*"
# A full stop, or the end of a line. The space belongs to what follows, as in byte-pair vocabularies; a decimal point
# has none. Chinese and Japanese put no space after their own full stops, and often none after ! and ?. Abbreviations
# are cut too, because this is not a parser.
SENTENCE_END = re.compile(
    rf"(?:[.!?؟۔।]{_CLOSED}(?=\s)"
    rf"|[!?]*(?:[。！？｡]|．(?!\d))[!?。！？｡．…]*{_CLOSED}"
    rf"|[!?]{_CLOSED}(?=[\u3040-\u30ff\u3400-\u9fff])"
    r"|(?=\n))\n*"
)


class Row(NamedTuple):
    """One sample of a file: its place, its prompt ("" for none), and its text or list of segments."""

    where: str
    prompt: str
    content: str | list[str]


@dataclass(frozen=True, eq=False)
class Text:
    """Token ids of a prompt (not empty) and of the N segments after it.

    where  its name in messages
    asked  whether the prompt is its row's; else it is the text's own first segment, and texts that begin alike are not
           therefore samples of one question
    """

    where: str
    prompt: Ids
    segments: tuple[Ids, ...]
    asked: bool = True

    @property
    def group(self) -> object:
        """What the samples of one question have in common: their prompt. A text without one is alone."""
        return self.prompt if self.asked else (self.prompt, self.segments)

    @cached_property
    def starts(self) -> list[int]:
        """[N + 1] position of each segment's first token, and L."""
        return list(accumulate(map(len, self.segments), initial=len(self.prompt)))

    @cached_property
    def ids(self) -> Ids:
        """[L] the prompt and all segments."""
        return self.prompt + tuple(token for segment in self.segments for token in segment)

    def shortened(self, most: int) -> "Text":
        """The whole segments that end within the first `most` tokens, prompt included."""
        kept = sum(end <= most for end in self.starts[1:])
        return replace(self, segments=self.segments[:kept])


def check_segmenter(how: str) -> int | None:
    """K for `tokens:K`, None for the others. Raises InputError for an unknown name or a K below 1."""
    if how in SEGMENTERS[:-1]:
        return None
    name, _, size = how.partition(":")
    if name == "tokens" and size.isascii() and size.isdigit() and int(size) > 0:
        return int(size)
    if name == "tokens":
        raise InputError(f"tokens:K needs a K of 1 or more, got {how!r}; try tokens:32")
    raise InputError(unknown("segmenter", how, SEGMENTERS))


def segment(row: Row, how: str, encode: Encode, start: Sequence[int] = ()) -> Text:
    """The row as token ids. Without a prompt its first segment is the prompt (DEFINITIONS section 2).

    how     one of SEGMENTERS; `paths` takes a list of segments, the others a text
    encode  a text's ids, without special tokens
    start   ids that the scorer's texts begin with

    A prompt or a path that does not end in white space gets a line break. Raises InputError for a text where a list is
    needed, or the reverse.
    """
    size, given = check_segmenter(how), isinstance(row.content, list)
    if given != (how == "paths"):
        needed, got = ("a list", "a text") if how == "paths" else ("a text", "a list of segments")
        hint = "lines or sentences" if how == "paths" else "paths"
        raise InputError(f"{row.where}: {how!r} cuts {needed}, and this row has {got}; try --segments {hint}")
    if size is not None:
        ids = encode(str(row.content).strip())
        pieces = [tuple(ids[i : i + size]) for i in range(0, len(ids), size)]
    else:
        pieces = [ids for piece in _pieces(row.content, how) if (ids := tuple(encode(piece)))]
    if asked := bool(row.prompt.strip()):
        pieces.insert(0, tuple(encode(_ended(row.prompt))))
    first, *rest = pieces or [()]
    return Text(row.where, (*start, *first), tuple(rest), asked)


def _pieces(content: str | list[str], how: str) -> Iterable[str]:
    if isinstance(content, list):
        return [_ended(path) for path in content if path.strip()]
    return _cut(content.strip(), LINE_END if how == "lines" else SENTENCE_END)


def _cut(text: str, end: re.Pattern[str]) -> Iterator[str]:
    """The text cut after every match of `end` that something visible follows."""
    cuts = [match.end() for match in end.finditer(text)]
    # The text is stripped, so each piece that is kept contains a visible character.
    visible = [a for a, b in pairwise([*cuts, len(text)]) if text[a:b].strip()]
    return (text[a:b] for a, b in pairwise([0, *visible, len(text)]) if a < b)


def _ended(text: str) -> str:
    return text if text[-1].isspace() else text + "\n"
