"""Settings of a product: where defects count, from which size, and the scale of its images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from PIL import Image
from pydantic import Field, ValidationError

from mambaad.data.decoding import decode
from mambaad.data.images import AUTO, is_transparent, to_rgb
from mambaad.data.masks import resize_mask_keeping
from mambaad.documents import DocumentError, read_yaml, shortened
from mambaad.errors import ConfigError
from mambaad.setting_checks import Settings, problem_of
from mambaad.types import MAX_PIXELS


@dataclass(frozen=True)
class ProductSettings:
    """Settings for the inspection of one class.

    ``mm_per_px``: scale of the original image; None if unknown. ``min_area_px``: smaller regions
    are not defects, in pixels of the original image. ``inspected``: True where defects count, at
    the anomaly map's size; None for everywhere.
    """

    mm_per_px: float | None = None
    min_area_px: float = 0.0
    inspected: Bool[np.ndarray, "h w"] | None = None


_WHITE = 127  # grey levels above it count as white
_GREY = (16, 239)  # from .. to: neither black nor white, with room for compression artefacts
_MOST_GREY = 0.05  # share of a mask's pixels: its edges may be smoothed
_LARGEST = 1e9  # area, in pixels or mm²


class _Given(Settings):
    mm_per_px: float | None = Field(None, ge=1e-6, le=1e3)
    min_area_px: float | None = Field(None, ge=0, le=_LARGEST)
    min_area_mm2: float | None = Field(None, ge=0, le=_LARGEST)
    region_of_interest: str | None = None
    ignore: str | None = None


def read_product_settings(
    path: Path, products: Sequence[str], size: tuple[int, int], max_pixels: int = MAX_PIXELS
) -> Mapping[str, ProductSettings]:
    """Read settings from a YAML file: a mapping from classes to their settings.

    These are ``mm_per_px``; ``min_area_px`` or ``min_area_mm2``; and two mask images, with paths
    relative to the file: ``region_of_interest``, white where defects count, and ``ignore``, white
    where they do not.

    Args:
        path: the file.
        products: the classes of the model.
        size: height and width of the anomaly maps.
        max_pixels: masks with more are refused.

    Raises:
        ConfigError: a file that cannot be read, or an invalid setting; names it.
        DataError: a mask that cannot be read.
    """
    flag = f"--products {path}"
    try:
        content = read_yaml(path)
    except DocumentError as error:
        raise ConfigError(f"--products: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(
            f"{flag}: expected a mapping of classes, got {type(content).__name__}; write "
            "'bottle: {mm_per_px: 0.1}'"
        )
    settings = {}
    for name, given in content.items():
        if name not in products:
            raise ConfigError(
                f"{flag}: no class '{shortened(name)}'; choose from {', '.join(products)}"
            )
        try:
            settings[name] = _settings(
                _Given.model_validate({} if given is None else given), path.parent, size, max_pixels
            )
        except ValidationError as error:
            where, problem = problem_of(error)
            raise ConfigError(f"{flag}: {name}{where and '.'}{where}: {problem}") from None
        except ConfigError as error:
            raise ConfigError(f"{flag}: {name}: {error}") from None
    return settings


def _settings(
    given: _Given, folder: Path, size: tuple[int, int], max_pixels: int
) -> ProductSettings:
    area = given.min_area_px or 0.0
    if given.min_area_mm2 is not None:
        if given.min_area_px is not None:
            raise ConfigError("min_area_px and min_area_mm2 exclude each other; give one")
        if given.mm_per_px is None:
            raise ConfigError("min_area_mm2 needs mm_per_px; give both")
        area = given.min_area_mm2 / given.mm_per_px**2
    inspected = None
    if given.region_of_interest is not None or given.ignore is not None:
        inspected = np.ones(size, dtype=bool)
        if given.region_of_interest is not None:
            region = _read_mask(folder / given.region_of_interest, max_pixels)
            inspected &= resize_mask_keeping(region, *size)[0]
        if given.ignore is not None:
            ignored = _read_mask(folder / given.ignore, max_pixels)
            inspected &= ~resize_mask_keeping(ignored, *size)[0]
        if not inspected.any():
            raise ConfigError(
                "no part of the image is inspected; enlarge region_of_interest, or shrink ignore"
            )
    return ProductSettings(given.mm_per_px, area, inspected)


def _read_mask(path: Path, max_pixels: int) -> Bool[np.ndarray, "h w"]:
    """True where an image is white; refuses images that may not be masks."""
    decoded = decode(path, max_pixels)
    pixels = to_rgb(decoded, path, AUTO)
    if is_transparent(decoded):
        raise ConfigError(f"{path} is transparent in places; save it as opaque black and white")
    grey = np.asarray(Image.fromarray(pixels).convert("L"))
    between = float(((grey >= _GREY[0]) & (grey <= _GREY[1])).mean())
    if between > _MOST_GREY:
        raise ConfigError(
            f"{path} is neither black nor white in {between:.0%} of its pixels, expected a "
            "black-and-white mask; save it as one"
        )
    white: Bool[np.ndarray, "h w"] = grey > _WHITE
    if not white.any():
        raise ConfigError(f"{path} has no white pixels; paint the marked area white")
    return white
