"""What a person does with a report, in a real browser: opens it from disk, plays, scrubs, compares, sorts, links."""

import re

import pytest

from nap.data.trace import COMMIT
from nap.data.trace_files import write_traces
from nap.report.page import write_report
from samples import HOSTILE, WORDS, chain, lanes, row, trace_of, write_run

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: no test in a browser").expect


def when(page):
    return page.locator(".when").inner_text()


def fresh(page, pane=0):
    """What the panes show as done in this step."""
    return page.locator(".pane").nth(pane).locator(".fresh").all_inner_texts()


def test_a_report_opens_with_a_chain_and_lanes_of_the_same_problem_side_by_side(visit, report, shots):
    page = visit(report)
    assert page.locator("h1").inner_text() == "Does it decode in parallel?"
    assert "a forward is one call of the model" in page.locator("footer").inner_text()
    titles = page.locator(".pane h3").all_inner_texts()
    assert [title.split(" · ")[0] for title in titles] == ["longcot", "nap"]
    assert page.locator(".pane").nth(0).locator(".lane").count() == 1
    assert page.locator(".pane").nth(1).locator(".lane b").all_inner_texts() == [
        "path 1", "path 2", "path 3", "summary",
    ]  # fmt: skip
    page.screenshot(path=shots / "page-light-1280.png", full_page=True)


def test_stepping_shows_what_was_written_masked_again_and_edited_and_how_sure(visit, report):
    page = visit(report, "#trace=2&step=1")
    assert len(fresh(page)) == 3
    assert "3 written, mean probability .80" in page.locator(".status").inner_text()
    page.get_by_label("One step on").click()
    assert "2 / 11 steps" in when(page)
    page.goto(page.url.split("#")[0] + "#trace=2&step=6")
    expect(page.locator(".when")).to_have_text(re.compile("^6 "))
    assert "1 edited, 1 masked again" in page.locator(".status").inner_text()
    assert page.locator(".lanes .did1").count() == page.locator(".lanes .did2.edited").count() == 1
    page.get_by_label("To the end").click()
    assert page.locator(".lanes .filled").count() >= 1 and page.locator(".lane .masked").count() == 0
    page.get_by_label("One step back").click()
    assert "10 / 11 steps" in when(page)


def test_the_slider_scrubs_and_a_click_in_the_map_goes_to_its_step(visit, report):
    page = visit(report, "#trace=1&step=0")
    page.get_by_label("Moment").fill("7")
    assert when(page).startswith("7 / 24")
    box = page.locator(".map").first.bounding_box()
    page.locator(".map").first.click(position={"x": box["width"] / 2, "y": 4 + (box["height"] - 20) * 11.5 / 24})
    assert when(page).startswith("12 / 24")


def test_playing_runs_to_the_end_and_stops_there(visit, report):
    page = visit(report, "#trace=2&step=0")
    page.get_by_label("Speed").select_option("4")
    page.get_by_label("Play", exact=True).click()
    page.get_by_label("Pause").wait_for()
    expect(page.locator(".when")).to_have_text(re.compile("^11 "), timeout=20_000)
    page.get_by_label("Play", exact=True).wait_for()
    assert page.evaluate("location.hash") == "#trace=2&step=11"


def test_the_keyboard_alone_plays_and_steps(visit, report):
    page = visit(report, "#trace=1&step=0")
    page.locator("#replay").evaluate("element => element.scrollIntoView()")
    for key, shown in (
        ("ArrowRight", "1 "),
        ("Shift+ArrowRight", "11 "),
        ("ArrowLeft", "10 "),
        ("End", "24 "),
        ("Home", "0 "),
    ):
        page.keyboard.press(key)
        assert when(page).startswith(shown), key
    page.keyboard.press("Space")
    page.get_by_label("Pause").wait_for()
    page.keyboard.press("Space")
    page.get_by_label("Play", exact=True).wait_for()


def test_tab_reaches_the_replay_by_the_skip_link_and_every_control_has_a_name(visit, report):
    page = visit(report)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the replay"
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, select, input, [role=img], [tabindex]")].filter((e) =>
        !(e.getAttribute("aria-label") || e.textContent.trim() || e.closest("label"))).map((e) => e.outerHTML)"""
    )
    assert nameless == []
    assert page.locator("[aria-live=polite]").inner_text().startswith("A: Step 6 of 24")


def test_traces_side_by_side_go_on_one_clock(visit, report):
    page = visit(report, "#trace=1,2&step=11")
    assert when(page) == "11 / 24 steps"
    first, second = page.locator(".pane .status").all_inner_texts()
    assert first.startswith("Step 11 of 24") and second.startswith("Step 11 of 11")
    page.get_by_label("To the end").click()
    assert page.locator(".pane .status").nth(1).inner_text().startswith("Step 11 of 11")
    page.get_by_label("Clock").select_option("ms")
    assert when(page) == "240 / 240 ms"
    assert page.evaluate("location.hash") == "#trace=1,2&step=24&clock=ms"
    page.get_by_label("Close B").click()
    assert page.locator(".pane").count() == 1


def test_a_trace_is_put_beside_another_from_the_menu_and_from_the_gallery(visit, report):
    page = visit(report, "#trace=1&step=3")
    menu = page.get_by_label("Add a trace of the same problem beside it")
    menu.select_option("1")
    assert page.locator(".pane").count() == 2
    page.get_by_label("Trace 3 beside what is shown").click()
    assert page.locator(".pane").count() == 3 and menu.is_disabled()
    assert page.evaluate("location.hash") == "#trace=1,2,3&step=3"
    page.get_by_label("Replay trace 4", exact=True).click()
    assert page.evaluate("location.hash") == "#trace=4&step=0"


def test_metrics_develop_with_the_replay(visit, report):
    page = visit(report, "#trace=1,2&step=24")
    shown = page.locator(".develop .small").first.inner_text()
    assert re.search(r"A 1\.00 random \.16\s+B \.\d\d", shown), shown


def test_the_table_sorts_filters_and_downloads(visit, report):
    page = visit(report)
    table = page.locator("#sweep .table")
    table.get_by_role("button", name="TPF").click()
    heads = table.locator("thead th").all_inner_texts()
    column = heads.index("TPF")
    cells = [text.split()[0] for text in table.locator(f"tbody td:nth-child({column + 1})").all_inner_texts()]
    assert cells == sorted(cells, key=float, reverse=True) and len(cells) == 8
    assert table.locator("th[aria-sort=descending]").count() == 1
    table.get_by_role("searchbox").fill("nap forced")
    assert table.locator("tbody tr").count() == 2 and table.locator(".count").inner_text() == "2 of 8"
    with page.expect_download() as download:
        table.get_by_role("button", name="Download CSV").click()
    lines = download.value.path().read_text().splitlines()
    assert len(lines) == 3 and lines[0].startswith("model,policy,pace,accuracy,accuracy_low,accuracy_high,tpf")
    assert lines[1].startswith("nap,parallel_forced,4/step,0.66667,")


def test_the_legend_hides_a_series(visit, report):
    page = visit(report)
    series = page.locator("[data-series='nap | parallel_forced']")
    before = series.count()
    page.locator("#sweep .legend button").filter(has_text="nap · parallel_forced").click()
    assert before > 1 and series.count() == 1  # that of the first screen


@pytest.mark.parametrize(("width", "height"), [(360, 740), (1280, 900), (3840, 2160)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_screen(visit, report, shots, width, height, scheme):
    page = visit(report, "#trace=1,2&step=6", width, height, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", paper)[:3])) < 3 * 60) == (scheme == "dark")
    page.screenshot(path=shots / f"replay-{scheme}-{width}.png")


COLOURS = """names => names.map((name) => {
    document.body.style.color = `var(--${name})`;
    return getComputedStyle(document.body).color;
})"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_told_from_its_ground(visit, report, scheme):
    """WCAG AA: 4.5 to 1 for the page's inks on its grounds."""
    inks, grounds = ["ink", "quiet", "accent", "good", "bad", *(f"c{i}" for i in range(8))], ["paper", "panel"]
    names = inks + grounds
    lights = dict(zip(names, map(luminance, visit(report, color_scheme=scheme).evaluate(COLOURS, names)), strict=True))
    for ink in inks:
        for ground in grounds:
            low, high = sorted([lights[ink], lights[ground]])
            assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, ground)


def luminance(colour):
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_the_theme_button_goes_against_the_system(visit, report):
    page = visit(report, color_scheme="light")
    button = page.get_by_role("button", name="Theme")
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    button.click()
    assert button.inner_text() == "Theme: dark" and page.evaluate(paper) != light


def test_hostile_texts_are_shown_and_never_run(visit, tmp_path):
    name = "<img src=x onerror=alert(1)>&\"'"
    trace = lanes(problem_id=HOSTILE, vocabulary=WORDS | {3: HOSTILE}, answer=HOSTILE)
    run = write_run(tmp_path / name, [row(HOSTILE, HOSTILE, "1/step", HOSTILE, True)], [trace], {"data": HOSTILE})
    write_report([run], tmp_path / "r.html")
    page = visit(tmp_path / "r.html", "#trace=1&step=1")
    assert page.title() == "NAP report" and page.locator("img").count() == 0
    assert "</script><script>" in page.locator(".lanes .token[title*='script']").first.inner_text()
    assert "<img src=x" in page.locator(".top").inner_text()
    assert "\u202e" not in page.locator("body").inner_text()


@pytest.mark.parametrize(
    ("traces", "says"),
    [
        ([], "There is no trace to replay."),
        ([trace_of([])], "Nothing yet: 0 steps to come."),
        ([chain()], "All 1 traces that were kept"),
        ([trace_of([(0, COMMIT, 4, 3, float("nan"))], seconds=(), correct=None, answer=None)], "no probabilities"),
        ([chain(vocabulary=WORDS | {3: "x" * 1_000_000})], "are cut"),
    ],
    ids=["none", "without events", "one", "without probabilities", "a token of a million characters"],
)
def test_poor_traces_still_open(visit, tmp_path, traces, says):
    write_traces(traces, tmp_path / "t.jsonl")
    write_report([tmp_path / "t.jsonl"], tmp_path / "r.html")
    page = visit(tmp_path / "r.html")
    assert says in page.locator("body").inner_text()
    if traces:
        page.get_by_label("To the end").click()
        assert page.locator(".pane").count() == 1


def test_a_trace_without_seconds_stays_on_the_clock_of_steps(visit, tmp_path):
    write_traces([chain(seconds=())], tmp_path / "t.jsonl")
    write_report([tmp_path / "t.jsonl"], tmp_path / "r.html")
    page = visit(tmp_path / "r.html", "#trace=1&step=3")
    page.get_by_label("Clock").select_option("ms")
    assert when(page) == "3 / 24 steps" and page.get_by_label("Clock").input_value() == "step"
    assert "do not say how long" in page.locator(".said").inner_text()
