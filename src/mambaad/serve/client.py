"""A client of the service, for the programs of a line."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from mambaad.errors import MambaADError

_TRIES = 8
_MEDIA = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".bmp": "image/bmp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".webp": "image/webp",
}


class ServiceError(MambaADError, RuntimeError):
    """The service refused a request. ``status``: of HTTP; ``code``: the service's word for it."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{message} ({code}, HTTP {status})")
        self.status, self.code = status, code


class Client:
    """Talks to a service. What is busy or cannot be reached is tried again, without doubles.

    Args:
        url: of the service.
        token: of its token file, if it has one.
        timeout: seconds that an answer may take.
        tries: how often a request is made.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        token: str | None = None,
        timeout: float = 60.0,
        tries: int = _TRIES,
    ) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout)
        self._tries = tries

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def inspect(
        self,
        image: str | Path | bytes,
        *,
        serial: str | None = None,
        product: str | None = None,
        key: str | None = None,
        wait: bool = True,
    ) -> dict[str, Any]:
        """Have a part inspected.

        Args:
            image: a file, or the bytes of one.
            serial: the part's number.
            product: its class, if known.
            key: the Idempotency-Key; by default a new one, which makes trying again safe.
            wait: for the verdict; otherwise the answer has an ``id`` to ask for with
                :meth:`inspection`.

        Returns:
            The inspection: the fields of predictions.jsonl, ``id``, and others.

        Raises:
            ServiceError: it was refused.
            httpx.TransportError: the service cannot be reached.
        """
        if isinstance(image, bytes):
            content, name, media = image, "", "application/octet-stream"
        else:
            path = Path(image)
            content, name = path.read_bytes(), path.name
            media = _MEDIA.get(path.suffix.lower(), "application/octet-stream")
        data = {k: v for k, v in (("serial", serial), ("product", product)) if v is not None}
        headers = {"Idempotency-Key": key or uuid.uuid4().hex}
        if not wait:
            headers["Prefer"] = "respond-async"
        return self._json(
            "POST",
            "/v1/inspections",
            data=data,
            files={"image": (name or "image", content, media)},
            headers=headers,
        )

    def inspection(self, id: str, *, wait: float = 0.0) -> dict[str, Any]:
        """An inspection; ``status`` is ``waiting`` until it is done, for which to ``wait`` s."""
        deadline = time.monotonic() + wait
        while True:
            found = self._json("GET", f"/v1/inspections/{id}")
            if found["status"] == "done" or time.monotonic() >= deadline:
                return found
            time.sleep(0.05)

    def inspections(self, **filters: Any) -> Iterator[dict[str, Any]]:
        """All inspections, newest first; filters: verdict, product, serial, since, until, ..."""
        yield from self._pages("/v1/inspections", filters)

    def review(self, **filters: Any) -> Iterator[dict[str, Any]]:
        """The parts that wait for a person, oldest first."""
        yield from self._pages("/v1/review", filters)

    def decide(
        self, id: str, decision: str, *, note: str = "", supersedes: str | None = None
    ) -> dict[str, Any]:
        """Decide about a part: ``good``, ``defective``, ``unsure``, or ``withdrawn``."""
        content = {"decision": decision, "note": note, "supersedes": supersedes}
        return self._json("POST", f"/v1/inspections/{id}/decisions", json=content, tries=1)

    def heatmap(self, id: str) -> bytes:
        """The PNG of a part with its heatmap."""
        return self._request("GET", f"/v1/inspections/{id}/heatmap").content

    def events(self, last: int | None = None) -> Iterator[dict[str, Any]]:
        """What happens from now on, or since event ``last``; goes on after a lost connection.

        Yields:
            ``{"id", "event", "data"}``.
        """
        while True:
            headers = {} if last is None else {"Last-Event-ID": str(last)}
            try:
                with self._http.stream(
                    "GET", "/v1/events", headers=headers, timeout=httpx.Timeout(30.0)
                ) as answer:
                    if answer.status_code != 200:
                        answer.read()
                        raise _refusal(answer)
                    event: dict[str, str] = {}
                    for line in answer.iter_lines():
                        if line.startswith(":"):
                            if last is None and line.startswith(": from "):
                                last = int(line.removeprefix(": from "))
                            continue
                        if line:
                            name, _, value = line.partition(": ")
                            event[name] = value
                        elif event:
                            last = int(event["id"])
                            data = json.loads(event["data"])
                            yield {"id": last, "event": event["event"], "data": data}
                            event = {}
            except httpx.TransportError:
                pass
            time.sleep(1)

    def _pages(self, path: str, filters: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        given = {name: value for name, value in filters.items() if value is not None}
        while True:
            page = self._json("GET", path, params=given)
            yield from page["items"]
            if page["cursor"] is None:
                return
            given["cursor"] = page["cursor"]

    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        found: dict[str, Any] = self._request(method, path, **options).json()
        return found

    def _request(
        self, method: str, path: str, *, tries: int | None = None, **options: Any
    ) -> httpx.Response:
        left = tries or self._tries
        pause = 0.2
        while True:
            left -= 1
            try:
                answer = self._http.request(method, path, **options)
            except httpx.TransportError:
                if left <= 0:
                    raise
            else:
                if answer.is_success:
                    return answer
                if answer.status_code not in (429, 503) or left <= 0:
                    raise _refusal(answer)
                pause = max(pause, float(answer.headers.get("Retry-After", 0)))
            time.sleep(pause)
            pause = min(2 * pause, 10.0)


def _refusal(answer: httpx.Response) -> ServiceError:
    try:
        error = answer.json()["error"]
        return ServiceError(answer.status_code, error["code"], error["message"])
    except (ValueError, KeyError, TypeError):
        return ServiceError(answer.status_code, "http", answer.reason_phrase)
