"""What other thresholds would have changed yesterday, against judging every map again."""

import re
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from itertools import product

import numpy as np
import pytest
from fastapi.testclient import TestClient

from mambaad.inference.engine import Observation
from mambaad.inspection.calibration import Calibration
from mambaad.inspection.decision import decide
from mambaad.inspection.product_settings import ProductSettings
from mambaad.inspection.quality import Quality
from mambaad.inspection.records import record_of
from mambaad.serve.store.rows import time_text
from mambaad.serve.what_if import stated
from tests.serve.page.lines import SIZE, calibration, inspection_id, make_app, make_parts, rows

QUALITY = Quality(sharpness=-1.5, brightness=120.0, dark=0.0, bright=0.0, height=96, width=128)
MIDDAY = datetime.now(timezone.utc).replace(hour=12) - timedelta(days=1)
WORDS = ("PASS", "REVIEW", "FAIL")


def observation(number):
    """A map with two bumps of any height and size."""
    random = np.random.default_rng(number)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    found = random.uniform(0, 0.05, SIZE).astype(np.float32)
    for _ in range(2):
        row, column, width = random.uniform(8, 56), random.uniform(8, 56), random.uniform(0.5, 5)
        bump = np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * width**2))
        found = np.maximum(found, (random.uniform(0.1, 0.8) * bump).astype(np.float32))
    return Observation(float(found.max()), found, np.asarray([0.1, 0.9], np.float32))


def judged(number, review, fail, min_area):
    """The verdict and record of a part by two thresholds, from its map."""
    made = calibration()
    c = made.classes["bolt"]
    c = replace(
        c,
        review=stated(c.scores, review),
        fail=stated(c.scores, fail),
        outline=0.08,
        settings=ProductSettings(None, min_area, None),
    )
    whole = Calibration({"bolt": c, "metal nut": c}, "hold-out", 0, "float32", made.weights)
    prediction = decide(observation(number), QUALITY, ("bolt", "metal nut"), whole, "bolt")
    return prediction.verdict.value, record_of("", prediction)


@pytest.mark.parametrize("min_area", [0.0, 60.0])
def test_the_page_says_what_judging_again_says(tmp_path, database, min_area):
    parts = make_parts(tmp_path, database)
    before = {}
    for number in range(90):
        # At noon somebody changed the thresholds: each part was judged by those of its time.
        thresholds = (0.2, 0.45) if number < 45 else (0.35, 0.5)
        before[number], made = judged(number, *thresholds, min_area)
        at = time_text(MIDDAY + timedelta(minutes=number - 45))
        new_part, inspected = rows(number, at)
        parts.store.add_inspection(
            new_part, replace(inspected, record=made.model_dump_json())
        ).result()
    others = (
        time_text(MIDDAY + timedelta(days=1, minutes=-720)),
        time_text(MIDDAY - timedelta(hours=13)),
    )
    for number, at in enumerate(others, 90):  # today, and the day before yesterday
        new_part, inspected = rows(number, at)
        parts.store.add_inspection(new_part, inspected).result()
    for number in range(0, 90, 4):
        word = ("good", "defective")[number % 8 == 0]
        parts.store.decide(inspection_id(number), word, actor="test").result()
    client = TestClient(make_app(parts), base_url="http://127.0.0.1:8000")
    kinds = set()
    # Lowered thresholds with a smallest defect need regions that are not kept: see what_if.
    tried = [(0.36, 0.5), (0.4, 0.55), (0.6, 0.6)]
    tried += [] if min_area else [(0.1, 0.2), (0.2, 0.45), (0.3, 0.3)]
    for review, fail in tried:
        expected = {}
        for number in range(90):
            after, _ = judged(number, review, fail, min_area)
            if after != before[number]:
                decided = parts.store.inspection(inspection_id(number))["decision"]
                row = expected.setdefault((before[number], after), [0, 0, 0])
                row[0] += 1
                row[1] += decided == "good"
                row[2] += decided == "defective"
        text = client.get(
            "/fragments/thresholds/bolt", params={"review": review, "fail": fail}
        ).text
        assert found_in(text) == (sum(row[0] for row in expected.values()), 90, expected)
        kinds |= set(expected)
    assert kinds >= {("REVIEW", "PASS"), ("FAIL", "REVIEW")}
    parts.store.close()


def found_in(text):
    """The changed and all parts, and the table, of the page's answer."""
    changed, total = re.search(r"(\d+) of (\d+) parts would", text).groups()
    table = {}
    cells = r"<td[^>]*>(\w+)</td><td[^>]*>(\w+)</td>" + r"<td[^>]*>(\d+)</td>" * 3
    for before, after, *numbers in re.findall(cells, text):
        assert (before, after) in product(WORDS, WORDS)
        table[before, after] = [int(number) for number in numbers]
    return int(changed), int(total), table
