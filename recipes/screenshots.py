"""The pictures of the README, from a run: the report's replay and figures, and a short animation of the replay.

    python recipes/screenshots.py [--run runs/demo/arith-50] [--out docs/images]

Needs Debian's chromium and pip install playwright pillow. Writes report.png (the figures), replay.png (a long chain
beside three lanes) and replay.webp (the same, played). Expected wall time: under a minute; about 1 MB in all.
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
STILL = 0.45  # of the replay that the picture shows
FRAMES, MILLISECONDS = 36, 150
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


def go_to(page: Any, share: float) -> None:
    """The moment after this share of the replay."""
    slider = page.get_by_label("Moment")
    slider.fill(str(round(share * int(slider.get_attribute("max")))))


def replay_part(page: Any) -> bytes:
    """A picture of the bar and the panes, as far as the screen reaches."""
    page.locator(".player").evaluate("element => element.scrollIntoView()")
    player, panes = page.locator(".player").bounding_box(), page.locator(".panes").bounding_box()
    bottom = min(panes["y"] + panes["height"], SIZE["height"])
    return page.screenshot(clip=player | {"height": bottom - player["y"]})


def animation(pictures: list[bytes]) -> bytes:
    """The pictures as one animated WebP, the last one longer."""
    from PIL import Image

    frames = [Image.open(io.BytesIO(picture)).convert("RGB") for picture in pictures]
    lasting = [MILLISECONDS] * (len(frames) - 1) + [10 * MILLISECONDS]
    out = io.BytesIO()
    first, *rest = [frame.crop((0, 0, *frames[0].size)) for frame in frames]
    first.save(out, "WEBP", save_all=True, append_images=rest, duration=lasting, loop=0, quality=70, method=4)
    return out.getvalue()


def take(run: Path, out: Path) -> None:
    """Write the pictures of a run."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        write_report([run], report := Path(folder) / "report.html")
        page = open_page(playwright, report)
        made = {"report.png": page.locator("#sweep .charts").screenshot()}
        go_to(page, STILL)
        made["replay.png"] = replay_part(page)
        moments = [i / (FRAMES - 1) for i in range(FRAMES)]
        made["replay.webp"] = animation([(go_to(page, moment), replay_part(page))[1] for moment in moments])
    for name, picture in made.items():
        with atomic(out / name, "wb") as file:
            file.write(picture)
        print(f"{out / name}: {len(picture) / 1000:.0f} kB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=ROOT / "runs/demo/arith-50", help="a folder made by nap eval --out")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/images")
    options = parser.parse_args()
    take(options.run, options.out)


if __name__ == "__main__":
    with exits_on_bad_input("screenshots"):
        main()
