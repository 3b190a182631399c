"""``mambaad watch``: inspect a camera, a video or a folder that fills, one verdict a part."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from mambaad.capture.capturing import Capturing, Policy
from mambaad.capture.plan import Plan
from mambaad.capture.triggers import Signals
from mambaad.errors import ConfigError, DataError
from mambaad.files import locked, printable
from mambaad.inspection.cycle_calibration import (
    CycleCalibration,
    calibrate_cycles,
    read_cycle_calibration,
)
from mambaad.inspection.inspector import Inspector
from mambaad.inspection.watching import InspectedCycle, StreamSource, Watch
from mambaad.process import sigterm_as_interrupt
from mambaad.progress import say, warn
from mambaad.types import Verdict
from mambaad.workflows.predict_inputs import HEATMAP, RECORDS
from mambaad.workflows.record_log import record_log, taken_times
from mambaad.workflows.verdicts import check_calibrated
from mambaad.workflows.watch_view import WatchView

NO_VERDICT = "no verdict"
_LONG_WAIT = 1.0  # seconds of a source's waiting, from which on that is said


@dataclass
class Watched:
    """What a watch has done so far, also after an interruption.

    ``parts``: records written. ``failed``: parts that could not be inspected, among them.
    ``verdicts``: counts, by name. ``dropped``: parts that were dropped, by the policy ``live``.
    ``waited``: seconds for which the source waited for the inspection. ``reconnections``: how
    often the source was lost and reached again.
    """

    parts: int = 0
    failed: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    dropped: int = 0
    waited: float = 0.0
    reconnections: int = 0

    def add(self, done: InspectedCycle, capturing: Capturing) -> None:
        """Count a part."""
        record = done.record
        self.parts += 1
        self.failed += record.error is not None
        if record.error is None:
            self.verdicts[record.verdict.value if record.verdict else NO_VERDICT] += 1
        self.look_at(capturing)

    def look_at(self, capturing: Capturing) -> None:
        """Take the capture's figures."""
        self.dropped, self.waited = capturing.dropped, capturing.waited
        self.reconnections = capturing.source.reconnections


def watch(
    source: StreamSource,
    inspector: Inspector,
    out: str | Path,
    plan: Plan | None = None,
    *,
    product: str | None = None,
    policy: Policy = "every-part",
    cycles: str | Path | None = None,
    signals: Signals | None = None,
    most: int | None = None,
    pictures: bool = False,
    preview: bool = False,
    format: str | None = None,
    options: Mapping[str, str] | None = None,
    reconnect: float | None = None,
    watched: Watched | None = None,
) -> Watched:
    """Inspect a stream, and add a record for each part to ``predictions.jsonl``.

    Records of earlier watches stay. Files of a folder that have a record there, and have not
    changed since, are not inspected again. Memory does not grow with the number of parts.

    Args:
        source, plan, product, policy, signals, format, options, reconnect: see
            :class:`mambaad.inspection.watching.Watch`.
        inspector: inspects; calibrated if verdicts are wanted.
        out: the folder to write to.
        cycles: a calibration by cycle (:func:`calibrate_watch`), whose plan applies.
        most: end after so many parts.
        pictures: keep the frame that decided, and its heatmap, of parts that do not pass.
        preview: show the latest part in the terminal.
        watched: is filled, so that it is known after KeyboardInterrupt what was done.

    Raises:
        ConfigError, DataError, RunError: wrong arguments, no such source, or one that stays lost;
            a folder that cannot be written, or is being written by another process.
    """
    out, watched = Path(out), watched or Watched()
    thresholds = read_cycle_calibration(cycles) if cycles else None
    with locked(out, make=True), sigterm_as_interrupt(), record_log(out / RECORDS) as log:
        watching = Watch(
            inspector,
            source,
            plan,
            product=product,
            policy=policy,
            signals=signals,
            thresholds=thresholds,
            format=format,
            options=options,
            reconnect=reconnect,
            is_known=_known(source, out / RECORDS),
        )
        if inspector.calibration and thresholds is None and watching.plan.frames > 1:
            warn(
                f"parts of {watching.plan.frames} frames have no verdict without thresholds by "
                "cycle; make them of good parts (--calibrate), and give them (--cycles)"
            )
        capturing = watching.capturing
        say(f"watching {capturing.source.name}")
        with WatchView(capturing, preview=preview) as view, _counted(watched, capturing):
            for done in _first(watching, most):
                log.add(done.record)
                watched.add(done, capturing)
                _tell(done)
                if pictures and _is_flagged(done):
                    _save(done, out)
                view.update(done, watched.verdicts)
    return watched


def calibrate_watch(
    source: StreamSource,
    inspector: Inspector,
    out: str | Path,
    plan: Plan,
    *,
    product: str | None = None,
    signals: Signals | None = None,
    target_fpr: float | None = None,
    review_fpr: float | None = None,
    most: int | None = None,
    format: str | None = None,
    options: Mapping[str, str] | None = None,
    reconnect: float | None = None,
) -> CycleCalibration:
    """Set thresholds by cycle from a stream of good parts, and write them to a file.

    Cycles whose frames are not fit for inspection, or of another product, are left out, and that is
    said.

    Args:
        source, plan, product, signals, most, format, options, reconnect: see :func:`watch`.
        inspector: calibrated.
        out: the JSON file.
        target_fpr, review_fpr: shares of good cycles; by default as the model was calibrated.

    Raises:
        ConfigError, DataError, RunError: see :func:`watch`; or no calibration, a source without an
            end and no ``most``, or no good cycles. Nothing is written.
    """
    check_calibrated(inspector)
    if product is None and len(inspector.products) > 1:
        raise ConfigError(
            f"--calibrate needs --class, one of {', '.join(inspector.products)}: thresholds are "
            "one product's"
        )
    watching = Watch(
        inspector,
        source,
        plan,
        product=product,
        signals=signals,
        format=format,
        options=options,
        reconnect=reconnect,
    )
    capturing, name = watching.capturing, product or inspector.products[0]
    if capturing.source.is_endless and most is None:
        raise ConfigError(
            f"--calibrate: {capturing.source.name} has no end; say after how many parts to stop "
            "(--parts)"
        )
    scores, left_out = [], Counter[str]()
    with WatchView(capturing, preview=False) as view:
        for done in _first(watching, most):
            record = done.record
            judged = (Verdict.PASS, Verdict.REVIEW, Verdict.FAIL, None)
            if record.error or record.verdict not in judged or record.product != name:
                left_out[record.error or record.reason or f"it was taken for {record.product}"] += 1
            else:
                assert record.score is not None  # without an error there is one
                scores.append(record.score)
            view.update(done, {"good": len(scores)})
    for reason, count in left_out.most_common(5):
        warn(f"{count} cycles were left out: {printable(reason)}")
    if not scores:
        raise DataError(f"{capturing.source.name} gave no cycle of {name} to calibrate on")
    found = calibrate_cycles(
        scores,
        inspector,
        name,
        watching.plan,
        capturing.source.name,
        target_fpr=target_fpr,
        review_fpr=review_fpr,
    )
    found.save(Path(out))
    return found


def _first(watching: Watch, most: int | None) -> Iterator[InspectedCycle]:
    """The parts, up to a number of them; closes the source."""
    with closing(iter(watching)) as parts:  # type: ignore[type-var]  # a generator
        for number, done in enumerate(parts, start=1):
            yield done
            if number == most:
                return


@contextmanager
def _counted(watched: Watched, capturing: Capturing) -> Iterator[None]:
    """Take the capture's figures at the end, whatever ends it, and say what was lost."""
    try:
        yield
    finally:
        watched.look_at(capturing)
        if watched.waited > _LONG_WAIT and capturing.source.is_live:
            say(
                f"{capturing.source.name} waited {watched.waited:.0f} s for the inspection, and "
                "may have lost frames; take fewer frames, or --policy live"
            )


def _known(source: StreamSource, log: Path) -> Callable[[str, float], bool]:
    """Whether a folder's file has a record, and has not changed since."""
    if not isinstance(source, (str, os.PathLike)) or not Path(source).is_dir():
        return lambda path, changed: False
    times = taken_times(log)
    if times:
        say(f"{log} has records of {len(times)} files, which are not inspected again")

    def is_known(path: str, changed: float) -> bool:
        taken = times.get(printable(path))
        # To the millisecond, as records have it.
        return taken is not None and abs(_seconds(taken) - changed) < 0.002

    return is_known


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def _is_flagged(done: InspectedCycle) -> bool:
    return done.prediction is not None and done.record.verdict not in (Verdict.PASS, None)


def _tell(done: InspectedCycle) -> None:
    """Say which part did not pass, and why."""
    record = done.record
    name = f"part {record.cycle}" + (f" ({record.serial})" if record.serial else "")
    if record.error:
        say(f"{name} was not inspected: {record.error}")
    elif record.verdict not in (Verdict.PASS, None):
        say(f"{name}: {record.verdict.value}: {record.reason}")


def _save(done: InspectedCycle, out: Path) -> None:
    """Write the frame that decided, and its heatmap; their name begins with the time."""
    assert done.prediction is not None  # it is flagged
    from PIL import Image

    from mambaad.files import written_whole

    record = done.record
    frame = next(f for f in done.cycle.frames if f.index == record.frame)
    moment = datetime.fromtimestamp(frame.taken, timezone.utc)
    stem = f"{moment:%Y%m%dT%H%M%S}.{moment.microsecond // 1000:03}-{record.cycle}.png"
    with written_whole(out / stem) as temporary:
        assert done.prediction.image is not None
        Image.fromarray(done.prediction.image).save(temporary, format="PNG", compress_level=1)
    heatmap = out / f"{stem}{HEATMAP}"
    with written_whole(heatmap) as temporary:
        Image.fromarray(done.prediction.draw()).save(temporary, format="PNG", compress_level=1)
