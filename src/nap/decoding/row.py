"""One canvas being filled: its tokens, random generators and budget, and what a policy may do to it.

A policy sees a `RowView`, whose arrays never change: every step makes new ones. Letters: L canvas length, N positions
asked about. Does not know the other rows (engine.py) or the model.
"""

from collections.abc import Iterator
from hashlib import blake2b

import numpy as np
import torch

from nap.canvas.canvas import Canvas, encode_tag
from nap.common.files import InputError
from nap.data.trace import COMMIT, EDIT, FILL, PROMPT, REMASK, Event
from nap.decoding.agreement import Agreement
from nap.decoding.budget import Budget, Eos, Sampling
from nap.decoding.candidates import Asked
from nap.decoding.policies.policy import MOST_STEPS_PER_TOKEN, Edits, Ints, Policy, RowView, Said
from nap.decoding.policies.registry import policy_name
from nap.models.denoiser import Denoiser
from nap.models.session import Mix, Question


class Row:
    """A row of the engine, under the number that the engine gave it."""

    def __init__(
        self,
        number: int,
        canvas: Canvas,
        denoiser: Denoiser,
        policy: Policy,
        budget: Budget,
        sampling: Sampling,
        eos: Eos,
        seed: int,
        agreement: Agreement | None = None,
    ) -> None:
        self.number, self.canvas, self.policy, self.sampling = number, canvas, policy, sampling
        self.mask_id, self.pad_id, self.vocabulary = denoiser.mask_id, denoiser.pad_id, denoiser.vocabulary
        self.ids = canvas.ids.copy()
        # Seeded by the problem and not by the row's number, so that a problem gets the same noise in any batch.
        key = blake2b(f"{seed}/{canvas.problem_id or number}".encode(), digest_size=8).digest()
        self.rng = np.random.default_rng(int.from_bytes(key))
        # Noise is drawn in float64, which Apple's mps does not have.
        place = "cpu" if denoiser.device.type == "mps" else denoiser.device
        self.noise = torch.Generator(place).manual_seed(int.from_bytes(key) >> 1)
        self.free = self.masked = np.flatnonzero((canvas.region >= 0) & (canvas.ids == self.mask_id))
        self.slots = frozenset(self.free.tolist())
        self.block_of = np.full(len(canvas), -1)
        self.block_of[self.free] = np.arange(len(self.free)) // (policy.block or len(canvas))
        before = int((canvas.region[self.free] < canvas.spec.paths).sum())
        self.waits = getattr(policy, "waits", False) and 0 < before < len(self.free)
        self.asked_steps, own = budget.steps, budget.per_block(int(self.block_of.max(initial=0)) + 1)
        # Of what comes before a summary that waits, and of all else.
        self.budgets = own.split(before, len(self.free) - before) if self.waits else (own, own)
        self.stretch: tuple[int, bool] | None = None
        self.block, self.span, self.total, self.began, self.steps = -1, (0, 0), 0, 0, 0
        self.step_of, self.confidence = np.full(len(canvas), -1), np.full(len(canvas), np.nan)
        self.endings = _endings(canvas, denoiser) if eos == "stop" else []
        self.never = denoiser.eos_ids if eos == "suppress" else ()
        self.late = denoiser.eos_ids if eos == "defer" else ()
        self.agreement = agreement
        self.also: tuple[str, ...] = ()
        self.state = policy.start(canvas)
        self.seen: RowView | None = None
        self.wanted: Ints = self.free[:0]
        self.drafts: list[tuple[Ints, Ints]] = []
        self.mix: Mix | None = None

    @property
    def unfinished(self) -> bool:
        """Whether anything is masked, or the policy still asks about written tokens."""
        if len(self.masked):
            return True
        if self.seen is None and len(self.free):
            self._want()
        return len(self.wanted) > 0

    @property
    def canvases(self) -> int:
        """How many canvases the model is asked about in this step: the row's own and the drafts of its policy."""
        return 1 + len(self.drafts)

    def ask(self) -> list[Asked]:
        """The questions of this step, drafts after the canvas. Raises InputError where the policy may not ask that."""
        if self.seen is None:
            self._want()
        if not len(self.wanted):
            raise self._fault("asks about nothing while there are masks; it would never end")
        return [self._asked(self.ids, self.wanted), *(self._asked(*draft) for draft in self.drafts)]

    def questions(self) -> list[Question]:
        """The same, as questions for the model."""
        canvas = Question(self.number, self.ids, self.wanted, *self.span, self.also, self.mix)
        return [canvas, *(Question(self.number, *draft, *self.span) for draft in self.drafts)]

    def without_prompt(self) -> list[Question]:
        """The same questions with every token of the prompt masked, under a row number of their own."""
        prompt = self.canvas.region == PROMPT
        return [
            question._replace(row=twin(self.number), ids_L=np.where(prompt, self.mask_id, question.ids_L), also=())
            for question in self.questions()
        ]

    def _asked(self, ids_L: Ints, at_N: Ints) -> Asked:
        return Asked(
            position_N=at_N, current_N=ids_L[at_N], sampling=self.sampling, noise=self.noise,
            never=self.never, late=self.late,
        )  # fmt: skip

    def act(self, said: Said, *drafts: Said) -> tuple[tuple[Event, ...], Edits]:
        """Write what the policy says. Returns the events, in its order, and its edits.

        Raises InputError where the policy may not write that, or would never end.
        """
        assert self.seen is not None
        said.drafts = drafts
        edits = self.policy.act(self.seen, said)
        events = self._written(edits, said)
        if not events and self.state is None and self.seen.quota:
            raise self._fault("committed nothing and remembers nothing; it would never end")
        events += self._filled()
        self.steps, self.seen, self.wanted = self.steps + 1, None, self.wanted[:0]
        self.masked = self.free[self.ids[self.free] == self.mask_id]
        if self.steps >= MOST_STEPS_PER_TOKEN * len(self.free) and self.unfinished:
            raise self._fault("goes round for ever; it would never end")
        return tuple(events), edits

    def _want(self) -> None:
        """Ask the policy what it wants to ask the model."""
        self.seen = self._view()
        self.wanted = np.asarray(self.policy.ask(self.seen), np.int64)
        self.also = self.policy.besides(self.seen)
        self.drafts = [self._drafted(*draft) for draft in self.policy.drafts(self.seen)]
        if "mixes" in self.policy.needs:
            self.mix = self._mixed(self.policy.mixes(self.seen))
        if self.wanted is self.seen.open_N:
            return
        if self.wanted.ndim != 1:
            raise self._fault(f"asks about positions of shape {self.wanted.shape}, which are no list")
        if not self.slots.issuperset(self.wanted.tolist()):
            raise self._fault("asks about a position that is in no slot, or was given")
        if (self.wanted[1:] <= self.wanted[:-1]).any():
            raise self._fault("asks about positions that do not rise")

    def _drafted(self, position_N: Ints, token_N: Ints) -> tuple[Ints, Ints]:
        """A draft's canvas, with what would be filled, and the masks of its block."""
        if not set(self.masked.tolist()).issuperset(position_N.tolist()):
            raise self._fault("drafts over what is not masked")
        self._check(np.asarray(position_N), np.asarray(token_N))
        ids_L = self.ids.copy()
        ids_L[position_N] = token_N
        for gaps in self._gaps(ids_L):
            ids_L[gaps] = self.pad_id
        masked = self.free[ids_L[self.free] == self.mask_id]
        return ids_L, masked[self.block_of[masked] == self.block_of[masked[:1]]]

    def _mixed(self, mix: Mix | None) -> Mix | None:
        """The mix, which must be of masks and of distributions."""
        if mix is None:
            return None
        positions = mix.position_N.tolist()
        if len({*positions}) < len(positions) or not set(self.masked.tolist()).issuperset(positions):
            raise self._fault("mixes at what is not masked, or twice at one position")
        if mix.weight_NV.shape != (len(positions), self.vocabulary):
            raise self._fault(f"mixes {len(positions)} positions by weights of shape {tuple(mix.weight_NV.shape)}")
        sums_N = mix.weight_NV.sum(dim=-1)
        if bool((mix.weight_NV < 0).any()) or not torch.allclose(sums_N, torch.ones_like(sums_N), atol=1e-3):
            raise self._fault("mixes by weights that are no probabilities")
        return mix

    def _view(self) -> RowView:
        """The row before a step: its open block, and how many commits the budget asks for."""
        open_N = self.masked
        if len(open_N):
            blocks = self.block_of[open_N]
            open_N = open_N[blocks == blocks[0]]
            if blocks[0] != self.block:
                self.block = int(blocks[0])
                block = np.flatnonzero(self.block_of == self.block)
                self.span = int(block[0]), int(block[-1]) + 1
        quota = self._quota(open_N)
        return RowView(
            ids_L=self.ids, region_L=self.canvas.region, block_L=self.block_of, step_L=self.step_of,
            confidence_L=self.confidence, masked_N=self.masked, open_N=open_N, paths=self.canvas.spec.paths,
            mask_id=self.mask_id, step=self.steps, quota=quota, rng=self.rng, state=self.state,
            steps=self.asked_steps,
        )  # fmt: skip

    def _quota(self, open_N: Ints) -> int:
        """How many commits the budget asks for in this step of a block, or of what comes before or in the summary."""
        before = int((self.canvas.region[open_N] < self.canvas.spec.paths).sum()) if self.waits else 0
        due, stretch = before or len(open_N), (self.block, before > 0)
        if stretch != self.stretch:
            self.stretch, self.total, self.began = stretch, due, self.steps
        return self.budgets[before == 0].quota(self.total, due, self.steps - self.began)

    def _written(self, edits: Edits, said: Said) -> list[Event]:
        """Write, in arrays of this step's own; an event for each position that changes."""
        position_N, token_N = (np.asarray(column, np.int64) for column in edits[:2])
        self._check(position_N, token_N)
        n_N = np.searchsorted(said.position_N, position_N).clip(max=len(said.position_N) - 1)
        masks_N, old_N = token_N == self.mask_id, self.ids[position_N]
        told_N = (said.position_N[n_N] == position_N) & (said.token_N[n_N] == token_N) & ~masks_N
        if edits.probability_N is None:
            probability_N = np.where(told_N, said.model_N[n_N], np.nan)
        else:
            probability_N = np.where(masks_N, np.nan, edits.probability_N)
        self.ids, self.step_of, self.confidence = self.ids.copy(), self.step_of.copy(), self.confidence.copy()
        self.ids[position_N], self.confidence[position_N] = token_N, probability_N
        self.step_of[position_N] = np.where(masks_N, -1, self.steps)
        columns = zip(*(column.tolist() for column in (position_N, old_N, token_N, probability_N)), strict=True)
        return [Event(self.steps, self._kind(old, new), at, new, p) for at, old, new, p in columns if new != old]

    def _kind(self, old: int, new: int) -> int:
        return REMASK if new == self.mask_id else COMMIT if old == self.mask_id else EDIT

    def _check(self, position_N: Ints, token_N: Ints) -> None:
        if position_N.shape != token_N.shape or position_N.ndim != 1:
            raise self._fault(f"writes {token_N.size} tokens at {position_N.size} positions, which are no two lists")
        places, tokens = {*position_N.tolist()}, token_N.tolist()
        if not self.slots.issuperset(places):
            raise self._fault("writes outside the slots, or over what was given")
        if len(places) < len(tokens):
            raise self._fault("writes a position twice")
        if not 0 <= min(tokens, default=0) <= max(tokens, default=0) < self.vocabulary:
            raise self._fault(f"writes a token that is not from 0 to {self.vocabulary - 1}")

    def _filled(self) -> Iterator[Event]:
        """Padding after the end of a slot's text, and in paths that have stopped."""
        for gaps in self._gaps(self.ids):
            yield from self._padded(gaps)
        if self.agreement:
            yield from self._padded(self.agreement.rest(self.ids))

    def _padded(self, gaps: Ints) -> Iterator[Event]:
        self.ids[gaps], self.step_of[gaps] = self.pad_id, self.steps
        yield from (Event(self.steps, FILL, p, self.pad_id, float("nan")) for p in gaps.tolist())

    def _gaps(self, ids_L: Ints) -> Iterator[Ints]:
        """The masks that stand after the end of their slot's text."""
        for slot, endings in self.endings:
            ids = ids_L[slot]
            gaps = np.flatnonzero(ids == self.mask_id)
            if len(gaps) and any(_holds(ids[: gaps[0]], ending) for ending in endings):
                yield slot[gaps]

    def _fault(self, what: str) -> InputError:
        return InputError(f"policy {policy_name(self.policy)!r}, step {self.steps}: it {what}")


def twin(row: int) -> int:
    """The number under which a session knows a row without its prompt."""
    return -1 - row


def _endings(canvas: Canvas, denoiser: Denoiser) -> list[tuple[Ints, list[list[int]]]]:
    """(positions, token sequences that end its text) of each slot, and of each gap of a given text."""
    if canvas.gaps:
        return [(np.arange(*gap), [[token] for token in denoiser.eos_ids]) for gap in canvas.gaps]
    tags = [encode_tag(closing, denoiser.tokenizer) if closing else [] for *_, closing in canvas.spec.slots]
    ends = [[token] for token in denoiser.eos_ids]
    return [(np.flatnonzero(canvas.region == code), ends + [tag] * bool(tag)) for code, tag in enumerate(tags)]


def _holds(ids: Ints, sequence: list[int]) -> bool:
    if len(ids) < len(sequence):
        return False
    return bool((np.lib.stride_tricks.sliding_window_view(ids, len(sequence)) == sequence).all(axis=1).any())
