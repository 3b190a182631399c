"""Settings of a product that were made on the page, and the calibration that follows from them.

What may be changed without breaking the stated false-alarm rate:

- thresholds, each with the rate that follows from the calibration's scores;
- the scores themselves, by recalibration from the random share;
- the inspected area, but only to less: the score is a maximum over the area, so a smaller one can
  only lower it, and the rate of a threshold that was set on the whole still holds;
- the smallest defect and the scale, which can only turn an alarm into a PASS.

Thresholds and scores belong to one bundle: under another one its own are in force, also if only its
calibration differs.
The area, the smallest defect and the scale belong to the product and stay.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from mambaad.errors import ConfigError
from mambaad.inspection.calibration import Calibration, ClassCalibration
from mambaad.inspection.product_settings import ProductSettings
from mambaad.serve.shapes import MOST_SHAPES, Shape, inspected_mask
from mambaad.serve.what_if import stated


class SampleOfShare(BaseModel):
    """Good parts of the random share, one value of each: what a recalibration was made from."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    scores: tuple[float, ...] = Field(min_length=1)
    sharpness: tuple[float, ...]
    brightness: tuple[float, ...]

    @model_validator(mode="after")
    def _one_each(self) -> SampleOfShare:
        if not len(self.scores) == len(self.sharpness) == len(self.brightness):
            raise ValueError("one score, sharpness and brightness a part")
        return self


class ProductSetting(BaseModel):
    """What the page set for a product; None where the bundle's own value is in force.

    ``bundle``: SHA-256 of the bundle that ``review``, ``fail`` and ``sample`` belong to.
    ``shapes``: drawn regions; ``area_changed``: when they were last changed: scores from before are
    of another area. ``min_area_px``, ``mm_per_px``: see
    :class:`mambaad.inspection.product_settings.ProductSettings`.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    bundle: str | None = None
    review: float | None = None
    fail: float | None = None
    sample: SampleOfShare | None = None
    shapes: tuple[Shape, ...] = Field(default=(), max_length=MOST_SHAPES)
    area_changed: str | None = None
    min_area_px: float | None = Field(default=None, ge=0, le=1e9)
    mm_per_px: float | None = Field(default=None, ge=1e-6, le=1e3)

    @model_validator(mode="after")
    def _in_order(self) -> ProductSetting:
        if (self.review is None) != (self.fail is None):
            raise ValueError("REVIEW and FAIL are set together")
        if self.review is not None and self.fail is not None and self.review > self.fail:
            raise ValueError("the REVIEW threshold is at most the FAIL threshold")
        return self


def adjusted_class(
    c: ClassCalibration, setting: ProductSetting, size: tuple[int, int], bundle: str
) -> ClassCalibration:
    """Apply a product's setting to its calibration.

    Args:
        c: the bundle's.
        setting: of the page.
        size: height and width of the anomaly maps.
        bundle: SHA-256 of the bundle that the calibration is of.

    Raises:
        ConfigError: nothing of the image would be inspected.
    """
    drawn = inspected_mask(setting.shapes, size)
    inspected = c.settings.inspected
    if drawn is not None:
        inspected = drawn if inspected is None else inspected & drawn
        if not inspected.any():
            raise ConfigError(
                "no part of the image is inspected; enlarge the region of interest, or shrink what "
                "is ignored"
            )
    own = c.settings
    settings = ProductSettings(
        own.mm_per_px if setting.mm_per_px is None else setting.mm_per_px,
        own.min_area_px if setting.min_area_px is None else setting.min_area_px,
        inspected,
    )
    c = replace(c, settings=settings)
    if setting.bundle != bundle:
        return c
    if setting.sample is not None:
        c = replace(
            c,
            scores=np.asarray(setting.sample.scores),
            # Records have none; of these only the largest is ever used, in a reason's words.
            distances=np.full(len(setting.sample.scores), c.distances.max()),
            sharpness=np.asarray(setting.sample.sharpness),
            brightness=np.asarray(setting.sample.brightness),
        )
    if setting.review is not None and setting.fail is not None:
        c = replace(c, review=stated(c.scores, setting.review), fail=stated(c.scores, setting.fail))
    return c


def adjusted(
    calibration: Calibration,
    settings: dict[str, ProductSetting],
    size: tuple[int, int],
    bundle: str,
) -> Calibration:
    """Apply the settings of products to a calibration; products without one keep the bundle's."""
    classes = {
        name: adjusted_class(c, settings[name], size, bundle) if name in settings else c
        for name, c in calibration.classes.items()
    }
    return replace(calibration, classes=classes)
