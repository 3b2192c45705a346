"""What `nap order --law` prints: what decodes lose under an exact law.

Does not compute it (models/exact_cost.py).
"""

import json
from math import fsum
from typing import TYPE_CHECKING

from nap.commands.tables import draw, open_console, short
from nap.common.files import InputError
from nap.common.text import printable

if TYPE_CHECKING:
    from nap.data.cells import Own
    from nap.models.exact import ExactDenoiser
    from nap.models.exact_cost import Cost


def open_law(name: str) -> "ExactDenoiser":
    """The law of a file's texts. Raises InputError where the name is none."""
    from nap.models.exact import SCHEME, ExactDenoiser, open_exact

    denoiser = open_exact(name) if name.startswith(SCHEME) else None
    # A task's own law has no reader of texts.
    if not isinstance(denoiser, ExactDenoiser):
        raise InputError(f"--law takes the name of an exact law, {SCHEME}FILE, got {name!r:.80}")
    return denoiser


def print_law(file: str, denoiser: "ExactDenoiser", as_json: bool) -> None:
    """Print what was lost in each cell of a file, and over all of it. Raises InputError for a trace of other tokens."""
    from nap.data.cells import Cells
    from nap.data.trace_files import read_traces
    from nap.models.exact_cost import cost_of

    law, cells = str(denoiser.setting["model"]), Cells()
    costs: dict[Own, list[Cost]] = {}
    for trace, own in cells.once(read_traces(file)):
        costs.setdefault(own, []).append(cost_of(denoiser, trace))
    named = [(cells.named(own).name, _means(each)) for own, each in costs.items()] if len(costs) > 1 else []
    whole = _means([cost for each in costs.values() for cost in each])
    if as_json:
        for label, means in named:
            print(json.dumps({"id": f"law: {label}", "law": law, **means}))
        print(json.dumps({"id": "law", "law": law, **whole}))
        return
    console = open_console()
    lines = [[printable(label), *map(short, means.values())] for label, means in [*named, (law, whole)]]
    draw(console, ["law", *whole], lines)
    console.print(
        "nats a token: exact loss of what was written. dependence: log p(written together) - sum of log p(each), a "
        "token. total correlation: what parallel commits lose in expectation, a token (- where too large to compute)",
        style="dim",
    )


def _means(costs: "list[Cost]") -> dict[str, float | None]:
    """How many traces and tokens there are, and what a token lost, in nats."""
    tokens = sum(cost.tokens for cost in costs)
    correlations = [cost.correlation for cost in costs if cost.correlation is not None]
    whole = len(correlations) == len(costs)
    return {
        "traces": len(costs),
        "tokens": tokens,
        "nats a token": fsum(cost.nats for cost in costs) / (tokens or 1),
        "dependence": fsum(cost.dependence for cost in costs) / (tokens or 1),
        "total correlation": fsum(correlations) / (tokens or 1) if whole else None,
    }
