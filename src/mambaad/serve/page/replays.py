"""Replays in the background: a version of the registry against what was stored.

A process of its own inspects, at a low priority, so that the line's parts go first. One replay runs
at a time; its result is kept until the next one begins.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection

from mambaad.errors import MambaADError
from mambaad.files import file_digest
from mambaad.process import end_with_parent, process_context
from mambaad.serve.page.page import PageParts
from mambaad.serve.problems import Problem
from mambaad.serve.product_setting import ProductSetting
from mambaad.serve.review.parts import ReviewedPart
from mambaad.serve.review.replay import Comparison, Outcome, compare
from mambaad.serve.store.reviewed import reviewed_parts
from mambaad.serve.store.rows import new_id
from mambaad.types import Verdict

DECIDED, OTHERS = 1000, 500
"""The most parts that are replayed: the newest that people decided on, and the newest of all."""
_CHUNK = 8
_LOWER = 10  # niceness


@dataclass
class Replay:
    """A replay: of version ``version`` against the bundle ``against``, which was in use then."""

    version: int
    against: str
    id: str = field(default_factory=new_id)
    total: int = 0
    done: int = 0
    error: str | None = None
    comparison: Comparison | None = None

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self.comparison is None and self.error is None


class Replays:
    """Runs replays, one at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: Replay | None = None

    def last(self, version: int) -> Replay | None:
        """The last replay, if it is of this version."""
        last = self._last
        return last if last is not None and last.version == version else None

    def start(self, parts: PageParts, version: int, path: Path) -> Replay:
        """Begin a replay (Problem: another one is running)."""
        with self._lock:
            if self._last is not None and self._last.is_running:
                if self._last.version == version:
                    return self._last
                raise Problem(409, "busy", "another comparison is running", "wait until it ends")
            job = self._last = Replay(version, parts.in_use().sha256)
        threading.Thread(target=_run, args=(job, parts, path), daemon=True).start()
        return job


def _run(job: Replay, parts: PageParts, path: Path) -> None:
    try:
        chosen = _chosen(parts)
        job.total = len(chosen)
        settings = {name: parts.setting(name) for name in parts.model().products}
        pairs: list[tuple[ReviewedPart, Outcome]] = []
        missing = 0
        context = process_context("mambaad.inference.torch_engine")
        with ProcessPoolExecutor(
            1, mp_context=context, initializer=_begin, initargs=(path, settings)
        ) as pool:
            for start in range(0, len(chosen), _CHUNK):
                chunk = chosen[start : start + _CHUNK]
                images = [parts.image_of(part) for part in chunk]
                kept = [
                    (p, image) for p, image in zip(chunk, images, strict=True) if image is not None
                ]
                missing += len(chunk) - len(kept)
                asked = [(image, part.product_given) for part, image in kept]
                found = pool.submit(_inspect, asked).result()
                pairs += zip((part for part, _ in kept), found, strict=True)
                job.done += len(chunk)
        job.comparison = compare(pairs, missing)
    except MambaADError as error:
        job.error = str(error)
    except Exception as error:  # whatever ended the process: the page must not wait for ever
        job.error = f"{type(error).__name__}: {error}"


def _chosen(parts: PageParts) -> list[ReviewedPart]:
    def read(connection: Connection) -> list[ReviewedPart]:
        decided = reviewed_parts(connection, decided=True, limit=DECIDED)
        others = reviewed_parts(connection, limit=OTHERS)
        known = {part.id for part in decided}
        return decided + [part for part in others if part.id not in known]

    return parts.store.read(read)


# In the process of its own: the inspector, once.
_inspector = None


def _begin(path: Path, settings: dict[str, ProductSetting]) -> None:
    global _inspector
    from mambaad.inspection.inspector import Inspector
    from mambaad.serve.product_setting import adjusted

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends with the service
    end_with_parent()
    if hasattr(os, "nice"):
        os.nice(_LOWER)
    _inspector = Inspector(path, device="cpu")
    calibration = _inspector.calibration
    if calibration is not None:
        known = {n: s for n, s in settings.items() if n in calibration.classes}
        _inspector.calibration = adjusted(calibration, known, _inspector.size, file_digest(path))


def _inspect(asked: Sequence[tuple[bytes, str | None]]) -> list[Outcome]:
    from mambaad.serve.review.pixels import stored_pixels

    assert _inspector is not None  # _begin made it
    outcomes: list[Outcome] = []
    for content, product in asked:
        given = product if product in _inspector.products else None
        try:
            pixels = stored_pixels(content, "part", _inspector.reading)
            prediction = _inspector.inspect(pixels, given)
        except MambaADError:
            outcomes.append((None, None))
        else:
            outcomes.append((prediction.verdict, prediction.score))
    return outcomes


def words(comparison: Comparison) -> list[str]:
    """The verdicts of a comparison's table, in their usual order."""
    found = {word for pair in comparison.table for word in pair}
    order = [verdict.value for verdict in Verdict]
    return [word for word in order if word in found] + sorted(found - set(order))
