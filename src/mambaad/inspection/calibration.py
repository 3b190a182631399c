"""What the scores of good parts are like, class by class: the ground that verdicts stand on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from mambaad.artifacts.run_folder import load_tensors, read_good_parts, save_tensors
from mambaad.errors import RunError
from mambaad.inspection.product_settings import ProductSettings
from mambaad.inspection.quality import Quality, QualityLimits, quality_limits
from mambaad.inspection.thresholds import Threshold, conformal_threshold

CALIBRATION = "calibration.safetensors"
FORMAT = 1
OUTLINED = 0.005
"""Share of good parts' pixels that lie above the threshold of outlines."""
UNKNOWN = 0.4
"""Where an image stops being of a class: so far from its farthest good part (0) on the way to the
nearest good part of another class (1). Chosen on six real classes (benchmarks/README.md)."""
_UNKNOWN_ALONE = 2.0  # of a single class: so many times as far as its farthest good part
_MOST_PIXELS = 2**22  # of a class, kept for the threshold of outlines (16 MiB)
Method = Literal["hold-out", "cross-fit", "new parts"]


class Look(NamedTuple):
    """What a model sees in one image, before anything is decided.

    ``anomaly_map``: float32, at the model's size. ``distances``: of its embedding to the mean of
    each product's good parts.
    """

    anomaly_map: Float[np.ndarray, "h w"]
    distances: Float[np.ndarray, " products"]
    quality: Quality


class GoodPart(NamedTuple):
    """What calibration keeps of a look at a good part: whole maps of all parts are too many.

    ``pixels``: of the map where it is inspected, evenly spread.
    """

    score: float
    pixels: Float[np.ndarray, " n"]
    distances: Float[np.ndarray, " products"]
    quality: Quality


@dataclass(frozen=True)
class ClassCalibration:
    """Good parts of one class that were not trained on, and what follows from them.

    Of each part, in the same order: ``scores``; ``distances`` of their embeddings to the mean of
    the class; ``sharpness``, ``brightness``, see :class:`Quality`.

    ``review``, ``fail``: thresholds of the score. ``outline``: of the map, where a region ends.
    ``median``: of the map. ``unknown_beyond``: an image whose embedding is further away is not of
    this class.
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
    def scale(self) -> tuple[float, float]:
        """Of heatmaps: good parts' median is its low end, the threshold of FAIL its middle."""
        return self.median, self.median + 2 * max(self.fail.value - self.median, 1e-6)


@dataclass(frozen=True)
class Calibration:
    """The classes' calibrations.

    ``method``: where the good parts came from. ``folds``: of cross-fitting, else 0.
    ``precision``: that the model was run in. ``weights``: the SHA-256 of its weights.
    """

    classes: Mapping[str, ClassCalibration]
    method: Method
    folds: int
    precision: str
    weights: str


def inspected_map(
    anomaly_map: Float[np.ndarray, "h w"], settings: ProductSettings
) -> Float[np.ndarray, "h w"]:
    """The map where defects count, and minus infinity elsewhere."""
    if settings.inspected is None:
        return anomaly_map
    return np.where(settings.inspected, anomaly_map, np.float32(-np.inf))


def good_part(look: Look, settings: ProductSettings, count: int) -> GoodPart:
    """What is to be kept of a look at a good part.

    Args:
        look: what the model sees.
        settings: what holds for its class.
        count: of its class's good parts, which share the memory there is.
    """
    counted = inspected_map(look.anomaly_map, settings)
    # Odd, so that not the same few columns of every row are taken.
    step = math.ceil(count * counted.size / _MOST_PIXELS) | 1
    pixels = counted[np.isfinite(counted)][::step].copy()
    return GoodPart(float(counted.max()), pixels, look.distances, look.quality)


def calibrate_class(
    parts: Sequence[GoodPart],
    index: int,
    others: Sequence[GoodPart],
    settings: ProductSettings,
    *,
    fail_fpr: float,
    review_fpr: float,
) -> ClassCalibration:
    """Set a class's thresholds.

    Args:
        parts: its good parts, one or more.
        index: which of the products it is.
        others: good parts of the other classes.
        settings: what holds for it.
        fail_fpr, review_fpr: the false-alarm rates wanted, of FAIL, and of REVIEW and FAIL.
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


def _unknown_beyond(parts: Sequence[GoodPart], others: Sequence[GoodPart], index: int) -> float:
    own = max(float(part.distances[index]) for part in parts)
    if not others:
        return _UNKNOWN_ALONE * own
    other = min(float(part.distances[index]) for part in others)
    return own + UNKNOWN * max(other - own, 0.0)


_ARRAYS = ("scores", "distances", "sharpness", "brightness")
_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)  # for what is nested in them too


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
                raise ValueError("rates are shares of good parts")
        if self.review.value > self.fail.value:
            raise ValueError("a part that fails is one that does not pass")
        shapes = self.limits.shapes
        if not shapes or any(side < 1 for shape in shapes for side in shape):
            raise ValueError("images have pixels")


@checked(config=_STRICT)
class _Record:
    format: Literal[1]
    method: Method
    folds: int
    precision: str
    weights: str
    classes: dict[str, _ClassRecord]


def save_calibration(folder: Path, calibration: Calibration) -> None:
    """Write ``calibration.safetensors`` into a run folder, whole or not at all."""
    tensors: dict[str, torch.Tensor] = {}
    classes: dict[str, Any] = {}
    for name, c in calibration.classes.items():
        for array in _ARRAYS:
            tensors[f"{name}/{array}"] = torch.tensor(np.asarray(getattr(c, array), float))
        if c.settings.inspected is not None:
            tensors[f"{name}/inspected"] = torch.from_numpy(c.settings.inspected.astype(np.uint8))
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
    about = {
        "format": FORMAT,
        "method": calibration.method,
        "folds": calibration.folds,
        "precision": calibration.precision,
        "weights": calibration.weights,
        "classes": classes,
    }
    save_tensors(folder / CALIBRATION, tensors, about)


def read_calibration(folder: Path, size: tuple[int, int]) -> Calibration | None:
    """The calibration of a run; None if it has none.

    Args:
        folder: of the run.
        size: height and width of its anomaly maps.

    Raises:
        RunError: damaged, of other classes than the run, or of a newer version.
    """
    path = Path(folder) / CALIBRATION
    if not path.is_file():
        return None
    tensors, about = load_tensors(path)
    found = about.get("format") if isinstance(about, dict) else None
    if isinstance(found, int) and found > FORMAT:
        raise RunError(
            f"{path} has format {found}, this version reads {FORMAT}; update mambaad, "
            "or calibrate again"
        )
    try:
        record: _Record = TypeAdapter(_Record).validate_python(about)
        classes = {name: _class_of(name, c, tensors, size) for name, c in record.classes.items()}
    except (ValidationError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise RunError(f"{path} is damaged; calibrate again, or restore it from a copy") from error
    products = read_good_parts(folder).products
    if not products or set(classes) != set(products):
        raise RunError(
            f"{path} is of the classes {', '.join(classes) or 'none'}, expected the run's, "
            f"{', '.join(products) or 'which are not known'}; calibrate again"
        )
    return Calibration(classes, record.method, record.folds, record.precision, record.weights)


def _class_of(
    name: str, record: _ClassRecord, tensors: Mapping[str, torch.Tensor], size: tuple[int, int]
) -> ClassCalibration:
    arrays = {array: tensors[f"{name}/{array}"].numpy() for array in _ARRAYS}
    count = len(arrays["scores"])
    if not count or any(
        a.dtype.kind != "f" or a.shape != (count,) or not np.isfinite(a).all()
        for a in arrays.values()
    ):
        raise ValueError
    inspected = tensors.get(f"{name}/inspected")
    if inspected is not None and (tuple(inspected.shape) != size or not inspected.any()):
        raise ValueError
    settings = ProductSettings(
        record.mm_per_px,
        record.min_area_px,
        None if inspected is None else inspected.numpy().astype(bool),
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
