"""The application: one service's parts, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mambaad.serve.auth import Auth
from mambaad.serve.problems import answer_problems
from mambaad.serve.settings import ServeSettings
from mambaad.serve.store.store import Store

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
"""Sent with every answer: pages load what is ours alone, and no other site shows them."""


@dataclass
class Service:
    """What a request works with: ``request.app.state.service``."""

    settings: ServeSettings
    store: Store
    auth: Auth


def create_app(settings: ServeSettings) -> FastAPI:
    """Make the application of a service; it starts and ends with its lifespan.

    Raises:
        ConfigError, RunError, StoreError: see :class:`Store` and :class:`Auth`.
    """
    store = Store(settings.data, settings.database_url)
    try:
        auth = Auth(store, settings)
    except BaseException:
        store.close()
        raise
    service = Service(settings, store, auth)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            store.close()

    app = FastAPI(
        title="mambaad serve",
        version=version("mambaad"),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    answer_problems(app)
    app.add_middleware(AddHeaders)
    # Routers are included here.
    return app


class AddHeaders:
    """Adds :data:`HEADERS` to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and add to its answer."""

        async def send_more(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_more if scope["type"] == "http" else send)
