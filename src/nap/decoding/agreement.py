"""Early stop on agreement: once enough finished paths of a canvas give the same answer, the others stop.

    reads = task_reader                       # (problem id, text of a path) -> its answer, None for none
    engine.add(canvas, parse_policy("parallel_threshold:agree=0.5"), reads=reads)

A task knows how to read an answer (`tasks.registry.Votes`); decoding is given its reader. A path is finished when it
has no mask left. Paths that stop keep their tokens and are filled with padding; the summary is then written as usual.

Does not weigh paths, and does not choose among answers.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from nap.canvas.canvas import Canvas, parse
from nap.common.files import InputError
from nap.decoding.policies.policy import Ints, Policy
from nap.decoding.policies.registry import policy_name
from nap.models.denoiser import Denoiser

Reader = Callable[[str, str], str | None]


def share_of(policy: Policy) -> float:
    """The share of the paths, of which more must agree before the policy stops; 1: it never stops."""
    agree: Any = getattr(policy, "agree", 1.0)
    return agree


def watching(policy: Policy, canvas: Canvas, denoiser: Denoiser, reads: Reader | None) -> "Agreement | None":
    """What watches a canvas for this policy. Raises InputError if it stops on agreement and there is no reader."""
    if share_of(policy) == 1:
        return None
    check_reader(policy, reads is not None)
    assert reads is not None
    return Agreement(canvas, denoiser, reads, share_of(policy))


def check_reader(policy: Policy, has_reader: bool) -> None:
    """Raise InputError for a policy that stops on agreement where there is no reader of answers."""
    if share_of(policy) < 1 and not has_reader:
        raise InputError(
            f"policy {policy_name(policy)!r} stops once its paths agree, and nothing here reads the answer of a path; "
            "give a task that does (nap eval --task, nap decode --reads: arith, gsm8k, multiarith, math500), or drop it"
        )


def check_read(policy: Policy, reads: str | None) -> None:
    """Raise InputError for a task that reads answers where the policy never asks for one."""
    if reads is not None and share_of(policy) == 1:
        raise InputError(
            f"reads {reads!r} changes nothing under policy {policy_name(policy)!r}, which does not stop on agreement; "
            "give one that does, such as parallel_threshold:agree=0.5, or drop it"
        )


class Agreement:
    """The answers of one canvas's finished paths."""

    def __init__(self, canvas: Canvas, denoiser: Denoiser, reads: Reader, share: float) -> None:
        self.canvas, self.reads, self.share = canvas, reads, share
        self.tokenizer, self.mask_id = denoiser.tokenizer, denoiser.mask_id
        self.ends = (denoiser.pad_id, *denoiser.eos_ids)
        self.slots = [np.flatnonzero(canvas.region == path) for path in range(canvas.spec.paths)]
        self._known: dict[int, tuple[bytes, str | None]] = {}

    def rest(self, ids_L: Ints) -> Ints:
        """The masks of the paths that stop, ascending; none before enough paths agree."""
        is_open = [bool((ids_L[slot] == self.mask_id).any()) for slot in self.slots]
        if not any(is_open) or not self._agree(ids_L, [path for path, going in enumerate(is_open) if not going]):
            return self.slots[0][:0]
        masks = [slot[ids_L[slot] == self.mask_id] for slot in self.slots]
        return np.sort(np.concatenate(masks))

    def _agree(self, ids_L: Ints, finished: list[int]) -> bool:
        if len(finished) <= self.share * len(self.slots):
            return False
        answers = Counter(answer for path in finished if (answer := self._answer(ids_L, path)) is not None)
        return max(answers.values(), default=0) > self.share * len(self.slots)

    def _answer(self, ids_L: Ints, path: int) -> str | None:
        # Each text of a path is read once; a path that is taken back and written anew is read again.
        said = ids_L[self.slots[path]].tobytes()
        if path not in self._known or self._known[path][0] != said:
            text = parse(self.canvas, ids_L, self.tokenizer, self.ends).paths[path]
            self._known[path] = said, self.reads(self.canvas.problem_id, text)
        return self._known[path][1]
