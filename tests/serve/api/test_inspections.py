"""Parts in, results out: every answer of the routes, and that each part is kept once."""

import base64
import io
import json
import threading

import numpy as np
import pytest
from PIL import Image

from mambaad.inspection.inspector import Inspector
from mambaad.serve.api.schemas import Inspection, Lookout
from mambaad.serve.store.rows import Filter


def post(service, image, *, query=None, form=None, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if form is not None:
        files = {"image": ("a part.png", image, "image/png")}
        return service.post("/v1/inspections", files=files, data=form, headers=named)
    named["content-type"] = "image/png"
    return service.post("/v1/inspections", content=image, params=query, headers=named)


def code_of(answer):
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "hint"}
    return answer.status_code, error["code"]


def kept(service, serial):
    return service.get("/v1/inspections", params={"serial": serial}).json()["items"]


def test_an_answer_is_the_record_of_predict_and_is_kept(service, line, many_parts, defective):
    answer = post(service, defective, form={"serial": "A-1", "product": "bolt"})
    assert answer.status_code == 201
    found = answer.json()
    path = many_parts / "bolt" / "test" / "spot" / "000.png"
    inspector = Inspector(line)
    (expected,) = inspector.inspect_items([inspector.item(path, "bolt")])
    record = expected.record.model_dump(mode="json")
    for name in record.keys() - {"path", "time"}:
        assert found[name] == record[name], name
    assert (found["path"], found["serial"], found["source"]) == ("a part.png", "A-1", "http")
    assert (found["sampled"], found["sample_probability"]) == (True, 1.0)
    again = service.get(answer.headers["location"])
    assert again.status_code == 200
    assert again.json() == found
    assert kept(service, "A-1") == [found]


def test_images_and_maps_come_back(service, line, defective):
    found = post(service, defective, query={"serial": "images"}).json()
    at = f"/v1/inspections/{found['id']}"
    assert service.get(f"{at}/image").content == defective
    small = Image.open(io.BytesIO(service.get(f"{at}/thumbnail").content))
    assert small.format == "JPEG"
    assert max(small.size) == 80  # no larger than the image
    anomaly_map = np.load(io.BytesIO(service.get(f"{at}/map").content))
    assert anomaly_map.dtype == np.float32
    assert anomaly_map.shape == (64, 64)
    assert abs(float(anomaly_map.max()) - found["score"]) < 1e-6
    heatmap = np.asarray(Image.open(io.BytesIO(service.get(f"{at}/heatmap").content)))
    original = np.asarray(Image.open(io.BytesIO(defective)).convert("RGB"))
    assert heatmap.shape == original.shape
    assert (heatmap != original).any()


def test_an_answer_can_have_lookout_s_fields(service, good, defective):
    failed = [one for one in kept(service, "images") if one["verdict"] == "FAIL"]
    assert failed
    found = service.get(f"/v1/inspections/{failed[0]['id']}/lookout").json()["DetectAnomalyResult"]
    assert found["IsAnomalous"] is True
    assert found["Confidence"] == 1 - failed[0]["p_value"]
    (area,) = found["Anomalies"]
    mask = np.asarray(Image.open(io.BytesIO(base64.b64decode(found["AnomalyMask"]))))
    share = (mask != 255).any(axis=2).mean()
    assert 0 < area["PixelAnomaly"]["TotalPercentageArea"] == share
    query = {"answer": "lookout", "serial": "lookout", "product": "bolt"}
    for image in (good, defective):
        answer = post(service, image, query=query)
        assert answer.status_code == 201
        at = answer.headers["location"]
        assert answer.json() == service.get(f"{at}/lookout").json()
        expected = service.get(at).json()["verdict"] != "PASS"
        assert answer.json()["DetectAnomalyResult"]["IsAnomalous"] is expected
    assert len(kept(service, "lookout")) == 2
    assert code_of(post(service, good, query={"answer": "other"})) == (422, "invalid")


def test_the_examples_of_the_description_are_what_it_describes(service):
    schemas = service.get("/openapi.json").json()["components"]["schemas"]
    for model in (Inspection, Lookout):
        (example,) = schemas[model.__name__]["examples"]
        assert model.model_validate(example).model_dump(include=example.keys(), mode="json")
        assert set(example) <= set(model.model_fields)
    for name in ("Pending", "NewDecision", "ErrorBody"):
        fields = schemas[name]["properties"].values()
        assert any("examples" in field for field in fields), name


def test_the_same_key_gives_the_same_answer(service, good, defective):
    first = post(service, good, query={"serial": "K"}, idempotency_key="key 1")
    again = post(service, good, query={"serial": "K"}, idempotency_key="key 1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    for other in (
        post(service, defective, query={"serial": "K"}, idempotency_key="key 1"),
        post(service, good, query={"serial": "L"}, idempotency_key="key 1"),
    ):
        assert code_of(other) == (422, "key_reused")
    assert len(kept(service, "K")) == 1


def test_the_same_key_at_the_same_time_is_one_part(service, good):
    answers = []

    def ask():
        answers.append(post(service, good, query={"serial": "S"}, idempotency_key="same"))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(kept(service, "S")) == 1


def test_an_answer_can_come_before_the_inspection(service, good):
    query = {"serial": "later"}
    first = post(service, good, query=query, prefer="respond-async", idempotency_key="later")
    assert first.status_code == 202
    id = first.json()["id"]
    answer = service.get(first.headers["location"])
    while answer.status_code == 202:
        assert answer.json() == {"id": id, "part_id": answer.json()["part_id"], "status": "waiting"}
        answer = service.get(first.headers["location"])
    assert answer.json()["id"] == id
    assert answer.json()["status"] == "done"
    again = post(service, good, query=query, idempotency_key="later")
    assert (again.status_code, again.json()) == (201, answer.json())


def test_what_cannot_be_inspected_is_refused_and_not_kept(service, good):
    large = b"\x89PNG\r\n\x1a\n" + bytes(33 * 2**20)
    for answer, expected in (
        (post(service, b"no image", query={"serial": "no"}), (415, "not_an_image")),
        (post(service, good[:400], query={"serial": "no"}), (422, "not_inspected")),
        (post(service, b"", query={"serial": "no"}), (422, "no_image")),
        (post(service, large, query={"serial": "no"}), (413, "too_large")),
        (post(service, good, query={"product": "screw"}), (422, "unknown_product")),
        (post(service, good, query={"serial": "x" * 201}), (422, "invalid")),
        (post(service, good, form={"serial": "a\x00b"}), (422, "invalid")),
        (post(service, good, idempotency_key="k" * 201), (422, "invalid")),
        (service.post("/v1/inspections", json={}), (415, "content_type")),
        (service.post("/v1/inspections", files={"other": b"x"}), (422, "no_image")),
        (
            service.post(
                "/v1/inspections",
                content=b"x",
                headers={"content-type": "multipart/form-data; boundary=b"},
            ),
            (400, "form"),
        ),
        (
            service.post(
                "/v1/inspections", content=b"x", headers={"content-type": "multipart/form-data"}
            ),
            (400, "form"),
        ),
    ):
        assert code_of(answer) == expected
    assert kept(service, "no") == []
    spool = service.app.state.service.images.folder / "spool"
    service.app.state.service.intake._threads.submit(int).result()
    assert list(spool.iterdir()) == []


def test_an_image_of_too_many_pixels_is_refused(service):
    file = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(file, format="PNG")  # 50 KB
    assert code_of(post(service, file.getvalue())) == (422, "not_inspected")


def test_no_name_of_a_client_reaches_the_disk(service, good):
    files = {"image": ("../../../etc/passwd\x00.png", good, "image/png")}
    answer = service.post("/v1/inspections", files=files, data={"serial": "../../x"})
    assert answer.status_code == 201
    folder = service.app.state.service.images.folder
    assert not [path for path in folder.rglob("*") if "passwd" in path.name or path.name == "x"]
    for id in ("../../etc/passwd", "..%2f..%2fetc%2fpasswd"):
        assert service.get(f"/v1/inspections/{id}/image").status_code == 404


@pytest.mark.parametrize("id", ["%00", "a%00b", "x" * 500])
def test_an_id_that_cannot_be_one_is_422(service, id):
    for path in ("", "/image", "/decisions"):
        assert service.get(f"/v1/inspections/{id}{path}").status_code == 422
    answer = service.post(f"/v1/inspections/{id}/decisions", json={"decision": "good"})
    assert answer.status_code == 422
    assert service.get(f"/parts/{id}").status_code == 422
    form = {"decision": "good"}
    assert service.post(f"/parts/{id}/decide", data=form).status_code == 422


def test_text_that_cannot_be_kept_is_422(service, good):
    id = post(service, good).json()["id"]
    note = {"decision": "good", "note": "a\0b"}
    assert service.post(f"/parts/{id}/decide", data=note).status_code == 422
    assert service.post(f"/v1/inspections/{id}/decisions", json=note).status_code == 422
    for name in ("a\0b", "a" * 101):
        login = {"name": name, "password": "p"}
        assert service.post("/login", data=login).status_code == 422
        assert service.post("/v1/login", json=login).status_code == 422


@pytest.mark.parametrize("name", ["since", "until"])
def test_times_are_read_and_impossible_ones_refused(service, good, name):
    at = post(service, good, query={"serial": f"time-{name}"}).json()["inspected_at"]

    def found(time):
        query = {"serial": f"time-{name}", name: time}
        return len(service.get("/v1/inspections", params=query).json()["items"])

    assert found(f"{at[:19]}Z") == (name == "since")  # the second in which it was
    for time in ("2026-02-30T00:00:00Z", "2026-01-01T24:61:00Z"):
        answer = service.get("/v1/inspections", params={name: time})
        assert code_of(answer) == (422, "refused")


def test_lists_have_filters_and_pages(service, good, defective):
    for n in range(5):
        post(service, good if n % 2 else defective, query={"serial": "list", "product": "bolt"})
    first = service.get("/v1/inspections", params={"serial": "list", "limit": 3}).json()
    rest = service.get(
        "/v1/inspections", params={"serial": "list", "limit": 3, "cursor": first["cursor"]}
    ).json()
    ids = [item["id"] for item in first["items"] + rest["items"]]
    assert len(ids) == 5
    assert ids == sorted(ids, reverse=True)
    assert rest["cursor"] is None
    for verdict in ("PASS", "REVIEW", "FAIL", "UNKNOWN PRODUCT", "BAD IMAGE"):
        found = service.get("/v1/inspections", params={"verdict": verdict}).json()["items"]
        assert {item["verdict"] for item in found} <= {verdict}
    for query in ({"limit": 0}, {"verdict": "x"}, {"since": "yesterday"}, {"cursor": "%"}):
        assert service.get("/v1/inspections", params=query).status_code == 422
    until = first["items"][0]["inspected_at"]
    query = {"serial": "list", "until": until}
    assert len(service.get("/v1/inspections", params=query).json()["items"]) <= 4


def test_people_decide(service, good):
    id = post(service, good, query={"serial": "decide"}).json()["id"]
    at = f"/v1/inspections/{id}/decisions"
    assert id in [item["id"] for item in service.get("/v1/review?limit=500").json()["items"]]
    first = service.post(at, json={"decision": "defective", "note": "a scratch"})
    assert first.status_code == 201
    assert id not in [item["id"] for item in service.get("/v1/review?limit=500").json()["items"]]
    assert code_of(service.post(at, json={"decision": "good"})) == (409, "conflict")
    second = service.post(
        at, json={"decision": "good", "supersedes": service.get(at).json()[-1]["id"]}
    )
    assert second.status_code == 201
    assert [d["decision"] for d in service.get(at).json()] == ["defective", "good"]
    found = service.get(f"/v1/inspections/{id}").json()
    assert (found["decision"], found["decision_id"]) == ("good", second.json()["id"])
    missing = "/v1/inspections/01a21ae6-8f84-7a9e-95cb-e402332c9655/decisions"
    assert code_of(service.post(missing, json={"decision": "good"})) == (404, "not_found")
    assert code_of(service.post(at, json={"decision": "bad"})) == (422, "invalid")


def test_every_part_that_was_answered_is_in_the_store_and_the_trail_holds(service):
    store = service.app.state.service.store
    assert store.verify().problem is None
    assert store.counts(Filter(until="2000-01-01")) == {}
    assert sum(store.counts().values()) == len(store.inspections(limit=10_000))
    assert json.loads(service.get("/openapi.json").text)["info"]["title"] == "mambaad serve"


@pytest.mark.parametrize("path", ["/nothing", "/v1/inspections/x"])
def test_what_is_not_there_is_404_in_the_same_form(service, path):
    assert code_of(service.get(path))[0] == 404
