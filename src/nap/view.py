"""A canvas in the terminal: one lane a path and one for the summary, as it stands after a step.

What the step wrote is marked by brackets as well as by colour, so that it can be read without colour and through a
pipe. Token text is untrusted: control characters are shown, not sent. Does not read files or decode.
"""

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Group
from rich.text import Text

from nap.schema import HEADER, PROMPT, REMASK, Event, Trace

MASK = "·"


def printable(text: str) -> str:
    """The text with whatever could move a cursor or end a line made visible, cut at 40 characters."""
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return shown if len(shown) <= 40 else shown[:39] + "…"


def lanes(
    ids: Sequence[int], region: Sequence[int], vocabulary: Mapping[int, str], mask_id: int, events: Iterable[Event] = ()
) -> Group:
    """The canvas `ids` with one lane a slot; `events` are what the last step did."""
    new = {event.position: event for event in events}
    paths = max(max(region, default=0), 0)
    lines = []
    for code in sorted({code for code in region if code >= PROMPT and code != HEADER}):
        # A plain canvas has one slot and no summary: its only lane is the text.
        name = "prompt" if code == PROMPT else "summary" if code == paths and paths else f"path {code + 1}"
        line = Text(f"{name:>8} │ ", style="bold" if code != PROMPT else "dim")
        for position, owner in enumerate(region):
            if owner == code:
                line.append_text(_token(ids[position], vocabulary, mask_id, new.get(position), code == PROMPT))
        lines.append(line)
    return Group(*lines)


def _token(token: int, vocabulary: Mapping[int, str], mask_id: int, event: Event | None, is_prompt: bool) -> Text:
    text = MASK if token == mask_id else printable(vocabulary.get(token, f"#{token}")) or "''"
    if event is None:
        return Text(text + " ", style="dim" if is_prompt or token == mask_id else "")
    style = "bold black on red" if event.kind == REMASK else "bold black on green"
    return Text("[", style="dim") + Text(text, style=style) + Text("] ", style="dim")


def headline(step: int, steps: int | None, events: Sequence[Event]) -> Text:
    """One line on a step: how many tokens it wrote and how sure the model was."""
    sure = [event.probability for event in events if event.probability == event.probability]
    mean = f", mean probability {sum(sure) / len(sure):.2f}" if sure else ""
    of = f" of {steps}" if steps else ""
    return Text(f"step {step + 1}{of}: {len(events)} written{mean}", style="bold cyan")


def frames(trace: Trace) -> Iterable[tuple[Text, Group]]:
    """(headline, lanes) of each step of a trace."""
    by_step: dict[int, list[Event]] = {}
    for event in trace.events:
        by_step.setdefault(event.step, []).append(event)
    ids = list(trace.initial)
    for step, events in sorted(by_step.items()):
        for event in events:
            ids[event.position] = trace.mask_id if event.kind == REMASK else event.token
        yield headline(step, trace.steps, events), lanes(ids, trace.region, trace.vocabulary, trace.mask_id, events)
