"""A watched folder: each file exactly once, whole, and after a restart too.

tests/serve/test_line.py kills the service meanwhile.
"""

import time

from fastapi.testclient import TestClient

from mambaad.serve.app import create_app
from mambaad.serve.settings import make_settings
from tests.serve.conftest import BASE


def running(line, tmp_path, **options):
    (tmp_path / "in").mkdir(exist_ok=True)
    settings = make_settings(
        bundle=line,
        data=tmp_path / "data",
        mode="throughput",
        workers=1,
        min_free_mb=1.0,
        watch=tmp_path / "in",
        watch_settle=0.6,
        **options,
    )
    return TestClient(create_app(settings), base_url=BASE)


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert condition()


def items(service):
    return service.get("/v1/inspections?limit=500").json()["items"]


def state(service):
    return service.get("/v1/sources").json()[0]["state"]


def test_each_file_is_inspected_once(line, tmp_path, good, defective):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "before.png").write_bytes(defective)
    (folder / "notes.txt").write_text("no image")
    (folder / "broken.png").write_text("no image either")
    (folder / ".hidden.png").write_bytes(good)
    with running(line, tmp_path) as service:
        with (folder / "slow.png").open("wb") as file:  # over 3 s, as some cameras write
            step = len(good) // 12
            for start in range(0, len(good), step):
                file.write(good[start : start + step])
                file.flush()
                time.sleep(0.25 if start != 5 * step else 1.2)  # a pause longer than settling
        wait_for(lambda: len(items(service)) == 2)
        time.sleep(1.5)
        assert sorted(one["path"] for one in items(service)) == ["before.png", "slow.png"]
        assert {(one["source"], one["error"]) for one in items(service)} == {("folder", None)}
        wait_for(lambda: state(service)["refused"] == 1)
    with running(line, tmp_path) as service:  # after a restart they are known
        wait_for(lambda: state(service)["inspected"] == 2)
        (folder / "slow.png").write_bytes(defective)  # another part under a former name
        wait_for(lambda: len(items(service)) == 3)
        time.sleep(1.0)
        assert len(items(service)) == 3


def test_files_are_moved_if_asked(line, tmp_path, good):
    folder = tmp_path / "in"
    with running(line, tmp_path, watch_then="move") as service:
        for _ in range(2):
            (folder / "a.png").write_bytes(good)
            wait_for(lambda: not (folder / "a.png").exists())
        (folder / "b.png").write_text("no image")
        wait_for(lambda: (folder / "refused" / "b.png").exists(), 90)
        wait_for(lambda: len(items(service)) == 2)
        assert sorted(p.name for p in (folder / "inspected").iterdir()) == ["a-1.png", "a.png"]
