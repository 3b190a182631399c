"""Limits of the bodies of requests, before anything parses them.

Uploads have limits of their own (:mod:`mambaad.serve.api.uploads`); everything else that a client
sends is a form or a few lines of JSON.
"""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mambaad.files import printable
from mambaad.serve.gate import INSPECTIONS
from mambaad.serve.problems import Problem

MOST_BYTES = 256 * 1024
_SECONDS = 15.0
_CHARSETS = ("", "utf-8", "utf8", "us-ascii")


class Bodies:
    """Reads each body but an upload's whole, within limits of size and time.

    A charset other than UTF-8 is refused: fields would be decoded by it, and some of Python's
    decoders take quadratic time.

    Args:
        app: parses and answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its body, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            _check_charset(headers.get("content-type", ""))
            if scope["path"] != INSPECTIONS or scope["method"] != "POST":
                receive = await _read(receive, headers.get("content-length", ""))
        except Problem as problem:
            response = problem.response()
            response.headers["Connection"] = "close"  # the rest of the body is not read
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _check_charset(content_type: str) -> None:
    for part in content_type.split(";")[1:]:
        name, _, value = part.partition("=")
        charset = value.strip().strip('"').lower()
        if name.strip().lower() == "charset" and charset not in _CHARSETS:
            raise Problem(
                415, "charset", f"the body's charset is '{printable(charset)[:40]}'", "send UTF-8"
            )


async def _read(receive: Receive, announced: str) -> Receive:
    """Read a body; returns what gives it once more, and then what follows it."""
    if announced.isdecimal() and (len(announced) > 15 or int(announced) > MOST_BYTES):
        raise _too_large()
    messages: list[Message] = []

    async def read() -> None:
        size = 0
        while not messages or messages[-1].get("more_body"):
            message = await receive()
            size += len(message.get("body", b""))
            if size > MOST_BYTES:
                raise _too_large()
            messages.append(message)

    try:
        await asyncio.wait_for(read(), _SECONDS)
    except asyncio.TimeoutError:
        raise Problem(
            408, "slow", f"the body took more than {_SECONDS:g} s", "send it again"
        ) from None
    messages.reverse()

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return again


def _too_large() -> Problem:
    return Problem(413, "too_large", f"the body has more than {MOST_BYTES} bytes", "send less")
