import json
import re

from mambaad.report.inspection_rendering import Card, ClassSummary, Gallery, gallery_page


def cards(count):
    return [
        Card(
            f"{i:05}.png",
            "nut",
            "PASS",
            i / count,
            i / count,
            50.0,
            "",
            picture=f"pictures/{i}.jpg",
        )
        for i in range(count)
    ]


def page_of(some, classes=None, **more):
    tables = {"By class": [["class", "images"], ["nut", str(len(some))]]}
    facts = {"Model": "a"}
    return gallery_page(Gallery("Bolts & <nuts>", facts, tables, classes or {}, some, **more))


def data_of(page):
    (text,) = re.findall(
        r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL
    )
    return json.loads(text)


def test_every_image_is_in_it_and_nothing_is_fetched():
    page = page_of(cards(10_000))
    data = data_of(page)
    assert [card["name"] for card in data][-1] == "09999.png"
    assert data[3]["picture"] == "pictures/3.jpg"
    assert "http" not in page.replace("http://www.w3.org", "")
    assert len(page) < 4_000_000


def test_names_cannot_become_part_of_the_page():
    evil = "</script><script>alert(1)</script><!--"
    page = page_of([Card(evil, evil, "FAIL", 1.0, 1.0, 1.0, evil, explanation=[evil])])
    assert "alert(1)" in page
    assert "</script><script>alert" not in page
    assert "<!--" not in page
    (card,) = data_of(page)
    assert card["name"] == card["reason"] == card["explanation"][0] == evil
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
    assert "dashed: FAIL" in page
    assert page == page_of(cards(1), classes)


def test_a_calibrated_model_that_knew_no_product():
    assert "is not calibrated" in page_of(cards(1))
    assert "is not calibrated" not in page_of(cards(1), is_calibrated=True)


def test_a_choice_of_no_product_is_not_that_of_all():
    page = page_of(cards(1))
    assert page.count('<option value="">all</option>') == 2
    # Every other choice begins with a sign, whatever the product's name.
    assert "option.value = `=${value}`" in page
    assert "product === `=${c.product}`" in page
    assert "verdict === `=${c.verdict}`" in page


def test_without_scripts_no_file_is_named():
    assert "predictions.csv" not in page_of(cards(1))


def test_odd_characters_of_names_are_shown():
    odd, shown = "a\x1b\u202e\u2066", r"a\x1b\u202e\u2066"
    page = page_of([Card(odd, odd, "FAIL", 1.0, 1.0, 1.0, odd, explanation=[odd])])
    (card,) = data_of(page)
    assert card["name"] == card["product"] == card["reason"] == card["explanation"][0] == shown
