import re
from xml.etree import ElementTree

import numpy as np
import pytest

from mambaad.report.plots import curve, histogram

SVG = "{http://www.w3.org/2000/svg}"


def words(svg):
    return [text.text for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def inside(svg):
    """Whether all words begin within the picture, by their places as written."""
    root = ElementTree.fromstring(svg)
    width, height = map(float, root.get("viewBox").split()[2:])
    places = []
    for text in root.iter(f"{SVG}text"):
        if text.get("x"):
            places.append((float(text.get("x")), float(text.get("y"))))
    assert places
    return all(0 <= x <= width and 0 <= y <= height for x, y in places)


def test_a_histogram_says_what_it_shows():
    svg = histogram(
        [("good", [0.1, 0.2, 0.2], False), ("defective", [0.9], True)],
        [("REVIEW", 0.3), ("FAIL", 0.4)],
    )
    assert {"good (3)", "defective (1)", "REVIEW", "FAIL", "image score", "images"} <= set(
        words(svg)
    )
    assert inside(svg)


def test_the_legend_is_above_the_plot():
    svg = histogram([("inspected", [0.1] * 9, False)], [("REVIEW", 0.1), ("FAIL", 0.11)])
    root = ElementTree.fromstring(svg)
    named = {t.text: float(t.get("y")) for t in root.iter(f"{SVG}text") if t.get("y")}
    tops = [float(y) for path in re.findall(r' d="(M[^"]*)"', svg) for y in path.split()[2:3]]
    assert tops
    assert max(named["REVIEW"], named["FAIL"], named["inspected (9)"]) < named["image score"] / 3


@pytest.mark.parametrize(
    "groups", [[("a", [0.2], False)], [("a", [1.0] * 3, False), ("b", [], True)]]
)
def test_equal_scores_are_drawn(groups):
    assert "a (" in histogram(groups)


def test_shares_of_an_empty_group():
    assert "b (0)" in histogram([("a", [1.0], False), ("b", [], True)], as_shares=True)


def test_curves():
    for values, log in (
        ([1.0, 0.1], True),
        ([0.0, 0.0], True),
        (np.arange(100.0), False),
        ([3.0], False),
    ):
        svg = curve(list(values), "loss", log=log)
        assert {"loss", "epoch"} <= set(words(svg))
        assert inside(svg)
