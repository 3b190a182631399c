"""One part: its good picture, or the same with a defect and the mask of what that changed."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from scipy import ndimage

from mambaad.data.synthetic.catalogue import PRODUCTS
from mambaad.data.synthetic.defects import damage
from mambaad.data.synthetic.noise import Frame
from mambaad.data.synthetic.optics import expose, look
from mambaad.data.synthetic.scene import Plan, Severity
from mambaad.data.synthetic.settings import check_part
from mambaad.errors import ConfigError, DataError

_SEEN, _FAINT = 10, 4
"""Levels of 255: a change counts if it reaches the first; it extends to where it is below the
second."""
_Image = UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class Part:
    """A rendered part.

    ``image``: 8-bit RGB, H x W x 3. ``mask``: H x W, True exactly where the image differs from
    the good part of the same seed; all False for a good part. ``parameters``, JSON-able:
    ``product``, the parameters drawn for it, and of a ``defect`` (None for a good part) its kind,
    parameters and area in pixels.
    """

    image: UInt8[np.ndarray, "h w 3"]
    mask: Bool[np.ndarray, "h w"]
    parameters: dict[str, Any]


def render_part(
    product: str,
    seed: int,
    *,
    size: int = 256,
    defect: str | None = None,
    difficulty: float = 0.5,
) -> Part:
    """Render a part of a product; the same arguments give the same part on every machine with
    the same versions of NumPy, SciPy and Pillow (whose fonts and lines may differ).

    Args:
        product: one of ``PRODUCTS``.
        seed: 0 or more; the number of the part.
        size: side of the image in pixels, a multiple of 32 from 64 to 1024.
        defect: one of the product's ``defects``: the good part of this seed with that defect.
        difficulty: from 0 (large and obvious defects) to 1 (small and faint ones).

    Raises:
        ConfigError: an argument is not as described.
        DataError: the defect cannot be seen, however often it is drawn (not met so far).
    """
    check_part(product, seed, size, difficulty)
    _check_defect(product, defect)
    frame = Frame(size, seed, product)
    plan = PRODUCTS[product].plan(frame.random("plan"))
    scene = PRODUCTS[product].build(plan, frame)
    good = expose(look(scene.surface, plan["light"], frame), plan["light"], frame)
    parameters: dict[str, Any] = {"product": product, "drawn": plan, "defect": None}
    if defect is None:
        return Part(good, np.zeros((size, size), dtype=bool), parameters)

    wanted = Severity.of(difficulty)
    plain = max(2, 6 * size * size // 65536)
    for attempt in range(12):
        # A defect that cannot be seen is drawn again elsewhere, larger and stronger.
        more = 1.12**attempt
        severity = Severity(wanted.size * more, wanted.strength * more)
        done, bad = with_defect(plan, frame, defect, severity, attempt)
        image, mask = changed(good, bad, max(6, 18 * size * size // 65536), plain)
        if mask.any():
            parameters["defect"] = {"kind": defect, **done, "area": int(mask.sum())}
            return Part(image, mask, parameters)
    raise DataError(
        f"{product}, seed {seed}: the defect '{defect}' cannot be seen at {size} pixels and "
        f"difficulty {difficulty}; give larger images, or a lower --difficulty"
    )


def _check_defect(product: str, defect: str | None) -> None:
    kinds = PRODUCTS[product].defects
    if defect is not None and defect not in kinds:
        raise ConfigError(f"{product} has no defect '{defect}'; choose from {', '.join(kinds)}")


def with_defect(
    plan: Plan, frame: Frame, defect: str, severity: Severity, attempt: int
) -> tuple[dict[str, Any], _Image]:
    """Make a part with a defect; returns the defect's parameters, and the image."""
    made = PRODUCTS[frame.product]
    random = frame.random(f"{defect} {attempt}")
    plan = deepcopy(plan)
    if defect in made.alterations:
        done = made.alterations[defect](plan, random, severity)
        scene = made.build(plan, frame)
    else:
        scene = made.build(plan, frame)
        done = damage(defect, scene, frame, random, severity)
    return done, expose(look(scene.surface, plan["light"], frame), plan["light"], frame)


def changed(
    good: _Image, bad: _Image, least: int, plain_least: int
) -> tuple[_Image, Bool[np.ndarray, "h w"]]:
    """Reduce a defect to its visible regions, without specks or pinholes; returns image and mask.

    Faint changes are undone; a pinhole of the mask without any change is given one of one level.
    So the mask is True exactly where the two images differ.

    Args:
        good, bad: the part without and with its defect.
        least: pixels of the smallest region that is kept.
        plain_least: how many of them must be plain to see.
    """
    difference = np.abs(bad.astype(np.int16) - good).max(axis=2)
    regions, count = ndimage.label(difference >= _FAINT, np.ones((3, 3)))
    area = np.bincount(regions.ravel(), minlength=count + 1)
    plain = np.bincount(regions.ravel(), difference.ravel() >= _SEEN, minlength=count + 1)
    kept = (area >= least) & (plain >= plain_least)
    kept[0] = False
    mask = kept[regions]
    # Closes gaps of a pixel or two, as an annotator would.
    mask |= ndimage.binary_closing(np.pad(mask, 2), np.ones((3, 3)))[2:-2, 2:-2]
    image = np.where(mask[..., None], bad, good)
    same = mask & (difference == 0)
    image[same, 1] += np.where(image[same, 1] < 255, 1, -1).astype(np.uint8)
    return image, mask
