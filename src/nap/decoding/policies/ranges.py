"""The allowed ranges of a policy's settings, and of what it chooses. Does not read settings from text (registry.py)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

from nap.common.bounds import CANVAS_TOKENS
from nap.common.files import InputError


@dataclass(frozen=True)
class Range:
    """The range of a setting, both ends included.

    above  `low` itself is excluded
    """

    low: float
    high: float = math.inf
    above: bool = False

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high and not (self.above and value == self.low)

    def __str__(self) -> str:
        least = f"above {self.low}" if self.above else f"at least {self.low}"
        if self.high == math.inf:
            return least
        return f"{least} and at most {self.high}" if self.above else f"from {self.low} to {self.high}"


SHARE = Range(0, 1)
COUNT = Range(1)
NONNEGATIVE = Range(0)


def check_ranges(policy: Any, ranges: Mapping[str, Range]) -> None:
    """Raise InputError that names the first setting out of its range; None is in every range.

    A whole number is no larger than any canvas, as it counts positions, steps or tokens.
    """
    for name, allowed in ranges.items():
        value = getattr(policy, name)
        if value is not None and not _is_number(value):
            raise InputError(f"{name} of policy {type(policy).__name__} must be a number, got {value!r:.40}")
        if isinstance(value, int) and allowed.high == math.inf:
            allowed = replace(allowed, high=CANVAS_TOKENS.most)
        if value is not None and value not in allowed:
            # Imported here because the registry imports all policies, and they import this file.
            from nap.decoding.policies.registry import policy_name

            said = policy_name(policy).partition(":")[0]
            # The least alone, where that is what is wrong.
            wanted = ranges[name] if value < allowed.low else allowed
            raise InputError(f"policy {said!r}: {name} must be {wanted}, got {value}")


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def no_indices(policy: Any, chosen: object, count: int) -> InputError:
    """The error for what a policy chose of so many positions, where it is no indices of them."""
    from nap.decoding.policies.registry import policy_name

    return InputError(
        f"policy {policy_name(policy)!r}: select must give indices from 0 to {count - 1} in a list or an array, "
        f"got {chosen!r:.80}"
    )
