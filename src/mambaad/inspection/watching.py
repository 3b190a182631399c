"""Inspect a stream: a camera, a video, a folder that fills, a program's own frames."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from mambaad.capture.capturing import Capturing, Policy
from mambaad.capture.cycles import Cycle
from mambaad.capture.plan import Plan
from mambaad.capture.sources import open_source
from mambaad.capture.triggers import Signals, make_trigger
from mambaad.errors import ConfigError
from mambaad.inspection.cycle_calibration import CycleCalibration
from mambaad.inspection.cycle_verdict import judge_cycle
from mambaad.inspection.inspector import Inspected, Inspector, prediction_of
from mambaad.inspection.prediction import Prediction
from mambaad.inspection.records import CycleRecord
from mambaad.inspection.stream import observe_one, observe_stream

StreamSource = str | os.PathLike[str] | Iterable[Any]
"""What can be watched; see :func:`mambaad.capture.sources.open_source`."""


class InspectedCycle(NamedTuple):
    """A part, or a cycle of a machine, that was inspected.

    ``record``: as a line of ``predictions.jsonl`` has it; its verdict is the cycle's.
    ``prediction``: of the frame that decided; None if there is an error. ``cycle``: the frames.
    """

    record: CycleRecord
    prediction: Prediction | None
    cycle: Cycle


class Watch:
    """Watches a source; iterate over it, once, for what was inspected.

    Args:
        inspector: inspects.
        source: what is watched.
        plan: how parts are made of frames; by default that of ``thresholds``, or each frame is one.
        product: of all parts, if known.
        policy: see :class:`mambaad.capture.capturing.Capturing`.
        signals: of the trigger ``signal``.
        thresholds: by cycle.
        format, options, reconnect, is_known: see :func:`mambaad.capture.sources.open_source`.

    Attributes:
        capturing: how the capture fares.
        plan: as given, or found.

    Raises:
        ConfigError, DataError, RunError: settings that do not go together, no such source, or
            thresholds of another model.
    """

    def __init__(
        self,
        inspector: Inspector,
        source: StreamSource,
        plan: Plan | None = None,
        *,
        product: str | None = None,
        policy: Policy = "every-part",
        signals: Signals | None = None,
        thresholds: CycleCalibration | None = None,
        format: str | None = None,
        options: Mapping[str, str] | None = None,
        reconnect: float | None = None,
        is_known: Callable[[str, float], bool] = lambda path, changed: False,
    ) -> None:
        inspector.check_product(product)
        if thresholds is not None:
            thresholds.check(inspector)
            if plan is not None and plan != thresholds.plan:
                raise ConfigError(
                    f"the calibration by cycle was made with {thresholds.plan}, got {plan}; omit "
                    "the latter, or calibrate again"
                )
            plan = thresholds.plan
        self.plan = plan or Plan()
        self._inspector, self._product, self._thresholds = inspector, product, thresholds
        opened = open_source(
            source,
            inspector.reading,
            format=format,
            options=options,
            reconnect=reconnect,
            is_known=is_known,
        )
        trigger = make_trigger(self.plan, signals, is_live=opened.is_live)
        self.capturing = Capturing(opened, trigger, self.plan, policy)

    def __iter__(self) -> Iterator[InspectedCycle]:
        """Inspect each cycle as it comes; closing the iterator stops the capture.

        Raises:
            DataError: a file that cannot be read to its end, or a camera that stays lost.
        """
        with self.capturing:
            for cycle in self.capturing:
                yield self._inspect(cycle)

    def _inspect(self, cycle: Cycle) -> InspectedCycle:
        inspector = self._inspector
        inspected = [] if cycle.error else list(self._observed(cycle))
        record, place = judge_cycle(
            cycle, inspected, self.plan, inspector.calibration, self._thresholds
        )
        record.model = inspector.weights
        prediction = None if place is None else prediction_of(inspected[place], inspector)
        return InspectedCycle(record, prediction, cycle)

    def _observed(self, cycle: Cycle) -> Iterator[Inspected]:
        inspector, product = self._inspector, self._product
        pixels = [frame.pixels for frame in cycle.frames if frame.pixels is not None]
        items = [inspector.item(one, product) for one in pixels]
        if len(items) == 1:
            yield inspector.judge(
                observe_one(inspector.engine, items[0], inspector.region_of), product
            )
            return
        stream = observe_stream(
            inspector.engine,
            items,
            batch_size=inspector.engine.batch_size,
            is_live=False,
            region_of=inspector.region_of,
        )
        for observed in stream:
            yield inspector.judge(observed, product)
