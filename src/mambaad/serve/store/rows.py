"""What the store is given and gives back, and the identifiers and times of its rows."""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Literal

from mambaad.errors import ConfigError

Decided = Literal["good", "defective", "unsure", "withdrawn"]


@dataclass(frozen=True)
class NewPart:
    """A part that was received; see the table ``part``.

    ``actor``: who sent it, for the audit trail alone; empty where the source says it all.
    """

    id: str
    received_at: str
    source: str
    sha256: str
    bytes: int
    format: str
    request_digest: str
    serial: str | None = None
    product_given: str | None = None
    file_name: str = ""
    idempotency_key: str | None = None
    actor: str = ""


@dataclass(frozen=True)
class NewInspection:
    """An inspection of a part; see the table ``inspection``.

    ``record``: the JSON line of predictions.jsonl, from which ``product``, ``verdict``, ``score``
    and ``error`` are copied.
    """

    id: str
    part_id: str
    at: str
    record: str
    bundle: str
    bundle_version: int | None
    queue_ms: float
    worker_ms: float
    attempts: int
    sampled: bool
    sample_probability: float


@dataclass(frozen=True)
class Job:
    """A part that was accepted, and is to be inspected."""

    inspection_id: str
    part: NewPart


@dataclass(frozen=True)
class Filter:
    """Which inspections a list has; None for all. ``since``, ``until``: times, half-open.

    Times are of any form of :func:`read_time` (ConfigError), and kept as the tables hold them.
    ``differs``: those whose decision differs from the verdict. ``decision``: the one that holds.
    """

    verdict: str | None = None
    product: str | None = None
    serial: str | None = None
    since: str | None = None
    until: str | None = None
    differs: bool | None = None
    decision: str | None = None
    sampled: bool | None = None

    def __post_init__(self) -> None:
        for name in ("since", "until"):
            given = getattr(self, name)
            if given is not None:
                object.__setattr__(self, name, read_time(given, name))


def now() -> str:
    """The time in UTC, as the tables hold it."""
    return time_text(datetime.now(timezone.utc))


def time_text(moment: datetime) -> str:
    """A moment as the tables hold it: ``2026-01-31T12:00:00.000Z``."""
    utc = moment.astimezone(timezone.utc)
    return utc.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def read_time(text: str, name: str) -> str:
    """Read a time or date of ISO 8601, in UTC unless it says otherwise, as the tables hold it.

    Args:
        text: such as ``2026-01-31T12:00:00Z`` or ``2026-01-31``.
        name: of the setting, for the error.

    Raises:
        ConfigError: there is no such time.
    """
    try:
        # Python 3.10 knows no Z.
        moment = datetime.fromisoformat(f"{text[:-1]}+00:00" if text[-1:] in "Zz" else text)
        return time_text(moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc))
    except (ValueError, OverflowError):
        raise ConfigError(
            f"{name}: expected a time such as 2026-01-31T12:00:00Z, got {text!r}"
        ) from None


_lock = threading.Lock()
_last = 0


def new_id() -> str:
    """Make a UUID of version 7 (RFC 9562): sorted by time, and within a process by call."""
    global _last
    with _lock:
        # 48 bits of milliseconds and 12 of their fraction, as the RFC's method 3.
        stamp = time.time_ns() * 4096 // 1_000_000
        _last = stamp = max(stamp, _last + 1)
    number = (stamp >> 12) << 80 | 7 << 76 | (stamp & 0xFFF) << 64
    number |= 2 << 62 | secrets.randbits(62)
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def canonical_json(content: Any) -> str:
    """JSON with sorted keys and no spaces, so that equal contents have equal texts."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest_of(content: Any) -> str:
    """The SHA-256 of a content's canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical_json(content).encode("utf-8", "surrogatepass")).hexdigest()
