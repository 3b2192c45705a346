"""One answer as it is written: the text that will not change any more, why it ends, and what it cost.

A canvas is written in any order, so that its text settles from the left: what stands before the first mask. Under a
policy that may take tokens back nothing is settled before the end. Does not decode, and knows nothing of requests.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nap.canvas.canvas import Canvas, Completion, parse
from nap.data.trace import PROMPT, Replay, Step
from nap.data.trace_files import Row, trace_to_row
from nap.decoding.policies.policy import Policy, Selecting
from nap.decoding.traces import Recording, Setting
from nap.models.denoiser import Denoiser


@dataclass(frozen=True, kw_only=True)
class Written:
    """An answer at its end.

    text      the summary, or the only slot of a canvas without one, up to a stop text
    paths     the texts of the paths before a summary
    finish    `stop` where the text ended by itself or before a stop text, `length` where its slot was full
    prompt    tokens of the prompt
    tokens    tokens written in all slots, without padding and end of text
    thought   those of them in the paths before a summary
    forwards  model calls that it took part in
    trace     how it was written, as a trace file has it, where that was asked for
    """

    text: str
    paths: tuple[str, ...]
    finish: str
    prompt: int
    tokens: int
    thought: int
    forwards: int
    trace: Row | None


class Answer:
    """What is being written on a canvas.

    stops  texts before which the answer ends
    """

    def __init__(
        self, denoiser: Denoiser, canvas: Canvas, policy: Policy, setting: Setting, stops: Sequence[str] = ()
    ) -> None:
        self.canvas, self.stops, self._denoiser = canvas, tuple(stops), denoiser
        self._recording = Recording(canvas, setting)
        self._replay = Replay(canvas.ids.tolist(), denoiser.mask_id)
        self._settles = isinstance(policy, Selecting)
        *_, (code, _, _, self._closing) = canvas.spec.slots
        self._slot = np.flatnonzero(canvas.region == code).tolist()

    def take(self, step: Step) -> None:
        """Write a step."""
        self._recording.take(step)
        self._replay.apply(step.events)
        # Read once a step, by `stopped` and by `text`.
        self.__dict__.pop("_settled", None)

    @property
    def full(self) -> bool:
        """Whether no mask is left in its slots."""
        return all(self._replay.ids[at] != self._denoiser.mask_id for at in self._slots)

    @property
    def stopped(self) -> bool:
        """Whether a stop text has settled."""
        if not (self.stops and self._settles):
            return False
        settled = self._settled
        return len(cut(settled, self.stops)) < len(settled)

    @property
    def text(self) -> str:
        """The answer so far: what can only grow."""
        return self._sure(cut(self._settled, self.stops)) if self._settles else ""

    def written(self, trace: bool = False) -> Written:
        """The answer at its end."""
        said, settled = self._said(self._replay.ids), self._settled
        ended = {self._replay.ids[at] for at in self._slot} & {*self._ends}
        text = cut(settled, self.stops)
        return Written(
            text=text,
            paths=said.paths if self.canvas.spec.summary_tokens else (),
            finish="stop" if said.closed[-1] or ended or len(text) < len(settled) else "length",
            prompt=int((self.canvas.region == PROMPT).sum()),
            tokens=self._written(self._slots),
            thought=self._written({*self._slots} - {*self._slot}),
            forwards=sum(cost.forwards for cost in self._recording.costs),
            trace=trace_to_row(self._recording.trace(self._denoiser, cancelled=not self.full)) if trace else None,
        )

    def _written(self, places: Iterable[int]) -> int:
        """How many of these places hold a token that is neither padding nor an end of text."""
        return sum(self._replay.ids[at] not in {self._denoiser.mask_id, *self._ends} for at in places)

    @cached_property
    def _slots(self) -> list[int]:
        return np.flatnonzero(self.canvas.region >= 0).tolist()

    @property
    def _ends(self) -> tuple[int, ...]:
        return (self._denoiser.pad_id, *self._denoiser.eos_ids)

    @cached_property
    def _settled(self) -> str:
        """The text before the first mask of the answer's slot."""
        ids = list(self._replay.ids)
        first = next((n for n, at in enumerate(self._slot) if ids[at] == self._denoiser.mask_id), len(self._slot))
        for at in self._slot[first:]:
            ids[at] = self._denoiser.pad_id
        said = self._said(ids)
        return said.summary if self.canvas.spec.summary_tokens else said.paths[-1]

    def _said(self, ids: Sequence[int]) -> Completion:
        """What a canvas says; its masks say nothing."""
        ids = [self._denoiser.pad_id if i == self._denoiser.mask_id else i for i in ids]
        return parse(self.canvas, ids, self._denoiser.tokenizer, self._ends, blanks=True)

    def _sure(self, text: str) -> str:
        """Without an end that may become a part of a tag, of a stop text or of a character, or be blanks at the end."""
        # The start of a character whose other bytes are still masked.
        text = text.rstrip("\ufffd")
        for stop in self.stops:
            text = _before(text, stop)
        if self._closing:
            # Some tokenizers put blanks between the tokens of a tag.
            text = _before(text, self._closing, lambda end: "".join(end.split())).rstrip()
        return text


def _before(text: str, end: str, read: Callable[[str], str] = str) -> str:
    """The text without its longest end that `end` begins with."""
    first = max(0, len(text) - 3 * len(end))
    return text[: next((n for n in range(first, len(text)) if end.startswith(read(text[n:]))), len(text))]


def cut(text: str, stops: Sequence[str]) -> str:
    """The text up to the first of the stops, wherever one is."""
    return text[: min((at for stop in stops if stop and (at := text.find(stop)) >= 0), default=len(text))]
