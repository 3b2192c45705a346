"""What `nap order --law` prints: what decodes lose under an exact law.

Does not compute it (models/exact_cost.py).
"""

import json
from math import fsum
from typing import TYPE_CHECKING

from nap.commands.tables import draw, open_console, short
from nap.common.files import InputError

if TYPE_CHECKING:
    from nap.models.exact import ExactDenoiser


def open_law(name: str) -> "ExactDenoiser":
    """The law of a file's texts. Raises InputError where the name is none."""
    from nap.models.exact import SCHEME, ExactDenoiser, open_exact

    denoiser = open_exact(name) if name.startswith(SCHEME) else None
    # A task's own law has no reader of texts.
    if not isinstance(denoiser, ExactDenoiser):
        raise InputError(f"--law takes the name of an exact law, {SCHEME}FILE, got {name!r:.80}")
    return denoiser


def print_law(file: str, denoiser: "ExactDenoiser", as_json: bool) -> None:
    """Print nats a token over all traces of a file. Raises InputError for a trace of other tokens."""
    from nap.data.cells import Cells
    from nap.data.trace_files import read_traces
    from nap.models.exact_cost import cost_of

    name = str(denoiser.setting["model"])
    costs = [cost_of(denoiser, trace) for trace, _ in Cells().once(read_traces(file))]
    tokens = sum(cost.tokens for cost in costs) or 1
    correlations = [cost.correlation for cost in costs if cost.correlation is not None]
    means = {
        "nats a token": fsum(cost.nats for cost in costs) / tokens,
        "dependence": fsum(cost.dependence for cost in costs) / tokens,
        "total correlation": fsum(correlations) / tokens if len(correlations) == len(costs) else None,
    }
    if as_json:
        print(json.dumps({"id": "law", "law": name, "traces": len(costs), "tokens": tokens, **means}))
        return
    console = open_console()
    line = [name, str(len(costs)), str(tokens), *map(short, means.values())]
    draw(console, ["law", "traces", "tokens", *means], [line])
    console.print(
        "nats a token: exact loss of what was written. dependence: log p(written together) - sum of log p(each), a "
        "token. total correlation: what parallel commits lose in expectation, a token (- where too large to compute)",
        style="dim",
    )
