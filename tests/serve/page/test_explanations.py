"""What a part's page says of its score, against what was kept and brute force."""

import numpy as np
import pytest
from fastapi.testclient import TestClient

from mambaad.serve.page.explanations import explain
from mambaad.serve.page.texts import read_texts
from mambaad.serve.page.views import part_view
from tests.serve.page.lines import embedding_of, fill, inspection_id, make_app, make_parts, record

COUNT = 45


@pytest.fixture
def parts(tmp_path, database):
    made = make_parts(tmp_path, database)
    fill(made, COUNT)
    yield made
    made.store.close()


def explained(parts, number):
    row = parts.store.inspection(inspection_id(number))
    made = record(number, row["verdict"])
    t = read_texts("en")
    return explain(t, parts, row, part_view(t, row["id"], made, time=row["at"]))


def nearest(parts, number):
    """The good part of the same product whose embedding is nearest, one by one."""
    own = parts.store.inspection(inspection_id(number))
    found = {}
    for other in range(COUNT):
        row = parts.store.inspection(inspection_id(other))
        good = row["decision"] == "good" or (row["verdict"] == "PASS" and row["decision"] is None)
        if other != number and row["product"] == own["product"] and good:
            apart = embedding_of(other).astype(float) - embedding_of(number).astype(float)
            found[other] = np.sqrt((apart**2).sum())
    return inspection_id(min(found, key=found.get))


@pytest.mark.parametrize("number", [3, 8, 13, 18])
def test_the_nearest_good_part_and_the_scales(parts, number):
    found = explained(parts, number)
    assert found.nearest == nearest(parts, number)
    assert not found.found_good
    assert [scale.share for scale in found.scales] == [0.5, 0.3, 0.2]
    assert [scale.name for scale in found.scales] == [
        "cells of 4 px (fine)",
        "cells of 8 px",
        "cells of 16 px (coarse)",
    ]
    # The highest value is in the region (60, 30, 80, 50) of an image of 128 x 96.
    left, top, width, height = found.frame
    assert left <= 60
    assert top <= 30
    assert left + width >= 80
    assert top + height >= 50
    assert found.place == found.frame  # images of one size


def test_decisions_and_files_choose_the_good_parts(parts):
    first = explained(parts, 3).nearest
    parts.store.decide(first, "defective", actor="test").result()
    second = explained(parts, 3).nearest
    assert second not in (first, inspection_id(3))
    assert second == nearest(parts, 3)
    parts.store.decide(second, "good", actor="test").result()
    assert explained(parts, 3).found_good
    row = parts.store.inspection(second)
    parts.images.image(row["sha256"], row["format"]).unlink()
    assert explained(parts, 3).nearest not in (first, second)


def test_what_is_not_kept_is_not_explained(parts):
    row = parts.store.inspection(inspection_id(3))
    path = parts.images.map(row["part_id"])
    np.savez(path, map=np.zeros((2, 2), np.float32), range=np.asarray((0, 1)))  # a former version's
    assert explained(parts, 3) is None
    path.write_bytes(b"damaged")
    assert explained(parts, 3) is None
    path.unlink()
    assert explained(parts, 3) is None
    client = TestClient(make_app(parts), base_url="http://127.0.0.1:8000")
    assert client.get(f"/parts/{inspection_id(3)}").status_code == 200


def test_the_part_s_page_shows_both(parts):
    client = TestClient(make_app(parts), base_url="http://127.0.0.1:8000")
    text = client.get(f"/parts/{inspection_id(3)}").text
    assert "50.0%" in text
    assert f'href="/pictures/{nearest(parts, 3)}"' in text
    passed = client.get(f"/parts/{inspection_id(4)}").text
    assert "Where the score comes from" in passed
    assert "most similar good part" not in passed
