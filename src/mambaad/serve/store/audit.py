"""The audit trail: a chain of hashes over everything that was decided.

Each row's hash is SHA-256(previous hash + canonical JSON of the row). Whoever changes, inserts or
removes a row of the trail breaks the chain from there on; whoever changes a row that it covers
makes the digest in the trail wrong. The table ``review`` is worked out again from the rows that are
covered. There is no secret in the hashes: whoever may write to the database can cut off the end, or
write the whole trail anew, and only a witness outside shows it. So the last hash is noted in the
service's log from time to time; give it to :func:`verify`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Engine, Table, exists, func, insert, select

from mambaad.serve.store.review_state import last_of, review_of
from mambaad.serve.store.rows import canonical_json, digest_of, now
from mambaad.serve.store.tables import (
    audit,
    bundle_use,
    decision,
    inspection,
    part,
    review,
    setting,
    user,
)

START = "0" * 64
COVERED: Mapping[str, Table] = {
    table.name: table for table in (part, inspection, decision, bundle_use, setting, user)
}
"""The tables whose rows are covered, by the ``kind`` of their rows in the trail."""
_CHANGING = (setting.name, user.name)
_AT_A_TIME = 500


@dataclass(frozen=True)
class Verified:
    """The result of :func:`verify`.

    ``rows``: of the trail that hold. ``head``: the hash of the last one. ``problem``: the first
    thing that does not hold, in one line; None if all does.
    """

    rows: int
    head: str
    problem: str | None


def append(
    connection: Connection, kind: str, subject: str, content: Mapping[str, Any], actor: str
) -> int:
    """Add a row to the trail, in the transaction that makes the change; returns its number.

    Args:
        connection: of the writer: only one at a time may append.
        kind: the table of the row that was added or changed, or ``*-removed``.
        subject: the row's key.
        content: the row.
        actor: who did it.
    """
    last, previous = head(connection)
    seq = last + 1
    row = {
        "seq": seq,
        "at": now(),
        "actor": actor,
        "kind": kind,
        "subject": subject,
        "content": digest_of(dict(content)),
        "previous": previous,
    }
    connection.execute(insert(audit), {**row, "hash": _hash(row)})
    return seq


def head(connection: Connection) -> tuple[int, str]:
    """The number and hash of the trail's last row; 0 and START without any."""
    query = select(audit.c.seq, audit.c.hash).order_by(audit.c.seq.desc()).limit(1)
    last = connection.execute(query).first()
    return (last.seq, last.hash) if last else (0, START)


def verify(engine: Engine, witness: str | None = None) -> Verified:
    """Check the whole trail, and every row that it covers.

    Args:
        engine: of the store; it is only read.
        witness: a last hash that was noted before; it must be in the trail.

    Returns:
        What was found. A row's number is named where the chain breaks.
    """
    with _snapshot(engine) as connection:
        seen = START
        rows, is_witnessed = 0, witness in (None, START)
        latest: dict[tuple[str, str], str] = {}
        for chunk in _chunks(connection):
            contents = _contents(connection, chunk)
            for row in chunk:
                problem = _problem(row, rows + 1, seen, contents)
                if problem:
                    return Verified(rows, seen, problem)
                if row["kind"] in _CHANGING:
                    latest[row["kind"], row["subject"]] = row["content"]
                elif row["kind"].removesuffix("-removed") in _CHANGING:
                    latest.pop((row["kind"].removesuffix("-removed"), row["subject"]), None)
                rows, seen = rows + 1, row["hash"]
                is_witnessed = is_witnessed or seen == witness
        problem = _unaudited(connection) or _changed(connection, latest) or _wrong(connection)
    if problem is None and not is_witnessed:
        problem = f"the trail has no row with hash {witness}: its end was cut off or replaced"
    return Verified(rows, seen, problem)


@contextmanager
def _snapshot(engine: Engine) -> Iterator[Connection]:
    """Read one state of the database: what is written meanwhile was not inserted by somebody."""
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":  # SQLite's transactions always do
            connection.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
        yield connection


def _hash(row: Mapping[str, Any]) -> str:
    text = row["previous"] + canonical_json({k: v for k, v in row.items() if k != "hash"})
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _chunks(connection: Connection) -> Iterator[list[dict[str, Any]]]:
    last = 0
    while True:
        query = select(audit).where(audit.c.seq > last).order_by(audit.c.seq).limit(_AT_A_TIME)
        chunk = [dict(row) for row in connection.execute(query).mappings()]
        if not chunk:
            return
        yield chunk
        last = chunk[-1]["seq"]


def _contents(connection: Connection, chunk: list[dict[str, Any]]) -> dict[tuple[str, str], str]:
    """The digests of the append-only rows that a piece of the trail names."""
    found: dict[tuple[str, str], str] = {}
    by_kind = sorted(chunk, key=lambda row: row["kind"])
    for kind, rows in groupby(by_kind, key=lambda row: str(row["kind"])):
        table = COVERED.get(kind)
        if table is None or kind in _CHANGING:
            continue
        (key,) = table.primary_key
        query = select(table).where(key.in_([row["subject"] for row in rows]))
        for row in connection.execute(query).mappings():
            found[kind, row[key.name]] = digest_of(dict(row))
    return found


def _problem(
    row: Mapping[str, Any], expected: int, previous: str, contents: Mapping[tuple[str, str], str]
) -> str | None:
    number, kind, subject = row["seq"], row["kind"], row["subject"]
    if number != expected:
        return f"row {expected} of the trail is missing"
    if row["previous"] != previous:
        return f"row {number} of the trail does not follow row {number - 1}: one was changed"
    if row["hash"] != _hash(row):
        return f"row {number} of the trail was changed"
    if kind in COVERED and kind not in _CHANGING:
        if (kind, subject) not in contents:
            return f"row {number} of the trail: {kind} {subject} was removed"
        if contents[kind, subject] != row["content"]:
            return f"row {number} of the trail: {kind} {subject} was changed"
    return None


def _unaudited(connection: Connection) -> str | None:
    """A row of an append-only table that the trail does not know."""
    for name, table in COVERED.items():
        if name in _CHANGING:
            continue
        (key,) = table.primary_key
        # NOT IN would read the trail again for each row, on PostgreSQL.
        known = exists().where(audit.c.kind == name, audit.c.subject == key)
        query = select(func.min(key)).where(~known)
        stranger = connection.execute(query).scalar()
        if stranger is not None:
            return f"{name} {stranger} is not in the trail"
    return None


def _changed(connection: Connection, latest: Mapping[tuple[str, str], str]) -> str | None:
    """A setting or user that is not as the trail's last row of it says."""
    for name in _CHANGING:
        table = COVERED[name]
        (key,) = table.primary_key
        rows = connection.execute(select(table)).mappings()
        present = {row[key.name]: digest_of(dict(row)) for row in rows}
        noted = {subject: digest for (kind, subject), digest in latest.items() if kind == name}
        for subject in sorted(present.keys() | noted.keys()):
            if present.get(subject) != noted.get(subject):
                return f"{name} {subject} is not as the trail says"
    return None


def _wrong(connection: Connection) -> str | None:
    """A part whose row of ``review`` is not what its inspection and decisions make of it."""
    last = ""
    while True:
        query = (
            select(
                inspection.c.id,
                inspection.c.product,
                inspection.c.verdict,
                inspection.c.error,
                inspection.c.sampled,
            )
            .where(inspection.c.id > last)
            .order_by(inspection.c.id)
            .limit(_AT_A_TIME)
        )
        found = connection.execute(query).all()
        if not found:
            break
        first, last = found[0].id, found[-1].id
        kept = {
            row["inspection_id"]: dict(row)
            for row in connection.execute(
                select(review).where(review.c.inspection_id.between(first, last))
            ).mappings()
        }
        decided: dict[str, list[Mapping[str, Any]]] = {}
        query = select(decision).where(decision.c.inspection_id.between(first, last))
        for one in connection.execute(query).mappings():
            decided.setdefault(one["inspection_id"], []).append(dict(one))
        for row in found:
            last_one = last_of(decided.get(row.id, []))
            expected = review_of(
                last_one,
                product=row.product,
                verdict=row.verdict,
                error=row.error,
                sampled=row.sampled,
            )
            if kept.get(row.id) != (expected and {"inspection_id": row.id, **expected}):
                return f"the review of inspection {row.id} is not as its decisions say"
    stray = select(func.min(review.c.inspection_id)).where(
        ~exists().where(inspection.c.id == review.c.inspection_id)
    )
    stranger = connection.execute(stray).scalar()
    return f"the review of inspection {stranger} is of no inspection" if stranger else None
