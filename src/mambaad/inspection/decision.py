"""From what a model sees in an image to a verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from jaxtyping import Float

from mambaad.inspection.calibration import Calibration, ClassCalibration, Look, inspected_map
from mambaad.inspection.regions import find_regions
from mambaad.inspection.thresholds import p_value, percentile
from mambaad.types import Prediction, Verdict


def nearest_product(
    products: Sequence[str],
    distances: Float[np.ndarray, " products"],
    calibration: Calibration | None = None,
) -> tuple[str | None, float | None]:
    """The class whose good parts' mean is nearest, and how sure that is.

    Of a calibrated model's classes only those count whose border contains the image, if it is in
    any: a class of great variety may be further from its own parts than another class is.

    Sure by the margin to the nearest other class: the difference of both distances over their sum,
    0 (that is as near, or nearer) to 1; None for a single class.
    """
    if not len(distances):  # training has not ended
        return None, None
    inside = [i for i, is_in in enumerate(_inside(products, distances, calibration)) if is_in]
    order = np.argsort(distances, kind="stable").tolist()
    first = min(inside or order, key=order.index)
    others = [i for i in order if i != first]
    if not others:
        return products[first], None
    near, far = float(distances[first]), float(distances[others[0]])
    return products[first], max(far - near, 0.0) / max(far + near, 1e-12)


def _inside(
    products: Sequence[str],
    distances: Float[np.ndarray, " products"],
    calibration: Calibration | None,
) -> list[bool]:
    """Whether an image at these distances is within each class's border."""
    classes = calibration.classes if calibration else {}
    return [
        name in classes and bool(distance <= classes[name].unknown_beyond)
        for name, distance in zip(products, distances, strict=True)
    ]


def decide(
    look: Look, products: Sequence[str], calibration: Calibration | None, given: str | None
) -> Prediction:
    """Judge an image by the calibration of its class.

    In this order: an image that is not fit is a BAD IMAGE, one of no known product is an UNKNOWN
    PRODUCT, a score above the threshold of FAIL fails, one above that of REVIEW is to be looked
    at, and all else is a PASS.

    Args:
        look: what the model sees.
        products: the classes that it knows, in the order of the distances.
        calibration: theirs; without it there is no verdict.
        given: the class, if the caller knows it.
    """
    product, margin = nearest_product(products, look.distances, calibration)
    product, margin = (given, None) if given else (product, margin)
    c = calibration.classes.get(product) if calibration and product else None
    if calibration is None or c is None:
        score = float(look.anomaly_map.max())
        if calibration is None:
            return Prediction(score, look.anomaly_map, product, margin)
        # Nothing is known of what its good parts score, so it must not go for one of them.
        reason = f"there is no calibration of {product}"
        return Prediction(score, look.anomaly_map, None, margin, Verdict.UNKNOWN_PRODUCT, reason)
    counted = inspected_map(look.anomaly_map, c.settings)
    score = float(counted.max())
    quality = asdict(look.quality)
    verdict, reason = _fitness(look, products, calibration, c, given)
    if verdict:
        unknown = verdict is Verdict.UNKNOWN_PRODUCT
        return Prediction(
            score,
            look.anomaly_map,
            None if unknown else product,
            margin,
            verdict,
            reason,
            scale=c.scale,
            quality=quality,
        )
    regions, mask = find_regions(
        counted,
        c.outline,
        c.review.value,
        (look.quality.height, look.quality.width),
        min_area=c.settings.min_area_px,
        mm_per_px=c.settings.mm_per_px,
    )
    verdict, reason = _verdict(c, score, regions[0].peak if regions else None)
    return Prediction(
        score,
        look.anomaly_map,
        product,
        margin,
        verdict,
        reason,
        percentile(c.scores, score),
        p_value(c.scores, score),
        c.scale,
        regions,
        mask,
        quality,
    )


def _fitness(
    look: Look,
    products: Sequence[str],
    calibration: Calibration,
    c: ClassCalibration,
    given: str | None,
) -> tuple[Verdict | None, str]:
    """A verdict on an image that cannot be judged, and why; None if it can be."""
    is_known = given is not None or any(_inside(products, look.distances, calibration))
    # An image of anything else is as it may: it is bad only if it would be for every product.
    limits = [c.limits] if is_known else [k.limits for k in calibration.classes.values()]
    problems = [limit.problem(look.quality) for limit in limits]
    if all(problems):
        return Verdict.BAD_IMAGE, str(c.limits.problem(look.quality))
    if not is_known:
        distance = float(np.min(look.distances))
        return Verdict.UNKNOWN_PRODUCT, (
            f"its features are {distance:.3f} from the nearest product's, good parts at most "
            f"{c.distances.max():.3f}"
        )
    return None, ""


def _verdict(c: ClassCalibration, score: float, peak: float | None) -> tuple[Verdict, str]:
    """``peak``: of the highest region that is large enough, if there is one."""
    if score <= c.review.value:
        return Verdict.PASS, ""
    if peak is None and score > c.review.value:
        return Verdict.PASS, (
            f"what looks anomalous is smaller than {c.settings.min_area_px:.0f} px"
        )
    # Whatever is not known to be at or below a threshold counts as above it: a NaN never passes.
    peak = score if peak is None or math.isnan(score) else peak
    threshold, verdict = (
        (c.fail, Verdict.FAIL) if not peak <= c.fail.value else (c.review, Verdict.REVIEW)
    )
    return verdict, (
        f"peak {peak:.4f} is above {threshold.value:.4f}, which {threshold.rate:.1%} of good "
        "parts exceed"
    )
