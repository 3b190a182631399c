"""More parts than can be inspected, one client that is too fast, and a disk that is full."""

import os
import signal
import subprocess
import threading
import time
from contextlib import contextmanager

import pytest
from fastapi.testclient import TestClient

from mambaad.serve.app import create_app
from mambaad.serve.settings import make_settings
from tests.serve.conftest import BASE

PNG = {"content-type": "image/png"}


def start(line, data, **options):
    settings = make_settings(
        bundle=line, data=data, mode="throughput", workers=1, **{"min_free_mb": 0.0, **options}
    )
    return TestClient(create_app(settings), base_url=BASE, raise_server_exceptions=False)


def test_overload_is_refused_and_what_was_accepted_is_answered(line, tmp_path, good):
    with start(line, tmp_path / "data", queue=3) as service:
        store = service.app.state.service.store
        (pid,) = service.app.state.service.bundles.pool.pids
        os.kill(pid, signal.SIGSTOP)  # nothing is inspected for a while
        answers = []

        def send():
            answers.append(service.post("/v1/inspections", content=good, headers=PNG))

        threads = [threading.Thread(target=send) for _ in range(12)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 60
        while len(answers) < 9 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert [answer.status_code for answer in answers] == [429] * 9
        assert {answer.json()["error"]["code"] for answer in answers} == {"queue_full"}
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)
        assert service.get("/healthz").status_code == 200  # it waits for no one
        os.kill(pid, signal.SIGCONT)
        for thread in threads:
            thread.join(60)
        accepted = [answer.json()["id"] for answer in answers if answer.status_code == 201]
        assert len(accepted) == 3
        assert {row["id"] for row in store.inspections()} == set(accepted)
        figures = service.get("/metrics").text
        assert 'mambaad_refused_total{code="queue_full"} 9.0' in figures
        # A client that is too fast is refused before its part is read.
        service.app.state.rate._rate = 0.001
        statuses = [
            service.post("/v1/inspections", content=b"", headers=PNG).status_code
            for _ in range(500)
        ]
        assert statuses[-1] == 429
        assert set(statuses) == {422, 429}


def test_waiting_parts_are_bounded_in_bytes_too(line, tmp_path, good):
    with start(line, tmp_path / "data", queue_bytes=2**20) as service:
        (pid,) = service.app.state.service.bundles.pool.pids
        os.kill(pid, signal.SIGSTOP)
        large = good + bytes(700_000)  # what follows a PNG's end does not count
        answers = []
        threads = [
            threading.Thread(
                target=lambda: answers.append(
                    service.post("/v1/inspections", content=large, headers=PNG)
                )
            )
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 60
        while not answers and time.monotonic() < deadline:
            time.sleep(0.02)
        assert answers[0].status_code == 429
        os.kill(pid, signal.SIGCONT)
        for thread in threads:
            thread.join(60)
        assert sorted(answer.status_code for answer in answers) == [201, 429]


@contextmanager
def mounted(folder, options):
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def test_a_read_only_folder_is_refused_clearly_and_recovers(line, tmp_path, good):
    with start(line, tmp_path) as service:
        kept = []
        for name in ("spool", "images"):
            with mounted(tmp_path / name, "ro"):
                answers = [
                    service.post("/v1/inspections", content=good, headers=headers)
                    for headers in (PNG, {**PNG, "idempotency-key": name})
                ]
                assert [answer.status_code for answer in answers] == [503] * 2
                for answer in answers:
                    assert answer.json()["error"]["code"] == "store"
                    assert "Read-only file system" in answer.json()["error"]["message"]
                    assert answer.headers["retry-after"] == "1"
                assert service.get("/healthz").status_code == 200
            headers = {**PNG, "idempotency-key": name}  # was not used up
            answer = service.post("/v1/inspections", content=good, headers=headers)
            kept.append(answer.json()["id"])
        store = service.app.state.service.store
        assert [row["id"] for row in store.inspections()] == kept[::-1]
        assert store.verify().problem is None
        assert 'mambaad_refused_total{code="store"} 4.0' in service.get("/metrics").text


def test_a_full_disk_is_refused_clearly_and_recovers(line, tmp_path, good):
    disk = tmp_path / "disk"
    disk.mkdir()
    with mounted(disk, "size=2m"), start(line, disk) as service:
        filler = disk / "filler"
        kept = [service.post("/v1/inspections", content=good, headers=PNG).json()["id"]]
        with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            fill(file)
        refused = [
            service.post("/v1/inspections", content=good, headers=headers)
            for headers in (PNG, {**PNG, "prefer": "respond-async"}, PNG)
        ]
        assert [answer.status_code for answer in refused] == [507] * 3
        assert {answer.json()["error"]["code"] for answer in refused} == {"storage_full"}
        assert service.get("/v1/inspections").status_code == 200
        decision = service.post(
            f"/v1/inspections/{kept[0]}/decisions",
            json={"decision": "good", "note": "x" * 2000},
        )
        assert decision.status_code in (201, 507)
        filler.unlink()
        kept.append(service.post("/v1/inspections", content=good, headers=PNG).json()["id"])
        store = service.app.state.service.store
        assert [row["id"] for row in store.inspections()] == kept[::-1]
        assert store.verify().problem is None
        # Nothing is left of those that were refused.
        assert list((disk / "spool").iterdir()) == []
        for folder, count in (("images", 1), ("maps", 2), ("thumbnails", 2)):
            assert len([p for p in (disk / folder).rglob("*") if p.is_file()]) == count
        assert 'mambaad_refused_total{code="storage_full"} 3.0' in service.get("/metrics").text


def fill(file):
    while True:
        file.write(bytes(1024))
