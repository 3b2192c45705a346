"""What a decode costs against the length of its canvas and its number of paths: query tokens, pairs and seconds.

    python benchmarks/length.py                          # a random model of width 64, 2 layers: minutes
    python benchmarks/length.py --figure docs/images/length.svg      # and the figure of docs/scaling.md
    python benchmarks/length.py --paths 1 2 --tokens 64 --json       # one JSON object a row

Canvases of P paths of --tokens tokens, with a prompt of 64 and a summary of 32 that is given, are filled in --steps
forwards each: under full attention without a cache, and as independent paths with the exact cache. A pair is a position
that is computed and one that it may look at: what attention has to do at least. Seconds are processor seconds of one
thread. An exponent is the slope of a straight line through the logarithms, by least squares.

Not a test. Results with date and machine: docs/scaling.md. Does not say how fast a large model is (benchmarks/gpu.py).
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
import torch
from decode import Shape

from nap.canvas.canvas import Canvas, CanvasSpec, collate
from nap.canvas.visibility import Attention, sight
from nap.common.files import atomic
from nap.data.trace import PROMPT
from nap.decoding.budget import Budget
from nap.decoding.engine import Engine
from nap.decoding.policies.paths import ParallelForced
from nap.models.denoiser import Denoiser
from nap.models.load import load
from nap.models.session import StoredSession
from nap.report.figures import COLOURS, STYLE

SHAPE = Shape(width=64, layers=2, vocab=512, prompt=64)
SUMMARY = 32
WAYS: dict[str, tuple[Attention, str]] = {"full attention": ("full", "none"), "paths, exact cache": ("paths", "exact")}
MEASURES = {"query_tokens": "query tokens", "pairs": "pairs of attention", "seconds": "processor seconds"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one decode cost."""

    way: str
    paths: int
    canvas: int
    forwards: int
    query_tokens: int
    pairs: int
    seconds: float


def canvas_of(paths: int, tokens: int, attention: Attention) -> Canvas:
    """A prompt and a summary of random tokens, and between them paths of masks."""
    slots = [code for path in range(paths) for code in [path] * tokens] + [paths] * SUMMARY
    region = np.array([PROMPT] * SHAPE.prompt + slots)
    given = np.random.default_rng(0).integers(0, SHAPE.vocab - 300, len(region))
    ids = np.where((region >= 0) & (region < paths), SHAPE.mask, given)
    spec = CanvasSpec(paths=paths, path_tokens=tokens, summary_tokens=SUMMARY, attention=attention)
    return Canvas(ids=ids, region=region, spec=spec)


def cost(denoiser: Denoiser, way: str, paths: int, tokens: int, steps: int) -> Row:
    """One decode in so many forwards."""
    attention, cache = WAYS[way]
    canvas = canvas_of(paths, tokens, attention)
    seen = sight(collate([canvas], 0)[1])
    looks_L = seen.sees_GL.sum(axis=1)[seen.group_L]
    engine, started = Engine(denoiser, cache), time.process_time()
    row = engine.add(canvas, ParallelForced(), budget=Budget(tokens=-(-paths * tokens // steps)))
    kept = engine.session.kept[row] if isinstance(engine.session, StoredSession) else None
    forwards, queries, pairs = 0, 0, 0
    while engine.running:
        (step,) = engine.step()
        computed_L = kept.computed_L == kept.forward - 1 if kept else np.ones(len(canvas), bool)
        forwards, queries = forwards + 1, queries + step.cost.queries
        pairs += int(looks_L[computed_L].sum())
    return Row(
        way=way, paths=paths, canvas=paths * tokens, forwards=forwards, query_tokens=queries, pairs=pairs,
        seconds=time.process_time() - started,
    )  # fmt: skip


def exponent(rows: Sequence[Row], measure: str) -> float:
    """The slope of the measure against the tokens of the canvas, both as logarithms."""
    xs, ys = ([np.log(getattr(row, name)) for row in rows] for name in ("canvas", measure))
    return float(np.polyfit(xs, ys, 1)[0])


def groups(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    """The rows by what grows and way: paths of one length, or the length of as many paths as the most rows have."""
    found: dict[tuple[str, str], list[Row]] = {}
    lengths = {row.canvas // row.paths for row in rows}
    for row in rows:
        if row.canvas // row.paths == min(lengths):
            found.setdefault(("more paths", row.way), []).append(row)
        if row.paths == min(other.paths for other in rows):
            found.setdefault(("longer paths", row.way), []).append(row)
    return found


def draw(rows: Sequence[Row], path: Path) -> None:
    """A panel for each measure; a line for each way and for what grows, with its exponent."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.3), layout="constrained")
        for axes, (measure, title) in zip(figure.subplots(1, len(MEASURES)), MEASURES.items(), strict=True):
            for number, ((grows, way), own) in enumerate(groups(rows).items()):
                axes.plot(
                    [row.canvas for row in own], [getattr(row, measure) for row in own], marker="os^D"[number],
                    color=COLOURS[list(WAYS).index(way)], linestyle="-" if grows == "more paths" else "--",
                    markersize=4, linewidth=1.1, label=f"{way}, {grows}: {exponent(own, measure):.2f}",
                )  # fmt: skip
            axes.set(xscale="log", yscale="log", xlabel="tokens of the paths", title=title)
            axes.legend(title="exponent", fontsize="x-small", title_fontsize="x-small")
        with atomic(path, "wb") as file:
            figure.savefig(file, format="svg", metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paths", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--tokens", type=int, default=256, help="of a path where the number of paths grows")
    parser.add_argument("--steps", type=int, default=16, help="forwards for the paths")
    parser.add_argument("--figure", type=Path, help="draw the rows into this SVG file")
    parser.add_argument("--json", action="store_true", help="one JSON object a row")
    options = parser.parse_args()
    if options.figure and find_spec("matplotlib") is None:
        sys.exit("length: figures need matplotlib; try: pip install 'nap-dlm[report]'")
    torch.set_num_threads(1)
    SHAPE.make()
    denoiser, fewest = load(str(SHAPE.folder), mask_id=SHAPE.mask), min(options.paths)
    sizes = [(count, options.tokens) for count in options.paths]
    # The same canvases of the fewest paths, which are longer instead.
    sizes += [(fewest, options.tokens * count // fewest) for count in options.paths if count != fewest]
    rows = []
    for (paths, tokens), way in product(sizes, WAYS):
        rows.append(cost(denoiser, way, paths, tokens, options.steps))
        if options.json:
            print(json.dumps(asdict(rows[-1])), flush=True)
    for (grows, way), own in groups(rows).items():
        said = {name: round(exponent(own, name), 2) for name in MEASURES} if len(own) > 1 else {}
        print(
            json.dumps({"grows": grows, "way": way, "exponents": said}) if options.json else f"{way}, {grows}: {said}"
        )
    if options.figure:
        draw(rows, options.figure)


if __name__ == "__main__":
    main()
