"""Rows for tests of the store."""

from __future__ import annotations

from mambaad.inspection.records import Record
from mambaad.serve.store.rows import NewInspection, NewPart, new_id, now
from mambaad.types import Verdict


def new_rows(
    verdict: str | None = "PASS",
    *,
    product: str = "bolt",
    serial: str | None = None,
    key: str | None = None,
    sampled: bool = False,
    error: str | None = None,
    score: float = 0.25,
) -> tuple[NewPart, NewInspection]:
    """A part and its inspection."""
    part = NewPart(
        id=new_id(),
        received_at=now(),
        source="http",
        sha256="a" * 64,
        bytes=10,
        format="PNG",
        request_digest="b" * 64,
        serial=serial,
        idempotency_key=key,
    )
    record = Record(
        path="ü\t.png",
        product=product,
        verdict=Verdict(verdict) if verdict else None,
        score=None if error else score,
        error=error,
    )
    inspection = NewInspection(
        id=new_id(),
        part_id=part.id,
        at=now(),
        record=record.model_dump_json(),
        bundle="c" * 64,
        bundle_version=3,
        queue_ms=1,
        worker_ms=0.1,
        attempts=1,
        sampled=sampled,
        sample_probability=0.02,
    )
    return part, inspection


def add(store, *args, **options) -> str:
    """Keep a part; returns its inspection's id."""
    return store.add_inspection(*new_rows(*args, **options)).result(20)
