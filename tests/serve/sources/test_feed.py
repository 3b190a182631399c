"""The protocol of sources: a camera in Python, whose parts are inspected exactly once."""

import asyncio
import io
import re
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from mambaad.serve.app import create_app
from mambaad.serve.settings import make_settings
from mambaad.serve.sources.source import Capture
from tests.serve.conftest import BASE
from tests.serve.receivers import wait_for


class Camera:
    """Gives what it is made with, and fails between the first two, as a cable does."""

    name, kind = "camera 1", "camera"

    def __init__(self, captures):
        self._left, self._fails = list(captures), True
        self.accepted_names, self.reasons = [], []

    async def captures(self):
        while self._left:
            yield self._left[0]
            self._left.pop(0)
            if self._fails:
                self._fails = False
                raise OSError("the cable is off")
            await asyncio.sleep(0)

    async def accepted(self, capture):
        self.accepted_names.append(capture.file_name)

    async def refused(self, capture, reason):
        self.reasons.append((capture.file_name, reason))

    def state(self):
        return {"left": len(self._left)}


def test_a_camera_gives_pixels_and_files(line, tmp_path, good, capfd):
    pixels = np.asarray(Image.open(io.BytesIO(good)).convert("RGB"))
    camera = Camera(
        [
            Capture(pixels, key="camera 1: 1", serial="S-1", product="bolt", file_name="one"),
            Capture(good, key="camera 1: 2", serial="S-2", file_name="two"),
            Capture(good, key="camera 1: 2", serial="S-2", file_name="two again"),
            Capture(good, key="camera 1: 2", serial="other", file_name="wrong key"),
            Capture(b"no image", file_name="three"),
            Capture(bytes(2**20), file_name="large"),
            Capture(good, product="unknown", file_name="four"),
            Capture(good, file_name="without key"),
            Capture(np.ascontiguousarray(pixels[..., 0]), file_name="grey"),
        ]
    )
    settings = make_settings(
        bundle=line,
        data=tmp_path / "data",
        mode="throughput",
        workers=1,
        min_free_mb=1.0,
        max_bytes=2**20 - 1,
        queue=2,  # the camera waits for places
    )
    with TestClient(create_app(settings, [camera]), base_url=BASE) as service:

        def state():
            (found,) = service.get("/v1/sources").json()
            return found

        wait_for(lambda: state()["state"]["ended"])
        assert state() == {
            "name": "camera 1",
            "kind": "camera",
            "state": {"left": 0, "ended": True, "problem": None},
        }

        def items():
            return service.get("/v1/inspections").json()["items"]

        wait_for(lambda: len(items()) == 4)
        found = {one["path"]: one for one in items()}
        assert set(found) == {"one", "two", "without key", "grey"}
        assert {one["source"] for one in found.values()} == {"camera"}
        assert (found["one"]["serial"], found["one"]["product"]) == ("S-1", "bolt")
        # Pixels and file are the same image.
        assert found["one"]["score"] == pytest.approx(found["two"]["score"], abs=1e-6)
    assert camera.accepted_names == ["one", "two", "two again", "without key", "grey"]
    assert [name for name, _ in camera.reasons] == ["wrong key", "three", "large", "four"]
    assert "camera 1: the cable is off; it is tried again" in capfd.readouterr().err


def test_the_camera_of_the_page_gives_captures():
    page = Path(__file__).parents[3] / "docs" / "serve_line.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    scope = {"__name__": "camera"}
    exec(compile(code, page.name, "exec"), scope)

    async def first():
        camera = scope["Camera"](lambda: np.zeros((4, 4), np.uint8))
        return await anext(camera.captures())

    capture = asyncio.run(first())
    assert (capture.serial, capture.image.shape) == ("S-1", (4, 4))
