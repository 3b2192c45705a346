"""The canvas: [prompt] [header 1] path 1 ... [header P] path P [summary header] summary.

Lays a prompt out with empty slots, lays a training sample out with full ones, says who may see whom, and reads a
decoded canvas back. Opening headers are clamped at the slots' starts; closing tags are generated, and what follows
one in its slot is padding. Pure: numpy and a tokenizer with `encode` and `decode`; no model, no torch.

Shape letters: B batch, L canvas length (prompt included), P paths.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from nap.canvas.visibility import Attention, Layout, Positions
from nap.common.arguments import checked_fields
from nap.common.bounds import CANVAS_TOKENS, PATHS, SLOT_TOKENS, SUMMARY_TOKENS, check
from nap.common.files import InputError
from nap.common.text import check_known
from nap.data.trace import HEADER, OUTSIDE, PROMPT

Tags = Literal["think", "hash", "none"]
AfterEnd = Literal["cut", "keep"]

OPENING: dict[str, Callable[[int], str]] = {
    "think": lambda number: f"<think {number}>",
    "hash": lambda number: f"<think #{number}>",
    "none": lambda number: "",
}
SUMMARY_OPENING, SUMMARY_CLOSING = "<summary>", "</summary>"
# Tokens of a plain canvas, where nobody says how many.
TOKENS = 256


class Tokenizer(Protocol):
    """The two methods of a transformers tokenizer that the canvas needs."""

    def encode(self, text: str, *, add_special_tokens: bool = ...) -> list[int]:
        """The ids of a text."""
        ...

    def decode(self, ids: list[int], /) -> str | list[str]:
        """The text of ids, special tokens included."""
        ...


@checked_fields
@dataclass(frozen=True, kw_only=True)
class CanvasSpec:
    """The shape of a canvas. `paths=1` is a long chain of thought; `tags="none", summary_tokens=0` is a plain canvas.

    path_tokens     tokens of each path slot; the closing tag counts, the clamped header does not
    summary_tokens  tokens of the summary slot, counted the same way; 0 for no summary
    tags            `think` writes <think 1>, `hash` <think #1>, `none` writes no tags at all
    attention       `full`: every position sees every other. `paths`: a path sees the prompt and itself, and the summary
                    sees everything
    positions       how the model numbers positions. `canvas`: by their place on the canvas. `parallel`: every path
                    starts right after the prompt, so that no path is the first, and the summary starts after the
                    longest path
    after_end       `cut`: a slot's text ends at its first end-of-text token, as in Dream's and dllm's evaluations.
                    `keep`: words after that token still count, as in LLaDA's evaluation

    >>> import nap
    >>> spec = nap.CanvasSpec(paths=2, path_tokens=40, summary_tokens=8)
    >>> spec.kind, spec.special_tokens[:2]
    ('nap', ['<think 1>', '</think 1>'])
    >>> nap.CanvasSpec.plain(16).kind
    'plain'
    """

    paths: int = 3
    path_tokens: int = 330
    summary_tokens: int = 32
    tags: Tags = "think"
    attention: Attention = "full"
    after_end: AfterEnd = "cut"
    positions: Positions = "canvas"

    def __post_init__(self) -> None:
        for name, bound in (("paths", PATHS), ("path_tokens", SLOT_TOKENS), ("summary_tokens", SUMMARY_TOKENS)):
            check(f"canvas {name}", getattr(self, name), bound)
        check("tokens of all slots", self.paths * self.path_tokens + self.summary_tokens, CANVAS_TOKENS)
        check_known("canvas tags", self.tags, OPENING)
        check_known("attention layout", self.attention, get_args(Attention))
        check_known("positions", self.positions, get_args(Positions))
        check_known("after_end", self.after_end, get_args(AfterEnd))
        if self.tags == "none" and (self.paths > 1 or self.summary_tokens):
            raise InputError("a canvas without tags has one path and no summary; set paths=1 and summary_tokens=0")
        if self.paths > 1 and not self.summary_tokens:
            raise InputError(f"{self.paths} paths need a summary to answer from; set summary_tokens to at least 1")

    @classmethod
    def plain(cls, tokens: int) -> "CanvasSpec":
        """One slot of so many tokens, without tags: what most published checkpoints were trained on."""
        return cls(path_tokens=tokens, **PRESETS["plain"])

    def said(self) -> dict[str, int | str]:
        """The fields as files store them. Newer fields are left out at their default, as older files have none."""
        usual = {"after_end": "cut", "positions": "canvas"}
        return {name: value for name, value in asdict(self).items() if usual.get(name) != value}

    def under(self, attention: Attention | None) -> "CanvasSpec":
        """This canvas with another attention; None keeps the one it has."""
        return replace(self, attention=attention) if attention else self

    @property
    def kind(self) -> str:
        """`nap` (several paths), `longcot` (one path and a summary) or `plain` (one slot without tags)."""
        return "nap" if self.paths > 1 else "longcot" if self.summary_tokens else "plain"

    @property
    def slots(self) -> list[tuple[int, int, str, str]]:
        """(region, tokens, opening tag, closing tag) of each slot in canvas order."""
        tags = [OPENING[self.tags](j + 1) for j in range(self.paths)]
        slots = [(j, self.path_tokens, tag, tag.replace("<", "</", 1)) for j, tag in enumerate(tags)]
        if self.summary_tokens:
            slots.append((self.paths, self.summary_tokens, SUMMARY_OPENING, SUMMARY_CLOSING))
        return slots

    @property
    def special_tokens(self) -> list[str]:
        """Every tag of this canvas, for adding to a tokenizer."""
        return [tag for _, _, opening, closing in self.slots for tag in (opening, closing) if tag]


# The fields that each kind of canvas fixes; all others have the defaults of CanvasSpec.
PRESETS: dict[str, dict[str, Any]] = {
    "plain": {"paths": 1, "summary_tokens": 0, "tags": "none"},
    "longcot": {"paths": 1},
    "nap": {},
}


def usual_tokens(positions: int | None) -> int:
    """How many tokens of a plain canvas leave room for a prompt in a model of so many positions (None: any number)."""
    return TOKENS if positions is None else min(TOKENS, max(1, positions // 2))


def preset(kind: str) -> CanvasSpec:
    """The usual canvas of a kind. Raises InputError for an unknown one."""
    check_known("canvas", kind, ("own", *PRESETS))
    return CanvasSpec(**PRESETS[kind])


@dataclass(frozen=True, kw_only=True, repr=False)
class Completion:
    """The text of each path and of the summary of a decoded canvas, and whether each slot closed with its tag.

    >>> import nap
    >>> nap.Completion(paths=("2 + 3 = 5",), summary="5", closed=(True, True))
    Completion(summary '5', 1 path, 2 of 2 slots closed)
    """

    paths: tuple[str, ...]
    summary: str
    closed: tuple[bool, ...]

    def __repr__(self) -> str:
        said = self.summary or (self.paths[0] if self.paths else "")
        text = f"{'summary' if self.summary else 'text'} {said if len(said) <= 60 else said[:59] + '…'!r}"
        paths = f"{len(self.paths)} path{'s' * (len(self.paths) != 1)}"
        return f"Completion({text}, {paths}, {sum(self.closed)} of {len(self.closed)} slots closed)"


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """One row: L token ids and L region codes (data/trace.py), and the spec that it was laid out by.

    gaps  (start, stop) of each gap of a given text (infill.py); none where whole slots are decoded

    >>> import nap, numpy
    >>> ids, region = numpy.array([7, 0, 0]), numpy.array([-2, 0, 0])  # a prompt of one token, and two masks
    >>> len(nap.Canvas(ids=ids, region=region, spec=nap.CanvasSpec(paths=1, path_tokens=2)))
    3
    """

    ids: NDArray[np.int64]
    region: NDArray[np.int64]
    spec: CanvasSpec
    problem_id: str = ""
    gaps: tuple[tuple[int, int], ...] = ()

    def __len__(self) -> int:
        return len(self.ids)


def layout(
    prompt_ids: Sequence[int], spec: CanvasSpec, tokenizer: Tokenizer | None, mask_id: int, *, problem_id: str = ""
) -> Canvas:
    """The canvas of a prompt with every slot masked. Raises InputError if the tokenizer lacks the tags."""
    ids, region = list(prompt_ids), [PROMPT] * len(prompt_ids)
    for code, tokens, opening, _ in spec.slots:
        header = encode_tag(opening, tokenizer) if opening else []
        ids += header + [mask_id] * tokens
        region += [HEADER] * len(header) + [code] * tokens
    return Canvas(ids=np.array(ids, np.int64), region=np.array(region, np.int64), spec=spec, problem_id=problem_id)


def fill(canvas: Canvas, texts: Sequence[str], tokenizer: Tokenizer, pad_id: int) -> NDArray[np.int64]:
    """L ids of the canvas with `texts` (paths in order, then the summary), closing tags and padding in the slots.

    Raises InputError for a text that does not fit its slot, is empty, or holds a tag. Nothing is cut silently.
    """
    slots = canvas.spec.slots
    if len(texts) != len(slots):
        raise InputError(f"the canvas has {len(slots)} slots (paths and summary), got {len(texts)} texts")
    ids = canvas.ids.copy()
    for (code, tokens, _, closing), text in zip(slots, texts, strict=True):
        if not text.strip():
            raise InputError(f"the text of slot {code + 1} is empty")
        if tag := find_tag(text):
            raise InputError(f"the text of slot {code + 1} holds the tag {tag!r}; escape it first")
        content = list(tokenizer.encode(text, add_special_tokens=False))
        slot = canvas.region == code
        if {pad_id, *canvas.ids[slot].tolist()} & set(content):
            raise InputError(f"the text of slot {code + 1} holds the padding or mask token; take it out first")
        if closing:
            content += encode_tag(closing, tokenizer)
        if len(content) > tokens:
            raise InputError(f"the text of slot {code + 1} takes {len(content)} tokens, its slot has {tokens}")
        ids[slot] = content + [pad_id] * (tokens - len(content))
    return ids


def find_tag(text: str) -> str | None:
    """The first canvas tag in a text, if any."""
    found = re.search(r"<\s*/?\s*(?:think\s*#?\s*\d[\d\s]*|summary\s*)>", text)
    return found.group() if found else None


def _tag_pattern(tag: str) -> re.Pattern[str]:
    """A pattern for the tag as it is decoded: some tokenizers put spaces between the tokens of a tag."""
    return re.compile(r"\s*".join(map(re.escape, re.findall(r"[a-z]+|\S", tag))))


def encode_tag(tag: str, tokenizer: Tokenizer | None) -> list[int]:
    """The ids of a tag. Raises InputError if there is no tokenizer, or it cannot write the tag."""
    if tokenizer is None:
        raise InputError(f"no tokenizer to write the tag {tag!r} with; use a canvas without tags (--canvas plain)")
    ids = list(tokenizer.encode(tag, add_special_tokens=False))
    if not _tag_pattern(tag).fullmatch(str(tokenizer.decode(ids)).strip()):
        raise InputError(
            f"the tokenizer cannot write the tag {tag!r} (it reads back as {tokenizer.decode(ids)!r}); "
            "use a canvas without tags (--canvas plain), or a checkpoint trained with them"
        )
    return ids


def parse(
    canvas: Canvas, ids: Sequence[int] | NDArray[np.int64], tokenizer: Tokenizer, ends: Sequence[int] = (), *,
    blanks: bool = False,
) -> Completion:  # fmt: skip
    """Read a decoded canvas back. A slot's text ends at its closing tag or its first end of text (spec.after_end).

    `ends` are the ids of padding and end of text; no text contains them. Blanks around a text are left out; with
    `blanks` those of a slot without tags are kept, which goes on where the prompt ends.
    """
    ids = np.asarray(ids)
    texts, closed = [], []
    for code, _, _, closing in canvas.spec.slots:
        slot = ids[canvas.region == code].tolist()
        kept = said_between(canvas, ids, ends) if canvas.gaps else before_end(slot, canvas.spec.after_end, ends)
        text = str(tokenizer.decode(kept))
        found = _tag_pattern(closing).search(text) if closing else None
        text = text[: found.start() if found else None]
        texts.append(text if blanks and not closing else text.strip())
        closed.append(found is not None)
    has_summary = canvas.spec.summary_tokens > 0
    return Completion(
        paths=tuple(texts[: canvas.spec.paths]), summary=texts[-1] if has_summary else "", closed=tuple(closed)
    )


def before_end(ids: Sequence[int], after_end: AfterEnd, ends: Sequence[int]) -> list[int]:
    """The ids that are text: those before the first of `ends`, or with `keep` all that are not in `ends`."""
    found = [place for place, i in enumerate(ids) if i in ends] if after_end == "cut" else []
    return [i for i in ids[: found[0] if found else None] if i not in ends]


def said_between(canvas: Canvas, ids: NDArray[np.int64], ends: Sequence[int]) -> list[int]:
    """The ids of a given text with its gaps filled. An end of text in a gap does not cut the words after the gap."""
    kept, at = list[int](), int(np.argmax(canvas.region >= 0))
    for start, stop in canvas.gaps:
        kept += before_end(ids[at:start].tolist(), "keep", ends)
        kept += before_end(ids[start:stop].tolist(), canvas.spec.after_end, ends)
        at = stop
    return kept + before_end(ids[at:].tolist(), "keep", ends)


def collate(canvases: Sequence[Canvas], pad_id: int) -> tuple[NDArray[np.int64], Layout]:
    """(ids_BL, layout) of canvases of any lengths and attention, shorter ones padded on the right."""
    length = max(map(len, canvases))
    ids = np.full((len(canvases), length), pad_id, np.int64)
    region = np.full((len(canvases), length), OUTSIDE, np.int64)
    for row, canvas in enumerate(canvases):
        ids[row, : len(canvas)] = canvas.ids
        region[row, : len(canvas)] = canvas.region
    attention: tuple[Attention, ...] = tuple(canvas.spec.attention for canvas in canvases)
    positions: tuple[Positions, ...] = tuple(canvas.spec.positions for canvas in canvases)
    return ids, Layout(region, attention, tuple(canvas.spec.paths for canvas in canvases), positions)
