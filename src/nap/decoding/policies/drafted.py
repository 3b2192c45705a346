"""Generate, then edit: a draft by any policy, and behind it forwards that mend what lost its dependencies (2601.15593).

The share of a row's forwards that edit is a setting, .25 as in ME-DLM (2605.09603: 48 that draft and 16 that edit). A
phase that finds nothing to edit ends at once. Two forms are here, and both need no more than the model itself:

    draft_edit:draft=threshold:tau=0.7+block=32,share=0.25    tokens that the model now prefers replace those written
    draft_redo:draft=threshold:tau=0.7                        the least supported are taken back and written again

The third, whose model is trained to edit, is in revising.py. Does not draft: that policy is named, `+` for its commas.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from nap.canvas.canvas import Canvas
from nap.decoding.policies.policy import MOST_STEPS_PER_TOKEN, Based, Draft, Edits, Ints, Policy, RowView, Said, best
from nap.decoding.policies.ranges import COUNT, SHARE, Range

if TYPE_CHECKING:
    from nap.models.session import Mix


@dataclass
class Phase:
    """Where a row stands.

    memory   what the draft's policy remembers
    drafts   whether this forward is the draft's
    drafted  forwards before the first that edits
    left     forwards that may still edit; -1 before the first
    quota    what the draft's budget is in this forward, and `owed` what of a commit it is behind
    tried    positions that were taken back before
    """

    canvas: Canvas
    memory: object
    drafts: bool = True
    drafted: int = 0
    left: int = -1
    quota: int = 0
    owed: float = 0.0
    tried: set[int] = field(default_factory=set)


@dataclass(frozen=True, kw_only=True)
class Drafting(Based):
    """What all forms share: the draft, and how many forwards are left behind it."""

    ranges: ClassVar = {"share": Range(0, 0.9)}
    beside: ClassVar[tuple[str, ...]] = ()
    policy: ClassVar[Policy]
    draft: str = "threshold"
    share: float = 0.25

    def __post_init__(self) -> None:
        from nap.decoding.policies.registry import parse_policy

        super().__post_init__()
        policy = parse_policy(self.draft.replace("+", ","))
        found = {
            "policy": policy, "paced": policy.paced, "block": policy.block, "needs": policy.needs,
            "reads": tuple(dict.fromkeys((*policy.reads, *self.reads, *self.beside))),
            "agree": getattr(policy, "agree", 1.0),
        }  # fmt: skip
        for name, value in found.items():
            # They are the draft's, and so no fields.
            object.__setattr__(self, name, value)

    def start(self, canvas: Canvas) -> Phase:
        """It drafts."""
        return Phase(canvas, self.policy.start(canvas))

    def ask(self, row: RowView) -> Ints:
        """What the draft asks about, and then what may be edited; nothing once the phase is over."""
        phase: Phase = row.state
        if phase.left < 0:
            self._pace(phase, self._due(row))
            wanted = self.policy.ask(self._seen(row))
            if len(wanted) or len(row.masked_N):
                phase.drafted += 1
                return wanted
            # A draft may have used up nearly all the steps that a row may take.
            most = MOST_STEPS_PER_TOKEN * int((row.block_L >= 0).sum()) - row.step - 1
            share = round(phase.drafted * self.share / (1 - self.share))
            phase.left = min(share if row.steps is None else row.steps - self._drafting(row.steps), most)
        phase.drafts = False
        return self.asks(row, phase) if phase.left > 0 else row.masked_N

    def besides(self, row: RowView) -> tuple[str, ...]:
        """What the draft wants, or what an edit does."""
        return self.policy.besides(self._seen(row)) if row.state.drafts else self.beside

    def drafts(self, row: RowView) -> Sequence[Draft]:
        """Those of the draft's policy."""
        return self.policy.drafts(self._seen(row)) if row.state.drafts else ()

    def mixes(self, row: RowView) -> "Mix | None":
        """Those of the draft's policy."""
        return self.policy.mixes(self._seen(row)) if row.state.drafts else None

    def act(self, row: RowView, said: Said) -> Edits:
        """What the draft writes, or what is edited."""
        phase: Phase = row.state
        phase.left -= phase.left > 0
        return self.policy.act(self._seen(row), said) if phase.drafts else self.edits(row, said, phase)

    def asks(self, row: RowView, phase: Phase) -> Ints:
        """The positions of an editing forward: all that may be written."""
        return np.flatnonzero(row.block_L >= 0)

    def edits(self, row: RowView, said: Said, phase: Phase) -> Edits:
        """What an editing forward writes."""
        raise NotImplementedError(f"{type(self).__name__} has no edits")

    def _due(self, row: RowView) -> float:
        """Commits of a forward that drafts: a draft that has less forwards writes more in each."""
        if row.steps is None:
            return row.quota / (1 - self.share)
        return int((row.block_L >= 0).sum()) / self._drafting(row.steps)

    def _drafting(self, steps: int) -> int:
        """How many of these steps draft."""
        return max(1, round(steps * (1 - self.share)))

    def _pace(self, phase: Phase, due: float) -> None:
        """The budget of this forward; what is left of a commit is owed to the next."""
        # Thirds that add up to just below a whole are a whole.
        phase.quota = int(phase.owed + due + 1e-9)
        phase.owed += due - phase.quota

    def _seen(self, row: RowView) -> RowView:
        """The row as the draft's policy sees it."""
        phase: Phase = row.state
        return replace(row, state=phase.memory, quota=max(1, phase.quota) if self.paced else row.quota)


@dataclass(frozen=True, kw_only=True)
class DraftEdit(Drafting):
    """A draft, and then every token is replaced where the model now prefers another with p > edit.

    draft  the policy that drafts, `+` for the commas between its settings
    share  of a row's forwards that may edit; a draft that follows a budget writes so much faster
    """

    ranges: ClassVar = {**Drafting.ranges, "edit": SHARE}
    edit: float = 0.5

    def edits(self, row: RowView, said: Said, phase: Phase) -> Edits:
        """What is replaced, from the left; nothing ends the phase."""
        chosen = np.flatnonzero((said.token_N != row.ids_L[said.position_N]) & (said.probability_N > self.edit))
        phase.left *= len(chosen) > 0
        return Edits(said.position_N[chosen], said.token_N[chosen])


@dataclass(frozen=True, kw_only=True)
class DraftRedo(Drafting):
    """A draft, and then the tokens of p < back are taken back and drafted again, `most` of them at a time.

    p is the probability of a token where the model does not see it (`said.without_N`). Each position is taken back
    once; a forward that takes back and those that write again are all of the share, whose last writes what is left.

    draft  the policy that drafts, `+` for the commas between its settings
    share  of a row's forwards that may edit; a draft that follows a budget writes so much faster
    """

    ranges: ClassVar = {**Drafting.ranges, "back": SHARE, "most": COUNT}
    beside: ClassVar[tuple[str, ...]] = ("without",)
    back: float = 0.3
    most: int = 8

    def besides(self, row: RowView) -> tuple[str, ...]:
        """Leave-one-out probabilities where nothing is masked."""
        phase: Phase = row.state
        return super().besides(row) if phase.drafts or not len(row.masked_N) else ()

    def asks(self, row: RowView, phase: Phase) -> Ints:
        """All that is written; then what the draft's policy asks about what was taken back."""
        if not len(row.masked_N):
            return super().asks(row, phase) if phase.left > 1 else row.masked_N
        self._pace(phase, row.quota)
        wanted = self.policy.ask(self._seen(row)) if phase.left > 1 else row.masked_N[:0]
        # A draft that begins elsewhere asks about nothing here: what was taken back is written at once.
        phase.drafts = len(wanted) > 0
        return wanted if phase.drafts else row.masked_N

    def edits(self, row: RowView, said: Said, phase: Phase) -> Edits:
        """What is taken back, the least supported first; or all that is still masked."""
        if len(row.masked_N):
            return Edits(said.position_N, said.token_N)
        doubtful = (said.without_N < self.back) & ~np.isin(said.position_N, [*phase.tried])
        chosen = best(np.where(doubtful, -said.without_N, -np.inf), min(self.most, int(doubtful.sum())))
        phase.left *= len(chosen) > 0
        phase.tried |= {*said.position_N[chosen].tolist()}
        phase.memory, phase.owed = self.policy.start(phase.canvas), 0.0
        return Edits(said.position_N[chosen], np.full(len(chosen), row.mask_id))
