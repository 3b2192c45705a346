"""The tie bands of a run: how far the order metrics of a setting move with the choice among equally sure candidates.

A row has them where its trace kept runners-up (`low_confidence:keep=.01`): each metric with ties taken from the left
and from the right, and that of a random order under the policy's own rules. A summary has the bands of their means.
What they mean: docs/ties.md.

Does not reorder a trace (order/ties.py), and does not decode with the model again (`nap order --model`).
"""

from dataclasses import dataclass, fields
from importlib.util import find_spec
from typing import TYPE_CHECKING

from nap.common.files import InputError
from nap.data.trace import Trace
from nap.order.measure import measure
from nap.order.order import Order, order_of
from nap.order.ties import SIDES, Band, kept_within, reordered

if TYPE_CHECKING:
    from nap.evaluation.summary import Record


@dataclass(frozen=True, kw_only=True)
class TieColumns:
    """What a row keeps of its trace's ties; None where the trace kept no runners-up.

    ties_within                   how far below the best a candidate still counts as equally sure, in the score's unit
    ..._leftmost, ..._rightmost   the metric with ties taken from the left and from the right
    ..._blind              that of one random order under the policy's own rules
    """

    ties_within: float | None = None
    tau_b_leftmost: float | None = None
    tau_b_rightmost: float | None = None
    tau_b_blind: float | None = None
    global_arness_at_1_leftmost: float | None = None
    global_arness_at_1_rightmost: float | None = None
    global_arness_at_1_blind: float | None = None
    path_global_arness_at_1_leftmost: float | None = None
    path_global_arness_at_1_rightmost: float | None = None
    path_global_arness_at_1_blind: float | None = None


TIED = tuple(field.name for field in fields(TieColumns))
# The metrics that have bands: their columns, and their titles in the table.
METRICS = {"global_arness_at_1": "ARness", "path_global_arness_at_1": "ARness/path", "tau_b": "tau-b"}


def tie_columns(trace: Trace) -> TieColumns:
    """The columns of a trace: empty ones where it kept no runners-up, or does not say how it was decoded."""
    # Without torch, which a base installation lacks, there is no random order under the policy's rules.
    within = kept_within(trace)
    if within is None or find_spec("torch") is None:
        return TieColumns()
    from nap.decoding.again import knowing_nothing

    own = order_of(trace)
    try:
        orders = {f"{side}most": reordered(trace, within, side) for side in SIDES}
        blind = order_of(knowing_nothing(trace, draws=1)[0], count_padding=True)
    except InputError:
        return TieColumns()
    found: dict[str, float | None] = {"ties_within": within}
    for end, order in {**orders, "blind": blind.among(own.positions)}.items():
        found |= {f"{name}_{end}": value for name, value in _measured(order).items()}
    return TieColumns(**found)


def _measured(order: Order) -> dict[str, float | None]:
    report = measure(order, ks=(1,))
    return {
        "tau_b": report.whole.tau_b,
        "global_arness_at_1": report.at(1).global_arness,
        "path_global_arness_at_1": report.path_at(1).global_arness,
    }


def bands_of(record: "Record") -> list[Band]:
    """The band of each metric of a setting, as means over its problems; none where its traces kept no runners-up."""
    found = []
    for name, title in METRICS.items():
        parts = [getattr(record, f"{name}{end}").value for end in ("", "_rightmost", "_leftmost", "_blind")]
        if None not in parts:
            found.append(Band(title, *parts))
    return found


def unidentified(record: "Record") -> set[str]:
    """The titles of those metrics of a setting that ties move by as much as they differ from a random order."""
    return {band.name for band in bands_of(record) if not band.identified()}
