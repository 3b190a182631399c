"""Calibration: per-class statistics and thresholds, from good parts that were not trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from mambaad.artifacts.manifest import CALIBRATION
from mambaad.artifacts.prototypes import read_prototypes
from mambaad.artifacts.snapshot import Snapshot
from mambaad.artifacts.tensors import Content, parse_tensors, tensors_content
from mambaad.data.masks import resize_mask_nearest
from mambaad.errors import RunError
from mambaad.inference.engine import Observation
from mambaad.inspection.product_settings import ProductSettings
from mambaad.inspection.quality import Quality, QualityLimits, quality_limits
from mambaad.inspection.thresholds import Threshold, conformal_threshold
from mambaad.size import check_tiles

FORMAT = 2
"""In format 1 scores were maxima of the whole anomaly map, a residual head's part included."""
TORCH = "torch"
"""The runtime of runs and bundles; that of an export is its target."""
OUTLINED = 0.005
"""Share of the good parts' map pixels that lie above the outline threshold."""
UNKNOWN = 0.4
"""Border of a class, as a fraction of the way from its farthest good part (0) to the nearest good
part of another class (1). Chosen on six real classes (benchmarks/README.md)."""
_UNKNOWN_ALONE = 2.0  # for a single class: a multiple of its farthest good part's distance
_MOST_PIXELS = 2**22  # per class, kept to set the outline threshold (16 MiB)
Method = Literal["hold-out", "cross-fit", "new parts"]


class CalibrationPart(NamedTuple):
    """Summary of one good part; the whole maps of all parts would take too much memory.

    ``score``: the maximum of its scored map where it is inspected. ``pixels``: an evenly spaced
    sample of its anomaly map there. ``distances``: of its embedding to each product's prototype.
    ``quality``: of its image.
    """

    score: float
    pixels: Float[np.ndarray, " n"]
    distances: Float[np.ndarray, " products"]
    quality: Quality


@dataclass(frozen=True)
class ClassCalibration:
    """Score statistics and thresholds of one class, from good parts that were not trained on.

    One value for each part, in the same order: ``scores``; ``distances`` of the embeddings to the
    class's prototype; ``sharpness`` and ``brightness``, see :class:`Quality`.

    ``review``, ``fail``: thresholds on the score. ``outline``: the map's value at which a region
    ends. ``median``: of the map on good parts. ``unknown_beyond``: the largest distance to the
    prototype at which an image still belongs to this class.
    """

    scores: Float[np.ndarray, " n"]
    distances: Float[np.ndarray, " n"]
    sharpness: Float[np.ndarray, " n"]
    brightness: Float[np.ndarray, " n"]
    review: Threshold
    fail: Threshold
    outline: float
    median: float
    unknown_beyond: float
    limits: QualityLimits
    settings: ProductSettings

    @property
    def heatmap_range(self) -> tuple[float, float]:
        """Low and high end of the heatmaps: good parts' median, with the FAIL threshold midway."""
        return self.median, self.median + 2 * max(self.fail.value - self.median, 1e-6)


@dataclass(frozen=True)
class Calibration:
    """Calibration of a model, class by class.

    ``method``: where the good parts came from. ``folds``: the number of cross-fitting folds, else
    0. ``precision``: the precision that the model ran in. ``weights``: the SHA-256 of its weights.
    ``device``: the type of device that it ran on, ``"cpu"`` or ``"cuda"``. ``runtime``: what ran
    it, :data:`TORCH` or the target of an export. ``format``: of the file that it was read from.
    ``tiles``: size and stride of the tiles that large images were seen in.
    """

    classes: Mapping[str, ClassCalibration]
    method: Method
    folds: int
    precision: str
    weights: str
    device: str = "cpu"
    format: int = FORMAT
    runtime: str = TORCH
    tiles: tuple[int, int] | None = None


def inspected_map(
    anomaly_map: Float[np.ndarray, "h w"], settings: ProductSettings
) -> Float[np.ndarray, "h w"]:
    """Mask an anomaly or a scored map: minus infinity where defects do not count.

    The map of a large image in tiles has another size than the settings' mask, which is resized.
    """
    inspected = settings.inspected
    if inspected is None:
        return anomaly_map
    if inspected.shape != anomaly_map.shape:
        inspected = resize_mask_nearest(inspected, *anomaly_map.shape)
    return np.where(inspected, anomaly_map, np.float32(-np.inf))


def summarise_part(
    observation: Observation, quality: Quality, settings: ProductSettings, count: int
) -> CalibrationPart:
    """Reduce a good part to what calibration needs.

    Args:
        observation: the model's observation of the part.
        quality: of its image.
        settings: of its class.
        count: number of good parts of its class, which share the memory for pixels.
    """
    inspected = inspected_map(observation.anomaly_map, settings)
    # An odd step, so that not every row gives the same few columns.
    step = math.ceil(count * inspected.size / _MOST_PIXELS) | 1
    pixels = inspected[np.isfinite(inspected)][::step].copy()
    score = float(inspected_map(observation.scored_map, settings).max())
    return CalibrationPart(score, pixels, observation.distances, quality)


def calibrate_class(
    parts: Sequence[CalibrationPart],
    index: int,
    others: Sequence[CalibrationPart],
    settings: ProductSettings,
    *,
    fail_fpr: float,
    review_fpr: float,
) -> ClassCalibration:
    """Set the thresholds of a class.

    Args:
        parts: its good parts, one or more.
        index: its position among the products.
        others: good parts of the other classes.
        settings: of the class.
        fail_fpr, review_fpr: target false-alarm rates, of FAIL, and of REVIEW and FAIL together;
            above 0, below 1.
    """
    scores = np.asarray([part.score for part in parts])
    pixels = np.concatenate([part.pixels for part in parts])
    median, outline = np.quantile(pixels, [0.5, 1 - OUTLINED]).tolist()
    qualities = [part.quality for part in parts]
    return ClassCalibration(
        scores=scores,
        distances=np.asarray([float(part.distances[index]) for part in parts]),
        unknown_beyond=_unknown_beyond(parts, others, index),
        sharpness=np.asarray([quality.sharpness for quality in qualities]),
        brightness=np.asarray([quality.brightness for quality in qualities]),
        review=conformal_threshold(scores, review_fpr),
        fail=conformal_threshold(scores, fail_fpr),
        outline=outline,
        median=median,
        limits=quality_limits(qualities),
        settings=settings,
    )


def _unknown_beyond(
    parts: Sequence[CalibrationPart], others: Sequence[CalibrationPart], index: int
) -> float:
    farthest = max(float(part.distances[index]) for part in parts)
    if not others:
        return _UNKNOWN_ALONE * farthest
    nearest_other = min(float(part.distances[index]) for part in others)
    return farthest + UNKNOWN * max(nearest_other - farthest, 0.0)


_ARRAYS = ("scores", "distances", "sharpness", "brightness")
_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)  # holds for nested dataclasses too


@checked(config=_STRICT)
class _ClassRecord:
    review: Threshold
    fail: Threshold
    outline: float
    median: float
    unknown_beyond: Annotated[float, Field(ge=0)]
    limits: QualityLimits
    mm_per_px: Annotated[float, Field(gt=0)] | None
    min_area_px: Annotated[float, Field(ge=0)]

    def __post_init__(self) -> None:
        for threshold in (self.review, self.fail):
            low, high = threshold.interval
            rates = (threshold.asked, threshold.rate)
            if not (0 <= low <= high <= 1 and all(0 < rate < 1 for rate in rates)):
                raise ValueError("false-alarm rates are between 0 and 1")
        if self.review.value > self.fail.value:
            raise ValueError("the REVIEW threshold is at most the FAIL threshold")
        shapes = self.limits.shapes
        if not shapes or any(side < 1 for shape in shapes for side in shape):
            raise ValueError("image sizes are at least 1 x 1")


@checked(config=_STRICT)
class _Record:
    format: Literal[1, 2]
    method: Method
    folds: int
    precision: str
    weights: str
    classes: dict[str, _ClassRecord]
    device: str = "cpu"
    runtime: str = TORCH
    tiles: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.tiles is not None:
            check_tiles(self.tiles)


def calibration_content(calibration: Calibration) -> Content:
    """Make the content of ``calibration.safetensors``."""
    tensors: dict[str, np.ndarray] = {}
    classes: dict[str, Any] = {}
    for name, c in calibration.classes.items():
        for array in _ARRAYS:
            tensors[f"{name}/{array}"] = np.asarray(getattr(c, array), float)
        if c.settings.inspected is not None:
            tensors[f"{name}/inspected"] = c.settings.inspected.astype(np.uint8)
        classes[name] = {
            "review": asdict(c.review),
            "fail": asdict(c.fail),
            "outline": c.outline,
            "median": c.median,
            "unknown_beyond": c.unknown_beyond,
            "limits": asdict(c.limits),
            "mm_per_px": c.settings.mm_per_px,
            "min_area_px": c.settings.min_area_px,
        }
    about: dict[str, Any] = {
        "format": FORMAT,
        "method": calibration.method,
        "folds": calibration.folds,
        "precision": calibration.precision,
        "weights": calibration.weights,
        "device": calibration.device,
        "classes": classes,
    }
    if calibration.runtime != TORCH:  # a name that versions without exports do not read
        about["runtime"] = calibration.runtime
    if calibration.tiles:  # unknown to former versions, which read all others
        about["tiles"] = list(calibration.tiles)
    return tensors_content(tensors, about)


def read_calibration(run: Snapshot, size: tuple[int, int]) -> Calibration | None:
    """Read the calibration of a run; None if it has none.

    Args:
        run: an open run or bundle.
        size: height and width of its anomaly maps.

    Raises:
        RunError: the calibration is damaged, of other classes than the run, or of a newer version.
    """
    if not run.has(CALIBRATION):
        return None
    path = run.name(CALIBRATION)
    tensors, about = parse_tensors(run.read(CALIBRATION), path)
    found = about.get("format")
    if isinstance(found, int) and found > FORMAT:
        raise RunError(
            f"{path} has format {found}, this version reads 1 to {FORMAT}; update mambaad, "
            "or calibrate again"
        )
    try:
        record: _Record = TypeAdapter(_Record).validate_python(about)
        classes = {
            name: _class_calibration(name, c, tensors, size) for name, c in record.classes.items()
        }
    except (ValidationError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise RunError(f"{path} is damaged; calibrate again, or restore it from a copy") from error
    products = read_prototypes(run).products
    if not products or set(classes) != set(products):
        raise RunError(
            f"{path} covers the classes {', '.join(classes) or 'none'}, expected the run's: "
            f"{', '.join(products) or 'none (training has not ended)'}; calibrate again"
        )
    return Calibration(
        classes,
        record.method,
        record.folds,
        record.precision,
        record.weights,
        record.device,
        record.format,
        record.runtime,
        record.tiles,
    )


def _class_calibration(
    name: str, record: _ClassRecord, tensors: Mapping[str, np.ndarray], size: tuple[int, int]
) -> ClassCalibration:
    arrays = {array: tensors[f"{name}/{array}"] for array in _ARRAYS}
    count = len(arrays["scores"])
    if not count or any(
        a.dtype.kind != "f" or a.shape != (count,) or not np.isfinite(a).all()
        for a in arrays.values()
    ):
        raise ValueError
    inspected = tensors.get(f"{name}/inspected")
    if inspected is not None and (inspected.shape != size or not inspected.any()):
        raise ValueError
    settings = ProductSettings(
        record.mm_per_px,
        record.min_area_px,
        None if inspected is None else inspected.astype(bool),
    )
    return ClassCalibration(
        **arrays,
        review=record.review,
        fail=record.fail,
        outline=record.outline,
        median=record.median,
        unknown_beyond=record.unknown_beyond,
        limits=record.limits,
        settings=settings,
    )
