"""JSON files that have their own digest, so that a changed one is not taken for what was written.

It shows damage, not intent: whoever changes such a file can also compute its digest.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel

from mambaad.documents import DocumentError, parse_json

SEAL = "sha256"
"""The last entry of such a file: the SHA-256 of the others."""


def sealed_json(model: BaseModel, *, indent: int | None = None) -> bytes:
    """Make the content of a file of a model's fields and their digest."""
    return sealed(json.loads(model.model_dump_json()), indent=indent)


def sealed(fields: dict[str, Any], *, indent: int | None = None) -> bytes:
    """Make the content of a file of ``fields``, which JSON can hold, and their digest."""
    whole = {**fields, SEAL: _digest(fields)}
    return (json.dumps(whole, ensure_ascii=False, indent=indent) + "\n").encode()


def parse_sealed(content: bytes, name: str) -> dict[str, Any]:
    """Read the fields of such a file.

    Args:
        content: of the file.
        name: of the file, for messages.

    Raises:
        DocumentError: it is no JSON, or its digest is another one.
    """
    fields, is_whole = parse_unverified(content, name)
    if not is_whole:
        raise DocumentError(f"{name}: it has changed since it was written (its SHA-256)")
    return fields


def parse_unverified(content: bytes, name: str) -> tuple[dict[str, Any], bool]:
    """Read the fields of such a file, and whether they have its digest (DocumentError: no JSON).

    For files of which a newer version may compute it otherwise.
    """
    fields = parse_json(content, name)
    if not isinstance(fields, dict):
        raise DocumentError(f"{name}: expected names and values")
    seal = fields.pop(SEAL, None)
    return fields, seal == _digest(fields)


def _digest(fields: dict[str, Any]) -> str:
    """Independent of the order and of the spaces between."""
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
