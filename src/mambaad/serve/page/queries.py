"""What the page reads besides the store's own lists: each a single query over an index."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, case, func, select

from mambaad.serve.store.queries import Row, find_inspection
from mambaad.serve.store.tables import audit, decision, inspection, review
from mambaad.serve.what_if import Scored
from mambaad.types import Verdict

_JUDGED = (Verdict.PASS.value, Verdict.REVIEW.value, Verdict.FAIL.value)
_MOST_SCORES = 20_000


def undecided(connection: Connection, *, after: str | None, limit: int) -> list[Row]:
    """Parts in review that nobody has decided on yet, oldest first; not those left as unsure."""
    # First the ids, by the index of what is open: joined at once, SQLite begins with the parts.
    query = (
        select(review.c.inspection_id)
        .where(review.c.is_open.is_(True), review.c.decision.is_(None))
        .order_by(review.c.inspection_id)
        .limit(limit)
    )
    if after:
        query = query.where(review.c.inspection_id > after)
    rows = (find_inspection(connection, id) for id in connection.execute(query).scalars().all())
    return [row for row in rows if row is not None]


def scores_since(connection: Connection, product: str, since: str) -> list[float]:
    """Scores of a product's judged parts, inspected at a time or later; the newest 20,000."""
    query = (
        select(inspection.c.score)
        .where(
            inspection.c.product == product,
            inspection.c.at >= since,
            inspection.c.verdict.in_(_JUDGED),
            inspection.c.score.is_not(None),
        )
        .order_by(inspection.c.id.desc())
        .limit(_MOST_SCORES)
    )
    return [row.score for row in connection.execute(query)]


def scored_between(
    connection: Connection, product: str, since: str, until: str, bundle: str
) -> Iterator[Scored]:
    """What one bundle found of a product's judged parts between two times."""
    alarms = inspection.c.verdict != Verdict.PASS.value
    query = (
        select(
            inspection.c.verdict,
            inspection.c.score,
            # Only alarms have regions, and reading the others' records would take seconds.
            case((alarms, inspection.c.record), else_=None).label("record"),
            review.c.decision,
        )
        .outerjoin(review, review.c.inspection_id == inspection.c.id)
        .where(
            inspection.c.product == product,
            inspection.c.at >= since,
            inspection.c.at < until,
            inspection.c.bundle == bundle,
            inspection.c.verdict.in_(_JUDGED),
            inspection.c.score.is_not(None),
        )
    )
    for row in connection.execute(query):
        regions = json.loads(row.record)["regions"] if row.record else []
        peak = max((region["peak"] for region in regions), default=None)
        yield Scored(Verdict(row.verdict), row.score, peak, row.decision)


def inspected_after(
    connection: Connection, after: int, bundle: str, since: str, limit: int
) -> tuple[int, list[dict[str, Any]]]:
    """Records of what a bundle inspected after a row of the audit trail and a time.

    By the trail's numbers, which are in the order of the commits: a part's id is older than its
    record, so that one with a smaller id may be kept later.

    Returns:
        The number up to which the trail was looked through, and the records, in their order.
    """
    end = connection.execute(select(func.max(audit.c.seq))).scalar() or 0
    query = (
        select(audit.c.seq, inspection.c.record)
        .join(inspection, inspection.c.id == audit.c.subject)
        .where(
            # As it is, SQLite would look all of this kind up, and sort them.
            func.coalesce(audit.c.kind, "") == inspection.name,
            audit.c.seq > after,
            audit.c.seq <= end,
            inspection.c.bundle == bundle,
            inspection.c.at >= since,
        )
        .order_by(audit.c.seq)
        .limit(limit)
    )
    rows = connection.execute(query).all()
    last = rows[-1].seq if len(rows) == limit else end
    return last, [json.loads(row.record) for row in rows]


def newer(connection: Connection, inspection_id: str) -> str | None:
    """The id of the inspection after one; None if it is the newest."""
    query = (
        select(inspection.c.id)
        .where(inspection.c.id > inspection_id)
        .order_by(inspection.c.id)
        .limit(1)
    )
    return connection.execute(query).scalar()


def latest_decision_of(connection: Connection, actor: str) -> Row | None:
    """The newest decision of a person that still holds and is not a withdrawal."""
    query = (
        select(decision)
        .join(review, review.c.decision_id == decision.c.id)
        .where(decision.c.actor == actor, decision.c.decision != "withdrawn")
        .order_by(decision.c.id.desc())
        .limit(1)
    )
    found = connection.execute(query).mappings().first()
    return dict(found) if found else None


def audit_rows(connection: Connection, before: int | None, limit: int) -> list[Row]:
    """Rows of the audit trail, newest first, below a number; decisions name their part."""
    query = (
        select(audit, decision.c.inspection_id, decision.c.decision)
        .outerjoin(decision, (audit.c.kind == "decision") & (decision.c.id == audit.c.subject))
        .order_by(audit.c.seq.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(audit.c.seq < before)
    return [dict(row) for row in connection.execute(query).mappings()]


def qualities(connection: Connection, product: str, ids: set[str]) -> dict[str, dict[str, float]]:
    """The image quality of some inspections of a product's random share, by id."""
    query = select(inspection.c.id, inspection.c.record).where(
        inspection.c.product == product, inspection.c.sampled.is_(True)
    )
    return {
        row.id: json.loads(row.record)["quality"]
        for row in connection.execute(query)
        if row.id in ids
    }
