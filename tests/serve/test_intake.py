"""What becomes of a part whose record could not be kept, or was kept without an answer."""

import time
from concurrent.futures import Future

import pytest

from mambaad.serve.leftovers import reconcile
from mambaad.serve.store.writer import StoreError, StoreFull

PNG = {"content-type": "image/png"}
FOLDERS = ("spool", "images", "maps", "thumbnails")


@pytest.fixture
def running(service):
    return service.app.state.service


def files(running):
    folder = running.images.folder
    return {p for name in FOLDERS for p in (folder / name).rglob("*") if p.is_file()}


def settled(running, expected):
    """The files, once those in work are done."""
    deadline = time.monotonic() + 20
    while files(running) != expected and time.monotonic() < deadline:
        time.sleep(0.02)
    return files(running)


def send(service, image, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return service.post("/v1/inspections", content=image, headers={**PNG, **named})


def failed(error):
    future = Future()
    future.set_exception(error)
    return future


@pytest.mark.parametrize("prefer", ["", "respond-async"])
def test_a_part_that_cannot_be_kept_leaves_no_files(service, running, good, monkeypatch, prefer):
    other = good + f"another {prefer}".encode()  # what follows a PNG's end does not count
    before = files(running)
    with monkeypatch.context() as broken:
        for name in ("add_inspection", "add_job"):
            broken.setattr(running.store, name, lambda *_: failed(StoreFull("full")))
        assert send(service, other, prefer=prefer).status_code == 507
        assert settled(running, before) == before
        # The image of a part that was kept stays, though an equal one was not.
        broken.undo()
        assert send(service, other).status_code == 201
        after = {p for p in files(running) if p.parent.name != "spool"}
        assert settled(running, after) == after > before
        broken.setattr(running.store, "add_inspection", lambda *_: failed(StoreFull("full")))
        assert send(service, other).status_code == 507
        assert settled(running, after) == after


@pytest.mark.parametrize("key", [{}, {"idempotency_key": "lost-answer"}])
def test_a_commit_whose_answer_was_lost_is_kept_once(service, running, good, monkeypatch, key):
    real = running.store.add_inspection

    def lost(*arguments):
        real(*arguments).result(20)
        return failed(StoreError("the connection is gone"))

    before = len(running.store.inspections(limit=1000))
    monkeypatch.setattr(running.store, "add_inspection", lost)
    answer = send(service, good, **key)
    assert answer.status_code == 201
    accepted = send(service, good, prefer="respond-async", **{k: f"{v}-2" for k, v in key.items()})
    assert accepted.status_code in (201, 202)
    id = accepted.json()["id"]
    deadline = time.monotonic() + 60
    while running.store.job(id) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert service.get(f"/v1/inspections/{id}").status_code == 200
    assert len(running.store.inspections(limit=1000)) == before + 2
    deadline = time.monotonic() + 60
    while running.intake._jobs and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not running.intake._jobs  # it does not go on for ever
    assert running.store.verify().problem is None


def test_a_job_whose_answer_was_lost_is_inspected(service, running, good, monkeypatch):
    real = running.store.add_job

    def lost(job):
        real(job).result(20)
        return failed(StoreError("the connection is gone"))

    monkeypatch.setattr(running.store, "add_job", lost)
    answer = send(service, good, prefer="respond-async")
    id = answer.json()["id"]
    deadline = time.monotonic() + 60
    while running.store.job(id) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert service.get(f"/v1/inspections/{id}").status_code == 200


def test_what_former_versions_left_is_removed_at_the_start(service, running, good):
    kept = send(service, good).json()
    row = running.store.inspection(kept["id"])
    images = running.images
    before = files(running)
    stray = [
        images.image("e" * 64, "PNG"),
        images.map(f"{'0' * 34}ff"),
        images.thumbnail(f"{'0' * 34}ff"),
    ]
    for path in stray:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"left")
    reconcile(running.store, images, 0.0, lambda: True)  # all of them are newer
    assert all(path.is_file() for path in stray)
    reconcile(running.store, images, time.time() + 10, lambda: True)
    assert not any(path.is_file() for path in stray)
    assert images.image(row["sha256"], "PNG").is_file()
    assert images.map(row["part_id"]).is_file()
    assert images.thumbnail(row["part_id"]).is_file()
    assert {p for p in before if p.parent.name != "spool"} <= files(running)


def test_an_image_that_was_changed_is_refused_by_name(service, running, good):
    other = good + b"one that is changed"
    kept = send(service, other).json()
    path = running.images.image(kept["sha256"], "PNG")
    path.write_bytes(good)
    for url in (
        f"/v1/inspections/{kept['id']}/image",
        f"/v1/inspections/{kept['id']}/heatmap",
    ):
        error = service.get(url)
        assert (error.status_code, error.json()["error"]["code"]) == (409, "image_changed")
        assert f"images/{path.parent.name}/{path.name} is not" in error.json()["error"]["message"]
    assert service.get(f"/pictures/{kept['id']}").status_code == 409
    path.write_bytes(other)
    assert service.get(f"/v1/inspections/{kept['id']}/image").content == other
    path.unlink()
    assert service.get(f"/v1/inspections/{kept['id']}/image").status_code == 404


def test_the_trail_names_who_sent_a_part(service, running, good):
    before = running.store.last_event()
    send(service, good)
    assert [e["actor"] for e in running.store.events(before, ["part", "inspection"])] == [
        "local",
        "local",
    ]
