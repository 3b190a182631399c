"""The measurement of verdicts on a data set's test images: false alarms and recall.

Three settings: the product of each image is given; it is inferred; or all classes are pooled under
one threshold, without labels ("absolute-unified").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mambaad.errors import RunError
from mambaad.inspection.calibration import Calibration, ClassCalibration, inspected_map
from mambaad.inspection.decision import nearest_product
from mambaad.inspection.inspector import Inspected, Inspector
from mambaad.inspection.stream import Observed
from mambaad.inspection.thresholds import conformal_threshold
from mambaad.metrics.names import HEADINGS, METRICS, At, MetricValues
from mambaad.metrics.protocols import ClassMetrics
from mambaad.types import ProductClass, Verdict
from mambaad.workflows.pixel_pairs import pixel_pair

SCALES = ("raw", "inferred product", "true product")
"""The ways of making scores comparable across classes, for one threshold over all of them."""


@dataclass
class VerdictCounts:
    """Counts of verdicts on good and on defective parts, and of correctly named products."""

    good: Counter[Verdict] = field(default_factory=Counter)
    defective: Counter[Verdict] = field(default_factory=Counter)
    named_right: int = 0

    def add(self, verdict: Verdict, is_defective: bool, named_right: bool) -> None:
        """Count one image."""
        (self.defective if is_defective else self.good)[verdict] += 1
        self.named_right += named_right

    @property
    def found(self) -> int:
        """Defective parts that are stopped: FAIL, or REVIEW, where a person looks."""
        return self.defective[Verdict.FAIL] + self.defective[Verdict.REVIEW]

    @property
    def missed(self) -> int:
        """Defective parts that PASS."""
        return self.defective[Verdict.PASS]

    @property
    def false_alarms(self) -> int:
        """Good parts that FAIL."""
        return self.good[Verdict.FAIL]

    @property
    def undecided(self) -> int:
        """Parts, good or defective, that are not judged: BAD IMAGE or UNKNOWN PRODUCT."""
        counts = self.good, self.defective
        return sum(c[v] for c in counts for v in (Verdict.BAD_IMAGE, Verdict.UNKNOWN_PRODUCT))


@dataclass(frozen=True)
class Unified:
    """Metrics of all classes' pooled scores, and rates under one threshold for all.

    ``false_alarms``: share of good parts above the threshold; ``worst_class``: the same in the
    class that has most; ``recall``: share of defective parts above it. All in [0, 1].
    """

    metrics: MetricValues
    false_alarms: float
    worst_class: float
    recall: float


@dataclass(frozen=True)
class VerdictEvaluation:
    """Counts by class, with the product given and inferred; and the unified figures by scale."""

    given: Mapping[str, VerdictCounts]
    inferred: Mapping[str, VerdictCounts]
    unified: Mapping[str, Unified]

    def lead(self) -> str:
        """Say in a sentence how many defects were found, and how many good parts were stopped."""
        total = _total(self.given)
        bad, good = sum(total.defective.values()), sum(total.good.values())
        parts = []
        if bad:
            parts.append(f"{total.found} of {bad} defect{_s(bad)} found, {total.missed} missed")
        if good:
            alarms, more = total.false_alarms, total.good[Verdict.REVIEW]
            parts.append(
                f"{alarms} false alarm{_s(alarms)} among {good} good part{_s(good)}, {more} more "
                "to review"
            )
        if total.undecided:
            parts.append(f"{total.undecided} not judged")
        return "; ".join(parts) + "."

    def plain_rows(self) -> list[list[str]]:
        """Make a heading and a row per class and for all: what was found, in numbers of parts.

        With the product of each part given. A defect is found if its part is stopped (FAIL or
        REVIEW) and missed if it passes; a false alarm is a good part that fails.
        """
        names = ["class", "defects found", "missed", "false alarms", "good to review"]
        counted = [*self.given.items(), ("all", _total(self.given))]
        has_undecided = any(counts.undecided for _, counts in counted)
        rows = [[*names, *(["not judged"] if has_undecided else [])]]
        for name, c in counted:
            bad, good = sum(c.defective.values()), sum(c.good.values())
            found = [f"{c.found} of {bad}", str(c.missed)] if bad else ["-", "-"]
            alarms = [f"{c.false_alarms} of {good}", str(c.good[Verdict.REVIEW])]
            undecided = [str(c.undecided)] if has_undecided else []
            rows.append([name, *found, *(alarms if good else ["-", "-"]), *undecided])
        return rows

    def warnings(self) -> list[str]:
        """Say of which classes most defects are missed; empty if of none."""
        most = [
            f"{name} ({c.missed} of {bad})"
            for name, c in self.given.items()
            if (bad := sum(c.defective.values())) and 2 * c.missed > bad
        ]
        if not most:
            return []
        return [
            f"Most defects are missed of {', '.join(most)}. See in the heatmaps whether they are "
            "marked. If so, calibrate with more good parts or a higher --review-fpr; if not, "
            "train longer, with larger images or another encoder."
        ]

    def to_rows(self, which: Mapping[str, VerdictCounts]) -> list[list[str]]:
        """Make a heading and a row per class and for all classes, in per cent of their parts."""
        rows = [
            ["class", "good", "FAIL", "REVIEW", "other", "bad", "FAIL", "REVIEW", "other", "named"]
        ]
        for name, counts in [*which.items(), ("all", _total(which))]:
            row = [name]
            for verdicts in (counts.good, counts.defective):
                number = sum(verdicts.values())
                other = verdicts[Verdict.UNKNOWN_PRODUCT] + verdicts[Verdict.BAD_IMAGE]
                shown = (verdicts[Verdict.FAIL], verdicts[Verdict.REVIEW], other)
                row += [str(number), *(_percent(count, number) for count in shown)]
            images = sum(counts.good.values()) + sum(counts.defective.values())
            rows.append([*row, _percent(counts.named_right, images)])
        return rows

    def unified_rows(self) -> list[list[str]]:
        """Make a heading and a row per way of scaling the scores, in per cent."""
        rows = [
            [
                "scores scaled by",
                *(HEADINGS[metric] for metric in METRICS[:-1]),
                *("false alarms", "worst class", "recall"),
            ]
        ]
        for name, u in self.unified.items():
            values = [u.metrics.get(metric) for metric in METRICS[:-1]]
            values += [u.false_alarms, u.worst_class, u.recall]
            rows.append([name, *("-" if v is None else f"{100 * v:.1f}" for v in values)])
        return rows


def check_calibrated(inspector: Inspector) -> Calibration:
    """Return the calibration of an inspector.

    Raises:
        RunError: no calibration, or one for another precision.
    """
    if inspector.calibration is None:
        raise RunError(
            f"{inspector.source} has no calibration for {inspector.precision}; run mambaad "
            "calibrate first"
        )
    return inspector.calibration


class VerdictMeasurement:
    """A measurement of verdicts on observed test images: product given, inferred, and pooled.

    Args:
        inspector: the inspector whose verdicts are measured.
        calibration: the inspector's calibration.
        classes: the classes whose images will be added.
        at: where the pixels of pooled figures are compared, see :func:`mambaad.evaluate`.
    """

    def __init__(
        self,
        inspector: Inspector,
        calibration: Calibration,
        classes: Sequence[ProductClass],
        at: At = "map",
    ) -> None:
        self._at: At = at
        self._inspector = inspector
        self._calibration = calibration
        self._given = {c.name: VerdictCounts() for c in classes}
        self._inferred = {c.name: VerdictCounts() for c in classes}
        has_masks = any(c.has_masks for c in classes)
        self._pooled = {scale: ClassMetrics("exact", has_masks) for scale in SCALES}
        self._alarms = {scale: Counter[tuple[str, bool]]() for scale in SCALES}
        self._parts = Counter[tuple[str, bool]]()
        self._limits = _pooled_thresholds(calibration)

    def add(self, observed: Observed) -> Inspected:
        """Count one image, and return its inspection with the product given."""
        sample = observed.item.sample
        assert sample is not None  # data sets only
        name, bad = sample.class_name, sample.is_defective
        self._parts[name, bad] += 1
        given = self._inspector.judge(observed, name)
        inferred = self._inspector.judge(observed, None)
        assert inferred.prediction is not None
        named_right = inferred.prediction.product == name
        for counts, inspected in ((self._given, given), (self._inferred, inferred)):
            assert inspected.record.verdict is not None
            counts[name].add(inspected.record.verdict, bad, named_right)
        self._pool(observed, name, bad)
        return given

    def _pool(self, observed: Observed, name: str, bad: bool) -> None:
        """Add the image to the pooled figures, scaled in three ways."""
        observation, _ = observed.result
        classes = self._calibration.classes
        products = self._inspector.products
        nearest, _ = nearest_product(products, observation.distances, self._calibration)
        inferred, true = classes[nearest or name], classes[name]
        for scale, c in zip(SCALES, (inferred, inferred, true), strict=True):
            anomaly_map = observation.anomaly_map
            # Only the inspected area, as in the scores from which the threshold was set.
            score = inspected_map(observation.scored_map, c.settings).max()
            if scale != "raw":
                anomaly_map, score = _scaled(anomaly_map, c), _scaled(score, c)
            pair = pixel_pair(observed, anomaly_map, "exact", self._at)
            self._pooled[scale].update(pair.anomaly_map, float(score), bad, pair.mask)
            self._alarms[scale][name, bad] += bool(score > self._limits[scale])

    def compute(self) -> VerdictEvaluation:
        """Compute the counts and figures of all images so far."""
        unified = {
            scale: _unified(self._pooled[scale], self._alarms[scale], self._parts)
            for scale in SCALES
        }
        seen = {name for name, _ in self._parts}
        given, inferred = (
            {name: counts for name, counts in by_class.items() if name in seen}
            for by_class in (self._given, self._inferred)
        )
        return VerdictEvaluation(given, inferred, unified)


def _scaled(values: np.ndarray, c: ClassCalibration) -> np.ndarray:
    """Scale a map's values, or scores, so that the class's FAIL threshold is 1.

    0 is the median of its good parts' maps.
    """
    scaled: np.ndarray = (values - c.median) / max(c.fail.value - c.median, 1e-6)
    return scaled.astype(np.float32)


def _pooled_thresholds(calibration: Calibration) -> dict[str, float]:
    """Set one threshold for all classes' scores together, at the rate requested for FAIL."""
    classes = list(calibration.classes.values())
    asked = classes[0].fail.asked
    raw = np.concatenate([c.scores for c in classes])
    scaled = np.concatenate([_scaled(c.scores, c) for c in classes])
    by_product = conformal_threshold(scaled, asked).value
    return dict(
        zip(SCALES, (conformal_threshold(raw, asked).value, by_product, by_product), strict=True)
    )


def _unified(
    metrics: ClassMetrics,
    alarms: Mapping[tuple[str, bool], int],
    parts: Mapping[tuple[str, bool], int],
) -> Unified:
    """Compute the figures; ``alarms`` and ``parts`` are counts by class and defective or not."""

    def share(keys: Sequence[tuple[str, bool]]) -> float:
        total = sum(parts[key] for key in keys)
        return sum(alarms.get(key, 0) for key in keys) / total if total else float("nan")

    good = [key for key in parts if not key[1]]
    return Unified(
        metrics.compute(),
        share(good),
        max((share([key]) for key in good), default=float("nan")),
        share([key for key in parts if key[1]]),
    )


def _total(which: Mapping[str, VerdictCounts]) -> VerdictCounts:
    total = VerdictCounts()
    for counts in which.values():
        total.good += counts.good
        total.defective += counts.defective
        total.named_right += counts.named_right
    return total


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _percent(count: int, total: int) -> str:
    return f"{100 * count / total:.1f}" if total else "-"
