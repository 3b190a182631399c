"""Routes for those who run the service: health, figures, bundles, sources, events, login."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.datastructures import State
from starlette.types import Receive, Scope, Send

from mambaad.serve.api.schemas import (
    BundleVersion,
    LoggedIn,
    Login,
    SinkState,
    SourceState,
    errors,
    inspection_of,
)
from mambaad.serve.auth import COOKIE, SESSION_HOURS, Who, require
from mambaad.serve.problems import Problem
from mambaad.serve.service import Service, service_of

router = APIRouter()
ServiceOf = Annotated[Service, Depends(service_of)]
Viewer = Annotated[Who, Depends(require("viewer"))]
Engineer = Annotated[Who, Depends(require("engineer"))]
_KINDS = ("inspection", "decision", "bundle_use", "setting")
_KEEP_ALIVE = 15.0
_STREAMS = 100
_AT_A_TIME = 100


@router.get("/healthz", tags=["operation"])
async def healthz() -> dict[str, str]:
    """Whether the service runs; waits for nothing."""
    return {"status": "ok"}


@router.get("/readyz", tags=["operation"], responses=errors(507))
async def readyz(service: ServiceOf) -> dict[str, str]:
    """Whether parts would be taken: 503 or 507 says why not."""
    service.images.check_space()
    if service.failure:
        raise Problem(503, "failed", service.failure, "see the log, and start the service again")
    if service.intake.is_ending or not service.intake.pool.is_ready:
        raise Problem(503, "not_ready", "no inference process is ready", "try again", retry=2)
    return {"status": "ready"}


@router.get(
    "/metrics",
    tags=["operation"],
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}, **errors()},
)
def metrics(service: ServiceOf, _who: Viewer) -> Response:
    """Figures for Prometheus."""
    pool = service.bundles.pool
    if pool is not None:
        service.metrics.processes.set(len(pool.pids))
        service.metrics.restarts.set(pool.restarts)
    service.metrics.audit_rows.set(service.store.last_event())
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/v1/bundles", response_model=list[BundleVersion], tags=["bundles"], responses=errors())
def list_bundles(service: ServiceOf, _who: Viewer) -> list[dict[str, object]]:
    """The versions of the line's bundle, and which one is in use."""
    return service.bundles.versions()


@router.post(
    "/v1/bundles/rollback",
    response_model=list[BundleVersion],
    tags=["bundles"],
    responses=errors(409, 422),
)
def roll_back(
    service: ServiceOf,
    who: Engineer,
    expected: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
) -> list[dict[str, object]]:
    """Return to the version that was in use before; answered when it inspects.

    With ``expected``, the version in use that is to be left, a request that is sent again because
    its answer was lost is refused (409) instead of going back once more. Nothing is compared; the
    page compares with the stored parts first.
    """
    service.bundles.rollback(actor=who.name, expected=expected)
    return service.bundles.versions()


@router.post(
    "/v1/bundles/{number}/promote",
    response_model=list[BundleVersion],
    tags=["bundles"],
    responses=errors(409, 422),
)
def promote(
    service: ServiceOf, who: Engineer, number: Annotated[int, Path(ge=1, le=2**31 - 1)]
) -> list[dict[str, object]]:
    """Have a version inspect from now on; answered when it does."""
    service.bundles.promote(number, actor=who.name)
    return service.bundles.versions()


@router.get("/v1/sources", response_model=list[SourceState], tags=["operation"], responses=errors())
def list_sources(request: Request, _who: Viewer) -> list[dict[str, Any]]:
    """Where parts come from besides HTTP."""
    return [source.state() for source in request.app.state.sources]


@router.get("/v1/sinks", response_model=list[SinkState], tags=["operation"], responses=errors())
def list_sinks(request: Request, _who: Viewer) -> list[dict[str, Any]]:
    """Where inspections go besides HTTP, and what waits for each."""
    found: list[dict[str, Any]] = request.app.state.outbox.state()
    return found


@router.get(
    "/v1/events",
    tags=["events"],
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}, **errors(422, 429)},
)
async def events(
    request: Request,
    service: ServiceOf,
    _who: Viewer,
    last_event_id: Annotated[str | None, Header(pattern=r"^\d{1,18}$")] = None,
) -> StreamingResponse:
    """What happens, as server-sent events: inspections, decisions, bundles, settings.

    After a pause the header ``Last-Event-ID`` goes on where it ended; nothing is left out.
    """
    state = request.app.state
    if state.streams >= _STREAMS:
        raise Problem(429, "too_many_streams", f"{_STREAMS} listen already", "close one", retry=10)
    after = int(last_event_id) if last_event_id else None
    if after is None:
        after = await asyncio.to_thread(service.store.last_event)

    async def stream(after: int) -> AsyncIterator[str]:
        yield f": from {after}\n\n"
        while not service.changes.is_ending:
            woken = service.changes.next()
            if not await asyncio.to_thread(may_listen, service, request):
                return
            found = await asyncio.to_thread(_events, service, after)
            for seq, text in found:
                after = seq
                yield text
            if found:
                continue
            try:
                await asyncio.wait_for(woken.wait(), _KEEP_ALIVE)
            except asyncio.TimeoutError:
                yield ": still here\n\n"

    state.streams += 1
    return _Stream(stream(after), state)


class _Stream(StreamingResponse):
    """A stream of events, counted until it ends, however that is."""

    def __init__(self, events: AsyncIterator[str], state: State) -> None:
        super().__init__(
            events, media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._state.streams -= 1


def may_listen(service: Service, request: Request) -> bool:
    """Whether a session has not ended, nor its user been removed, since a stream has begun."""
    if not service.auth.is_closed:
        return True
    try:
        return service.auth.who(request) is not None
    except Problem:
        return False


def _events(service: Service, after: int) -> list[tuple[int, str]]:
    found = []
    for row in service.store.events(after, _KINDS, _AT_A_TIME):
        content: dict[str, Any] = dict(row)
        if row["kind"] == "inspection":
            inspection = service.store.inspection(row["subject"])
            content = inspection_of(inspection) if inspection else content
        text = json.dumps(content, separators=(",", ":"))
        found.append((row["seq"], f"id: {row['seq']}\nevent: {row['kind']}\ndata: {text}\n\n"))
    return found


@router.post(
    "/v1/login", response_model=LoggedIn, tags=["operation"], responses=errors(422, 429, 507)
)
def log_in(request: Request, service: ServiceOf, login: Login) -> JSONResponse:
    """Begin a session: a cookie, and a token for the header X-CSRF-Token."""
    service.auth.who(request)  # refuses other sites
    address = request.client.host if request.client else ""
    cookie, csrf = service.auth.log_in(login.name, login.password, address)
    response = JSONResponse(LoggedIn(name=login.name, csrf=csrf).model_dump())
    set_cookie(response, request, cookie)
    return response


@router.post("/v1/logout", status_code=204, tags=["operation"], responses=errors())
def log_out(request: Request, service: ServiceOf, _who: Viewer) -> Response:
    """End the session."""
    service.auth.log_out(request)
    response = Response(status_code=204)
    response.delete_cookie(COOKIE)
    return response


def set_cookie(response: Response, request: Request, cookie: str) -> None:
    """Give a session's cookie to a browser, which shows it to no script and no other site."""
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=SESSION_HOURS * 3600,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
