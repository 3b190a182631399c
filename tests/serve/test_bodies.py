"""Bodies are limited before anything parses them, and errors have the headers of all answers."""

import asyncio

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from mambaad.serve import bodies
from mambaad.serve.app import HEADERS, create_app
from mambaad.serve.bodies import MOST_BYTES, Bodies
from mambaad.serve.settings import make_settings
from tests.serve.conftest import BASE


@pytest.fixture
def opened(tmp_path):
    app = create_app(make_settings(bundle=tmp_path, data=tmp_path / "data"))
    yield TestClient(app, base_url=BASE)
    app.state.service.store.close()


PATHS = ["/v1/login", "/v1/inspections/x/decisions", "/login", "/preferences", "/nothing"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("announced", [True, False])
def test_a_large_body_is_refused(opened, path, announced):
    content = b"x" * (MOST_BYTES + 1)
    body = content if announced else (content[n : n + 1000] for n in range(0, len(content), 1000))
    answer = opened.post(path, content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    assert answer.headers["Content-Security-Policy"] == HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize("charset", ["punycode", "utf-16", "unicode_escape", "zlib", "nothing"])
@pytest.mark.parametrize("path", [*PATHS, "/v1/inspections"])
def test_no_charset_but_utf8_decodes_a_form(opened, path, charset):
    kind = f'application/x-www-form-urlencoded; charset="{charset}"'
    answer = opened.post(path, content=b"a=b", headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "charset")


def test_utf8_is_the_charset_of_forms(opened):
    kind = "application/x-www-form-urlencoded; charset=UTF-8"
    answer = opened.post("/login", content=b"name=a&password=b", headers={"Content-Type": kind})
    assert answer.status_code != 415


def test_a_body_arrives_whole_and_what_follows_it_too():
    app = FastAPI()

    @app.post("/echo")
    async def echo(request: Request):
        return {"size": len(await request.body())}

    app.add_middleware(Bodies)
    client = TestClient(app)
    chunks = (b"x" * 1000 for _ in range(200))
    assert client.post("/echo", content=chunks).json() == {"size": 200_000}
    assert client.post("/echo").json() == {"size": 0}


def test_a_stalled_body_is_refused(monkeypatch):
    monkeypatch.setattr(bodies, "_SECONDS", 0.05)
    sent = []

    async def receive():
        await asyncio.sleep(60)

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/login", "headers": []}
    asyncio.run(Bodies(None)(scope, receive, send))
    assert sent[0]["status"] == 408


def test_a_failure_is_one_answer_with_all_headers(opened):
    @opened.app.get("/fails")
    def fails():
        raise ZeroDivisionError("of the test")

    answer = opened.get("/fails")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
    for name, value in HEADERS.items():
        assert answer.headers[name] == value
    assert "of the test" not in answer.text
