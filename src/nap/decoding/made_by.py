"""Did this model make this trace? What it says now is compared with the probabilities that the trace keeps.

    check_made_by(denoiser, trace)

A trace keeps the probability of each token that was committed: that of the canvas before its step, untempered and after
guidance. The model is asked again about a few of these canvases, those whose probabilities say most. What is fed to it
beside the canvas is known of the first step only: where a policy drafts or mixes, or a cache is not exact, that step is
compared alone. Does not decode again (again.py).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from nap.common.files import InputError
from nap.data.trace import COMMIT, PROMPT, Event, Replay, Trace
from nap.decoding.again import canvas_again, settings_again
from nap.decoding.budget import Sampling
from nap.decoding.candidates import Asked, hear
from nap.decoding.guidance import guided
from nap.decoding.policies.policy import Ints
from nap.decoding.row import twin
from nap.models.caches import cache_of
from nap.models.denoiser import Denoiser
from nap.models.session import Question, Session

# How many steps are compared.
STEPS = 8


class Rounding(NamedTuple):
    """What rounding explains: a probability may differ by `most`, and by more for this share of the probabilities.

    Another device or batch moves one in float32 by some 0.0001. In shorter types one moves by some 0.01, and where the
    logits are large by more.
    """

    most: float
    share: float


EXACT, SHORT = Rounding(0.01, 0.0), Rounding(0.1, 0.1)


def check_made_by(denoiser: Denoiser, trace: Trace) -> None:
    """Raise InputError where the model, as it is opened, says something else than the one that made the trace.

    Of a trace that keeps no probabilities, or does not say how it was made, only the mask and the tokens are compared.
    """
    highest = max([*trace.initial, *(event.token for event in trace.events)], default=0)
    if trace.mask_id != denoiser.mask_id or highest >= denoiser.vocabulary:
        raise InputError(
            f"trace {trace.problem_id!r:.60} is of another model than {denoiser.setting.get('model')}: its mask is "
            f"{trace.mask_id} and its highest token {highest}, the model's mask is {denoiser.mask_id} and it has "
            f"{denoiser.vocabulary} tokens"
        )
    steps = _telling(trace)
    if not steps:
        return
    kept = [event for _, commits in steps for event in commits]
    apart = [abs(event.probability - now) for event, now in zip(kept, _said(denoiser, trace, steps), strict=True)]
    rounding = _rounding(denoiser, trace)
    if (far := sum(gap > rounding.most for gap in apart)) > rounding.share * len(apart):
        most, step = max(zip(apart, (event.step + 1 for event in kept), strict=True))
        raise InputError(
            f"trace {trace.problem_id!r:.60} was not made by {denoiser.setting.get('model')} as it is opened now: "
            f"{far} of {len(apart)} probabilities differ by more than {rounding.most:g}, at step {step} by "
            f"{most:.2f}; give the model that made it, with the same flags, or decode anew"
        )


Steps = Sequence[tuple[Ints, Sequence[Event]]]


def _telling(trace: Trace) -> Steps:
    """The canvas before each step to be compared, and the commits of the step by position."""
    try:
        policy, settings = settings_again(trace)
        whole = cache_of(settings.get("cache", "none")).exact and not {"drafts", "mixes"} & {*policy.needs}
    except InputError:
        return []
    replay = Replay(trace.initial, trace.mask_id)
    before, found = np.array(trace.initial, np.int64), list[tuple[Ints, list[Event]]]()
    for _, events in replay.steps(trace.events):
        commits = [event for event in events if event.kind == COMMIT and not math.isnan(event.probability)]
        found.append((before, sorted(commits, key=lambda event: event.position)))
        before = np.array(replay.ids, np.int64)
    if not whole:
        found = found[:1]
    # A probability near 0 or 1 is what many models say.
    telling = {n: min(abs(e.probability - 0.5) for e in commits) for n, (_, commits) in enumerate(found) if commits}
    return [found[n] for n in sorted(telling, key=telling.__getitem__)[:STEPS]]


@torch.inference_mode()
def _said(denoiser: Denoiser, trace: Trace, steps: Steps) -> list[float]:
    """What the model gives each commit now."""
    canvas, (_, settings) = canvas_again(trace), settings_again(trace)
    strength = (settings.get("sampling") or Sampling()).guidance
    never = denoiser.eos_ids if settings.get("eos") == "suppress" else ()
    session, prompt_L = Session(denoiser), canvas.region == PROMPT
    questions, masked, asked = list[Question](), list[Question](), list[Asked]()
    for ids_L, commits in steps:
        at_N, token_N = np.array([(event.position, event.token) for event in commits], np.int64).T
        questions.append(Question(0, ids_L, at_N, 0, len(ids_L)))
        masked.append(Question(twin(0), np.where(prompt_L, trace.mask_id, ids_L), at_N, 0, len(ids_L)))
        # At temperature 0 nothing is drawn, and the generator is not used.
        sampling, noise = Sampling(guidance=strength), torch.Generator()
        asked.append(Asked(position_N=at_N, current_N=token_N, sampling=sampling, noise=noise, never=never))
    for row in (0, twin(0))[: 1 + bool(strength)]:
        session.admit(row, canvas)
    answer = guided(session.ask(questions + masked * bool(strength)), asked)
    return [p for said in hear(answer, asked, trace.mask_id, ("current",)) for p in said.current_N.tolist()]


def _rounding(denoiser: Denoiser, trace: Trace) -> Rounding:
    settings = denoiser.setting, trace.setting.get("model")
    told = [said if isinstance(said, dict) else {} for said in settings]
    return EXACT if all(said.get("dtype", "float32") == "float32" and "int8" not in said for said in told) else SHORT
