"""What a policy is: it says where the model is asked, and what is then written.

    ask(row) -> positions    any positions of the slots, masked or not; what is not asked about costs no output head
    act(row, said) -> Edits  tokens to write: over a mask a commit, over a token an edit, the mask itself a remask

Most policies only choose among the masked positions of the current block: they inherit `Selecting` and write `select`.
A policy is frozen and keeps nothing; what it must remember of a row it makes in `start` and finds again in `row.state`.

Shape letters: L canvas length, N positions asked about, V vocabulary.
Does not draw candidates (candidates.py) or spend budgets (budget.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from nap.canvas.canvas import Canvas
from nap.data.trace import RunnerUp
from nap.decoding.policies.ranges import COUNT, Range, check_ranges

if TYPE_CHECKING:
    from torch import Tensor

# A policy that takes back or edits could go round for ever; no published one needs more steps a token than this.
MOST_STEPS_PER_TOKEN = 32

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class RowView:
    """A row as it stands before a step. Its arrays do not change any more, and must not be changed.

    ids_L         tokens now
    region_L      what each position is for: path j is j (from 0), the summary is `paths`, prompt and headers below 0
    block_L       block of each position that may be written, counted from 0; -1 where none may
    step_L        the step that last wrote each position; -1 where none did
    confidence_L  the probability that the model gave what was written there; nan where it gave none
    masked_N      the masked positions of the slots, ascending
    open_N        those in the leftmost block that has any: all of them for a policy without blocks
    paths         P
    mask_id       the token that stands for "not written yet"
    step          steps that this row has done
    quota         how many commits the budget asks for now; all that are open for a policy that sets its own pace
    rng           this row's own generator
    state         what the policy's `start` made for this row
    """

    ids_L: Ints
    region_L: Ints
    block_L: Ints
    step_L: Ints
    confidence_L: Floats
    masked_N: Ints
    open_N: Ints
    paths: int
    mask_id: int
    step: int
    quota: int
    rng: np.random.Generator
    state: Any = None


class Said:
    """What the model says of the positions asked about. Columns that nobody reads are not computed.

    position_N     the positions, in the order they were asked
    token_N        the candidate of each
    probability_N  its probability, as the policy is to rank it (`--eos defer` ranks what ends a text last)
    model_N        its probability as the model gave it
    drafts         the same of each canvas that the policy drafted, at the masks of its block
    """

    def __init__(
        self,
        position_N: Ints,
        token_N: Ints,
        probability_N: Floats,
        compute: Callable[[str], Any],
        late_N: NDArray[np.bool_] | None = None,
        redraw: "Callable[[Tensor], Said] | None" = None,
    ) -> None:
        self.position_N, self.token_N, self.model_N = position_N, token_N, probability_N
        self._compute, self._late_N, self._redraw = compute, late_N, redraw
        self.drafts: tuple[Said, ...] = ()

    @cached_property
    def probability_N(self) -> Floats:
        """The candidates' probabilities."""
        return self._ranked(self.model_N, 0.0)

    @cached_property
    def entropy_N(self) -> Floats:
        """Entropy of each predicted distribution, nats."""
        return self._ranked(self._compute("entropy"), np.inf)

    @cached_property
    def margin_N(self) -> Floats:
        """Top probability less the second."""
        return self._ranked(self._compute("margin"), -1.0)

    @cached_property
    def gap_N(self) -> Floats:
        """How far the largest logit is above the second."""
        return self._compute("gap")

    @cached_property
    def current_N(self) -> Floats:
        """The probability of the token that stands at each position now."""
        return self._compute("current")

    @cached_property
    def without_N(self) -> Floats:
        """The probability of what stands at each position, where the model does not see it (models/more.py)."""
        return self._compute("without")

    @cached_property
    def attention_TLL(self) -> "Tensor":
        """The attention weights of every layer, mean over its heads, canvas position by canvas position."""
        return self._compute("attention")

    @cached_property
    def top_L(self) -> Floats:
        """The best token's probability at every position of the canvas, prompt included; with `attention` alone."""
        return self._compute("top")

    @cached_property
    def distribution_NV(self) -> "Tensor":
        """The whole distributions in float32: V numbers a position."""
        return self._compute("distribution")

    @cached_property
    def states_ND(self) -> "Tensor":
        """The model's last hidden states, from which it predicts."""
        return self._compute("states")

    def redrawn(self, logits_NV: "Tensor") -> "Said":
        """What would have been said if these were the model's logits: other candidates, drawn in the row's way.

        Only candidates and their probabilities are those of `logits_NV`; the other columns stay the model's.
        """
        assert self._redraw is not None, "nobody said how candidates are drawn"
        return self._redraw(logits_NV)

    def _ranked(self, column_N: Floats, worst: float) -> Floats:
        return column_N if self._late_N is None else np.where(self._late_N, worst, column_N)


class Edits(NamedTuple):
    """What a step writes: a token a position, in the order that the trace shall have. Writing the mask is a remask.

    guide_calls    how often a second model was asked for it
    probability_N  what the model gave each token; by default as it was said, where this token was said at all
    runners_up     what could as well have been written, for the trace (ties.py)
    """

    position_N: Ints
    token_N: Ints
    guide_calls: int = 0
    probability_N: Floats | None = None
    runners_up: tuple[RunnerUp, ...] = ()


class Draft(NamedTuple):
    """Tokens at masked positions that may come to be written: the model is asked about that canvas in the same forward.

    It is asked about the masks of the block that would be decoded then, and its answers come as `said.drafts`.
    """

    position_N: Ints
    token_N: Ints


class Policy(Protocol):
    """How a row is filled. Its three properties may be plain fields or class attributes, of a frozen dataclass too."""

    @property
    def paced(self) -> bool:
        """Whether it follows a budget."""
        ...

    @property
    def block(self) -> int | None:
        """The row is divided into blocks of this many writable positions, decoded in turn; None: it is one."""
        ...

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns of `Said` that `act` will read, so that they are computed together with the candidates."""
        ...

    def start(self, canvas: Canvas) -> object:
        """What this policy remembers of a row; it comes back as `row.state`."""
        ...

    def ask(self, row: RowView) -> Ints:
        """The positions to ask the model about. Nothing: the policy has done with this row, which has no mask left."""
        ...

    @property
    def needs(self) -> tuple[str, ...]:
        """What it needs of a model beyond candidates (decoding/needs.py): it is refused where that is lacking."""
        ...

    def drafts(self, row: RowView) -> Sequence[Draft]:
        """Canvases to ask about besides the row's own, called after `ask`."""
        ...

    def act(self, row: RowView, said: Said) -> Edits:
        """What to write, having heard the model."""
        ...


class Guide(Protocol):
    """A second model that a policy asks: a dependency head, a small autoregressive model, a verifier.

    A policy gets it in its constructor, as its field `guide`, and says how to open one by name in a static method
    `open_guide(name)`, which `parse_policy` calls for `policy:guide=NAME`. `name` is that name again. One that was made
    for one model has a `check(denoiser)`, which raises InputError for another; a `digest` tells it from others of its
    name.
    """

    name: str


class View:
    """What `select` sees: the positions that were asked about, ascending, with the model's word on each."""

    def __init__(self, row: RowView, said: Said) -> None:
        self.row, self.said = row, said
        self.position_N = said.position_N
        self.paths, self.step, self.quota, self.rng = row.paths, row.step, row.quota, row.rng

    @cached_property
    def region_N(self) -> Ints:
        """Which path each position belongs to; `paths` for the summary."""
        return self.row.region_L[self.position_N]

    @property
    def token_N(self) -> Ints:
        """The candidates."""
        return self.said.token_N

    @property
    def probability_N(self) -> Floats:
        """Their probabilities."""
        return self.said.probability_N

    @property
    def entropy_N(self) -> Floats:
        """Entropy of each predicted distribution, nats."""
        return self.said.entropy_N

    @property
    def margin_N(self) -> Floats:
        """Top probability less the second."""
        return self.said.margin_N


class Based:
    """Defaults of a policy: no blocks, nothing remembered, nothing read but candidates, its own pace.

    ranges  what its settings may be; InputError names one that is out of its range
    memory  a class that is made anew for each row, as `row.state`
    """

    paced = False
    block: int | None = None
    reads: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    ranges: ClassVar[Mapping[str, Range]] = {}
    memory: ClassVar[type | None] = None

    def __post_init__(self) -> None:
        check_ranges(self, {"block": COUNT, **self.ranges})

    def start(self, canvas: Canvas) -> object:
        """The row's own `memory`; nothing where there is none."""
        return self.memory and self.memory()

    def drafts(self, row: RowView) -> Sequence[Draft]:
        """None."""
        return ()


class Selecting(Based):
    """A policy that commits candidates at masked positions of the current block: `select` says which."""

    paced = True

    def select(self, view: View) -> Ints:
        """Indices into the view, of what to commit, in the order that the trace shall have."""
        raise NotImplementedError(f"{type(self).__name__} has no select")

    def ask(self, row: RowView) -> Ints:
        """All open positions, unless a policy says otherwise."""
        return row.open_N

    def act(self, row: RowView, said: Said) -> Edits:
        """The candidates at the selected positions."""
        chosen = self.select(View(row, said))
        return Edits(said.position_N[chosen], said.token_N[chosen])


def best(score_N: Floats, count: int) -> Ints:
    """Indices of the `count` highest scores, highest first; the leftmost of equals first."""
    return np.argsort(-score_N, kind="stable")[:count]
