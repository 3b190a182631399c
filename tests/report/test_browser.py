"""The pages in a browser: accessible, light and dark, wide and narrow, and used by keyboard."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mambaad
from mambaad.report.run_page import RunPage
from mambaad.report.suspects_page import suspects_page
from mambaad.training.suspects import ScoredClass
from mambaad.types import Sample
from tests.serve.page.accessibility import CHECK

CHROMIUM = Path("/usr/bin/chromium")
PAGES = ("verdicts", "uncalibrated", "report", "run", "suspects")
pytestmark = pytest.mark.skipif(not CHROMIUM.is_file(), reason=f"needs {CHROMIUM}")


@pytest.fixture(scope="module")
def pages(calibrated_run, trained_run, many_parts, parts, tmp_path_factory):
    """Every page that mambaad leaves, by its name."""
    folder = tmp_path_factory.mktemp("pages")
    inspector = mambaad.Inspector(calibrated_run, keep_trained=True)
    page = RunPage(inspector)

    def add(observed):
        page.add(inspector.judge(observed, observed.item.sample.class_name))

    found = mambaad.evaluate(
        inspector, many_parts, verdicts=True, report=folder / "verdicts", sinks=[add]
    )
    page.write(
        folder / "report.html",
        "Bolts and nuts",
        lead=found.verdicts.lead(),
        log=[{"loss": 1.0, "seconds": 2.0}, {"loss": 0.5, "seconds": 2.0}],
        protocol="exact",
        metrics=found.to_rows(),
        scores=found.scores,
        found=found.verdicts.plain_rows(),
        warnings=["Most defects are missed."],
        next_steps={"mambaad train DATA --out RUN": "one model"},
    )
    parts_page = folder / "uncalibrated"
    mambaad.predict(trained_run, [parts / "nut" / "test"], folder / "out", report=parts_page)
    scored = ScoredClass("nut", *_scored(tmp_path_factory.mktemp("nuts")), 4.8, 3.0)
    html = suspects_page("Suspects", {"Data": "nuts"}, [scored], folder)
    (folder / "suspects.html").write_text(html, encoding="utf-8")
    return {
        "verdicts": folder / "verdicts" / "index.html",
        "uncalibrated": parts_page / "index.html",
        "report": folder / "report.html",
        "run": calibrated_run / "run.html",
        "suspects": folder / "suspects.html",
    }


def _scored(folder):
    samples = []
    for i in range(6):
        Image.fromarray(np.full((30, 90, 3), 40 * i, np.uint8)).save(folder / f"{i}.png")
        samples.append(Sample(folder / f"{i}.png", "nut"))
    maps = np.ones((6, 4, 6), np.float32)
    return tuple(samples), np.linspace(5, 1, 6), maps, np.arange(6) < 2


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


def opened(browser, path, width=1280, scheme="light"):
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("requestfailed", lambda request: page.problems.append(request.url))
    page.goto(path.as_uri())
    return page


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_nothing_serious_for_accessibility(browser, pages, name, width, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = opened(browser, pages[name], width, scheme)
    problems = page.evaluate(CHECK)
    page.locator(".shot").first.click()
    assert page.locator("#viewer").is_visible()
    problems += page.evaluate(CHECK)
    for fault in axe.run(page).response["violations"]:
        if fault["impact"] in ("serious", "critical"):
            problems.append(f"{fault['id']}: {[node['html'][:150] for node in fault['nodes'][:3]]}")
    page.keyboard.press("Escape")
    for fault in axe.run(page).response["violations"]:
        if fault["impact"] in ("serious", "critical"):
            problems.append(f"{fault['id']}: {[node['html'][:150] for node in fault['nodes'][:3]]}")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) < 200) == (scheme == "dark")
    page.context.close()
    assert not problems, "\n".join(problems)
    assert not page.problems


@pytest.mark.parametrize("name", ["verdicts", "report"])
def test_enlarged_and_switched_by_keyboard(browser, pages, name):
    page = opened(browser, pages[name])
    shots = page.locator(".shot")
    names = shots.evaluate_all("all => all.map(shot => shot.dataset.name)")
    shots.first.focus()
    page.keyboard.press("Enter")
    assert page.inner_text("#viewer h2") == names[0]
    layers = page.locator("#viewer .heat")
    assert layers.is_visible()
    page.keyboard.press("1")
    assert not layers.is_visible()
    assert page.locator("#viewer .image").is_visible()
    assert page.locator("#viewer input[value=image]").is_checked()
    page.keyboard.press("2")
    assert layers.is_visible()
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#viewer h2") == names[1]
    assert page.inner_text("#viewer .place") == f"2 of {len(names)}"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")  # there is none before the first
    assert page.inner_text("#viewer h2") == names[0]
    page.keyboard.press("Escape")
    assert not page.locator("#viewer").is_visible()
    assert page.evaluate("document.activeElement.dataset.name") == names[0]
    page.context.close()
    assert not page.problems


def test_the_enlarged_picture_keeps_its_shape_and_fits_the_window(browser, pages):
    for width in (1280, 390):
        page = opened(browser, pages["suspects"], width)
        page.locator(".shot").first.click()
        box = page.locator("#viewer .stack").bounding_box()
        assert abs(box["width"] / box["height"] - 3) < 0.05
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        layer = page.locator("#viewer .heat").bounding_box()
        assert layer == pytest.approx(page.locator("#viewer .image").bounding_box())
        page.context.close()


def test_mistakes_first_then_filtered_and_sorted(browser, pages):
    page = opened(browser, pages["verdicts"])
    marks = page.locator("#cards .card").evaluate_all(
        "all => all.map(card => card.classList.contains('mistake'))"
    )
    assert marks == sorted(marks, reverse=True)
    page.select_option("#order", "name")
    names = page.locator("#cards .name").all_inner_texts()
    assert len(names) == 12
    assert names == sorted(names)
    page.select_option("#product", "=nut")
    page.fill("#name", "SPOT/00")
    assert page.locator("#cards .name").all_inner_texts() == [
        f"nut/test/spot/00{i}.png" for i in range(3)
    ]
    assert page.inner_text("#where") == "3 images, page 1 of 1"
    page.context.close()
    assert not page.problems


def test_no_word_of_a_plot_is_cut(browser, pages):
    page = opened(browser, pages["report"])
    cut = page.evaluate(
        """() => [...document.querySelectorAll("svg")].flatMap(svg => {
          const whole = svg.getBoundingClientRect();
          return [...svg.querySelectorAll("text")].filter(text => {
            const box = text.getBoundingClientRect();
            return box.left < whole.left - 1 || box.right > whole.right + 1
              || box.top < whole.top - 1 || box.bottom > whole.bottom + 1;
          }).map(text => text.textContent);
        })"""
    )
    assert cut == []
    page.context.close()


def test_without_scripts_the_report_shows_its_pictures(browser, pages):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(pages["report"].as_uri())
    assert page.locator(".shot .image").first.is_visible()
    assert page.locator(".shot .heat").first.is_visible()
    context.close()
