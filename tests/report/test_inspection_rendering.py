import json
import re

from mambaad.report.inspection_rendering import Card, ClassSummary, Gallery, gallery_page
from mambaad.report.pictures import Shot


def cards(count):
    return [
        Card(
            f"{i:05}.png",
            "nut",
            "PASS",
            i / count,
            i / count,
            sure="above 50 % of good parts",
            shot=Shot(f"pictures/{i}.jpg", f"pictures/{i}.heat.webp"),
        )
        for i in range(count)
    ]


def page_of(some, classes=None, **more):
    tables = {"By class": [["class", "images"], ["nut", str(len(some))]]}
    facts = {"Model": "a"}
    gallery = Gallery("Bolts & <nuts>", "All good.", facts, tables, classes or {}, some, **more)
    return gallery_page(gallery)


def data_of(page):
    (text,) = re.findall(
        r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL
    )
    return json.loads(text)


def test_every_image_is_in_it_and_nothing_is_fetched():
    page = page_of(cards(10_000))
    data = data_of(page)
    assert [card["name"] for card in data][-1] == "09999.png"
    assert data[3]["shot"]["image"] == "pictures/3.jpg"
    assert "http" not in page.replace("http://www.w3.org", "")
    assert len(page) < 5_000_000


def test_names_cannot_become_part_of_the_page():
    evil = "</script><script>alert(1)</script><!--"
    page = page_of([Card(evil, evil, "FAIL", 1.0, 1.0, evil, details=[evil])])
    assert "alert(1)" in page
    assert "</script><script>alert" not in page
    assert "<!--" not in page
    (card,) = data_of(page)
    assert card["name"] == card["what"] == card["details"][0] == evil
    assert "Bolts &amp; &lt;nuts&gt;" in page
    assert "innerHTML" not in page


def test_histograms_with_thresholds():
    classes = {
        "nut": ClassSummary([0.1, 0.2], 0.2, 0.3, [0.1, 0.9]),
        "bolt": ClassSummary(scores=[0.5]),
        "empty": ClassSummary(),
    }
    page = page_of(cards(1), classes)
    assert len(re.findall("<svg", page)) == 2
    assert page.count(">FAIL</text>") == 1
    assert page == page_of(cards(1), classes)


def test_a_calibrated_model_that_knew_no_product():
    hinted = page_of(cards(1), hint="mambaad calibrate 'a <b>' DATA")
    assert "is not calibrated" in hinted
    assert "mambaad calibrate &#39;a &lt;b&gt;&#39; DATA" in hinted
    assert "is not calibrated" not in page_of(cards(1))


def test_a_choice_of_no_product_is_not_that_of_all():
    page = page_of(cards(1))
    assert page.count('<option value="">all</option>') == 2
    labelled = page_of([Card("a", "nut", "PASS", 1.0, 1.0, truth="good", outcome="passed")])
    assert labelled.count('<option value="">all</option>') == 3
    # Every other choice begins with a sign, whatever the product's name.
    assert "option.value = `=${value}`" in page
    assert "get(id).value === `=${c[id]}`" in page


def test_without_scripts_no_file_is_named():
    assert "predictions.csv" not in page_of(cards(1))


def test_odd_characters_of_names_are_shown():
    odd, shown = "a\x1b\u202e\u2066", r"a\x1b\u202e\u2066"
    page = page_of([Card(odd, odd, "FAIL", 1.0, 1.0, odd, details=[odd])])
    (card,) = data_of(page)
    assert card["name"] == card["product"] == card["what"] == card["details"][0] == shown
