"""Routes of inspections: parts in, results and lists out, decisions."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse

from mambaad.serve.api.lookout import lookout_of
from mambaad.serve.api.schemas import (
    EXAMPLE_ID,
    Decision,
    Inspection,
    Lookout,
    NewDecision,
    Page,
    Pending,
    errors,
    inspection_of,
)
from mambaad.serve.api.uploads import announced_size, read_upload
from mambaad.serve.auth import Who, require
from mambaad.serve.drawing import draw_heatmap, read_map
from mambaad.serve.problems import Problem
from mambaad.serve.service import Service, service_of
from mambaad.serve.store.queries import Row
from mambaad.serve.store.rows import Filter
from mambaad.types import Verdict

router = APIRouter(prefix="/v1", tags=["inspections"])
ServiceOf = Annotated[Service, Depends(service_of)]
Viewer = Annotated[Who, Depends(require("viewer"))]
Reviewer = Annotated[Who, Depends(require("reviewer"))]
_TEXT = r"^[^\x00-\x1f\x7f]*$"
_TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z$"
_MEDIA = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
    "WEBP": "image/webp",
}
_IMAGE = {"schema": {"type": "string", "format": "binary"}}
_UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {
                        "image": {"type": "string", "format": "binary"},
                        "serial": {"type": "string", "maxLength": 200, "pattern": _TEXT},
                        "product": {"type": "string", "maxLength": 200, "pattern": _TEXT},
                    },
                }
            },
            **dict.fromkeys(_MEDIA.values(), _IMAGE),
        },
    }
}
_QUERY = Query(max_length=200, pattern=_TEXT)
Id = Annotated[str, Query(max_length=36, pattern=r"^[0-9a-f-]+$", examples=[EXAMPLE_ID])]


@router.post(
    "/inspections",
    status_code=201,
    response_model=Inspection | Lookout,
    openapi_extra=_UPLOAD,
    responses={202: {"model": Pending}, **errors(400, 408, 413, 415, 422, 429, 507)},
)
async def inspect(
    request: Request,
    service: ServiceOf,
    who: Reviewer,
    serial: Annotated[str | None, _QUERY] = None,
    product: Annotated[str | None, _QUERY] = None,
    answer: Literal["inspection", "lookout"] = "inspection",
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
    prefer: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """Inspect a part; answered once its record is on disk.

    Send a form with the file ``image`` and perhaps ``serial`` and ``product``, or the image as the
    body and these two in the query. With ``Prefer: respond-async`` the answer is 202 as soon as the
    part is safe on disk. The same ``Idempotency-Key`` with the same part gives the same answer.
    With ``answer=lookout`` the answer has the fields of Amazon Lookout for Vision's.
    """
    del serial, product, idempotency_key  # read_upload reads them; here they are described
    intake, settings = service.intake, service.settings
    try:
        request.app.state.rate.check(request.client.host if request.client else "")
        size = announced_size(request, settings)
    except Problem as problem:
        intake.count_refused(problem)
        raise
    with intake.place(size):
        received = replace(await read_upload(request, settings), actor=who.name)
        if "respond-async" in (prefer or ""):
            found = await intake.accept(received)
        else:
            found = await intake.inspect(received)
    return await asyncio.to_thread(_answer, service, found, 201, is_lookout=answer == "lookout")


@router.get("/inspections", response_model=Page, responses=errors(422))
def list_inspections(
    service: ServiceOf,
    _who: Viewer,
    verdict: Verdict | None = None,
    product: Annotated[str | None, _QUERY] = None,
    serial: Annotated[str | None, _QUERY] = None,
    since: Annotated[str | None, Query(pattern=_TIME)] = None,
    until: Annotated[str | None, Query(pattern=_TIME)] = None,
    differs: bool | None = None,
    decision: Literal["good", "defective", "unsure"] | None = None,
    sampled: bool | None = None,
    cursor: Id | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> dict[str, Any]:
    """List inspections, newest first. Times: ``2026-01-31T12:00:00Z``; ``until`` is excluded."""
    wanted = Filter(
        verdict=verdict.value if verdict else None,
        product=product,
        serial=serial,
        since=since,
        until=until,
        differs=differs,
        decision=decision,
        sampled=sampled,
    )
    return _page(service.store.inspections(wanted, before=cursor, limit=limit + 1), limit)


@router.get(
    "/inspections/{id}",
    response_model=Inspection,
    responses={202: {"model": Pending}, **errors(404, 422)},
)
def get_inspection(service: ServiceOf, _who: Viewer, id: str) -> Response:
    """One inspection; 202 while the part waits for it."""
    return _answer(service, id, 200)


@router.get(
    "/inspections/{id}/image",
    response_class=FileResponse,
    responses={200: {"content": dict.fromkeys(_MEDIA.values(), _IMAGE)}, **errors(404, 409, 422)},
)
def get_image(service: ServiceOf, _who: Viewer, id: str) -> Response:
    """The part's image, as it came; 404 once it was removed."""
    row = _row(service, id)
    return _file(service.images.read_image(row["sha256"], row["format"]), _MEDIA[row["format"]])


@router.get(
    "/inspections/{id}/thumbnail",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": _IMAGE}}, **errors(404, 422)},
)
def get_thumbnail(service: ServiceOf, _who: Viewer, id: str) -> Response:
    """A small JPEG of the part's image."""
    path = service.images.thumbnail(_row(service, id)["part_id"])
    return _file(path.read_bytes() if path.is_file() else None, "image/jpeg")


@router.get(
    "/inspections/{id}/map",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": _IMAGE}}, **errors(404, 422)},
)
def get_map(service: ServiceOf, _who: Viewer, id: str) -> Response:
    """The anomaly map as a NumPy file (.npy): float32, h x w."""
    found = read_map(service.images.map(_row(service, id)["part_id"]))
    if found is None:
        return _file(None, "")
    file = io.BytesIO()
    np.save(file, found.map, allow_pickle=False)
    return _file(file.getvalue(), "application/octet-stream")


@router.get(
    "/inspections/{id}/heatmap",
    response_class=Response,
    responses={200: {"content": {"image/png": _IMAGE}}, **errors(404, 409, 422)},
)
def get_heatmap(service: ServiceOf, _who: Viewer, id: str) -> Response:
    """The part's image with its heatmap over it and its regions outlined, as PNG."""
    row = _row(service, id)
    content = service.images.read_image(row["sha256"], row["format"])
    found = read_map(service.images.map(row["part_id"]))
    if found is None or content is None:
        return _file(None, "")
    drawn = draw_heatmap(content, found, service.intake.pool.loaded.reading)
    return _file(drawn, "image/png")


@router.get(
    "/inspections/{id}/lookout",
    response_model=Lookout,
    response_model_exclude_unset=True,
    responses=errors(404, 422),
)
def get_lookout(service: ServiceOf, _who: Viewer, id: str) -> dict[str, Any]:
    """An inspection with the fields of Amazon Lookout for Vision's ``DetectAnomalies``."""
    return _lookout(service, _row(service, id))


@router.get("/review", response_model=Page, tags=["review"], responses=errors(422))
def review_queue(
    service: ServiceOf,
    _who: Viewer,
    product: Annotated[str | None, _QUERY] = None,
    cursor: Id | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> dict[str, Any]:
    """List the parts that wait for a person, oldest first."""
    rows = service.store.review_queue(product=product, after=cursor, limit=limit + 1)
    return _page(rows, limit)


@router.get(
    "/inspections/{id}/decisions",
    response_model=list[Decision],
    tags=["review"],
    responses=errors(404, 422),
)
def list_decisions(service: ServiceOf, _who: Viewer, id: str) -> list[Row]:
    """All decisions about a part, oldest first."""
    _row(service, id)
    return service.store.decisions(id)


@router.post(
    "/inspections/{id}/decisions",
    status_code=201,
    response_model=Decision,
    tags=["review"],
    responses=errors(404, 409, 422, 507),
)
def decide(service: ServiceOf, who: Reviewer, id: str, decision: NewDecision) -> dict[str, Any]:
    """Keep a decision about a part; another one is replaced only where it is named."""
    kept = service.store.decide(
        id,
        decision.decision,
        actor=who.name,
        note=decision.note,
        supersedes=decision.supersedes,
    )
    return kept.result()


def _answer(service: Service, id: str, status: int, *, is_lookout: bool = False) -> JSONResponse:
    """An inspection; or 202 where the part waits for it; or 404."""
    row = service.store.inspection(id)
    headers = {"Location": f"/v1/inspections/{id}"}
    if row is not None:
        found = _lookout(service, row) if is_lookout else inspection_of(row)
        return JSONResponse(found, status, headers if status == 201 else None)
    job = service.store.job(id)
    if job is not None:
        pending = Pending(id=id, part_id=job.part.id)
        return JSONResponse(pending.model_dump(), 202, headers)
    return JSONResponse(inspection_of(_row(service, id)), status)  # done between the two


def _lookout(service: Service, row: Row) -> dict[str, Any]:
    return lookout_of(row, read_map(service.images.map(row["part_id"])))


def _row(service: Service, id: str) -> Row:
    row = service.store.inspection(id)
    if row is None:
        raise Problem(404, "not_found", "there is no such inspection", "see /v1/inspections")
    return row


def _page(rows: list[Row], limit: int) -> dict[str, Any]:
    items = [inspection_of(row) for row in rows[:limit]]
    return {"items": items, "cursor": items[-1]["id"] if len(rows) > limit else None}


def _file(content: bytes | None, media: str) -> Response:
    if content is None:
        raise Problem(404, "gone", "the image was removed or never kept", "see --keep")
    headers = {"Cache-Control": "private, max-age=86400", "Content-Disposition": "inline"}
    return Response(content, media_type=media, headers=headers)
