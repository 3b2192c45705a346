"""A report in a real browser. Screenshots are kept in the folder NAP_SCREENSHOTS, else in pytest's temporary one."""

import os
import shutil
from pathlib import Path

import pytest

from nap.report.page import write_report
from samples import small_rows, small_traces, write_run

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


# Playwright holds an event loop while it is open, which no other module of tests should find running.
@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: no test in a browser")
    if not (chromium := next(filter(None, map(shutil.which, BROWSERS)), None)):
        pytest.skip("there is no Chromium (apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        # The sandbox needs rights that a container's root does not have; the page is our own.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    folder = Path(os.environ.get("NAP_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    write_report([write_run(folder / "run", small_rows(), small_traces())], folder / "r.html")
    return folder / "r.html"


@pytest.fixture
def visit(browser):
    """Open a page file; at the end nothing may have gone wrong in it, or been asked of the network."""
    complaints, pages = [], []

    def call(path, link="", width=1280, height=900, **options):
        page = browser.new_page(viewport={"width": width, "height": height}, **options)
        pages.append(page)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: _outside(request.url) and complaints.append(request.url))
        page.goto(f"{Path(path).as_uri()}{link}")
        page.wait_for_selector("main")
        return page

    yield call
    for page in pages:
        page.close()
    assert not complaints


def _outside(url):
    return not url.startswith(("file:", "blob:"))
