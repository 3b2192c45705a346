"""Policies by name: `threshold:tau=0.8,block=32` to a policy and back.

A package of your own registers one under the entry point group `nap.policies`; its name there is its name here.
"""

from importlib.metadata import entry_points

from nap.common.files import InputError
from nap.common.named import parse_named, said_name
from nap.decoding.policies.blocks import MultiBlock
from nap.decoding.policies.bounded import Bounded, EntropyBound, Factor, Threshold
from nap.decoding.policies.codila import Codila
from nap.decoding.policies.credit import Credit
from nap.decoding.policies.dawn import Dawn
from nap.decoding.policies.demask import Demask
from nap.decoding.policies.drafted import DraftEdit, DraftRedo
from nap.decoding.policies.early import Prophet
from nap.decoding.policies.editing import TokenEdit
from nap.decoding.policies.learned import Learned
from nap.decoding.policies.lookahead import Lopa
from nap.decoding.policies.mixing import Remix
from nap.decoding.policies.ordered import AR, Entropy, Hierarchy, LowConfidence, Margin, Random
from nap.decoding.policies.p2 import P2
from nap.decoding.policies.paths import ParallelEntropyBound, ParallelForced, ParallelThreshold
from nap.decoding.policies.policy import Policy
from nap.decoding.policies.remasking import Remdm
from nap.decoding.policies.revising import DraftRevise
from nap.decoding.policies.saber import Saber
from nap.decoding.policies.slotwise import Refusion
from nap.decoding.policies.spacing import Dilated, LocalLeap
from nap.decoding.policies.speculative import SelfSpeculative
from nap.decoding.policies.steady import Klass
from nap.decoding.policies.wino import Wino

# Where people find all of them.
LISTED = "docs/reference/policies.md"
POLICIES: dict[str, type] = {
    "ar": AR,
    "low_confidence": LowConfidence,
    "random": Random,
    "entropy": Entropy,
    "margin": Margin,
    "threshold": Threshold,
    "factor": Factor,
    "bounded": Bounded,
    "entropy_bound": EntropyBound,
    "localleap": LocalLeap,
    "dilated": Dilated,
    "hierarchy": Hierarchy,
    "parallel_forced": ParallelForced,
    "parallel_threshold": ParallelThreshold,
    "parallel_entropy_bound": ParallelEntropyBound,
    "credit": Credit,
    "klass": Klass,
    "prophet": Prophet,
    "multi_block": MultiBlock,
    "lopa": Lopa,
    "self_speculative": SelfSpeculative,
    "remdm": Remdm,
    "p2": P2,
    "saber": Saber,
    "wino": Wino,
    "dawn": Dawn,
    "remix": Remix,
    "refusion": Refusion,
    "learned": Learned,
    "demask": Demask,
    "codila": Codila,
    "token_edit": TokenEdit,
    "draft_edit": DraftEdit,
    "draft_redo": DraftRedo,
    "draft_revise": DraftRevise,
}


def parse_policy(text: str) -> Policy:
    """A policy from `name` or `name:setting=value,...`, such as `threshold:tau=0.8,block=32`.

    Raises InputError for an unknown name or setting, a value of the wrong kind, and a setting that is needed and not
    given; and for a file, which is only run where a command takes one (own.py).
    """
    name = str(text).partition(":")[0]
    if name.endswith(".py"):
        raise InputError(
            f"a policy is given by name here, got the file {name!r:.80}; a file is what nap decode --policy and nap "
            "leaderboard --add-decoders take, and an entry point gives its policy a name everywhere "
            "(docs/how-to/decoder.md)"
        )
    return parse_named("policy", text, POLICIES if name in POLICIES else POLICIES | _plugins(), LISTED)


def policy_name(policy: Policy) -> str:
    """The text that `parse_policy` reads back, with only the settings that differ from their defaults."""
    return said_name(policy, POLICIES if type(policy) in POLICIES.values() else POLICIES | _plugins())


def _plugins() -> dict[str, type]:
    return {point.name: point.load() for point in entry_points(group="nap.policies")}
