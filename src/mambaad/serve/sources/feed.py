"""A source's parts go to inspection: each is tried until it is accepted or refused."""

from __future__ import annotations

import asyncio
import io
from contextlib import aclosing
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from mambaad.capture.pauses import pauses
from mambaad.errors import MambaADError
from mambaad.files import printable
from mambaad.progress import say
from mambaad.serve.intake import Received
from mambaad.serve.problems import Problem
from mambaad.serve.service import Service
from mambaad.serve.settings import ServeSettings
from mambaad.serve.sources.source import Capture, Source
from mambaad.serve.store.writer import StoreError

_LATER = (429, 503, 507)  # answers to a part that may be taken later
_LONGEST_NAME = 255
_AGAIN_SECONDS = 0.5


class Feed:
    """Has a source's parts inspected. No part is dropped: a source waits until one is taken.

    Args:
        source: gives them.
        settings: how large a part may be.
        service: inspects and keeps them.
    """

    def __init__(self, source: Source, settings: ServeSettings, service: Service) -> None:
        self._source, self._settings, self._service = source, settings, service
        self._problem: str | None = None
        self._has_ended = False

    def state(self) -> dict[str, Any]:
        """How it fares, as ``/v1/sources`` shows it."""
        return {
            "name": printable(self._source.name),
            "kind": self._source.kind,
            "state": {
                **self._source.state(),
                "ended": self._has_ended,
                "problem": self._problem,
            },
        }

    async def run(self) -> None:
        """Work until cancelled, or until the source ends."""
        waits = pauses()
        while True:
            try:
                async with aclosing(self._source.captures()) as captures:
                    async for capture in captures:
                        await self._give(capture)
                        waits = pauses()
            except Exception as error:  # whatever a camera's library raises
                problem = printable(str(error) or type(error).__name__)
                if problem != self._problem:
                    say(f"{self._source.name}: {problem}; it is tried again")
                self._problem = problem
            else:
                self._has_ended = True
                return
            await asyncio.sleep(next(waits))

    async def _give(self, capture: Capture) -> None:
        """Have a part accepted, however often that fails for want of space."""
        content = capture.image
        if not isinstance(content, bytes):
            content = await asyncio.to_thread(_png, content)
        received = Received(
            content,
            self._source.kind,
            serial=capture.serial,
            product=capture.product,
            file_name=printable(capture.file_name)[:_LONGEST_NAME],
            key=capture.key,
        )
        reason = ""
        if len(content) > self._settings.max_bytes:
            reason = f"it has more than {self._settings.max_bytes} bytes"
        while not reason:
            try:
                with self._service.intake.place(len(content)):
                    await self._service.intake.accept(received)
            except StoreError as error:
                self._problem = str(error)
            except MambaADError as error:
                if not isinstance(error, Problem) or error.status not in _LATER:
                    reason = str(error)
                    break
                self._problem = str(error)
            else:
                self._problem = None
                await self._source.accepted(capture)
                return
            await asyncio.sleep(_AGAIN_SECONDS)
        say(f"{received.file_name or self._source.name} was not inspected: {reason}")
        self._problem = None
        await self._source.refused(capture, reason)


def _png(pixels: UInt8[np.ndarray, "h w *c"]) -> bytes:
    """Encode pixels without loss, quickly."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()
