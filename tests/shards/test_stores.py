"""Places and stores: files that are whole, and a store that fails now and then."""

from __future__ import annotations

import io
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pyarrow import fs

import mambaad
from mambaad.errors import ConfigError, RunError
from mambaad.shards import claim, stores
from mambaad.shards.claim import BEGUN, claimed
from mambaad.shards.job import JOB
from mambaad.shards.stores import Patience, Place, is_url, located, retried

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


def test_patience_is_longer_and_says_so(monkeypatch):
    slept, told = [], []
    monkeypatch.setattr(stores.time, "sleep", slept.append)

    def fail():
        raise OSError("slow down")

    with pytest.raises(OSError, match="slow down"):
        retried(fail, Patience(300.0, told.append))
    assert told == [stores.ATTEMPT_SECONDS, *(s + stores.ATTEMPT_SECONDS for s in slept)]
    told.clear()
    assert retried(lambda: 7, Patience(300.0, told.append)) == 7
    assert told == [stores.ATTEMPT_SECONDS, 0.0]
    assert 150 < sum(slept) < 450
    assert 15 < max(slept) < 45


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
    """Every tenth read of an object ends with an error of the server.

    ``outage``: seconds for which what is below ``outage`` is not read, from the first attempt on.
    """

    def __init__(self, app) -> None:
        self._app, self._lock = app, threading.Lock()
        self.reads = self.faults = self.refused = 0
        self.outage = 0.0
        self._out_since: float | None = None

    def _is_out(self, environment) -> bool:
        if not self.outage or not environment["PATH_INFO"].startswith("/line/outage/"):
            return False
        if environment["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return False
        with self._lock:
            self._out_since = self._out_since or time.monotonic()
            is_out = time.monotonic() - self._out_since < self.outage
            self.refused += is_out
        return is_out

    def __call__(self, environment, start):
        if self._is_out(environment):
            start("503 Service Unavailable", [("Content-Length", "0")])
            return [b""]
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
    assert app.faults >= 2
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


@pytest.fixture
def place(store, monkeypatch, tmp_path) -> Place:
    """A folder in the store, for this process."""
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": store[2]}.items():
        monkeypatch.setenv(name, value)
    stores._system.cache_clear()
    return Place(f"s3://line/{tmp_path.name}")  # what others left is still there


def test_of_two_beginnings_one_gives_up(place):
    with claimed(place) as check:
        told = "another command is beginning a job in s3://line/"
        with pytest.raises(RunError, match=told), claimed(place):
            pass
        check()  # the first one's holds
        assert len(place.names(BEGUN)) == 1
    assert place.names(BEGUN) == []
    with claimed(place) as check:
        place.write(JOB, b"{}")
        with pytest.raises(RunError, match="give another --out"):
            check()


def test_the_claim_of_one_who_is_gone_does_not_count_for_ever(place, monkeypatch):
    place.write(f"{BEGUN}/gone", b"")
    with pytest.raises(RunError, match="was ended while it did"), claimed(place):
        pass
    monkeypatch.setattr(claim, "_STALE", -5.0)  # a store tells whole seconds
    with claimed(place) as check:
        check()


def test_an_outage_is_no_error_of_the_images(store, calibrated_run, many_parts, tmp_path):
    system, app, address = store
    paths = sorted((many_parts / "nut" / "train" / "good").iterdir())[:6]
    for path in paths:
        with system.open_output_stream(f"line/outage/{path.name}") as stream:
            stream.write(path.read_bytes())
    out = tmp_path / "out"
    command = [sys.executable, "-m", "mambaad", "inspect", str(calibrated_run)]
    command += ["s3://line/outage", "--out", str(out), "--shard-size", "3", "--workers", "1"]

    def outcome(*options: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **KEYS, "AWS_ENDPOINT_URL": address}
        return subprocess.run(
            [*command, *options], env=environment, capture_output=True, text=True, check=False
        )

    listing = Path(out / "manifest.parquet")
    app.outage = 1e6
    ended = outcome("--store-seconds", "0.5")
    assert ended.returncode == 1
    assert listing.exists()
    assert "mambaad: s3://line/outage/000.png cannot be read (" in ended.stderr
    assert "go on with --resume" in ended.stderr
    assert not list(out.glob("jsonl/*"))
    # An image may take less than the pauses for the store together.
    app.outage, app._out_since, before = 9.0, None, app.refused
    resumed = outcome("--resume", "--image-seconds", "5")
    assert app.refused > before
    assert resumed.returncode == 0, resumed.stderr
    assert "6 images" in resumed.stdout
