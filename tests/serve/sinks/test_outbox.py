"""The outbox: a real receiver gets every inspection, though it fails at first."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from fastapi.testclient import TestClient

from mambaad.serve.app import create_app
from mambaad.serve.settings import make_settings
from tests.serve.conftest import BASE


@pytest.fixture
def receiver():
    """A server that refuses the first two posts; what it was sent and what it took."""
    seen, taken = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            seen.append(body["id"])
            status = 503 if len(seen) <= 2 else 204
            if status == 204:
                taken.append((self.headers["idempotency-key"], body))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hook", seen, taken
        server.shutdown()
        thread.join()


def test_every_inspection_is_sent_at_least_once(line, receiver, tmp_path, good):
    url, seen, taken = receiver
    options = {
        "bundle": line,
        "data": tmp_path / "data",
        "mode": "throughput",
        "workers": 1,
        "min_free_mb": 1.0,
    }
    headers = {"content-type": "image/png"}
    # The receiver is down: what is to be sent survives the service.
    with TestClient(
        create_app(make_settings(**options, webhook="http://127.0.0.1:9/hook")), base_url=BASE
    ) as service:
        first = service.post("/v1/inspections", content=good, headers=headers).json()
    with TestClient(create_app(make_settings(**options, webhook=url)), base_url=BASE) as service:
        second = service.post("/v1/inspections", content=good, headers=headers).json()
        deadline = time.monotonic() + 60
        while len(taken) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
    assert {key for key, _ in taken} == {first["id"], second["id"]}
    for key, body in taken:
        assert body["id"] == key
    assert len(seen) == len(taken) + 2
    ids = {body["id"]: body for _, body in taken}
    assert ids[second["id"]]["score"] == second["score"]
