"""The columns of a run's rows.

Does not make them (run.py).
"""

from nap.data.trace import Trace
from nap.order.measure import measure

ORDER_COLUMNS = (
    "n_tokens", "n_uncounted", "n_steps", "forwards", "tpf", "afp", "tau_b", "tied_share",
    "global_arness@1", "global_arness@1_optimistic", "global_arness@1_pessimistic", "global_arness@1_random",
    "local_arness@1",
)  # fmt: skip
PATH_COLUMNS = ("global_arness@1", "global_arness@1_random", "local_arness@1", "tau_b")


def order_columns(trace: Trace) -> dict[str, float | None]:
    """The order metrics of one trace that a sweep keeps, flat; `path_` columns are means over the paths."""
    report = measure(trace, ks=(1,))
    path = {f"path_{name}": report["path_mean"][name] for name in PATH_COLUMNS}
    return {name: report[name] for name in ORDER_COLUMNS} | path
