"""How a page looks: the first screen, the replay, the maps, the table, on paper, in both themes, for everybody."""

import json
import re

import pytest

from nap.data.cells import cell_of
from nap.data.trace import COMMIT
from nap.data.trace_files import write_traces
from nap.face.page import framed
from nap.report.page import page as page_of
from nap.report.page import payload, write_report
from nap.report.pair import telling_pair
from nap.report.runs import Run, read_run
from samples import PAD, row, trace_of, write_run

POLICIES = {"low_confidence": 30, "parallel_forced": 31, "random": 39}
WIDE, TEXT = 24, 18  # positions of a trace, and those that end as text


def decoded(model, policy, problem, tokens, **changes):
    """A trace from left to right at a pace, whose end is padding."""
    events = [(i // tokens, COMMIT, 4 + i, 3 + i % 4 if i < TEXT else PAD, 0.9) for i in range(WIDE)]
    setting = {"model": {"model": model}, "policy": policy, "budget": {"tokens": tokens}}
    return trace_of(events, length=WIDE, problem_id=problem, setting=setting, **changes)


def run_of(folder, task, lost, problems=40, paces=(1, 2, 8), policies=tuple(POLICIES)):
    """A run whose proposed policy solves `lost` problems less at the fastest pace."""
    rows, traces = [], []
    for policy in policies:
        for tokens in paces:
            right = POLICIES[policy] - lost * (policy == "parallel_forced" and tokens == 8)
            for i in range(problems):
                known = {"tpf": 0.75 * tokens, "forwards": WIDE // tokens, "critical_path": 1 + i % 3, "task": task}
                rows.append(row(f"{task}-nap", policy, f"{tokens}/step", f"{task}-{i}", i < right, **known))
            # The last of them are solved slowly and not fast.
            kept = (0, POLICIES["parallel_forced"] - 1)
            traces += [decoded(f"{task}-nap", policy, f"{task}-{i}", tokens, correct=i < right) for i in kept]
    return write_run(folder / task, rows, traces, {"task": task, "models": [f"{task}-nap"]})


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    write_report([run_of(folder, "arith", 20), run_of(folder, "countdown", 0)], folder / "r.html")
    return folder / "r.html"


def box(page, selector):
    found = page.locator(selector).first.bounding_box()
    assert found, selector
    return found


# The first screen

BANDS = "() => [...document.querySelectorAll('.picture .band')].filter((e) => getComputedStyle(e).opacity > 0).length"


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (360, 800)])
def test_the_first_screen_answers_the_title_in_a_sentence_and_one_picture(visit, two, width, height, shots):
    page = visit(two, width=width, height=height)
    assert page.locator(".answer").inner_text().startswith("Up to 1.5 tokens a forward: at 2 tokens a step arith-nap")
    picture = box(page, ".picture .plot svg")
    assert picture["y"] + picture["height"] <= height and picture["width"] > 0.6 * min(width, 1100)
    assert page.locator(".picture .series").count() == 3
    assert "Nobody asked for random, yet it is best" in page.locator(".words").inner_text()
    page.screenshot(path=shots / f"first-{width}.png")


def test_a_series_has_its_band_while_it_is_pointed_at_or_was_pressed(visit, two):
    page = visit(two)
    assert page.evaluate(BANDS) == 0 and page.locator(".picture .band").count() == 3
    legend = page.locator(".picture .legend button")
    legend.nth(1).hover()
    assert page.evaluate(BANDS) == 1 and page.locator(".picture .series.dimmed").count() == 2
    page.mouse.move(0, 0)
    assert page.evaluate(BANDS) == 0
    legend.nth(0).click()
    page.mouse.move(0, 0)
    assert page.evaluate(BANDS) == 1 and legend.nth(0).get_attribute("aria-pressed") == "true"


def test_the_tab_of_a_task_rules_the_whole_page(visit, two):
    page = visit(two)
    parts = (".answer", "#sweep tbody", ".pane header", "#maps", "#setting")
    assert all("arith-nap" in page.locator(part).first.inner_text() for part in parts)
    page.get_by_text("countdown", exact=True).click()
    for part in parts:
        text = page.locator(part).first.inner_text()
        assert "countdown-nap" in text and "arith" not in text, part
    assert page.locator("main > section").count() == 5
    assert page.locator(".gallery tbody tr").count() > 4
    assert "arith" not in page.locator(".gallery tbody").inner_text()


def test_a_link_to_a_trace_opens_the_tab_of_its_task(visit, two):
    numbers = [int(n) for n in re.findall(r"\d+", visit(two).evaluate("location.hash"))][:2]
    page = visit(two)
    page.get_by_text("countdown", exact=True).click()
    other = page.evaluate("location.hash")
    page = visit(two, other)
    assert (
        page.get_by_role("radio", name="countdown").is_checked()
        and "countdown-nap" in page.locator(".answer").inner_text()
    )
    page.evaluate(f"location.hash = '#trace={numbers[0]}&step=2'")
    page.wait_for_function("document.querySelector('.answer').textContent.includes('arith-nap')")
    assert page.locator(".when").inner_text().startswith("2 /")


def test_axes_fit_the_data_and_the_whole_range_is_a_click_away(visit, two):
    page = visit(two)
    ticks = page.locator(".picture .axes text[text-anchor=end]")
    fitted = [int(text) for text in ticks.all_text_contents()]
    assert fitted[0] > 0
    page.locator(".picture .whole").click()
    whole = [int(text) for text in ticks.all_text_contents()]
    assert (whole[0], whole[-1]) == (0, 100)
    page.locator(".picture .whole").click()
    assert [int(text) for text in ticks.all_text_contents()] == fitted


def test_the_table_says_how_far_ties_move_a_metric_and_that_it_is_not_identified(visit, tmp_path):
    ends = ("", "_leftmost", "_rightmost", "_blind")
    bands = {"tau_b": (0.2, 0.5, -0.3, 0.0), "global_arness_at_1": (0.9, 0.9, 0.8, 0.1)}
    kept = {f"{name}{end}": value for name, band in bands.items() for end, value in zip(ends, band, strict=True)}
    rows = [
        row("m", policy, "1/step", f"p{i}", True, **known)
        for policy, known in (("low_confidence:keep=.01", kept), ("random", {"tau_b": 0.2}))
        for i in range(3)
    ]
    write_report([write_run(tmp_path / "run", rows, [], {"task": "arith", "models": ["m"]})], tmp_path / "r.html")
    page = visit(tmp_path / "r.html")
    found = page.locator("#sweep td small.ties")
    assert found.all_inner_texts() == ["ties .80 to .90", "ties \u2212.30 to .50\nnot identified"]
    assert "has .00" in (found.nth(1).get_attribute("title") or "")


def test_a_chart_of_a_single_column_is_text(visit, tmp_path):
    write_report([run_of(tmp_path, "arith", 0, paces=(2,), policies=("random",))], tmp_path / "r.html")
    page = visit(tmp_path / "r.html")
    assert page.locator(".answer").inner_text().startswith("Not measured")
    assert page.locator(".picture svg.sample").count() == 1 and page.locator(".picture .plot").count() == 0
    assert page.locator(".picture .listed").inner_text() == (
        "arith-nap · random · 2 tokens a step, accuracy 98 % [87, 100] of 40, TPF 1.50"
    )


# The replay

# Where everything of the panes stands in them.
BOXES = """() => {
    const from = document.querySelector(".panes").getBoundingClientRect();
    return [...document.querySelectorAll(".pane, .lane, .lane .token, .status, .pane .map, #maps")].map((element) => {
        const box = element.getBoundingClientRect();
        return [box.x - from.x, box.y - from.y, box.width, box.height].map(Math.round).join(" ");
    });
}"""
COLOURS = "(pane) => [...pane.querySelectorAll('[data-end=text]')].map((e) => getComputedStyle(e).backgroundColor)"


def test_the_replay_opens_in_the_middle_with_a_problem_that_is_right_slowly_and_wrong_fast(visit, two):
    page = visit(two)
    titles = page.locator(".pane header").all_inner_texts()
    assert "parallel_forced · 1 token a step" in titles[0] and "arith-30 · ✓ right" in titles[0]
    assert "parallel_forced · 8 tokens a step" in titles[1] and "arith-30 · ✗ wrong" in titles[1]
    assert page.locator(".when").inner_text() == "2 / 24 steps"


@pytest.mark.parametrize("width", [1280, 360])
def test_nothing_moves_in_a_replay(visit, report, width):
    page = visit(report, "#trace=1,2&step=0", width)
    first = page.evaluate(BOXES)
    for moment in range(1, 25):
        page.get_by_label("Moment").fill(str(moment))
        assert page.evaluate(BOXES) == first, moment


def test_padding_is_folded_away_until_it_is_asked_for(visit, two):
    page = visit(two)
    lane = page.locator(".pane .lane").first
    seen = "(lane) => [...lane.querySelectorAll('.token[data-position]')].filter((e) => e.offsetWidth).length"
    assert lane.evaluate(seen) == TEXT and lane.locator(".folded").inner_text() == f"+ {WIDE - TEXT} padding"
    page.get_by_role("checkbox", name="padding").check()
    assert lane.evaluate(seen) == WIDE and not lane.locator(".folded").is_visible()


def test_a_position_is_a_cell_in_the_colour_of_its_step(visit, two, shots):
    page = visit(two)
    page.get_by_label("View").select_option("order")
    page.get_by_label("To the end").click()
    slow, fast = (page.locator(".pane").nth(i).evaluate(COLOURS) for i in (0, 1))
    assert len(set(slow)) == TEXT and len(set(fast)) == 3
    assert slow[0] == fast[0] and fast[:8] == [fast[0]] * 8 and fast[8] != fast[7]
    assert page.locator(".stepkey").is_visible()
    page.screenshot(path=shots / "order.png")
    page.get_by_label("View").select_option("tokens")
    assert not page.locator(".stepkey").is_visible()


# Maps

PIXEL = """([map, x, y]) => {
    const drawn = document.querySelectorAll("#maps canvas")[map], copy = document.createElement("canvas");
    Object.assign(copy, { width: drawn.width, height: drawn.height });
    const pen = copy.getContext("2d", { willReadFrequently: true });
    pen.drawImage(drawn, 0, 0);
    return [...pen.getImageData(((x + 0.5) / 24) * copy.width, ((y + 0.5) / 24) * copy.height, 1, 1).data].slice(0, 3);
}"""
# Of each patch of the key its ground and its colour.
PATCHES = """() => [...document.querySelectorAll(".colourkey .patch")].map((patch) =>
    [patch, patch.firstChild].map((element) => getComputedStyle(element).backgroundColor))"""
WIDER = """() => [...document.querySelectorAll("canvas, svg, table, .pane")].filter((element) =>
    element.getBoundingClientRect().right > 704).length"""
SEEN = """() => [...document.querySelectorAll("button, select, input")].filter((element) => element.checkVisibility() &&
    !element.closest("th, .legend, .tabs")).map((element) => element.outerHTML)"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_map_has_the_colours_of_its_key_in_both_themes(visit, two, scheme):
    page = visit(two, color_scheme=scheme)
    page.wait_for_function("document.querySelectorAll('#maps canvas')[0].width > 300 / 24")
    full, empty, other = (page.evaluate(PIXEL, place) for place in ([0, 3, 3], [0, 3, 20], [3, 3, 3]))
    (ground, mark), *_ = page.evaluate(PATCHES)
    assert empty == [int(n) for n in re.findall(r"\d+", ground)] and full == other
    # At one token a step a place is final in one or two of the 24 times: nearly the colour of 100 %.
    strong = [int(n) for n in re.findall(r"\d+", mark)]
    assert sum(abs(a - b) for a, b in zip(full, strong, strict=True)) < sum(
        abs(a - b) for a, b in zip(full, empty, strict=True)
    )
    page.get_by_role("button", name="Theme").click()
    page.get_by_role("button", name="Theme").click()
    assert page.evaluate(PIXEL, [0, 3, 20]) != empty or scheme == "light"


# The table, and paper


def test_at_1280_the_table_fits(visit, two):
    page = visit(two)
    width, room = page.locator("#sweep .scroll").evaluate("(e) => [e.scrollWidth, e.clientWidth]")
    assert width <= room and page.locator("#sweep thead th").count() >= 11


def test_at_360_accuracy_stands_second_and_model_and_policy_stay_in_place(visit, two):
    page = visit(two, width=360)
    assert page.locator("#sweep thead th").nth(1).inner_text() == "accuracy %"
    scroll, second = box(page, "#sweep .scroll"), box(page, "#sweep tbody td")
    assert second["x"] + second["width"] <= scroll["x"] + scroll["width"]
    before = box(page, "#sweep tbody th")["x"]
    page.locator("#sweep .scroll").evaluate("(e) => (e.scrollLeft = 300)")
    assert box(page, "#sweep tbody th")["x"] == before and box(page, "#sweep tbody td")["x"] < before
    assert page.locator("#sweep tbody th").first.inner_text().splitlines() == [
        "arith-nap", "low_confidence", "1 token a step",
    ]  # fmt: skip


def test_on_paper_it_is_light_fits_a4_and_has_no_controls(visit, two, shots):
    page = visit(two, color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    page.set_viewport_size({"width": 703, "height": 1000})  # A4 less its margins
    assert page.evaluate("document.documentElement.scrollWidth") <= 703
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(252, 252, 250)"
    assert page.evaluate(SEEN) == []
    assert page.evaluate(WIDER) == 0
    pages = page.pdf(path=shots / "paper.pdf", prefer_css_page_size=True).count(b"/Type /Page\n")
    assert 2 <= pages <= 8


# Why a decode may err


@pytest.fixture(scope="module")
def explained(tmp_path_factory):
    """A page of one trace of three tokens a step, whose third step contradicts itself."""
    folder = tmp_path_factory.mktemp("explained")
    trace = decoded("toy", "ar", "p0", 3)
    steps = [
        {"step": n, "positions": [4 + 3 * n + i for i in range(3)], "violation": [0, 0.25, 2.0 * (n == 2) - 0.5],
         "correlation": 0.125, "error": 0.0625, "exact": False}
        for n in range(WIDE // 3)
    ]  # fmt: skip
    line = {"cell": cell_of(trace).name, "problem_id": "p0", "correct": True, "steps": steps}
    (folder / "why.jsonl").write_text(json.dumps(line))
    write_traces([trace], folder / "t.jsonl")
    write_report([folder / "t.jsonl"], folder / "r.html", [folder / "why.jsonl"])
    return folder / "r.html"


def test_the_replay_has_a_lane_of_what_contradicts_itself_which_leads_to_its_step(visit, explained, shots):
    page = visit(explained)
    lane = page.locator(".pane .why")
    cells = lane.locator(".nats")
    assert cells.all_inner_texts() == ["−.3", "−.3", "1.8", *["−.3"] * 5]
    assert [cells.nth(n).get_attribute("class").split()[1] for n in (0, 2)] == ["along", "against"]
    cells.nth(2).click()
    assert page.locator(".when").inner_text().startswith("3 /")
    assert (
        page.locator(".status")
        .inner_text()
        .startswith("Step 3 of 8: 3 written, mean probability .90, violation 1.75 nats, correlation .13 ± .06.")
    )
    assert "fresh" in (cells.nth(2).get_attribute("class") or "") and lane.locator(".count").inner_text() == "1.3 nats"
    assert lane.locator(".coming").count() == 5
    assert page.locator(".lane .token.fresh").last.get_attribute("title").endswith(", violation 1.50 nats")
    page.locator(".pane").screenshot(path=shots / "why.png")


def test_a_page_without_explanations_has_no_such_lane(visit, two):
    assert visit(two).locator(".why").count() == 0


# Everybody


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_nothing_serious(browser, two, explained, scheme, width):
    found = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
    )
    # Its script is not the page's, whose policy would not let it run.
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    for file, view in ((two, "tokens"), (two, "order"), (explained, "tokens")):
        page.goto(file.as_uri())
        page.get_by_label("View").select_option(view)
        violations = found.Axe().run(page).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in violations] == []
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_notebook_shows_the_replay_or_the_verdict_and_the_table_sealed_in_both_themes(visit, tmp_path, scheme):
    """In a frame that may run its script and nothing else, as a notebook has it."""
    run = read_run(run_of(tmp_path, "arith", 20))
    pair = Run(name="replay", traces=[run.traces[i] for i in telling_pair(run.traces)])
    for name, data in (("table", payload([run], only="table")), ("replay", payload([pair], only="replay"))):
        frame = framed(page_of(data), name, height=46)
        (tmp_path / "notebook.html").write_text(f"<!doctype html><body><main>notebook</main>{frame}")
        page = visit(tmp_path / "notebook.html", color_scheme=scheme)
        inside = page.frame_locator("iframe")
        inside.locator("main").wait_for()
        if name == "table":
            assert inside.locator(".answer").inner_text().startswith("Up to ")
            assert inside.locator("tbody tr").count() == 9 and inside.locator(".pane").count() == 0
        else:
            assert inside.locator(".pane").count() == 2 and inside.locator(".when").inner_text() == "2 / 24 steps"
        paper = inside.locator("body").evaluate("(body) => getComputedStyle(body).backgroundColor")
        assert paper == {"light": "rgb(252, 252, 250)", "dark": "rgb(22, 24, 27)"}[scheme]
        inside.get_by_role("button", name="Theme").click()
