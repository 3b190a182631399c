"""Running a service: one process that answers HTTP, beside its inference processes."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from types import FrameType

import uvicorn

from mambaad.errors import RunError
from mambaad.progress import say
from mambaad.serve.app import create_app
from mambaad.serve.logs import log_json
from mambaad.serve.service import Service
from mambaad.serve.settings import ServeSettings
from mambaad.serve.sources.source import Source

_GRACE_SECONDS = 30


class _Server(uvicorn.Server):
    """Ends streams of events at once: they would keep it waiting otherwise."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End; the second Ctrl-C does not wait for what is under way."""
        service = self.config.app.state.service  # type: ignore[union-attr]
        service.intake.is_ending = True
        service.changes.end()
        # Not kept to be raised again at the end: a service that was told to end has not failed.
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def serve(settings: ServeSettings, sources: Sequence[Source] = ()) -> None:
    """Run a service until Ctrl-C or SIGTERM; what was accepted is finished first.

    Args:
        settings: of the service.
        sources: of parts, such as cameras, besides HTTP and the watched folder.

    Raises:
        ConfigError, RunError, StoreError: it cannot start; see :func:`create_app`.
    """
    log_json()
    app = create_app(settings, sources)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        backlog=2048,
        lifespan="on",
    )
    server = _Server(config)
    service: Service = app.state.service
    try:
        say(f"loading the model; then http://{settings.host}:{settings.port}")
        service.bundles.start()
        server.run()
    except SystemExit:  # uvicorn's, after a line in the log
        raise RunError(
            f"--port: {settings.host}:{settings.port} cannot be used; choose another"
        ) from None
    finally:
        if service.bundles.pool is not None:
            service.bundles.pool.close()
        service.store.close()
