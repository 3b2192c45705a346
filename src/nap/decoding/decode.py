"""Decode canvases to the end: the engine's simplest client.

Does not choose, run or record (engine.py, traces.py).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Unpack

from nap.canvas.canvas import Canvas
from nap.data.trace import COMMIT, FILL, REMASK, Step, Trace
from nap.decoding.agreement import Reader
from nap.decoding.batches import fitting_batch
from nap.decoding.budget import Settings, Told
from nap.decoding.engine import Engine
from nap.decoding.policies.policy import Policy
from nap.decoding.traces import collect, run_setting
from nap.models.denoiser import Denoiser


def decode(
    denoiser: Denoiser,
    canvases: Sequence[Canvas],
    policy: Policy,
    *,
    cache: str = "none",
    reads: Reader | None = None,
    **told: Unpack[Told],
) -> Iterator[Step]:
    """Fill the canvases. Yields one Step a row for every forward that the row took part in.

    Raises InputError for a budget that the policy lacks or would ignore, for a canvas that the model cannot hold, for a
    cache that it cannot have, and for a policy that would never end.
    """
    engine = Engine(denoiser, cache)
    for canvas in canvases:
        engine.add(canvas, policy, reads=reads, **told)
    while engine.running:
        yield from engine.step()


Watch = Callable[[float, int], None]  # told how many of the canvases are done, parts counted, and the rows' forwards


def decode_traces(
    denoiser: Denoiser,
    canvases: Sequence[Canvas],
    policy: Policy,
    *,
    watch: Watch | None = None,
    reads: Reader | None = None,
    **settings: Unpack[Settings],
) -> list[Trace]:
    """`decode` to the end, with its settings and errors: one Trace a canvas, in order. `watch` is told of each step."""
    steps = decode(denoiser, canvases, policy, reads=reads, **settings)
    steps = _watched(steps, canvases, denoiser.mask_id, watch) if watch else steps
    return collect(denoiser, canvases, steps, run_setting(denoiser, policy, **settings))


def decode_batches(
    denoiser: Denoiser,
    canvases: Sequence[Canvas],
    policy: Policy,
    *,
    reads: Reader | None = None,
    **settings: Unpack[Settings],
) -> list[Trace]:
    """`decode_traces` of any number of canvases, as many at a time as fit in memory."""
    rows = fitting_batch(denoiser, max(map(len, canvases))).rows if canvases else 1
    parts = (canvases[start : start + rows] for start in range(0, len(canvases), rows))
    return [trace for part in parts for trace in decode_traces(denoiser, part, policy, reads=reads, **settings)]


def _watched(steps: Iterable[Step], canvases: Sequence[Canvas], mask_id: int, watch: Watch) -> Iterator[Step]:
    open_now = max(1, sum(int((canvas.ids == mask_id).sum()) for canvas in canvases))
    written = forwards = 0
    for step in steps:
        kinds = [event.kind for event in step.events]
        written += kinds.count(COMMIT) + kinds.count(FILL) - kinds.count(REMASK)
        forwards += step.cost.forwards
        watch(len(canvases) * min(1.0, written / open_now), forwards)
        yield step
