"""How long the page of a large run takes to make and to open.

    python benchmarks/report_page.py [--opens 5]        # a minute on one core

100,000 made-up rows (100 settings of 1,000 problems) and 2,000 traces of 200 tokens in random order. Opening is from
navigation to the load event in headless Chromium, a fresh browser each time. Needs chromium and playwright.
Results with date and machine: docs/report.md.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from nap.data.trace import Trace
from nap.report.page import write_report
from samples import COMMIT, regions, row, trace_of, write_run

SETTINGS, PROBLEMS, TRACES = 100, 1000, 2000


def made_up(index: int, draw: random.Random) -> Trace:
    free = [position for position, code in enumerate(regions(3, 66, 2)) if code >= 0]
    draw.shuffle(free)
    events = [(i // 4, COMMIT, position, draw.randint(3, 7), draw.random()) for i, position in enumerate(free)]
    model, policy, tokens = names(index % SETTINGS)
    setting = {"model": {"model": model}, "policy": policy, "budget": {"tokens": tokens}}
    return trace_of(events, paths=3, length=66, summary=2, problem_id=f"p{index}", setting=setting)


def names(setting: int) -> tuple[str, str, int]:
    """Model, policy and tokens a step of a setting."""
    return f"model-{setting // 20}", f"policy-{setting % 5}", setting // 5 % 4 + 1


def large_run(folder: Path) -> Path:
    draw = random.Random(0)
    rows = [
        row(model, policy, f"{tokens}/step", f"p{i}", draw.random() < 0.5)
        for model, policy, tokens in map(names, range(SETTINGS))
        for i in range(PROBLEMS)
    ]
    return write_run(folder, rows, [made_up(i, draw) for i in range(TRACES)])


def seconds_to_open(page: Path) -> float:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = browser.new_page()
        started = time.perf_counter()
        tab.goto(page.as_uri(), wait_until="load")
        seconds = time.perf_counter() - started
        browser.close()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--opens", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        run, page = large_run(Path(place) / "run"), Path(place) / "report.html"
        started = time.process_time()
        write_report([run], page)
        size = page.stat().st_size / 1e6
        print(f"{time.process_time() - started:.1f} s of CPU to make it; {size:.2f} MB", flush=True)
        opens = sorted(seconds_to_open(page) for _ in range(options.opens))
        print("seconds to the load event: " + ", ".join(f"{seconds:.2f}" for seconds in opens))


if __name__ == "__main__":
    main()
