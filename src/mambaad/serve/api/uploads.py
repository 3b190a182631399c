"""Reading a part out of a request, within limits, and into memory alone."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from mambaad.files import printable
from mambaad.serve.api.schemas import Text200
from mambaad.serve.intake import Received
from mambaad.serve.problems import Problem
from mambaad.serve.settings import ServeSettings

_FORM_BYTES = 64 * 1024  # of a form besides the image
_CLIENTS = 10_000


class Fields(BaseModel):
    """What comes with an image."""

    serial: str | None = Text200
    product: str | None = Text200


class RateLimit:
    """A bucket of tokens for each client: ``rate`` a second, twice as many at once."""

    def __init__(self, rate: float) -> None:
        self._rate, self._most = rate, max(2 * rate, 1.0)
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, client: str) -> None:
        """Take a token (Problem: there is none)."""
        moment = time.monotonic()
        tokens, since = self._clients.pop(client, (self._most, moment))
        tokens = min(self._most, tokens + (moment - since) * self._rate)
        taken = 1.0 if tokens >= 1 else 0.0
        self._clients[client] = (tokens - taken, moment)
        if len(self._clients) > _CLIENTS:
            self._clients.popitem(last=False)
        if not taken:
            raise Problem(
                429,
                "too_fast",
                f"more than {self._rate:g} parts a second from one client",
                "slow down",
                retry=(1 - tokens) / self._rate,
            )


def announced_size(request: Request, settings: ServeSettings) -> int:
    """The bytes that a request may have, by its headers (Problem: too many)."""
    most = settings.max_bytes + _FORM_BYTES
    text = request.headers.get("content-length")
    if text is None:
        return most
    if not text.isdecimal():
        raise Problem(400, "invalid", f"Content-Length is '{text}'", "send a number")
    if int(text) > most:
        raise _too_large(settings)
    return int(text)


async def read_upload(request: Request, settings: ServeSettings) -> Received:
    """Read a part: a form with a file ``image``, or an image as the whole body.

    Raises:
        Problem: it is larger than may be, takes too long, or is neither.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    key = _key(request)
    if kind != "multipart/form-data" and not kind.startswith("image/"):
        raise Problem(
            415,
            "content_type",
            f"the body is '{printable(kind)}'",
            "send multipart/form-data with a file 'image', or a body of type image/*",
        )
    try:
        body = await asyncio.wait_for(_body(request, settings), settings.upload_seconds)
    except asyncio.TimeoutError:
        raise Problem(
            408, "slow", f"the upload took more than {settings.upload_seconds:g} s", "try again"
        ) from None
    if kind == "multipart/form-data":
        # In a thread of its own: a large form takes a while to parse.
        return await asyncio.to_thread(asyncio.run, _form(request, body, key, settings))
    query = {name: request.query_params.get(name) for name in Fields.model_fields}
    return _received(body, query, "", key, settings)


async def _body(request: Request, settings: ServeSettings) -> bytes:
    parts, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > settings.max_bytes + _FORM_BYTES:
            raise _too_large(settings)
        parts.append(chunk)
    return b"".join(parts)


async def _form(
    request: Request, body: bytes, key: str | None, settings: ServeSettings
) -> Received:
    async def stream() -> AsyncIterator[bytes]:
        yield body

    parser = MultiPartParser(request.headers, stream(), max_files=1, max_fields=8)  # type: ignore[arg-type]
    parser.spool_max_size = settings.max_bytes + _FORM_BYTES + 1  # in memory, never a file
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError, UnicodeError) as error:
        reason = getattr(error, "message", None) or str(error) or "it is malformed"
        raise Problem(
            400, "form", f"the form cannot be read: {reason}", "see /openapi.json"
        ) from None
    try:
        image = form.get("image")
        if not isinstance(image, UploadFile):
            raise Problem(422, "no_image", "the form has no file named 'image'", "send one")
        fields = {
            name: text if isinstance(text := form.get(name), str) else None
            for name in Fields.model_fields
        }
        return _received(await image.read(), fields, image.filename or "", key, settings)
    finally:
        await form.close()


def _received(
    content: bytes,
    given: dict[str, str | None],
    file_name: str,
    key: str | None,
    settings: ServeSettings,
) -> Received:
    if not content:
        raise Problem(422, "no_image", "the image is empty", "send an image")
    if len(content) > settings.max_bytes:
        raise _too_large(settings)
    try:
        fields = Fields(**{name: text or None for name, text in given.items()})
    except ValidationError as error:
        first = error.errors()[0]
        raise Problem(422, "invalid", f"{first['loc'][0]}: {first['msg']}") from None
    # A name to show, never a path to open.
    name = printable(file_name.encode("utf-8", "replace").decode())[:255]
    return Received(content, "http", fields.serial, fields.product, name, key)


def _key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not (1 <= len(key) <= 200 and key.isascii() and key.isprintable()):
        raise Problem(422, "invalid", "Idempotency-Key: expected 1 to 200 printable characters")
    return key


def _too_large(settings: ServeSettings) -> Problem:
    return Problem(
        413,
        "too_large",
        f"an upload may have {settings.max_bytes} bytes",
        "send a smaller image, or start the service with a larger --max-bytes",
    )
