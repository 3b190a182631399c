"""A webhook: each inspection is posted to an URL as JSON."""

from __future__ import annotations

import httpx

_SECONDS = 10.0


class Webhook:
    """Posts inspections to an URL; anything but a 2xx answer is tried again.

    The header ``Idempotency-Key`` has the inspection's id, which lets the receiver see doubles.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: httpx.AsyncClient | None = None

    async def send(self, event_id: str, payload: str) -> None:
        """Post one (httpx.HTTPError: it was not taken)."""
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=_SECONDS, follow_redirects=False)
        headers = {"Content-Type": "application/json", "Idempotency-Key": event_id}
        answer = await self._client.post(self._url, content=payload, headers=headers)
        if not answer.is_success:
            raise httpx.HTTPStatusError(
                f"the receiver answered {answer.status_code}",
                request=answer.request,
                response=answer,
            )

    async def close(self) -> None:
        """End its connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None
