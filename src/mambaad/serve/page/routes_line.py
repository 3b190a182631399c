"""The line as a whole: drift, bundles with their replays, export, audit."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import FileResponse, Response
from starlette.background import BackgroundTask

from mambaad.serve.page import queries
from mambaad.serve.page.drift import DriftBook
from mambaad.serve.page.errors import PageRoute
from mambaad.serve.page.page import Page, PageParts, form_page, page_for
from mambaad.serve.page.replays import Replays, words
from mambaad.serve.problems import Problem
from mambaad.serve.product_setting import adjusted
from mambaad.serve.review.export import export_decisions
from mambaad.serve.store.changes import Conflict
from mambaad.serve.store.queries import Row
from mambaad.serve.store.reviewed import reviewed_parts

router = APIRouter(include_in_schema=False, route_class=PageRoute)
ForViewers = Annotated[Page, Depends(page_for("viewer"))]
ForEngineers = Annotated[Page, Depends(page_for("engineer"))]
_LISTED = 100  # differences, and rows of the audit trail


class Line:
    """What the pages of the line keep in memory: drift tests and replays."""

    def __init__(self) -> None:
        self.replays = Replays()
        self._book: tuple[Any, DriftBook] | None = None

    def book(self, parts: PageParts) -> DriftBook | None:
        """The drift tests of the bundle and settings in use; None without a calibration."""
        model, bundle = parts.model(), parts.in_use().sha256
        if model.calibration is None:
            return None
        settings = {name: parts.setting(name) for name in model.products}
        key = (bundle, tuple(sorted((n, s.model_dump_json()) for n, s in settings.items())))
        if self._book is None or self._book[0] != key:
            calibration = adjusted(model.calibration, settings, model.size, bundle)
            changed = max((s.area_changed or "" for s in settings.values()), default="")
            self._book = (key, DriftBook(calibration, bundle, changed))
        return self._book[1]


def _line(page: Page) -> Line:
    line: Line = page.request.app.state.page_line
    return line


@router.get("/drift")
def drift(page: ForViewers) -> Response:
    """Show the monitor's figures over what the bundle in use has inspected."""
    book = _line(page).book(page.parts)
    report = None
    if book is not None:
        is_whole = book.catch_up(page.parts.store)
        if not is_whole:
            book.go_on(page.parts.store)
        report = book.shown(not is_whole)
    return page.html("drift.html", "drift", report=report)


@router.get("/bundles")
def bundles(page: ForViewers) -> Response:
    """List the versions of the line, or the one bundle."""
    parts = page.parts
    in_use = parts.in_use()
    if parts.registry is None or parts.line is None:
        single = SimpleNamespace(digest=in_use.sha256, products=parts.model().products)
        return page.html("bundles.html", "bundles", versions=[], previous=None, single=single)
    line = parts.registry.read(parts.line)
    versions = [
        SimpleNamespace(
            number=v.number,
            in_use=v.number == in_use.version,
            added=v.added,
            products=v.classes,
            note=v.note,
            digest=v.sha256,
        )
        for v in reversed(line.versions)
    ]
    return page.html(
        "bundles.html",
        "bundles",
        versions=versions,
        previous=parts.before(),
        current=line.current,
        is_elsewhere=line.current != in_use.version,
        single=None,
    )


def _registered(page: Page, number: int) -> Path:
    if page.parts.registry is None or page.parts.line is None:
        raise Problem(404, "not_found", "there is no registry")
    return page.parts.registry.path(page.parts.line, number)


@router.post("/bundles/{number:int}/replay")
async def start_replay(request: Request, number: int) -> Response:
    """Begin to compare a version with what was stored."""
    page, _ = await form_page(request, "engineer")
    path = await asyncio.to_thread(_registered, page, number)
    await asyncio.to_thread(_line(page).replays.start, page.parts, number, path)
    return page.go(f"/bundles/{number}/replay")


@router.get("/bundles/{number:int}/replay")
def show_replay(page: ForEngineers, number: int) -> Response:
    """Show how far a comparison is, or its differences."""
    job = _line(page).replays.last(number)
    if job is None:
        return page.go("/bundles")
    current = _current(page.parts)
    return page.html(
        "replay.html",
        "bundles",
        number=number,
        job=job,
        words=words(job.comparison) if job.comparison else [],
        most=_LISTED,
        current=current,
        is_return=page.parts.before() == number,
        is_in_use=page.parts.in_use().version == number,
    )


def _current(parts: PageParts) -> int | None:
    """The number of the version in use (Problem: 404 without a registry)."""
    if parts.registry is None or parts.line is None:
        raise Problem(404, "not_found", "there is no registry")
    return parts.registry.read(parts.line).current


@router.post("/bundles/{number:int}/promote")
async def promote(request: Request, number: int) -> Response:
    """Put a version into use, once its differences were shown."""
    page, fields = await form_page(request, "engineer")
    instead = _unseen(page, number, fields)
    if instead is not None:
        return instead
    await asyncio.to_thread(page.parts.promote, number, page.name)
    return page.go("/bundles", "promoted", str(number))


def _unseen(page: Page, number: int, fields: dict[str, str]) -> Response | None:
    """Where a form leads that agrees to other differences than those shown; None if it does not."""
    job = _line(page).replays.last(number)
    if job is None or job.comparison is None or fields.get("seen") != job.id:
        return page.go("/bundles", "changed_meanwhile")
    if not fields.get("agreed"):
        return page.go(f"/bundles/{number}/replay")
    if job.against != page.parts.in_use().sha256:
        return page.go("/bundles", "changed_meanwhile")
    return None


@router.post("/bundles/rollback")
async def rollback(request: Request) -> Response:
    """Go back to the version before: its differences were shown, or nobody wants to see them."""
    page, fields = await form_page(request, "engineer")
    parts = page.parts
    current = await asyncio.to_thread(_current, parts)
    before = await asyncio.to_thread(parts.before)
    if fields.get("expected") != str(current) or before is None:
        return page.go("/bundles", "changed_meanwhile")
    if not fields.get("uncompared"):
        if "seen" not in fields:
            return page.go("/bundles", "uncompared")
        instead = _unseen(page, before, fields)
        if instead is not None:
            return instead
    try:
        number = await asyncio.to_thread(parts.rollback, page.name, int(fields["expected"]))
    except Conflict:  # of two at the same moment one goes back
        return page.go("/bundles", "changed_meanwhile")
    return page.go("/bundles", "promoted", str(number))


@router.post("/export")
async def export(request: Request) -> Response:
    """Give the decisions as an archive of a data set."""
    page, fields = await form_page(request, "engineer")
    purpose = fields.get("purpose", "training")
    if purpose not in ("training", "calibration"):
        raise Problem(422, "invalid", f"purpose: expected training or calibration, got {purpose}")
    folder, archive = await asyncio.to_thread(_archive, page.parts, purpose == "calibration")
    return FileResponse(
        archive,
        media_type="application/zip",
        filename=f"decisions-for-{purpose}.zip",
        background=BackgroundTask(shutil.rmtree, folder, ignore_errors=True),
    )


def _archive(parts: PageParts, for_calibration: bool) -> tuple[Path, Path]:
    folder = Path(tempfile.mkdtemp(prefix="mambaad-export-"))
    try:
        reviewed = parts.store.read(
            lambda c: (
                reviewed_parts(c, sampled=True)
                if for_calibration
                else reviewed_parts(c, decided=True)
            )
        )
        export_decisions(
            reviewed,
            folder / "decisions",
            parts.image_of,
            for_calibration=for_calibration,
            secret=parts.secret,
        )
        with zipfile.ZipFile(folder / "decisions.zip", "w") as archive:
            for path in sorted((folder / "decisions").rglob("*")):
                if path.is_file():
                    archive.write(path, path.relative_to(folder))
                    path.unlink()  # a copy at a time is on the disk twice
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder, folder / "decisions.zip"


def _audit_page(
    page: Page, before: int | None, checked: SimpleNamespace | None, by_people: bool = False
) -> Response:
    rows = page.parts.store.read(
        lambda c: queries.audit_rows(c, before, _LISTED, by_people=by_people)
    )
    shown = [
        SimpleNamespace(
            number=row["seq"],
            time=row["at"],
            what=page.t(f"audit.kind.{row['kind']}"),
            who=row["actor"],
            part=row["inspection_id"] or (row["subject"] if row["kind"] == "inspection" else None),
            about=_about(page, row),
            hash=row["hash"],
        )
        for row in rows
    ]
    last = rows[-1]["seq"] if len(rows) == _LISTED else 1
    kept = "&by=people" if by_people else ""
    return page.html(
        "audit.html",
        "audit",
        rows=shown,
        checked=checked,
        by_people=by_people,
        next_url=f"/audit?before={last}{kept}" if last > 1 else None,
    )


def _about(page: Page, row: Row) -> str:
    """What an entry of the audit trail is about, as people call it."""
    if row["decision"]:
        word = row["decision"] if row["decision"] != "withdrawn" else "undone"
        return page.t(f"decision.{word}")
    if row["action"]:
        number = row["version"]
        version = "" if number is None else f" · {page.t('bundles.version')} {number}"
        return page.t(f"audit.action.{row['action']}") + version
    return str(row["subject"])


@router.get("/audit")
def audit(
    page: ForEngineers,
    before: Annotated[int | None, Query(ge=1)] = None,
    by: Annotated[str, Query(max_length=10)] = "",
) -> Response:
    """List the audit trail, newest first; ``by=people`` leaves out parts and inspections."""
    return _audit_page(page, before, None, by == "people")


@router.post("/audit/verify")
async def verify(request: Request) -> Response:
    """Check the whole audit trail."""
    page, _ = await form_page(request, "engineer")
    found = await asyncio.to_thread(page.parts.store.verify)
    checked = SimpleNamespace(
        is_whole=found.problem is None, rows=found.rows, problem=found.problem, head=found.head
    )
    return await asyncio.to_thread(_audit_page, page, None, checked)
