"""One verdict for a part or cycle, from those of its frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

import numpy as np

from mambaad.capture.cycles import Cycle
from mambaad.capture.frame import Frame
from mambaad.capture.plan import RULES, Plan
from mambaad.files import printable
from mambaad.inspection.calibration import Calibration
from mambaad.inspection.cycle_calibration import CycleCalibration
from mambaad.inspection.inspector import Inspected
from mambaad.inspection.prediction import Prediction
from mambaad.inspection.records import CycleRecord, FrameRecord, Record
from mambaad.inspection.thresholds import p_value, percentile
from mambaad.types import Verdict

_FIT = 0.5  # share of its frames that a cycle needs, to be judged by them
_JUDGED = (Verdict.PASS, Verdict.REVIEW, Verdict.FAIL)


def join(values: Sequence[float], rule: str) -> float:
    """Join the scores of frames to that of their cycle, by a plan's rule.

    Args:
        values: of one frame or more.
        rule: see :class:`mambaad.capture.plan.Plan`. Of fewer values than ``at-least:N`` names, the
            lowest counts.
    """
    found = RULES.fullmatch(rule)
    assert found  # the plan has checked it
    if found[1]:
        return sorted(values, reverse=True)[min(int(found[1]), len(values)) - 1]
    if rule == "max":
        return max(values)
    return float(np.mean(values) if rule == "mean" else np.median(values))


def frame_score(prediction: Prediction, calibration: Calibration | None) -> float:
    """What a frame adds to its cycle's score: its own, regions that are too small left out.

    A frame passes whose regions above the threshold of REVIEW are smaller than the product's least
    area; so it counts as that threshold at most.
    """
    c = calibration.classes.get(prediction.product or "") if calibration else None
    if c is None:
        return prediction.score
    if prediction.regions:
        return prediction.regions[0].peak
    return min(prediction.score, c.review.value)


def judge_cycle(
    cycle: Cycle,
    inspected: Sequence[Inspected],
    plan: Plan,
    calibration: Calibration | None,
    thresholds: CycleCalibration | None,
) -> tuple[CycleRecord, int | None]:
    """Decide on a cycle.

    A single frame without thresholds by cycle has the verdict of an image. Else the frames that are
    fit for inspection, at least half of them, are joined by the plan's rule; several frames without
    thresholds by cycle have a score, and no verdict.

    Args:
        cycle: its frames.
        inspected: the same frames, in their order; none if the cycle has an error.
        plan: by which it was captured.
        calibration: of the model, for single images.
        thresholds: by cycle.

    Returns:
        Its record, and the place, in the cycle, of the frame that decided; None if there is none.
    """
    errors = [one.record.error for one in inspected if one.record.error]
    if cycle.error or errors:
        return _failed(cycle, cycle.error or str(errors[0])), None
    if plan.frames == 1 and thresholds is None:
        return _record(cycle, inspected, 0), 0
    predictions = [one.prediction for one in inspected if one.prediction is not None]
    fit = [i for i, p in enumerate(predictions) if p.verdict in _JUDGED or calibration is None]
    if len(fit) < _FIT * len(predictions):
        unfit = Counter(p.verdict for i, p in enumerate(predictions) if i not in fit)
        verdict = unfit.most_common(1)[0][0]
        place = next(i for i, p in enumerate(predictions) if p.verdict is verdict)
        record = _record(cycle, inspected, place)
        number = len(predictions) - len(fit)
        record.reason = f"{number} of {len(predictions)} frames cannot be judged: {record.reason}"
        return record, place
    product = Counter(predictions[i].product for i in fit).most_common(1)[0][0]
    fit = [i for i in fit if predictions[i].product == product]
    values = [frame_score(predictions[i], calibration) for i in fit]
    score = join(values, plan.rule)
    place = fit[int(np.argmin(np.abs(np.asarray(values) - score)))]
    record = _record(cycle, inspected, place)
    record.schema_version, record.rule, record.score = 2, plan.rule, score
    record.verdict, record.percentile, record.p_value = None, None, None
    if thresholds is None:
        record.reason = "frames are joined, and there are no thresholds by cycle"
        return record, place
    if product != thresholds.product:
        record.verdict = Verdict.UNKNOWN_PRODUCT
        record.reason = f"there is no calibration by cycle of {product}"
        return record, place
    scores = np.asarray(thresholds.scores)
    record.percentile, record.p_value = percentile(scores, score), p_value(scores, score)
    record.verdict, record.reason = _verdict(score, thresholds)
    if record.verdict is Verdict.PASS:
        record.regions = []
    return record, place


def _verdict(score: float, thresholds: CycleCalibration) -> tuple[Verdict, str]:
    if score <= thresholds.review.value:
        return Verdict.PASS, ""
    is_failed = not score <= thresholds.fail.value
    threshold = thresholds.fail if is_failed else thresholds.review
    return Verdict.FAIL if is_failed else Verdict.REVIEW, (
        f"score {score:.4f} is above {threshold.value:.4f}, which {threshold.rate:.1%} of good "
        "cycles exceed"
    )


def _record(cycle: Cycle, inspected: Sequence[Inspected], place: int) -> CycleRecord:
    """The record of a cycle: that of one of its frames, and what the others were."""
    frames = [_frame(f, one.record) for f, one in zip(cycle.frames, inspected, strict=True)]
    record = inspected[place].record
    return CycleRecord(
        **{**record.model_dump(), "path": printable(cycle.frames[place].path or cycle.source)},
        **_place(cycle, cycle.frames[place]),
        frames=frames,
    )


def _failed(cycle: Cycle, error: str) -> CycleRecord:
    first = cycle.frames[0] if cycle.frames else None
    frames = [_frame(frame, None) for frame in cycle.frames]
    return CycleRecord(
        path=printable(first.path if first and first.path else cycle.source),
        time=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        error=printable(error),
        **_place(cycle, first),
        frames=frames,
    )


def _place(cycle: Cycle, frame: Frame | None) -> dict[str, Any]:
    return {
        "cycle": cycle.number,
        "serial": cycle.serial,
        "source": cycle.source,
        "frame": frame.index if frame else None,
        "seconds": round(frame.seconds, 3) if frame else None,
        "taken": _time(frame.taken) if frame else None,
        "dropped": cycle.dropped,
    }


def _frame(frame: Frame, record: Record | None) -> FrameRecord:
    return FrameRecord(
        frame=frame.index,
        seconds=round(frame.seconds, 3),
        score=record.score if record else None,
        verdict=record.verdict if record else None,
        error=printable(frame.error) if frame.error else None,
    )


def _time(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.isoformat(timespec="milliseconds")
