"""What is read from the store: functions over a connection, each a single short query or two."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy import Connection, Select, and_, func, or_, select, true

from mambaad.serve.store.rows import Filter, Job, NewPart
from mambaad.serve.store.tables import audit, decision, inspection, job, part, review

Row = dict[str, Any]

_PART = (
    part.c.received_at,
    part.c.source,
    part.c.serial,
    part.c.product_given,
    part.c.file_name,
    part.c.sha256,
    part.c.bytes,
    part.c.format,
)
_REVIEW = (
    review.c.decision,
    review.c.decision_id,
    review.c.differs,
    review.c.is_open.label("in_review"),
    review.c.reason.label("review_reason"),
)


def _joined() -> Select[Any]:
    return (
        select(inspection, *_PART, *_REVIEW)
        .join(part, part.c.id == inspection.c.part_id)
        .outerjoin(review, review.c.inspection_id == inspection.c.id)
    )


def find_inspection(connection: Connection, inspection_id: str) -> Row | None:
    """One inspection, with its part and what holds of its review; ``record`` is parsed."""
    query = _joined().where(inspection.c.id == inspection_id)
    found = connection.execute(query).mappings().first()
    return _parsed(found) if found else None


def list_inspections(
    connection: Connection, wanted: Filter, *, before: str | None, limit: int
) -> list[Row]:
    """Inspections, newest first: at most ``limit``, older than the one with id ``before``."""
    query = _filtered(_joined(), wanted).order_by(inspection.c.id.desc()).limit(limit)
    if before:
        query = query.where(inspection.c.id < before)
    return [_parsed(row) for row in connection.execute(query).mappings()]


def list_review(
    connection: Connection, *, product: str | None, after: str | None, limit: int
) -> list[Row]:
    """Parts that wait for a person, oldest first: at most ``limit``, newer than ``after``."""
    queue = select(review.c.inspection_id).where(review.c.is_open == true())
    if product:
        queue = queue.where(review.c.product == product)
    if after:
        queue = queue.where(review.c.inspection_id > after)
    queue = queue.order_by(review.c.inspection_id).limit(limit)
    # First the ids, out of the index alone: SQLite would join everything before it sorts.
    ids = list(connection.execute(queue).scalars())
    query = _joined().where(inspection.c.id.in_(ids)).order_by(inspection.c.id)
    return [_parsed(row) for row in connection.execute(query).mappings()]


def count_review(connection: Connection) -> int:
    """The number of parts that wait for a person."""
    query = select(func.count()).select_from(review).where(review.c.is_open == true())
    return connection.execute(query).scalar_one()


def count_verdicts(connection: Connection, wanted: Filter) -> dict[str, int]:
    """The number of inspections of each verdict; those without one are ``error`` or ``none``."""

    def counted(*columns: Any) -> Any:
        query: Any = select(*columns, func.count()).select_from(inspection)
        if wanted.serial:
            query = query.join(part, part.c.id == inspection.c.part_id)
        if wanted.differs is not None or wanted.decision:
            query = query.outerjoin(review, review.c.inspection_id == inspection.c.id)
        return _filtered(query, wanted)

    # Not by the bare column, whose index SQLite would go through whatever the times are.
    verdict = func.coalesce(inspection.c.verdict, "")
    verdicts = counted(verdict).group_by(verdict)
    found = {row[0]: int(row[1]) for row in connection.execute(verdicts)}
    without = found.pop("", 0)
    if without:
        query = counted().where(inspection.c.verdict.is_(None), inspection.c.error.is_not(None))
        errors = int(connection.execute(query).scalar_one())
        found |= {k: n for k, n in (("error", errors), ("none", without - errors)) if n}
    return found


def list_decisions(connection: Connection, inspection_id: str) -> list[Row]:
    """All decisions about a part, oldest first."""
    query = (
        select(decision).where(decision.c.inspection_id == inspection_id).order_by(decision.c.id)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def find_key(connection: Connection, key: str) -> tuple[str, str] | None:
    """The request's digest and the inspection's id of an idempotency key; None if it is new."""
    done = connection.execute(
        select(part.c.request_digest, inspection.c.id)
        .join(inspection, inspection.c.part_id == part.c.id)
        .where(part.c.idempotency_key == key)
    ).first()
    if done:
        return done[0], done[1]
    waiting = connection.execute(
        select(job.c.request_digest, job.c.inspection_id).where(job.c.idempotency_key == key)
    ).first()
    return (waiting[0], waiting[1]) if waiting else None


def has_part(connection: Connection, part_id: str) -> bool:
    """Whether a part has a record."""
    return connection.execute(select(part.c.id).where(part.c.id == part_id)).first() is not None


def has_image(connection: Connection, sha256: str) -> bool:
    """Whether a part with a record has an image of this digest."""
    query = select(part.c.id).where(part.c.sha256 == sha256).limit(1)
    return connection.execute(query).first() is not None


def find_known(connection: Connection, folder: str, names: Sequence[str]) -> set[str]:
    """Of names in a folder of images, those of parts with a record.

    Args:
        connection: that reads.
        folder: ``images``: names are digests; else they are ids of parts.
        names: a few hundred.
    """
    column = part.c.sha256 if folder == "images" else part.c.id
    return set(connection.execute(select(column).where(column.in_(names))).scalars())


def find_state(connection: Connection, part_id: str) -> Literal["kept", "waiting"] | None:
    """Whether a part has a record, or waits for its inspection; None if it was not kept at all."""
    if has_part(connection, part_id):
        return "kept"
    waits = connection.execute(select(job.c.part_id).where(job.c.part_id == part_id)).first()
    return "waiting" if waits else None


def list_jobs(connection: Connection) -> list[Job]:
    """The parts that were accepted and are not inspected yet, oldest first."""
    rows = connection.execute(select(job.c.inspection_id, job.c.part).order_by(job.c.inspection_id))
    return [Job(id, NewPart(**json.loads(text))) for id, text in rows]


def find_job(connection: Connection, inspection_id: str) -> Job | None:
    """The part that is to get an inspection of this id; None if it is not waiting."""
    query = select(job.c.part).where(job.c.inspection_id == inspection_id)
    text = connection.execute(query).scalar()
    return Job(inspection_id, NewPart(**json.loads(text))) if text else None


def list_events(connection: Connection, after: int, kinds: Sequence[str], limit: int) -> list[Row]:
    """What happened, by the audit trail: rows of some kinds with numbers above ``after``."""
    query = (
        select(audit.c.seq, audit.c.at, audit.c.actor, audit.c.kind, audit.c.subject)
        .where(audit.c.seq > after, audit.c.kind.in_(kinds))
        .order_by(audit.c.seq)
        .limit(limit)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def last_event(connection: Connection) -> int:
    """The number of the audit trail's last row; 0 if there is none."""
    return connection.execute(select(func.max(audit.c.seq))).scalar() or 0


def _filtered(query: Select[Any], wanted: Filter) -> Select[Any]:
    conditions = []
    if wanted.verdict:
        conditions.append(inspection.c.verdict == wanted.verdict)
    if wanted.product:
        conditions.append(inspection.c.product == wanted.product)
    if wanted.serial:
        conditions.append(part.c.serial == wanted.serial)
    if wanted.since:
        conditions.append(inspection.c.at >= wanted.since)
    if wanted.until:
        conditions.append(inspection.c.at < wanted.until)
    if wanted.sampled is not None:
        conditions.append(inspection.c.sampled.is_(wanted.sampled))
    if wanted.decision:
        conditions.append(review.c.decision == wanted.decision)
    if wanted.differs:
        conditions.append(review.c.differs == true())
    elif wanted.differs is not None:
        conditions.append(or_(review.c.differs.is_(False), review.c.differs.is_(None)))
    return query.where(and_(True, *conditions))


def _parsed(row: Any) -> Row:
    """A joined row as a dictionary, the record parsed."""
    found = dict(row)
    found["record"] = json.loads(found["record"])
    found["differs"] = bool(found["differs"])
    found["in_review"] = bool(found["in_review"])
    return found
