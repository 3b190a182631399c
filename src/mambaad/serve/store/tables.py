"""The tables of the store.

``part``, ``inspection``, ``decision``, ``bundle_use`` and ``audit`` are append-only. ``review`` is
derived from them, so that lists stay fast. Times are UTC in ISO 8601 with milliseconds, as text of
one length, so that their order is that of the strings.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy.exc import DontWrapMixin

from mambaad.errors import ConfigError

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UnusableText(ConfigError, DontWrapMixin):
    """A text that the tables cannot hold."""


class Characters(TypeDecorator[str]):
    """Text of a length at most, without NUL and halves of surrogate pairs (UnusableText).

    PostgreSQL refuses these and SQLite keeps some of them: so both refuse all, and in one way.
    """

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: object) -> str | None:
        """Check a text on its way to the database."""
        if value is None:
            return None
        most = getattr(self.impl_instance, "length", None)
        if most is not None and len(value) > most:
            raise UnusableText(f"expected {most} characters at most, got {len(value)}")
        if "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
            raise UnusableText("expected text, got characters that are none (NUL, half a pair)")
        return value


class LongText(Characters):
    """The same, of any length."""

    impl = Text


_ID = Characters(36)
_TIME = Characters(24)
_DIGEST = Characters(64)
# SQLite numbers rows by itself in a column of type INTEGER alone.
_NUMBER = BigInteger().with_variant(Integer, "sqlite")

part = Table(
    "part",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("received_at", _TIME, nullable=False),
    Column("source", Characters(100), nullable=False),  # "http", "watch", ...
    Column("serial", Characters(200), index=True),
    Column("product_given", Characters(200)),
    Column(
        "file_name", Characters(255), nullable=False, default=""
    ),  # as the client said; only shown
    Column("sha256", _DIGEST, nullable=False, index=True),
    Column("bytes", BigInteger, nullable=False),
    Column("format", Characters(8), nullable=False),  # "PNG", "JPEG", ...
    Column("idempotency_key", Characters(255), unique=True),
    Column("request_digest", _DIGEST, nullable=False),
)

inspection = Table(
    "inspection",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("part_id", _ID, ForeignKey("part.id"), nullable=False, unique=True),
    Column("at", _TIME, nullable=False),
    Column("product", Characters(200)),
    Column("verdict", Characters(20)),  # None without a calibration, or with an error
    Column("score", Float),
    Column("error", Text),
    Column("record", Text, nullable=False),  # the line of predictions.jsonl
    Column("bundle", _DIGEST, nullable=False),
    Column("bundle_version", Integer),  # in the registry
    Column("queue_ms", Float, nullable=False),
    Column("worker_ms", Float, nullable=False),
    Column("attempts", Integer, nullable=False),
    # Drawn for review whatever its verdict, and with which probability it was.
    Column("sampled", Boolean, nullable=False),
    Column("sample_probability", Float, nullable=False),
    Index(None, "at", "verdict"),
    Index(None, "verdict", "id"),
    Index(None, "product", "id"),
)

decision = Table(
    "decision",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("inspection_id", _ID, ForeignKey("inspection.id"), nullable=False, index=True),
    Column("at", _TIME, nullable=False),
    Column("actor", Characters(100), nullable=False),
    Column("decision", Characters(10), nullable=False),  # good, defective, unsure, withdrawn
    Column("note", LongText(), nullable=False),
    Column("supersedes", _ID, ForeignKey("decision.id"), unique=True),
)

review = Table(
    "review",
    metadata,
    Column("inspection_id", _ID, ForeignKey("inspection.id"), primary_key=True),
    Column("product", Characters(200)),
    Column("reason", Characters(10), nullable=False),  # verdict, sample, decided
    Column("is_open", Boolean, nullable=False),
    Column("decision", Characters(10)),  # the one that holds; None if there is none
    Column("decision_id", _ID),
    Column("differs", Boolean, nullable=False),  # decision against verdict
    Index(None, "is_open", "inspection_id"),
    Index(None, "differs", "inspection_id"),
)

audit = Table(
    "audit",
    metadata,
    Column("seq", _NUMBER, primary_key=True, autoincrement=False),
    Column("at", _TIME, nullable=False),
    Column("actor", Characters(100), nullable=False),
    Column("kind", Characters(20), nullable=False),  # the table, or what happened
    Column("subject", Characters(200), nullable=False),  # the row's key
    Column("content", _DIGEST, nullable=False),  # SHA-256 of the row's canonical JSON
    Column("previous", _DIGEST, nullable=False),
    Column("hash", _DIGEST, nullable=False, unique=True),
    Index(None, "kind", "subject"),
)

job = Table(
    "job",
    metadata,
    Column("inspection_id", _ID, primary_key=True),
    Column("part_id", _ID, nullable=False, unique=True),
    Column("idempotency_key", Characters(255), unique=True),
    Column("request_digest", _DIGEST, nullable=False),
    Column("part", Text, nullable=False),  # the row that the part will be, as JSON
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", _NUMBER, primary_key=True, autoincrement=True),
    Column("sink", Characters(100), nullable=False),
    Column("event_id", _ID, nullable=False),  # of the inspection; lets a receiver see doubles
    Column("attempts", Integer, nullable=False),
    Column("next_at", _TIME, nullable=False),
    Column("last_error", Text),
    Index(None, "sink", "next_at"),
)

setting = Table(
    "setting",
    metadata,
    Column("product", Characters(200), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("at", _TIME, nullable=False),
    Column("actor", Characters(100), nullable=False),
    Column("content", Text, nullable=False),  # JSON
)

user = Table(
    "user_account",
    metadata,
    Column("name", Characters(100), primary_key=True),
    Column("role", Characters(10), nullable=False),  # viewer, reviewer, engineer
    Column("password", Text, nullable=False),  # argon2's form
    Column("at", _TIME, nullable=False),
)

session = Table(
    "login_session",
    metadata,
    Column("id", _DIGEST, primary_key=True),  # SHA-256 of the cookie
    Column(
        "user_name", Characters(100), ForeignKey("user_account.name"), nullable=False, index=True
    ),
    Column("csrf", Characters(64), nullable=False),
    Column("expires_at", _TIME, nullable=False),
)

source = Table(
    "source",
    metadata,
    Column("name", Characters(100), primary_key=True),
    Column("kind", Characters(20), nullable=False),
    Column("content", Text, nullable=False),  # JSON
    Column("at", _TIME, nullable=False),
)

bundle_use = Table(
    "bundle_use",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("at", _TIME, nullable=False),
    Column("actor", Characters(100), nullable=False),
    Column("action", Characters(10), nullable=False),  # start, promote, rollback
    Column("version", Integer),
    Column("sha256", _DIGEST, nullable=False),
)
