"""What is written to the store: functions that the writer calls, each within its transaction."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from mambaad.errors import ConfigError
from mambaad.serve.store import audit
from mambaad.serve.store.review_state import review_of
from mambaad.serve.store.rows import (
    Decided,
    Job,
    NewInspection,
    NewPart,
    canonical_json,
    new_id,
    now,
)
from mambaad.serve.store.tables import (
    bundle_use,
    decision,
    inspection,
    job,
    outbox,
    part,
    review,
    session,
    setting,
    user,
)

SERVICE = "service"
"""The actor of what nobody asked for in person."""


class NotFound(ConfigError):
    """There is nothing of that name or id."""


class Conflict(ConfigError):
    """What was asked contradicts what is there."""


def add_inspection(
    connection: Connection,
    new_part: NewPart,
    new: NewInspection,
    sinks: Iterable[str],
) -> str:
    """Keep a part with its inspection, and end its job if it had one; returns the id.

    Args:
        connection: of the writer.
        new_part: the part.
        new: its inspection.
        sinks: the names of those that it is to be sent to.

    Raises:
        Conflict: a part with the same idempotency key was kept before.
    """
    key = new_part.idempotency_key
    if key and connection.execute(select(part.c.id).where(part.c.idempotency_key == key)).first():
        raise Conflict(f"a part with Idempotency-Key {key} was kept before")
    record = json.loads(new.record)
    copied = {name: record[name] for name in ("product", "verdict", "score", "error")}
    times = {"queue_ms": float(new.queue_ms), "worker_ms": float(new.worker_ms)}
    received = asdict(new_part)
    actor = received.pop("actor") or new_part.source
    inspected = {**asdict(new), **times, **copied}
    for table, row in ((part, received), (inspection, inspected)):
        connection.execute(insert(table), row)
        audit.append(connection, table.name, row["id"], row, actor)
    for sink in sinks:
        connection.execute(
            insert(outbox).values(sink=sink, event_id=new.id, attempts=0, next_at=now())
        )
    state = review_of(
        None,
        product=copied["product"],
        verdict=copied["verdict"],
        error=copied["error"],
        sampled=new.sampled,
    )
    if state is not None:
        connection.execute(insert(review).values(inspection_id=new.id, **state))
    connection.execute(delete(job).where(job.c.inspection_id == new.id))
    return new.id


def add_job(connection: Connection, new: Job) -> str:
    """Keep a part that is to be inspected later; returns the id of its inspection (Conflict)."""
    key = new.part.idempotency_key
    if key:
        known = (table for table in (part, job))
        for table in known:
            if connection.execute(select(table).where(table.c.idempotency_key == key)).first():
                raise Conflict(f"a part with Idempotency-Key {key} was kept before")
    connection.execute(
        insert(job).values(
            inspection_id=new.inspection_id,
            part_id=new.part.id,
            idempotency_key=key,
            request_digest=new.part.request_digest,
            part=canonical_json(asdict(new.part)),
        )
    )
    return new.inspection_id


def add_decision(
    connection: Connection,
    inspection_id: str,
    decided: Decided,
    note: str,
    actor: str,
    supersedes: str | None,
) -> dict[str, Any]:
    """Keep what a person decided about a part; returns the row.

    Args:
        connection: of the writer.
        inspection_id: of the part's inspection.
        decided: ``withdrawn`` takes the decision that holds back.
        note: free text.
        actor: who.
        supersedes: the decision that holds, which this one replaces; None if there is none.

    Raises:
        NotFound: no such inspection.
        Conflict: another decision holds than the one to be superseded.
    """
    found = connection.execute(
        select(
            inspection.c.verdict, inspection.c.error, inspection.c.product, inspection.c.sampled
        ).where(inspection.c.id == inspection_id)
    ).first()
    if found is None:
        raise NotFound(f"there is no inspection {inspection_id}")
    state = connection.execute(
        select(review.c.decision_id).where(review.c.inspection_id == inspection_id)
    ).first()
    holds = state.decision_id if state else None
    if supersedes != holds:
        wanted = f"supersedes {holds}" if holds else "no 'supersedes'"
        raise Conflict(f"the decision that holds is another; expected {wanted}: look again")
    if decided == "withdrawn" and holds is None:
        raise Conflict("there is no decision to withdraw")
    row = {
        "id": new_id(),
        "inspection_id": inspection_id,
        "at": now(),
        "actor": actor,
        "decision": decided,
        "note": note,
        "supersedes": supersedes,
    }
    connection.execute(insert(decision), row)
    audit.append(connection, decision.name, row["id"] or "", row, actor)
    values = review_of(
        row,
        product=found.product,
        verdict=found.verdict,
        error=found.error,
        sampled=found.sampled,
    )
    assert values is not None  # there is a decision
    if state is None:
        connection.execute(insert(review).values(inspection_id=inspection_id, **values))
    else:
        connection.execute(
            update(review).where(review.c.inspection_id == inspection_id).values(**values)
        )
    return row


def put_setting(
    connection: Connection, product: str, content: Mapping[str, Any], actor: str
) -> int:
    """Replace the settings of a product; returns their version, from 1."""
    last = connection.execute(
        select(func.max(setting.c.version)).where(setting.c.product == product)
    ).scalar()
    row = {
        "product": product,
        "version": (last or 0) + 1,
        "at": now(),
        "actor": actor,
        "content": canonical_json(dict(content)),
    }
    connection.execute(delete(setting).where(setting.c.product == product))
    connection.execute(insert(setting), row)
    audit.append(connection, setting.name, product, row, actor)
    return (last or 0) + 1


def add_bundle_use(
    connection: Connection, action: str, version: int | None, sha256: str, actor: str
) -> None:
    """Note that a bundle went into use."""
    row = {
        "id": new_id(),
        "at": now(),
        "actor": actor,
        "action": action,
        "version": version,
        "sha256": sha256,
    }
    connection.execute(insert(bundle_use), row)
    audit.append(connection, bundle_use.name, str(row["id"]), row, actor)


def put_user(connection: Connection, name: str, role: str, password: str, actor: str) -> None:
    """Add a user, or replace one: its sessions end."""
    row = {"name": name, "role": role, "password": password, "at": now()}
    connection.execute(delete(session).where(session.c.user_name == name))
    connection.execute(delete(user).where(user.c.name == name))
    connection.execute(insert(user), row)
    audit.append(connection, user.name, name, row, actor)


def remove_user(connection: Connection, name: str, actor: str) -> None:
    """Remove a user and its sessions (NotFound)."""
    connection.execute(delete(session).where(session.c.user_name == name))
    if not connection.execute(delete(user).where(user.c.name == name)).rowcount:
        raise NotFound(f"there is no user {name}")
    audit.append(connection, f"{user.name}-removed", name, {}, actor)


def add_session(
    connection: Connection, id: str, user_name: str, csrf: str, expires_at: str
) -> None:
    """Keep a session, and forget those that have expired."""
    connection.execute(delete(session).where(session.c.expires_at < now()))
    connection.execute(
        insert(session).values(id=id, user_name=user_name, csrf=csrf, expires_at=expires_at)
    )


def remove_session(connection: Connection, id: str) -> None:
    """End a session."""
    connection.execute(delete(session).where(session.c.id == id))
