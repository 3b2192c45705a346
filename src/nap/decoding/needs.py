"""What a policy may need from a model beyond candidates, checked before the first forward.

Does not compute any of it (models/more.py, candidates.py).
"""

import functools
import logging
from collections.abc import Callable

from nap.canvas.visibility import Attention
from nap.common.files import InputError
from nap.decoding.policies.policy import BESIDES, Policy
from nap.decoding.policies.registry import policy_name
from nap.models.denoiser import Denoiser
from nap.models.exact_task import TaskDenoiser

# Caches that compute the open block and what follows, or nothing else.
BY_BLOCK = ("prefix", "dual")
# What only some models can give.
OF_A_MODEL = {
    "states": "the model's hidden states",
    "attention": "attention weights",
    "without": "leave-one-out probabilities",
    "mixes": "mixes of token embeddings as its input",
}


def check_needs(policy: Policy, denoiser: Denoiser, cache: str, guidance: float) -> None:
    """Raise InputError that names what the policy needs and this model, cache or guidance cannot give.

    A guide that has a `check` says itself whether it was made for this model.
    """
    name, model = policy_name(policy), denoiser.setting.get("model")
    if "drafts" in policy.needs and cache != "none":
        raise InputError(
            f"policy {name!r} needs several canvases in one forward, which the cache {cache!r} does not keep apart; "
            "use the cache 'none'"
        )
    if guidance and isinstance(denoiser, TaskDenoiser):
        raise InputError(f"guidance asks without the prompt, where {model} reads its problem; drop the guidance")
    for check in checks_of_guides(policy):
        check(denoiser)
    for need in OF_A_MODEL.keys() & {*policy.needs, *policy.reads}:
        said = f"policy {name!r} needs {OF_A_MODEL[need]}"
        if need not in getattr(denoiser, "gives", ()):
            raise InputError(
                f"{said}, which {model} does not give; use a model in a class of transformers' own"
                + (" whose logits are not shifted" if need == "without" else "")
            )
        if need != "states" and cache != "none":
            raise InputError(f"{said}, which a forward with the cache {cache!r} does not give; use the cache 'none'")
        if need in BESIDES and guidance:
            raise InputError(f"{said}, which are not guided; drop the guidance of {guidance}")


def checks_of_guides(policy: Policy) -> list[Callable[[Denoiser], object]]:
    """The `check` of each guide that was made for one model: of the policy, and of one that it stands on."""
    guides = [getattr(part, "guide", None) for part in (policy, getattr(policy, "policy", None))]
    return [check for guide in guides if (check := getattr(guide, "check", None))]


def warn_of_cache(policy: Policy, denoiser: Denoiser, cache: str, attention: Attention) -> None:
    """Say in one line, once a process, that a cache serves this policy or attention but saves little."""
    name = cache.partition(":")[0]
    if name in BY_BLOCK and policy.block is None:
        _warn(
            f"policy {policy_name(policy)!r} does not go block by block, so the cache {cache!r} takes all slots for "
            "one block and computes them in every forward; give a policy with block=, or the cache delayed or drift"
        )
    if name == "exact" and attention == "full" and denoiser.setting.get("block_size") is None:
        _warn("under full attention every position sees every change, so the cache 'exact' saves nothing")


@functools.cache
def _warn(line: str) -> None:
    logging.getLogger(__name__).warning(line)
