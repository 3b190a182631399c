"""The pages that everybody sees: live, history, a part, and the forms around them."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone
from importlib.resources import files
from types import SimpleNamespace
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import RedirectResponse, Response

from mambaad.errors import ConfigError
from mambaad.inspection.records import Record
from mambaad.serve.auth import COOKIE, SESSION_HOURS
from mambaad.serve.page import queries
from mambaad.serve.page.errors import PageRoute
from mambaad.serve.page.explanations import explain
from mambaad.serve.page.page import (
    LANGUAGE,
    THEME,
    THEMES,
    Page,
    PageParts,
    form_page,
    local_path,
    page_for,
)
from mambaad.serve.page.plots import Limits
from mambaad.serve.page.texts import languages
from mambaad.serve.page.views import PartView, part_view
from mambaad.serve.problems import Problem
from mambaad.serve.product_setting import adjusted_class
from mambaad.serve.review.rates import escapes, false_alarms
from mambaad.serve.store.queries import Row
from mambaad.serve.store.reviewed import reviewed_parts
from mambaad.serve.store.rows import Filter, read_time, time_text
from mambaad.types import Verdict

router = APIRouter(include_in_schema=False, route_class=PageRoute)
RECENT = 12
LISTED = 50
COUNTS_SECONDS = 2.0
"""So old may the counts of the live view be: each takes a third of a second of 100,000 parts."""
_FEW_SECONDS = 300
_YEAR = 365 * 24 * 3600
_KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_STATIC = {
    entry.name: (entry.read_bytes(), _KINDS[f".{entry.name.rpartition('.')[2]}"])
    for entry in (files("mambaad.serve.page") / "static").iterdir()
}
ForViewers = Annotated[Page, Depends(page_for("viewer"))]


def view(page: Page, row: Row) -> PartView:
    """Make the view of an inspection as the store gives it."""
    images = page.parts.images
    return part_view(
        page.t,
        row["id"],
        Record.model_validate(row["record"]),
        time=row["at"],
        serial=row["serial"],
        decision=row["decision"] if row["decision"] != "withdrawn" else None,
        holds=row["decision_id"],
        digest=row["sha256"],
        bundle=row["bundle"],
        has_image=images.image(row["sha256"], row["format"]).is_file(),
        has_heatmap=images.map(row["part_id"]).is_file(),
        has_thumbnail=images.thumbnail(row["part_id"]).is_file(),
    )


def hours_ago(hours: float) -> str:
    """The time so many hours ago, as the store writes times."""
    return time_text(datetime.now(timezone.utc) - timedelta(hours=hours))


@router.get("/static/{name}")
def static(name: str) -> Response:
    """Give one of our own files."""
    if name not in _STATIC:
        raise Problem(404, "not_found", "there is no such file")
    content, kind = _STATIC[name]
    return Response(content, media_type=kind, headers={"Cache-Control": "max-age=300"})


def _live(page: Page, hours: int) -> dict[str, Any]:
    rows = page.parts.store.inspections(limit=RECENT + 1)
    views = [view(page, row) for row in rows]
    counts = page.parts.remember(
        ("live", hours), COUNTS_SECONDS, lambda: _counts(page.parts, hours)
    )
    latest = views[0] if views else None
    return {"latest": latest, "recent": views[1:], "hours": hours, "counts": counts}


def _counts(parts: PageParts, hours: int) -> SimpleNamespace:
    """What was inspected in the last hours, and the rates that the random share gives."""
    store, since = parts.store, hours_ago(hours)
    by = store.counts(Filter(since=since))
    total = sum(by.values())
    words: list[str] = [
        word.value for word in Verdict if word.value in by or word.value in ("PASS", "FAIL")
    ]
    by = {name.upper(): count for name, count in by.items()}  # also those without a verdict
    words += [word for word in ("ERROR", "NONE") if word in by]
    first = store.read(lambda c: queries.first_since(c, since))
    share = store.read(lambda c: reviewed_parts(c, since=since, sampled=True))
    return SimpleNamespace(
        total=total,
        per_hour=_per_hour(total, first),
        words=words,
        by={**dict.fromkeys(words, 0), **by},
        false_alarms=false_alarms(share),
        escapes=escapes(share),
    )


def _per_hour(total: int, first: str | None) -> float | None:
    """Parts an hour since the first of them; None while that says little."""
    if first is None:
        return None
    since = datetime.now(timezone.utc) - datetime.fromisoformat(first[:-1] + "+00:00")
    seconds = since.total_seconds()
    return total * 3600 / seconds if seconds >= _FEW_SECONDS else None


@router.get("/")
def live(page: ForViewers, hours: Annotated[int, Query(ge=1, le=24)] = 8) -> Response:
    """Show the last parts and the counts of a shift."""
    return page.html("live.html", "live", **_live(page, hours))


@router.get("/fragments/live")
def live_fragment(page: ForViewers, hours: Annotated[int, Query(ge=1, le=24)] = 8) -> Response:
    """Give the middle of the live view, which its script replaces."""
    return page.fragment("live_part.html", **_live(page, hours))


@router.get("/history")
def history(
    page: ForViewers,
    verdict: Annotated[str, Query(max_length=20)] = "",
    product: Annotated[str, Query(max_length=200)] = "",
    serial: Annotated[str, Query(max_length=200)] = "",
    since: Annotated[str, Query(max_length=32)] = "",
    until: Annotated[str, Query(max_length=32)] = "",
    differs: Annotated[str, Query(max_length=1)] = "",
    before: Annotated[str, Query(max_length=36)] = "",
) -> Response:
    """List inspections, newest first, by a filter."""
    asked = SimpleNamespace(
        verdict=verdict,
        product=product,
        serial=serial.strip(),
        since=since,
        until=until,
        differs=bool(differs),
    )
    wanted = Filter(
        verdict=verdict or None,
        product=product or None,
        serial=asked.serial or None,
        since=_utc(since),
        until=_utc(until),
        differs=True if differs else None,
    )
    rows = page.parts.store.inspections(wanted, before=before or None, limit=LISTED + 1)
    given = {k: v for k, v in vars(asked).items() if v and k != "differs"}
    given |= {"differs": "1"} if differs else {}
    more = {**given, "before": rows[LISTED - 1]["id"]} if len(rows) > LISTED else None
    return page.html(
        "history.html",
        "history",
        parts=[view(page, row) for row in rows[:LISTED]],
        verdicts=[word.value for word in Verdict],
        products=page.parts.model().products,
        asked=asked,
        is_first=not before,
        first_url=f"/history?{urlencode(given)}",
        next_url=more and f"/history?{urlencode(more)}",
    )


def _utc(text: str) -> str | None:
    """A time of a form, which is UTC, as the store writes it; None if it is none."""
    try:
        return read_time(text, "time")
    except ConfigError:
        return None


@router.get("/parts/{inspection_id}")
def part(page: ForViewers, inspection_id: str) -> Response:
    """Show one part: picture, reason, regions, decisions."""
    store = page.parts.store
    row = store.inspection(inspection_id)
    if row is None:
        raise Problem(404, "not_found", f"there is no inspection {inspection_id}")
    decided = store.decisions(inspection_id)
    older = store.inspections(before=inspection_id, limit=1)
    superseded = {d["supersedes"] for d in decided}
    shown = [
        SimpleNamespace(
            decision=d["decision"] if d["decision"] != "withdrawn" else "undone",
            by=d["actor"],
            time=d["at"],
            note=d["note"],
            superseded=d["id"] in superseded,
        )
        for d in decided
    ]
    seen = view(page, row)
    return page.html(
        "part.html",
        "history",
        part=seen,
        found=explain(page.t, page.parts, row, seen),
        source=row["source"],
        limits=_limits(page, row) if seen.is_judged else None,
        older=older[0]["id"] if older else None,
        newer=store.read(lambda c: queries.newer(c, inspection_id)),
        decisions=shown,
    )


def _limits(page: Page, row: Row) -> SimpleNamespace | None:
    """The thresholds of a part's product; None if they are not those that it was judged by."""
    if row["bundle"] != page.parts.in_use().sha256 or row["product"] is None:
        return None
    model = page.parts.model()
    c = model.calibration.classes.get(row["product"]) if model.calibration else None
    if c is None:
        return None
    c = adjusted_class(c, page.parts.setting(row["product"]), model.size, row["bundle"])
    review, fail = c.review, c.fail
    low, high = review.value, max(fail.value, review.value + 1e-6)
    axis = Limits(low=low, high=high)
    return SimpleNamespace(x=axis.x, review=review, fail=fail)


@router.post("/parts/{inspection_id}/decide")
async def decide(request: Request, inspection_id: str) -> Response:
    """Keep a decision from a part's own page."""
    page, fields = await form_page(request, "reviewer")
    word = fields.get("decision", "")
    note, holds = fields.get("note", ""), fields.get("holds")
    await asyncio.to_thread(keep_decision, page, inspection_id, word, holds, note)
    return page.go(f"/parts/{inspection_id}", "decided", word)


def keep_decision(
    page: Page, inspection_id: str, word: str, holds: str | None, note: str = ""
) -> str:
    """Keep a decision, which replaces the one that holds; returns its id.

    Args:
        page: of who decides.
        inspection_id: of the part.
        word: the decision.
        holds: the decision that was shown, empty for none; if another one holds by now, somebody
            else has decided meanwhile. None for whichever holds.
        note: kept with it.

    Raises:
        Problem, NotFound: no such decision or part.
        Conflict: another decision holds.
    """
    if word not in ("good", "defective", "unsure", "withdrawn"):
        raise Problem(422, "invalid", f"decision: expected good, defective or unsure, got {word}")
    row = page.parts.store.inspection(inspection_id)
    if row is None:
        raise Problem(404, "not_found", f"there is no inspection {inspection_id}")
    kept = page.parts.store.decide(
        inspection_id,
        word,  # type: ignore[arg-type]  # checked above
        actor=page.name,
        note=note[:1000],
        supersedes=row["decision_id"] if holds is None else holds or None,
    ).result()
    return str(kept["id"])


@router.post("/preferences")
async def preferences(request: Request) -> Response:
    """Remember language and colours in cookies; whoever sees a page may, logged in or not."""
    form = await request.form(max_files=0, max_fields=10)
    answer = RedirectResponse(local_path(str(form.get("back", "/"))), 303)
    if form.get("language") in languages():
        answer.set_cookie(
            LANGUAGE, str(form["language"]), max_age=_YEAR, samesite="lax", httponly=True
        )
    if form.get("theme") in THEMES:
        answer.set_cookie(THEME, str(form["theme"]), max_age=_YEAR, samesite="lax", httponly=True)
    return answer


@router.get("/login")
def login_page(request: Request, next: str = "/") -> Response:
    """Show the login."""
    page = Page(request, request.app.state.page, None)
    return page.html("login.html", next=local_path(next))


@router.post("/login")
async def login(request: Request) -> Response:
    """Start a session."""
    parts: PageParts = request.app.state.page
    parts.auth.who(request)  # refuses what comes from another site
    form = await request.form(max_files=0, max_fields=10)
    name, password = str(form.get("name", "")), str(form.get("password", ""))[:1000]
    address = request.client.host if request.client else ""
    target = local_path(str(form.get("next", "/")))
    try:
        cookie, _ = await asyncio.to_thread(parts.auth.log_in, name, password, address)
    except Problem as problem:
        page = Page(request, parts, None)
        text = page.t("login.slow" if problem.status == 429 else "login.wrong")
        message = {"kind": "error", "text": text}
        return page.html("login.html", status=problem.status, next=target, message=message)
    answer = RedirectResponse(target, 303)
    answer.set_cookie(
        COOKIE,
        cookie,
        max_age=SESSION_HOURS * 3600,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


@router.post("/logout")
async def logout(request: Request) -> Response:
    """End the session."""
    page, _ = await form_page(request, "viewer")
    await asyncio.to_thread(page.parts.auth.log_out, request)
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE)
    return answer
