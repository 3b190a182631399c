"""Health, figures, events, bundles, and what every answer carries."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from mambaad.artifacts.registry import Registry
from mambaad.serve.app import HEADERS, _note_head, create_app
from mambaad.serve.settings import make_settings
from mambaad.serve.store.tables import bundle_use
from mambaad.serve.store.writer import StoreFull
from mambaad.workflows.bundle import check_bundle
from tests.serve.conftest import BASE


def send(service, image, **query):
    return service.post(
        "/v1/inspections", content=image, params=query, headers={"content-type": "image/png"}
    )


def uses_of(store):
    query = select(bundle_use.c.action, bundle_use.c.version).order_by(bundle_use.c.id)
    return store.read(lambda c: [tuple(row) for row in c.execute(query)])


def test_health_readiness_and_figures(service, good):
    assert service.get("/healthz").json() == {"status": "ok"}
    assert service.get("/readyz").json() == {"status": "ready"}
    send(service, good, product="bolt")
    figures = service.get("/metrics").text
    assert 'mambaad_inspections_total{product="bolt",verdict=' in figures
    assert "mambaad_inference_processes 1.0" in figures
    assert "mambaad_parts_in_flight 0.0" in figures
    rows = service.app.state.service.store.last_event()
    assert f"mambaad_audit_rows {rows}.0" in figures


def test_every_answer_forbids_what_pages_may_not(service):
    for path in ("/healthz", "/nothing", "/v1/inspections", "/openapi.json"):
        headers = service.get(path).headers
        assert {name: headers[name] for name in HEADERS} == HEADERS
        assert "server" not in headers


def test_a_single_bundle_cannot_be_changed(service, line):
    (found,) = service.get("/v1/bundles").json()
    assert (found["number"], found["in_use"], found["classes"]) == (None, True, ["bolt", "nut"])
    for path in ("/v1/bundles/1/promote", "/v1/bundles/rollback"):
        answer = service.post(path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")
    assert service.get("/v1/sources").json() == []


def test_a_line_s_bundle_is_promoted_and_rolled_back(line, uncalibrated, tmp_path, good):
    registry = Registry(tmp_path / "registry")
    for bundle in (line, uncalibrated):
        registry.add("a", bundle, check=check_bundle)
    registry.promote("a", 1)
    settings = make_settings(
        registry=registry.root, line="a", data=tmp_path / "data", mode="throughput", workers=1
    )
    with TestClient(create_app(settings), base_url=BASE) as service:
        first = send(service, good).json()
        assert first["bundle_version"] == 1
        assert first["verdict"] is not None
        found = service.post("/v1/bundles/2/promote").json()
        assert [(one["number"], one["in_use"]) for one in found] == [(1, False), (2, True)]
        assert registry.read("a").current == 2
        second = send(service, good).json()
        assert (second["bundle_version"], second["verdict"]) == (2, None)
        assert service.post("/v1/bundles/9/promote").status_code == 422
        assert service.post("/v1/bundles/rollback?expected=1").status_code == 409
        service.post("/v1/bundles/rollback?expected=2")
        assert service.post("/v1/bundles/rollback?expected=2").status_code == 409
        assert registry.read("a").current == 1
        third = send(service, good).json()
        assert (third["bundle_version"], third["score"]) == (1, first["score"])
        store = service.app.state.service.store
        assert uses_of(store) == [("start", 1), ("promote", 2), ("rollback", 1)]
        assert store.verify().problem is None


def test_a_promotion_that_fails_changes_neither_registry_nor_store(
    line, uncalibrated, tmp_path, good, monkeypatch
):
    registry = Registry(tmp_path / "registry")
    for bundle in (line, uncalibrated):
        registry.add("a", bundle, check=check_bundle)
    registry.promote("a", 1)
    settings = make_settings(
        registry=registry.root, line="a", data=tmp_path / "data", mode="throughput", workers=1
    )
    app = create_app(settings)
    store, bundles = app.state.service.store, app.state.service.bundles
    with TestClient(app, base_url=BASE, raise_server_exceptions=False) as service:

        def in_use():
            return [one["number"] for one in service.get("/v1/bundles").json() if one["in_use"]]

        def full(*_, **__):
            raise StoreFull("full")

        with monkeypatch.context() as broken:
            broken.setattr(store, "add_bundle_use", full)
            assert service.post("/v1/bundles/2/promote").status_code == 507
        assert (registry.read("a").used, in_use(), bundles.version_of("x")) == ([1], [1], None)
        assert uses_of(store) == [("start", 1)]
        with monkeypatch.context() as broken:
            broken.setattr(bundles._registry, "promote", full)
            assert service.post("/v1/bundles/2/promote").status_code == 507
        assert (registry.read("a").used, in_use()) == ([1], [1])
        assert uses_of(store)[1:] == [("promote", 2), ("rollback", 1)]  # as it is again
        registry.promote("a", 2)  # by the command line: what is loaded goes on
        assert in_use() == [1]
        assert send(service, good).json()["bundle_version"] == 1
        service.post("/v1/bundles/2/promote")
        assert in_use() == [2]
        (registry.root / "a" / "1.mambaad").write_bytes(b"another")
        assert service.post("/v1/bundles/1/promote").status_code == 422
        assert (registry.read("a").used, in_use()) == ([1, 2], [2])
        assert store.verify().problem is None


def test_of_two_rollbacks_at_once_one_goes_back(line, uncalibrated, tmp_path, good):
    registry = Registry(tmp_path / "registry")
    for bundle in (line, uncalibrated):
        registry.add("a", bundle, check=check_bundle)
    for number in (1, 2, 1):
        registry.promote("a", number)
    settings = make_settings(
        registry=registry.root, line="a", data=tmp_path / "data", mode="throughput", workers=1
    )
    with (
        TestClient(create_app(settings), base_url=BASE) as service,
        ThreadPoolExecutor(4) as threads,
    ):
        asked = [threads.submit(service.post, "/v1/bundles/rollback?expected=1") for _ in range(2)]
        sent = [send(service, good, serial=f"{n}").json() for n in range(4)]
        assert sorted(one.result().status_code for one in asked) == [200, 409]
        assert registry.read("a").used == [1, 2]
        assert [one["in_use"] for one in service.get("/v1/bundles").json()] == [False, True]
        last = send(service, good).json()
        assert last["bundle_version"] == 2
        # Each part once, and by the bundle that its record names.
        rows = service.app.state.service.store.inspections()
        assert len(rows) == len({row["id"] for row in rows}) == 5
        assert all((row["verdict"] is None) == (row["bundle_version"] == 2) for row in rows)
        assert {one["id"] for one in [*sent, last]} == {row["id"] for row in rows}


@pytest.mark.parametrize("header", ["x", "-1", "9" * 30])
def test_a_wrong_event_id_is_refused(service, header):
    assert service.get("/v1/events", headers={"Last-Event-ID": header}).status_code == 422


def test_json_of_events(service, good):
    # The client of tests cannot read a stream that goes on: what each piece of it is made of.
    from mambaad.serve.api.operations import _events

    before = service.app.state.service.store.last_event()
    id = send(service, good).json()["id"]
    ((seq, text),) = _events(service.app.state.service, before)
    assert text.startswith(f"id: {seq}\nevent: inspection\ndata: {{")
    assert text.endswith("}\n\n")
    assert json.loads(text.split("data: ")[1])["id"] == id


def test_the_end_of_the_trail_is_noted_in_the_log(service, good, capsys):
    send(service, good)
    store = service.app.state.service.store
    _note_head(store)
    number, digest = store.head()
    assert f"has {number} rows; the last hash is {digest}" in capsys.readouterr().err
    assert store.verify(digest).problem is None
