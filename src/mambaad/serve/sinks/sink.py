"""What a receiver of inspections is."""

from __future__ import annotations

from typing import Protocol


class Refused(Exception):
    """The receiver is there and does not take this inspection; others it may take."""


class Sink(Protocol):
    """A receiver of inspections. Used from the event loop alone.

    ``at_once``: how many may be sent at a time; with 1 they arrive in their order, unless the
    receiver refused one.
    """

    at_once: int

    async def connect(self) -> None:
        """See that the receiver is there; called every few seconds (any exception: it is not)."""

    async def send(self, event_id: str, payload: str) -> None:
        """Send an inspection; returns once the receiver has taken it.

        Args:
            event_id: of the inspection, which lets the receiver see doubles.
            payload: the inspection as JSON, which has the id too.

        Raises:
            Refused: see there. Any other exception: the receiver cannot be reached now.
        """

    async def close(self) -> None:
        """End the connection; it may be opened again."""
