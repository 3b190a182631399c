"""A webhook: each inspection is posted to an URL as JSON."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time

import httpx

from mambaad.serve.sinks.access import WebhookAccess
from mambaad.serve.sinks.sink import Refused

_SECONDS = 10.0
_NOT_NOW = (429, 502, 503, 504)


class Webhook:
    """Posts inspections to an URL; anything but a 2xx answer is tried again.

    The headers ``Idempotency-Key`` and ``webhook-id`` have the inspection's id, which lets the
    receiver see doubles. With a secret it is signed as the Standard Webhooks specification says
    (1.0.0): ``webhook-signature`` is ``v1,`` and the Base64 of HMAC-SHA256 of the id, the time in
    ``webhook-timestamp`` and the body, joined by dots; by the secret's own bytes, or those that it
    is the Base64 of if it begins with ``whsec_``.

    Args:
        url: where to.
        access: the secret, and a header Authorization.

    Raises:
        ValueError: a secret with ``whsec_`` that is no Base64.
    """

    at_once = 4

    def __init__(self, url: str, access: WebhookAccess) -> None:
        self._url, self._key = url, None
        self._headers = {"Content-Type": "application/json"}
        if access.secret is not None:
            secret = access.secret.get_secret_value()
            encoded = secret.removeprefix("whsec_")
            is_plain = encoded == secret
            self._key = secret.encode() if is_plain else base64.b64decode(encoded, validate=True)
        if access.authorization is not None:
            self._headers["Authorization"] = access.authorization.get_secret_value()
        self._client: httpx.AsyncClient | None = None

    async def connect(self) -> None:
        """Nothing: each post connects by itself if it has to."""

    async def send(self, event_id: str, payload: str) -> None:
        """Post one (Refused: another answer than 2xx; httpx.HTTPError: none)."""
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=_SECONDS, follow_redirects=False)
        headers = {**self._headers, "Idempotency-Key": event_id, "webhook-id": event_id}
        moment = str(int(time.time()))
        headers["webhook-timestamp"] = moment
        if self._key is not None:
            signed = hmac.digest(
                self._key, f"{event_id}.{moment}.{payload}".encode(), hashlib.sha256
            )
            headers["webhook-signature"] = f"v1,{base64.b64encode(signed).decode()}"
        answer = await self._client.post(self._url, content=payload, headers=headers)
        if answer.is_success:
            return
        reason = f"the receiver answered {answer.status_code}"
        if answer.status_code in _NOT_NOW:
            raise ConnectionError(reason)
        raise Refused(reason)

    async def close(self) -> None:
        """End its connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None
