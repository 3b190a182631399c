"""The application: one service's parts, put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version

from fastapi import FastAPI

from mambaad.progress import say
from mambaad.serve.api import inspections, operations
from mambaad.serve.api.uploads import RateLimit
from mambaad.serve.auth import Auth
from mambaad.serve.bodies import Bodies
from mambaad.serve.bundles import Bundles
from mambaad.serve.gate import Gate
from mambaad.serve.intake import Intake
from mambaad.serve.logs import Answers
from mambaad.serve.metrics import Metrics
from mambaad.serve.page import add_page
from mambaad.serve.page.service import page_parts
from mambaad.serve.problems import answer_problems
from mambaad.serve.service import Service
from mambaad.serve.settings import ServeSettings
from mambaad.serve.sinks.make import make_sinks
from mambaad.serve.sinks.outbox import Outbox
from mambaad.serve.sources.feed import Feed
from mambaad.serve.sources.source import Source
from mambaad.serve.sources.watched import WatchedFolder
from mambaad.serve.store.images import ImageStore
from mambaad.serve.store.store import Store
from mambaad.serve.store.writer import StoreError

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
_SWEEP_SECONDS = 60.0
_WITNESS_SECONDS = 3600.0


def create_app(settings: ServeSettings, sources: Sequence[Source] = ()) -> FastAPI:
    """Make the application of a service; its lifespan loads the bundle and ends what it began.

    Args:
        settings: of the service.
        sources: cameras and the like, besides the watched folder.

    Raises:
        ConfigError, RunError, StoreError: see :class:`Store` and :class:`Auth`.
    """
    store = Store(settings.data, settings.database_url)
    try:
        sinks = make_sinks(settings)
        images = ImageStore(settings.data, settings.min_free_mb * 2**20)
        bundles, metrics = Bundles(settings, store), Metrics()
        intake = Intake(settings, store, images, bundles, metrics, tuple(sinks))
        auth = Auth(store, settings)
        service = Service(settings, store, auth, images, bundles, metrics, intake)
        watched = [WatchedFolder(settings)] if settings.watch else []
        feeds = [Feed(source, settings, service) for source in (*watched, *sources)]
    except BaseException:
        store.close()
        raise
    store.on_commit(service.changes.tell)
    outbox = Outbox(store, service.changes, metrics, sinks)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tasks: list[asyncio.Task[None]] = []
        try:
            service.changes.attach()
            if bundles.pool is None:
                await asyncio.to_thread(bundles.start)
            await intake.resume()
            for work in (outbox.run, *(feed.run for feed in feeds)):
                tasks.append(asyncio.create_task(work()))
            tasks.append(asyncio.create_task(_sweep(service)))
            tasks.append(asyncio.create_task(_witness(service)))
            for task in tasks:
                task.add_done_callback(service.note_end)
            yield
        finally:
            service.changes.end()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await intake.finish()
            await asyncio.to_thread(_note_head, store)
            await asyncio.to_thread(store.close)

    app = FastAPI(
        title="mambaad serve",
        version=version("mambaad"),
        lifespan=lifespan,
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    app.state.service = service
    app.state.sources = feeds
    app.state.outbox = outbox
    app.state.rate = RateLimit(settings.rate)
    app.state.streams = 0
    answer_problems(app)
    app.add_middleware(Gate, intake=intake)
    app.add_middleware(Bodies)
    app.add_middleware(Answers, headers=HEADERS)
    app.include_router(inspections.router)
    app.include_router(operations.router)
    add_page(app, page_parts(service))
    return app


async def _sweep(service: Service) -> None:
    """Remove images by the rule, from time to time."""
    while True:
        with suppress(StoreError, OSError):
            removed = await asyncio.to_thread(service.images.sweep, service.intake.retention)
            if removed:
                say(f"{removed} images were removed, as --keep-days and --keep-gb say")
        await asyncio.sleep(_SWEEP_SECONDS)


async def _witness(service: Service) -> None:
    """Note the end of the audit trail where a database's owner cannot change it."""
    while True:
        await asyncio.to_thread(_note_head, service.store)
        await asyncio.sleep(_WITNESS_SECONDS)


def _note_head(store: Store) -> None:
    with suppress(StoreError):
        number, digest = store.head()
        say(f"the audit trail has {number} rows; the last hash is {digest}")
