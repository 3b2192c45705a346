"""A canvas in the terminal: one lane a path and one for the summary, as it stands after a step.

What the step wrote is marked by brackets as well as by colour, so that it can be read without colour and through a
pipe. Token text is untrusted: control characters are shown, not sent. Does not read files or decode.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from nap.schema import COMMIT, EDIT, FILL, HEADER, PROMPT, REMASK, Event, Trace

MASK = "·"


def printable(text: str, most: int = 40) -> str:
    """The text with whatever could move a cursor or end a line made visible, cut at `most` characters."""
    # A few more than are kept: what comes after is never looked at.
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: most + 1])
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def lanes(
    ids: Sequence[int], region: Sequence[int], vocabulary: Mapping[int, str], mask_id: int, events: Iterable[Event] = ()
) -> Table:
    """The canvas `ids` with one lane a slot; `events` are what the last step did."""
    new = {event.position: event for event in events}
    paths = max(max(region, default=0), 0)
    grid = Table.grid("", "", padding=(0, 1))
    grid.columns[0].justify = "right"
    for code in sorted({code for code in region if code >= PROMPT and code != HEADER}):
        # A plain canvas has one slot and no summary: its only lane is the text.
        name = "prompt" if code == PROMPT else "summary" if code == paths and paths else f"path {code + 1}"
        tokens = [
            _token(ids[position], vocabulary, mask_id, new.get(position), code == PROMPT)
            for position, owner in enumerate(region)
            if owner == code
        ]
        grid.add_row(Text(f"{name} │", style="dim" if code == PROMPT else "bold"), Text(" ").join(tokens))
    return grid


def _token(token: int, vocabulary: Mapping[int, str], mask_id: int, event: Event | None, is_prompt: bool) -> Text:
    text = MASK if token == mask_id else printable(vocabulary.get(token, f"#{token}")) or "''"
    if event is None:
        return Text(text, style="dim" if is_prompt or token == mask_id else "")
    style = "bold black on red" if event.kind == REMASK else "bold black on green"
    return Text("[", style="dim") + Text(text, style=style) + Text("]", style="dim")


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
    by_step: dict[int, list[Event]] = {}
    for event in trace.events:
        by_step.setdefault(event.step, []).append(event)
    ids = list(trace.initial)
    for step, events in sorted(by_step.items()):
        for event in events:
            ids[event.position] = trace.mask_id if event.kind == REMASK else event.token
        drawn = lanes(ids, trace.region, trace.vocabulary, trace.mask_id, events)
        yield Frame(step, headline(step, trace.steps, events), drawn)
