"""Roles, tokens, passwords, sessions, and requests of other sites."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from mambaad.errors import ConfigError
from mambaad.serve.api.operations import may_listen
from mambaad.serve.app import create_app
from mambaad.serve.auth import COOKIE, hash_password, is_password, read_tokens
from mambaad.serve.run import config_of
from mambaad.serve.settings import make_settings
from mambaad.serve.store.store import Store
from tests.serve.conftest import BASE

TOKENS = {role: f"{role}-0123456789abcdef" for role in ("viewer", "reviewer", "engineer")}
PASSWORD = "correct horse"
DECISION = "/v1/inspections/01a21ae6-8f84-7a9e-95cb-e402332c9655/decisions"


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "tokens"
    path.write_text("# who\n\n" + "".join(f"{role} {role[:3]} {t}\n" for role, t in TOKENS.items()))
    path.chmod(0o600)
    return path


@pytest.fixture
def closed(tmp_path, token_file):
    """A service with tokens and a user; its pool is not started."""
    data = tmp_path / "data"
    store = Store(data, f"sqlite:///{data / 'store.sqlite'}")
    store.put_user("anna", "reviewer", hash_password(PASSWORD), actor="test").result(20)
    store.close()
    settings = make_settings(
        bundle=tmp_path, data=data, host="0.0.0.0", token_file=token_file, min_free_mb=0.0
    )
    app = create_app(settings)
    yield TestClient(app, base_url=BASE)
    app.state.service.store.close()


@pytest.fixture
def opened(tmp_path):
    """A service on loopback without tokens and users; its pool is not started."""
    app = create_app(make_settings(bundle=tmp_path, data=tmp_path / "data"))
    yield TestClient(app, base_url=BASE)
    app.state.service.store.close()


def bearer(role):
    return {"Authorization": f"Bearer {TOKENS[role]}"}


def code_of(answer):
    return answer.status_code, answer.json()["error"]["code"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "line.example"])
def test_others_need_tokens_or_users(tmp_path, host):
    settings = make_settings(bundle=tmp_path, data=tmp_path / "data", host=host)
    with pytest.raises(ConfigError, match="--token-file") as caught:
        create_app(settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.9.9.9"])
def test_loopback_needs_none(tmp_path, host):
    settings = make_settings(bundle=tmp_path, data=tmp_path / "data", host=host)
    create_app(settings).state.service.store.close()


@pytest.mark.parametrize(
    ("method", "path", "role"),
    [
        ("GET", "/v1/inspections", "viewer"),
        ("GET", "/v1/review", "viewer"),
        ("GET", "/v1/bundles", "viewer"),
        ("GET", "/metrics", "viewer"),
        ("GET", "/v1/sources", "viewer"),
        ("POST", "/v1/inspections", "reviewer"),
        ("POST", DECISION, "reviewer"),
        ("POST", "/v1/bundles/1/promote", "engineer"),
        ("POST", "/v1/bundles/rollback", "engineer"),
    ],
)
def test_each_route_has_its_role(closed, method, path, role):
    json = {"decision": "good"} if path == DECISION else None
    answer = closed.request(method, path, json=json)
    assert code_of(answer) == (401, "login")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert closed.request(method, path, headers={"Authorization": "Bearer x"}).status_code == 401
    order = ["viewer", "reviewer", "engineer"]
    for one in order:
        status = closed.request(method, path, json=json, headers=bearer(one)).status_code
        allowed = order.index(one) >= order.index(role)
        assert (status == 403) is not allowed, (one, status)
        assert status != 401


def test_every_route_but_health_and_login_needs_one(closed):
    paths = closed.get("/openapi.json").json()["paths"]
    for path, methods in paths.items():
        for method in methods:
            asked = path.replace("{id}", "x").replace("{number}", "1")
            answer = closed.request(method, asked, json={"decision": "good"})
            is_open = path in ("/healthz", "/readyz", "/v1/login")
            assert (answer.status_code == 401) is not is_open, path


def log_in(client, password=PASSWORD, name="anna"):
    return client.post("/v1/login", json={"name": name, "password": password})


def test_a_session_needs_its_token_to_change_something(closed):
    answer = log_in(closed)
    assert answer.status_code == 200
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert closed.get("/v1/inspections").status_code == 200
    decision = {"decision": "good"}
    assert code_of(closed.post(DECISION, json=decision)) == (403, "csrf")
    wrong = {"X-CSRF-Token": "wrong"}
    assert code_of(closed.post(DECISION, json=decision, headers=wrong)) == (403, "csrf")
    right = {"X-CSRF-Token": answer.json()["csrf"]}
    assert code_of(closed.post(DECISION, json=decision, headers=right)) == (404, "not_found")
    form = closed.post("/v1/inspections", files={"image": b"x"})
    assert code_of(form) == (403, "csrf")  # a form of another site carries no header
    assert code_of(closed.post("/v1/bundles/rollback", headers=right)) == (403, "role")
    kept = closed.cookies[COOKIE]
    assert closed.post("/v1/logout", headers=right).status_code == 204
    closed.cookies.set(COOKIE, kept)
    assert closed.get("/v1/inspections").status_code == 401


def test_logins_are_refused_and_limited(closed):
    assert code_of(log_in(closed, "wrong password")) == (401, "wrong_password")
    assert code_of(log_in(closed, name="nobody")) == (401, "wrong_password")
    for _ in range(5):
        last = log_in(closed, "wrong password")
    assert code_of(last) == (429, "too_many_logins")
    assert int(last.headers["retry-after"]) > 0
    assert log_in(closed).status_code == 429  # the right one too, for a while


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
    ],
)
def test_other_sites_change_nothing(opened, headers):
    answer = opened.post(DECISION, json={"decision": "good"}, headers=headers)
    assert code_of(answer) == (403, "origin")
    own = {"Sec-Fetch-Site": "same-origin", "Origin": BASE}
    answer = opened.post(DECISION, json={"decision": "good"}, headers=own)
    assert code_of(answer) == (404, "not_found")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example"])
def test_a_name_that_was_rebound_is_refused(opened, host):
    assert code_of(opened.get("/v1/inspections", headers={"Host": host})) == (421, "wrong_host")
    for name in ("localhost:8000", "127.0.0.1", "[::1]:8000"):
        assert opened.get("/v1/inspections", headers={"Host": name}).status_code == 200


def test_before_the_model_is_loaded_parts_are_not_taken(opened):
    headers = {"content-type": "image/png"}
    answer = opened.post("/v1/inspections", content=b"\x89PNG\r\n\x1a\n", headers=headers)
    assert code_of(answer) == (503, "starting")
    assert code_of(opened.get("/readyz")) == (503, "starting")
    assert opened.get("/healthz").status_code == 200


def test_passwords_are_hashed_by_argon2():
    hashed = hash_password(PASSWORD)
    assert hashed.startswith("$argon2id$")
    assert hash_password(PASSWORD) != hashed
    assert is_password(PASSWORD, hashed)
    assert not is_password("another one", hashed)
    assert not is_password(PASSWORD, None)
    assert not is_password(PASSWORD, "nonsense")
    with pytest.raises(ConfigError, match="8 characters"):
        hash_password("short")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "root a 0123456789abcdef",
        "viewer a",
        "viewer a short",
        "viewer a b c",
        f"viewer {'a' * 101} 0123456789abcdef",
        "viewer a\0b 0123456789abcdef",
    ],
)
def test_an_unusable_token_file_is_refused(tmp_path, text):
    path = tmp_path / "tokens"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="--token-file"):
        read_tokens(path)


def test_a_token_file_is_private(token_file):
    token_file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_tokens(token_file)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_tokens(token_file / "x")


def test_many_logins_at_once_are_many(closed):
    def attempt(number):
        return closed.post("/v1/login", json={"name": "anna", "password": f"wrong {number}"})

    with ThreadPoolExecutor(16) as threads:
        statuses = [answer.status_code for answer in threads.map(attempt, range(16))]
    assert sorted(statuses) == [401] * 5 + [429] * 11


def test_headers_of_a_proxy_are_believed_of_a_named_one_alone(tmp_path):
    config = config_of(make_settings(bundle=tmp_path, data=tmp_path), FastAPI())
    assert (config.proxy_headers, config.forwarded_allow_ips) == (False, "")
    config = config_of(make_settings(bundle=tmp_path, data=tmp_path, proxy="10.0.0.1"), FastAPI())
    assert (config.proxy_headers, config.forwarded_allow_ips) == (True, "10.0.0.1")


def test_a_stream_of_events_ends_with_its_session(closed):
    service = closed.app.state.service
    csrf = closed.post("/v1/login", json={"name": "anna", "password": PASSWORD}).json()["csrf"]
    request = Request(
        {
            "type": "http",
            "method": "GET",
            "path": "/v1/events",
            "headers": [
                (b"host", b"line.example"),
                (b"cookie", f"{COOKIE}={closed.cookies[COOKIE]}".encode()),
            ],
        }
    )
    assert may_listen(service, request)
    assert closed.post("/v1/logout", headers={"x-csrf-token": csrf}).status_code == 204
    assert not may_listen(service, request)


@pytest.mark.parametrize("host", ["127.9.9.9", "127.0.0.1"])
def test_its_own_address_is_answered(tmp_path, host):
    app = create_app(make_settings(bundle=tmp_path, data=tmp_path / "data", host=host))
    client = TestClient(app, base_url=f"http://{host}:8000")
    assert client.get("/v1/inspections").status_code == 200
    app.state.service.store.close()
