"""Through the pages with a browser: by keyboard, in both languages, light and dark."""

import threading
import time
from pathlib import Path

import pytest
import uvicorn

from tests.serve.page.accessibility import CHECK, TABBABLE
from tests.serve.page.lines import (
    fill,
    inspection_id,
    make_app,
    make_parts,
    verdict_of,
)

CHROMIUM = Path("/usr/bin/chromium")
REVIEW = next(n for n in range(40) if verdict_of(n) == "REVIEW")
PAGES = (
    "/",
    "/history",
    "/review",
    "/settings",
    "/settings/bolt",
    "/drift",
    "/bundles",
    "/audit",
    "/login",
    f"/parts/{inspection_id(REVIEW)}",
    "/parts/none",
)
pytestmark = pytest.mark.skipif(not CHROMIUM.is_file(), reason=f"needs {CHROMIUM}")


class Served:
    """An application that listens on a free port of loopback, in a thread."""

    def __init__(self, app, lifespan="off"):
        config = uvicorn.Config(app, port=0, log_level="error", lifespan=lifespan)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"

    def close(self):
        self._server.should_exit = True
        self._thread.join(10)


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    parts = make_parts(tmp_path_factory.mktemp("line"))
    fill(parts, 40)
    server = Served(make_app(parts))
    yield server
    server.close()
    parts.store.close()


@pytest.fixture
def line(tmp_path):
    parts = make_parts(tmp_path)
    fill(parts, 40)
    server = Served(make_app(parts))
    yield parts, server
    server.close()
    parts.store.close()


def opened(browser, served, path, *, width=1280, scheme="light", language="en", **more):
    context = browser.new_context(
        viewport={"width": width, "height": 844},
        color_scheme=scheme,
        locale={"en": "en-GB", "de": "de-DE"}[language],
        **more,
    )
    page = context.new_page()
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))

    def note(message):
        if message.type == "error" and "status of 404" not in message.text:
            page.problems.append(message.text)

    page.on("console", note)
    page.goto(served.url + path)
    return page


@pytest.mark.parametrize(
    ("width", "scheme", "language"), [(1280, "light", "en"), (390, "dark", "de")]
)
def test_nothing_serious_for_accessibility(browser, served, width, scheme, language):
    problems = []
    page = opened(browser, served, "/", width=width, scheme=scheme, language=language)
    for path in PAGES:
        page.goto(served.url + path)
        problems += [f"{path}: {found}" for found in page.evaluate(CHECK)]
    page.context.close()
    assert not problems, "\n".join(problems)
    assert not page.problems


def test_axe_finds_nothing_serious(browser, served):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    problems = []
    for scheme in ("light", "dark"):
        page = opened(browser, served, "/", scheme=scheme, bypass_csp=True)
        for path in PAGES:
            page.goto(served.url + path)
            for fault in axe.run(page).response["violations"]:
                if fault["impact"] in ("serious", "critical"):
                    places = [node["html"][:150] for node in fault["nodes"][:3]]
                    problems.append(f"{scheme} {path}: {fault['id']}: {places}")
        page.context.close()
    assert not problems, "\n".join(problems)


def test_every_control_is_reached_by_tab_and_shows_its_focus(browser, served):
    page = opened(browser, served, "/")
    for path in PAGES:
        page.goto(served.url + path)
        count = page.evaluate(TABBABLE)
        page.evaluate("window.reached = new Set()")
        for number in range(count + 3):  # past the end the browser itself has the focus once
            page.keyboard.press("Tab")
            seen = page.evaluate(
                """() => { const e = document.activeElement;
                  if (e === document.body) return null;
                  window.reached.add(e);
                  const style = getComputedStyle(e), box = e.getBoundingClientRect();
                  return [e.className, style.outlineStyle !== "none", box.bottom > 0
                          && box.top < innerHeight]; }"""
            )
            if number == 0 and path != "/login":  # there the name has the focus
                assert seen[0] == "skip", path
            assert seen is None or seen[1], f"{path}: {seen} shows no focus"
            assert seen is None or seen[2], f"{path}: {seen} is out of sight"
        reached = page.evaluate("window.reached.size")
        # Chromium makes fields for dates of several stops, each within the one element.
        assert reached >= count - 12 if path == "/history" else reached == count, path
    page.context.close()


@pytest.mark.parametrize("language", ["en", "de"])
def test_from_page_to_page_by_keyboard(browser, served, language):
    page = opened(browser, served, "/", language=language)
    titles = []
    for number in range(7):
        links = page.locator("nav a")
        links.nth(number).focus()
        with page.expect_navigation():
            page.keyboard.press("Enter")
        titles.append(page.title())
        assert page.locator("nav a[aria-current=page]").count() == 1
    assert len(set(titles)) == 7
    assert not page.problems
    page.context.close()


def test_review_by_keyboard_alone(browser, line):
    parts, served = line
    waiting = parts.store.review_length()
    queue = [row["id"] for row in parts.store.review_queue()]
    page = opened(browser, served, "/review")
    page.wait_for_selector("#reviewing[data-ready]")
    shown = lambda: page.get_attribute("#reviewing", "data-id") or queue[0]  # noqa: E731
    page.keyboard.press("g")
    assert shown() == queue[1]
    page.keyboard.press("d")
    page.keyboard.press("u")
    assert shown() == queue[3]
    page.keyboard.press("z")
    assert shown() == queue[2]
    page.wait_for_function(
        "() => document.getElementById('said').textContent.includes('withdrawn')"
    )
    page.keyboard.press("ArrowRight")
    assert shown() == queue[3]
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("h")
    assert page.locator("#picture.no-heatmap").count() == 1
    assert page.get_attribute('[data-action="heatmap"]', "aria-pressed") == "false"
    assert int(page.inner_text("#waiting")) == waiting - 2
    decided = [parts.store.inspection(id)["decision"] for id in queue[:3]]
    assert decided == ["good", "defective", None]
    assert not page.problems
    page.context.close()


def test_keys_can_be_changed_and_are_remembered(browser, line):
    parts, served = line
    first = parts.store.review_queue(limit=1)[0]["id"]
    page = opened(browser, served, "/review")
    page.wait_for_selector("#reviewing[data-ready]")
    page.focus("#rebind")
    page.keyboard.press("Enter")
    page.focus("#key-good")
    page.keyboard.press("x")
    page.keyboard.press("Escape")
    page.reload()
    page.wait_for_selector("#reviewing[data-ready]")
    page.keyboard.press("g")
    assert parts.store.inspection(first)["decision"] is None
    with page.expect_response("**/review/*"):
        page.keyboard.press("x")
    assert parts.store.inspection(first)["decision"] == "good"
    assert page.inner_text("button.good kbd") == "X"
    page.context.close()


def test_a_decision_that_fails_brings_its_part_back(browser, line):
    parts, served = line
    first = parts.store.review_queue(limit=1)[0]["id"]
    page = opened(browser, served, "/review")
    page.wait_for_selector("#reviewing[data-ready]")
    page.route(f"**/review/{first}", lambda route: route.fulfill(status=503, body="{}"))
    page.keyboard.press("g")
    page.wait_for_selector("#failed:not([hidden])")
    assert page.get_attribute("#reviewing", "data-id") == first
    page.context.close()


def test_review_without_scripts(browser, line):
    parts, served = line
    first = parts.store.review_queue(limit=1)[0]["id"]
    page = opened(browser, served, "/review", java_script_enabled=False)
    page.click("button.defective")
    assert parts.store.inspection(first)["decision"] == "defective"
    page.click('[data-action="undo"]')
    decided = [row["decision"] for row in parts.store.decisions(first)]
    assert decided == ["defective", "withdrawn"]
    page.context.close()


def test_a_threshold_is_dragged_and_states_its_rate(browser, line):
    parts, served = line
    page = opened(browser, served, "/settings/bolt")
    before = page.inner_text("#effect")
    page.focus("#fail-range")
    for _ in range(30):
        page.keyboard.press("ArrowLeft")
    page.wait_for_function(
        "text => document.getElementById('effect').innerText !== text", arg=before
    )
    grip = page.locator(".grip.review").bounding_box()
    page.mouse.move(grip["x"] + 5, grip["y"] + 5)
    page.mouse.down()
    page.mouse.move(grip["x"] - 300, grip["y"] + 5, steps=4)
    page.mouse.up()
    review = float(page.input_value("#review"))
    assert 0 < review < 0.3
    above = sum(score > review for score in parts.model().calibration.classes["bolt"].scores)
    rate = f"{100 * (above + 1) / 200:.1f}%"
    page.wait_for_function("r => document.getElementById('effect').innerText.includes(r)", arg=rate)
    with page.expect_navigation():
        page.click("#save .main-action")
    assert parts.setting("bolt").review == pytest.approx(review)
    assert not page.problems
    page.context.close()


def test_regions_are_drawn_with_the_mouse(browser, line):
    parts, served = line
    page = opened(browser, served, "/settings/bolt")
    page.locator("#shapes").scroll_into_view_if_needed()
    box = page.locator("#shapes image").bounding_box()

    def at(x, y):
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    page.mouse.move(*at(0.25, 0.25))
    page.mouse.down()
    page.mouse.move(*at(0.75, 0.8), steps=3)
    with page.expect_navigation():
        page.mouse.up()
    (shape,) = parts.setting("bolt").shapes
    assert shape.kind == "region_of_interest"
    assert shape.points[0] == pytest.approx((0.25, 0.25), abs=0.02)
    assert shape.points[2] == pytest.approx((0.75, 0.8), abs=0.02)
    page.check("input[value=ignore]")
    page.locator("#shapes").scroll_into_view_if_needed()
    box = page.locator("#shapes image").bounding_box()
    with page.expect_navigation():
        for corner in ((0.3, 0.3), (0.6, 0.3), (0.5, 0.6), (0.3, 0.3)):
            page.mouse.click(*at(*corner))
    assert [len(shape.points) for shape in parts.setting("bolt").shapes] == [4, 3]
    assert not page.problems
    page.context.close()
