"""The contract of a policy: it says where the model is asked, and what is then written.

    ask(row) -> positions    any positions of the slots, masked or not; other positions need no output head
    act(row, said) -> Edits  tokens to write: over a mask is a commit, over a token an edit; writing the mask is a
                             remask

Most policies only choose among the masked positions of the current block: they inherit `Selecting` and write `select`.
A policy is frozen and keeps no state of its own. What it must remember about a row is made in `start` and found again
in `row.state`.

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
from nap.decoding.policies.ranges import COUNT, Range, check_ranges, no_indices

if TYPE_CHECKING:
    from torch import Tensor

    from nap.models.session import Mix

# A policy that takes back or edits tokens could loop for ever; no published one needs more steps a token than this.
MOST_STEPS_PER_TOKEN = 32
# Columns that a forward has to be asked for.
BESIDES = ("without", "attention")

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class RowView:
    """A row before a step. Its arrays never change, and must not be changed.

    ids_L         tokens now
    region_L      region of each position: path j has j (from 0), the summary has `paths`, prompt and headers are below
                  0
    block_L       block of each writable position, counted from 0; -1 for the others
    step_L        the step that last wrote each position; -1 where none did
    confidence_L  the probability that the model gave to the written token; nan where it gave none
    masked_N      the masked positions of the slots, ascending
    open_N        the masked positions of the leftmost block that has any; for a policy without blocks all of them
    paths         P
    mask_id       the token that stands for "not written yet"
    step          steps that this row has done
    quota         how many commits the budget asks for now; the number of open positions for a policy that sets its own
                  pace
    rng           this row's own generator
    state         what the policy's `start` made for this row
    steps         how many steps the budget gives the whole row; None where it gives none
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
    steps: int | None = None


class Said:
    """What the model says about the positions asked. Columns that nobody reads are not computed.

    position_N     the positions, in the order they were asked
    token_N        the candidate of each
    probability_N  the probability to rank it by (`--eos defer` ranks tokens that end a text last)
    model_N        its probability from the model, without that change
    drafts         the same for each canvas that the policy drafted, at the masks of its block
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
        """The probability of each position's token when the model does not see that token (models/more.py)."""
        return self._compute("without")

    @cached_property
    def attention_TLL(self) -> "Tensor":
        """The attention weights of every layer, mean over its heads, canvas position by canvas position."""
        return self._compute("attention")

    @cached_property
    def top_L(self) -> Floats:
        """The best token's probability at every position of the canvas, prompt included; only with `attention`."""
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
        """The same answer for other logits: new candidates, drawn by the settings of the row.

        Only candidates and their probabilities follow `logits_NV`; all other columns stay the model's.
        """
        assert self._redraw is not None, "nobody said how candidates are drawn"
        return self._redraw(logits_NV)

    def _ranked(self, column_N: Floats, worst: float) -> Floats:
        return column_N if self._late_N is None else np.where(self._late_N, worst, column_N)


class Edits(NamedTuple):
    """What a step writes: tokens at positions, in the order of the trace. Writing the mask is a remask.

    guide_calls    how often a second model was asked in this step
    probability_N  the model's probability of each token; by default that of the candidate, where the token is the
                   candidate
    runners_up     positions that could as well have been written, for the trace (ties.py)
    """

    position_N: Ints
    token_N: Ints
    guide_calls: int = 0
    probability_N: Floats | None = None
    runners_up: tuple[RunnerUp, ...] = ()


class Draft(NamedTuple):
    """Tokens tried at masked positions: the model is asked about the canvas with them in the same forward.

    It is asked about the masks of the block that would be decoded next; the answers come as `said.drafts`.
    """

    position_N: Ints
    token_N: Ints


class Policy(Protocol):
    """How a row is filled. The three properties may be plain fields or class attributes of a frozen dataclass."""

    @property
    def paced(self) -> bool:
        """Whether it follows a budget."""
        ...

    @property
    def block(self) -> int | None:
        """The row is divided into blocks of this many writable positions, decoded in turn; None: no blocks."""
        ...

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns of `Said` that `act` reads, so that they are computed together with the candidates."""
        ...

    def start(self, canvas: Canvas) -> object:
        """What this policy remembers of a row; it comes back as `row.state`."""
        ...

    def ask(self, row: RowView) -> Ints:
        """The positions to ask the model about. None of them: the policy is done with this row, which has no masks."""
        ...

    @property
    def needs(self) -> tuple[str, ...]:
        """What it needs from a model beyond candidates (decoding/needs.py); without that, the policy is refused."""
        ...

    def besides(self, row: RowView) -> tuple[str, ...]:
        """Which of `without` and `attention`, among what it `reads`, this forward is to give; called after `ask`."""
        ...

    def drafts(self, row: RowView) -> Sequence[Draft]:
        """Canvases to ask about besides the row's own, called after `ask`."""
        ...

    def mixes(self, row: RowView) -> "Mix | None":
        """What is fed in place of masks, called after `ask` where `needs` has `mixes`."""
        ...

    def act(self, row: RowView, said: Said) -> Edits:
        """What to write, given the model's answer."""
        ...


class Guide(Protocol):
    """A second model that a policy asks: a dependency head, a small autoregressive model, a verifier.

    A policy gets it in its constructor, as its field `guide`, and says how to open one by name in a static method
    `open_guide(name)`, which `parse_policy` calls for `policy:guide=NAME`. `name` is that name again. A guide that was
    made for one model has a `check(denoiser)`, which raises InputError for another model; a `digest` tells it from
    other guides of the same name.
    """

    name: str


class View:
    """What `select` sees: the positions that were asked about, ascending, and what the model says about each."""

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
    """Defaults of a policy: no blocks, no memory, only candidates are read, and its own pace.

    ranges  the allowed ranges of its settings; InputError names one that is out of its range
    memory  a class that is instantiated for each row as `row.state`
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

    def besides(self, row: RowView) -> tuple[str, ...]:
        """All that it reads."""
        return tuple(name for name in BESIDES if name in self.reads)

    def drafts(self, row: RowView) -> Sequence[Draft]:
        """None."""
        return ()

    def mixes(self, row: RowView) -> "Mix | None":
        """None."""
        return None


class Selecting(Based):
    """A policy that commits candidates at masked positions of the current block: `select` says which."""

    paced = True

    def select(self, view: View) -> Ints:
        """Indices into the view of the positions to commit, in the order of the trace."""
        raise NotImplementedError(f"{type(self).__name__} has no select")

    def ask(self, row: RowView) -> Ints:
        """All open positions, unless a policy says otherwise."""
        return row.open_N

    def act(self, row: RowView, said: Said) -> Edits:
        """The candidates at the selected positions. Raises InputError where `select` gives no indices into the view."""
        chosen = self.select(View(row, said))
        try:
            edits = Edits(said.position_N[chosen], said.token_N[chosen])
        except IndexError as error:
            raise no_indices(self, chosen, len(said.position_N)) from error
        if edits.position_N.ndim != 1:
            raise no_indices(self, chosen, len(said.position_N))
        return edits


def best(score_N: Floats, count: int) -> Ints:
    """Indices of the `count` highest scores, highest first; the leftmost of equals first."""
    return np.argsort(-score_N, kind="stable")[:count]
