"""The outbox with a web server: what a receiver refuses, or is not there for, is sent later."""

import threading
import time

from fastapi.testclient import TestClient
from sqlalchemy import update

from mambaad.serve.app import create_app
from mambaad.serve.settings import make_settings
from mambaad.serve.sinks.access import WebhookAccess
from mambaad.serve.sinks.webhook import Webhook
from mambaad.serve.store.tables import outbox
from tests.serve.conftest import BASE
from tests.serve.killing import free_port
from tests.serve.receivers import Hook, wait_for
from tests.serve.sinks.sending import Sending


def send(ending, tmp_path, hook, url=None):
    sink = Webhook(url or hook.url, WebhookAccess())
    sending = Sending(tmp_path / "data", {"webhook": sink})
    ending.append(sending)
    return sending


def test_what_is_to_be_sent_outlasts_the_service(line, ending, tmp_path, good):
    hook = Hook(503, 503)
    ending.append(hook)
    options = {
        "bundle": line,
        "data": tmp_path / "data",
        "mode": "throughput",
        "workers": 1,
        "min_free_mb": 1.0,
    }
    headers = {"content-type": "image/png"}
    nowhere = f"http://127.0.0.1:{free_port()}/hook"
    with TestClient(create_app(make_settings(**options, webhook=nowhere)), base_url=BASE) as one:
        first = one.post("/v1/inspections", content=good, headers=headers).json()
        wait_for(lambda: one.get("/v1/sinks").json()[0]["problem"])
        assert one.get("/v1/sinks").json()[0]["waiting"] == 1
    with TestClient(create_app(make_settings(**options, webhook=hook.url)), base_url=BASE) as one:
        second = one.post("/v1/inspections", content=good, headers=headers).json()
        wait_for(lambda: len(hook.got) == 2)
        wait_for(lambda: one.get("/v1/sinks").json()[0]["waiting"] == 0)
        assert one.get("/v1/sinks").json() == [{"name": "webhook", "waiting": 0, "problem": None}]
    assert {key for key, _ in hook.got} == {first["id"], second["id"]}
    assert all(body["id"] == key for key, body in hook.got)
    assert dict(hook.got)[second["id"]]["score"] == second["score"]


def test_nothing_is_lost_when_the_receiver_is_away(ending, tmp_path):
    hook = Hook()
    ending.append(hook)
    sending = send(ending, tmp_path, hook)
    ids = set()
    for _ in range(2):
        stop = threading.Timer(0.05, hook.kill)
        stop.start()
        for _ in range(10):
            ids |= sending.add(10)
        stop.join()
        ids |= sending.add(1)
        wait_for(sending.problem)
        hook.start()
        wait_for(lambda: sending.waiting() == 0)
    assert {key for key, _ in hook.got} == ids


def test_a_refused_inspection_waits_by_itself_and_long(ending, tmp_path, capfd):
    hook = Hook(400)
    ending.append(hook)
    sending = send(ending, tmp_path, hook)
    (refused,) = sending.add(1)
    wait_for(lambda: hook.seen == [refused])
    others = sending.add(20)
    wait_for(lambda: len(hook.got) == 20)
    assert {key for key, _ in hook.got} == others
    assert sending.problem() == "the receiver answered 400"
    wait_for(lambda: len(hook.got) == 21)
    assert hook.seen.count(refused) == 2
    assert capfd.readouterr().err.count(f"webhook refuses {refused}") == 1


def test_any_number_of_attempts_is_counted(ending, tmp_path):
    hook = Hook(400)
    sending = Sending(tmp_path / "data", {"webhook": Webhook(hook.url, WebhookAccess())})
    ending += [hook, sending]
    hook.kill()
    sending.add(1)
    wait_for(sending.problem)
    sending.store.write(lambda c: c.execute(update(outbox).values(attempts=5000))).result(20)
    hook.start()
    wait_for(lambda: len(hook.seen) == 1)
    time.sleep(0.1)
    assert sending.waiting() == 1
    assert sending.add(1)
    wait_for(lambda: len(hook.got) == 1)  # the outbox still works
