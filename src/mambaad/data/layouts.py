"""The data sets that can be read. A further one is one file, and one line in the table here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mambaad.data.readers import (
    btad,
    coco_ad,
    mpdd,
    mvtec,
    mvtec_3d,
    real_iad,
    uni_medical,
    visa,
)
from mambaad.data.readers.base import Layout, Split
from mambaad.errors import ConfigError
from mambaad.types import ProductClass

# The first that recognises a folder reads it, so the plain folders of MVTec AD come last.
LAYOUTS: tuple[Layout, ...] = (
    visa.LAYOUT,
    coco_ad.LAYOUT,
    real_iad.LAYOUT,
    mvtec_3d.LAYOUT,
    btad.LAYOUT,
    mpdd.LAYOUT,
    uni_medical.LAYOUT,
    mvtec.LAYOUT,
)


def find_layout(root: Path, name: str | None = None) -> Layout:
    """The layout of that name, or the one that a folder has.

    A folder that none recognises is taken for MVTec AD's, whose reader says what is wrong with it.

    Raises:
        ConfigError: no layout has that name.
    """
    if name is not None:
        for layout in LAYOUTS:
            if layout.name == name:
                return layout
        raise ConfigError(
            f"--layout: {name} is none of {', '.join(layout.name for layout in LAYOUTS)}"
        )
    root = Path(root)
    return next((layout for layout in LAYOUTS if layout.recognises(root)), mvtec.LAYOUT)


def read_data(
    root: Path,
    classes: Sequence[str] | None = None,
    *,
    split: Split = "train",
    layout: str | None = None,
) -> list[ProductClass]:
    """List the images of a data set in any known layout; nothing is decoded.

    Args:
        root: where the data set is.
        classes: the classes wanted; all without it.
        split: what the images are for: see :meth:`Layout.read`.
        layout: its name, if the folder is not to be asked.

    Raises:
        ConfigError: no layout has that name.
        DataError: no or unknown classes, or the first thing that is wrong; names the path.
    """
    return find_layout(root, layout).read(root, classes, split=split)


def class_names(root: Path, *, split: Split = "train", layout: str | None = None) -> list[str]:
    """The classes of a data set in any known layout.

    Raises:
        ConfigError, DataError: see :func:`read_data`.
    """
    return find_layout(root, layout).class_names(Path(root), split)
