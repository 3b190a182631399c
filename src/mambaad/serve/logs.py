"""The service's log: a line of JSON for each request and event, without images."""

from __future__ import annotations

import json
import logging
import time
from datetime import datetime, timezone

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mambaad.files import printable
from mambaad.serve.problems import problem_of

access = logging.getLogger("mambaad.serve.access")
_QUIET = ("/healthz", "/readyz", "/metrics")


class JsonLines(logging.Formatter):
    """Formats a log record as a line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        moment = datetime.fromtimestamp(record.created, timezone.utc)
        line = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


def log_json() -> None:
    """Have everything that is logged in this process written to standard error as JSON."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in ("alembic", "watchfiles", "httpx"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)  # the outbox says what is wrong


class Answers:
    """Adds headers to every answer, of errors too, and logs the request (not its body or query).

    Args:
        app: answers.
        headers: added where an answer lacks them.
    """

    def __init__(self, app: ASGIApp, headers: dict[str, str]) -> None:
        self._app, self._headers = app, headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), None

        async def send_more(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, send_more)
        except Exception as error:
            access.exception("the service failed")
            if status is not None:  # the answer has begun
                raise
            await problem_of(error).response()(scope, receive, send_more)
        finally:
            if scope["path"] not in _QUIET:
                fields = {
                    "method": scope["method"],
                    "path": printable(scope["path"])[:200],
                    "status": status,
                    "ms": round((time.perf_counter() - started) * 1000, 1),
                }
                access.info("request", extra={"fields": fields})
