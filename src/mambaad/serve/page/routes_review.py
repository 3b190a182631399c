"""Review: one part after the other, by keyboard alone or by plain forms."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response

from mambaad.serve.page import queries
from mambaad.serve.page.errors import PageRoute
from mambaad.serve.page.page import Page, form_page, page_for
from mambaad.serve.page.routes import keep_decision, view
from mambaad.serve.page.views import PartView

router = APIRouter(include_in_schema=False, route_class=PageRoute)
AHEAD = 16
"""Parts that a page is given at a time; static/review.js asks for more while eight are left."""
ForReviewers = Annotated[Page, Depends(page_for("reviewer"))]


def _queue(page: Page, after: str | None, limit: int) -> list[PartView]:
    rows = page.parts.store.read(lambda c: queries.undecided(c, after=after, limit=limit))
    return [view(page, row) for row in rows]


def _shown(page: Page, part: PartView) -> dict[str, Any]:
    """What the script shows of a part.

    Nobody is to be led by the verdict: it is not in it, nor are regions, which only an alarm has.
    """
    has_image = part.image is not None
    return {
        "id": part.id,
        "image": part.image,
        "heatmap": part.heatmap,
        "serial": part.serial,
        "product": part.record.product,
        "time": part.time,
        "alt": page.t("part.image_of", name=part.name) if has_image else page.t("part.no_image"),
        "size": part.size,
        "holds": part.holds,
    }


@router.get("/review")
def review(page: ForReviewers, at: Annotated[str, Query(max_length=36)] = "") -> Response:
    """Show the part that waits longest, or one that was asked for, and the next ones."""
    parts = _queue(page, None, AHEAD)
    asked = page.parts.store.inspection(at) if at else None
    if asked is not None:
        parts = [view(page, asked), *(part for part in parts if part.id != at)]
    waiting = page.parts.store.review_length()
    queue = {"waiting": waiting, "parts": [_shown(page, part) for part in parts]}
    first = parts[0] if parts else None
    return page.html("review.html", "review", part=first, queue=queue, waiting=waiting)


@router.get("/review/queue")
def queue(page: ForReviewers, after: Annotated[str, Query(max_length=36)] = "") -> Response:
    """Give the parts that wait after one."""
    parts = _queue(page, after or None, AHEAD)
    return JSONResponse(
        {"parts": [_shown(page, part) for part in parts]}, headers={"Cache-Control": "no-store"}
    )


@router.post("/review/undo")
async def undo(request: Request) -> Response:
    """Withdraw a decision: of a part, or the latest of whoever asks."""
    page, fields = await form_page(request, "reviewer")
    part, holds = fields.get("part"), fields.get("holds")
    if not part:
        store = page.parts.store
        latest = await asyncio.to_thread(
            store.read, lambda c: queries.latest_decision_of(c, page.name)
        )
        if latest is None:
            return page.go("/review", "nothing_to_undo")
        part, holds = str(latest["inspection_id"]), str(latest["id"])
    kept = await asyncio.to_thread(keep_decision, page, part, "withdrawn", holds)
    if _wants_json(request):
        return JSONResponse({"part": part, "holds": kept})
    return page.go(f"/review?at={part}", "undone")


@router.post("/review/{inspection_id}")
async def decide(request: Request, inspection_id: str) -> Response:
    """Keep a decision, and go on to the next part."""
    page, fields = await form_page(request, "reviewer")
    word = fields.get("decision", "")
    kept = await asyncio.to_thread(keep_decision, page, inspection_id, word, fields.get("holds"))
    if _wants_json(request):
        return JSONResponse({"part": inspection_id, "decision": word, "holds": kept})
    return page.go("/review", "decided", word)


def _wants_json(request: Request) -> bool:
    return "application/json" in request.headers.get("accept", "")
