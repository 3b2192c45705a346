"""What a session knows of a row between forwards, as far as a cache may go by it.

Letters: L canvas length, N positions. Holds no keys (store.py) and chooses nothing (caches.py).
"""

import numpy as np
from numpy.typing import NDArray

from nap.canvas.visibility import Sight

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Kept:
    """What a cache may know of a row before a forward.

    ids_L         the canvas now
    mask_id       the token that stands for "not written yet"
    sight         who sees whom
    changed_L     the row's forward before which each token last changed; 0 where it never did
    computed_L    the row's forward that computed each position's keys; -1 where none did
    needed_N      the positions whose states will be read, ascending
    start, stop   the block that is being decoded: its first position, and the one after its last
    age           forwards since that block began: 0 in its first
    forward       the number of the forward to come: 0 for the first
    since, spent  forwards since the last that computed everything, and the positions that they computed
    influence_L   how much all positions depend on each, by attention rollout of the last forward
    drift_L       how far what each position sees has moved since its keys were computed

    Influence and drift are measured for a cache that reads them, and 0 for others.
    """

    def __init__(self, ids_L: Ints, mask_id: int, sight: Sight) -> None:
        self.ids_L, self.mask_id, self.sight = ids_L, mask_id, sight
        self.changed_L, self.computed_L = np.zeros(len(ids_L), np.int64), np.full(len(ids_L), -1)
        self.influence_L, self.drift_L = np.zeros(len(ids_L)), np.zeros(len(ids_L))
        self.needed_N, self.start, self.stop, self.age = ids_L[:0], -1, -1, 0
        self.forward, self.since, self.spent = 0, 0, 0
        # The block of the forward before, and its age then.
        self._before = -1, 0

    def ask(self, ids_L: Ints, needed_N: Ints, start: int, stop: int) -> None:
        """Take in what the next forward is asked; again where that forward failed."""
        self.changed_L[ids_L != self.ids_L] = self.forward
        block, age = self._before
        self.age = age + 1 if start == block else 0
        self.ids_L, self.needed_N, self.start, self.stop = ids_L, needed_N, start, stop

    @property
    def changed_N(self) -> Ints:
        """The positions whose token has changed since their keys were computed, or that have none; ascending."""
        return np.flatnonzero((self.changed_L > self.computed_L) | (self.computed_L < 0))

    def compute(self, position_Q: Ints) -> None:
        """Take in what it has computed."""
        self.computed_L[position_Q] = self.forward
        self.forward += 1
        self._before = self.start, self.age
        whole = len(position_Q) == len(self)
        self.since, self.spent = (0, 0) if whole else (self.since + 1, self.spent + len(position_Q))

    def __len__(self) -> int:
        return len(self.ids_L)
