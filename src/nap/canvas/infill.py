r"""A text with gaps as a canvas: the given words keep their places, and only the gaps are decoded.

    laid = lay_out(prompt_ids, Infill("The capital of [MASK:2] is Paris"), tokenizer, mask_id)

A gap is `[MASK]` (one token, as in a fill-in-the-mask model), `[MASK:8]` (eight), the model's own mask token in its own
words (`<|mdm_mask|>`: one), or a blank of three underscores or more that stands alone (`___`: as many tokens as
`gap_tokens` says). A backslash before any of them makes it text. Gaps that touch count as one. The text is the only
slot of the canvas; its given tokens are written before the first step.

Pure: a tokenizer with `encode` and `decode`; no model, no torch. Does not decode, and does not guess how long an answer
should be: the user says how long a gap is.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nap.canvas.canvas import Canvas, CanvasSpec, Tokenizer, before_end
from nap.common.bounds import CANVAS_TOKENS, check
from nap.common.files import InputError
from nap.common.text import check_text
from nap.data.trace import PROMPT

# Tokens of a blank that does not say its length.
GAP_TOKENS = 8
FORMS = "[MASK], [MASK:8] or ___"
_MARKER = r"\[MASK(?P<rest>[^\]\s]*)(?P<close>\]?)|(?<![\w_])(?P<blank>_{3,})(?![\w_])"
# Special tokens look like this. A mask token that reads like a word is not taken as a marker.
_SPECIAL = re.compile(r"<.+>|\[.+\]|\{.+\}")


@dataclass(frozen=True)
class Infill:
    """A text with gaps, and how many tokens a blank of underscores stands for.

    Raises InputError where a marker is not closed or has no length.
    """

    text: str
    gap_tokens: int = GAP_TOKENS

    def __post_init__(self) -> None:
        check("tokens of a gap", self.gap_tokens, CANVAS_TOKENS)
        check_text("the text with gaps", self.text)
        self.pieces()

    def pieces(self, own: str = "") -> list[str | int]:
        """The text in order: given words as text, gaps as their number of tokens. `own` is the model's mask token.

        >>> Infill("A [MASK:3] b ___.").pieces()
        ['A ', 3, ' b ', 8, '.']
        """
        known = f"|(?P<own>{re.escape(own)})" if _SPECIAL.fullmatch(own) else ""
        found: list[str | int] = []
        end = 0
        for marker in re.finditer(rf"\\?(?:{_MARKER}{known})", self.text):
            text = marker[0][1:] if marker[0].startswith("\\") else None
            found += [self.text[end : marker.start()], self._tokens(marker) if text is None else text]
            end = marker.end()
        return _joined([*found, self.text[end:]])

    def _tokens(self, marker: re.Match[str]) -> int:
        if marker["rest"] is None:
            return self.gap_tokens if marker["blank"] else 1
        if not marker["close"]:
            raise InputError(f"the gap {marker[0]!r:.40} is not closed; write {FORMS}, or \\[MASK for the text itself")
        length = re.fullmatch(r"(?::([0-9]{1,20}))?", marker["rest"])
        if length is None:
            raise InputError(f"the gap {marker[0]!r:.40} has no length; write [MASK:8] for eight tokens")
        tokens = int(length[1] or 1)
        check(f"tokens of the gap {marker[0]}", tokens, CANVAS_TOKENS)
        return tokens


def _joined(found: Sequence[str | int]) -> list[str | int]:
    """Joins neighbouring texts and drops empty ones."""
    made: list[str | int] = []
    for piece in found:
        if isinstance(piece, str) and made and isinstance(made[-1], str):
            made[-1] += piece
        elif piece != "":
            made.append(piece)
    return made


def lay_out(
    prompt_ids: Sequence[int], infill: Infill, tokenizer: Tokenizer, mask_id: int, *, problem_id: str = ""
) -> Canvas:
    """The canvas of a prompt, which may be empty, and a text with gaps. Raises InputError where the text has none."""
    own = str(tokenizer.decode([mask_id])).strip()
    pieces = infill.pieces(own)
    if not any(isinstance(piece, int) for piece in pieces):
        raise InputError(f"there is no gap in the text {infill.text!r:.60}; mark what is to be filled in: {FORMS}")
    check("tokens of all gaps", sum(piece for piece in pieces if isinstance(piece, int)), CANVAS_TOKENS)
    ids = _encoded(pieces, tokenizer, mask_id)
    spec = CanvasSpec.plain(len(ids))
    region = np.array([PROMPT] * len(prompt_ids) + [0] * len(ids), np.int64)
    whole = np.array([*prompt_ids, *ids], np.int64)
    return Canvas(ids=whole, region=region, spec=spec, problem_id=problem_id, gaps=gaps_of(whole, region == 0, mask_id))


def _encoded(pieces: Sequence[str | int], tokenizer: Tokenizer, mask_id: int) -> list[int]:
    """The ids of the pieces, a gap as masks.

    Where the tokenizer writes a space and the word after it as one token, the space before a gap becomes part of the
    gap, because the model was trained to write it there.
    """
    lone, led = (tokenizer.encode(letter, add_special_tokens=False) for letter in ("a", " a"))
    ids: list[int] = []
    for place, piece in enumerate(pieces):
        if isinstance(piece, int):
            ids += [mask_id] * piece
            continue
        before_gap = len(led) == len(lone) and place + 1 < len(pieces) and piece.endswith(" ")
        ids += tokenizer.encode(piece[:-1] if before_gap else piece, add_special_tokens=False)
    return ids


def gaps_of(ids: NDArray[np.int64], in_slot: NDArray[np.bool_], mask_id: int) -> tuple[tuple[int, int], ...]:
    """(start, stop) of each run of masks in the slot."""
    masked = np.flatnonzero((ids == mask_id) & in_slot)
    found = np.split(masked, np.flatnonzero(np.diff(masked) > 1) + 1) if len(masked) else []
    return tuple((int(run[0]), int(run[-1]) + 1) for run in found)


def gap_texts(
    canvas: Canvas, ids: Sequence[int] | NDArray[np.int64], tokenizer: Tokenizer, ends: Sequence[int] = ()
) -> tuple[str, ...]:
    """The decoded text of each gap, up to the first of `ends` in it."""
    found = (before_end(list(ids[start:stop]), canvas.spec.after_end, ends) for start, stop in canvas.gaps)
    return tuple(str(tokenizer.decode(gap)).strip() for gap in found)
