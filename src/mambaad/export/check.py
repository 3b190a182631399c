"""What changes when an export inspects in place of the model that it was made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mambaad.errors import ConfigError
from mambaad.export.values import CLOSE, apart
from mambaad.inspection.calibration import ClassCalibration
from mambaad.inspection.inspector import Inspected, Inspector
from mambaad.inspection.prediction import Prediction
from mambaad.progress import ProgressBar


@dataclass
class Difference:
    """How an export differs from the model over some images.

    ``precision``: of the export. ``images``: how many were compared. ``unread``: how many could
    not be inspected. ``maps``, ``scores``: the largest differences. ``evidence``: that of the maps
    of each scale and of embeddings. ``largest``, ``most``: the largest value of a map, and of
    evidence. ``has_verdicts``: of the model, and of the export. ``changed``: a line for each
    verdict that is another one, and ``near``: how many of these lie within :data:`CLOSE` of a
    threshold.
    """

    precision: str
    images: int = 0
    unread: int = 0
    maps: float = 0.0
    scores: float = 0.0
    evidence: float = 0.0
    largest: float = 0.0
    most: float = 0.0
    has_verdicts: tuple[bool, bool] = (False, False)
    changed: list[str] = field(default_factory=list)
    near: int = 0

    @property
    def is_same(self) -> bool:
        """Whether the export stands for the model: in float32 by values too, else by verdicts."""
        far = len(self.changed) - self.near
        if far or not self.images or self.has_verdicts[0] != self.has_verdicts[1]:
            return False
        if self.precision != "float32":
            return True
        values = ((self.maps, self.largest), (self.evidence, self.most))
        return all(far <= CLOSE * max(1.0, largest) for far, largest in values)


def compare(model: Inspector, exported: Inspector, images: Sequence[Path]) -> Difference:
    """Inspect images by a model and by an export of it, and compare what they say.

    Args:
        model, exported: of the same weights.
        images: files; those that cannot be read are counted.

    Raises:
        ConfigError: the export is of another model.
    """
    if model.weights != exported.weights:
        raise ConfigError(
            f"{exported.source} was not made of {model.source}, but of weights "
            f"{exported.weights[:12]}; give the run or bundle that it was made of"
        )
    if model.tiling != exported.tiling:
        raise ConfigError(
            f"{exported.source} and {model.source} see large images in other tiles; export again"
        )
    found = Difference(
        exported.precision,
        has_verdicts=(model.calibration is not None, exported.calibration is not None),
    )
    pairs = zip(
        model.inspect_items(map(model.item, images)),
        exported.inspect_items(map(exported.item, images)),
        strict=True,
    )
    with ProgressBar("comparing") as bar:
        for done, (ours, theirs) in enumerate(pairs, 1):
            _add(found, model, ours, theirs)
            bar.update(done, len(images))
    return found


def _add(found: Difference, model: Inspector, ours: Inspected, theirs: Inspected) -> None:
    if ours.prediction is None or theirs.prediction is None:
        found.unread += 1
        return
    a, b = ours.prediction, theirs.prediction
    found.images += 1
    # Of NumPy, as they keep a NaN.
    found.maps = float(np.maximum(found.maps, apart(a.anomaly_map, b.anomaly_map)))
    found.scores = float(np.maximum(found.scores, abs(a.score - b.score)))
    found.largest = max(found.largest, float(a.anomaly_map.max()))
    before, after = (one.observed.result[0].evidence for one in (ours, theirs))
    if before and after:
        for name in ("scale_maps", "embedding"):
            value = getattr(before, name)
            found.evidence = float(np.maximum(found.evidence, apart(value, getattr(after, name))))
            found.most = max(found.most, float(np.abs(value).max(initial=0.0)))
    if all(found.has_verdicts) and (a.verdict, a.product) != (b.verdict, b.product):
        found.changed.append(f"{ours.record.path}: {_named(a)} became {_named(b)}")
        found.near += _is_near(model, ours)


def _named(prediction: Prediction) -> str:
    verdict = prediction.verdict.value if prediction.verdict else "no verdict"
    return f"{verdict} ({prediction.product or 'no product'}, {prediction.score:.6f})"


def _is_near(model: Inspector, inspected: Inspected) -> bool:
    """Whether a rounding may change what is decided of an image."""
    prediction, calibration = inspected.prediction, model.calibration
    assert prediction is not None
    if calibration is None:
        return False
    classes = calibration.classes
    product = prediction.product
    if product is not None and product in classes and _is_at(classes[product], prediction.score):
        return True
    observation, _ = inspected.observed.result
    borders = [classes[name].unknown_beyond for name in model.products if name in classes]
    if len(borders) != len(observation.distances):
        return False
    return bool((np.abs(observation.distances - np.asarray(borders)) <= CLOSE).any())


def _is_at(c: ClassCalibration, score: float) -> bool:
    return any(abs(score - threshold.value) <= CLOSE for threshold in (c.review, c.fail))
