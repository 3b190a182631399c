"""Running a service: one process that answers HTTP, beside its inference processes."""

from __future__ import annotations

import errno
import signal
import socket
import sys
from collections.abc import Sequence
from types import FrameType

import uvicorn
from fastapi import FastAPI

from mambaad.errors import RunError
from mambaad.progress import say
from mambaad.serve.app import create_app
from mambaad.serve.gate import Protocol
from mambaad.serve.logs import log_json
from mambaad.serve.service import Service
from mambaad.serve.settings import ServeSettings
from mambaad.serve.sources.source import Source

if sys.platform != "win32":
    import resource

_GRACE_SECONDS = 30
_MOST_CONNECTIONS = 4096


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
    with _port(settings) as listening:  # before the model is loaded, which takes a while
        app = create_app(settings, sources)
        config = config_of(settings, app)
        service: Service = app.state.service
        try:
            host, port = listening.getsockname()[:2]
            say(f"loading the model; then http://{f'[{host}]' if ':' in host else host}:{port}")
            service.bundles.start()
            _Server(config).run([listening])
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise _busy(settings, error) from error  # taken meanwhile
        except SystemExit:  # uvicorn's
            raise RunError("the service could not start; the log above says why") from None
        finally:
            if service.bundles.pool is not None:
                service.bundles.pool.close()
            service.store.close()


def config_of(settings: ServeSettings, app: FastAPI) -> uvicorn.Config:
    """Configure the server."""
    return uvicorn.Config(
        app,
        http=Protocol,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=settings.proxy is not None,
        forwarded_allow_ips=settings.proxy or "",
        limit_concurrency=_connections(),
        timeout_graceful_shutdown=_GRACE_SECONDS,
        backlog=2048,
        lifespan="on",
    )


def _connections() -> int:
    """How many connections there may be: half of the descriptors, the others are for files."""
    if sys.platform == "win32":
        return _MOST_CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(2 * _MOST_CONNECTIONS, hard) if hard != resource.RLIM_INFINITY else soft
    if wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return min(_MOST_CONNECTIONS, max(wanted, soft) // 2)


def _port(settings: ServeSettings) -> socket.socket:
    """Take the service's port, without answering yet (RunError: it cannot be used)."""
    try:
        found = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, address = min(found)  # IPv4 first
        taken = socket.socket(family, kind, protocol)
        try:
            if sys.platform != "win32":  # there it would take a port that is in use
                taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(address)
        except BaseException:
            taken.close()
            raise
    except OSError as error:
        raise _busy(settings, error) from error
    return taken


def _busy(settings: ServeSettings, error: OSError) -> RunError:
    where = f"{settings.host}:{settings.port}"
    reason = error.strerror or error
    return RunError(f"--port: {where} cannot be used ({reason}); choose another")
