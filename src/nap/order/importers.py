"""Traces from records of other systems: canvases recorded after every step, or bare (position, step) pairs.

What each source records:
    canvases   one run: [S, L] token ids, the first before or after its first step
    dllm       `histories` of a sampler's output: [S, B, L], the first before the first step; with blocks L may grow
    dream      `history` of `diffusion_generate(output_history=True)`: [S, B, L], the first after the first step
    pairs      one run: [n, 2], each position with the step that finalised it No source records how sure its model was,
               so probabilities are nan. Each step counts as one forward.

Where the texts of tokens are known, a canvas of NAP is split into its paths and summary by its opening tags.

Does not run the other system, and runs no pickles: JSON, NumPy's arrays, and torch's tensors by its safe reader.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, pairwise
from math import nan
from pathlib import Path
from typing import Literal, get_args

from nap.common.files import InputError, placed
from nap.common.rows import read_values
from nap.common.text import check_known
from nap.data.trace import COMMIT, HEADER, OUTSIDE, PROMPT, Event, Trace, changes, check_trace
from nap.order.arrays import SUFFIXES, read_arrays
from nap.order.order import bare_order

Ids = Sequence[int]
Source = Literal["canvases", "dllm", "dream", "pairs"]
KEYS = ("canvases", "histories", "history", "pairs")  # names of the fields of an object that may hold its runs
LARGEST_ID = 2**31 - 1
# The opening tags of NAP's canvas as they are decoded: some tokenizers put spaces between tokens.
_TAG = re.compile(r"\s*<\s*(?:think\s*#?\s*([1-9][0-9]?)|summary)\s*>\s*")
SUMMARY, TAG_TOKENS = "summary", 16


@dataclass(frozen=True, kw_only=True)
class Known:
    """What a user has to add to a record.

    mask_id        id of the mask token; pairs need none
    prompt_tokens  length of the prompt, with the padding on its left; None: all that is not masked at the start
    uncounted      ids that are padding or end of text
    text           the text of a token id
    setting        model, policy and whatever else the trace should say about itself
    """

    mask_id: int | None = None
    prompt_tokens: int | None = None
    uncounted: tuple[int, ...] = ()
    text: Callable[[int], str] | None = None
    setting: Mapping[str, object] = field(default_factory=dict)


def import_traces(path: str | Path, source: Source, known: Known) -> Iterator[Trace]:
    """The traces of a file: .npy, .npz or .pt with one run or batch, or JSON with one run or batch a line.

    Raises InputError that names the file and the line.
    """
    path = Path(path)
    check_known("source", source, get_args(Source))
    number = 0
    for where, value in _values(path):
        with placed(where):
            for run in _runs(value, source):
                number += 1
                yield replace(_trace(run, source, known), problem_id=f"{path.stem}-{number}")
    if not number:
        raise InputError(f"{path} holds no run; expected one JSON value a line, .npy, .npz or .pt")


def _values(path: Path) -> Iterable[tuple[str, object]]:
    if path.suffix not in SUFFIXES:
        return read_values(path)
    return [(f"{path}:1", read_arrays(path, KEYS))]


def _runs(value: object, source: Source) -> list[object]:
    """The runs of one value; a batch is split into its rows."""
    if isinstance(value, dict):
        keys = [key for key in KEYS if key in value]
        if len(keys) != 1:
            raise InputError(f"an object must have one of {', '.join(KEYS)}, got {', '.join(value)[:80] or 'none'}")
        value = value[keys[0]]
    if source in ("canvases", "pairs"):
        return [value]
    steps = value if isinstance(value, list) else []
    try:
        rows = {len(step) for step in steps}
        batch = range(rows.pop() if len(rows) == 1 else 0)
        runs: list[object] = [[step[row] for step in steps] for row in batch]
    except (TypeError, KeyError):
        runs = []
    if not runs:
        raise InputError(f"{source} records are [steps, batch, length] token ids, got {repr(value)[:60]}")
    return runs


def _trace(run: object, source: Source, known: Known) -> Trace:
    if source == "pairs":
        return from_pairs(run, known)
    if source == "dream" and known.prompt_tokens is None:
        raise InputError("dream records start after the first step: give the length of the prompt (--prompt-tokens)")
    return from_canvases(run, known, begun=source == "dream")


def from_canvases(canvases: object, known: Known, *, begun: bool = False) -> Trace:
    """The trace of one run's canvases [S, L]; tensors, arrays or lists. A shorter one is masked to the last's length.

    begun  the first canvas is the one after the first step, also where that step wrote nothing

    Raises InputError for invalid canvases, an unknown mask id, or a change outside the generated part.
    """
    if known.mask_id is None:
        raise InputError("the id of the mask token is needed (--mask-id, or a --tokenizer that knows it)")
    mask, states = known.mask_id, _checked(canvases)
    states = [(*state, *(mask,) * (len(states[-1]) - len(state))) for state in states]
    start = states[0]
    if known.prompt_tokens is not None:
        if known.prompt_tokens >= len(start):
            raise InputError(
                f"a prompt of {known.prompt_tokens} tokens leaves nothing of a canvas of {len(start)} to be written; "
                "correct its length (--prompt-tokens)"
            )
        start = (*start[: known.prompt_tokens], *(mask,) * (len(start) - known.prompt_tokens))
    if begun or start != states[0]:
        states = [start, *states]
    if mask not in start:
        raise InputError(f"no position of the first canvas holds the mask {mask}: is the mask id right?")
    happened = [changes(step, *pair, mask) for step, pair in enumerate(pairwise(states))]
    given = {p for p, token in enumerate(start) if token != mask}
    if touched := [event for events in happened for event in events if event.position in given]:
        raise InputError(f"step {touched[0].step} changes position {touched[0].position}, which was not masked before")
    regions = _regions(start, mask)
    regions = _by_tags(start, regions, known.text) if known.text else regions
    return _made(start, regions, [event for events in happened for event in events], len(happened), known)


def from_pairs(pairs: object, known: Known) -> Trace:
    """The trace of [position, step] pairs, in any sequence. Its tokens have no text. Errors as `order.bare_order`."""
    order = bare_order(_listed(pairs) or pairs)
    length = int(order.positions[-1]) + 1
    if length > 1_000_000:
        raise InputError(f"position {length - 1} is further than any canvas goes (1000000)")
    region = [OUTSIDE] * length
    for position in order.positions.tolist():
        region[position] = 0
    written = sorted(zip(order.steps.tolist(), order.positions.tolist(), strict=True))
    events = [Event(step, COMMIT, position, 1, nan) for step, position in written]
    known = replace(known, mask_id=0, uncounted=(), text=("·", "?").__getitem__)
    return _made((0,) * length, tuple(region), events, order.n_steps, known)


def _checked(canvases: object) -> list[tuple[int, ...]]:
    states = [_listed(state) for state in _listed(canvases)]
    if not states or not all(states):
        raise InputError(f"a run is a list of canvases, each a list of token ids; got {repr(canvases)[:60]}")
    found = [tuple(map(_token, state)) for state in states]
    if any(len(later) < len(earlier) for earlier, later in pairwise(found)):
        raise InputError("a canvas is shorter than the one before it")
    return found


def _token(value: object) -> int:
    if type(value) is int and 0 <= value <= LARGEST_ID:
        return value
    raise InputError(f"a token id is a whole number from 0 to {LARGEST_ID}, got {value!r:.40}")


def _listed(value: object) -> list[object]:
    """The elements of a list, a tuple, a tensor or an array; none for anything else."""
    found = value.tolist() if hasattr(value, "tolist") else value  # pyright: ignore[reportAttributeAccessIssue]
    return list(found) if isinstance(found, list | tuple) else []


def _regions(start: Ids, mask: int) -> tuple[int, ...]:
    """All masks form one slot. Given tokens before them are the prompt, between them clamped, after them padding."""
    runs = [(masked, len(list(same))) for masked, same in groupby(token == mask for token in start)]
    last = max(i for i, (masked, _) in enumerate(runs) if masked)
    given = [PROMPT if not i else HEADER if i < last else OUTSIDE for i in range(len(runs))]
    codes = [0 if masked else given[i] for i, (masked, _) in enumerate(runs)]
    return tuple(code for code, (_, count) in zip(codes, runs, strict=True) for _ in range(count))


def _by_tags(start: Ids, region: Ids, text: Callable[[int], str]) -> tuple[int, ...]:
    """The regions with a slot for each path and for the summary, where an opening tag stands before every slot."""
    opened = [place for place, code in enumerate(region) if code == 0 and (not place or region[place - 1] != 0)]
    tags = [_tag_before(start, region, place, text) for place in opened]
    names = [name for name, _ in tags]
    if names != [*map(str, range(1, len(names))), SUMMARY] and names != ["1"]:
        return tuple(region)
    found = list(region)
    for code, (place, (_, length)) in enumerate(zip(opened, tags, strict=True)):
        found[place - length : place] = [HEADER] * length
        end = next((p for p in range(place, len(region)) if region[p] != 0), len(region))
        found[place:end] = [code] * (end - place)
    return tuple(found)


def _tag_before(start: Ids, region: Ids, place: int, text: Callable[[int], str]) -> tuple[str, int]:
    """(the path's number or SUMMARY, tokens) of the tag that ends before a place; ("", 0) for none."""
    for length in range(1, min(TAG_TOKENS, place) + 1):
        if region[place - length] == 0:
            break
        found = _TAG.fullmatch("".join(text(token) for token in start[place - length : place]))
        if found:
            return found[1] or SUMMARY, length
    return "", 0


def _made(start: Ids, region: Ids, events: list[Event], forwards: int, known: Known) -> Trace:
    tokens = sorted({*start, *(event.token for event in events)})
    trace = Trace(
        problem_id="imported",
        initial=tuple(start),
        region=tuple(region),
        events=tuple(events),
        forwards=forwards,
        mask_id=known.mask_id or 0,
        uncounted=tuple(sorted({*known.uncounted})),
        vocabulary={token: known.text(token) for token in tokens} if known.text else {},
        setting=dict(known.setting),
    )
    return check_trace(trace)
