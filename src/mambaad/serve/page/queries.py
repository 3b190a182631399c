"""What the page reads besides the store's own lists: each a single query over an index."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, case, func, or_, select

from mambaad.serve.store.queries import Row, find_inspection
from mambaad.serve.store.tables import audit, bundle_use, decision, inspection, part, review
from mambaad.serve.what_if import Scored
from mambaad.types import Verdict

_JUDGED = (Verdict.PASS.value, Verdict.REVIEW.value, Verdict.FAIL.value)
_MOST_SCORES = 20_000
_LOOKED_AT = 5  # parts for each good one that is asked for
_DECIDED = ("good", "defective", "unsure")


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
    # Only alarms have regions, and only parts that passed for the size of theirs a reason: to read
    # the others' records would take seconds.
    alarms = inspection.c.verdict != Verdict.PASS.value
    telling = or_(alarms, inspection.c.record.not_like('%"reason":""%'))
    query = (
        select(
            inspection.c.verdict,
            inspection.c.score,
            case((telling, inspection.c.record), else_=None).label("record"),
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
        record = json.loads(row.record) if row.record else {}
        verdict = Verdict(row.verdict)
        peak = max((region["peak"] for region in record.get("regions", [])), default=None)
        is_small = verdict is Verdict.PASS and bool(record.get("reason"))
        yield Scored(verdict, row.score, peak, row.decision, is_small)


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


def first_since(connection: Connection, since: str) -> str | None:
    """When the first part was inspected at a time or later."""
    query = select(func.min(inspection.c.at)).where(inspection.c.at >= since)
    return connection.execute(query).scalar()


def newer(connection: Connection, inspection_id: str) -> str | None:
    """The id of the inspection after one; None if it is the newest."""
    query = (
        select(inspection.c.id)
        .where(inspection.c.id > inspection_id)
        .order_by(inspection.c.id)
        .limit(1)
    )
    return connection.execute(query).scalar()


def good_parts(
    connection: Connection, product: str, bundle: str, *, other_than: str, limit: int
) -> list[Row]:
    """Good parts among the newest of a product that a bundle inspected, newest first.

    A person found them so, or they passed and nobody has decided. Each with ``id``, ``part_id``,
    ``sha256``, ``format``, ``decision`` and ``record``, which is parsed.
    """
    # One table after the other: joined, PostgreSQL may begin with all parts there are.
    newest = connection.execute(
        select(inspection.c.id, inspection.c.part_id, inspection.c.verdict, inspection.c.record)
        .where(inspection.c.product == product, inspection.c.bundle == bundle)
        .order_by(inspection.c.id.desc())
        .limit(_LOOKED_AT * limit)
    ).all()
    ids = [row.id for row in newest]
    reviewed = select(review.c.inspection_id, review.c.decision).where(
        review.c.inspection_id.in_(ids), review.c.decision.is_not(None)
    )
    decided = {row.inspection_id: row.decision for row in connection.execute(reviewed)}
    passed = (Verdict.PASS.value, None)
    good = [
        row
        for row in newest
        if row.id != other_than
        and ((held := decided.get(row.id)) == "good" or (row.verdict, held) == passed)
    ][:limit]
    files = select(part.c.id, part.c.sha256, part.c.format).where(
        part.c.id.in_([row.part_id for row in good])
    )
    kept = {row.id: (row.sha256, row.format) for row in connection.execute(files)}
    return [
        {
            "id": row.id,
            "part_id": row.part_id,
            "record": json.loads(row.record),
            "decision": decided.get(row.id),
            "sha256": kept[row.part_id][0],
            "format": kept[row.part_id][1],
        }
        for row in good
    ]


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


def audit_rows(
    connection: Connection, before: int | None, limit: int, *, by_people: bool = False
) -> list[Row]:
    """Rows of the audit trail, newest first, below a number.

    Decisions name their part, and uses of bundles what was done with which version.
    ``by_people``: not those of parts and their inspections.
    """
    query = (
        select(
            audit,
            decision.c.inspection_id,
            decision.c.decision,
            bundle_use.c.action,
            bundle_use.c.version,
        )
        .outerjoin(decision, (audit.c.kind == "decision") & (decision.c.id == audit.c.subject))
        .outerjoin(
            bundle_use, (audit.c.kind == "bundle_use") & (bundle_use.c.id == audit.c.subject)
        )
        .order_by(audit.c.seq.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(audit.c.seq < before)
    if by_people:
        query = query.where(audit.c.kind.not_in(("part", "inspection")))
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
