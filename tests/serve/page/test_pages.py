import io
import zipfile
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from mambaad.serve.auth import hash_password
from mambaad.serve.page import queries
from tests.serve.conftest import DATABASES, empty_database
from tests.serve.page.lines import (
    SIZE,
    fill,
    inspection_id,
    make_app,
    make_parts,
    minutes_ago,
    record,
    rows,
    verdict_of,
)

PAGES = ("/", "/history", "/review", "/settings", "/settings/bolt", "/drift", "/bundles", "/audit")
REVIEW = next(n for n in range(60) if verdict_of(n) == "REVIEW")


@pytest.fixture(scope="module", params=DATABASES)
def filled(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("line")
    parts = make_parts(folder, empty_database(request, folder))
    fill(parts, 60)
    yield parts
    parts.store.close()


@pytest.fixture
def fresh(tmp_path, database):
    parts = make_parts(tmp_path, database)
    fill(parts, 30)
    yield parts
    parts.store.close()


def client_of(parts, **headers):
    return TestClient(make_app(parts), base_url="http://127.0.0.1:8000", headers=headers)


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("path", [*PAGES, f"/parts/{inspection_id(REVIEW)}"])
def test_every_page_answers_in_both_languages(filled, path, language):
    answer = client_of(filled, **{"Accept-Language": language}).get(path)
    assert answer.status_code == 200
    assert f'<html lang="{language}"' in answer.text
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "<script>" not in answer.text
    assert " style=" not in answer.text
    assert " onclick" not in answer.text


@pytest.mark.parametrize("path", PAGES)
def test_every_page_of_an_empty_line_answers(tmp_path, database, path):
    parts = make_parts(tmp_path, database)
    try:
        assert client_of(parts).get(path).status_code == 200
    finally:
        parts.store.close()


def test_the_live_view_shows_the_newest_part_and_counts(filled):
    text = client_of(filled).get("/fragments/live?hours=24").text
    assert f'data-id="{inspection_id(59)}"' in text
    passed = sum(verdict_of(n) == "PASS" for n in range(60))
    assert f"<dd>{passed}<small>" in text.replace("\n", "")


def test_history_filters_and_pages(filled):
    client = client_of(filled)
    failed = client.get("/history", params={"verdict": "FAIL"}).text
    assert failed.count('<tr><td class="picture-cell">') == sum(
        verdict_of(n) == "FAIL" for n in range(60)
    )
    one = client.get("/history", params={"serial": "SN-000007"}).text
    assert one.count('<tr><td class="picture-cell">') == 1
    first = client.get("/history")
    assert first.text.count('<tr><td class="picture-cell">') == 50
    older = first.text.split('rel="next"')[0].rsplit('href="', 1)[1].split('"')[0]
    second = client.get(older.replace("&amp;", "&")).text
    assert second.count('<tr><td class="picture-cell">') == 10


def test_pictures_are_given_by_the_inspections_id_alone(filled):
    client = client_of(filled)
    picture = client.get(f"/pictures/{inspection_id(3)}")
    assert picture.headers["content-type"] == "image/png"
    layer = client.get(f"/heatmaps/{inspection_id(3)}")
    from PIL import Image

    image = Image.open(io.BytesIO(layer.content))
    assert (image.mode, image.size) == ("RGBA", SIZE[::-1])
    assert client.get(f"/thumbnails/{inspection_id(3)}").headers["content-type"] == "image/jpeg"
    for path in ("/pictures/..%2f..%2fetc%2fpasswd", "/pictures/x", "/static/..%2fpage.py"):
        assert client.get(path, headers={"Accept": "application/json"}).status_code == 404


def test_what_a_sender_wrote_is_escaped(tmp_path):
    parts = make_parts(tmp_path)
    new_part, inspected = rows(0, minutes_ago(1))
    nasty = "<script>alert(1)</script>"
    made = record(0, "REVIEW").model_copy(update={"product": nasty, "reason": nasty})
    parts.store.add_inspection(
        replace(new_part, serial=nasty), replace(inspected, record=made.model_dump_json())
    ).result()
    client = client_of(parts)
    for path in ("/", "/history", "/review", f"/parts/{inspected.id}"):
        text = client.get(path).text
        assert nasty not in text, path
        assert "alert(1)" in text, path
    parts.store.close()


def test_parts_that_were_not_judged(tmp_path, database):
    parts = make_parts(tmp_path, database)
    texts = {}
    for number, (verdict, changed) in enumerate(
        (
            ("PASS", {"verdict": None, "score": None, "quality": None, "error": "the worker died"}),
            ("PASS", {"verdict": None, "percentile": None, "p_value": None}),
            ("BAD IMAGE", {}),
            ("UNKNOWN PRODUCT", {}),
        )
    ):
        made = record(number, verdict).model_copy(update=changed)
        new_part, inspected = rows(number, minutes_ago(30 - number))
        inspected = replace(inspected, record=made.model_dump_json())
        parts.store.add_inspection(new_part, inspected).result()
        client = client_of(parts)
        texts[number] = client.get(f"/parts/{inspection_id(number)}").text
        live = client.get("/fragments/live").text
        assert live.count(f'data-id="{inspection_id(number)}"') == 1
    assert "The part could not be inspected." in texts[0]
    assert "the worker died" in texts[0]
    assert "<b>ERROR</b>" in texts[0]
    assert "there is no verdict" in texts[1]
    assert "<b>NO VERDICT</b>" in texts[1]
    for number in (2, 3):  # the score had no part in it, so no threshold is shown
        assert 'class="limit' not in texts[number]
    assert "recognised, confidence" not in texts[3]
    parts._remembered = {}
    counted = "".join(client.get("/fragments/live").text.split())
    for word in ("ERROR", "NOVERDICT", "BADIMAGE", "UNKNOWNPRODUCT"):
        assert counted.count(f"</svg>{word}</span></dt><dd>1") == 1, word
    for path in PAGES:
        assert client.get(path).status_code == 200, path
    history = client.get("/history").text
    assert history.count("NO VERDICT") == 1
    assert history.count("The image is not kept") == 4
    parts.store.close()


def test_a_bundle_without_a_calibration(tmp_path):
    parts = make_parts(tmp_path)
    fill(parts, 10)
    model = parts.model()
    parts.read_model = lambda path: replace(model, products=(), calibration=None)
    parts._models = {}
    client = client_of(parts)
    for path in (*PAGES, f"/parts/{inspection_id(3)}"):
        status = client.get(path).status_code
        assert status == (404 if path == "/settings/bolt" else 200), path
    assert "has no calibration" in client.get("/settings").text
    assert "has no calibration" in client.get("/drift").text
    parts.store.close()


def test_a_decision_by_a_plain_form(fresh):
    client = client_of(fresh)
    path = f"/parts/{inspection_id(3)}"
    answer = client.post(f"{path}/decide", data={"decision": "defective", "note": "a dent"})
    assert answer.status_code == 200  # after the redirect
    assert "Decision saved: Defective" in answer.text
    assert "a dent" in answer.text
    assert fresh.store.inspection(inspection_id(3))["decision"] == "defective"
    again = client.post(f"{path}/decide", data={"decision": "good"})
    assert "replaced by a later decision" in again.text
    assert client.post(f"{path}/decide", data={"decision": "perhaps"}).status_code == 422
    assert client.post("/parts/none/decide", data={"decision": "good"}).status_code == 404


def test_review_goes_on_and_undoes_without_scripts(fresh):
    client = client_of(fresh)
    waiting = fresh.store.review_length()
    first = fresh.store.review_queue(limit=1)[0]["id"]
    client.post(f"/review/{first}", data={"decision": "good"})
    assert fresh.store.review_length() == waiting - 1
    assert fresh.store.review_queue(limit=1)[0]["id"] != first
    answer = client.post("/review/undo")
    assert "Decision withdrawn" in answer.text
    assert fresh.store.review_queue(limit=1)[0]["id"] == first
    assert "no decision of yours" in client.post("/review/undo").text


def test_unsure_parts_do_not_come_back_at_once_but_stay_open(fresh):
    client = client_of(fresh)
    first = fresh.store.review_queue(limit=1)[0]["id"]
    client.post(f"/review/{first}", data={"decision": "unsure"})
    queue = client.get("/review/queue").json()["parts"]
    assert first not in [part["id"] for part in queue]
    assert first in [row["id"] for row in fresh.store.review_queue()]


def test_the_queue_does_not_tell_the_verdict(fresh):
    queue = client_of(fresh).get("/review/queue").json()["parts"]
    assert len(queue) > 3
    assert not {"verdict", "score", "reason"} & set(queue[0])
    for page in ("/review",):
        text = client_of(fresh).get(page).text
        assert "is above the REVIEW threshold" not in text
        assert 'class="verdict' not in text


def test_thresholds_are_saved_with_their_rates_and_reset(fresh):
    client = client_of(fresh)
    effect = client.get("/fragments/thresholds/bolt", params={"review": 0.2, "fail": 0.3}).text
    assert "50.0%" in effect  # of 199 scores 99 are above 0.2: (99 + 1) / 200
    client.post("/settings/bolt/thresholds", data={"review": "0.2", "fail": "0.3"})
    setting = fresh.setting("bolt")
    assert (setting.review, setting.fail) == (0.2, 0.3)
    assert fresh.changed == ["bolt"]
    assert "this page" in client.get("/settings").text
    wrong = client.post("/settings/bolt/thresholds", data={"review": "0.4", "fail": "0.3"})
    assert "REVIEW must not be above FAIL" in wrong.text
    client.post("/settings/bolt/thresholds", data={"reset": "1"})
    assert fresh.setting("bolt").review is None
    assert client.get("/settings/screw").status_code == 404


def test_regions_are_drawn_removed_and_checked(fresh):
    client = client_of(fresh)
    box = {"kind": "region_of_interest", "left": 0, "top": 0, "right": 50, "bottom": 100}
    assert "Saved." in client.post("/settings/bolt/shapes", data=box).text
    drawn = {"kind": "ignore", "points": "[[0,0],[0.5,0],[0.5,1],[0,1]]"}
    assert "No part of the image" in client.post("/settings/bolt/shapes", data=drawn).text
    for points in ("[[0,0],[2,2],[0,1]]", "[[0,0]]", "{}", "[" * 5000, "nonsense"):
        answer = client.post("/settings/bolt/shapes", data={"kind": "ignore", "points": points})
        assert "three corners" in answer.text, points[:20]
    assert len(fresh.setting("bolt").shapes) == 1
    assert "50.0% of the image" in client.get("/settings").text
    client.post("/settings/bolt/shapes", data={"remove": "0"})
    assert fresh.setting("bolt").shapes == ()


def test_the_smallest_defect_and_the_scale(fresh):
    client = client_of(fresh)
    answer = client.post("/settings/bolt/size", data={"min_area_px": "25", "mm_per_px": "0.2"})
    assert "1.000 mm²" in answer.text
    assert client.post("/settings/bolt/size", data={"min_area_px": "-1"}).status_code == 422
    assert client.post("/settings/bolt/size", data={"mm_per_px": "wide"}).status_code == 422
    assert fresh.setting("bolt").min_area_px == 25


def test_recalibration_takes_the_random_share_alone(fresh):
    client = client_of(fresh)
    everything = fresh.store.inspections(limit=100)
    for row in everything:  # people decide on all, drawn or not
        if row["product"] == "bolt":
            client.post(f"/parts/{row['id']}/decide", data={"decision": "good"})
    drawn = [
        row["score"]
        for row in everything
        if row["product"] == "bolt" and row["sampled"] and row["verdict"] != "BAD IMAGE"
    ]
    assert 0 < len(drawn) < 15
    client.post("/settings/bolt/recalibrate")
    setting = fresh.setting("bolt")
    assert sorted(setting.sample.scores) == pytest.approx(sorted(drawn))
    assert setting.fail == pytest.approx(max(drawn))
    before = client.post("/settings/metal%20nut/recalibrate")
    assert before.status_code == 422
    assert "drawn parts wait for a decision" in before.text


def test_scores_of_another_area_do_not_recalibrate(fresh):
    client = client_of(fresh)
    for row in fresh.store.inspections(limit=100):
        client.post(f"/parts/{row['id']}/decide", data={"decision": "good"})
    box = {"kind": "region_of_interest", "left": 0, "top": 0, "right": 50, "bottom": 100}
    client.post("/settings/bolt/shapes", data=box)
    assert client.post("/settings/bolt/recalibrate").status_code == 422


def test_drift_is_the_monitors(fresh, tmp_path):
    client = client_of(fresh)
    text = client.get("/drift").text
    assert "No change is evident" in text
    passed = sum(
        verdict_of(n) == "PASS" for n in range(0, 30, 2)
    )  # of the product "bolt", all below the threshold
    assert f"{passed} parts; evidence" in text


def test_decisions_are_exported(fresh):
    client = client_of(fresh)
    client.post(f"/parts/{inspection_id(3)}/decide", data={"decision": "defective"})
    client.post(f"/parts/{inspection_id(4)}/decide", data={"decision": "good"})
    answer = client.post("/export", data={"purpose": "training"})
    names = zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
    assert f"decisions/bolt/train/good/{inspection_id(4)}.png" in names
    assert f"decisions/metal nut/test/defective/{inspection_id(3)}.png" in names
    assert "decisions/origin.csv" in names


def test_the_audit_trail_is_shown_and_verified(fresh):
    client = client_of(fresh)
    client.post(f"/parts/{inspection_id(3)}/decide", data={"decision": "good"})
    text = client.post("/audit/verify").text
    rows = fresh.store.read(lambda c: queries.audit_rows(c, None, 1))[0]["seq"]
    assert f"The chain of {rows} entries is whole" in text


def test_languages_and_colours_are_remembered_and_lead_nowhere_else(filled):
    client = client_of(filled)
    form = {"language": "de", "theme": "dark", "back": "/history?verdict=FAIL"}
    answer = client.post("/preferences", data=form)
    assert answer.url.path == "/history"
    assert '<html lang="de" data-theme="dark">' in answer.text
    for elsewhere in ("https://evil.example", "//evil.example", "/\\evil.example", "javascript:1"):
        sent = client.post("/preferences", data={"back": elsewhere}, follow_redirects=False)
        assert sent.headers["location"] == "/"


def test_other_sites_cannot_act(filled):
    client = client_of(filled)
    path = f"/parts/{inspection_id(3)}/decide"
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = client.post(path, data={"decision": "good"}, headers=headers)
        assert answer.status_code == 403


def test_roles_decide_what_is_shown_and_done(tmp_path):
    parts = make_parts(tmp_path)
    for name in ("viewer", "reviewer", "engineer"):
        hashed = hash_password("a long password")
        parts.store.put_user(name, name, hashed, actor="test").result()
    parts.store.close()
    parts = make_parts(tmp_path)  # users close the service when it starts
    fill(parts, 20)
    stranger = client_of(parts)
    assert stranger.get("/history?verdict=FAIL").url.path == "/login"
    assert stranger.get("/fragments/live").status_code == 401
    wrong = stranger.post("/login", data={"name": "viewer", "password": "no"})
    assert wrong.status_code == 401
    assert "Name or password is wrong" in wrong.text

    def logged_in(name):
        client = client_of(parts)
        form = {"name": name, "password": "a long password", "next": "/history"}
        answer = client.post("/login", data=form)
        assert answer.url.path == "/history"
        return client, answer.text.split('name="csrf_token" value="')[1].split('"')[0]

    part = f"/parts/{inspection_id(3)}"
    viewer, token = logged_in("viewer")
    assert 'href="/review"' not in viewer.get("/").text
    assert 'name="decision"' not in viewer.get(part).text
    assert viewer.get("/review").status_code == 403
    form = {"decision": "good", "csrf_token": token}
    assert viewer.post(f"{part}/decide", data=form).status_code == 403
    reviewer, token = logged_in("reviewer")
    assert reviewer.post(f"{part}/decide", data={"decision": "good"}).status_code == 403
    form["csrf_token"] = token
    assert reviewer.post(f"{part}/decide", data=form).status_code == 200
    assert parts.store.decisions(inspection_id(3))[0]["actor"] == "reviewer"
    assert reviewer.get("/audit").status_code == 403
    assert "Save these thresholds" not in reviewer.get("/settings/bolt").text
    engineer, _ = logged_in("engineer")
    assert "Save these thresholds" in engineer.get("/settings/bolt").text
    assert engineer.get("/audit").status_code == 200
    token = engineer.get("/").text.split('name="csrf_token" value="')[1].split('"')[0]
    assert engineer.post("/logout", data={"csrf_token": token}).url.path == "/login"
    assert engineer.get("/").url.path == "/login"
    parts.store.close()


def test_two_who_decide_at_once_do_not_overwrite_each_other(fresh):
    client, path = client_of(fresh), f"/parts/{inspection_id(3)}"
    assert 'name="holds" value=""' in client.get(path).text
    json = {"accept": "application/json"}
    review = f"/review/{inspection_id(3)}"
    first = client.post(review, data={"decision": "good", "holds": ""}, headers=json).json()
    second = client.post(review, data={"decision": "defective", "holds": ""}, headers=json)
    assert second.status_code == 409
    assert fresh.store.inspection(inspection_id(3))["decision"] == "good"
    assert f'name="holds" value="{first["holds"]}"' in client.get(path).text
    changed = {"decision": "defective", "holds": first["holds"]}
    assert client.post(f"{path}/decide", data=changed).status_code == 200
    undone = client.post("/review/undo", data={"part": inspection_id(3), "holds": first["holds"]})
    assert undone.status_code == 409  # somebody else's decision is not withdrawn
    assert fresh.store.inspection(inspection_id(3))["decision"] == "defective"
