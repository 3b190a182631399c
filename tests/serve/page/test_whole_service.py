"""The pages over the running service: real inspections, settings in the workers, promotion."""

import shutil
import time
from functools import partial

import httpx
import numpy as np
import pytest
from sqlalchemy import select

from mambaad.artifacts.registry import Registry
from mambaad.artifacts.snapshot import read_manifest
from mambaad.errors import RunError
from mambaad.serve.app import create_app
from mambaad.serve.review.stored import export, recalibrate
from mambaad.serve.settings import make_settings
from mambaad.serve.store.tables import bundle_use
from mambaad.workflows.bundle import bundle
from mambaad.workflows.calibrate import calibrate
from tests.serve.page.test_browser import CHROMIUM, Served, browser, opened  # noqa: F401


@pytest.fixture(scope="module")
def registry(calibrated_run, many_parts, tmp_path_factory):
    """A line with two versions: the second reviews nearly every part."""
    folder = tmp_path_factory.mktemp("registry")
    bundle(calibrated_run, folder / "1.mambaad")
    strict = folder / "strict"
    shutil.copytree(calibrated_run, strict)
    calibrate(strict, many_parts, target_fpr=0.1, review_fpr=0.9)
    bundle(strict, folder / "2.mambaad")
    made = Registry(folder / "lines")
    for number in (1, 2):
        made.add("press", folder / f"{number}.mambaad", note=f"v{number}", check=read_manifest)
    made.promote("press", 1)
    return folder / "lines"


@pytest.fixture(scope="module")
def line(registry, tmp_path_factory):
    settings = make_settings(
        registry=registry,
        line="press",
        data=tmp_path_factory.mktemp("data"),
        review_share=1.0,
        device="cpu",
    )
    app = create_app(settings)
    served = Served(app, lifespan="on")
    yield app, served, settings.data
    served.close()


def send(client, image, **query):
    answer = client.post(
        "/v1/inspections",
        params={"product": "bolt", **query},
        content=image.read_bytes(),
        headers={"Content-Type": "image/png"},
    )
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.mark.skipif(not CHROMIUM.is_file(), reason=f"needs {CHROMIUM}")
def test_the_live_view_follows(browser, line, many_parts):  # noqa: F811
    _, served, _ = line
    page = opened(browser, served, "/")
    assert page.locator(".banner").count() == 0
    with httpx.Client(base_url=served.url) as client:
        send(client, many_parts / "bolt" / "test" / "good" / "000.png", serial="LIVE-1")
    page.wait_for_selector("text=LIVE-1", timeout=5000)
    assert page.locator(".banner b").count() == 1
    assert page.locator("#cut").is_hidden()
    assert not page.problems
    page.context.close()


def test_a_line_from_the_first_part_to_a_promotion(line, many_parts, registry, tmp_path):
    app, served, data = line
    images = sorted((many_parts / "bolt" / "test").rglob("*.png"))
    with httpx.Client(base_url=served.url, follow_redirects=True, timeout=60) as client:
        made = [send(client, image, serial=f"S{n}") for n, image in enumerate(images)]
        assert f'data-id="{made[-1]["id"]}"' in client.get("/").text
        for inspected, image in zip(made, images, strict=True):
            part = client.get(f"/parts/{inspected['id']}")
            assert f'href="/pictures/{inspected["id"]}"' in part.text
            layer = client.get(f"/heatmaps/{inspected['id']}")
            assert layer.headers["content-type"] == "image/png"
            word = "good" if image.parent.name == "good" else "defective"
            client.post(f"/review/{inspected['id']}", data={"decision": word}).raise_for_status()

        # A region of interest without the highest value is in force for the next part.
        with np.load(app.state.page.images.map(made[0]["part_id"])) as stored:
            found = stored["map"]
        is_right = found.argmax() % found.shape[1] >= found.shape[1] // 2
        left, right = (0, 40) if is_right else (60, 100)
        box = {"kind": "region_of_interest", "left": left, "right": right, "top": 0, "bottom": 100}
        assert "Saved." in client.post("/settings/bolt/shapes", data=box).text
        assert send(client, images[0])["score"] < made[0]["score"]

        # The command line, while the service runs.
        counts = export(data, tmp_path / "set", for_calibration=True)
        assert counts == {"good": 3, "defective": 3}
        new = recalibrate(
            registry / "press" / "1.mambaad", tmp_path / "new.mambaad", data, device="cpu"
        )
        assert len(new.classes["bolt"].scores) == 3
        assert new.classes["bolt"].settings.inspected.mean() == pytest.approx(0.4, abs=0.02)

        # Promotion, after the differences were shown.
        assert "Compare, then promote" in client.get("/bundles").text
        early = client.post("/bundles/2/promote", data={"seen": "x", "agreed": "1"})
        assert "has changed meanwhile" in early.text
        seen = compared(client, 2)
        answer = client.post("/bundles/2/promote", data={"seen": seen, "agreed": "1"})
        assert "Version 2 is in use" in answer.text
        assert client.get("/v1/bundles").json()[1]["in_use"] is True
        assert "Return to version 1" in answer.text

        # Back, after the differences were shown, or by a choice to go without.
        go_back = partial(client.post, "/bundles/rollback")
        assert "Compare first" in go_back(data={"expected": "2"}).text
        assert "has changed meanwhile" in go_back(data={"expected": "1", "uncompared": "1"}).text
        assert "has changed meanwhile" in go_back(data={"expected": "2", "seen": seen}).text
        seen = compared(client, 1)
        form = {"expected": "2", "seen": seen}
        assert "I have looked" in go_back(data=form).text  # not agreed
        assert client.get("/v1/bundles").json()[1]["in_use"] is True
        assert "Version 1 is in use" in go_back(data={**form, "agreed": "1"}).text
        assert "has changed meanwhile" in go_back(data={**form, "agreed": "1"}).text  # sent twice
        assert [b["in_use"] for b in client.get("/v1/bundles").json()] == [True, False]
        client.post("/v1/bundles/2/promote")
        answer = go_back(data={"expected": "2", "uncompared": "1"})
        assert "Version 1 is in use" in answer.text
        assert app.state.service.bundles.before() is None
        assert "Roll back" not in answer.text
        query = select(bundle_use.c.action, bundle_use.c.version).order_by(bundle_use.c.id.desc())
        uses = app.state.service.store.read(lambda c: c.execute(query.limit(4)).all())
        assert uses == [("rollback", 1), ("promote", 2), ("rollback", 1), ("promote", 2)]
        assert send(client, images[0])["bundle_version"] == 1
        assert "is whole" in client.post("/audit/verify").text


def compared(client, number):
    """Compare a version with the stored parts; returns the id that agreeing to it needs."""
    page = client.post(f"/bundles/{number}/replay").text
    for _ in range(600):
        if 'name="seen"' in page or "failed" in page:
            break
        time.sleep(0.2)
        page = client.get(f"/bundles/{number}/replay").text
    assert "stored parts were inspected by" in page
    return page.split('name="seen" value="')[1].split('"')[0]


def test_without_a_store_there_is_nothing_to_recalibrate(tmp_path):
    with pytest.raises(RunError, match="no data of a service"):
        recalibrate(tmp_path / "a.mambaad", tmp_path / "b.mambaad", tmp_path)
