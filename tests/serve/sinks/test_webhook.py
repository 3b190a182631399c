"""The webhook's signature, against the specification's own rule, and its headers."""

import asyncio
import base64
import hashlib
import hmac

import pytest

from mambaad.serve.sinks.access import WebhookAccess
from mambaad.serve.sinks.sink import Refused
from mambaad.serve.sinks.webhook import Webhook
from tests.serve.receivers import Hook


def post(url, access, times=1):
    async def run():
        sink = Webhook(url, access)
        try:
            for _ in range(times):
                await sink.send("an-id", '{"id":"an-id","product":"ü"}')
        finally:
            await sink.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("secret", "key"),
    [("plain secret", b"plain secret"), ("whsec_" + base64.b64encode(b"raw").decode(), b"raw")],
)
def test_it_is_signed(ending, secret, key):
    hook = Hook()
    ending.append(hook)
    post(hook.url, WebhookAccess(secret=secret, authorization="Bearer x"))
    (headers,) = hook.headers
    signed = b".".join([b"an-id", headers["webhook-timestamp"].encode(), hook.bodies[0]])
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert headers["webhook-id"] == headers["idempotency-key"] == "an-id"
    assert headers["authorization"] == "Bearer x"


def test_without_a_secret_it_is_not_signed(ending):
    hook = Hook()
    ending.append(hook)
    post(hook.url, WebhookAccess())
    assert not {"webhook-signature", "authorization"} & set(hook.headers[0])


@pytest.mark.parametrize(
    ("status", "error"), [(400, Refused), (301, Refused), (429, OSError), (503, OSError)]
)
def test_a_refusal_is_told_from_a_receiver_that_is_not_there(ending, status, error):
    hook = Hook(status)
    ending.append(hook)
    with pytest.raises(error, match=str(status)):
        post(hook.url, WebhookAccess())
