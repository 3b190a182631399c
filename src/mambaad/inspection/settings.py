"""What an engineer may say of a product: where to look, how large a defect counts, its scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from jaxtyping import Bool
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mambaad.data import read_mask, resize_mask_nearest
from mambaad.errors import ConfigError


@dataclass(frozen=True)
class ProductSettings:
    """How parts of one class are judged.

    ``mm_per_px``: of the image as it comes, if known. ``min_area_px``: smaller regions are no
    defects. ``inspected``: where on the anomaly map defects count; None for everywhere.
    """

    mm_per_px: float | None = None
    min_area_px: float = 0.0
    inspected: Bool[np.ndarray, "h w"] | None = None


class _Given(BaseModel):
    model_config = ConfigDict(extra="forbid")

    mm_per_px: float | None = Field(None, gt=0)
    min_area_px: float | None = Field(None, ge=0)
    min_area_mm2: float | None = Field(None, ge=0)
    region_of_interest: str | None = None
    ignore: str | None = None


def read_product_settings(
    path: Path, products: Sequence[str], size: tuple[int, int]
) -> Mapping[str, ProductSettings]:
    """Read settings from a YAML file: a mapping from a class to what holds for it.

    ``mm_per_px``; ``min_area_px`` or ``min_area_mm2``; ``region_of_interest`` and ``ignore``:
    images, white where defects count, and where they do not; paths are relative to the file.

    Args:
        path: the file.
        products: the classes there are.
        size: height and width of the anomaly maps.

    Raises:
        ConfigError: a file that cannot be read, or a setting that cannot be; names it.
        DataError: a mask that cannot be read.
    """
    flag = f"--products {path}"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{flag}: cannot be read ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{flag}: not a mapping of classes; write 'bottle: {{mm_per_px: 0.1}}'")
    settings = {}
    for name, given in content.items():
        if name not in products:
            raise ConfigError(f"{flag}: no class '{name}'; choose from {', '.join(products)}")
        try:
            settings[name] = _settings(_Given.model_validate(given or {}), path.parent, size)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join([str(name), *map(str, first["loc"])])
            raise ConfigError(f"{flag}: {where}: {first['msg']}") from None
        except ConfigError as error:
            raise ConfigError(f"{flag}: {name}: {error}") from None
    return settings


def _settings(given: _Given, folder: Path, size: tuple[int, int]) -> ProductSettings:
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
            inspected &= resize_mask_nearest(read_mask(folder / given.region_of_interest), *size)
        if given.ignore is not None:
            inspected &= ~resize_mask_nearest(read_mask(folder / given.ignore), *size)
        if not inspected.any():
            raise ConfigError("nothing of the image is inspected; make the region larger")
    return ProductSettings(given.mm_per_px, area, inspected)
