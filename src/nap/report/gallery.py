"""Which traces a report shows, chosen by a stated rule, and their packed form in columns of small integers.

The page (assets/page/trace.js) unpacks the result of `pack`. Token texts are untrusted; they are kept unchanged, but
cut.

Does not read files (runs.py) or escape texts (page.py).
"""

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from nap.common.records import Json, to_row
from nap.data.trace import COMMIT
from nap.evaluation.explained import Explained
from nap.evaluation.rows import order_columns
from nap.order.arness import global_arness
from nap.order.order import order_of
from nap.report.pair import telling_pair
from nap.report.runs import Recorded, numbered_cells

SEED = 0
PROBLEMS = 4  # drawn, and shown under every setting
MOST_TRACES = 240
MOST_BYTES = 6_000_000  # of all traces of a page
MOST_TEXT = 200  # characters of a token
# The page has a moment for every step; where a trace has more, only those in which something changed are numbered.
MOST_STEPS = 20_000

OPENING = "opens the replay"

# The columns of the gallery's table.
MEASURED = (
    "n_tokens", "tpf", "afp", "tau_b", "global_arness@1", "global_arness@1_random", "path_global_arness@1",
)  # fmt: skip

RULE = (
    f"{PROBLEMS} problems drawn at random (seed {SEED}), under every setting; of every setting the most and the least "
    "parallel trace (lowest and highest Global-ARness@1), one right and one wrong answer, drawn with the same seed"
)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A trace, the number of its run, and why it is shown."""

    one: Recorded
    run: int
    why: tuple[str, ...]


def choose(traces: Sequence[Recorded], run: int = 0) -> list[Choice]:
    """The traces of one run to show, by RULE, the most important first."""
    draw, why = random.Random(SEED), dict[int, list[str]]()
    ids = sorted({one.trace.problem_id for one in traces})
    drawn = draw.sample(ids, min(PROBLEMS, len(ids)))
    by_problem = [[i for i, one in enumerate(traces) if one.trace.problem_id == name] for name in drawn]
    reasons = [(i, OPENING) for i in telling_pair(traces)]
    reasons += [(i, "random") for i in (by_problem[0] if by_problem else [])]
    reasons += _extremes(traces) + _verdicts(traces, draw)
    reasons += [(i, "random") for members in by_problem[1:] for i in members]
    for i, reason in reasons:
        why.setdefault(i, []).append(reason)
    return [Choice(one=traces[i], run=run, why=tuple(dict.fromkeys(found))) for i, found in why.items()]


def _extremes(traces: Sequence[Recorded]) -> list[tuple[int, str]]:
    value = [global_arness(order_of(one.trace)) for one in traces]
    found: list[tuple[int, str]] = []
    for members in numbered_cells(traces):
        # Among equals the first; a trace that finalised nothing has no order.
        if known := [(value[i], i) for i in members if value[i] is not None]:
            found.append((min(known)[1], "most parallel"))
            found.append((max(known, key=lambda pair: (pair[0], -pair[1]))[1], "least parallel"))
    return found


def _verdicts(traces: Sequence[Recorded], draw: random.Random) -> list[tuple[int, str]]:
    found = []
    for members in numbered_cells(traces):
        for name, wanted in (("right", True), ("wrong", False)):
            if pool := [i for i in members if traces[i].trace.correct is wanted]:
                found.append((draw.choice(pool), name))
    return found


class Vocabulary:
    """The distinct token texts of a page, numbered. A text that counts in one place only has two numbers."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.cut = 0
        self._number: dict[tuple[str, bool], int] = {}

    def number(self, text: str, hidden: bool) -> int:
        """The text's number."""
        # A long text is not used whole as a key: a token text may have a million characters.
        key = (text[: MOST_TEXT + 1], hidden)
        if key not in self._number:
            self._number[key] = len(self.texts)
            self.cut += len(text) > MOST_TEXT
            self.texts.append(text if len(text) <= MOST_TEXT else text[: MOST_TEXT - 1] + "…")
        return self._number[key]


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A trace as the page unpacks it: columns of small integers; -1 is the mask, other tokens are text numbers.

    run          number of the run
    region       [code, length] of each run of equal region codes
    probability  in thousandths
    steps        how many steps there are, with those at the end that changed nothing
    ms           milliseconds of each step
    explained    [step, correlation, its standard error, violation of each token in the order of the step's commits] of
                 each step of several commits, in nats; None where no model was asked
    """

    run: int
    why: list[str]
    problem: str
    model: str
    policy: str
    pace: str
    answer: str | None
    correct: bool | None
    forwards: int
    steps: int
    initial: list[int]
    region: list[list[int]]
    uncounted: list[int]
    step: list[int]
    kind: list[int]
    position: list[int]
    token: list[int]
    probability: list[int | None]
    ms: list[float]
    measured: dict[str, Json]
    explained: list[list[Json]] | None


def pack(choices: Sequence[Choice], vocabulary: Vocabulary) -> list[dict[str, Json]]:
    """As many of the choices as fit, packed; always at least one."""
    packed, size = [], 0
    for choice in choices[:MOST_TRACES]:
        row = to_row(pack_trace(choice, vocabulary))
        size += len(json.dumps(row))
        if packed and size > MOST_BYTES:
            break
        packed.append(row)
    return packed


def pack_trace(choice: Choice, vocabulary: Vocabulary) -> Packed:
    """One trace as columns."""
    trace, one = choice.one.trace, choice.one
    hidden = set(trace.uncounted)

    def number(token: int) -> int:
        known = trace.vocabulary.get(token, f"#{token}")
        return -1 if token == trace.mask_id else vocabulary.number(known, token in hidden)

    columns = zip(*trace.events, strict=True) if trace.events else [()] * 5
    step, kind, position, token, probability = columns
    numbered = range(trace.steps) if trace.steps <= MOST_STEPS else sorted(set(step))
    place = {at: place for place, at in enumerate(numbered)}
    numbers = {id_: number(id_) for id_ in {*trace.initial, *token, *trace.uncounted}}
    found = to_row(order_columns(trace))
    return Packed(
        run=choice.run, why=list(choice.why), problem=trace.problem_id,
        model=one.model, policy=one.shown_policy, pace=one.pace,
        answer=trace.answer, correct=trace.correct, forwards=trace.forwards, steps=len(numbered),
        initial=[numbers[id_] for id_ in trace.initial],
        region=[[code, len(list(same))] for code, same in groupby(trace.region)],
        uncounted=[numbers[id_] for id_ in trace.uncounted],
        step=[place[at] for at in step], kind=list(kind), position=list(position),
        token=[numbers[id_] for id_ in token],
        probability=[None if math.isnan(p) else round(1000 * p) for p in probability],
        ms=[round(1000 * trace.seconds[at], 2) for at in numbered if at < len(trace.seconds)],
        measured={name: _rounded(found[name]) for name in MEASURED},
        explained=_explained(one.explained, place),
    )  # fmt: skip


def _explained(found: Explained | None, place: Mapping[int, int]) -> list[list[Json]] | None:
    if found is None:
        return None
    return [
        [place[one.step], _rounded(one.correlation), _rounded(one.error), [_rounded(value) for value in one.violation]]
        for one in found.steps
    ]


def _rounded(value: Json) -> Json:
    return round(value, 4) if isinstance(value, float) else value


def with_gaps(traces: Sequence[Recorded]) -> int:
    """How many traces are shown without the steps in which nothing changed."""
    return sum(one.trace.steps > MOST_STEPS for one in traces)


def without_probabilities(traces: Sequence[Recorded]) -> int:
    """How many traces have no probabilities."""
    return sum(
        all(math.isnan(event.probability) for event in one.trace.events if event.kind == COMMIT)
        for one in traces
        if one.trace.events
    )
