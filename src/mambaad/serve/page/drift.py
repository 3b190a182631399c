"""Drift while the service runs: the monitor's tests, fed part by part.

The figures are those of :func:`mambaad.workflows.monitor.monitor` over everything that the bundle
in use has inspected. They are kept in memory and catch up with new parts when somebody looks, so
that a page does not test a hundred thousand parts again.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock, Thread
from typing import Any

import numpy as np
from sqlalchemy import Connection

from mambaad.inspection.calibration import Calibration, ClassCalibration
from mambaad.inspection.drift import Martingale
from mambaad.serve.page import queries
from mambaad.serve.page.plots import curve
from mambaad.serve.store.store import Store
from mambaad.serve.store.writer import StoreError
from mambaad.types import Verdict
from mambaad.workflows.monitor import WATCHED

FALSE_ALARM_RATE = 0.01
_AT_A_TIME = 500
_MIN_JUDGED = 20  # as workflows/monitor.py has it


@dataclass
class _Watch:
    """One figure of one product."""

    martingale: Martingale
    before: np.ndarray
    values: list[float] = field(default_factory=list)
    evidence: list[float] = field(default_factory=list)

    def add(self, value: float) -> None:
        self.values.append(value)
        self.evidence.append(self.martingale.add(value))

    def shift(self) -> float:
        """How far the median of the latest parts has moved, in standard deviations."""
        recent = self.values[-max(len(self.before), 20) :]
        if not recent or not len(self.before):
            return 0.0
        spread = max(float(self.before.std()), 1e-9)
        return float(np.median(recent) - np.median(self.before)) / spread


@dataclass(frozen=True)
class Shown:
    """A figure as the page shows it; ``points``, ``level_y``: see :func:`plots.curve`."""

    product: str
    figure: str
    parts: int
    now: float
    highest: float
    alarm: int | None
    shift: float
    points: str
    level_y: float


@dataclass(frozen=True)
class FewPassed:
    """A product of which fewer than half of the judged parts passed."""

    product: str
    passed: int
    judged: int


@dataclass(frozen=True)
class DriftShown:
    """All figures by product. ``level``: evidence at which an alarm is raised."""

    false_alarm_rate: float
    level: float
    products: dict[str, list[Shown]]
    few_passed: list[FewPassed]
    note: bool
    is_behind: bool

    @property
    def alarms(self) -> list[Shown]:
        """The figures that have changed."""
        return [w for watches in self.products.values() for w in watches if w.alarm is not None]


class DriftBook:
    """The tests of one bundle under one state of its settings.

    Args:
        calibration: with the settings applied.
        bundle: SHA-256 of the bundle.
        since: parts that were inspected before are not tested: their scores are of another area.
    """

    def __init__(self, calibration: Calibration, bundle: str, since: str = "") -> None:
        self._bundle = bundle
        self._since = since
        self._classes = calibration.classes
        self._is_cross_fit = calibration.method == "cross-fit"
        figures = [f for f in WATCHED if f != "score" or not self._is_cross_fit]
        self._watches = {
            name: {figure: _start(c, figure) for figure in figures}
            for name, c in calibration.classes.items()
        }
        self.level = float(-np.log(FALSE_ALARM_RATE / (len(figures) * len(calibration.classes))))
        self._verdicts: dict[str, Counter[str]] = {}
        self._last = 0  # row of the audit trail
        self._thread: Thread | None = None
        self._lock = Lock()

    def catch_up(self, store: Store, seconds: float = 2.0) -> bool:
        """Take up what was inspected since; False if there was too much for the time."""
        end = time.monotonic() + seconds
        with self._lock:
            while True:
                last, records = store.read(self._next)
                for record in records:
                    self._take(record)
                self._last = last
                if len(records) < _AT_A_TIME:
                    return True
                if time.monotonic() > end:
                    return False

    def go_on(self, store: Store) -> None:
        """Catch up in a thread of its own, unless one does."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = Thread(target=self._catch_up_quietly, args=(store,), daemon=True)
            self._thread.start()

    def _catch_up_quietly(self, store: Store) -> None:
        with suppress(StoreError):  # such as at the end of the service
            while not self.catch_up(store, 0.2):
                time.sleep(0.2)  # for those who look, and for the inspections

    def _next(self, connection: Connection) -> tuple[int, list[dict[str, Any]]]:
        return queries.inspected_after(
            connection, self._last, self._bundle, self._since, _AT_A_TIME
        )

    def _take(self, record: dict[str, Any]) -> None:
        product, verdict, score = record["product"], record["verdict"], record["score"]
        self._verdicts.setdefault(product or "", Counter())[verdict or ""] += 1
        c = self._classes.get(product or "")
        quality = record["quality"]
        if c is None or verdict != Verdict.PASS.value or score is None or quality is None:
            return
        if record["reason"]:  # passed for the size of its regions: see the monitor
            return
        for figure, watch in self._watches[product].items():
            watch.add(score if figure == "score" else quality[figure])

    def shown(self, is_behind: bool) -> DriftShown:
        """The state, as the page shows it."""
        with self._lock:
            products = {
                name: [self._shown(name, figure, watch) for figure, watch in watches.items()]
                for name, watches in self._watches.items()
            }
            few = [
                FewPassed(name, counts[Verdict.PASS.value], judged)
                for name, counts in self._verdicts.items()
                if name
                and (judged := sum(counts.values()) - counts[""]) >= _MIN_JUDGED
                and 2 * counts[Verdict.PASS.value] < judged
            ]
        return DriftShown(
            FALSE_ALARM_RATE, self.level, products, few, self._is_cross_fit, is_behind
        )

    def _shown(self, product: str, figure: str, watch: _Watch) -> Shown:
        evidence = np.asarray(watch.evidence)
        above = np.flatnonzero(evidence >= self.level)
        points, level_y = curve(evidence, self.level)
        return Shown(
            product,
            figure,
            len(evidence),
            float(evidence[-1]) if len(evidence) else 0.0,
            float(evidence.max(initial=0.0)),
            int(above[0]) + 1 if len(above) else None,
            watch.shift(),
            points,
            level_y,
        )


def _start(c: ClassCalibration, figure: str) -> _Watch:
    passing = c.scores < c.review.value  # as workflows/monitor.py does, and why
    before = np.asarray(c.scores if figure == "score" else getattr(c, figure))[passing]
    return _Watch(Martingale(before), before)
