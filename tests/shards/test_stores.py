"""Places and stores: files that are whole, and a store that fails now and then."""

from __future__ import annotations

import io
import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from pyarrow import fs

import mambaad
from mambaad.errors import ConfigError, RunError
from mambaad.shards import stores
from mambaad.shards.stores import Place, is_url, located, retried

KEYS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def test_names_of_urls():
    assert is_url("s3://bucket/folder")
    assert not any(map(is_url, ("folder/s3", "C:\\images", "/s3://", "file:///images")))
    with pytest.raises(ConfigError, match="nowhere://images is no store that can be opened"):
        located("nowhere://images/a")


def test_what_may_pass_is_tried_again(monkeypatch):
    pauses = []
    monkeypatch.setattr(stores.time, "sleep", pauses.append)
    errors = [OSError("slow down")] * 5

    def fail():
        if errors:
            raise errors.pop()
        return 7

    assert retried(fail) == 7
    assert len(pauses) == 5
    assert all(b > a / 2 for a, b in itertools.pairwise(pauses))
    errors += [OSError("slow down")] * 6
    with pytest.raises(OSError, match="slow down"):
        retried(fail)
    assert not errors
    errors += [FileNotFoundError("a.png")] * 2
    with pytest.raises(FileNotFoundError):
        retried(fail)
    assert len(errors) == 1


def test_a_local_place(tmp_path):
    place = Place(f"file://{tmp_path}/job")
    assert place.names("done") == []
    place.write("done/a", b"1")
    place.write("done/a", b"2")
    assert place.read("done/a") == b"2"
    assert place.names("done") == ["a"]
    assert place.has("done/a")
    assert not place.has("done/b")
    with pytest.raises(TypeError), place.sink("done/b") as file:
        file.writelines([b"half", None])
    assert place.names("done") == ["a"]
    (tmp_path / "job" / "file").write_bytes(b"")
    with pytest.raises(RunError, match="cannot be written"):
        place.write("file/a", b"")


class Faulty:
    """Every tenth read of an object ends with an error of the server."""

    def __init__(self, app) -> None:
        self._app, self._lock = app, threading.Lock()
        self.reads = self.faults = 0

    def __call__(self, environment, start):
        if environment["REQUEST_METHOD"] == "GET" and "list-type" not in environment.get(
            "QUERY_STRING", ""
        ):
            with self._lock:
                self.reads += 1
                is_fault = self.reads % 10 == 0
                self.faults += is_fault
            if is_fault:
                start("500 Internal Server Error", [("Content-Length", "0")])
                return [b""]
        return self._app(environment, start)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[fs.S3FileSystem, Faulty, str]]:
    """A store on loopback that fails now and then, with a bucket."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    app = Faulty(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    system = fs.S3FileSystem(
        access_key="test",
        secret_key="test",
        region="us-east-1",
        scheme="http",
        endpoint_override=f"127.0.0.1:{server.server_port}",
        allow_bucket_creation=True,
    )
    system.create_dir("line")
    yield system, app, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_job_in_a_store_that_fails(store, calibrated_run, many_parts, tmp_path):
    system, app, address = store
    paths = sorted((many_parts / "nut" / "train" / "good").iterdir())[:20]
    for path in paths:
        with system.open_output_stream(f"line/images/a b/{path.name}") as stream:
            stream.write(path.read_bytes())
    for name in ("damaged.png", "notes.txt", ".hidden/a.png"):
        with system.open_output_stream(f"line/images/{name}") as stream:
            stream.write(b"no image")
    command = [sys.executable, "-m", "mambaad", "inspect", str(calibrated_run)]
    command += ["s3://line/images", "--out", "s3://line/results", "--shard-size", "8", "--maps"]
    environment = {**os.environ, **KEYS, "AWS_ENDPOINT_URL": address}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "20 images: s3://line/results" in done.stdout
    assert "mambaad: s3://line/images/damaged.png cannot be read as an image" in done.stderr
    assert app.faults > 3
    lines = b""
    for shard in range(3):
        with system.open_input_stream(f"line/results/jsonl/part-{shard:08}.jsonl") as stream:
            lines += stream.read()
    records = [json.loads(line) for line in lines.splitlines()]
    mambaad.predict(calibrated_run, paths, tmp_path)
    predicted = (tmp_path / "predictions.jsonl").read_text().splitlines()
    assert [r["path"] for r in records[1:21]] == [
        f"s3://line/images/a b/{path.name}" for path in paths
    ]
    for record, line in zip(records[1:21], predicted, strict=True):
        expected = json.loads(line)
        assert {**record, "path": "", "time": ""} == {**expected, "path": "", "time": ""}
    assert [r["path"].rsplit("/", 1)[1] for r in records if r["skipped"]] == ["a.png", "notes.txt"]
    with system.open_input_stream("line/results/maps/part-00000000.npy") as stream:
        maps = np.load(io.BytesIO(stream.read()))
    assert maps.shape == (8, 64, 64)

    resumed = subprocess.run(
        [*command, "--resume"], env=environment, capture_output=True, text=True, check=False
    )
    assert "3 of 3 shards are done already" in resumed.stderr
    assert resumed.stdout == done.stdout
