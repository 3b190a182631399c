"""A real inference process that keeps some memory of each part, as one with a leak does."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from mambaad.serve.inference import worker
from mambaad.serve.inference.worker import Plan

EACH = 5 * 2**20
"""Bytes that it keeps of each part."""


@dataclass(frozen=True)
class GrowingPlan(Plan):
    """A plan that, where it arrives in an inference process, makes that process grow."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, tuple(getattr(self, each.name) for each in fields(Plan))


def _arrived(*values: Any) -> Plan:
    kept: list[bytearray] = []
    inspect = worker.inspect

    def inspect_and_keep(*given: Any) -> worker.Result:
        kept.append(bytearray(b"x" * EACH))
        return inspect(*given)

    worker.inspect = inspect_and_keep
    return Plan(*values)
