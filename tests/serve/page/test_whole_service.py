"""The pages over the running service: real inspections, settings in the workers, promotion."""

import shutil
import time

import httpx
import pytest
from fastapi.testclient import TestClient

from mambaad.artifacts.bundle import read_manifest
from mambaad.artifacts.registry import Registry
from mambaad.serve.app import create_app
from mambaad.serve.settings import make_settings
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
def app(registry, tmp_path_factory):
    settings = make_settings(
        registry=registry,
        line="press",
        data=tmp_path_factory.mktemp("data"),
        review_share=1.0,
        device="cpu",
    )
    return create_app(settings)


def test_a_line_from_the_first_part_to_a_promotion(app, many_parts):
    images = sorted((many_parts / "bolt" / "test").rglob("*.png"))
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        ids = []
        for number, image in enumerate(images):
            answer = client.post(
                f"/v1/inspections?serial=S{number}&product=bolt",
                content=image.read_bytes(),
                headers={"Content-Type": "image/png"},
            )
            assert answer.status_code == 201, answer.text
            ids.append(answer.json()["id"])
        assert f'data-id="{ids[-1]}"' in client.get("/").text
        for id, image in zip(ids, images, strict=True):
            part = client.get(f"/parts/{id}")
            assert f'href="/pictures/{id}"' in part.text
            assert client.get(f"/heatmaps/{id}").headers["content-type"] == "image/png"
            word = "good" if image.parent.name == "good" else "defective"
            assert client.post(f"/review/{id}", data={"decision": word}).status_code == 200
        before = client.get(f"/v1/inspections/{ids[0]}").json()

        # A region of interest is in force for the next part: a part of the map has a lower maximum.
        box = {"kind": "region_of_interest", "left": 0, "top": 0, "right": 10, "bottom": 10}
        assert "Saved." in client.post("/settings/bolt/shapes", data=box).text
        again = client.post(
            "/v1/inspections?product=bolt",
            content=images[0].read_bytes(),
            headers={"Content-Type": "image/png"},
        ).json()
        assert again["score"] < before["score"]
        client.post("/settings/bolt/shapes", data={"remove": "0"})

        # Promotion, after the differences were shown.
        assert "Compare, then promote" in client.get("/bundles").text
        early = client.post("/bundles/2/promote", data={"seen": "x", "agreed": "1"})
        assert "has changed meanwhile" in early.text
        client.post("/bundles/2/replay")
        for _ in range(300):
            page = client.get("/bundles/2/replay").text
            if 'name="seen"' in page or "failed" in page:
                break
            time.sleep(0.2)
        assert "stored parts were inspected by the new version" in page
        assert "New false alarms" in page
        seen = page.split('name="seen" value="')[1].split('"')[0]
        answer = client.post("/bundles/2/promote", data={"seen": seen, "agreed": "1"})
        assert "Version 2 is in use" in answer.text
        assert client.get("/v1/bundles").json()[1]["in_use"] is True
        assert (
            "Version 1 is in use" in client.post("/bundles/rollback", data={"expected": "2"}).text
        )
        assert "is whole" in client.post("/audit/verify").text


@pytest.mark.skipif(not CHROMIUM.is_file(), reason=f"needs {CHROMIUM}")
def test_the_live_view_follows(browser, registry, many_parts, tmp_path):  # noqa: F811
    settings = make_settings(registry=registry, line="press", data=tmp_path, device="cpu")
    served = Served(create_app(settings), lifespan="on")
    page = opened(browser, served, "/")
    assert page.locator(".banner").count() == 0
    image = next((many_parts / "bolt" / "test" / "good").glob("*.png"))
    httpx.post(
        f"{served.url}/v1/inspections?serial=LIVE-1",
        content=image.read_bytes(),
        headers={"Content-Type": "image/png"},
    ).raise_for_status()
    page.wait_for_selector("text=LIVE-1", timeout=3000)
    assert page.locator(".banner b").count() == 1
    assert page.locator("#cut").is_hidden()
    assert not page.problems
    page.context.close()
    served.close()
