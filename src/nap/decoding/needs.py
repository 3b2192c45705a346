"""What a policy may need of a model beyond candidates, and whether it can be had: said before the first forward.

Does not compute any of it (models/session.py, candidates.py).
"""

from nap.common.files import InputError
from nap.decoding.policies.policy import Policy
from nap.decoding.policies.registry import policy_name
from nap.models.denoiser import Denoiser, NativeDenoiser

NEEDS = {
    "drafts": "several canvases in one forward",
    "states": "the model's hidden states",
}


def check_needs(policy: Policy, denoiser: Denoiser, cache: str) -> None:
    """Raise InputError that names what the policy needs and cannot have of this model with this cache."""
    for need in dict.fromkeys((*policy.needs, *policy.reads)):
        if need not in NEEDS:
            continue
        said = f"policy {policy_name(policy)!r} needs {NEEDS[need]}"
        if need == "drafts" and cache != "none":
            raise InputError(f"{said}, which the cache {cache!r} does not keep apart; use the cache 'none'")
        if need == "states" and not isinstance(denoiser, NativeDenoiser):
            model = denoiser.setting.get("model")
            raise InputError(f"{said}, which {model} does not give; use a model in a class of transformers' own")
