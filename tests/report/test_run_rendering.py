import base64
import io
import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from mambaad.report.run_rendering import Example, Report, Scores, html_report, svg_of, templates


@pytest.fixture
def report():
    image = np.full((32, 48, 3), (200, 40, 90), np.uint8)
    mask = np.zeros((32, 48), bool)
    mask[4:9, 5:20] = True
    return Report(
        title="Bolts & <nuts>",
        facts={"Products": "bolt, nut"},
        table=[["class", "mAD"], ["bolt", "97.1"], ["mean", "97.1"], ["pooled", "-"]],
        losses=[1.0, 0.5, 0.25],
        scores={"bolt": Scores([0.1, 0.2], [0.7])},
        examples={
            "bolt": [
                Example("good/000.png", image, image, None, False, 0.1),
                Example("bent/000.png", image, image, mask, True, 0.7),
            ]
        },
    )


def pictures(html, kind):
    for data in re.findall(rf'src="data:image/{kind};base64,([^"]+)"', html):
        yield np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_page_needs_nothing_else(report):
    html = html_report(report)
    addresses = re.findall(r'(?:src|href)="([^"]*)"', html) + re.findall(r"url\(([^)]*)\)", html)
    assert addresses
    assert all(a.startswith(("data:", "#")) for a in addresses)
    assert "<script" not in html


def test_names_are_escaped(report):
    html = html_report(report)
    assert "Bolts &amp; &lt;nuts&gt;" in html
    assert "<nuts>" not in html


def test_pictures_are_those_given(report):
    html = html_report(report)
    photos = list(pictures(html, "jpeg"))
    assert len(photos) == 4
    for photo in photos:
        assert np.abs(photo.astype(int) - (200, 40, 90)).max() <= 6
    (mask,) = pictures(html, "png")
    assert np.array_equal(mask, report.examples["bolt"][1].mask)


def test_figures_are_shown(report):
    html = html_report(report)
    assert re.findall(r"<td>([^<]*)</td>", html) == ["bolt", "97.1", "mean", "97.1", "pooled", "-"]
    assert "score 0.700" in html
    assert "good (2)" in html
    assert "defective (1)" in html


def test_a_defect_without_a_mask_is_not_called_good(report):
    good, bent = report.examples["bolt"]
    object.__setattr__(report, "examples", {"bolt": [good, replace(bent, mask=None)]})
    html = html_report(report)
    assert re.findall(r'class="none">([^<]*)<', html) == ["good", "no mask given"]
    assert re.findall(r'<span class="bad">([^<]*)<', html) == ["bent/000.png"]


def test_an_imported_model_has_no_curve(report):
    object.__setattr__(report, "losses", [])
    assert "Mean loss" not in html_report(report)


def test_same_report_same_text(report):
    assert html_report(report) == html_report(report)


def test_one_score_for_all_is_drawn(report):
    object.__setattr__(report, "scores", {"bolt": Scores([0.2, 0.2], [])})
    assert "defective (0)" in html_report(report)


def test_odd_names_are_shown_in_html_and_svg():
    odd = "a\x1b\x85\u202e\u2066\ufffe<b>"
    shown = r"a\x1b\x85\u202e\u2066\ufffe&lt;b&gt;"
    page = templates().from_string("<p>{{ name }}</p>{{ markup | safe }}")
    assert page.render(name=odd, markup="<i>\n</i>") == f"<p>{shown}</p><i>\n</i>"
    figure = Figure()
    figure.subplots().set_title(odd)
    svg = svg_of(figure)
    assert shown in svg
    ElementTree.fromstring(svg)  # as XML it is valid
