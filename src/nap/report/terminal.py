"""Shows a canvas in the terminal after a step: one lane for each path and one for the summary.

Tokens of the step are marked by brackets as well as by colour, and given text by ‹ and ›, so that the picture can be
read without colour and in a pipe. Token text is untrusted: control characters are shown as escapes.

`LaneStreamer` has the methods of transformers' streamers (`put_draft`, `put`, `end`) and draws what they are given.
`stream` sends our steps to any streamer with these methods, those of transformers included.

Does not read files or decode.
"""

import sys
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from nap.common.files import InputError
from nap.common.terminal import open_console
from nap.common.text import printable
from nap.data.trace import COMMIT, EDIT, FILL, HEADER, PROMPT, REMASK, Event, Replay, Step, Trace, changes, given_in

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    Ids = Tensor | NDArray[np.int64] | Sequence[int] | Sequence[Sequence[int]]

MASK = "·"


def lanes(
    ids: Sequence[int],
    region: Sequence[int],
    vocabulary: Mapping[int, str],
    mask_id: int,
    events: Iterable[Event] = (),
    given: Container[int] = (),
) -> Table:
    """The canvas `ids` with one lane a slot; `events` are those of the last step, `given` positions of given text."""
    new = {event.position: event for event in events}
    paths = max(max(region, default=0), 0)
    grid = Table.grid("", "", padding=(0, 1))
    grid.columns[0].justify = "right"
    for code in sorted({code for code in region if code >= PROMPT and code != HEADER}):
        # A plain canvas has one slot and no summary: its only lane is the text.
        name = "prompt" if code == PROMPT else "summary" if code == paths and paths else f"path {code + 1}"
        places = [position for position, owner in enumerate(region) if owner == code]
        tokens = [
            _fenced(_token(ids[at], vocabulary, mask_id, new.get(at), code == PROMPT or at in given), at, given)
            for at in places
        ]
        grid.add_row(Text(f"{name} │", style="dim" if code == PROMPT else "bold"), Text(" ").join(tokens))
    return grid


def _token(token: int, vocabulary: Mapping[int, str], mask_id: int, event: Event | None, is_given: bool) -> Text:
    text = MASK if token == mask_id else printable(vocabulary.get(token, f"#{token}")) or "''"
    if event is None:
        return Text(text, style="dim" if is_given or token == mask_id else "")
    style = "bold black on red" if event.kind == REMASK else "bold black on green"
    return Text("[", style="dim") + Text(text, style=style) + Text("]", style="dim")


def _fenced(token: Text, at: int, given: Container[int]) -> Text:
    """Each stretch of given text stands between ‹ and ›."""
    if at in given and at - 1 not in given:
        token = Text("‹", style="dim") + token
    return token + Text("›", style="dim") if at in given and at + 1 not in given else token


def headline(step: int, steps: int | None, events: Sequence[Event]) -> Text:
    """One line on a step: how many tokens it wrote and how sure the model was of them."""
    kinds = [event.kind for event in events]
    counts = {"written": kinds.count(COMMIT) + kinds.count(EDIT), "masked again": kinds.count(REMASK)}
    counts["filled"] = kinds.count(FILL)
    did = [f"{n} {what}" for what, n in counts.items() if n or what == "written"]
    sure = [event.probability for event in events if event.probability == event.probability]
    mean = [f"mean probability {sum(sure) / len(sure):.2f}"] if sure else []
    return Text(f"step {step + 1}{f' of {steps}' if steps else ''}: {', '.join(did + mean)}", style="bold cyan")


class Frame(NamedTuple):
    """What one step (from 0) did, and the canvas after it."""

    step: int
    headline: Text
    lanes: Table


def frames(trace: Trace) -> Iterator[Frame]:
    """A frame of each step in which something happened."""
    replay, given = Replay(trace.initial, trace.mask_id), {*trace.given}
    for step, events in replay.steps(trace.events):
        drawn = lanes(replay.ids, trace.region, trace.vocabulary, trace.mask_id, events, given)
        yield Frame(step, headline(step, trace.steps, events), drawn)


class Laid(Protocol):
    """The part of a canvas that is drawn: its ids, and the region code of each."""

    @property
    def ids(self) -> "NDArray[np.int64]":
        """L token ids before the first step."""
        ...

    @property
    def region(self) -> "NDArray[np.int64]":
        """L region codes."""
        ...


class Decodes(Protocol):
    """The part of a tokenizer that is needed here."""

    def decode(self, ids: list[int], /) -> str:
        """The text of ids."""
        ...


class Streamer(Protocol):
    """A streamer like those of transformers; older ones have no `put_draft`."""

    def put(self, value: "Tensor") -> None:
        """The prompt's ids, then those that are final, [1, n]."""

    def end(self) -> None:
        """The end of the stream."""


def stream(steps: Iterable[Step], canvas: Laid, streamer: Streamer, mask_id: int, row: int = 0) -> Iterator[Step]:
    """Pass the steps of `decode` on, and send row `row` to the streamer: its prompt, a draft a step, the final canvas.

    After the prompt it gets the canvas [1, n] without prompt and padding, with the masks that are left.
    """
    import torch

    region = torch.tensor(canvas.region)
    replay = Replay(canvas.ids.tolist(), mask_id)
    streamer.put(torch.tensor(replay.ids)[region == PROMPT][None])
    for step in steps:
        if step.row == row:
            replay.apply(step.events)
            if put_draft := getattr(streamer, "put_draft", None):
                put_draft(value=torch.tensor(replay.ids)[region >= HEADER][None])
        yield step
    streamer.put(torch.tensor(replay.ids)[region >= HEADER][None])
    streamer.end()


def live(steps: Iterable[Step], canvas: Laid, tokenizer: Decodes, mask_id: int, row: int = 0) -> Iterator[Step]:
    """Pass the steps of `decode` on, and draw the canvas of row `row`, prompt included, after each of its steps."""
    replay, region, texts = Replay(canvas.ids.tolist(), mask_id), canvas.region.tolist(), Texts(tokenizer)
    given = {*given_in(replay.ids, region, mask_id)}
    with Screen() as screen:
        for step in steps:
            if step.row == row:
                replay.apply(step.events)
                drawn = lanes(replay.ids, region, texts, mask_id, step.events, given)
                screen.show(Group(headline(step.index, None, step.events), drawn))
            yield step


class Fitted:
    """A picture no higher than the terminal: its first line, and as much of its end as there is room for.

    The end shows the summary, for which a reader is waiting.
    """

    def __init__(self, picture: Group) -> None:
        self.picture = picture

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(self.picture, options, pad=False)
        # The cursor takes a line of its own.
        room = max(3, options.size.height - 1)
        above = len(lines) - room + 1
        kept = lines if len(lines) <= room else [lines[0], None, *lines[above + 1 :]]
        for line in kept:
            if line is None:
                yield Text(f"… {above} lines above …", style="dim")
                continue
            yield from line
            yield Segment.line()


class Screen:
    """Draws pictures in place on a terminal, and one below the other elsewhere. The last one stays."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or open_console(sys.stderr)
        self.live: Live | None = None

    def __enter__(self) -> "Screen":
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def show(self, picture: Group) -> None:
        """Draw."""
        if not self.console.is_terminal or self.console.is_dumb_terminal:
            self.console.print(picture)
            return
        if self.live is None:
            self.live = Live(console=self.console, auto_refresh=False)
            self.live.start()
        self.live.update(Fitted(picture), refresh=True)

    def end(self) -> None:
        """Keep the last picture; the next one is drawn below it."""
        if self.live:
            self.live.stop()
        self.live = None


class Texts(dict[int, str]):
    """Texts of tokens, each decoded when it is first needed."""

    def __init__(self, tokenizer: Decodes) -> None:
        self.tokenizer = tokenizer

    def get(self, token: int, default: object = None) -> str:
        """The token's text."""
        if token not in self:
            self[token] = self.tokenizer.decode([token])
        return self[token]


class LaneStreamer:
    """Draws drafts as lanes: in place on a terminal, one below the other elsewhere.

    tokenizer   gives the texts
    mask_id     id of the mask; None for a model without one, where every change is an edit
    region      region code of each id of a draft; None: one lane
    """

    def __init__(
        self,
        tokenizer: Decodes,
        mask_id: int | None = None,
        region: Sequence[int] | None = None,
        console: Console | None = None,
    ) -> None:
        self.region = region
        self.mask_id = -1 if mask_id is None else mask_id
        self.screen, self.texts = Screen(console), Texts(tokenizer)
        self.prompted, self.drafts = False, 0
        self.before: list[int] | None = None
        self.start, self.given = list[int](), frozenset[int]()

    def follow(self, ids: Sequence[int], region: Sequence[int]) -> None:
        """The next canvas before its first draft; tokens in its slots are given text."""
        self.region, self.start = region, [*ids]
        self.given = frozenset(given_in(ids, region, self.mask_id))

    def put_draft(self, value: "Ids", **_: object) -> None:
        """Draw a draft [n] or [1, n]. Raises InputError for a batch of several, or another length than `region`."""
        ids = _one_row(value)
        if self.region is not None and len(ids) != len(self.region):
            raise InputError(f"a draft of {len(ids)} ids for {len(self.region)} regions; give the regions of the draft")
        events = self._changes(self.drafts, ids)
        drawn = lanes(ids, self.region or [0] * len(ids), self.texts, self.mask_id, events, self.given)
        self.screen.show(Group(headline(self.drafts, None, events), drawn))
        self.before, self.drafts = ids, self.drafts + 1

    def put(self, value: "Ids") -> None:
        """Takes the prompt, which is not drawn, and then the final canvas, which is drawn if no draft has shown it."""
        if self.prompted and _one_row(value) != self.before:
            self.put_draft(value)
        # After the final canvas the next one may follow.
        self.prompted, self.before = True, None

    def end(self) -> None:
        """Keep the last draft on the screen."""
        self.screen.end()
        self.prompted, self.drafts, self.before = False, 0, None
        self.start, self.given = [], frozenset()

    def _changes(self, step: int, ids: list[int]) -> list[Event]:
        before = self.before or self.start or [self.mask_id] * len(ids)
        if len(before) != len(ids):
            before = [self.mask_id] * len(ids)
        found = changes(step, before, ids, self.mask_id)
        return [event for event in found if self.region is None or self.region[event.position] >= 0]


def _one_row(value: "Ids") -> list[int]:
    listed = value if isinstance(value, Sequence) else value.tolist()
    rows = [row for row in listed if isinstance(row, Sequence)] or [listed]
    if len(rows) > 1:
        raise InputError(f"lanes show one canvas, got a batch of {len(rows)}; stream one prompt")
    return [*rows[0]]  # pyright: ignore[reportReturnType]
