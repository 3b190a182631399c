import base64
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mambaad.report.pictures import shot_inside
from mambaad.report.run_rendering import Example, Report, Scores, html_report


@pytest.fixture
def report():
    image = np.full((32, 48, 3), (200, 40, 90), np.uint8)
    low, mask = np.zeros((8, 12), np.float32), np.zeros((32, 48), bool)
    mask[4:9, 5:20] = True
    return Report(
        title="Bolts & <nuts>",
        lead="1 of 1 defect found",
        facts={"Products": "bolt, nut"},
        table=[["class", "mAD"], ["bolt", "97.1"], ["mean", "97.1"], ["pooled", "-"]],
        protocol="exact",
        losses=[1.0, 0.5, 0.25],
        scores={"bolt": Scores([0.1, 0.2], [0.7], 0.3, 0.4)},
        examples={
            "bolt": [
                Example("good/000.png", shot_inside(image, low, (0, 1)), "good", False, 0.1),
                Example(
                    "bent/000.png",
                    shot_inside(image, low, (0, 1), found=mask, true=mask),
                    "bent",
                    True,
                    0.7,
                    "FAIL",
                    "Looks <defective>.",
                    "top",
                    "very",
                    "found",
                ),
            ]
        },
        found=[["class", "defects found"], ["bolt", "1 of 1"], ["all", "1 of 1"]],
    )


def pictures(html, kind):
    for data in re.findall(rf'src="data:image/{kind};base64,([^"]+)"', html):
        yield np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def cells(html):
    return re.findall(r'<(?:td|th scope="row")>([^<]*)<', html)


def test_page_needs_nothing_else(report):
    html = html_report(report)
    addresses = re.findall(r'(?:src|href)="([^"]*)"', html) + re.findall(r"url\(([^)]*)\)", html)
    assert addresses
    assert all(a.startswith(("data:", "#")) for a in addresses)


def test_names_are_escaped(report):
    html = html_report(report)
    assert "Bolts &amp; &lt;nuts&gt;" in html
    assert "<nuts>" not in html
    assert "Looks &lt;defective&gt;." in html


def test_pictures_are_those_given(report):
    html = html_report(report)
    photos = list(pictures(html, "jpeg"))
    assert len(photos) == 2
    for photo in photos:
        assert np.abs(photo.astype(int) - (200, 40, 90)).max() <= 6
    assert [layer.shape for layer in pictures(html, "webp")] == [(8, 12, 4)] * 2
    found, true = pictures(html, "png")  # of the one part that has a defect
    assert found.shape == true.shape == (32, 48, 4)
    for outline in (found, true):
        assert not outline[4:9, 5:20, 3].any()  # outside of the defect
        assert outline[3:10, 4:21, 3].sum() == outline[..., 3].sum() > 0


def test_figures_are_shown(report):
    html = html_report(report)
    shown = ["bolt", "1 of 1", "all", "1 of 1", "bolt", "97.1", "mean", "97.1", "pooled", "-"]
    assert cells(html) == shown
    for words in ("good (2)", "defective (1)", "REVIEW", "0.1000", "FAIL", "very"):
        assert words in html


def test_mistakes_come_first_and_are_marked(report):
    good, bent = report.examples["bolt"]
    missed = replace(bent, name="missed.png", verdict="PASS", outcome="missed")
    html = html_report(replace(report, mistakes=[missed], mistakes_count=3))
    assert "1 of 3 are shown" in html
    assert html.index("MISSED") < html.index("<h2>Examples") < html.index(good.name)
    assert html.count('class="card mistake"') == 1
    assert "None: no defect was missed" in html_report(report)


def test_an_imported_model_has_no_curve(report):
    assert "Mean loss" in html_report(report)
    assert "Mean loss" not in html_report(replace(report, losses=[]))


def test_same_report_same_text(report):
    assert html_report(report) == html_report(report)


def test_one_score_for_all_is_drawn(report):
    assert "defective (0)" in html_report(replace(report, scores={"bolt": Scores([0.2] * 2, [])}))
