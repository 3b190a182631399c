"""The decision: from the observation of an image to a verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from jaxtyping import Float

from mambaad.inference.engine import Observation
from mambaad.inspection.calibration import Calibration, ClassCalibration, inspected_map
from mambaad.inspection.prediction import Prediction
from mambaad.inspection.quality import Quality
from mambaad.inspection.regions import find_regions
from mambaad.inspection.thresholds import p_value, percentile
from mambaad.types import Verdict


def nearest_product(
    products: Sequence[str],
    distances: Float[np.ndarray, " products"],
    calibration: Calibration | None = None,
) -> tuple[str | None, float | None]:
    """Find the product with the nearest prototype, and the margin to the next one.

    If the image lies within the borders of some calibrated classes, only those are candidates: a
    class of great variety may be further from its own parts than another class is.

    Args:
        products: class names, in the order of ``distances``; empty if training has not ended.
        distances: of the image's embedding to each prototype.
        calibration: gives the borders of the classes.

    Returns:
        The product (None if none is known), and the margin: the difference of its distance and
        that of the nearest other product over their sum, from 0 (the other is as near, or nearer)
        to 1; None for a single product.
    """
    if not len(distances):  # training has not ended
        return None, None
    inside = [
        i for i, is_within in enumerate(_within(products, distances, calibration)) if is_within
    ]
    order = np.argsort(distances, kind="stable").tolist()
    first = min(inside or order, key=order.index)
    others = [i for i in order if i != first]
    if not others:
        return products[first], None
    near, far = float(distances[first]), float(distances[others[0]])
    return products[first], max(far - near, 0.0) / max(far + near, 1e-12)


def _within(
    products: Sequence[str],
    distances: Float[np.ndarray, " products"],
    calibration: Calibration | None,
) -> list[bool]:
    """Whether the distances lie within the border of each class."""
    classes = calibration.classes if calibration else {}
    return [
        name in classes and bool(distance <= classes[name].unknown_beyond)
        for name, distance in zip(products, distances, strict=True)
    ]


def decide(
    observation: Observation,
    quality: Quality,
    products: Sequence[str],
    calibration: Calibration | None,
    given: str | None,
) -> Prediction:
    """Judge an image by the calibration of its class.

    In this order: an image that is not fit for inspection is a BAD IMAGE, one of no known product
    an UNKNOWN PRODUCT, a score above the FAIL threshold a FAIL, one above the REVIEW threshold a
    REVIEW, and all else a PASS.

    Args:
        observation: of the image, by the model.
        quality: of the image.
        products: the classes that the model knows, in the order of the distances.
        calibration: of the model; without it there is no verdict.
        given: the product, if the caller knows it.
    """
    product, margin = nearest_product(products, observation.distances, calibration)
    product, margin = (given, None) if given else (product, margin)
    c = calibration.classes.get(product) if calibration and product else None
    if calibration is None or c is None:
        score, anomaly_map = observation.score, observation.anomaly_map
        if calibration is None:
            return Prediction(score, anomaly_map, product, margin)
        # How good parts of it score is not known, so it must not pass.
        reason = f"there is no calibration of {product}"
        return Prediction(score, anomaly_map, None, margin, Verdict.UNKNOWN_PRODUCT, reason)
    scored = inspected_map(observation.scored_map, c.settings)
    score = float(scored.max())
    verdict, reason = _fitness(observation, quality, products, calibration, c, given)
    if verdict:
        unknown = verdict is Verdict.UNKNOWN_PRODUCT
        return Prediction(
            score,
            observation.anomaly_map,
            None if unknown else product,
            margin,
            verdict,
            reason,
            heatmap_range=c.heatmap_range,
            quality=asdict(quality),
        )
    regions, mask = find_regions(
        inspected_map(observation.anomaly_map, c.settings),
        scored,
        c.outline,
        c.review.value,
        (quality.height, quality.width),
        min_area=c.settings.min_area_px,
        mm_per_px=c.settings.mm_per_px,
    )
    verdict, reason = _verdict(c, score, regions[0].peak if regions else None)
    return Prediction(
        score,
        observation.anomaly_map,
        product,
        margin,
        verdict,
        reason,
        percentile(c.scores, score),
        p_value(c.scores, score),
        c.heatmap_range,
        regions,
        mask,
        asdict(quality),
    )


def _fitness(
    observation: Observation,
    quality: Quality,
    products: Sequence[str],
    calibration: Calibration,
    c: ClassCalibration,
    given: str | None,
) -> tuple[Verdict | None, str]:
    """The verdict on an image that cannot be judged, and the reason; None if it can be."""
    is_known = given is not None or any(_within(products, observation.distances, calibration))
    # An image of an unknown product is bad only if it would be bad for every product.
    limits = [c.limits] if is_known else [k.limits for k in calibration.classes.values()]
    problems = [limit.problem(quality) for limit in limits]
    if all(problems):
        return Verdict.BAD_IMAGE, str(c.limits.problem(quality))
    if not is_known:
        distance = float(np.min(observation.distances))
        return Verdict.UNKNOWN_PRODUCT, (
            f"its features are {distance:.3f} from the nearest product's, those of good parts at "
            f"most {c.distances.max():.3f}"
        )
    return None, ""


def _verdict(c: ClassCalibration, score: float, peak: float | None) -> tuple[Verdict, str]:
    """The verdict on a fit image, and the reason.

    ``peak``: of the highest region that is large enough; None if there is none.
    """
    if score <= c.review.value:
        return Verdict.PASS, ""
    if peak is None and score > c.review.value:
        return Verdict.PASS, (
            f"every anomalous region is smaller than {c.settings.min_area_px:.0f} px"
        )
    # Anything not known to be at or below a threshold counts as above it: a NaN never passes.
    peak = score if peak is None or math.isnan(score) else peak
    threshold, verdict = (
        (c.fail, Verdict.FAIL) if not peak <= c.fail.value else (c.review, Verdict.REVIEW)
    )
    return verdict, (
        f"peak {peak:.4f} is above {threshold.value:.4f}, which {threshold.rate:.1%} of good "
        "parts exceed"
    )
