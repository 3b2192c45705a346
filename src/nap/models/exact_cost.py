"""What a decode loses under an exact law: its exact loss, and the part that comes from parallel writing.

    cost = cost_of(denoiser, trace)           # denoiser: an ExactDenoiser, trace: any decode of its tokens
    cost.nats / cost.tokens, cost.dependence / cost.tokens

Tokens that one step writes together are drawn independently. What that ignores is measured in two ways. `dependence` is
log p(all written tokens) - sum of log p(each), given what was there before; below 0 the tokens fit together worse than
alone. `correlation` is its counterpart in expectation, the conditional total correlation sum H(each) - H(all), which
bounds the loss from below (2601.15593). The first is exact for every law. The second is exact too: for n-grams of order
2 over any number of positions, for other laws over two.

Letters: V tokens, S states. Does not decode.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np

from nap.common.files import InputError
from nap.data.cells import model_of
from nap.data.trace import COMMIT, PROMPT, Trace
from nap.models.exact import SPECIAL, UNKNOWN, ExactDenoiser
from nap.models.laws import MASKED, Floats, Ints, Law, Reader

# The joint table of a pair has V x V numbers, and takes V columns of states through the chain.
MOST_TABLE = 1 << 20


class Cost(NamedTuple):
    """The loss of a trace under a law.

    tokens       written
    nats         -log p of all that was written, given the prompt
    dependence   sum over steps of log p(what was written together) - sum of log p(each), nats
    correlation  sum over steps of the conditional total correlation, nats; None where one step is too large to compute
    """

    tokens: int
    nats: float
    dependence: float
    correlation: float | None


def cost_of(denoiser: ExactDenoiser, trace: Trace, *, correlation: bool = True) -> Cost:
    """Replay a trace under the law.

    Raises InputError for a trace that takes tokens back or edits them, and as `in_tokens_of` does.
    """
    if any(event.kind != COMMIT for event in trace.events):
        raise InputError(
            f"trace {trace.problem_id!r:.60} takes tokens back, edits or fills them; a law's cost needs none"
        )
    trace = in_tokens_of(denoiser, trace)
    region, ids = np.array(trace.region), np.array(trace.initial, np.int64)
    prompt, total = ids[region == PROMPT], Cost(0, 0.0, 0.0, 0.0 if correlation else None)
    for code in sorted({region[event.position] for event in trace.events}):
        slot = np.flatnonzero(region == code)
        events = [event for event in trace.events if region[event.position] == code]
        steps = [
            {int(np.searchsorted(slot, event.position)): event.token for event in same}
            for _, same in groupby(events, key=lambda event: event.step)
        ]
        found = _slot_cost(denoiser, denoiser.reader(prompt, len(slot)), ids[slot], steps, correlation)
        known = total.correlation is not None and found.correlation is not None
        total = Cost(
            total.tokens + found.tokens, total.nats + found.nats, total.dependence + found.dependence,
            total.correlation + found.correlation if known else None,  # type: ignore[operator]
        )  # fmt: skip
    return total


def in_tokens_of(denoiser: ExactDenoiser, trace: Trace) -> Trace:
    """The trace in the law's tokens: as it is if the law wrote it, else each token as the law's token of that text.

    Raises InputError for a trace of the same file before it was changed, and for a text that is no token of the law.
    """
    own, model = denoiser.setting, trace.setting.get("model")
    if isinstance(model, dict) and model.get("revision") == own["revision"]:
        return trace
    if model_of(trace) == own["model"]:
        raise InputError(
            f"trace {trace.problem_id!r:.60} was decoded when the file of {own['model']} held other texts; decode "
            "again, or give the file as it was"
        )
    known = {text: token for text, token in denoiser.tokenizer.get_vocab().items() if text not in (*SPECIAL, UNKNOWN)}

    def translated(token: int) -> int:
        if token == trace.mask_id:
            return denoiser.mask_id
        text = trace.vocabulary.get(token)
        if text not in known:
            raise InputError(
                f"trace {trace.problem_id!r:.60} of {str(model_of(trace))!r:.80} holds "
                f"{f'token {token}' if text is None else repr(text)[:40]}, which is no token of {own['model']}; give "
                "decodes of this law, or the law that they were made with"
            )
        return known[text]

    # A law reads the prompt and the slots, and no headers.
    read = [code == PROMPT or code >= 0 for code in trace.region]
    initial = (translated(token) if here else token for token, here in zip(trace.initial, read, strict=True))
    events = (event._replace(token=translated(event.token)) for event in trace.events)
    return replace(trace, initial=tuple(initial), events=tuple(events), mask_id=denoiser.mask_id)


def nats_of(denoiser: ExactDenoiser, trace: Trace) -> tuple[int, float]:
    """How many tokens a trace wrote, and -log p of them given the prompt, in nats, however they were written.

    Raises InputError as `in_tokens_of` does.
    """
    trace = in_tokens_of(denoiser, trace)
    region, first, last = np.array(trace.region), np.array(trace.initial, np.int64), np.array(trace.final, np.int64)
    prompt, tokens, nats = first[region == PROMPT], 0, 0.0
    for code in sorted({int(code) for code in region if code >= 0}):
        slot = np.flatnonzero(region == code)
        reader = denoiser.reader(prompt, len(slot))
        began, ended = (reader.read(denoiser.law_ids(ids[slot])).log_p for ids in (first, last))
        tokens += int((first[slot] != last[slot]).sum())
        nats += began - ended
    return tokens, nats


def _slot_cost(
    denoiser: ExactDenoiser, reader: Reader, ids_L: Ints, steps: Sequence[dict[int, int]], correlation: bool
) -> Cost:
    began, dependence, lost = reader.read(denoiser.law_ids(ids_L)).log_p, 0.0, 0.0 if correlation else None
    before = began
    for step in steps:
        positions = sorted(step)
        tokens = denoiser.law_ids(np.array([step[p] for p in positions]))
        marginals_LV = reader.read(denoiser.law_ids(ids_L)).marginals_LV
        alone = float(np.log(marginals_LV[positions, tokens]).sum())
        if lost is not None:
            found = total_correlation(reader, positions)
            lost = None if found is None else lost + found
        ids_L = ids_L.copy()
        ids_L[positions] = [step[p] for p in positions]
        after = reader.read(denoiser.law_ids(ids_L)).log_p
        dependence, before = dependence + after - before - alone, after
    return Cost(sum(map(len, steps)), began - before, dependence, lost)


def total_correlation(reader: Reader, positions: Sequence[int]) -> float | None:
    """Total correlation, in nats, of these open positions of the last text read, given all that is written.

    0 for fewer than two positions. None where it is too large to compute: more than two positions unless the law is an
    n-gram of order 2, or more pairs of tokens than `MOST_TABLE`.
    """
    if len(positions) < 2:
        return 0.0
    law = reader.law
    if law.vocabulary**2 > MOST_TABLE or (len(positions) > 2 and not law.tokens_are_states):
        return None
    # In such a chain each token depends on those before it only through the last of them.
    return sum(mutual_information(reader, *pair) for pair in pairwise(sorted(positions)))


def mutual_information(reader: Reader, first: int, second: int) -> float:
    """Mutual information, in nats, of two open positions of the last text read, given all that is written."""
    joint_VV = pair(reader, first, second)
    apart_VV = joint_VV.sum(axis=1, keepdims=True) * joint_VV.sum(axis=0, keepdims=True)
    there = joint_VV > 0
    return max(float((joint_VV[there] * np.log(joint_VV[there] / apart_VV[there])).sum()), 0.0)


def pair(reader: Reader, first: int, second: int) -> Floats:
    """[V, V] the joint distribution of the tokens at two open positions, given all that is written."""
    law, ids = reader.law, reader.ids
    assert ids is not None and ids[first] == ids[second] == MASKED and first < second
    emission_SV = law.emission_SV if isinstance(law.emission_SV, np.ndarray) else law.emission_SV.toarray()
    state_SV = reader.before[first][:, None] * emission_SV
    for position in range(first + 1, second + 1):
        state_SV = _each(law, law.step(state_SV), int(ids[position]))
    joint_VV = (state_SV * reader.after[second][:, None]).T @ emission_SV
    return joint_VV / joint_VV.sum()


def _each(law: Law, state_SV: Floats, token: int) -> Floats:
    given_S = law.given(np.ones(len(state_SV)), token)
    state_SV = state_SV * given_S[:, None]
    return state_SV / state_SV.sum()
