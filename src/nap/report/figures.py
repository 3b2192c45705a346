"""The figures of a report as SVG and PDF for a paper, drawn by matplotlib from the same records.

One file for each figure and task: accuracy against tokens per forward, ARness against accuracy (2602.23225, Fig. 2),
ARness of the whole canvas against within paths, forwards against the critical path, and maps of where and when tokens
are written (its Fig. 1, over all traces of a setting). No two series differ by colour alone. The same runs give the
same bytes.

Does not compute: every number is in the records.
"""

from collections.abc import Callable, Sequence
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, NamedTuple

from nap.common.files import InputError, atomic
from nap.common.text import last_parts, printable
from nap.evaluation.summary import Mean, Record
from nap.report.maps import BINS, heat_maps
from nap.report.places import names_of, told_apart
from nap.report.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("svg", "pdf")
WIDTH, HEIGHT = 4.2, 3.0  # inches: a column of a paper
# Okabe and Ito's colours, which people who see colours differently can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D1F")
MARKERS, DASHES = "os^Dv<>P", ("-", "--", ":", "-.")
# What rc_context takes.
STYLE: Any = {
    "font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
    "svg.hashsalt": "nap", "pdf.fonttype": 42,
}  # fmt: skip


class Point(NamedTuple):
    """A record, and the name of its run."""

    run: str
    record: Record


class Series(NamedTuple):
    """The records of one model and curve, and their look: hue and marker by policy, dash and filling by model."""

    name: str
    points: list[Point]
    colour: str
    marker: str
    dash: str
    face: str

    def plot(self, axes: "Axes", xs: Sequence[float], ys: Sequence[float], label: str | None, dash: str = "") -> None:
        """Its points, joined by its own dash unless another is given."""
        axes.plot(
            xs, ys, label=label, color=self.colour, marker=self.marker, linestyle=dash or self.dash,
            markerfacecolor=self.face, markersize=4, linewidth=1.1,
        )  # fmt: skip


class Axis(NamedTuple):
    """One axis of a figure: a mean of a record, in a unit of 1 / `scale`."""

    title: str
    of: Callable[[Record], Mean]
    scale: float = 1.0

    def value(self, record: Record) -> float:
        """The mean, nan where there is none."""
        value = self.of(record).value
        return float("nan") if value is None else self.scale * value


TPF = Axis("tokens per forward", lambda record: record.tpf)
ACCURACY = Axis("right answers, %", lambda record: record.solved, 100)
AR = Axis("Global-ARness@1", lambda record: record.global_arness_at_1)
WHOLE = Axis("Global-ARness@1, whole canvas", lambda record: record.global_arness_at_1)
PATH = Axis("within a path (mean)", lambda record: record.path_global_arness_at_1)


def write_figures(runs: Sequence[Run], folder: str | FilePath) -> list[FilePath]:
    """Write every figure that the runs have numbers for. Returns the files. Raises InputError if there is none."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        raise InputError("figures need matplotlib; try: pip install 'nap-dlm[report]'") from None
    written: list[FilePath] = []
    with matplotlib.rc_context(STYLE):
        for task, alike in _by_task(runs).items():
            members = told_apart(alike, names_of(alike))
            for name, draw in DRAWN.items():
                if figure := draw(members):
                    written += _write(figure, FilePath(folder) / f"{task}-{name}")
    if not written:
        raise InputError("these runs have no numbers to draw; give a run with rows or traces")
    return written


def _by_task(runs: Sequence[Run]) -> dict[str, list[Run]]:
    groups: dict[str, list[Run]] = {}
    alone = last_parts(run.name for run in runs)
    for run in runs:
        name = run.task or str(FilePath(alone[run.name]).with_suffix(""))
        groups.setdefault("".join(c if c.isalnum() else "_" for c in name)[:60] or "run", []).append(run)
    return groups


def _write(figure: "Figure", stem: FilePath) -> list[FilePath]:
    files = [stem.with_name(f"{stem.name}.{kind}") for kind in FORMATS]
    for file, date in zip(files, ("Date", "CreationDate"), strict=True):
        with atomic(file, "wb") as out:
            figure.savefig(out, format=file.suffix[1:], metadata={date: None}, bbox_inches="tight")
    return files


def _series(runs: Sequence[Run]) -> list[Series]:
    found: dict[tuple[str, str], list[Point]] = {}
    for run in runs:
        for record in run.records:
            found.setdefault((record.label, printable(record.curve or record.policy)), []).append(
                Point(run.name, record)
            )
    models, policies = (list(dict.fromkeys(key[i] for key in found)) for i in (0, 1))
    return [_looking(models.index(m), policies.index(p), f"{m}, {p}", points) for (m, p), points in found.items()]


def _looking(model: int, policy: int, name: str, points: list[Point]) -> Series:
    colour, marker = COLOURS[policy % len(COLOURS)], MARKERS[policy % len(MARKERS)]
    return Series(name, points, colour, marker, DASHES[model % len(DASHES)], "white" if model % 2 else colour)


def _panel(x: str, y: str) -> tuple["Figure", "Axes"]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, HEIGHT))
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes


def _legend(axes: "Axes") -> None:
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=6.5)


def _drawn(
    axes: "Axes",
    runs: Sequence[Run],
    x: Axis,
    y: Axis,
    dash: str = "",
    also: Callable[[Series, list[Record]], None] = lambda one, records: None,
) -> bool:
    """Draw each series by x, with `also` for extras, and the intervals of its points. Returns whether there is any."""
    found = False
    for one in _series(runs):
        known = [r for _, r in one.points if x.of(r).value is not None and y.of(r).value is not None]
        if records := sorted(known, key=x.value):
            one.plot(axes, [x.value(r) for r in records], [y.value(r) for r in records], one.name, dash)
            also(one, records)
            for record in records:
                _bars(axes, record, x, y, one.colour)
            found = True
    return found


def _bars(axes: "Axes", record: Record, x: Axis, y: Axis, colour: str) -> None:
    """The intervals of a point, where they are known."""
    if ends := x.of(record).interval:
        axes.plot(ends, [y.value(record)] * 2, color=colour, alpha=0.4, linewidth=0.8)
    if ends := y.of(record).interval:
        axes.plot([x.value(record)] * 2, [y.scale * end for end in ends], color=colour, alpha=0.4, linewidth=0.8)


def draw_accuracy(runs: Sequence[Run]) -> "Figure | None":
    """Accuracy against tokens per forward, with 95 % bands."""
    from matplotlib.ticker import NullLocator, ScalarFormatter

    figure, axes = _panel(TPF.title, ACCURACY.title)

    def band(one: Series, records: list[Record]) -> None:
        low, high = ([100 * r.accuracy_interval[side] for r in records] for side in (0, 1))
        axes.fill_between([TPF.value(r) for r in records], low, high, color=one.colour, alpha=0.08, linewidth=0)

    if not _drawn(axes, runs, TPF, ACCURACY, also=band):
        return None
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(bottom=0)
    _legend(axes)
    return figure


def draw_arness(runs: Sequence[Run]) -> "Figure | None":
    """ARness against accuracy."""
    figure, axes = _panel(AR.title, ACCURACY.title)
    if not _drawn(axes, runs, AR, ACCURACY, "none"):
        return None
    axes.set_xlim(0, 1.02)
    axes.set_ylim(bottom=0)
    _legend(axes)
    return figure


def draw_paths(runs: Sequence[Run]) -> "Figure | None":
    """ARness of the whole canvas against that within paths, with what random orders have."""
    figure, axes = _panel(WHOLE.title, PATH.title)
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.8, linestyle=":")

    def chance(one: Series, records: list[Record]) -> None:
        random = [(r.global_arness_at_1_random.value, r.path_global_arness_at_1_random.value) for r in records]
        if known := [pair for pair in random if None not in pair]:
            axes.plot(*zip(*known, strict=True), "+", color="0.6", markersize=4)

    if not _drawn(axes, runs, WHOLE, PATH, "none", chance):
        return None
    axes.plot([], [], "+", color="0.6", label="random order of each")
    _legend(axes)
    return figure


def draw_critical_path(runs: Sequence[Run]) -> "Figure | None":
    """Forwards against the critical path of the problem, where the task knows it."""
    depths = {(run.name, d.cell, d.critical_path): d.forwards for run in runs for d in run.depths}
    if not depths:
        return None
    figure, axes = _panel("critical path of the problem", "forwards (mean)")
    for one in _series(runs):
        for place, point in enumerate(one.points):
            own = sorted(
                (depth, value)
                for (run, cell, depth), value in depths.items()
                if (run, cell) == (point.run, point.record.cell)
            )
            if own:
                depths_of, means = zip(*own, strict=True)
                one.plot(axes, depths_of, means, None if place else one.name)
    longest = max(depth for *_, depth in depths)
    axes.plot([0, longest], [0, longest], color="0.6", linewidth=0.8, linestyle=":", label="as few as possible")
    axes.set_ylim(bottom=0)
    _legend(axes)
    return figure


def draw_maps(runs: Sequence[Run]) -> "Figure | None":
    """Where (across) and when (down) each setting finalises its tokens."""
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    each = zip(runs, names_of(runs), strict=True)
    maps = [(names[found.model], found) for run, names in each for found in heat_maps(run.traces)][:48]
    if not maps:
        return None
    across = min(4, len(maps))
    down = -(-len(maps) // across)
    figure = Figure(figsize=(1.6 * across, 1.75 * down), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for axes in panels:
        axes.set_axis_off()
    image: Any = None
    for axes, (model, found) in zip(panels, maps, strict=False):
        shares = [[share / 10 for share in found.shares[BINS * i : BINS * (i + 1)]] for i in range(BINS)]
        image = axes.imshow(shares, cmap="Blues", aspect="auto", norm=PowerNorm(0.5, 0, 100))
        name = f"{printable(model, 30)}\n{printable(found.policy, 30)}, {printable(found.pace)}"
        axes.set_title(name, fontsize=6.5, parse_math=False)
    # One scale for all maps.
    bar = figure.colorbar(image, ax=[*panels], shrink=0.6, ticks=[0, 4, 25, 100], pad=0.02)
    bar.set_label("% of a place's tokens that became final then", fontsize=6.5)
    return figure


DRAWN: "dict[str, Callable[[Sequence[Run]], Figure | None]]" = {
    "accuracy": draw_accuracy,
    "arness": draw_arness,
    "paths": draw_paths,
    "critical-path": draw_critical_path,
    "maps": draw_maps,
}
