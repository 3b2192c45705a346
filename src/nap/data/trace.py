"""How one canvas was filled: its positions, what each step did to them, and all of it as a `Trace`.

Everything after decoding (order, evaluation, the page) reads a `Trace` and never a model. This module knows nothing of
torch, tokenizers or tasks; trace_files.py reads and writes traces.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, takewhile
from typing import Any, NamedTuple

from nap.common.files import InputError

# Version 1 has no costs.
TRACE_VERSION = 2

# The role of a canvas position. Path j has region j (from 0), and the summary has region P.
OUTSIDE, PROMPT, HEADER = -3, -2, -1

# What an event did to a position. A fill is padding that early stopping wrote without asking the model.
COMMIT, REMASK, EDIT, FILL = 0, 1, 2, 3


class Event(NamedTuple):
    """One change of one canvas position. `probability` is nan where it is unknown."""

    step: int
    kind: int
    position: int
    token: int
    probability: float


class Cost(NamedTuple):
    """What a step cost a row: calls of the model, positions computed in them, and calls of a second model."""

    forwards: int
    queries: int
    guide_calls: int = 0


class RunnerUp(NamedTuple):
    """A position that a step could as well have committed, and how far its score was below the committed one's."""

    position: int
    gap: float


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one step did in one row: its events in the policy's order, its cost, and the wall time of the whole batch.

    index       counts the row's own steps, from 0
    runners_up  positions that it could as well have committed, where the policy keeps them
    """

    row: int
    index: int
    events: tuple[Event, ...]
    seconds: float
    cost: Cost
    runners_up: tuple[RunnerUp, ...] = ()


@dataclass(frozen=True, kw_only=True, repr=False)
class Trace:
    """How one canvas was filled.

    initial    L token ids before the first step: prompt, clamped headers, masks
    region     L region codes (OUTSIDE, PROMPT, HEADER, 0..P-1 for paths, P for the summary)
    events     every change, by step
    forwards   model calls this row took part in
    seconds    wall time of each step, shared with the other rows of the batch
    costs      what each step cost; empty where it was not counted (traces of version 1 and of other systems) runners_up
               positions that each step could as well have committed; empty where the policy did not keep them
    uncounted  ids of padding and end of text, which metrics leave out unless they are asked to count them vocabulary
               the text of every token id that occurs, so that a trace can be read without its model
    setting    model, revision, policy, budget, canvas, seed, versions: what is needed to run it again
    """

    problem_id: str
    initial: tuple[int, ...]
    region: tuple[int, ...]
    events: tuple[Event, ...]
    forwards: int
    mask_id: int
    seconds: tuple[float, ...] = ()
    costs: tuple[Cost, ...] = ()
    uncounted: tuple[int, ...] = ()
    vocabulary: dict[int, str] = field(default_factory=dict)
    setting: dict[str, Any] = field(default_factory=dict)
    answer: str | None = None
    correct: bool | None = None
    runners_up: tuple[tuple[RunnerUp, ...], ...] = ()
    version: int = TRACE_VERSION

    def __repr__(self) -> str:
        verdict = "" if self.correct is None else ", right" if self.correct else ", wrong"
        policy = str(self.setting.get("policy", "an unknown policy"))
        counts = f"{len(self.events)} events in {self.steps} steps, {self.forwards} forwards{verdict}"
        return f"Trace({str(self.problem_id)[:60]!r} under {policy[:60]}: {counts})"

    @property
    def paths(self) -> int:
        """P, the number of path slots."""
        # A canvas without a summary has one path: region 0.
        return max([1, *self.region])

    @property
    def given(self) -> list[int]:
        """Slot positions that were written before the first step: the given text of an infilling."""
        return given_in(self.initial, self.region, self.mask_id)

    def canvas_at(self, step: int) -> list[int]:
        """The L token ids after `step` steps (0 gives the initial canvas)."""
        return Replay(self.initial, self.mask_id).apply(takewhile(lambda event: event.step < step, self.events)).ids

    @property
    def final(self) -> list[int]:
        """The L token ids at the end."""
        return self.canvas_at(self.steps)

    @property
    def steps(self) -> int:
        """S, the number of steps, with those at the end that changed nothing."""
        return max(self.events[-1].step + 1 if self.events else 0, len(self.costs))


class Replay:
    """A canvas while events fill it. What an event does is defined here and nowhere else.

    ids        L token ids, as they are now
    committed  for each position whose last writer was the model, the step of its last commit
    filled     positions whose last writer was a fill
    """

    def __init__(self, initial: Sequence[int], mask_id: int) -> None:
        self.ids, self.mask_id = list(initial), mask_id
        self.committed: dict[int, int] = {}
        self.filled: set[int] = set()

    def before(self, events: Iterable[Event]) -> Iterator[Event]:
        """Each event just before it happens."""
        ids, mask_id, committed, filled = self.ids, self.mask_id, self.committed, self.filled
        for event in events:
            yield event
            step, kind, position, token, _ = event
            ids[position] = mask_id if kind == REMASK else token
            if kind == COMMIT:
                committed[position] = step
            elif kind == FILL:
                filled.add(position)
            elif kind == REMASK:
                committed.pop(position, None)
                filled.discard(position)

    def apply(self, events: Iterable[Event]) -> "Replay":
        """Let the events happen. Returns itself."""
        deque(self.before(events), maxlen=0)
        return self

    def steps(self, events: Iterable[Event]) -> Iterator[tuple[int, list[Event]]]:
        """The number and events of each step, after they were applied; steps without an event are left out."""
        for step, same in groupby(events, key=lambda event: event.step):
            happened = list(same)
            self.apply(happened)
            yield step, happened


def given_in(ids: Sequence[int], region: Sequence[int], mask_id: int) -> list[int]:
    """Positions of slots that a canvas holds before its first step."""
    both = enumerate(zip(ids, region, strict=True))
    return [place for place, (token, code) in both if code >= 0 and token != mask_id]


def changes(step: int, before: Sequence[int], after: Sequence[int], mask_id: int) -> list[Event]:
    """The events that turn one canvas into another of the same length. Their probabilities are unknown."""
    return [
        Event(step, COMMIT if old == mask_id else REMASK if new == mask_id else EDIT, position, new, math.nan)
        for position, (old, new) in enumerate(zip(before, after, strict=True))
        if old != new
    ]


def check_trace(trace: Trace) -> Trace:
    """Returns the trace. Raises InputError where it contradicts itself: traces come from files and other systems."""
    length = len(trace.initial)
    check_version(trace.version)
    for name, kind in (("problem_id", str), ("setting", dict), ("answer", str | None), ("correct", bool | None)):
        if not isinstance(value := getattr(trace, name), kind):
            raise InputError(f"a trace's {name} cannot be {value!r:.60}")
    if len(trace.region) != length:
        raise InputError(f"trace {trace.problem_id!r} has {length} tokens but {len(trace.region)} regions")
    # Every slot holds a token, so a region code is below the length; a larger one would only cost time and memory.
    if length and not OUTSIDE <= min(trace.region) <= max(trace.region) < length:
        raise InputError(f"trace {trace.problem_id!r}: a region code is not {OUTSIDE} to {length - 1}")
    counts = [trace.forwards, trace.mask_id, *trace.initial, *trace.uncounted]
    counts += [*(event[0] for event in trace.events), *(event[3] for event in trace.events)]
    if min(counts) < 0 or max(counts) >= 2**31:
        raise InputError(f"trace {trace.problem_id!r}: a step, token or count is below 0 or above {2**31 - 1}")
    _check_costs(trace)
    if not all(0 <= p < length and 0 <= gap < math.inf for near in trace.runners_up for p, gap in near):
        raise InputError(
            f"trace {trace.problem_id!r}: a runner-up is outside its canvas, or its gap below 0 or no number"
        )
    if not all(0 <= seconds < math.inf for seconds in trace.seconds):
        raise InputError(f"trace {trace.problem_id!r}: seconds must be 0 or more and finite")
    replay, previous = Replay(trace.initial, trace.mask_id), 0
    for event in replay.before(trace.events):
        step, kind, position, token, probability = event
        if not 0 <= position < length:
            raise InputError(f"trace {trace.problem_id!r}: position {position} is outside its canvas of {length}")
        if kind not in (COMMIT, REMASK, EDIT, FILL) or step < previous:
            raise InputError(f"trace {trace.problem_id!r}: bad event {tuple(event)}; steps must rise, kinds be 0 to 3")
        masked = replay.ids[position] == trace.mask_id
        if masked != (kind in (COMMIT, FILL)):
            state = "masked" if masked else "not masked"
            raise InputError(f"trace {trace.problem_id!r}, step {step}: position {position} is {state}")
        if kind != REMASK and token == trace.mask_id:
            raise InputError(f"trace {trace.problem_id!r}, step {step}: the mask is no token to commit")
        if not (0 <= probability <= 1 or math.isnan(probability)):
            raise InputError(f"trace {trace.problem_id!r}, step {step}: probability {probability}")
        previous = step
    return trace


def _check_costs(trace: Trace) -> None:
    if not all(0 <= n < 2**31 for cost in trace.costs for n in cost):
        raise InputError(f"trace {trace.problem_id!r}: a cost is below 0 or above {2**31 - 1}")
    if trace.costs and sum(cost.forwards for cost in trace.costs) != trace.forwards:
        raise InputError(f"trace {trace.problem_id!r}: its costs do not add up to its {trace.forwards} forwards")


def check_version(version: object) -> None:
    """Raise InputError for a version that this NAP does not read."""
    if version not in (1, TRACE_VERSION):
        known = f"1 and {TRACE_VERSION}, which this NAP reads"
        raise InputError(f"trace version {version!r} is none of {known}; was it written by a later version of NAP?")
