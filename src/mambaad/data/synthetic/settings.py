"""What can be drawn, by name and range. Loads no library."""

from __future__ import annotations

from mambaad.errors import ConfigError

PRODUCT_NAMES = (
    "fabric",
    "metal",
    "wood",
    "tile",
    "leather",
    "screw",
    "label",
    "bottle",
    "circuit",
    "blister",
    "kit",
)
"""The keys of :data:`mambaad.data.synthetic.catalogue.PRODUCTS`, in its order."""

FIELD = 512
"""Pixels of a side of each field of a panel, the form of images of more than 1024 pixels."""
LARGEST_PART, LARGEST_PANEL = 1024, 16384
_MOST = 100_000  # images a class and split


def check_part(product: str, seed: int, size: int, difficulty: float) -> None:
    """Refuse arguments of which no part can be drawn (ConfigError)."""
    if size % 32 or not 64 <= size <= LARGEST_PART:
        raise ConfigError(
            f"--size: expected a multiple of 32 from 64 to {LARGEST_PART}, got {size}"
        )
    _check_others(product, seed, difficulty)


def check_panel(product: str, seed: int, size: int, difficulty: float) -> None:
    """Refuse arguments of which no panel can be drawn (ConfigError)."""
    if size % FIELD or not LARGEST_PART <= size <= LARGEST_PANEL:
        raise ConfigError(
            f"--size: expected a multiple of {FIELD} from {LARGEST_PART} to {LARGEST_PANEL}, got "
            f"{size}"
        )
    _check_others(product, seed, difficulty)
    if product == "kit":
        raise ConfigError(
            f"--size: {size} pixels are a panel with defects of a few pixels, and those of kit are "
            f"whole pieces; give --classes without kit, or up to {LARGEST_PART} pixels"
        )


def _check_others(product: str, seed: int, difficulty: float) -> None:
    if product not in PRODUCT_NAMES:
        raise ConfigError(
            f"--classes: there is no product '{product}'; choose from {', '.join(PRODUCT_NAMES)}"
        )
    if seed < 0:
        raise ConfigError(f"--seed: expected 0 or more, got {seed}")
    if not 0 <= difficulty <= 1:
        raise ConfigError(f"--difficulty: expected 0 (easy) to 1 (hard), got {difficulty:g}")


def check_drawing(
    names: list[str], train: int, test: int, size: int, seed: int, difficulty: float
) -> None:
    """Refuse arguments of which no data set can be drawn (ConfigError)."""
    if not names:
        raise ConfigError(f"--classes: none given; choose from {', '.join(PRODUCT_NAMES)}")
    for name in names:
        (check_panel if size > LARGEST_PART else check_part)(name, seed, size, difficulty)
    for flag, count, least in (("--train", train, 2), ("--test", test, 0)):
        if not least <= count <= _MOST:
            raise ConfigError(f"{flag}: expected {least} to {_MOST}, got {count}")
