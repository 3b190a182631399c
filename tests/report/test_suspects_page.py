import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from mambaad.report import suspects_page as module
from mambaad.report.suspects_page import suspects_page
from mambaad.training.suspects import ScoredClass
from mambaad.types import Sample

NAME = "<b> & 'co'"


@pytest.fixture
def scored(tmp_path):
    """Forty images of one class, the first two suspect; each of its own grey."""
    samples = []
    for i in range(40):
        path = tmp_path / NAME / f"{i:02}<i>.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((30, 50, 3), 60 + 4 * i, np.uint8)).save(path)
        samples.append(Sample(path, NAME))
    scores = np.linspace(5, 1, 40)
    maps = np.ones((40, 4, 6), np.float32)
    maps[0, :2] = 6.0  # above the colours' range of 3 to 6.6
    return ScoredClass(NAME, tuple(samples), scores, maps, np.arange(40) < 2, 4.8, 3.0)


def pictures(html, kind):
    for data in re.findall(rf'src="data:image/{kind};base64,([^"]+)"', html):
        yield np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).astype(int)


def test_names_are_escaped_and_the_page_needs_nothing_else(scored, tmp_path):
    html = suspects_page("Suspects <of> a line", {"Data": "<data>"}, [scored], tmp_path)
    assert "<of>" not in html
    assert "<data>" not in html
    assert "<b> " not in html
    assert "<i>" not in html
    assert "&lt;b&gt; &amp; &#39;co&#39;/00&lt;i&gt;.png" in html
    addresses = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert addresses
    assert all(a.startswith(("data:", "#")) for a in addresses)


def test_the_most_suspect_come_first_and_some_others_after_them(scored, tmp_path):
    html = suspects_page("Suspects", {}, [scored], tmp_path)
    shown = re.findall(r'<p class="name">[^<]*/(\d\d)&lt;i&gt;\.png, score', html)
    assert shown == [f"{i:02}" for i in range(14)]
    words = re.findall(r"<b(?: class=[^>]*)?>([^<]*)</b>", html)
    assert words == ["suspect"] * 2 + ["not suspected"] * 12
    assert "2 of 40 training images look unlike" in html
    assert "2 of 40 images" in html
    assert "The 14 highest scores are shown." in html
    assert "score 5.000" in html


def test_pictures_and_heatmaps(scored, tmp_path):
    html = suspects_page("Suspects", {}, [scored], tmp_path)
    images, layers = list(pictures(html, "jpeg")), list(pictures(html, "webp"))
    assert len(images) == len(layers) == 14
    for i, image in enumerate(images):
        assert image.shape == (30, 50, 3)
        assert abs(image - (60 + 4 * i)).max() <= 3
    opacity = layers[0][..., 3]
    assert opacity[:2].min() > 150  # coloured where the map is high
    assert opacity[2:].max() <= 30  # and nowhere else
    assert layers[1][..., 3].max() <= 30


def test_only_so_many_are_shown(scored, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST", 5)
    html = suspects_page("Suspects", {}, [scored], tmp_path)
    assert html.count("<article") == 5
    assert "The 5 highest scores are shown." in html


def test_equal_scores_are_drawn(scored, tmp_path):
    equal = ScoredClass(
        NAME,
        scored.samples[:4],
        np.zeros(4),
        np.zeros((4, 4, 6), np.float32),
        np.zeros(4, bool),
        1e-6,
        0.0,
    )
    html = suspects_page("Suspects", {}, [equal], tmp_path)
    assert html.count(">not suspected<") == 4
    assert "0 of 4 images" in html
