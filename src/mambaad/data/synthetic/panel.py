"""A large image: a panel of parts, as a camera sees it that steps over it field by field.

Its defects are small: of 8 to 24 pixels, whatever the size of the panel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from mambaad.data.synthetic.catalogue import PRODUCTS
from mambaad.data.synthetic.noise import Frame, between, pick, stream
from mambaad.data.synthetic.optics import draw_light, expose, look
from mambaad.data.synthetic.render import Part, changed, with_defect
from mambaad.data.synthetic.scene import Plan, Severity
from mambaad.data.synthetic.settings import FIELD, check_panel
from mambaad.errors import ConfigError, DataError

SMALLEST, LARGEST = 8, 24
"""Pixels of the longer side of a defect."""
_AREA, _PLAIN = 12, 4  # pixels of a defect, and of them those that are plain to see
_FIRST_SIZE = 1 / 60  # of a defect for each pixel that it is to have
_SCALINGS, _PLACES = 6, 8  # tries to give a defect its size, and to find a place for it
_Image = UInt8[np.ndarray, "h w 3"]


def render_panel(
    product: str,
    seed: int,
    *,
    size: int,
    defect: str | None = None,
    count: int = 1,
    difficulty: float = 0.5,
) -> Part:
    """Render a panel: fields of 512 x 512 pixels, each another part, under one lamp.

    The same arguments give the same panel on every machine, see
    :func:`mambaad.data.synthetic.render.render_part`.

    Args:
        product: one with defects of its surface (all but ``kit``).
        seed: 0 or more; the number of the panel.
        size: side of the image in pixels, a multiple of 512 from 1024 to 16384.
        defect: one of the product's ``surface_defects``; None for a good panel.
        count: how many defects, each in a field of its own.
        difficulty: how faint they are, from 0 to 1; their size is always 8 to 24 pixels.

    Raises:
        ConfigError: an argument is not as described.
        DataError: no defect of that size can be seen, however often it is drawn.
    """
    check_panel(product, seed, size, difficulty)
    kinds = PRODUCTS[product].surface_defects
    if defect is not None and defect not in kinds:
        raise ConfigError(
            f"a panel of {product} has no defect '{defect}'; choose from {', '.join(kinds)}"
        )
    across = size // FIELD
    if not 1 <= count <= across**2:
        raise ConfigError(f"count: expected 1 to {across**2} defects, got {count}")
    random = stream(seed, product, "panel")
    light = draw_light(random)
    damaged = set(random.permutation(across**2)[:count].tolist()) if defect else set()
    image = np.empty((size, size, 3), np.uint8)
    mask = np.zeros((size, size), dtype=bool)
    found = []
    for number in range(across**2):
        row, column = divmod(number, across)
        field = (slice(row * FIELD, (row + 1) * FIELD), slice(column * FIELD, (column + 1) * FIELD))
        frame = Frame(FIELD, int(stream(seed, product, f"field {number}").integers(2**53)), product)
        plan = {**PRODUCTS[product].plan(frame.random("plan")), "light": light}
        scene = PRODUCTS[product].build(plan, frame)
        good = expose(look(scene.surface, light, frame), light, frame)
        image[field] = good
        if defect and number in damaged:
            image[field], mask[field], done = _damaged(plan, frame, good, defect, difficulty)
            found.append({"field": [row, column], **done})
    parameters: dict[str, Any] = {"product": product, "light": light, "defect": None}
    if defect:
        parameters["defect"] = {"kind": defect, "area": int(mask.sum()), "places": found}
    return Part(image, mask, parameters)


def _damaged(
    plan: Plan, frame: Frame, good: _Image, defect: str, difficulty: float
) -> tuple[_Image, Bool[np.ndarray, "h w"], dict[str, Any]]:
    """Give a field a defect of 8 to 24 pixels; returns image, mask and the defect's parameters."""
    random = frame.random("small defect")
    strength = Severity.of(difficulty).strength
    for _ in range(_PLACES):
        wanted, attempt = between(random, SMALLEST + 1, LARGEST - 1), pick(random, 2**20)
        size = wanted * _FIRST_SIZE
        for _ in range(_SCALINGS):
            severity = Severity(size, strength)
            done, bad = with_defect(plan, frame, defect, severity, attempt)
            image, mask = changed(good, bad, _AREA, _PLAIN)
            extent = _extent(mask)
            if SMALLEST <= extent <= LARGEST:
                return image, mask, {**done, "extent_px": extent, "area": int(mask.sum())}
            size *= min(max(wanted / extent, 0.3), 3.0) if extent else 1.5
        strength *= 1.12  # what cannot be seen is drawn again, elsewhere and stronger
    raise DataError(
        f"{frame.product}: no defect '{defect}' of {SMALLEST} to {LARGEST} pixels can be seen at "
        f"difficulty {difficulty}; give a lower --difficulty"
    )


def _extent(mask: Bool[np.ndarray, "h w"]) -> int:
    """The longer side of the box around what is True; 0 where nothing is."""
    rows, columns = np.nonzero(mask)
    return int(max(np.ptp(rows), np.ptp(columns))) + 1 if len(rows) else 0
