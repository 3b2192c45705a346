"""The figures of a report as SVG and PDF for a paper, drawn by matplotlib from the same records.

One file a figure and task: accuracy against tokens per forward, ARness against accuracy (2602.23225, Fig. 2), ARness of
the whole canvas against within paths, forwards against the critical path, and where and when (its Fig. 1, all traces
of a setting). Colour, marker and dash say the same thing twice. The same runs give the same bytes.

Does not compute: every number is in the records.
"""

from collections.abc import Callable, Sequence
from pathlib import Path as FilePath
from typing import Any, NamedTuple

from nap.common.files import InputError, atomic
from nap.common.text import printable
from nap.report.gallery import BINS, heat_maps
from nap.report.runs import Run

AR, PATH = "global_arness@1", "path_global_arness@1"
FORMATS = ("svg", "pdf")
WIDTH, HEIGHT = 4.2, 3.0  # inches: a column of a paper
# Okabe and Ito's colours, which people who see colours differently can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D1F")
MARKERS, DASHES = "os^Dv<>P", ("-", "--", ":", "-.")
STYLE: Any = {
    "font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
    "svg.hashsalt": "nap", "pdf.fonttype": 42,
}  # fmt: skip


class Series(NamedTuple):
    """The records of one model and policy, and how they look."""

    name: str
    records: list[dict[str, Any]]
    look: dict[str, Any]


def write_figures(runs: Sequence[Run], folder: str | FilePath) -> list[FilePath]:
    """Write every figure that the runs have numbers for. Returns the files. Raises InputError if there is none."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        raise InputError("figures need matplotlib; try: pip install 'nap-dlm[report]'") from None
    written: list[FilePath] = []
    with matplotlib.rc_context(STYLE):
        for task, members in _by_task(runs).items():
            for name, draw in DRAWN.items():
                if figure := draw(members):
                    written += _write(figure, FilePath(folder) / f"{task}-{name}")
    if not written:
        raise InputError("these runs have no numbers to draw; give a run with rows or traces")
    return written


def _by_task(runs: Sequence[Run]) -> dict[str, list[Run]]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        name = run.task or FilePath(run.name).stem
        groups.setdefault("".join(c if c.isalnum() else "_" for c in name)[:60] or "run", []).append(run)
    return groups


def _write(figure: Any, stem: FilePath) -> list[FilePath]:
    files = [stem.with_name(f"{stem.name}.{kind}") for kind in FORMATS]
    for file, date in zip(files, ("Date", "CreationDate"), strict=True):
        with atomic(file, "wb") as out:
            figure.savefig(out, format=file.suffix[1:], metadata={date: None}, bbox_inches="tight")
    return files


def _series(runs: Sequence[Run]) -> list[Series]:
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for number, run in enumerate(runs):
        again = any(
            record["cell"] == other["cell"] for record in run.records for r in runs[:number] for other in r.records
        )
        for record in run.records:
            model = record["label"] + (f" ({printable(FilePath(run.name).name)})" if again else "")
            found.setdefault((model, printable(record["policy"])), []).append(record | {"run": run.name})
    models, policies = (list(dict.fromkeys(key[i] for key in found)) for i in (0, 1))
    return [
        Series(f"{m}, {p}", records, _look(models.index(m), policies.index(p))) for (m, p), records in found.items()
    ]


def _look(model: int, policy: int) -> dict[str, Any]:
    colour = COLOURS[policy % len(COLOURS)]
    look = {"color": colour, "marker": MARKERS[policy % len(MARKERS)], "linestyle": DASHES[model % len(DASHES)]}
    return look | {"markerfacecolor": "white" if model % 2 else colour, "markersize": 4, "linewidth": 1.1}


def _panel(x: str, y: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, HEIGHT))
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes


def _legend(axes: Any) -> None:
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=6.5)


def _bars(axes: Any, record: dict[str, Any], x: str, y: str, colour: str, scale: float = 1.0) -> None:
    """The intervals of a point, where they are known."""
    if high_low := record.get(f"{x}_interval"):
        axes.plot(high_low, [scale * record[y]] * 2, color=colour, alpha=0.4, linewidth=0.8)
    if high_low := record.get(f"{y}_interval"):
        axes.plot([record[x]] * 2, [scale * end for end in high_low], color=colour, alpha=0.4, linewidth=0.8)


def _points(series: Sequence[Series], x: str, y: str) -> list[tuple[Series, list[dict[str, Any]]]]:
    """Of each series the records that have both, by x."""
    known = [(one, [r for r in one.records if r[x] is not None and r[y] is not None]) for one in series]
    return [(one, sorted(records, key=lambda record: record[x])) for one, records in known if records]


def draw_accuracy(runs: Sequence[Run]) -> Any:
    """Accuracy against tokens per forward, with 95 % bands."""
    from matplotlib.ticker import NullLocator, ScalarFormatter

    if not (points := _points(_series(runs), "tpf", "accuracy")):
        return None
    figure, axes = _panel("tokens per forward", "right answers, %")
    for one, records in points:
        xs = [r["tpf"] for r in records]
        axes.plot(xs, [100 * r["accuracy"] for r in records], label=one.name, **one.look)
        low, high = ([100 * r["accuracy_interval"][side] for r in records] for side in (0, 1))
        axes.fill_between(xs, low, high, color=one.look["color"], alpha=0.08, linewidth=0)
        for record in records:
            _bars(axes, record, "tpf", "accuracy", one.look["color"], 100)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(bottom=0)
    _legend(axes)
    return figure


def draw_arness(runs: Sequence[Run]) -> Any:
    """ARness against accuracy."""
    if not (points := _points(_series(runs), AR, "accuracy")):
        return None
    figure, axes = _panel("Global-ARness@1", "right answers, %")
    for one, records in points:
        shown = one.look | {"linestyle": "none"}
        axes.plot([r[AR] for r in records], [100 * r["accuracy"] for r in records], label=one.name, **shown)
        for record in records:
            _bars(axes, record, AR, "accuracy", one.look["color"], 100)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(bottom=0)
    _legend(axes)
    return figure


def draw_paths(runs: Sequence[Run]) -> Any:
    """ARness of the whole canvas against that within paths, with what random orders have."""
    if not (points := _points(_series(runs), AR, PATH)):
        return None
    figure, axes = _panel("Global-ARness@1, whole canvas", "within a path (mean)")
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.8, linestyle=":")
    for one, records in points:
        shown = one.look | {"linestyle": "none"}
        axes.plot([r[AR] for r in records], [r[PATH] for r in records], label=one.name, **shown)
        random = [(r[f"{AR}_random"], r[f"{PATH}_random"]) for r in records]
        known = [pair for pair in random if None not in pair]
        axes.plot(*zip(*known, strict=True), "+", color="0.6", markersize=4) if known else None
        for record in records:
            _bars(axes, record, AR, PATH, one.look["color"])
    axes.plot([], [], "+", color="0.6", label="random order of each")
    _legend(axes)
    return figure


def draw_critical_path(runs: Sequence[Run]) -> Any:
    """Forwards against the critical path of the problem, where the task knows it."""
    depths = {(run.name, d["cell"], d["critical_path"]): d["forwards"] for run in runs for d in run.depths}
    if not depths:
        return None
    figure, axes = _panel("critical path of the problem", "forwards (mean)")
    for one in _series(runs):
        for place, record in enumerate(one.records):
            own = sorted(
                (depth, value)
                for (run, cell, depth), value in depths.items()
                if (run, cell) == (record["run"], record["cell"])
            )
            axes.plot(*zip(*own, strict=True), label=None if place else one.name, **one.look) if own else None
    longest = max(depth for *_, depth in depths)
    axes.plot([0, longest], [0, longest], color="0.6", linewidth=0.8, linestyle=":", label="as few as possible")
    axes.set_ylim(bottom=0)
    _legend(axes)
    return figure


def draw_maps(runs: Sequence[Run]) -> Any:
    """Where (across) and when (down) each setting finalises its tokens."""
    from matplotlib.figure import Figure

    maps = [found for run in runs for found in heat_maps(run.traces)][:48]
    if not maps:
        return None
    across = min(4, len(maps))
    down = -(-len(maps) // across)
    figure = Figure(figsize=(1.6 * across, 1.75 * down), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for axes in panels:
        axes.set_axis_off()
    for axes, found in zip(panels, maps, strict=False):
        counts = [found["counts"][BINS * i : BINS * (i + 1)] for i in range(BINS)]
        axes.imshow([[count**0.5 for count in line] for line in counts], cmap="Blues", aspect="auto")
        model = printable(FilePath(found["model"]).name, 30)
        axes.set_title(f"{model}\n{printable(found['policy'], 30)}, {found['pace']}", fontsize=6.5, parse_math=False)
    return figure


DRAWN: dict[str, Callable[[Sequence[Run]], Any]] = {
    "accuracy": draw_accuracy,
    "arness": draw_arness,
    "paths": draw_paths,
    "critical-path": draw_critical_path,
    "maps": draw_maps,
}
