"""The pictures of the README, from runs: the report's first screen, and a short animation of the replay.

    python recipes/screenshots.py [--first runs/demo/grids] [--replay runs/agree] [--out docs/images]

Needs Debian's chromium and pip install playwright pillow. Writes report.png (the question, the verdict and its picture)
and replay.webp (the pair that the replay opens with: the same problem at the slowest and at the fastest pace, first one
frame a step until the fast one is done, then larger steps; the README's is `agree-nap` on `agree` under
`parallel_forced`, at 1 and 3 tokens a step). Expected wall time: under a minute; about 0.5 MB in all.
"""

import argparse
import io
import shutil
import tempfile
from pathlib import Path
from typing import Any

from nap.common.files import InputError, atomic, exits_on_bad_input
from nap.report.page import write_report

ROOT = Path(__file__).resolve().parent.parent
SIZE = {"width": 1200, "height": 900}
STRIDES = 16  # frames from where the fast trace is done to the end
MILLISECONDS = {"step": 350, "stride": 120, "end": 2500}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def open_page(playwright: Any, report: Path) -> Any:
    """The report in a headless browser."""
    if not (found := next(filter(None, map(shutil.which, BROWSERS)), None)):
        raise InputError("there is no Chromium; try: apt-get install chromium")
    # The sandbox needs rights that a container's root does not have; the page is our own.
    browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
    page = browser.new_page(viewport=SIZE, color_scheme="light")
    page.goto(report.as_uri())
    page.locator("#replay .pane").first.wait_for()
    return page


def replay_part(page: Any, moment: int) -> bytes:
    """A picture of the key to the marks, the bar and the panes, after a moment of the replay."""
    page.get_by_label("Moment").fill(str(moment))
    page.locator("#replay .marks").evaluate("(marks) => { document.activeElement.blur(); marks.scrollIntoView(); }")
    marks, panes = page.locator("#replay .marks").bounding_box(), page.locator(".panes").bounding_box()
    bottom = min(panes["y"] + panes["height"] + 4, SIZE["height"])
    return page.screenshot(clip=panes | {"y": marks["y"], "height": bottom - marks["y"]})


def moments_of(page: Any) -> dict[int, int]:
    """The moments to show, each with how long: all until the shorter trace is done, then strides to the end."""
    end = int(page.get_by_label("Moment").get_attribute("max"))
    labels = page.locator(".pane .map").evaluate_all("maps => maps.map((map) => map.getAttribute('aria-label'))")
    done = min(int(label.split()[2]) for label in labels)
    strides = [done + round((end - done) * i / STRIDES) for i in range(1, STRIDES)]
    return (
        dict.fromkeys(range(done + 1), MILLISECONDS["step"])
        | dict.fromkeys(strides, MILLISECONDS["stride"])
        | {end: MILLISECONDS["end"]}
    )


def animation(pictures: list[bytes], lasting: list[int]) -> bytes:
    """The pictures as one animated WebP."""
    from PIL import Image

    first, *rest = [Image.open(io.BytesIO(picture)).convert("RGB") for picture in pictures]
    rest = [frame.crop((0, 0, *first.size)) for frame in rest]
    out = io.BytesIO()
    first.save(out, "WEBP", save_all=True, append_images=rest, duration=lasting, loop=0, quality=70, method=4)
    return out.getvalue()


def take(first: Path, replayed: Path, out: Path) -> None:
    """Write the pictures of two runs."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        write_report([first], report := Path(folder) / "first.html")
        page = open_page(playwright, report)
        seen = page.locator("#glance").bounding_box()
        made = {
            "report.png": page.screenshot(
                clip={"x": 0, "y": 0, "width": SIZE["width"], "height": seen["y"] + seen["height"]}
            )
        }
        write_report([replayed], report := Path(folder) / "replay.html")
        page = open_page(playwright, report)
        moments = moments_of(page)
        made["replay.webp"] = animation([replay_part(page, moment) for moment in moments], [*moments.values()])
    for name, picture in made.items():
        with atomic(out / name, "wb") as file:
            file.write(picture)
        print(f"{out / name}: {len(picture) / 1000:.0f} kB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=Path, default=ROOT / "runs/demo/grids", help="the run of the first screen")
    parser.add_argument("--replay", type=Path, default=ROOT / "runs/agree", help="the run of the replay")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/images")
    options = parser.parse_args()
    take(options.first, options.replay, options.out)


if __name__ == "__main__":
    with exits_on_bad_input("screenshots"):
        main()
