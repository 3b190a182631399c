"""Parts with what holds of their review, as the review loop takes them."""

from __future__ import annotations

from sqlalchemy import Connection, select

from mambaad.serve.review.parts import ReviewedPart
from mambaad.serve.store.tables import decision, inspection, part, review
from mambaad.types import Verdict

_DECIDED = ("good", "defective", "unsure")


def reviewed_parts(
    connection: Connection,
    *,
    since: str | None = None,
    product: str | None = None,
    sampled: bool | None = None,
    decided: bool | None = None,
    limit: int | None = None,
) -> list[ReviewedPart]:
    """Parts with what holds of their review, newest first.

    Args:
        connection: that reads.
        since: inspected at this time or later.
        product: of one product.
        sampled: of the random share alone.
        decided: those with a decision alone.
        limit: the newest alone.
    """
    query = (
        select(
            inspection.c.id,
            part.c.sha256,
            part.c.serial,
            part.c.product_given,
            part.c.format,
            inspection.c.product,
            inspection.c.verdict,
            inspection.c.score,
            inspection.c.at,
            inspection.c.sampled,
            inspection.c.sample_probability,
            inspection.c.bundle,
            review.c.decision,
            decision.c.actor,
        )
        .join(part, part.c.id == inspection.c.part_id)
        .outerjoin(review, review.c.inspection_id == inspection.c.id)
        .outerjoin(decision, decision.c.id == review.c.decision_id)
        .order_by(inspection.c.id.desc())
    )
    if since is not None:
        query = query.where(inspection.c.at >= since)
    if product is not None:
        query = query.where(inspection.c.product == product)
    if sampled is not None:
        query = query.where(inspection.c.sampled.is_(sampled))
    if decided:
        query = query.where(review.c.decision.in_(_DECIDED))
    if limit is not None:
        query = query.limit(limit)
    return [
        ReviewedPart(
            id=row.id,
            digest=row.sha256,
            product=row.product,
            verdict=Verdict(row.verdict) if row.verdict else None,
            score=row.score,
            time=row.at,
            probability=row.sample_probability,
            drawn=bool(row.sampled),
            decision=row.decision if row.decision in _DECIDED else None,
            by=row.actor if row.decision else None,
            serial=row.serial,
            product_given=row.product_given,
            format=row.format,
            bundle=row.bundle,
        )
        for row in connection.execute(query)
    ]
